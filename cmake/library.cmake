# The shared and the static library, and what a program needs to find them.
include(CMakePackageConfigHelpers)

set(layers ${HF_LAYERS})
list(REMOVE_ITEM layers crash)
set(objects "")
foreach(l ${layers})
  list(APPEND objects $<TARGET_OBJECTS:hf_${l}>)
endforeach()
set(deps PkgConfig::PMEM2 PkgConfig::NDCTL PkgConfig::DAXCTL PkgConfig::XXHASH PkgConfig::JANSSON Threads::Threads)
set(map ${PROJECT_SOURCE_DIR}/cmake/holdfast.map)

# hf_library(NAME LAYERS OBJECTS MAPS): the shared library NAME, and NAME_static, which is one object whose internal names are
# local: a program may have a function 'pm_open' of its own.
function(hf_library name layers objects maps)
  string(REPLACE "_" "-" file ${name})
  add_library(${name} SHARED ${objects})
  target_link_libraries(${name} PRIVATE hf_flags ${deps})
  foreach(map ${maps})
    target_link_options(${name} PRIVATE -Wl,--version-script=${map})
  endforeach()
  if(NOT HF_SANITIZE)
    target_link_options(${name} PRIVATE -Wl,--no-undefined)
  endif()
  set_target_properties(${name} PROPERTIES LINK_DEPENDS "${maps}" VERSION ${PROJECT_VERSION} SOVERSION 0
    LINKER_LANGUAGE C OUTPUT_NAME ${file})
  set(whole ${CMAKE_CURRENT_BINARY_DIR}/${name}_whole.o)
  add_custom_command(OUTPUT ${whole}
    COMMAND ${CMAKE_LINKER} -r -o ${whole} ${objects}
    COMMAND ${CMAKE_OBJCOPY} --localize-hidden ${whole}
    DEPENDS ${objects} COMMAND_EXPAND_LISTS VERBATIM)
  add_library(${name}_static STATIC ${whole})
  foreach(l ${layers})
    add_dependencies(${name}_static hf_${l})
  endforeach()
  set_source_files_properties(${whole} PROPERTIES EXTERNAL_OBJECT TRUE GENERATED TRUE)
  set_target_properties(${name}_static PROPERTIES OUTPUT_NAME ${file} LINKER_LANGUAGE C)
endfunction()

hf_library(holdfast "${layers}" "${objects}" ${map})
# All of it, and the simulated media and the explorer: a volume on a simulated device must be the same library's.
hf_library(holdfast_crash "${HF_LAYERS}" "${objects};$<TARGET_OBJECTS:hf_crash>"
  "${map};${PROJECT_SOURCE_DIR}/cmake/holdfast-crash.map")

install(TARGETS holdfast holdfast_static holdfast_crash holdfast_crash_static
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES include/holdfast.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
file(GLOB public_headers CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/include/holdfast/*.h)
if(public_headers)
  install(FILES ${public_headers} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/holdfast)
endif()
configure_file(cmake/holdfast.pc.in holdfast.pc @ONLY)
configure_file(cmake/holdfast-crash.pc.in holdfast-crash.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/holdfast.pc ${CMAKE_CURRENT_BINARY_DIR}/holdfast-crash.pc
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
configure_package_config_file(cmake/holdfast-config.cmake.in holdfast-config.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/holdfast PATH_VARS CMAKE_INSTALL_INCLUDEDIR CMAKE_INSTALL_LIBDIR)
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/holdfast-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/holdfast-config.cmake ${CMAKE_CURRENT_BINARY_DIR}/holdfast-config-version.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/holdfast)

# Man pages: sections 1 and 8 are written, section 3 is made from the public header, so that there is one text.
set(man3 ${CMAKE_CURRENT_BINARY_DIR}/man3)
add_custom_command(OUTPUT ${man3}/hf_volumes.3
  COMMAND ${CMAKE_COMMAND} -E make_directory ${man3}
  COMMAND awk -v out=${man3} -f ${PROJECT_SOURCE_DIR}/docs/man/gen.awk ${PROJECT_SOURCE_DIR}/include/holdfast.h
  COMMAND awk -v out=${man3} -v header=holdfast/crash.h -f ${PROJECT_SOURCE_DIR}/docs/man/gen.awk
    ${PROJECT_SOURCE_DIR}/include/holdfast/crash.h
  DEPENDS include/holdfast.h include/holdfast/crash.h docs/man/gen.awk VERBATIM)
add_custom_target(man ALL DEPENDS ${man3}/hf_volumes.3)
install(DIRECTORY ${man3} DESTINATION ${CMAKE_INSTALL_MANDIR})
foreach(section 1 8)
  file(GLOB pages CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/docs/man/*.${section})
  install(FILES ${pages} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section})
endforeach()
