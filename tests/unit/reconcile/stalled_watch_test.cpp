// Issue 11, row 5: a watch that has gone quiet must not let anything be signed that the store would refuse.
#include <fmt/format.h>

#include "fakes/fake_hsm.hpp"
#include "fakes/fake_policies.hpp"
#include "reconcile/approval_index.hpp"
#include "reconcile/live_reads.hpp"
#include "reconcile/namespace_labels.hpp"
#include "request_fixture.hpp"

namespace signet::reconcile {
namespace {

/// The real service, reconciler and index on a store whose watches of approvals and namespaces bring nothing.
class StalledWatchTest : public ::testing::Test {
 protected:
  StalledWatchTest() {
    Publish([](auto&) {});
    signing::SigningService::Dependencies parts;
    parts.reactor = &loop_;
    parts.clock = &clock_;
    parts.hsm = &hsm_;
    parts.journal = &journal_;
    parts.policies = &policies_;
    parts.quotas = &quotas_;
    parts.namespace_labels = [this](std::string_view ns) { return labels_.Find(ns); };
    parts.namespace_confirmed = [this](std::string_view ns) { return labels_.ConfirmedAt(ns); };
    service_ = signing::SigningService::Create({}, std::move(parts));
    RequestReconciler::Dependencies deps;
    deps.reactor = &loop_;
    deps.clock = &clock_;
    deps.store = &store_;
    deps.service = service_.get();
    deps.events = &events_;
    deps.cached = [this](const RequestKey&) { return request_; };
    deps.ensure_fresh = [](const std::string&) {};
    deps.refresh_policy = [](const std::string&) { return base::Status(); };
    deps.approvals = [this](const RequestKey& key) { return index_.For(key); };
    deps.read_approvals = [this](const RequestKey& key) { return index_.ReadLive(store_, key); };
    deps.ensure_namespace = [this](const std::string& ns) { namespace_reads_.EnsureFresh(ns); };
    deps.refresh_namespace = [this](const std::string& ns) { return ReadNamespace(ns); };
    reconciler_ = std::make_unique<RequestReconciler>(RequestReconciler::Options{}, std::move(deps),
                                                      std::vector<audit::OpenOperation>{});
    static_cast<void>(store_.Create(SigningRequests(), "ci", Request()));
    request_ = std::make_shared<const json>(store_.Revisions(SigningRequests(), "ci", "app").back());
  }
  ~StalledWatchTest() override { loop_.Flush(); }

  base::Status ReadNamespace(const std::string& ns) {
    const auto asked = clock_.Steady();
    const auto live = store_.Get(Namespaces(), "", ns);
    if (live) labels_.Set(*live, asked);
    return {};
  }
  void Publish(const std::function<void(api::SigningPolicy&)>& change) {
    api::SigningPolicy policy;
    policy.metadata.name = "release";
    policy.metadata.uid = "policy-uid";
    policy.metadata.generation = 3;
    policy.spec.algorithms = {api::SignatureAlgorithm::kEcdsaWithSha256};
    policy.spec.subjects = {{api::Subject::Kind::kServiceAccount, "builder", "ci", std::nullopt}};
    change(policy);
    signing::ActivePolicy active;
    active.compiled = *policy::CompiledPolicy::Compile(std::move(policy));
    active.hash = std::to_string(++revision_);
    active.key = key_;
    active.confirmed_at = clock_.Steady();
    policies_.all["release"] = std::make_shared<const signing::ActivePolicy>(std::move(active));
  }
  json Approval(const std::string& user, const char* decision) {
    return {{"metadata", {{"name", "app-" + user}, {"namespace", "ci"}}},
            {"spec",
             {{"requestRef", {{"name", "app"}, {"uid", (*request_)["metadata"]["uid"]}}},
              {"decision", decision},
              {"policy", {{"uid", "policy-uid"}, {"generation", 3}}},
              {"approver", {{"username", user}}}}}};
  }
  json Store(const json& approval) { return *store_.Create(SigningApprovals(), "ci", approval); }
  std::string Reason(std::string_view type) {
    const json condition = ConditionOf(store_.Revisions(SigningRequests(), "ci", "app").back(), type);
    return condition.is_null() ? "" : condition["reason"].get<std::string>();
  }
  void WantOneApproval() {
    Publish([](auto& policy) {
      policy.spec.approvals = api::Approvals{};
      policy.spec.approvals->required = 1;
      policy.spec.approvals->approvers = {{api::Subject::Kind::kUser, "*", "", std::nullopt}};
    });
  }

  FakeClock clock_;
  FakeStore store_{clock_, true};
  testing::LoopThread loop_;
  testing::FakeHsm hsm_{loop_};
  token::KeyInfo key_ = hsm_.Add(testing::TestKey::Ec());
  testing::FakePolicies policies_;
  testing::Ledger journal_;
  policy::QuotaLedger quotas_{clock_};
  testing::EventList events_;
  NamespaceLabels labels_{loop_};
  LiveReads namespace_reads_{{}, clock_, {{}, {}, [this](const std::string& ns) { return ReadNamespace(ns); }}};
  ApprovalIndex index_{{}};
  std::shared_ptr<const json> request_;
  std::unique_ptr<signing::SigningService> service_;
  std::unique_ptr<RequestReconciler> reconciler_;
  int revision_ = 0;
};

TEST_F(StalledWatchTest, AnAdmittedNoStopsTheSignature) {
  WantOneApproval();
  const auto yes = Store(Approval("alice", "Approve"));
  index_.Change({"ci", "app-alice"}, std::make_shared<const json>(yes));
  Store(Approval("bob", "Deny"));  // the watch does not bring it
  reconciler_->Reconcile(kKey);
  loop_.Flush();
  EXPECT_EQ(hsm_.signs, 0);
  EXPECT_EQ(Reason("Denied"), "DeniedByApprover");
}

TEST_F(StalledWatchTest, AYesThatWasTakenBackDoesNotCount) {
  WantOneApproval();
  index_.Change({"ci", "app-alice"}, std::make_shared<const json>(Approval("alice", "Approve")));
  reconciler_->Reconcile(kKey);
  loop_.Flush();
  EXPECT_EQ(hsm_.signs, 0);
  EXPECT_EQ(Reason("Ready"), "AwaitingApproval");
  Store(Approval("alice", "Approve"));
  reconciler_->Reconcile(kKey);
  loop_.Flush();
  EXPECT_EQ(Reason("Ready"), "Signed");
}

TEST_F(StalledWatchTest, ALabelThatWasTakenAwayStopsTheSignature) {
  Publish([](auto& policy) {
    api::LabelSelector selector;
    selector.match_labels = {{"tier", "prod"}};
    policy.spec.subjects = {{api::Subject::Kind::kServiceAccount, "builder", "", selector}};
  });
  json ns = {{"metadata", {{"name", "ci"}, {"labels", {{"tier", "prod"}}}}}};
  labels_.Set(ns);
  ns["metadata"]["labels"] = {{"tier", "dev"}};
  ASSERT_THAT(store_.Create(Namespaces(), "", ns), testing::IsOk());
  reconciler_->Reconcile(kKey);
  loop_.Flush();
  EXPECT_EQ(hsm_.signs, 0);
  EXPECT_EQ(Reason("Denied"), "NotAllowed");
}

// The read showed that the label is gone; what the watch brings later is from before.
TEST_F(StalledWatchTest, ALateEventDoesNotPassForWhatAReadHasShown) {
  const json before = {{"metadata", {{"name", "ci"}, {"labels", {{"tier", "prod"}}}}}};
  const json now = {{"metadata", {{"name", "ci"}, {"labels", {{"tier", "dev"}}}}}};
  const auto confirmed = [&] {
    loop_.Flush();
    return labels_.ConfirmedAt("ci").has_value();
  };
  labels_.Set(now, clock_.Steady());
  EXPECT_TRUE(confirmed());
  labels_.Set(now);
  EXPECT_TRUE(confirmed()) << "nothing new";
  labels_.Set(before);
  EXPECT_FALSE(confirmed()) << "to be read again before they count";
}

TEST_F(StalledWatchTest, WithoutTheStoreTheRequestWaits) {
  WantOneApproval();
  const auto yes = Store(Approval("alice", "Approve"));
  index_.Change({"ci", "app-alice"}, std::make_shared<const json>(yes));
  store_.set_fault([](const FakeStore::Call& call) -> std::optional<FakeStore::Fault> {
    if (call.verb != "ListAll") return std::nullopt;
    return FakeStore::Fault{base::MakeError(Code::kUnavailable, "no connection")};
  });
  EXPECT_EQ(reconciler_->Reconcile(kKey).kind, Kind::kAfter);
  loop_.Flush();
  EXPECT_EQ(hsm_.signs, 0);
  EXPECT_EQ(Reason("Denied"), "");
  store_.set_fault({});
  reconciler_->Reconcile(kKey);
  loop_.Flush();
  EXPECT_EQ(Reason("Ready"), "Signed");
}

}  // namespace
}  // namespace signet::reconcile
