#include <nlohmann/json.hpp>

#include "encoding/json.hpp"
#include "fuzz/fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto value = signet::encoding::ParseJson(signet::fuzz::AsInput(data, size));
  if (!value) {
    HOLDS(value.error().reason == "Malformed");
    return 0;
  }
  const std::string text = value->dump();  // throws on what is not UTF-8
  const auto again = signet::encoding::ParseJson(text);
  HOLDS(again.has_value());
  HOLDS(*again == *value);
  return 0;
}
