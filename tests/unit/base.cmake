hf_unit_test(base_misc base)
hf_unit_test(base_lock base concurrent)

# The same test with the order check compiled in, whatever the build's own setting is.
add_executable(base_lock_debug unit/base_lock.c ${PROJECT_SOURCE_DIR}/src/base/lock.c ${PROJECT_SOURCE_DIR}/src/base/error.c)
target_link_libraries(base_lock_debug PRIVATE hf_flags PkgConfig::CUNIT Threads::Threads)
target_include_directories(base_lock_debug PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
target_compile_options(base_lock_debug PRIVATE -UHF_DEBUG_LOCKS -DHF_DEBUG_LOCKS=1)
add_test(NAME base_lock_debug COMMAND base_lock_debug)
set_tests_properties(base_lock_debug PROPERTIES LABELS "unit;concurrent" TIMEOUT 300)
