# Real pinners (docs/TESTING.md): each with a pin, on pages of 2 MiB and scattered, and once without, which has to do harm. Those that need
# no device run here too, on a file; tests/guest/pinners.sh runs all of them on a device.
add_library(pinner OBJECT guest/pinner.c guest/peer.c)
target_link_libraries(pinner PUBLIC hf_flags)
# hf_pinner(NAME [LIBRARY ...])
function(hf_pinner name)
  add_executable(pin_${name} guest/pin_${name}.c)
  target_link_libraries(pin_${name} PRIVATE pinner holdfast Threads::Threads ${ARGN})
  add_dependencies(pinners pin_${name})
endfunction()
# As in examples/: the library's own word about libpmem2's leaks counts only in programs that hold its objects.
file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/pinners.supp "leak:libpmem2.so\n")
# hf_pinner_test(NAME [DIRECTORY]): the three runs on a file
string(MD5 here ${CMAKE_CURRENT_BINARY_DIR})
function(hf_pinner_test name)
  set(volume ${CMAKE_CURRENT_BINARY_DIR}/pin_${name}.vol)
  if(ARGN AND EXISTS ${ARGN})
    set(volume ${ARGN}/pin_${name}-${here}.vol)
  endif()
  foreach(how "" --scattered --no-pin)
    add_test(NAME pin_${name}${how} COMMAND pin_${name} --remove --tool $<TARGET_FILE:holdfast_cli> ${how} ${volume})
    set_tests_properties(pin_${name}${how} PROPERTIES LABELS system TIMEOUT 120 SKIP_RETURN_CODE 77 RESOURCE_LOCK pin_${name}
      ENVIRONMENT "LSAN_OPTIONS=print_suppressions=0:suppressions=${CMAKE_CURRENT_BINARY_DIR}/pinners.supp")
  endforeach()
endfunction()

add_custom_target(pinners DEPENDS holdfast_cli)
foreach(p vmsplice vmwrite backend)
  hf_pinner(${p})
  hf_pinner_test(${p})
endforeach()
hf_pinner(odirect)
pkg_check_modules(LIBURING IMPORTED_TARGET liburing)
if(LIBURING_FOUND)
  hf_pinner(uring PkgConfig::LIBURING)
  hf_pinner_test(uring /dev/shm)	# the kernel registers no pages of files on disks
endif()
pkg_check_modules(IBVERBS IMPORTED_TARGET libibverbs)
if(IBVERBS_FOUND)
  hf_pinner(rdma PkgConfig::IBVERBS)
endif()

# holdfast beside the kernel's DAX file systems; the table is made by tests/guest/side_by_side.sh
if(LIBURING_FOUND AND IBVERBS_FOUND)
  add_executable(side_by_side guest/side_by_side.c guest/side_holdfast.c guest/side_kernel.c)
  target_link_libraries(side_by_side PRIVATE hf_flags holdfast Threads::Threads PkgConfig::LIBURING PkgConfig::IBVERBS)
endif()

# In the guest, with all that they need; by hand: the scripts' --help.
foreach(s pinners side_by_side)
  add_test(NAME guest_${s} COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/guest/${s}.sh --build ${PROJECT_BINARY_DIR})
  set_tests_properties(guest_${s} PROPERTIES LABELS "guest;nightly" TIMEOUT 3000 SKIP_RETURN_CODE 77 RUN_SERIAL ON)
endforeach()
