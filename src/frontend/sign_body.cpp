#include "frontend/sign_body.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "api/json.hpp"
#include "encoding/json.hpp"
#include "encoding/text.hpp"
#include "frontend/simple_json.hpp"

namespace signet::frontend {
namespace {

using base::Code;
using base::Error;
using base::MakeError;
using base::Result;
using nlohmann::json;

constexpr std::size_t kMaxPolicyName = 253;
constexpr std::size_t kMaxMessageText = (api::kMaxMessageBytes + 2) / 3 * 4;

Error Bad(std::string_view path, std::string_view member, std::string_view what) {
  return MakeError(Code::kInvalidArgument, "Malformed", fmt::format("{}{}: {}", path, member, what));
}

/// Where an item stands: "" or "items[3]."; put together only for messages.
struct Place {
  std::optional<std::size_t> index;
  [[nodiscard]] std::string Path() const { return index ? fmt::format("items[{}].", *index) : std::string(); }
};

Result<api::Artifact> BuildArtifact(const json& artifact, const Place& place) {
  auto built = api::ArtifactFromJson(artifact, place.Path() + "artifact");
  if (built) return std::move(*built);
  return MakeError(Code::kInvalidArgument, "Malformed", built.error().message);
}

base::Status BuildInput(const RawItem& raw, const Place& place, signing::SignCall& call) {
  if (raw.digest.has_value() == raw.message.has_value()) {
    return Bad(place.Path(), "digest",
               raw.digest ? "and message exclude each other: send one" : "or message is missing");
  }
  if (raw.digest) {
    auto digest = api::ParseDigest(*raw.digest);
    if (!digest) return Bad(place.Path(), "digest", digest.error().message);
    call.digest = std::move(*digest);
    return {};
  }
  if (raw.message->size() > kMaxMessageText) {
    return MakeError(Code::kInvalidArgument, "TooLarge",
                     place.Path() + "message: at most 64 KiB; sign a digest of what is larger");
  }
  auto message = encoding::FromBase64(*raw.message);
  if (!message) return Bad(place.Path(), "message", message.error().message);
  if (message->size() > api::kMaxMessageBytes) {
    return MakeError(Code::kInvalidArgument, "TooLarge",
                     place.Path() + "message: at most 64 KiB; sign a digest of what is larger");
  }
  call.message = std::move(*message);
  return {};
}

Result<SignBody> Build(const RawItem& raw, std::string_view policy, const json* artifact, const Place& place) {
  SignBody body;
  body.call.policy = policy;
  TRY_VOID(BuildInput(raw, place, body.call));
  if (raw.algorithm) {
    body.call.algorithm = encoding::ParseSignatureAlgorithm(*raw.algorithm);
    if (!body.call.algorithm) {
      return Bad(place.Path(), "algorithm",
                 "unknown; one of ECDSAWithSHA256, SHA256WithRSA, SHA256WithRSAPSS, "
                 "their 384 and 512 forms, and PureEd25519");
    }
  }
  if (raw.encoding) {
    if (*raw.encoding == "p1363") {
      body.encoding = SignatureEncoding::kP1363;
    } else if (*raw.encoding != "asn1") {
      return Bad(place.Path(), "encoding", "asn1 or p1363");
    }
  }
  if (artifact != nullptr) {
    TRY(body.call.artifact, BuildArtifact(*artifact, place));
  } else if (raw.artifact) {
    json members = json::object();
    if (raw.artifact_name) members["name"] = *raw.artifact_name;
    if (raw.artifact_media_type) members["mediaType"] = *raw.artifact_media_type;
    TRY(body.call.artifact, BuildArtifact(members, place));
  }
  return body;
}

Result<std::string_view> CheckPolicy(std::optional<std::string_view> policy) {
  if (!policy) return Bad("", "policy", "missing: name the SigningPolicy to sign under");
  if (policy->empty() || policy->size() > kMaxPolicyName) return Bad("", "policy", "a name has 1 to 253 characters");
  return *policy;
}

/// Members of a parsed item as views into it. `artifact` is handed out as it is.
Result<RawItem> ReadItem(const json& value, bool with_policy, const Place& place, const json** artifact) {
  const std::string path = place.Path();
  if (!value.is_object()) {
    return MakeError(Code::kInvalidArgument, "Malformed",
                     place.index ? fmt::format("items[{}]: not an object", *place.index) : "the body is not an object");
  }
  RawItem raw;
  for (const auto& [name, member] : value.items()) {
    std::optional<std::string_view>* out = nullptr;
    if (name == "policy" && with_policy) out = &raw.policy;
    if (name == "digest") out = &raw.digest;
    if (name == "message") out = &raw.message;
    if (name == "algorithm") out = &raw.algorithm;
    if (name == "encoding") out = &raw.encoding;
    if (name == "artifact") {
      *artifact = &member;
      continue;
    }
    if (out == nullptr) return Bad(path, name.substr(0, 64), "unknown member");
    if (!member.is_string()) return Bad(path, name, "not a string");
    *out = member.get_ref<const std::string&>();
  }
  return raw;
}

Result<std::vector<SignBody>> BuildBatch(const RawBatch& batch) {
  TRY(const std::string_view policy, CheckPolicy(batch.policy));
  std::vector<SignBody> bodies;
  bodies.reserve(batch.items.size());
  for (std::size_t i = 0; i < batch.items.size(); ++i) {
    TRY(auto body, Build(batch.items[i], policy, nullptr, {i}));
    bodies.push_back(std::move(body));
  }
  return bodies;
}

}  // namespace

Result<SignBody> ParseSignBody(std::string_view text) {
  if (const auto raw = ScanSignBody(text)) {
    TRY(const std::string_view policy, CheckPolicy(raw->policy));
    return Build(*raw, policy, nullptr, {});
  }
  TRY(const json document, encoding::ParseJson(text));
  const json* artifact = nullptr;
  TRY(const RawItem raw, ReadItem(document, true, {}, &artifact));
  TRY(const std::string_view policy, CheckPolicy(raw.policy));
  return Build(raw, policy, artifact, {});
}

Result<std::vector<SignBody>> ParseBatchBody(std::string_view text) {
  if (const auto batch = ScanBatchBody(text, kMaxBatchItems)) return BuildBatch(*batch);
  TRY(const json document, encoding::ParseJson(text));
  if (!document.is_object()) return MakeError(Code::kInvalidArgument, "Malformed", "the body is not an object");
  std::optional<std::string_view> name;
  const json* items = nullptr;
  for (const auto& [member, value] : document.items()) {
    if (member == "policy") {
      if (!value.is_string()) return Bad("", "policy", "not a string");
      name = value.get_ref<const std::string&>();
    } else if (member == "items") {
      items = &value;
    } else {
      return Bad("", member.substr(0, 64), "unknown member");
    }
  }
  TRY(const std::string_view policy, CheckPolicy(name));
  if (items == nullptr || !items->is_array() || items->empty() || items->size() > kMaxBatchItems) {
    return Bad("", "items", "a list of 1 to 256 items is needed");
  }
  std::vector<SignBody> bodies;
  bodies.reserve(items->size());
  for (std::size_t i = 0; i < items->size(); ++i) {
    const json* artifact = nullptr;
    TRY(const RawItem raw, ReadItem((*items)[i], false, {i}, &artifact));
    TRY(auto body, Build(raw, policy, artifact, {i}));
    bodies.push_back(std::move(body));
  }
  return bodies;
}

}  // namespace signet::frontend
