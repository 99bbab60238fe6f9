#include "authn/secret_data.hpp"

#include <nlohmann/json.hpp>

#include "base/bytes.hpp"
#include "encoding/json.hpp"
#include "encoding/text.hpp"

namespace signet::authn {

std::string DataMember(const nlohmann::json& secret, const char* name) {
  const auto bytes = encoding::FromBase64(encoding::TextAt(encoding::At(secret, "data"), name));
  return bytes ? std::string(base::AsText(*bytes)) : std::string();
}

std::string AsData(const std::string& text) { return encoding::ToBase64(base::AsBytes(text)); }

}  // namespace signet::authn
