# Language level, warnings, sanitizers, ccache.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(THREADS_PREFER_PTHREAD_FLAG ON)

find_program(SIGNET_CCACHE ccache)
if(SIGNET_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # Relative to the source folder, and whatever the language of the messages is, so that a clone in another folder and the
  # image find what this one has compiled.
  set(CMAKE_CXX_COMPILER_LAUNCHER
      ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1 CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime,locale
      ${SIGNET_CCACHE})
endif()

add_compile_options(-Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Werror=unused-result
                    -Werror=return-type -fstack-protector-strong)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  add_compile_options(-fpch-preprocess -Wno-restrict)
  # GCC 12 joins two loads of one address and different types, and then looks for their value under the rules of one
  # of them: the door of a caller was lost. docs/adr/0011 has the case, tests/unit/base/compiler_test.cpp holds it.
  add_compile_options(-fno-strict-aliasing)
endif()
if(CMAKE_BUILD_TYPE STREQUAL "Release" AND NOT SIGNET_SANITIZE)
  add_compile_definitions(_FORTIFY_SOURCE=2)
  add_link_options(-Wl,-z,relro,-z,now,--as-needed -s)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # GCC 12 sees overflows in literals that it has inlined into a std::string (its bug 105329); the sanitizers look for real ones.
    add_compile_options(-Wno-stringop-overflow -Wno-array-bounds)
  endif()
endif()
if(SIGNET_SANITIZE)
  add_compile_options(-fsanitize=${SIGNET_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${SIGNET_SANITIZE})
endif()
if(SIGNET_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link) # coverage of our own code is what libFuzzer steers by
endif()
