hf_unit_test(space_bits space)
hf_unit_test(space_alloc space)
hf_unit_test(space_churn space concurrent)
hf_unit_test(space_scale space novalgrind)
