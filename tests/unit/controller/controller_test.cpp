#include "controller/controller.hpp"

#include <map>
#include <stdexcept>

#include "controller/manager.hpp"
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
using testing::FakeStore;
using testing::IsErr;
using testing::IsOk;
using testing::Watched;

const kube::Resource kWidgets{"test.signet.dev", "v1", "widgets", "Widget", true};

class Scripted : public Reconciler {
 public:
  std::function<base::Result<Outcome>(const Key&, int)> script = [](const Key&, int) { return Outcome::Done(); };
  Watched<std::map<std::string, int>> calls;

  base::Result<Outcome> Reconcile(const Key& key) override {
    int call = 0;
    calls.Update([&](auto& counts) { call = ++counts[key.name]; });
    return script(key, call);
  }
  bool WaitForCalls(const std::string& name, int count) {
    return calls.WaitUntil([&](const auto& counts) {
      const auto it = counts.find(name);
      return it != counts.end() && it->second >= count;
    });
  }
  int Count(const std::string& name) const { return calls.Get()[name]; }
};

class ControllerTest : public ::testing::Test {
 protected:
  ControllerTest() { controller_.Watch(informer_); }
  void Make(const std::string& name) {
    ASSERT_TRUE(store_.Create(kWidgets, "ns", {{"metadata", {{"name", name}}}}).has_value());
  }
  void Run() {
    informer_.Start();
    ASSERT_TRUE(informer_.WaitForSync(seconds(10)));
    controller_.Start();
  }

  FakeStore store_;
  Informer informer_{store_, kWidgets, {milliseconds(1), milliseconds(5)}, base::SystemClock()};
  Scripted reconciler_;
  Controller controller_{{"test", 4, milliseconds(1), milliseconds(10)}, reconciler_, base::SystemClock()};
};

TEST_F(ControllerTest, ReconcilesWhatIsThereAndWhatComes) {
  Make("old");
  Run();
  EXPECT_TRUE(reconciler_.WaitForCalls("old", 1));
  Make("new");
  EXPECT_TRUE(reconciler_.WaitForCalls("new", 1));
  controller_.Stop();
  informer_.Stop();
}

TEST_F(ControllerTest, RetriesWhatMayEndOtherwise) {
  reconciler_.script = [](const Key&, int call) -> base::Result<Outcome> {
    if (call == 1) return base::MakeError(Code::kUnavailable, "down");
    if (call == 2) return base::MakeError(Code::kAborted, "conflict");
    if (call == 3) return base::MakeError(Code::kPermissionDenied, "role is being repaired");
    return Outcome::Done();
  };
  Make("a");
  Run();
  EXPECT_TRUE(reconciler_.WaitForCalls("a", 4));
  controller_.Stop();
  informer_.Stop();
  EXPECT_EQ(reconciler_.Count("a"), 4);
}

TEST_F(ControllerTest, LeavesFinalErrorsAndSurvivesExceptions) {
  reconciler_.script = [](const Key& key, int) -> base::Result<Outcome> {
    if (key.name == "bad") return base::MakeError(Code::kInvalidArgument, "bad");
    if (key.name == "bug") throw std::runtime_error("bug");
    return Outcome::Done();
  };
  Make("bad");
  Make("bug");
  Make("good");
  Run();
  EXPECT_TRUE(reconciler_.WaitForCalls("bad", 1));
  EXPECT_TRUE(reconciler_.WaitForCalls("bug", 1));
  EXPECT_TRUE(reconciler_.WaitForCalls("good", 1));
  for (int i = 0; i < 20; ++i) {
    controller_.Enqueue({"ns", "good"});
    EXPECT_TRUE(reconciler_.WaitForCalls("good", 2 + i));
  }
  EXPECT_EQ(reconciler_.Count("bad"), 1);
  EXPECT_EQ(reconciler_.Count("bug"), 1);
  controller_.Stop();
  informer_.Stop();
}

TEST_F(ControllerTest, LooksAgainAfterADelay) {
  reconciler_.script = [](const Key&, int call) -> base::Result<Outcome> {
    return call == 1 ? Outcome::After(milliseconds(5)) : Outcome::Done();
  };
  Make("a");
  Run();
  EXPECT_TRUE(reconciler_.WaitForCalls("a", 2));
  controller_.Stop();
  informer_.Stop();
}

TEST_F(ControllerTest, StartsAnewAfterAStop) {
  Make("a");
  Run();
  EXPECT_TRUE(reconciler_.WaitForCalls("a", 1));
  controller_.Stop();
  Make("b");
  controller_.Enqueue({"ns", "a"});  // no effect
  for (int i = 0; i < 100000 && informer_.Get({"ns", "b"}) == nullptr; ++i) std::this_thread::yield();
  EXPECT_EQ(reconciler_.Count("b"), 0);
  controller_.Start();
  EXPECT_TRUE(reconciler_.WaitForCalls("a", 2));
  EXPECT_TRUE(reconciler_.WaitForCalls("b", 1));
  controller_.Stop();
  informer_.Stop();
}

TEST(ShouldRetryTest, IsForWhatAFreshReadCanChange) {
  for (const Code code : {Code::kUnavailable, Code::kAborted, Code::kDeadlineExceeded, Code::kResourceExhausted,
                          Code::kUnauthenticated, Code::kPermissionDenied, Code::kAlreadyExists}) {
    EXPECT_TRUE(ShouldRetry(code)) << base::Name(code);
  }
  for (const Code code : {Code::kInvalidArgument, Code::kNotFound, Code::kUnimplemented, Code::kInternal}) {
    EXPECT_FALSE(ShouldRetry(code)) << base::Name(code);
  }
}

TEST_F(ControllerTest, ManagerRunsControllersOnlyWhileItLeads) {
  Make("a");
  FakeStore leases;
  Watched<bool> reachable;
  reachable.Update([](bool& r) { r = true; });
  leases.set_fault([&](const FakeStore::Call&) -> std::optional<FakeStore::Fault> {
    if (reachable.Get()) return std::nullopt;
    return FakeStore::Fault{base::MakeError(Code::kUnavailable, "down")};
  });
  Manager manager(base::SystemClock());
  manager.Add(informer_);
  manager.Add(controller_);
  EXPECT_THAT(manager.SetLease(leases, {"ns", "lease", ""}), IsErr(Code::kInvalidArgument, "ConfigInvalid"));
  ASSERT_THAT(manager.SetLease(leases, {"ns", "lease", "me", seconds(3), seconds(2), milliseconds(20)}), IsOk());
  manager.Start();
  EXPECT_TRUE(reconciler_.WaitForCalls("a", 1));
  EXPECT_TRUE(manager.IsLeader());
  EXPECT_TRUE(manager.HasSynced());

  reachable.Update([](bool& r) { r = false; });
  const auto has_stopped = [&](const auto&) { return !controller_.IsRunning(); };
  for (int i = 0; i < 10000 && controller_.IsRunning(); ++i) reconciler_.calls.WaitUntil(has_stopped, milliseconds(1));
  EXPECT_FALSE(controller_.IsRunning());
  EXPECT_FALSE(manager.IsLeader());

  reachable.Update([](bool& r) { r = true; });
  EXPECT_TRUE(reconciler_.WaitForCalls("a", 2));
  manager.Stop();
  const auto lease = leases.Get({"coordination.k8s.io", "v1", "leases", "Lease", true}, "ns", "lease");
  ASSERT_THAT(lease, IsOk());
  EXPECT_EQ((*lease)["spec"]["holderIdentity"], "");
  EXPECT_FALSE(controller_.IsRunning());
}

TEST_F(ControllerTest, ManagerListsBeforeItIsStarted) {
  Make("a");
  Manager manager(base::SystemClock());
  manager.Add(informer_);
  manager.Add(controller_, Manager::Runs::kAlways);
  manager.StartInformers();
  ASSERT_TRUE(informer_.WaitForSync(seconds(10)));
  EXPECT_TRUE(manager.HasSynced());
  EXPECT_FALSE(controller_.IsRunning());
  manager.Start();
  EXPECT_TRUE(reconciler_.WaitForCalls("a", 1));
  EXPECT_EQ(store_.CountCalls("ListAll"), 1U) << "once is enough";
  manager.Stop();
}

TEST_F(ControllerTest, ManagerRunsSomeControllersInEveryReplica) {
  Make("a");
  FakeStore leases;
  Watched<bool> held;
  held.Update([](bool& h) { h = true; });
  leases.set_fault([&](const FakeStore::Call&) -> std::optional<FakeStore::Fault> {
    if (!held.Get()) return std::nullopt;
    return FakeStore::Fault{base::MakeError(Code::kUnavailable, "down")};
  });
  Manager manager(base::SystemClock());
  manager.Add(informer_);
  manager.Add(controller_, Manager::Runs::kAlways);
  Watched<int> led;
  manager.OnLeading([&] { led.Update([](int& count) { ++count; }); });
  ASSERT_THAT(manager.SetLease(leases, {"ns", "lease", "me", seconds(3), seconds(2), milliseconds(20)}), IsOk());
  manager.Start();
  EXPECT_TRUE(reconciler_.WaitForCalls("a", 1));
  EXPECT_FALSE(manager.IsLeader());
  EXPECT_EQ(led.Get(), 0);

  held.Update([](bool& h) { h = false; });
  EXPECT_TRUE(led.WaitUntil([](int count) { return count == 1; }, milliseconds(10000)));
  EXPECT_TRUE(manager.IsLeader());

  held.Update([](bool& h) { h = true; });
  for (int i = 0; i < 10000 && manager.IsLeader(); ++i) led.WaitUntil([](int) { return false; }, milliseconds(1));
  EXPECT_FALSE(manager.IsLeader());
  EXPECT_TRUE(controller_.IsRunning()) << "it goes on when the lease is lost";
  held.Update([](bool& h) { h = false; });
  EXPECT_TRUE(led.WaitUntil([](int count) { return count == 2; }, milliseconds(10000)));
  manager.Stop();
  EXPECT_FALSE(controller_.IsRunning());
}

TEST_F(ControllerTest, ManagerStartsWhatRunsAlwaysWhenItsOwnInformersHaveSynced) {
  Make("a");
  const kube::Resource gadgets{"test.signet.dev", "v1", "gadgets", "Gadget", true};
  Watched<bool> listable;
  store_.set_fault([&](const FakeStore::Call& call) -> std::optional<FakeStore::Fault> {
    if (call.verb != "ListAll" || call.resource != gadgets || listable.Get()) return std::nullopt;
    return FakeStore::Fault{base::MakeError(Code::kUnavailable, "down")};
  });
  Informer others{store_, gadgets, {milliseconds(1), milliseconds(5)}, base::SystemClock()};
  Scripted while_leading;
  Scripted without_objects;
  Controller leading{{"leading", 1, milliseconds(1), milliseconds(10)}, while_leading, base::SystemClock()};
  Controller idle{{"idle", 1, milliseconds(1), milliseconds(10)}, without_objects, base::SystemClock()};
  leading.Watch(others);
  Manager manager(base::SystemClock());
  manager.Add(informer_);
  manager.Add(others);
  manager.Add(controller_, Manager::Runs::kAlways);
  manager.Add(idle, Manager::Runs::kAlways);
  manager.Add(leading);
  Watched<int> led;
  manager.OnLeading([&] { led.Update([](int& count) { ++count; }); });
  manager.Start();
  EXPECT_TRUE(reconciler_.WaitForCalls("a", 1)) << "the others' list is none of its business";
  EXPECT_FALSE(manager.HasSynced());
  EXPECT_FALSE(leading.IsRunning());
  EXPECT_EQ(led.Get(), 0);
  listable.Update([](bool& l) { l = true; });
  EXPECT_TRUE(led.WaitUntil([](int count) { return count == 1; }, milliseconds(10000)));
  EXPECT_TRUE(leading.IsRunning());
  EXPECT_TRUE(idle.IsRunning());
  manager.Stop();
  EXPECT_FALSE(idle.IsRunning());
  EXPECT_FALSE(leading.IsRunning());
}

}  // namespace
}  // namespace signet::controller
