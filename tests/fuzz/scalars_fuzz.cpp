// Digests, durations and artifact names.
#include <nlohmann/json.hpp>

#include "api/json.hpp"
#include "fuzz/fuzz.hpp"

using namespace signet;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto text = fuzz::AsInput(data, size);
  if (const auto digest = api::ParseDigest(text)) {
    HOLDS(api::FormatDigest(*digest) == text);
    HOLDS(digest->value.size() == encoding::DigestSize(digest->hash));
  }
  if (const auto duration = api::ParseDuration(text)) {
    HOLDS(duration->count() > 0 && *duration <= std::chrono::hours(8760));
  }
  if (api::ValidateArtifactName(text)) {
    HOLDS(!text.empty() && text.size() <= 1024 && text.front() != '/' && text.back() != '/');
    HOLDS(text.find_first_of("%\\") == std::string_view::npos);
    HOLDS(text.find("//") == std::string_view::npos);
    HOLDS(("/" + std::string(text) + "/").find("/../") == std::string::npos);
    HOLDS(("/" + std::string(text) + "/").find("/./") == std::string::npos);
    for (const char c : text) HOLDS(c >= 0x20 && c < 0x7F);
  }
  return 0;
}
