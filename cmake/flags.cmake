# Flags that every C file of the tree is compiled with. -ffp-contract=off is part of the
# arithmetic specification (docs/bits.md), not a preference: without it a compiler may fuse a
# product into an add and change a vector's bits.
set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE RelWithDebInfo)
endif()
set(CMAKE_C_FLAGS_RELWITHDEBINFO "-O2 -g1")
if(NOT QUERN_ASSERTS)
  string(APPEND CMAKE_C_FLAGS_RELWITHDEBINFO " -DNDEBUG")
endif()

add_library(quern_flags INTERFACE)
target_compile_options(quern_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla
  -ffp-contract=off -fno-strict-aliasing)
if(QUERN_WERROR)
  target_compile_options(quern_flags INTERFACE -Werror)
endif()
if(QUERN_SANITIZE)
  target_compile_definitions(quern_flags INTERFACE QUERN_SANITIZED)
  target_compile_options(quern_flags INTERFACE -fsanitize=${QUERN_SANITIZE}
    -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(quern_flags INTERFACE -fsanitize=${QUERN_SANITIZE})
endif()
if(QUERN_FUZZ)
  target_compile_options(quern_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
