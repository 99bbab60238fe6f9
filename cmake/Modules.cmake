# One library a module, one floor a module: docs/architecture.md. tests/lint/check_layers.py reads the
# same table from src/CMakeLists.txt and holds the #includes to it.

# signet_unity(TARGET): compiles the sources of a target as one file. The headers of a module are then read once, not once
# a file, which is most of the time that a build takes. OFF compiles file by file: better while one file is edited.
option(SIGNET_UNITY "Compile each module in one piece" ON)
function(signet_unity target)
  if(SIGNET_UNITY AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(${target} PRIVATE -Wno-subobject-linkage) # it takes the .cpp files for headers
  endif()
  set_target_properties(${target} PROPERTIES UNITY_BUILD ${SIGNET_UNITY} UNITY_BUILD_BATCH_SIZE 0)
endfunction()

# signet_module(NAME FLOOR n LINKS modules... LIBRARIES third-party... SOURCES files...)
function(signet_module name)
  cmake_parse_arguments(arg "" "FLOOR" "LINKS;LIBRARIES;SOURCES" ${ARGN})
  list(TRANSFORM arg_SOURCES PREPEND ${CMAKE_SOURCE_DIR}/src/${name}/)
  add_library(signet_${name} STATIC ${arg_SOURCES})
  target_include_directories(signet_${name} PUBLIC ${CMAKE_SOURCE_DIR}/src)
  foreach(link IN LISTS arg_LINKS)
    target_link_libraries(signet_${name} PUBLIC signet_${link})
  endforeach()
  target_link_libraries(signet_${name} PUBLIC ${arg_LIBRARIES})
  if(NOT name STREQUAL "base")
    target_precompile_headers(signet_${name} REUSE_FROM signet_pch)
  endif()
  signet_unity(signet_${name})
endfunction()
