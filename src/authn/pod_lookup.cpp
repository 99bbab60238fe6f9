#include "authn/pod_lookup.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "authn/identity_error.hpp"

namespace signet::authn {
namespace {

using base::Code;

base::Error Gone() { return base::MakeError(Code::kUnauthenticated, "Unauthenticated", "the token's pod is gone"); }

PodLookup::Answer Read(kube::ObjectStore& store, const identity::PodIdentity& pod) {
  const auto object = store.Get(Pods(), pod.ns, pod.name);
  if (!object) {
    if (object.error().code == Code::kNotFound) return Gone();
    return IdentityUnavailable(base::Describe(object.error()));
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
      return Answer(IdentityUnavailable("too many callers wait for the API server"));
    case Cache::Next::kWait:
      break;
    case Cache::Next::kAsk:
      Ask(pod,
          [this, uid = pod.uid](base::SteadyPoint asked, Answer answer) { OnAnswer(uid, asked, std::move(answer)); });
  }
  return std::nullopt;
}

void PodLookup::Ask(const identity::PodIdentity& pod, const Answered& answered) {
  const auto post = [deps = deps_, answered, alive = std::weak_ptr<bool>(alive_)](base::SteadyPoint asked,
                                                                                  Answer answer) {
    deps.reactor->Post([asked, answer = std::move(answer), answered, alive]() mutable {
      if (!alive.expired()) answered(asked, std::move(answer));
    });
  };
  auto ask = [pod, deps = deps_, post, latest = deps_.clock->Steady() + options_.patience] {
    const auto asked = deps.clock->Steady();
    post(asked, asked > latest ? Answer(IdentityUnavailable("the API server is too slow")) : Read(*deps.store, pod));
  };
  // Its token was accepted: it does not wait behind those that may be made up.
  if (deps_.errands->Send(std::move(ask), Errands::Place::kFront)) return;
  post(deps_.clock->Steady(), IdentityUnavailable("too many pods are being asked about"));
}

void PodLookup::OnAnswer(const std::string& uid, base::SteadyPoint asked, Answer answer) {
  const auto now = deps_.clock->Steady();
  if (!answer) return cache_.Fail(uid, answer.error(), now);
  const auto age = (*answer)->images.complete ? options_.max_age : std::min(options_.pending_age, options_.max_age);
  cache_.Finish(uid, std::move(answer), now, asked + age, asked + age);
}

void PodLookup::ReadNow(const identity::PodIdentity& pod, Cache::Done done) {
  if (readers_ >= options_.waiters) {
    deps_.reactor->Post(
        [done = std::move(done)] { done(IdentityUnavailable("too many callers wait for the API server")); });
    return;
  }
  ++readers_;
  const auto [reads, first] = reads_.try_emplace(pod.uid);
  // What a read under way will show may be older than this call.
  reads->second.next.push_back(std::move(done));
  if (first) StartRead(pod);
}

void PodLookup::StartRead(const identity::PodIdentity& pod) {
  auto& reads = reads_.at(pod.uid);
  reads.running = std::exchange(reads.next, {});
  Ask(pod, [this, pod](base::SteadyPoint /*asked*/, const Answer& answer) {
    const auto found = reads_.find(pod.uid);
    const auto served = std::exchange(found->second.running, {});
    readers_ -= served.size();
    if (found->second.next.empty()) {
      reads_.erase(found);
    } else {
      StartRead(pod);
    }
    for (const auto& done : served) done(answer);
  });
}

}  // namespace signet::authn
