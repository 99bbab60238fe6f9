#include "signing/policy_set.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "api/json.hpp"
#include "crypto/digest.hpp"
#include "obs/log.hpp"
#include "store/manifest.hpp"

namespace signet::signing {
namespace {

using base::Code;
using nlohmann::json;
using PolicySet = std::map<std::string, LoadedPolicy, std::less<>>;

base::Error Invalid(std::string message) {
  return base::MakeError(Code::kInvalidArgument, "PoliciesInvalid", std::move(message));
}

std::string Text(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

base::Status Add(json document, const std::string& place, PolicySet& set) {
  if (!document.is_object()) return Invalid(fmt::format("{}: not an object (apiVersion, kind, metadata, spec)", place));
  const std::string kind = Text(document, "kind");
  const std::string api_version = Text(document, "apiVersion");
  if (kind.empty() || api_version.empty()) return Invalid(fmt::format("{}: apiVersion and kind are missing", place));
  if (kind != "SigningPolicy") {
    // The folder of an operator's directory store may be shared: its requests are no business of this door.
    const obs::Level level = api_version == api::kApiVersion ? obs::Level::kDebug : obs::Level::kWarn;
    obs::Log(level, "manifest ignored: not a SigningPolicy", {{"place", place}, {"kind", kind}});
    return {};
  }
  if (api_version != api::kApiVersion) {
    return Invalid(fmt::format("{}: apiVersion \"{}\" of SigningPolicy is not known; use {}", place, api_version,
                               api::kApiVersion));
  }
  document.erase("status");
  auto policy = api::PolicyFromJson(document);
  if (!policy) return Invalid(fmt::format("{}: {}", place, policy.error().message));
  const std::string name = policy->metadata.name;
  if (name.empty()) return Invalid(fmt::format("{}: metadata.name is missing", place));
  const std::string canonical = api::CanonicalSpec(document);
  const auto [it, fresh] =
      set.try_emplace(name, LoadedPolicy{std::move(*policy), crypto::Sha256Hex(base::AsBytes(canonical)), place});
  if (!fresh) {
    return Invalid(fmt::format("{}: the policy \"{}\" is defined in {} already", place, name, it->second.place));
  }
  return {};
}

}  // namespace

base::Result<PolicySet> LoadPolicySet(const std::filesystem::path& folder, const store::FolderListing& listing) {
  if (!listing.refused.empty()) return Invalid(listing.refused.front().message);
  PolicySet set;
  for (const store::FolderFile& file : listing.files) {
    const auto text = store::ReadFolderFile(folder, file, kPolicyFolderLimits.file_bytes);
    if (!text && text.error().code == Code::kNotFound) {
      return base::MakeError(Code::kAborted, fmt::format("{}: vanished while it was read", file.name));
    }
    if (!text) return text.error().code == Code::kAborted ? text.error() : Invalid(base::Describe(text.error()));
    auto documents = store::ParseManifest(*text, file.name);
    if (!documents) return Invalid(documents.error().message);
    for (store::Document& document : *documents) {
      TRY_VOID(Add(std::move(document.value), fmt::format("{}:{}", file.name, document.line), set));
    }
  }
  // Two files that belong together must come from one moment.
  TRY(const store::FolderListing now, store::ListFolder(folder, kPolicyFolderLimits));
  if (now != listing) return base::MakeError(Code::kAborted, "the folder changed while it was read");
  return set;
}

}  // namespace signet::signing
