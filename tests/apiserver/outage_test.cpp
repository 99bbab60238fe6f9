#include <csignal>

#include "apiserver/cluster.hpp"
#include "controller/informer.hpp"
#include "support/matchers.hpp"

namespace signet::testing {
namespace {

using base::Code;

/// tests/cluster/ctl.sh on our own cluster; true when it succeeded.
bool Try(const std::string& command) {
  const std::string line = std::string(SIGNET_SOURCE_DIR) + "/tests/cluster/ctl.sh " + command + " --dir " +
                           Environment("SIGNET_CLUSTER_DIR") + " >/dev/null 2>&1";
  return std::system(line.c_str()) == 0;  // NOLINT(concurrency-mt-unsafe)
}
void Control(const std::string& command) { ASSERT_TRUE(Try(command)) << command; }

class OutageTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (IsForeignCluster()) GTEST_SKIP() << "the cluster of KUBECONFIG is not ours to stop";
    InstallWidgets(*patient_);
  }
  void TearDown() override {
    if (IsForeignCluster()) return;
    Try("resume");  // fails where nothing runs
    Control("start-apiserver");
  }
  static kube::RestOptions Impatient() {
    kube::RestOptions options;
    options.deadlines = {2s, 30s};
    options.bookmark_interval = 500ms;
    options.watch_grace = 3500ms;
    return options;
  }

  std::unique_ptr<kube::RestStore> store_ = OpenStore(Impatient());
  /// For what is to succeed: a server that has just been stopped or started may be slow to answer.
  std::unique_ptr<kube::RestStore> patient_ = OpenStore();
};

TEST_F(OutageTest, NoticesAServerThatHangs) {
  const auto list = patient_->ListAll(kWidgets);
  ASSERT_THAT(list, IsOk());
  Recorder recorder;
  const auto watch = store_->StartWatch(kWidgets, list->resource_version, recorder.Sink());
  // Writes keep the watch alive well past its limit of silence: it is the server's silence that ends it.
  for (int i = 0; i < 10; ++i) {
    ASSERT_THAT(patient_->Create(kWidgets, "default", Widget(UniqueName("pulse"))), IsOk());
    ASSERT_TRUE(recorder.WaitForEvents(static_cast<std::size_t>(i) + 1));
    EXPECT_FALSE(recorder.WaitForEnd(600ms).has_value());
  }
  Control("pause");
  const auto paused = std::chrono::steady_clock::now();
  EXPECT_THAT(store_->ListAll(kWidgets), IsErr(Code::kDeadlineExceeded));
  EXPECT_LT(std::chrono::steady_clock::now() - paused, 10s) << "its first octet was due after 2 s, the last after 30 s";
  const auto end = recorder.WaitForEnd(15s);
  ASSERT_TRUE(end.has_value());
  EXPECT_THAT(*end, IsOk());  // start again; the new watch then
  // gets no first byte.
  Recorder late;
  const auto second = store_->StartWatch(kWidgets, list->resource_version, late.Sink());
  const auto late_end = late.WaitForEnd(15s);
  ASSERT_TRUE(late_end.has_value());
  EXPECT_THAT(*late_end, IsErr(Code::kDeadlineExceeded, "Timeout"));
  Control("resume");
  EXPECT_TRUE(Eventually([&] { return store_->ListAll(kWidgets).has_value(); }));
}

TEST_F(OutageTest, SeesAKilledServerAtOnceAndHealsWhenItIsBack) {
  controller::Informer informer(*patient_, kWidgets, {}, base::SystemClock());
  informer.Start();
  ASSERT_TRUE(informer.WaitForSync(10s));
  const auto list = patient_->ListAll(kWidgets);
  ASSERT_THAT(list, IsOk());
  Recorder recorder;
  const auto watch = patient_->StartWatch(kWidgets, list->resource_version, recorder.Sink());
  auto before = patient_->Create(kWidgets, "default", Widget(UniqueName("before")));
  ASSERT_THAT(before, IsOk());
  ASSERT_TRUE(recorder.WaitForEvents(1));
  // Pooled connections that the kill will make stale.
  InParallel(8, 16, [&](int) { EXPECT_THAT(patient_->ListAll(kConfigMaps), IsOk()); });

  Control("stop-apiserver --signal KILL");
  const auto killed = std::chrono::steady_clock::now();
  const auto end = recorder.WaitForEnd(10s);
  ASSERT_TRUE(end.has_value());
  EXPECT_THAT(*end, IsErr(Code::kUnavailable));
  EXPECT_LT(std::chrono::steady_clock::now() - killed, 10s) << "not after the 150 s of silence";
  EXPECT_THAT(patient_->Get(kWidgets, "default", Meta(*before, "name")), IsErr(Code::kUnavailable, "NoConnection"));
  EXPECT_NE(informer.Get({"default", Meta(*before, "name")}), nullptr);  // the copy stays

  Control("start-apiserver");
  auto patched = patient_->PatchStatus(kWidgets, "default", Meta(*before, "name"), Meta(*before, "uid"),
                                       Meta(*before, "resourceVersion"), {{"phase", "after"}});
  EXPECT_THAT(patched, IsOk());  // the first request after the restart does not meet a stale connection
  const auto after = patient_->Create(kWidgets, "default", Widget(UniqueName("after")));
  ASSERT_THAT(after, IsOk());
  EXPECT_TRUE(Eventually([&] { return informer.Get({"default", Meta(*after, "name")}) != nullptr; }, 15s));
  EXPECT_TRUE(Eventually(
      [&] {
        const auto copy = informer.Get({"default", Meta(*before, "name")});
        return copy != nullptr && copy->contains("status");
      },
      15s));
  informer.Stop();

  // The restarted server does not know the events from before: 410, not silence.
  Recorder old;
  const auto late_watch = patient_->StartWatch(kWidgets, list->resource_version, old.Sink());
  const auto too_old = old.WaitForEnd();
  ASSERT_TRUE(too_old.has_value());
  EXPECT_THAT(*too_old, IsErr(Code::kAborted));
  EXPECT_EQ(too_old->error().native.number, 410);
}

TEST_F(OutageTest, KeepsAnInformerCurrentThroughAHang) {
  controller::Informer informer(*store_, kWidgets, {}, base::SystemClock());
  informer.Start();
  ASSERT_TRUE(informer.WaitForSync(10s));
  Control("pause");
  // Nothing is confirmed while the server hangs; what readers of freshness see is the time of the last word.
  EXPECT_THAT(store_->ListAll(kWidgets), IsErr(Code::kDeadlineExceeded));  // what it had sent before has come
  const auto confirmed = informer.LastConfirmed();
  EXPECT_THAT(store_->ListAll(kWidgets), IsErr(Code::kDeadlineExceeded));
  EXPECT_EQ(informer.LastConfirmed(), confirmed);
  Control("resume");
  const auto made = patient_->Create(kWidgets, "default", Widget(UniqueName("resumed")));
  ASSERT_THAT(made, IsOk());
  EXPECT_TRUE(Eventually([&] { return informer.Get({"default", Meta(*made, "name")}) != nullptr; }, 20s));
  informer.Stop();
}

}  // namespace
}  // namespace signet::testing
