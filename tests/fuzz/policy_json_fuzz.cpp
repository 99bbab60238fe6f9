// A policy as a file or the API server brings it, up to a decision.
#include <nlohmann/json.hpp>

#include "api/json.hpp"
#include "encoding/json.hpp"
#include "fuzz/fuzz.hpp"
#include "policy/decide.hpp"

using namespace signet;

namespace {
void Decide(api::SigningPolicy policy) {
  const auto compiled = policy::CompiledPolicy::Compile(std::move(policy));
  if (!compiled) return;  // an unknown time zone
  identity::Principal principal;
  principal.username = "system:serviceaccount:payments-ci:ci-main";
  principal.groups = {"release-engineers"};
  const std::map<std::string, std::string> labels = {{"signet.dev/tier", "production"}};
  const std::function<const std::map<std::string, std::string>*(std::string_view)> lookup = [&](std::string_view) {
    return &labels;
  };
  const api::Artifact artifact{"registry.example.com/payments/api:1", "application/zip", {}};
  policy::Facts facts;
  facts.principal = &principal;
  facts.namespace_labels = &lookup;
  facts.artifact = &artifact;
  facts.now = base::TimePoint(std::chrono::seconds(1'774'747'800));  // 2026-03-29T01:30:00Z, after Berlin's change
  const auto decision = (*compiled)->Decide(facts);
  HOLDS(decision.allowed() == decision.message.empty());
  HOLDS(!decision.retry_at || *decision.retry_at > facts.now);
  if (decision.allowed()) HOLDS(!(*compiled)->policy().spec.suspend);
  if (decision.allowed()) HOLDS((*compiled)->policy().spec.algorithms.front() == decision.algorithm);
  HOLDS((decision.reason == policy::Reason::kNotAllowed) != (*compiled)->IsSubject(facts));
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto object = encoding::ParseJson(fuzz::AsInput(data, size));
  if (!object) return 0;
  HOLDS(encoding::ParseJson(api::CanonicalSpec(*object)).has_value());
  auto policy = api::PolicyFromJson(*object);
  if (!policy) {
    HOLDS(policy.error().code == base::Code::kInvalidArgument && !policy.error().message.empty());
    return 0;
  }
  HOLDS(!policy->metadata.name.empty());
  HOLDS(policy->spec.key.uri.object || policy->spec.key.uri.id);
  HOLDS(!policy->spec.algorithms.empty());
  (void)api::StatusToJson(policy->status).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  Decide(std::move(*policy));
  return 0;
}
