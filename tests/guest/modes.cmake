# What goes wrong with devices: modes and mistakes, bad memory, kinds of memory. Each script starts its own guests.
add_executable(device_faults guest/device_faults.c)
target_link_libraries(device_faults PRIVATE hf_flags holdfast)
foreach(t modes poison kinds)
  add_test(NAME guest_${t} COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/guest/${t}.sh $<TARGET_FILE_DIR:holdfast_cli> $<TARGET_FILE:device_faults>)
  set_tests_properties(guest_${t} PROPERTIES LABELS "guest;nightly" TIMEOUT 900 SKIP_RETURN_CODE 77 RESOURCE_LOCK guest)
endforeach()
