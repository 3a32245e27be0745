hf_unit_test(format_verify format)
hf_unit_test(format_mkfs format)

# docs/FORMAT.md has tables of every struct's fields; they are what the compiler says.
add_executable(format_gen ${PROJECT_SOURCE_DIR}/docs/format_gen.c)
target_link_libraries(format_gen PRIVATE hf_flags)
add_test(NAME format_doc COMMAND format_gen ${PROJECT_SOURCE_DIR}/docs/FORMAT.md)
set_tests_properties(format_doc PROPERTIES LABELS "unit")
