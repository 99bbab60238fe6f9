#include "signing/key_pins.hpp"

#include <fmt/format.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "encoding/json.hpp"
#include "obs/log.hpp"
#include "store/folder.hpp"

namespace signet::signing {
namespace {

using encoding::TextAt;
using nlohmann::json;
constexpr const char* kFileName = "policy-keys.json";

}  // namespace

base::Result<KeyPins> KeyPins::Load(std::filesystem::path folder) {
  KeyPins pins;
  pins.folder_ = std::move(folder);
  if (pins.folder_.empty()) return pins;
  const auto path = pins.folder_ / kFileName;
  std::ifstream file(path, std::ios::binary);
  if (!file) return pins;
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  const auto invalid = base::MakeError(
      base::Code::kInvalidArgument, "StateInvalid",
      fmt::format("{} is damaged; remove it to accept the keys that the policies find now", path.string()));
  const auto parsed = encoding::ParseJson(text);
  if (!parsed || !parsed->is_object()) return invalid;
  for (const auto& [policy, pin] : parsed->items()) {
    if (!pin.is_object() || TextAt(pin, "spec").empty() || TextAt(pin, "keyID").empty()) return invalid;
    pins.pins_[policy] = {TextAt(pin, "spec"), TextAt(pin, "keyID")};
  }
  return pins;
}

std::string KeyPins::Find(std::string_view policy, std::string_view spec_hash) const {
  const auto found = pins_.find(policy);
  return found != pins_.end() && found->second.spec_hash == spec_hash ? found->second.key_id : std::string();
}

void KeyPins::Set(const std::string& policy, const std::string& spec_hash, const std::string& key_id) {
  if (Find(policy, spec_hash) == key_id) return;
  pins_[policy] = {spec_hash, key_id};
  Save();
}

void KeyPins::Forget(std::string_view policy) {
  const auto found = pins_.find(policy);
  if (found == pins_.end()) return;
  pins_.erase(found);
  Save();
}

void KeyPins::Save() const {
  if (folder_.empty()) return;
  json document = json::object();
  for (const auto& [policy, pin] : pins_) document[policy] = {{"spec", pin.spec_hash}, {"keyID", pin.key_id}};
  const auto written = store::WriteFileAtomically(folder_, kFileName, document.dump(2) + "\n", true);
  if (!written) obs::Err("pinned keys not kept for the next start", {{"error", base::Describe(written.error())}});
}

}  // namespace signet::signing
