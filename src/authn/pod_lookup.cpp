#include "authn/pod_lookup.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

namespace signet::authn {
namespace {

using base::Code;

base::Error Gone() { return base::MakeError(Code::kUnauthenticated, "Unauthenticated", "the token's pod is gone"); }

base::Error Unavailable(std::string why) {
  return base::MakeError(Code::kUnavailable, "IdentityUnavailable", std::move(why));
}

PodLookup::Answer Read(kube::ObjectStore& store, const identity::PodIdentity& pod) {
  const auto object = store.Get(Pods(), pod.ns, pod.name);
  if (!object) {
    if (object.error().code == Code::kNotFound) return Gone();
    return Unavailable(base::Describe(object.error()));
  }
  auto facts = PodFactsOf(*object);
  if (!facts || facts->pod.uid != pod.uid) return Gone();
  return std::make_shared<const PodFacts>(std::move(*facts));
}

}  // namespace

std::optional<PodLookup::Answer> PodLookup::Find(const identity::PodIdentity& pod, Cache::Done later) {
  if (const Answer* known = cache_.Find(pod.uid, deps_.clock->Steady())) return *known;
  switch (cache_.Join(pod.uid, std::move(later))) {
    case Cache::Next::kFull:
      return Answer(Unavailable("too many callers wait for the API server"));
    case Cache::Next::kWait:
      break;
    case Cache::Next::kAsk:
      Ask(pod);
  }
  return std::nullopt;
}

void PodLookup::Ask(const identity::PodIdentity& pod) {
  auto ask = [this, pod, deps = deps_, alive = std::weak_ptr<bool>(alive_),
              latest = deps_.clock->Steady() + options_.patience] {
    const auto asked = deps.clock->Steady();
    auto answer = std::make_shared<Answer>(asked > latest ? Answer(Unavailable("the API server is too slow"))
                                                          : Read(*deps.store, pod));
    deps.reactor->Post([this, uid = pod.uid, asked, answer, alive] {
      if (!alive.expired()) OnAnswer(uid, asked, std::move(*answer));
    });
  };
  // Its token was accepted: it does not wait behind those that may be made up.
  if (deps_.errands->Send(std::move(ask), Errands::Place::kFront)) return;
  deps_.reactor->Post([this, uid = pod.uid, asked = deps_.clock->Steady(), alive = std::weak_ptr<bool>(alive_)] {
    if (!alive.expired()) OnAnswer(uid, asked, Unavailable("too many pods are being asked about"));
  });
}

void PodLookup::OnAnswer(const std::string& uid, base::SteadyPoint asked, Answer answer) {
  const auto now = deps_.clock->Steady();
  if (!answer) return cache_.Fail(uid, answer.error(), now);
  const auto age = (*answer)->images.complete ? options_.max_age : std::min(options_.pending_age, options_.max_age);
  cache_.Finish(uid, std::move(answer), now, asked + age, asked + age);
}

}  // namespace signet::authn
