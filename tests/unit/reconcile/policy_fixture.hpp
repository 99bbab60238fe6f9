// tests/unit/reconcile/policy_fixture.hpp - policies, a key ring and a store around a PolicyReconciler.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "fakes.hpp"
#include "fakes/fake_clock.hpp"
#include "fakes/fake_store.hpp"
#include "reconcile/policy_reconciler.hpp"
#include "reconcile/resources.hpp"
#include "support/matchers.hpp"

namespace signet::reconcile {

using base::Code;
using nlohmann::json;
using testing::ConditionOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using testing::FakeClock;
using testing::FakeStore;
using testing::GoodKey;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::kPemA;
using testing::kPemB;
using ::testing::Not;
using Kind = Outcome::Kind;
using namespace std::chrono_literals;

inline json Policy(const std::string& name = "release", bool generate = true) {
  json object = {{"metadata", {{"name", name}}},
                 {"spec",
                  {{"key", {{"uri", "pkcs11:token=prod;object=" + name}}},
                   {"algorithms", {"ECDSAWithSHA256"}},
                   {"subjects", {{{"kind", "ServiceAccount"}, {"namespace", "ci"}, {"name", "builder"}}}}}}};
  if (generate) object["spec"]["key"]["generate"] = {{"algorithm", "ECDSA"}, {"size", 256}};
  return object;
}

class PolicyReconcilerTest : public ::testing::Test {
 protected:
  PolicyReconcilerTest() : store_(clock_), policies_(clock_) { Start(); }
  ~PolicyReconcilerTest() override { loop_.Flush(); }

  void Start(PolicyReconciler::Options options = {}) {
    reconciler_ = std::make_unique<PolicyReconciler>(options, Dependencies());
  }
  PolicyReconciler::Dependencies Dependencies() {
    PolicyReconciler::Dependencies deps;
    deps.reactor = &loop_;
    deps.clock = &clock_;
    deps.store = &store_;
    deps.hsm = &hsm_;
    deps.journal = &journal_;
    deps.policies = &policies_;
    deps.events = &events_;
    deps.cached = [this](std::string_view name) -> std::shared_ptr<const json> {
      const auto it = cache_.find(std::string(name));
      return it == cache_.end() ? nullptr : it->second;
    };
    deps.leads = [this] { return leader_; };
    deps.enqueue = [this](const std::string& name) { enqueued_.insert(name); };
    deps.published = [this](const std::string& name) { published_.push_back(name); };
    return deps;
  }
  void Apply(const json& object) {
    ASSERT_THAT(store_.Create(SigningPolicies(), "", object), testing::IsOk());
    Sync(object["metadata"]["name"]);
  }
  void Edit(const std::string& name, const std::function<void(json&)>& change) {
    json object = Now(name);
    change(object["spec"]);
    ASSERT_THAT(store_.Update(SigningPolicies(), "", name, object), testing::IsOk());
  }
  void Sync(const std::string& name) { cache_[name] = std::make_shared<const json>(Now(name)); }
  json Now(const std::string& name = "release") { return store_.Revisions(SigningPolicies(), "", name).back(); }
  Outcome Reconcile(const std::string& name = "release") {
    auto outcome = reconciler_->Reconcile(name);
    loop_.Flush();
    if (cache_.contains(name)) Sync(name);
    return outcome;
  }
  std::string Reason(const std::string& name = "release", std::string_view type = "Ready") {
    const json condition = ConditionOf(Now(name), type);
    return condition.is_null() ? "" : condition["reason"].get<std::string>();
  }
  std::string Status(const std::string& name = "release", std::string_view type = "Ready") {
    const json condition = ConditionOf(Now(name), type);
    return condition.is_null() ? "" : condition["status"].get<std::string>();
  }
  std::string Message(const std::string& name = "release") { return ConditionOf(Now(name), "Ready")["message"]; }
  bool Usable(const std::string& name = "release") {
    const auto active = policies_.Peek(name);
    return active != nullptr && active->key.has_value();
  }
  std::vector<std::string> JournalTypes() {
    std::vector<std::string> out;
    for (const auto& line : journal_.lines) out.push_back(line.type);
    return out;
  }
  void HaveKey(const std::string& name, std::string_view pem = kPemA) { hsm_.keys[name] = {GoodKey(pem)}; }
  std::size_t Writes() const { return store_.CountCalls("PatchStatus"); }

  FakeClock clock_;
  FakeStore store_;
  testing::LoopThread loop_;
  testing::KeyRing hsm_;
  testing::Ledger journal_;
  testing::EventList events_;
  ClusterPolicies policies_;
  bool leader_ = true;
  std::map<std::string, std::shared_ptr<const json>> cache_;
  std::set<std::string> enqueued_;
  std::vector<std::string> published_;
  std::unique_ptr<PolicyReconciler> reconciler_;
};

}  // namespace signet::reconcile
