# hf_layer(NAME): an OBJECT library of src/NAME/*.c. HF_LAYERS keeps the layers from the bottom up, so that a
# test of one layer can link it with those below and nothing above.
set(HF_LAYERS "" CACHE INTERNAL "")
function(hf_layer name)
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${name}/*.c)
  if(NOT sources)
    message(WARNING "layer ${name} has no sources yet")
    return()
  endif()
  add_library(hf_${name} OBJECT ${sources})
  target_link_libraries(hf_${name} PUBLIC hf_flags PkgConfig::PMEM2 PkgConfig::NDCTL PkgConfig::DAXCTL
    PkgConfig::XXHASH PkgConfig::JANSSON Threads::Threads)
  if(NOT HF_SANITIZE)
    # behind CMake's own -O2: an eighth of the time of a create
    target_compile_options(hf_${name} PRIVATE $<$<CONFIG:RelWithDebInfo,Release>:-O3>)
  endif()
  set(HF_LAYERS ${HF_LAYERS} ${name} CACHE INTERNAL "")
endfunction()

# hf_link_up_to(TARGET LAYER): the objects of all layers up to and with LAYER, and what they need.
function(hf_link_up_to target layer)
  foreach(l ${HF_LAYERS})
    target_link_libraries(${target} PRIVATE hf_${l})
    if(l STREQUAL layer)
      break()
    endif()
  endforeach()
  target_link_libraries(${target} PRIVATE hf_flags PkgConfig::PMEM2 PkgConfig::NDCTL PkgConfig::DAXCTL
    PkgConfig::XXHASH PkgConfig::JANSSON Threads::Threads)
endfunction()
