#include "controller/work_queue.hpp"

#include <atomic>
#include <thread>
#include <vector>

#include "fakes/fake_clock.hpp"
#include "support/matchers.hpp"

namespace signet::controller {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::FakeClock;

const Key kA{"ns", "a"};
const Key kB{"ns", "b"};

class WorkQueueTest : public ::testing::Test {
 protected:
  FakeClock clock_;
  WorkQueue queue_{{"test", milliseconds(5), seconds(60)}, clock_};
};

TEST_F(WorkQueueTest, GivesKeysOnceInOrder) {
  queue_.Add(kA);
  queue_.Add(kB);
  queue_.Add(kA);
  EXPECT_EQ(queue_.Depth(), 2U);
  EXPECT_EQ(queue_.Take(), kA);
  EXPECT_EQ(queue_.Take(), kB);
  EXPECT_EQ(queue_.Depth(), 0U);
}

TEST_F(WorkQueueTest, HoldsAKeyBackWhileAWorkerHasIt) {
  queue_.Add(kA);
  ASSERT_EQ(queue_.Take(), kA);
  queue_.Add(kA);
  queue_.Add(kA);
  EXPECT_EQ(queue_.Depth(), 0U);
  queue_.Done(kA);
  EXPECT_EQ(queue_.Depth(), 1U);
  EXPECT_EQ(queue_.Take(), kA);
  queue_.Done(kA);
  EXPECT_EQ(queue_.Depth(), 0U);
}

TEST_F(WorkQueueTest, NeverGivesOneKeyToTwoWorkers) {
  std::atomic<int> inside{0};
  std::atomic<int> most{0};
  std::atomic<int> rounds{0};
  std::vector<std::thread> workers;
  for (int i = 0; i < 8; ++i) {
    workers.emplace_back([&] {
      while (const auto key = queue_.Take()) {
        const int now = ++inside;
        if (now > most) most = now;
        if (++rounds < 2000) queue_.Add(*key);
        std::this_thread::yield();
        --inside;
        queue_.Done(*key);
        if (rounds >= 2000) queue_.ShutDown(WorkQueue::Drain::kNothing);
      }
    });
  }
  queue_.Add(kA);
  for (auto& worker : workers) worker.join();
  EXPECT_EQ(most, 1);
  EXPECT_GE(rounds, 2000);
}

TEST_F(WorkQueueTest, DelaysAndKeepsTheEarliest) {
  queue_.AddAfter(kA, seconds(10));
  queue_.AddAfter(kA, seconds(20));
  queue_.AddAfter(kB, seconds(5));
  queue_.AddAfter(kB, seconds(2));
  clock_.Advance(seconds(2));
  EXPECT_EQ(queue_.Take(), kB);
  clock_.Advance(seconds(8));
  EXPECT_EQ(queue_.Take(), kA);
  queue_.Done(kA);
  queue_.Done(kB);
  clock_.Advance(seconds(60));
  queue_.ShutDown(WorkQueue::Drain::kReady);
  EXPECT_EQ(queue_.Take(), std::nullopt);  // no second coming
}

TEST_F(WorkQueueTest, WakesAWaitingWorkerForADelayedKey) {
  std::optional<Key> taken;
  std::thread worker([&] { taken = queue_.Take(); });
  queue_.AddAfter(kA, seconds(3600));
  clock_.Advance(seconds(3600));
  queue_.WakeForTest();
  queue_.Add(kB);  // in case the worker waits without a limit: it is awake either way
  worker.join();
  EXPECT_TRUE(taken.has_value());
}

TEST_F(WorkQueueTest, DoublesTheBackoffOfEachKeyUpToACap) {
  const auto backoff = [&](const Key& key) {
    queue_.AddRateLimited(key);
    for (milliseconds waited{0};; waited += milliseconds(5), clock_.Advance(milliseconds(5))) {
      queue_.Add(kB);  // a sentinel, so that Take never waits
      const auto first = *queue_.Take();
      if (queue_.Depth() > 0) {
        const auto second = *queue_.Take();
        queue_.Done(first);
        queue_.Done(second);
        return waited;
      }
      queue_.Done(first);
    }
  };
  for (const int expected : {5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 5120, 10240, 20480, 40960, 60000, 60000}) {
    EXPECT_EQ(backoff(kA), milliseconds(expected));
  }
  EXPECT_EQ(queue_.CountRetries(kA), 16);
  queue_.Forget(kA);
  EXPECT_EQ(queue_.CountRetries(kA), 0);
  EXPECT_EQ(backoff(kA), milliseconds(5));
}

TEST_F(WorkQueueTest, DrainsWhatIsReadyOnShutDown) {
  queue_.Add(kA);
  queue_.AddAfter(kB, seconds(1));
  queue_.ShutDown(WorkQueue::Drain::kReady);
  queue_.Add(kB);
  EXPECT_EQ(queue_.Take(), kA);
  clock_.Advance(seconds(2));
  EXPECT_EQ(queue_.Take(), std::nullopt);
}

TEST_F(WorkQueueTest, DropsWhatIsReadyOnShutDownWithoutDrain) {
  queue_.Add(kA);
  queue_.Add(kB);
  ASSERT_EQ(queue_.Take(), kA);
  queue_.Add(kA);
  queue_.ShutDown(WorkQueue::Drain::kNothing);
  EXPECT_EQ(queue_.Take(), std::nullopt);
  std::thread waiter([&] { queue_.WaitIdle(); });
  queue_.Done(kA);
  waiter.join();
  EXPECT_EQ(queue_.Take(), std::nullopt);
}

TEST_F(WorkQueueTest, ReleasesWaitingWorkersOnShutDown) {
  std::thread worker([&] { EXPECT_EQ(queue_.Take(), std::nullopt); });
  queue_.ShutDown(WorkQueue::Drain::kReady);
  worker.join();
}

}  // namespace
}  // namespace signet::controller
