#include "reconcile/approval_gate.hpp"

#include "fakes.hpp"
#include "fakes/fake_clock.hpp"
#include "fakes/fake_store.hpp"
#include "fakes/fake_transport.hpp"
#include "kube/rest_store.hpp"
#include "reconcile/resources.hpp"
#include "support/matchers.hpp"

namespace signet::reconcile {
namespace {

using base::Code;
using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::IsErr;
using testing::IsOk;

json Approval(const std::string& name, const std::string& request_uid, const char* user = "alice") {
  return {{"metadata", {{"name", name}, {"namespace", "ci"}, {"creationTimestamp", "2026-11-23T09:00:00Z"}}},
          {"spec",
           {{"requestRef", {{"name", "app"}, {"uid", request_uid}}},
            {"decision", "Approve"},
            {"approver", {{"username", user}}}}}};
}

std::shared_ptr<const json> Shared(json object) { return std::make_shared<const json>(std::move(object)); }

// ---- the index -------------------------------------------------------------------------

std::vector<std::string> Names(const std::vector<policy::Approval>& approvals) {
  std::vector<std::string> out;
  for (const auto& approval : approvals) out.push_back(approval.name);
  return out;
}

TEST(ApprovalIndexTest, KnowsApprovalsByTheirRequest) {
  ApprovalIndex index({});
  const controller::Key app{"ci", "app"};
  EXPECT_THAT(index.Change({"ci", "b"}, Shared(Approval("b", "1"))), ElementsAre(app));
  json early = Approval("a2", "1");
  early["metadata"]["creationTimestamp"] = "2026-11-23T08:00:00Z";
  index.Change({"ci", "a2"}, Shared(early));
  index.Change({"ci", "a1"}, Shared(Approval("a1", "1")));
  EXPECT_THAT(Names(index.For(app)), ElementsAre("a2", "a1", "b")) << "by creation, then by name";
  EXPECT_THAT(index.For({"prod", "app"}), IsEmpty());

  json moved = Approval("b", "1");
  moved["spec"]["requestRef"]["name"] = "other";
  EXPECT_THAT(index.Change({"ci", "b"}, Shared(moved)), ElementsAre(app, controller::Key{"ci", "other"}));
  EXPECT_THAT(index.Change({"ci", "a1"}, nullptr), ElementsAre(app));
  EXPECT_THAT(Names(index.For(app)), ElementsAre("a2"));
  EXPECT_THAT(index.Change({"ci", "odd"}, Shared(json{{"spec", 1}})), IsEmpty());
}

TEST(ApprovalIndexTest, ReadsANamespaceFromTheStartWhenAPageHasExpired) {
  const auto page = [](const std::string& name, const char* next) {
    const json body = {{"metadata", {{"resourceVersion", "9"}, {"continue", next}}},
                       {"items", json::array({Approval(name, "1", name.c_str())})}};
    return kube::HttpResponse{200, std::chrono::seconds(0), body.dump()};
  };
  const kube::HttpResponse expired{410, std::chrono::seconds(0), R"({"kind":"Status","reason":"Expired"})"};
  std::vector<kube::HttpResponse> answers = {page("a", "t"), expired, page("a", "t"), page("b", "")};
  const auto log = std::make_shared<testing::FakeTransport::Log>();
  log->answer = [&](const kube::HttpRequest&) { return answers.at(log->requests.size() - 1); };
  kube::RestStore store(std::make_unique<testing::FakeTransport>(log), {});
  const auto read = ApprovalIndex({}).ReadLive(store, {"ci", "app"});
  ASSERT_THAT(read, IsOk());
  EXPECT_THAT(Names(*read), ElementsAre("a", "b")) << "what was read before is not counted twice";

  log->requests.clear();
  answers.assign(20, expired);
  EXPECT_THAT(ApprovalIndex({}).ReadLive(store, {"ci", "app"}), IsErr(Code::kAborted));
  EXPECT_LE(log->requests.size(), 3U);
}

TEST(ApprovalIndexTest, IsNotCrowdedOutByWhatNobodyVouchesFor) {
  ApprovalIndex index([](const json& object) -> base::Status {
    if (object["spec"]["approver"]["username"] == "alice") return {};
    return base::MakeError(Code::kUnauthenticated, "NotStamped", "no stamp");
  });
  for (int i = 0; i < 200; ++i) {
    const std::string name = "a" + std::to_string(i);
    index.Change({"ci", name}, Shared(Approval(name, "1", "mallory")));
  }
  index.Change({"ci", "z"}, Shared(Approval("z", "1")));
  const auto given = index.For({"ci", "app"});
  ASSERT_EQ(given.size(), ApprovalCollector::kMaxUnvouched + 1);
  EXPECT_EQ(given[0].name, "z");
  EXPECT_TRUE(given[0].vouched);
  EXPECT_FALSE(given[1].vouched);
  EXPECT_EQ(given[1].not_vouched, "no stamp");
}

// Issue 11, row 15: such approvals are from before the webhook refused them.
TEST(ApprovalIndexTest, CountsNoYesWithATextThatATerminalObeysAndEveryNo) {
  ApprovalIndex index({});
  json odd = Approval("a", "1");
  odd["spec"]["comment"] = "ok\u001b[1A";
  index.Change({"ci", "a"}, Shared(odd));
  odd["metadata"]["name"] = "b";
  odd["spec"]["decision"] = "Deny";
  index.Change({"ci", "b"}, Shared(odd));
  const auto given = index.For({"ci", "app"});
  EXPECT_THAT(Names(given), ElementsAre("b", "a"));
  ASSERT_EQ(given.size(), 2U);
  EXPECT_TRUE(given[0].vouched) << "the no";
  EXPECT_FALSE(given[1].vouched);
  EXPECT_THAT(given[1].not_vouched, HasSubstr("spec.comment: character 3 is U+001B"));
}

// Issue 11, row 19: decisions are counted, not objects.
TEST(ApprovalIndexTest, NeverDropsANoAndKeepsNoMoreThanPeopleSay) {
  ApprovalIndex index({});
  const auto change = [&](const std::string& name, json object) {
    index.Change({"ci", name}, Shared(std::move(object)));
  };
  for (int i = 0; i < 500; ++i) {  // many yeses of one person, and of many who may not approve
    change(fmt::format("a{:03}", i), Approval(fmt::format("a{:03}", i), "1", "alice"));
    change(fmt::format("b{:03}", i), Approval(fmt::format("b{:03}", i), "1", fmt::format("user-{}", i).c_str()));
  }
  for (int i = 0; i < 500; ++i) {  // late, and many times over
    json no = Approval(fmt::format("z{:03}", i), "1", "zoe");
    no["spec"]["decision"] = "Deny";
    no["metadata"]["creationTimestamp"] = "2026-11-23T10:00:00Z";
    change(fmt::format("z{:03}", i), no);
  }
  const auto given = index.For({"ci", "app"});
  EXPECT_EQ(given.size(), ApprovalCollector::kMaxYes + 500 + 1);
  EXPECT_EQ(given.back().name, "z000");
  EXPECT_EQ(given.back().spec.decision, api::Decision::kDeny);
  EXPECT_EQ(given[0].name, "a492") << "the newest of one person's";
}

TEST(ApprovalIndexTest, TellsApartInWhoseNameANoWasSaid) {
  ApprovalIndex index({});
  json no = Approval("a", "1", "bob");
  no["spec"]["decision"] = "Deny";
  no["spec"]["approver"]["extra"] = {{"signet.dev/acting-for", {"the-requester"}}};
  index.Change({"ci", "a"}, Shared(no));  // counts for nothing where the requester asks
  no = Approval("b", "1", "bob");
  no["spec"]["decision"] = "Deny";
  index.Change({"ci", "b"}, Shared(no));
  EXPECT_THAT(Names(index.For({"ci", "app"})), ElementsAre("a", "b"));
}

TEST(ApprovalIndexTest, ReadsTheStoreAndNotTheCopy) {
  testing::FakeClock clock;
  testing::FakeStore store(clock);
  ApprovalIndex index({});
  index.Change({"ci", "a"}, Shared(Approval("a", "1")));
  ASSERT_THAT(store.Create(SigningApprovals(), "ci", Approval("b", "1", "bob")), testing::IsOk());
  json other = Approval("c", "1");
  other["spec"]["requestRef"]["name"] = "other";
  ASSERT_THAT(store.Create(SigningApprovals(), "ci", other), testing::IsOk());
  const auto live = index.ReadLive(store, {"ci", "app"});
  ASSERT_THAT(live, testing::IsOk());
  EXPECT_THAT(Names(*live), ElementsAre("b"));
  store.set_fault([](const testing::FakeStore::Call&) {
    return testing::FakeStore::Fault{base::MakeError(base::Code::kUnavailable, "no connection")};
  });
  EXPECT_FALSE(index.ReadLive(store, {"ci", "app"}));
}

// ---- the gate --------------------------------------------------------------------------

class ApprovalGateTest : public ::testing::Test {
 protected:
  ApprovalGateTest() : gate_(Deps()) {
    const json request = {{"metadata", {{"name", "app"}}},
                          {"spec",
                           {{"policyRef", {{"name", "release"}}},
                            {"digest", "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"},
                            {"requester", {{"username", "carol"}}}}}};
    auto made = store_.Create(SigningRequests(), "ci", request);
    request_ = *made;
    uid_ = request_["metadata"]["uid"];
    Answer("Counts", true);
  }
  ApprovalGate::Dependencies Deps() {
    ApprovalGate::Dependencies deps;
    deps.reactor = &loop_;
    deps.store = &store_;
    deps.service = &service_;
    deps.approvals = &index_;
    deps.cached = [this](const controller::Key&) { return cache_; };
    return deps;
  }
  json Denial(const char* user = "alice") {
    json denial = Approval("no", uid_, user);
    denial["spec"]["decision"] = "Deny";
    return denial;
  }
  /// The request as the API server has it.
  void Change(const std::function<void(json&)>& change) {
    auto live = store_.Get(SigningRequests(), "ci", "app");
    change(*live);
    const json meta = (*live)["metadata"];
    ASSERT_THAT(store_.PatchStatus(SigningRequests(), "ci", "app", uid_, meta["resourceVersion"].get<std::string>(),
                                   (*live)["status"]),
                IsOk());
  }
  void Answer(const std::string& reason, bool counts) {
    policy::Decision decision;
    decision.reason = policy::Reason::kAwaitingApproval;
    decision.approvals = policy::Tally{};
    api::ApprovalStatus line;
    line.counts = counts;
    line.reason = reason;
    line.message = "because of " + reason;
    decision.approvals->approvals = {line};
    service_.explained = decision;
  }

  testing::FakeClock clock_;
  testing::FakeStore store_{clock_, true};
  testing::LoopThread loop_;
  testing::ScriptedService service_;
  ApprovalIndex index_{[](const json& object) -> base::Status {
    if (object["spec"]["approver"]["username"] != "mallory") return {};
    return base::MakeError(Code::kUnauthenticated, "NotStamped", "no stamp");
  }};
  std::shared_ptr<const json> cache_;
  json request_;
  std::string uid_;
  ApprovalGate gate_;
};

TEST_F(ApprovalGateTest, TellsTheApproverWhatTheDecisionWillSay) {
  EXPECT_THAT(gate_.Check(Approval("a", uid_)), IsOk());
  Answer("Denies", false);
  EXPECT_THAT(gate_.Check(Approval("a", uid_)), IsOk());
  Answer("NotAnApprover", false);
  const auto refused = gate_.Check(Approval("a", uid_));
  ASSERT_THAT(refused, IsErr(Code::kPermissionDenied, "NotAnApprover"));
  EXPECT_EQ(refused.error().message, "because of NotAnApprover");
}

TEST_F(ApprovalGateTest, FindsRequestsThatTheCopyDoesNotHaveYet) {
  EXPECT_THAT(gate_.Check(Approval("a", uid_)), IsOk());
  EXPECT_EQ(store_.CountCalls("Get"), 1U);
  cache_ = Shared(request_);
  EXPECT_THAT(gate_.Check(Approval("a", uid_)), IsOk());
  EXPECT_EQ(store_.CountCalls("Get"), 1U);
}

TEST_F(ApprovalGateTest, RefusesWhatIsAboutNoOpenRequest) {
  EXPECT_THAT(gate_.Check(Approval("a", "another")), IsErr(Code::kNotFound, "OtherRequest"));
  json elsewhere = Approval("a", uid_);
  elsewhere["metadata"]["namespace"] = "prod";
  EXPECT_THAT(gate_.Check(elsewhere), IsErr(Code::kNotFound, "RequestNotFound"));
  request_["status"]["conditions"] = {{{"type", "Ready"}, {"status", "True"}, {"reason", "Signed"}, {"message", ""}}};
  cache_ = Shared(request_);
  EXPECT_THAT(gate_.Check(Approval("a", uid_)), IsErr(Code::kFailedPrecondition, "AlreadyDecided"));
  cache_ = nullptr;
  service_.explained.reset();
  const auto nothing = gate_.Check(Approval("a", uid_));
  ASSERT_THAT(nothing, IsErr(Code::kPermissionDenied));
  EXPECT_THAT(nothing.error().message, HasSubstr("nothing to approve"));
}

// ---- taking an approval away -----------------------------------------------------------

const json kDecided = {{{"type", "Ready"}, {"status", "False"}, {"reason", "Denied"}, {"message", ""}},
                       {{"type", "Denied"}, {"status", "True"}, {"reason", "DeniedByApprover"}, {"message", ""}}};

TEST_F(ApprovalGateTest, ANoStandsUntilTheRequestIsDecided) {
  cache_ = Shared(request_);
  const auto refused = gate_.CheckRemoval(Denial());
  ASSERT_THAT(refused, IsErr(Code::kFailedPrecondition, "DenialStands"));
  EXPECT_THAT(refused.error().message, HasSubstr("SigningRequest app is not decided yet"));
  cache_ = nullptr;
  EXPECT_THAT(gate_.CheckRemoval(Denial()), IsErr(Code::kFailedPrecondition, "DenialStands")) << "the copy is behind";
  cache_ = Shared(request_);
  Change([](json& live) { live["status"]["conditions"] = kDecided; });
  EXPECT_THAT(gate_.CheckRemoval(Denial()), IsOk()) << "not refused from the copy";
  request_["status"]["conditions"] = kDecided;
  cache_ = Shared(request_);
  const auto calls = store_.CountCalls("Get");
  EXPECT_THAT(gate_.CheckRemoval(Denial()), IsOk());
  EXPECT_EQ(store_.CountCalls("Get"), calls) << "decided is for ever";
}

TEST_F(ApprovalGateTest, WhatIsNoStandingNoMayGo) {
  cache_ = Shared(request_);
  EXPECT_THAT(gate_.CheckRemoval(Approval("yes", uid_)), IsOk());
  EXPECT_THAT(gate_.CheckRemoval(Denial("mallory")), IsOk()) << "nobody vouches for it";
  json other = Denial();
  other["spec"]["requestRef"]["uid"] = "its predecessor";
  EXPECT_THAT(gate_.CheckRemoval(other), IsOk());
  other = Denial();
  other["spec"]["requestRef"]["name"] = "gone";
  cache_ = nullptr;
  EXPECT_THAT(gate_.CheckRemoval(other), IsOk());
  EXPECT_THAT(gate_.CheckRemoval(json{{"spec", {{"decision", "Deny"}}}}), IsOk())
      << "no valid approval counts for nothing";
  request_["metadata"]["deletionTimestamp"] = "2026-11-23T09:00:01Z";
  cache_ = Shared(request_);
  EXPECT_THAT(gate_.CheckRemoval(Denial()), IsOk()) << "nothing is signed for a request that is being deleted";
}

TEST_F(ApprovalGateTest, NothingIsTakenAwayWhenNobodyCanBeAsked) {
  store_.set_fault([](const testing::FakeStore::Call&) -> std::optional<testing::FakeStore::Fault> {
    return testing::FakeStore::Fault{base::MakeError(Code::kUnavailable, "no connection")};
  });
  EXPECT_THAT(gate_.CheckRemoval(Denial()), IsErr(Code::kUnavailable));
}

}  // namespace
}  // namespace signet::reconcile
