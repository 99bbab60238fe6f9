#include "controller/leader_elector.hpp"

#include "fakes/fake_clock.hpp"
#include "fakes/fake_store.hpp"
#include "support/matchers.hpp"
#include "unit/controller/waiting.hpp"

namespace signet::controller {
namespace {

using base::Code;
using nlohmann::json;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::FakeClock;
using testing::FakeStore;
using testing::IsErr;
using testing::IsOk;
using testing::Watched;

const kube::Resource kLeases{"coordination.k8s.io", "v1", "leases", "Lease", true};

LeaseOptions Options(const char* identity) { return {"ns", "lease", identity}; }

class LeaseLockTest : public ::testing::Test {
 protected:
  json Spec() { return (*store_.Get(kLeases, "ns", "lease"))["spec"]; }

  FakeClock clock_;
  FakeStore store_{clock_};
  LeaseLock first_{store_, Options("first"), clock_};
  LeaseLock second_{store_, Options("second"), clock_};
};

TEST_F(LeaseLockTest, CreatesAndRenews) {
  ASSERT_THAT(first_.TryAcquireOrRenew(), IsOk());
  EXPECT_EQ(Spec(), json({{"holderIdentity", "first"},
                          {"leaseDurationSeconds", 15},
                          {"acquireTime", "2026-11-23T09:00:00.000000Z"},
                          {"renewTime", "2026-11-23T09:00:00.000000Z"},
                          {"leaseTransitions", 0}}));
  clock_.Advance(seconds(2));
  ASSERT_THAT(first_.TryAcquireOrRenew(), IsOk());
  EXPECT_EQ(Spec()["acquireTime"], "2026-11-23T09:00:00.000000Z");
  EXPECT_EQ(Spec()["renewTime"], "2026-11-23T09:00:02.000000Z");
  EXPECT_EQ(first_.holder(), "first");
}

TEST_F(LeaseLockTest, LeavesALeaseThatIsRenewed) {
  ASSERT_THAT(first_.TryAcquireOrRenew(), IsOk());
  for (int i = 0; i < 20; ++i) {
    EXPECT_THAT(second_.TryAcquireOrRenew(), IsErr(Code::kFailedPrecondition, "HeldByOther"));
    clock_.Advance(seconds(5));
    ASSERT_THAT(first_.TryAcquireOrRenew(), IsOk());
  }
}

TEST_F(LeaseLockTest, TakesALeaseOverOnlyAfterItsDurationOnTheOwnClock) {
  ASSERT_THAT(first_.TryAcquireOrRenew(), IsOk());
  clock_.Advance(seconds(3600));  // long over by its times: but never seen before
  EXPECT_THAT(second_.TryAcquireOrRenew(), IsErr(Code::kFailedPrecondition, "HeldByOther"));
  clock_.Advance(milliseconds(14'999));
  EXPECT_THAT(second_.TryAcquireOrRenew(), IsErr(Code::kFailedPrecondition, "HeldByOther"));
  clock_.Advance(milliseconds(1));
  ASSERT_THAT(second_.TryAcquireOrRenew(), IsOk());
  EXPECT_EQ(Spec()["holderIdentity"], "second");
  EXPECT_EQ(Spec()["leaseTransitions"], 1);
  EXPECT_THAT(first_.TryAcquireOrRenew(), IsErr(Code::kFailedPrecondition, "HeldByOther"));
}

TEST_F(LeaseLockTest, LetsOneOfTwoWinARace) {
  ASSERT_THAT(first_.TryAcquireOrRenew(), IsOk());
  ASSERT_THAT(first_.Release(), IsOk());
  // Between the second's read and its write the first takes the lease again.
  bool raced = false;
  store_.set_fault([&](const FakeStore::Call& call) -> std::optional<FakeStore::Fault> {
    if (call.verb == "Update" && !raced) {
      raced = true;
      EXPECT_THAT(first_.TryAcquireOrRenew(), IsOk());
    }
    return std::nullopt;
  });
  EXPECT_THAT(second_.TryAcquireOrRenew(), IsErr(Code::kAborted));
  EXPECT_EQ(Spec()["holderIdentity"], "first");
}

TEST_F(LeaseLockTest, RecognisesItsOwnLeaseAfterALostAnswer) {
  store_.set_fault([](const FakeStore::Call& call) -> std::optional<FakeStore::Fault> {
    if (call.verb != "Create") return std::nullopt;
    return FakeStore::Fault{base::MakeError(Code::kUnavailable, "the answer was lost"), true};
  });
  EXPECT_THAT(first_.TryAcquireOrRenew(), IsErr(Code::kUnavailable));
  EXPECT_THAT(first_.TryAcquireOrRenew(), IsOk());
}

TEST_F(LeaseLockTest, ReleasesOnlyItsOwn) {
  ASSERT_THAT(first_.TryAcquireOrRenew(), IsOk());
  ASSERT_THAT(second_.Release(), IsOk());
  EXPECT_EQ(Spec()["holderIdentity"], "first");
  ASSERT_THAT(first_.Release(), IsOk());
  EXPECT_EQ(Spec()["holderIdentity"], "");
  EXPECT_THAT(second_.TryAcquireOrRenew(), IsOk());
}

TEST(LeaseOptionsTest, AreValidated) {
  EXPECT_THAT(Validate(Options("me")), IsOk());
  LeaseOptions swapped = Options("me");
  swapped.renew_deadline = seconds(20);
  EXPECT_THAT(Validate(swapped), IsErr(Code::kInvalidArgument, "ConfigInvalid"));
  swapped = Options("me");
  swapped.retry_period = seconds(10);
  EXPECT_THAT(Validate(swapped), IsErr(Code::kInvalidArgument, "ConfigInvalid"));
}

class LeaderElectorTest : public ::testing::Test {
 protected:
  static LeaseOptions Quick(const char* identity) {
    return {"ns", "lease", identity, seconds(3), seconds(2), milliseconds(20)};
  }
  LeaderElector::Callbacks Note(const std::string& who) {
    return {[this, who] { log_.Update([&](auto& log) { log.push_back(who + " leads"); }); },
            [this, who] { log_.Update([&](auto& log) { log.push_back(who + " stops"); }); }};
  }
  bool WaitForLog(const std::vector<std::string>& expected) {
    return log_.WaitUntil([&](const auto& log) { return log == expected; });
  }

  FakeStore store_;
  Watched<std::vector<std::string>> log_;
};

TEST_F(LeaderElectorTest, HandsOverOnStop) {
  LeaderElector a(store_, Quick("a"), Note("a"), base::SystemClock());
  LeaderElector b(store_, Quick("b"), Note("b"), base::SystemClock());
  a.Start();
  ASSERT_TRUE(WaitForLog({"a leads"}));
  EXPECT_TRUE(a.IsLeader());
  b.Start();
  a.Stop();
  EXPECT_FALSE(a.IsLeader());
  ASSERT_TRUE(WaitForLog({"a leads", "a stops", "b leads"}));
  b.Stop();
  EXPECT_TRUE(WaitForLog({"a leads", "a stops", "b leads", "b stops"}));
}

TEST_F(LeaderElectorTest, StopsByItselfBeforeAnotherStartsWhenItsStoreHangs) {
  // The first replica's calls hang, as on a server that was paused; the second's do not.
  Watched<bool> hang;
  LeaderElector a(store_, Quick("a"), Note("a"), base::SystemClock());
  store_.set_fault([&](const FakeStore::Call& call) -> std::optional<FakeStore::Fault> {
    if (call.verb == "Update" && call.body["spec"]["holderIdentity"] == "a") {
      hang.WaitUntil([](bool stuck) { return !stuck; }, seconds(20));
      return FakeStore::Fault{base::MakeError(Code::kDeadlineExceeded, "no answer")};
    }
    return std::nullopt;
  });
  a.Start();
  ASSERT_TRUE(WaitForLog({"a leads"}));
  hang.Update([](bool& stuck) { stuck = true; });
  LeaderElector b(store_, Quick("b"), Note("b"), base::SystemClock());
  b.Start();
  EXPECT_TRUE(WaitForLog({"a leads", "a stops", "b leads"}));
  EXPECT_FALSE(a.IsLeader());
  hang.Update([](bool& stuck) { stuck = false; });
  a.Stop();
  b.Stop();
}

TEST_F(LeaderElectorTest, RunsAgainAfterALoss) {
  Watched<bool> down;
  store_.set_fault([&](const FakeStore::Call&) -> std::optional<FakeStore::Fault> {
    if (!down.Get()) return std::nullopt;
    return FakeStore::Fault{base::MakeError(Code::kUnavailable, "down")};
  });
  LeaderElector a(store_, Quick("a"), Note("a"), base::SystemClock());
  a.Start();
  ASSERT_TRUE(WaitForLog({"a leads"}));
  down.Update([](bool& d) { d = true; });
  ASSERT_TRUE(WaitForLog({"a leads", "a stops"}));
  down.Update([](bool& d) { d = false; });
  EXPECT_TRUE(WaitForLog({"a leads", "a stops", "a leads"}));
  a.Stop();
}

}  // namespace
}  // namespace signet::controller
