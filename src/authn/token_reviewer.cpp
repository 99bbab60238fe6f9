#include "authn/token_reviewer.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "authn/bearer_token.hpp"
#include "authn/identity_error.hpp"
#include "authn/pod_facts.hpp"
#include "base/secret.hpp"
#include "crypto/digest.hpp"
#include "encoding/json.hpp"
#include "obs/log.hpp"
#include "obs/metrics.hpp"

namespace signet::authn {
namespace {

using base::Code;
using encoding::At;
using encoding::TextAt;
using nlohmann::json;

constexpr const char* kPodName = "authentication.kubernetes.io/pod-name";
constexpr const char* kPodUid = "authentication.kubernetes.io/pod-uid";
constexpr const char* kNodeName = "authentication.kubernetes.io/node-name";
constexpr std::chrono::seconds kWarnEvery{10};
constexpr std::chrono::seconds kTellEvery{1};
constexpr std::size_t kMostValues = 64;  // of groups, and of a member of extra

const kube::Resource& TokenReviews() {
  static const kube::Resource kResource{"authentication.k8s.io", "v1", "tokenreviews", "TokenReview", false};
  return kResource;
}

std::vector<std::string> Texts(const json& list) {
  std::vector<std::string> out;
  if (!list.is_array()) return out;
  for (const json& entry : list) {
    if (entry.is_string() && out.size() < kMostValues) out.push_back(entry.get<std::string>());
  }
  return out;
}

std::string FirstOf(const identity::Principal& principal, const char* name) {
  const auto found = principal.extra.find(name);
  return found == principal.extra.end() || found->second.empty() ? std::string() : found->second.front();
}

base::Result<ReviewedPod> PodOf(const json& review, const std::string& audience) {
  const json& status = At(review, "status");
  const json& authenticated = At(status, "authenticated");
  if (!authenticated.is_boolean() || !authenticated.get<bool>()) {
    return Unauthenticated("the API server does not know the token: it may have expired, or its pod is gone");
  }
  const auto audiences = Texts(At(status, "audiences"));
  if (std::find(audiences.begin(), audiences.end(), audience) == audiences.end()) {
    return Unauthenticated("the token is for another audience");
  }
  ReviewedPod out;
  const json& user = At(status, "user");
  out.principal.username = TextAt(user, "username");
  out.principal.uid = TextAt(user, "uid");
  out.principal.groups = Texts(At(user, "groups"));
  out.principal.proof = identity::Proof::kTokenReview;
  if (const json& extra = At(user, "extra"); extra.is_object()) {
    for (const auto& [name, values] : extra.items()) out.principal.extra[name] = Texts(values);
  }
  const auto account = identity::ParseServiceAccount(out.principal.username);
  if (!account) return Unauthenticated("the token is not a service account's");
  out.pod.ns = std::string(account->ns);
  out.pod.name = FirstOf(out.principal, kPodName);
  out.pod.uid = FirstOf(out.principal, kPodUid);
  out.pod.node = FirstOf(out.principal, kNodeName);
  if (out.pod.name.empty() || out.pod.uid.empty()) return Unauthenticated("the token is not bound to a pod");
  return out;
}

/// What the pod itself says. Without the right to read it, or with nobody to ask, the node stays unknown.
base::Status ReadNode(kube::ObjectStore& store, identity::PodIdentity& pod) {
  const auto object = store.Get(Pods(), pod.ns, pod.name);
  if (!object) {
    if (object.error().code == Code::kNotFound) return Unauthenticated("the token's pod is gone");
    return {};
  }
  const auto facts = PodFactsOf(*object);
  if (!facts || facts->pod.uid != pod.uid) return Unauthenticated("the token's pod is gone");
  pod.node = facts->pod.node;
  return {};
}

void Count(const TokenReviewer::Answer& answer, double seconds) {
  const char* result = "accepted";
  if (!answer) result = answer.error().code == Code::kUnauthenticated ? "refused" : "unavailable";
  obs::GetCounter("signet_token_reviews_total", "Tokens that the API server was asked about.", {{"result", result}})
      .Add();
  obs::GetHistogram("signet_token_review_seconds", "From the question about a token to its answer.").Observe(seconds);
}

}  // namespace

TokenReviewer::Answer ReviewToken(kube::ObjectStore& store, const std::string& audience, const std::string& token) {
  const json question = {{"apiVersion", "authentication.k8s.io/v1"},
                         {"kind", "TokenReview"},
                         {"metadata", json::object()},
                         {"spec", {{"token", token}, {"audiences", {audience}}}}};
  const auto review = store.Review(TokenReviews(), question);
  if (!review) return IdentityUnavailable(base::Describe(review.error()));
  TRY(auto pod, PodOf(*review, audience));
  if (pod.pod.node.empty()) TRY_VOID(ReadNode(store, pod.pod));
  return std::make_shared<const ReviewedPod>(std::move(pod));
}

TokenReviewer::TokenReviewer(Options options, Dependencies dependencies)
    : options_(std::move(options)),
      deps_(dependencies),
      cache_({options_.entries, options_.waiters, options_.refusals}) {}

std::optional<TokenReviewer::Answer> TokenReviewer::Review(std::string_view token, Cache::Done later,
                                                           const std::string& source) {
  const auto hash = crypto::Sha256(base::AsBytes(token));
  const std::string key(hash.begin(), hash.end());
  bool renew = false;
  if (const Answer* known = cache_.Find(key, deps_.clock->Steady(), &renew)) {
    Answer answer = *known;  // Ask may let it go
    if (renew && *known) {
      const auto ends = CheckToken(token, options_.audience, deps_.clock->Now());
      if (ends && cache_.Join(key, {}) == Cache::Next::kAsk) Ask(key, token, *ends, Errands::Place::kFront, source);
    }
    return answer;
  }
  const auto ends = CheckToken(token, options_.audience, deps_.clock->Now());
  if (!ends) return Answer(ends.error());
  const auto place = cache_.WasAccepted(key) ? Errands::Place::kFront : Errands::Place::kBack;
  switch (cache_.Join(key, std::move(later))) {
    case Cache::Next::kFull:
      return Answer(IdentityUnavailable("too many callers wait for the API server"));
    case Cache::Next::kWait:
      break;
    case Cache::Next::kAsk:
      Ask(key, token, *ends, place, source);
  }
  return std::nullopt;
}

void TokenReviewer::Ask(const std::string& key, std::string_view token, base::TimePoint ends, Errands::Place place,
                        const std::string& source) {
  auto ask = [this, key, ends, token = std::string(token), audience = options_.audience, deps = deps_,
              alive = std::weak_ptr<bool>(alive_), latest = deps_.clock->Steady() + options_.patience]() mutable {
    const auto asked = deps.clock->Steady();
    auto answer = std::make_shared<Answer>(asked > latest ? Answer(IdentityUnavailable("the API server is too slow"))
                                                          : ReviewToken(*deps.store, audience, token));
    base::WipeMemory(token.data(), token.size());
    Count(*answer, std::chrono::duration<double>(deps.clock->Steady() - asked).count());
    deps.reactor->Post([this, key, ends, asked, answer, alive] {
      if (!alive.expired()) OnAnswer(key, ends, asked, std::move(*answer));
    });
  };
  // Not from inside the caller's call.
  auto drop = [this, key, ends, deps = deps_, asked = deps_.clock->Steady(), alive = std::weak_ptr<bool>(alive_)] {
    deps.reactor->Post([this, key, ends, asked, alive] {
      if (!alive.expired()) OnAnswer(key, ends, asked, IdentityUnavailable("too many tokens are being asked about"));
    });
  };
  if (!deps_.errands->Send({std::move(ask), drop}, place, source)) drop();
}

void TokenReviewer::OnAnswer(const std::string& key, base::TimePoint ends, base::SteadyPoint asked, Answer answer) {
  const auto now = deps_.clock->Steady();
  if (answer) {
    const auto until =
        std::min(asked + options_.max_age,
                 now + std::chrono::duration_cast<base::SteadyPoint::duration>(ends - deps_.clock->Now()));
    return cache_.Finish(key, std::move(answer), now, asked + options_.max_age / 2, until);
  }
  if (answer.error().code == Code::kUnauthenticated) {
    if (told_at_ == base::SteadyPoint{} || now - told_at_ >= kTellEvery) {
      told_at_ = now;
      obs::Info("refused a token", {{"why", answer.error().message}});
    }
    cache_.Forget(key);
    const auto until = now + options_.refusal_age;
    return cache_.Finish(key, std::move(answer), now, until, until);
  }
  if (warned_at_ == base::SteadyPoint{} || now - warned_at_ >= kWarnEvery) {
    warned_at_ = now;
    obs::Warn("callers cannot be identified", {{"error", answer.error().message}});
  }
  cache_.Fail(key, answer.error(), now);
}

}  // namespace signet::authn
