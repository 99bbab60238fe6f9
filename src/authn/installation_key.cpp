#include "authn/installation_key.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "crypto/hmac.hpp"
#include "encoding/text.hpp"

namespace signet::authn {
namespace {

using nlohmann::json;

base::Error Invalid(std::string_view ns, std::string_view what) {
  return base::MakeError(
      base::Code::kFailedPrecondition, "SealKeyInvalid",
      fmt::format("Secret {}/{}: {}; put the key back, or delete the Secret: then a new key is made, "
                  "and every request and approval that waits must be made anew",
                  ns, kSealSecret, what));
}

/// The octets of a member of `data`; nothing: absent.
base::Result<std::optional<base::Secret>> Octets(const json& secret, const char* member, std::string_view ns) {
  const auto data = secret.find("data");
  if (data == secret.end() || !data->is_object() || !data->contains(member)) return std::optional<base::Secret>();
  const json& value = (*data)[member];
  if (!value.is_string()) return Invalid(ns, fmt::format("{} is not base64", member));
  auto octets = encoding::FromBase64(value.get_ref<const std::string&>());
  if (!octets) return Invalid(ns, fmt::format("{} is not base64", member));
  base::Secret out(std::move(*octets));
  const auto size = out.Reveal().size();
  if (size < crypto::HmacKey::kMinSize || size > crypto::HmacKey::kMaxSize) {
    return Invalid(
        ns, fmt::format("{} must have {} to {} octets", member, crypto::HmacKey::kMinSize, crypto::HmacKey::kMaxSize));
  }
  return std::optional<base::Secret>(std::move(out));
}

base::Result<Sealer> FromSecret(const json& secret, std::string_view ns) {
  std::vector<base::Secret> keys;
  TRY(auto key, Octets(secret, "key", ns));
  if (!key) return Invalid(ns, "has no key");
  keys.push_back(std::move(*key));
  TRY(auto previous, Octets(secret, "previous", ns));
  if (previous) keys.push_back(std::move(*previous));
  return Sealer(std::move(keys));
}

}  // namespace

const kube::Resource& Secrets() {
  static const kube::Resource kResource{"", "v1", "secrets", "Secret", true};
  return kResource;
}

base::Result<Sealer> LoadSealer(kube::ObjectStore& store, std::string_view ns) {
  auto found = store.Get(Secrets(), ns, kSealSecret);
  if (found) return FromSecret(*found, ns);
  if (found.error().code != base::Code::kNotFound) return base::Error(found.error());
  const auto fresh = crypto::HmacKey::Generate();
  const json secret = {{"apiVersion", "v1"},
                       {"kind", "Secret"},
                       {"metadata", {{"name", kSealSecret}, {"namespace", ns}}},
                       {"type", "Opaque"},
                       {"data", {{"key", encoding::ToBase64(fresh.secret().Reveal())}}}};
  auto made = store.Create(Secrets(), ns, secret);
  if (made) return FromSecret(*made, ns);
  if (made.error().code != base::Code::kAlreadyExists) return base::Error(made.error());
  TRY(const json theirs, store.Get(Secrets(), ns, kSealSecret));
  return FromSecret(theirs, ns);
}

}  // namespace signet::authn
