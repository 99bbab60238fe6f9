// tests/fuzz/fuzz.hpp - what every fuzz target shares.
//
// A target reads bytes as an outsider would send them, and checks what must hold of whatever was accepted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

/// A property is broken: ends the program so that the fuzzer keeps the input.
#define HOLDS(condition)                                                      \
  do {                                                                        \
    if (!(condition)) {                                                       \
      std::fprintf(stderr, "%s:%d: !(%s)\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                           \
    }                                                                         \
  } while (false)

namespace signet::fuzz {
inline std::string_view AsInput(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}
}  // namespace signet::fuzz
