option(HF_BUILD_TESTS "build the tests" ON)
option(HF_DEBUG_LOCKS "check the lock order, a rank per thread" OFF)
set(HF_SANITIZE "" CACHE STRING "address,undefined or thread")
option(HF_FUZZ "build the fuzzers (clang)" OFF)
if(HF_FUZZ AND NOT CMAKE_C_COMPILER_ID STREQUAL "Clang")
  message(FATAL_ERROR "HF_FUZZ needs clang: -DCMAKE_C_COMPILER=clang")
endif()

add_library(hf_flags INTERFACE)
target_compile_options(hf_flags INTERFACE
  -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition
  -Wpointer-arith -Wcast-qual -Wundef -Wvla -Wwrite-strings -Werror
  -fno-strict-aliasing -fno-omit-frame-pointer)
target_compile_definitions(hf_flags INTERFACE _GNU_SOURCE)
target_include_directories(hf_flags INTERFACE ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src)
if(HF_DEBUG_LOCKS)
  target_compile_definitions(hf_flags INTERFACE HF_DEBUG_LOCKS=1)
endif()
if(HF_SANITIZE)
  target_compile_options(hf_flags INTERFACE -fsanitize=${HF_SANITIZE} -fno-sanitize-recover=all)
  target_link_options(hf_flags INTERFACE -fsanitize=${HF_SANITIZE})
endif()
if(HF_FUZZ)
  # the libraries count their edges; the fuzzers themselves are linked with -fsanitize=fuzzer
  # (comparisons are not traced: it takes half of the time, and what is compared is sealed after the edit)
  target_compile_options(hf_flags INTERFACE -fsanitize=fuzzer-no-link -fno-sanitize-coverage=trace-cmp)
  target_link_options(hf_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
