// The bodies of POST /mutate and /validate.
#include <nlohmann/json.hpp>

#include "base/clock.hpp"
#include "encoding/json.hpp"
#include "frontend/admission.hpp"
#include "fuzz/fuzz.hpp"

using namespace signet;

namespace {

const authn::Sealer& TheSealer() {
  static const authn::Sealer kSealer = [] {
    std::vector<base::Secret> keys;
    keys.emplace_back(base::Bytes(32, 1));
    return authn::Sealer(std::move(keys));
  }();
  return kSealer;
}

frontend::AdmissionVerdict Ask(const frontend::Admission& admission, const frontend::AdmissionReview& review,
                               bool mutate) {
  std::optional<frontend::AdmissionVerdict> verdict;
  const auto answer = [&](frontend::AdmissionVerdict given) {
    HOLDS(!verdict.has_value());
    verdict = std::move(given);
  };
  if (mutate) {
    admission.Mutate(review, answer);
  } else {
    admission.Validate(review, answer);
  }
  HOLDS(verdict.has_value());
  return *verdict;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto review = frontend::ParseAdmissionReview(fuzz::AsInput(data, size));
  if (!review) {
    HOLDS(review.error().reason == "Malformed");
    return 0;
  }
  HOLDS(!review->uid.empty() && !review->user.username.empty());
  HOLDS(review->user_info["username"] == review->user.username);
  frontend::Admission::Dependencies dependencies;
  dependencies.clock = &base::SystemClock();
  dependencies.sealer = &TheSealer();
  const frontend::Admission admission({"operator"}, std::move(dependencies));

  const auto mutated = Ask(admission, *review, true);
  const auto answer = encoding::ParseJson(frontend::RenderAdmissionReview(review->uid, mutated));
  HOLDS(answer.has_value() && (*answer)["response"]["uid"] == review->uid);
  if (!mutated.allowed) HOLDS(!mutated.message.empty() && !(*answer)["response"].contains("patch"));
  if (mutated.patch.is_array()) {
    const auto patched = review->object.patch(mutated.patch);
    const char* who = review->kind == "SigningRequest" ? "requester" : "approver";
    HOLDS(patched["spec"][who] == review->user_info);
    HOLDS(TheSealer().Verifies(review->kind, review->ns, patched["spec"]));
    review->object = patched;
  }
  // A policy's change would be recorded and a dry run explained: neither is here.
  if (review->kind == "SigningPolicy" || review->dry_run) return 0;
  const auto validated = Ask(admission, *review, false);
  HOLDS(validated.allowed || !validated.message.empty());
  HOLDS(encoding::ParseJson(frontend::RenderAdmissionReview(review->uid, validated)).has_value());
  return 0;
}
