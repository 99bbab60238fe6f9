#include "api/object_json.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "api/json.hpp"
#include "api/limits.hpp"
#include "api/scalars.hpp"
#include "encoding/text.hpp"

namespace signet::api {
namespace {

using base::Code;
using base::MakeError;
using base::Result;
using base::Status;
using nlohmann::json;

/// The string member, or nothing when it is absent or no string.
std::string TextOr(const json& object, const char* key, std::string fallback = {}) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : std::move(fallback);
}

Status ReadName(const Node& metadata, const char* member, bool required, std::string& out) {
  const auto node = metadata.Find(member);
  if (!node && !required) return {};
  TRY(const auto found, metadata.Get(member));
  TRY(const auto text, found.Text(required ? 1 : 0, limits::kObjectName));
  out = std::string(text);
  return {};
}

}  // namespace

Result<ObjectMeta> MetadataFromJson(const json& object) {
  const Node root(object, "");
  if (!object.is_object()) return root.Bad("must be an object");
  TRY(const auto metadata, root.Get("metadata"));
  if (!metadata.value().is_object()) return metadata.Bad("must be an object");
  ObjectMeta out;
  TRY_VOID(ReadName(metadata, "name", true, out.name));
  TRY_VOID(ReadName(metadata, "namespace", false, out.ns));
  const json& fields = metadata.value();
  out.uid = TextOr(fields, "uid");
  out.resource_version = TextOr(fields, "resourceVersion");
  if (const auto it = fields.find("generation"); it != fields.end() && it->is_number_integer()) {
    out.generation = it->get<std::int64_t>();
  }
  if (const auto time = base::ParseTime(TextOr(fields, "creationTimestamp"))) out.creation_time = *time;
  if (const auto it = fields.find("deletionTimestamp"); it != fields.end()) out.deleting = !it->is_null();
  return out;
}

Status CheckEnvelope(const json& object, std::string_view kind) {
  const Node root(object, "");
  TRY_VOID(root.OnlyMembers({"apiVersion", "kind", "metadata", "spec", "status"}));
  if (const auto version = root.Find("apiVersion"); version && version->value() != kApiVersion) {
    return version->Bad(fmt::format("must be {}", kApiVersion));
  }
  if (const auto found = root.Find("kind"); found && found->value() != kind) {
    return found->Bad(fmt::format("must be {}", kind));
  }
  return {};
}

Result<SignatureAlgorithm> ReadAlgorithm(const Node& node) {
  TRY(const auto text, node.Text(1, 32));
  const auto algorithm = encoding::ParseSignatureAlgorithm(text);
  if (algorithm) return *algorithm;
  std::string names;
  for (const auto& info : encoding::Algorithms()) names += (names.empty() ? "" : ", ") + std::string(info.name);
  return node.Bad("must be one of " + names);
}

Result<std::chrono::seconds> ReadDuration(const Node& node, std::chrono::seconds shortest) {
  TRY(const auto text, node.Text(1, limits::kDuration));
  auto duration = ParseDuration(text);
  if (!duration) return node.Bad(duration.error().message);
  if (*duration < shortest) return node.Bad(fmt::format("must be at least {}s", shortest.count()));
  return *duration;
}

Result<Artifact> ReadArtifact(const Node& node) {
  TRY_VOID(node.OnlyMembers({"name", "mediaType", "annotations"}));
  Artifact out;
  TRY(const auto name, node.Get("name"));
  if (!name.value().is_string()) return name.Bad("must be a string");
  out.name = name.value().get_ref<const std::string&>();
  if (auto valid = ValidateArtifactName(out.name); !valid) return name.Bad(valid.error().message);
  if (const auto type = node.Find("mediaType")) {
    TRY(const auto text, type->Text(1, limits::kMediaType));
    if (!IsMediaType(text)) return type->Bad("must be type/subtype, without parameters");
    out.media_type = std::string(text);
  }
  if (const auto annotations = node.Find("annotations")) {
    TRY_VOID(annotations->EachMember(limits::kAnnotations, [&](const std::string& key, const Node& value) -> Status {
      if (key.empty() || key.size() > limits::kAnnotationKey) return value.Bad("a key has 1 to 253 characters");
      TRY(const auto text, value.Text(0, limits::kAnnotationValue));
      out.annotations.emplace(key, text);
      return {};
    }));
  }
  return out;
}

Result<Artifact> ArtifactFromJson(const json& artifact, std::string_view path) {
  return ReadArtifact(Node(artifact, path));
}

Result<Digest> ParseDigest(std::string_view text) {
  const auto bad = [](const std::string& what) { return MakeError(Code::kInvalidArgument, "Invalid", what); };
  const auto colon = text.find(':');
  const auto hash = encoding::ParseHashAlgorithm(text.substr(0, colon));
  if (colon == std::string_view::npos || !hash) return bad("must be sha256:<hex>, sha384:<hex> or sha512:<hex>");
  const auto hex = text.substr(colon + 1);
  const bool lower =
      std::all_of(hex.begin(), hex.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
  if (!lower || hex.size() != 2 * encoding::DigestSize(*hash)) {
    return bad(fmt::format("a {} digest has {} lower-case hex digits", encoding::Name(*hash),
                           2 * encoding::DigestSize(*hash)));
  }
  TRY(auto value, encoding::FromHex(hex));
  return Digest{*hash, std::move(value)};
}

std::string FormatDigest(const Digest& digest) {
  return fmt::format("{}:{}", encoding::Name(digest.hash), encoding::ToHex(digest.value));
}

std::string CanonicalSpec(const json& object) {
  // nlohmann's objects are sorted maps, so a plain dump is already canonical.
  const auto it = object.is_object() ? object.find("spec") : object.end();
  return it == object.end() ? "null" : it->dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace signet::api
