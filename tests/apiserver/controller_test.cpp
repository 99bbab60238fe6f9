#include "apiserver/cluster.hpp"
#include "controller/manager.hpp"
#include "support/matchers.hpp"

namespace signet::testing {
namespace {

using base::Code;
using controller::Informer;
using controller::Key;

class ControllerTest : public ::testing::Test {
 protected:
  void SetUp() override { InstallWidgets(*store_); }
  std::unique_ptr<kube::RestStore> store_ = OpenStore();
};

TEST_F(ControllerTest, InformerFollowsTheServer) {
  const auto first = store_->Create(kWidgets, "default", Widget(UniqueName("first")));
  ASSERT_THAT(first, IsOk());
  const Key first_key{"default", Meta(*first, "name")};
  Informer informer(*store_, kWidgets, {}, base::SystemClock());
  informer.Start();
  ASSERT_TRUE(informer.WaitForSync(10s));
  ASSERT_NE(informer.Get(first_key), nullptr);
  json kept = *first;
  kept["metadata"].erase("managedFields");
  EXPECT_EQ(*informer.Get(first_key), kept);

  const auto second = store_->Create(kWidgets, "default", Widget(UniqueName("second")));
  ASSERT_THAT(second, IsOk());
  ASSERT_THAT(store_->Delete(kWidgets, "default", first_key.name, Meta(*first, "uid")), IsOk());
  EXPECT_TRUE(Eventually([&] {
    return informer.Get(first_key) == nullptr && informer.Get({"default", Meta(*second, "name")}) != nullptr;
  }));
}

/// Writes status.seen = spec.size, as a reconciler of ours would: from a copy, with its version.
class Copier : public controller::Reconciler {
 public:
  Copier(kube::ObjectStore& store, const Informer& informer) : store_(store), informer_(informer) {}
  base::Result<controller::Outcome> Reconcile(const Key& key) override {
    const auto widget = informer_.Get(key);
    if (widget == nullptr) return controller::Outcome::Done();
    const json& size = (*widget)["spec"]["size"];
    if (widget->value("/status/seen"_json_pointer, json()) == size) return controller::Outcome::Done();
    auto written = store_.PatchStatus(kWidgets, key.ns, key.name, Meta(*widget, "uid"),
                                      Meta(*widget, "resourceVersion"), {{"seen", size}});
    if (!written) return base::Error(written.error());
    return controller::Outcome::Done();
  }

 private:
  kube::ObjectStore& store_;
  const Informer& informer_;
};

TEST_F(ControllerTest, ManagerBringsEveryObjectToItsState) {
  Informer informer(*store_, kWidgets, {}, base::SystemClock());
  Copier copier(*store_, informer);
  controller::Controller controller({"copier", 4}, copier, base::SystemClock());
  controller.Watch(informer);
  controller::Manager manager(base::SystemClock());
  manager.Add(informer);
  manager.Add(controller);
  const auto lease_store = OpenStore();
  ASSERT_THAT(manager.SetLease(*lease_store, {"default", UniqueName("lease"), "one"}), IsOk());
  manager.Start();
  const std::string stem = UniqueName("state");
  InParallel(8, 200, [&](int i) {
    EXPECT_THAT(store_->Create(kWidgets, "default", Widget(stem + "-" + std::to_string(i), i)), IsOk());
  });
  for (int i = 0; i < 200; ++i) {
    const Key key{"default", stem + "-" + std::to_string(i)};
    EXPECT_TRUE(Eventually([&] {
      const auto copy = informer.Get(key);
      return copy != nullptr && copy->value("/status/seen"_json_pointer, json()) == i;
    })) << key.name;
  }
  manager.Stop();
}

TEST_F(ControllerTest, OneOfTwoLeadsAndTheOtherTakesOver) {
  const std::string lease = UniqueName("lease");
  const auto options = [&](const char* identity) {
    return controller::LeaseOptions{"default", lease, identity, 15s, 10s, 300ms};
  };
  std::atomic<int> leaders{0};
  std::atomic<int> most{0};
  const controller::LeaderElector::Callbacks callbacks{[&] { most = std::max(most.load(), ++leaders); },
                                                       [&] { --leaders; }};
  controller::LeaderElector first(*store_, options("first"), callbacks, base::SystemClock());
  first.Start();
  ASSERT_TRUE(Eventually([&] { return first.IsLeader(); }));
  const auto other_store = OpenStore();
  controller::LeaderElector second(*other_store, options("second"), callbacks, base::SystemClock());
  second.Start();
  const kube::Resource leases{"coordination.k8s.io", "v1", "leases", "Lease", true};
  const auto spec = [&] { return store_->Get(leases, "default", lease).value_or(json())["spec"]; };
  const auto renewed = [&] { return spec()["renewTime"]; };
  const json before = renewed();
  ASSERT_TRUE(Eventually([&] { return renewed() != before; }));
  EXPECT_FALSE(second.IsLeader());

  const auto stopped = std::chrono::steady_clock::now();
  first.Stop();  // releases: the other need not wait for the lease to expire
  ASSERT_TRUE(Eventually([&] { return second.IsLeader(); }, 30s));
  EXPECT_LT(std::chrono::steady_clock::now() - stopped, 10s) << "sooner than the lease of 15 s ends";
  EXPECT_EQ(spec()["holderIdentity"], "second");
  EXPECT_EQ(spec()["leaseTransitions"], 1);
  second.Stop();
  EXPECT_EQ(most, 1);
  EXPECT_EQ(leaders, 0);
}

}  // namespace
}  // namespace signet::testing
