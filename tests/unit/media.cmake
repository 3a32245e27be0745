hf_unit_test(media_store media novalgrind)
hf_unit_test(media_guard media concurrent novalgrind)
hf_unit_test(media_poison media concurrent novalgrind)
hf_unit_test(media_open media novalgrind)
hf_unit_test(media_device media novalgrind)
set_tests_properties(media_device PROPERTIES SKIP_RETURN_CODE 77)

# The other architecture: compiled always, run where there is an emulator.
add_test(NAME media_cross COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/unit/media_cross.sh ${PROJECT_SOURCE_DIR})
set_tests_properties(media_cross PROPERTIES LABELS "unit;portability" SKIP_RETURN_CODE 77 TIMEOUT 300)

# On an emulated CPU with fewer instructions (valgrind masks clwb, clflushopt and AVX-512), and with its checks.
find_program(HF_VALGRIND valgrind)
if(HF_VALGRIND AND HF_TEST_VALGRIND)
  foreach(t media_store media_guard media_open)
    add_test(NAME ${t}_valgrind COMMAND ${HF_VALGRIND} --quiet --error-exitcode=9 --leak-check=full --show-leak-kinds=definite
      --errors-for-leak-kinds=definite --suppressions=${CMAKE_CURRENT_SOURCE_DIR}/unit/media.supp
      --vex-iropt-register-updates=allregs-at-mem-access $<TARGET_FILE:${t}>)
    set_tests_properties(${t}_valgrind PROPERTIES LABELS memcheck TIMEOUT 600)
  endforeach()
endif()
