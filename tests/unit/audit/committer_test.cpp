#include "audit/committer.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>

namespace signet::testing {
namespace {

using audit::Committer;
using namespace std::chrono_literals;

TEST(CommitterTest, WaitsForAJobSubmittedWhileTheOneBeforeReturns) {
  std::promise<void> posted;
  std::promise<void> submitted;
  std::promise<void> returned;
  auto wait_returned = returned.get_future();
  std::atomic<bool> early = false;
  std::atomic<bool> ran = false;
  Committer committer;
  committer.Submit([&] {
    posted.set_value();  // as a job that tells the loop that it is done
    submitted.get_future().wait();
  });
  posted.get_future().wait();
  committer.Submit([&] {
    early = wait_returned.wait_for(200ms) == std::future_status::ready;
    ran = true;
  });
  submitted.set_value();
  committer.Wait();
  const bool done = ran;
  returned.set_value();
  EXPECT_TRUE(done) << "Wait returned with a job at work";
  committer.Wait();
  EXPECT_FALSE(early);
}

TEST(CommitterTest, ReturnsAtOnceWhenThereIsNothingToDo) {
  Committer committer;
  committer.Wait();
  bool ran = false;
  committer.Submit([&] { ran = true; });
  committer.Wait();
  EXPECT_TRUE(ran);
}

}  // namespace
}  // namespace signet::testing
