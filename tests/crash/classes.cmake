# Workloads by name: the twelve classes each by themselves, the others for the faults.
add_executable(crash_classes classes.c load.c steps.c jload.c oload.c tload.c)
hf_link_up_to(crash_classes crash)
target_link_libraries(crash_classes PRIVATE hf_test_device)
foreach(c 01_inode_flush 02_data_fence 03_unaligned_edges 04_rename_old_name 05_rename_parents 06_recovery_state
    07_recovery_bounds 08_journal_misread 09_double_free 10_two_heads 11_link_counts 12_two_descriptors)
  add_test(NAME class_${c} COMMAND crash_classes --seconds 15 class_${c})
  set_tests_properties(class_${c} PROPERTIES LABELS crash TIMEOUT 300)
endforeach()
add_test(NAME crash_workloads COMMAND crash_classes --seconds 120)
set_tests_properties(crash_workloads PROPERTIES LABELS "crash;slow;nightly" TIMEOUT 7200)

# Deliberate faults: a sample each time, all of them at night.
add_test(NAME mutants_sample COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/mutants.sh ${PROJECT_SOURCE_DIR} --sample)
set_tests_properties(mutants_sample PROPERTIES LABELS crash TIMEOUT 600)
add_test(NAME mutants COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/mutants.sh ${PROJECT_SOURCE_DIR})
set_tests_properties(mutants PROPERTIES LABELS "mutants;slow;nightly" TIMEOUT 7200)

# The stores, flushes and fences of each operation. After a change that is meant: crash_golden DIR --update.
add_executable(crash_golden golden.c steps.c)
hf_link_up_to(crash_golden crash)
add_test(NAME crash_golden COMMAND crash_golden ${CMAKE_CURRENT_SOURCE_DIR}/golden)
set_tests_properties(crash_golden PROPERTIES LABELS crash TIMEOUT 120)
