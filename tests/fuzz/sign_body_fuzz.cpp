// The bodies of POST /v1/sign and /v1/sign/batch, and the short cut for simple ones against the real parser.
#include <nlohmann/json.hpp>

#include "api/json.hpp"
#include "encoding/json.hpp"
#include "frontend/sign_body.hpp"
#include "frontend/simple_json.hpp"
#include "fuzz/fuzz.hpp"

using namespace signet;

namespace {

void SameText(const nlohmann::json& object, const char* member, const std::optional<std::string_view>& scanned) {
  HOLDS(object.contains(member) == scanned.has_value());
  if (scanned) HOLDS(object[member].is_string() && object[member].get_ref<const std::string&>() == *scanned);
}

void SameItem(const nlohmann::json& object, const frontend::RawItem& item) {
  HOLDS(object.is_object());
  SameText(object, "policy", item.policy);
  SameText(object, "digest", item.digest);
  SameText(object, "message", item.message);
  SameText(object, "algorithm", item.algorithm);
  SameText(object, "encoding", item.encoding);
  HOLDS(object.contains("artifact") == item.artifact);
  if (!item.artifact) return;
  HOLDS(object["artifact"].is_object());
  SameText(object["artifact"], "name", item.artifact_name);
  SameText(object["artifact"], "mediaType", item.artifact_media_type);
}

void Check(const frontend::SignBody& body) {
  const auto& call = body.call;
  HOLDS(!call.policy.empty());
  HOLDS(call.digest.has_value() != call.message.has_value());
  HOLDS(!call.message || call.message->size() <= api::kMaxMessageBytes);
  HOLDS(!call.digest || call.digest->value.size() == encoding::DigestSize(call.digest->hash));
  HOLDS(!call.artifact || api::ValidateArtifactName(call.artifact->name));
  HOLDS(call.approvals.empty() && call.request_uid.empty());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto text = fuzz::AsInput(data, size);
  const auto value = encoding::ParseJson(text);
  if (const auto item = frontend::ScanSignBody(text)) {
    HOLDS(value.has_value());
    SameItem(*value, *item);
  }
  if (const auto batch = frontend::ScanBatchBody(text, frontend::kMaxBatchItems)) {
    HOLDS(value.has_value() && value->is_object());
    SameText(*value, "policy", batch->policy);
    HOLDS(batch->items.size() <= frontend::kMaxBatchItems);
    if (!batch->items.empty()) HOLDS((*value)["items"].size() == batch->items.size());
    for (std::size_t i = 0; i < batch->items.size(); ++i) SameItem((*value)["items"][i], batch->items[i]);
  }
  const auto body = frontend::ParseSignBody(text);
  if (body) {
    HOLDS(value.has_value());
    Check(*body);
  } else {
    HOLDS(body.error().reason == "Malformed" || body.error().reason == "TooLarge");
  }
  if (const auto bodies = frontend::ParseBatchBody(text)) {
    HOLDS(!bodies->empty() && bodies->size() <= frontend::kMaxBatchItems);
    for (const auto& each : *bodies) Check(each);
  }
  return 0;
}
