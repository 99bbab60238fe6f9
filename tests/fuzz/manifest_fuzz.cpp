// A file of the directory store: YAML or JSON.
#include "fuzz/fuzz.hpp"
#include "store/manifest.hpp"

using namespace signet;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto text = fuzz::AsInput(data, size);
  (void)store::ParseManifest(text, "fuzz.json");
  const auto documents = store::ParseManifest(text, "fuzz.yaml");
  if (!documents) {
    HOLDS(documents.error().reason == "Malformed");
    return 0;
  }
  for (const auto& document : *documents) {
    const std::string written = store::WriteYaml(document.value);
    const auto again = store::ParseYaml(written, "again", 16 * store::kMaxManifestBytes);
    HOLDS(again.has_value());
    HOLDS(again->size() == 1 && again->front().value == document.value);
  }
  return 0;
}
