#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "api/json.hpp"
#include "api/limits.hpp"
#include "api/node.hpp"
#include "api/object_json.hpp"
#include "api/scalars.hpp"
#include "encoding/text.hpp"

namespace signet::api {
namespace {

using base::Result;
using base::Status;

Result<base::Bytes> ReadMessage(const Node& node) {
  TRY(const auto text, node.Text(0, limits::kMessageText));
  auto decoded = encoding::FromBase64(text);
  if (!decoded) return node.Bad("must be base64 (RFC 4648 section 4: padded, no line breaks)");
  if (decoded->size() > kMaxMessageBytes) {
    return node.Bad(fmt::format("has more than {} bytes: send a digest", kMaxMessageBytes));
  }
  return std::move(*decoded);
}

/// The part that the request alone can answer; the policy's default algorithm is not known here.
Status CheckScheme(const Node& spec, const SigningRequestSpec& out) {
  if (!out.algorithm) return {};
  const auto& info = encoding::Info(*out.algorithm);
  if (!out.digest) return {};
  const Node digest = *spec.Find("digest");
  if (!info.hash) return digest.Bad(fmt::format("{} signs the message itself: give message instead", info.name));
  if (*info.hash != out.digest->hash) {
    return digest.Bad(fmt::format("{} needs a {} digest", info.name, encoding::Name(*info.hash)));
  }
  return {};
}

Status ReadInput(const Node& spec, SigningRequestSpec& out) {
  const auto digest = spec.Find("digest");
  const auto message = spec.Find("message");
  if (digest.has_value() == message.has_value()) return spec.Bad("exactly one of digest and message is needed");
  if (message) {
    TRY(out.message, ReadMessage(*message));
    return {};
  }
  TRY(const auto text, digest->Text(0, limits::kDigestText));
  auto parsed = ParseDigest(text);
  if (!parsed) return digest->Bad(parsed.error().message);
  out.digest = std::move(*parsed);
  return {};
}

Result<SigningRequestSpec> ReadRequestSpec(const Node& spec) {
  TRY_VOID(spec.OnlyMembers({"policyRef", "digest", "message", "algorithm", "artifact", "expiresAfter",
                             "ttlSecondsAfterFinished", "requester", "stamp"}));
  SigningRequestSpec out;
  TRY(const auto reference, spec.Get("policyRef"));
  TRY_VOID(reference.OnlyMembers({"name"}));
  TRY(const auto name, reference.Get("name"));
  TRY(const auto name_text, name.Text(1, limits::kObjectName));
  if (!IsDnsSubdomain(name_text))
    return name.Bad(
        "must be the name of a SigningPolicy, of lower-case letters, digits, - and ., with a letter or digit at both "
        "ends");
  out.policy_name = std::string(name_text);
  TRY_VOID(ReadInput(spec, out));
  if (const auto algorithm = spec.Find("algorithm")) {
    TRY(out.algorithm, ReadAlgorithm(*algorithm));
  }
  TRY_VOID(CheckScheme(spec, out));
  if (const auto artifact = spec.Find("artifact")) {
    TRY(out.artifact, ReadArtifact(*artifact));
  }
  if (const auto expires = spec.Find("expiresAfter")) {
    TRY(out.expires_after, ReadDuration(*expires, limits::kShortestExpiry));
  }
  if (const auto ttl = spec.Find("ttlSecondsAfterFinished")) {
    TRY(out.ttl_seconds_after_finished, ttl->Integer(0, limits::kTtlSeconds));
  }
  if (const auto requester = spec.Find("requester")) {
    TRY(out.requester, ReadUserInfo(*requester));
  }
  if (const auto stamp = spec.Find("stamp")) {
    TRY(out.stamp, ReadStamp(*stamp));
  }
  return out;
}

}  // namespace

Result<SigningRequest> RequestFromJson(const nlohmann::json& object) {
  TRY_VOID(CheckEnvelope(object, "SigningRequest"));
  SigningRequest out;
  TRY(out.metadata, MetadataFromJson(object));
  const Node root(object, "");
  TRY(const auto spec, root.Get("spec"));
  TRY(out.spec, ReadRequestSpec(spec));
  if (const auto status = object.find("status"); status != object.end()) out.status = RequestStatusFromJson(*status);
  return out;
}

}  // namespace signet::api
