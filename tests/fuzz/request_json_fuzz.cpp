#include <nlohmann/json.hpp>

#include "api/json.hpp"
#include "encoding/json.hpp"
#include "fuzz/fuzz.hpp"

using namespace signet;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto object = encoding::ParseJson(fuzz::AsInput(data, size));
  if (!object) return 0;
  (void)api::ArtifactFromJson(*object, "artifact");
  const auto request = api::RequestFromJson(*object);
  if (!request) {
    HOLDS(request.error().code == base::Code::kInvalidArgument && !request.error().message.empty());
    return 0;
  }
  const auto& spec = request->spec;
  HOLDS(!spec.policy_name.empty());
  HOLDS(spec.digest.has_value() != spec.message.has_value());
  HOLDS(!spec.message || spec.message->size() <= api::kMaxMessageBytes);
  HOLDS(!spec.algorithm || !spec.digest || encoding::Info(*spec.algorithm).hash == spec.digest->hash);
  HOLDS(!spec.artifact || api::ValidateArtifactName(spec.artifact->name));
  HOLDS(spec.expires_after >= std::chrono::minutes(1) && spec.expires_after <= std::chrono::hours(8760));
  HOLDS(!spec.requester || !spec.requester->username.empty());
  (void)api::StatusToJson(request->status).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return 0;
}
