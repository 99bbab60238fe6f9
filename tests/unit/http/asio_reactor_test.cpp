#include "http/asio_reactor.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "base/unique_fd.hpp"

namespace signet::http {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

class AsioReactorTest : public ::testing::Test {
 protected:
  AsioReactorTest() {
    int fds[2];
    EXPECT_EQ(::pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
    read_ = base::UniqueFd(fds[0]);
    write_ = base::UniqueFd(fds[1]);
  }
  void Feed(std::string_view text) { ASSERT_EQ(::write(write_.get(), text.data(), text.size()), ssize_t(text.size())); }
  char Take() {
    char c = 0;
    return ::read(read_.get(), &c, 1) == 1 ? c : '\0';
  }
  std::unique_ptr<AsioReactor> reactor_ = AsioReactor::Create();
  base::UniqueFd read_, write_;
};

TEST_F(AsioReactorTest, RunsPostedHandlersInOrder) {
  std::string order;
  reactor_->Post([&] { order += 'a'; });
  reactor_->Post([&] {
    order += 'b';
    reactor_->Post([&] {
      order += 'd';
      reactor_->Stop();
    });
  });
  reactor_->Post([&] { order += 'c'; });
  reactor_->Run();
  EXPECT_EQ(order, "abcd");
}

TEST_F(AsioReactorTest, TakesPostsFromOtherThreads) {
  int count = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 1000; ++n) {
        reactor_->Post([&] {
          if (++count == 4000) reactor_->Stop();
        });
      }
    });
  }
  reactor_->Run();
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(count, 4000);
}

TEST_F(AsioReactorTest, RunsTimersByTimeAndForgetsCancelledOnes) {
  std::string order;
  reactor_->After(milliseconds(20), [&] {
    order += 'z';
    reactor_->Stop();
  });
  reactor_->After(milliseconds(1), [&] { order += 'a'; });
  const auto never = reactor_->After(milliseconds(2), [&] { order += 'x'; });
  reactor_->Cancel(never);
  reactor_->Cancel(never);
  reactor_->Cancel(12345);
  reactor_->Run();
  EXPECT_EQ(order, "az");
}

TEST_F(AsioReactorTest, ATimerThatIsDueCanStillBeCancelled) {
  bool fired = false;
  base::Reactor::Id second = 0;
  reactor_->After(microseconds(0), [&] { reactor_->Cancel(second); });
  second = reactor_->After(microseconds(0), [&] { fired = true; });
  reactor_->After(milliseconds(20), [&] { reactor_->Stop(); });
  reactor_->Run();
  EXPECT_FALSE(fired);
}

TEST_F(AsioReactorTest, ACancelledTimerHoldsUpNoneBehindIt) {
  std::string order;
  const auto never = reactor_->After(milliseconds(1), [&] { order += 'x'; });
  reactor_->After(milliseconds(5), [&] {
    order += 'a';
    reactor_->After(milliseconds(1), [&] { order += 'b'; });
    reactor_->After(milliseconds(3), [&] { reactor_->Stop(); });
  });
  reactor_->After(milliseconds(60'000), [&] { order += 'z'; });
  reactor_->Cancel(never);
  reactor_->Run();
  EXPECT_EQ(order, "ab");
}

TEST_F(AsioReactorTest, IsLevelTriggered) {
  std::string seen;
  Feed("abc");
  reactor_->WatchReadable(read_.get(), [&] {
    seen += Take();  // one octet a time: the rest must bring the handler back
    if (seen.size() == 3) reactor_->Stop();
  });
  reactor_->Run();
  EXPECT_EQ(seen, "abc");
}

TEST_F(AsioReactorTest, TellsTheEndOfAStream) {
  write_.Close();
  int calls = 0;
  const auto id = reactor_->WatchReadable(read_.get(), [&] {
    ++calls;
    reactor_->Stop();
  });
  reactor_->Run();
  reactor_->Unwatch(id);
  EXPECT_EQ(calls, 1);
}

TEST_F(AsioReactorTest, UnwatchInsideAHandlerIsSafeAndFinal) {
  int calls = 0;
  base::Reactor::Id id = 0;
  Feed("abc");
  id = reactor_->WatchReadable(read_.get(), [&, keep = std::string(100, 'k')] {
    ++calls;
    reactor_->Unwatch(id);
    reactor_->Unwatch(id);
    EXPECT_EQ(keep.size(), 100U) << "the handler lives until it returns";
    reactor_->After(milliseconds(10), [&] { reactor_->Stop(); });
  });
  reactor_->Run();
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(Take(), 'a') << "the descriptor is still the caller's";
}

TEST_F(AsioReactorTest, WatchesADescriptorAgain) {
  Feed("a");
  const auto first = reactor_->WatchReadable(read_.get(), [] {});
  reactor_->Unwatch(first);
  bool seen = false;
  reactor_->WatchReadable(read_.get(), [&] {
    seen = true;
    Take();
    reactor_->Stop();
  });
  reactor_->Run();
  EXPECT_TRUE(seen);
}

TEST_F(AsioReactorTest, HandlersMayStillBeWaitingWhenItEnds) {
  reactor_->WatchReadable(read_.get(), [] {});
  reactor_->After(milliseconds(100'000), [] {});
  reactor_->Post([&] { reactor_->Stop(); });
  reactor_->Run();
  reactor_.reset();
  Feed("x");
  EXPECT_EQ(Take(), 'x') << "the descriptor was not closed";
}

TEST_F(AsioReactorTest, CallsOnTerminateOnTheLoop) {
  bool called = false;
  reactor_->OnTerminate([&] {
    called = true;
    reactor_->Stop();
  });
  reactor_->Post([] { ::raise(SIGTERM); });
  reactor_->Run();
  EXPECT_TRUE(called);
}

TEST_F(AsioReactorTest, AsksPollersBeforeItSleepsAndNotWhileTheyAreBusy) {
  int polls = 0;
  int sleeps = 0;
  const auto id = reactor_->AddPoller([&](bool waiting) {
    if (waiting && ++sleeps == 1) reactor_->After(milliseconds(1), [&] { reactor_->Stop(); });
    return ++polls < 10;  // something to do nine times, then rest
  });
  reactor_->Run();
  EXPECT_GE(polls, 11) << "once more before the loop sleeps";
  EXPECT_GE(sleeps, 1);
  reactor_->RemovePoller(id);
}

TEST_F(AsioReactorTest, WhatOneTurnPostsRunsAfterEverythingThatWasReady) {
  std::string order;
  Feed("x");
  reactor_->WatchReadable(read_.get(), [&] {
    if (Take() != 'x') return;
    order += 'd';
    reactor_->Post([&] {
      order += 'p';
      reactor_->Stop();
    });
  });
  reactor_->After(microseconds(0), [&] {
    order += 't';
    reactor_->Post([&] { order += 'q'; });
  });
  std::this_thread::sleep_for(milliseconds(5));  // the timer is due when the loop begins, however coarse the clock
  reactor_->Run();
  EXPECT_EQ(order.find_first_of("pq"), 2U) << order;
}

TEST_F(AsioReactorTest, AStreamOfPostsDoesNotKeepDescriptorsWaiting) {
  std::function<void()> again = [&] { reactor_->Post(again); };
  reactor_->Post(again);
  Feed("x");
  reactor_->WatchReadable(read_.get(), [&] { reactor_->Stop(); });
  reactor_->Run();
  EXPECT_EQ(Take(), 'x');
}

TEST(AsioReactorDeathTest, ASecondSignalEndsTheProcess) {
  EXPECT_EXIT(
      {
        auto reactor = AsioReactor::Create();
        reactor->OnTerminate([] { ::raise(SIGINT); });
        reactor->Post([] { ::raise(SIGTERM); });
        reactor->Run();
      },
      ::testing::ExitedWithCode(128 + SIGINT), "");
}

TEST(AsioReactorDeathTest, AHandlerThatThrowsEndsTheProcess) {
  EXPECT_DEATH(
      {
        auto reactor = AsioReactor::Create();
        reactor->Post([] { throw std::runtime_error("out of hand"); });
        reactor->Run();
      },
      "an event handler threw: out of hand");
}

}  // namespace
}  // namespace signet::http
