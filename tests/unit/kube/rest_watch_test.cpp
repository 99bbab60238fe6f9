#include "kube/rest_watch.hpp"

#include <condition_variable>

#include "fakes/fake_transport.hpp"
#include "support/matchers.hpp"

namespace signet::kube {
namespace {

using base::Code;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::FakeTransport;
using testing::IsErr;
using testing::IsOk;

class WatchStateTest : public ::testing::Test {
 protected:
  WatchStateTest() { state_->Open(transport_, {"GET", "/x", "", ""}); }
  ~WatchStateTest() override { log_->streams.clear(); }  // streams that nobody ended keep their watch alive

  std::optional<base::Status> end_;
  std::shared_ptr<FakeTransport::Log> log_ = std::make_shared<FakeTransport::Log>();
  FakeTransport transport_{log_};
  const base::SteadyPoint start_ = base::SystemClock().Steady();
  std::shared_ptr<WatchState> state_ = std::make_shared<WatchState>(
      WatchSink{[](const WatchEvent&) {}, [this](base::Status end) { end_ = std::move(end); }}, "watch /x",
      WatchState::Limits{seconds(10), seconds(150), seconds(600), 1000});
};

TEST_F(WatchStateTest, FailsWithoutAFirstByte) {
  EXPECT_TRUE(state_->CheckDeadlines(start_ + seconds(9)).has_value());
  EXPECT_FALSE(end_.has_value());
  EXPECT_EQ(state_->CheckDeadlines(start_ + seconds(11)), std::nullopt);
  ASSERT_TRUE(end_.has_value());
  EXPECT_THAT(*end_, IsErr(Code::kDeadlineExceeded, "Timeout"));
  EXPECT_TRUE(log_->cancelled[0]);
}

TEST_F(WatchStateTest, EndsAfterSilence) {
  log_->streams[0].on_status(200, seconds(0));
  EXPECT_TRUE(state_->CheckDeadlines(start_ + seconds(149)).has_value());
  EXPECT_EQ(state_->CheckDeadlines(start_ + seconds(151)), std::nullopt);
  ASSERT_TRUE(end_.has_value());
  EXPECT_THAT(*end_, IsOk());
  EXPECT_TRUE(log_->cancelled[0]);
}

TEST_F(WatchStateTest, NamesItsNextDeadline) {
  const auto first = state_->CheckDeadlines(start_);
  ASSERT_TRUE(first.has_value());
  EXPECT_LE(*first, start_ + seconds(11));
  log_->streams[0].on_status(200, seconds(0));
  const auto second = state_->CheckDeadlines(start_);
  ASSERT_TRUE(second.has_value());
  EXPECT_GE(*second, start_ + seconds(150));
}

TEST(WatchdogTest, EndsWatchesOnTimeWhateverOrderTheyComeIn) {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<int> ended;
  const auto log = std::make_shared<FakeTransport::Log>();
  FakeTransport transport(log);
  Watchdog watchdog;
  std::vector<std::shared_ptr<WatchState>> watches;
  const auto start = [&](int id, milliseconds first_byte) {
    watches.push_back(std::make_shared<WatchState>(WatchSink{[](const WatchEvent&) {},
                                                             [&, id](const base::Status&) {
                                                               const std::lock_guard lock(mutex);
                                                               ended.push_back(id);
                                                               changed.notify_all();
                                                             }},
                                                   "watch",
                                                   WatchState::Limits{first_byte, seconds(60), seconds(60), 10}));
    watches.back()->Open(transport, {"GET", "/x", "", ""});
    watchdog.Guard(watches.back());
  };
  start(1, seconds(3600));
  start(2, milliseconds(40));
  start(3, milliseconds(20));
  std::unique_lock lock(mutex);
  ASSERT_TRUE(changed.wait_for(lock, seconds(10), [&] { return ended.size() == 2; }));
  EXPECT_THAT(ended, ::testing::UnorderedElementsAre(2, 3));  // on a slow machine both may be due in one look
  log->streams.clear();
}

}  // namespace
}  // namespace signet::kube
