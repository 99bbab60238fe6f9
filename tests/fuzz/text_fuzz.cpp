#include <nlohmann/json.hpp>

#include "encoding/json.hpp"
#include "encoding/text.hpp"
#include "fuzz/fuzz.hpp"

using namespace signet;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto text = fuzz::AsInput(data, size);
  if (const auto bytes = encoding::FromBase64(text)) HOLDS(encoding::ToBase64(*bytes) == text);
  if (const auto bytes = encoding::FromHex(text)) HOLDS(encoding::ToHex(*bytes).size() == text.size());
  HOLDS(*encoding::FromBase64(encoding::ToBase64({data, size})) == base::Bytes(data, data + size));
  HOLDS(*encoding::FromHex(encoding::ToHex({data, size})) == base::Bytes(data, data + size));
  std::string quoted;
  encoding::AppendJsonString(quoted, text);
  HOLDS(quoted.find_first_of("\n\r") == std::string::npos);
  const auto parsed = encoding::ParseJson(quoted);
  HOLDS(parsed.has_value() && parsed->is_string());
  std::string again;
  encoding::AppendJsonString(again, parsed->get_ref<const std::string&>());
  HOLDS(again == quoted);
  return 0;
}
