// tests/unit/reconcile/request_fixture.hpp - one request, its policy and a scripted service around a RequestReconciler.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <set>

#include "fakes.hpp"
#include "fakes/fake_clock.hpp"
#include "fakes/fake_store.hpp"
#include "reconcile/request_reconciler.hpp"
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
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using Kind = Outcome::Kind;
using namespace std::chrono_literals;

inline const RequestKey kKey{"ci", "app"};

inline json Request(const json& extra = json::object()) {
  json object = {{"metadata", {{"name", "app"}}},
                 {"spec",
                  {{"policyRef", {{"name", "release"}}},
                   {"digest", "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"},
                   {"requester", {{"username", "system:serviceaccount:ci:builder"}}}}}};
  object["spec"].update(extra);
  return object;
}

class RequestReconcilerTest : public ::testing::Test {
 protected:
  explicit RequestReconcilerTest(bool trusts = true) : store_(clock_, trusts) {}
  ~RequestReconcilerTest() override { loop_.Flush(); }

  void Start(const std::vector<audit::OpenOperation>& unsettled = {}, RequestReconciler::Options options = {}) {
    RequestReconciler::Dependencies deps;
    deps.reactor = &loop_;
    deps.clock = &clock_;
    deps.store = &store_;
    deps.service = &service_;
    deps.events = &events_;
    deps.cached = [this](const RequestKey&) { return cache_; };
    deps.ensure_fresh = [this](const std::string&) { ++ensured_; };
    deps.refresh_policy = [this](const std::string&) {
      ++refreshed_;
      if (on_refresh_) on_refresh_();
      return refresh_;
    };
    deps.stamped = stamped_;
    deps.approvals = [this](const RequestKey&) { return approvals_; };
    deps.read_approvals = [this](const RequestKey&) -> base::Result<std::vector<policy::Approval>> {
      ++approval_reads_;
      if (!approvals_readable_) return base::Error(approvals_readable_.error());
      return live_approvals_ ? *live_approvals_ : approvals_;
    };
    deps.ensure_namespace = [this](const std::string& ns) { namespaces_read_.insert(ns); };
    reconciler_ = std::make_unique<RequestReconciler>(options, std::move(deps), unsettled);
  }
  /// Creates the object and lets the informer's copy follow.
  void Apply(const json& object = Request()) {
    ASSERT_THAT(store_.Create(SigningRequests(), "ci", object), testing::IsOk());
    Sync();
  }
  void Sync() {
    const auto now = store_.Revisions(SigningRequests(), "ci", "app");
    cache_ = now.empty() ? nullptr : std::make_shared<const json>(now.back());
  }
  Outcome Reconcile() {
    auto outcome = reconciler_->Reconcile(kKey);
    loop_.Flush();
    return outcome;
  }
  Outcome Settle() {
    auto outcome = reconciler_->SettleByReading(kKey);
    loop_.Flush();
    return outcome;
  }
  /// The object as the store has it, without a counted call.
  json Now() { return store_.Revisions(SigningRequests(), "ci", "app").back(); }
  std::string Reason(std::string_view type) {
    const json condition = ConditionOf(Now(), type);
    return condition.is_null() ? "" : condition["reason"].get<std::string>();
  }
  std::string Message(std::string_view type) { return ConditionOf(Now(), type)["message"].get<std::string>(); }
  std::size_t Writes() const { return store_.CountCalls("PatchStatus"); }
  static testing::ScriptedService::Step Refuse(Code code, std::string reason, std::string message = "because") {
    return {base::MakeError(code, std::move(reason), std::move(message)), std::nullopt, {}};
  }
  void Label(const char* value) {
    json object = *store_.Get(SigningRequests(), "ci", "app");
    object["metadata"]["labels"] = {{"touched", value}};
    ASSERT_THAT(store_.Update(SigningRequests(), "ci", "app", object), testing::IsOk());
  }
  /// Runs `act` in front of the first status write.
  void BeforeFirstPatch(std::function<void()> act) {
    auto pending = std::make_shared<std::function<void()>>(std::move(act));
    store_.set_fault([pending](const FakeStore::Call& call) -> std::optional<FakeStore::Fault> {
      if (call.verb == "PatchStatus" && *pending) std::exchange(*pending, nullptr)();
      return std::nullopt;
    });
  }
  /// The first `count` status writes end with `code`; with `applied` they take effect all the same.
  void FailPatches(int count, Code code, bool applied) {
    auto left = std::make_shared<int>(count);
    store_.set_fault([left, code, applied](const FakeStore::Call& call) -> std::optional<FakeStore::Fault> {
      if (call.verb != "PatchStatus" || (*left)-- <= 0) return std::nullopt;
      return FakeStore::Fault{base::MakeError(code, "no answer"), applied};
    });
  }
  /// The first status write stays on its way: no answer, no effect before LandHeldPatch.
  void HoldFirstPatch() {
    held_ = nullptr;
    store_.set_fault([this](const FakeStore::Call& call) -> std::optional<FakeStore::Fault> {
      if (call.verb != "PatchStatus" || !held_.is_null()) return std::nullopt;
      held_ = {{"meta", Now()["metadata"]}, {"status", call.body}};
      return FakeStore::Fault{base::MakeError(Code::kDeadlineExceeded, "no answer")};
    });
  }
  base::Result<json> LandHeldPatch() {
    return store_.PatchStatus(SigningRequests(), "ci", "app", held_["meta"]["uid"].get<std::string>(),
                              held_["meta"]["resourceVersion"].get<std::string>(), held_["status"]);
  }
  /// From now on the `number`-th GET, and no other, finds the store down.
  void FailGet(int number) {
    auto left = std::make_shared<int>(number);
    store_.set_fault([left](const FakeStore::Call& call) -> std::optional<FakeStore::Fault> {
      if (call.verb != "Get" || --*left != 0) return std::nullopt;
      return FakeStore::Fault{base::MakeError(Code::kUnavailable, "down")};
    });
  }

  FakeClock clock_;
  FakeStore store_;
  testing::LoopThread loop_;
  testing::ScriptedService service_;
  testing::EventList events_;
  std::shared_ptr<const json> cache_;
  json held_;
  std::function<base::Status(const json&)> stamped_;
  std::vector<policy::Approval> approvals_;
  std::optional<std::vector<policy::Approval>> live_approvals_;  ///< not set: as approvals_
  base::Status approvals_readable_;
  int approval_reads_ = 0;
  std::set<std::string> namespaces_read_;
  base::Status refresh_;
  std::function<void()> on_refresh_;
  int ensured_ = 0;
  int refreshed_ = 0;
  std::unique_ptr<RequestReconciler> reconciler_;
};

class UntrustedRequestReconcilerTest : public RequestReconcilerTest {
 protected:
  UntrustedRequestReconcilerTest() : RequestReconcilerTest(false) {}
};

}  // namespace signet::reconcile
