#include "authn/errands.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace signet::testing {
namespace {

using authn::Errands;
using ::testing::ElementsAre;

TEST(ErrandsTest, BothQueuesAreBoundedAndTheFrontGoesFirst) {
  std::promise<void> started;
  std::promise<void> open;
  std::promise<void> ended;
  std::vector<std::string> ran;
  Errands errands({1, 3, 2});
  ASSERT_TRUE(errands.Send([&] {
    started.set_value();
    open.get_future().wait();
  }));
  started.get_future().wait();
  const auto send = [&](const std::string& name, Errands::Place place) {
    return errands.Send([&ran, name] { ran.push_back(name); }, place);
  };
  EXPECT_TRUE(send("a", Errands::Place::kBack));
  EXPECT_TRUE(send("b", Errands::Place::kBack));
  ASSERT_TRUE(errands.Send([&] { ended.set_value(); }));
  EXPECT_FALSE(send("c", Errands::Place::kBack));
  EXPECT_TRUE(send("first", Errands::Place::kFront));
  EXPECT_TRUE(send("second", Errands::Place::kFront));
  EXPECT_FALSE(send("third", Errands::Place::kFront));
  open.set_value();
  ended.get_future().wait();
  EXPECT_THAT(ran, ElementsAre("first", "second", "a", "b"));
}

TEST(ErrandsTest, DropsWhatWaitsWhenItStops) {
  std::promise<void> started;
  std::promise<void> open;
  bool ran = false;
  auto held = std::make_shared<int>(0);
  const std::weak_ptr<int> watch = held;
  Errands errands({1, 1U << 30U, 2});  // never full: what is refused below is refused for the end
  ASSERT_TRUE(errands.Send([&] {
    started.set_value();
    open.get_future().wait();
  }));
  started.get_future().wait();
  for (const auto place : {Errands::Place::kBack, Errands::Place::kFront}) {
    ASSERT_TRUE(errands.Send([&ran, held] { ran = true; }, place));
  }
  held.reset();
  std::thread stopper([&] { errands.Stop(); });
  while (errands.Send([] {})) std::this_thread::yield();
  open.set_value();
  stopper.join();
  EXPECT_TRUE(watch.expired());
  EXPECT_FALSE(ran);
}

TEST(ErrandsTest, OneSourceCannotTakeTheTurnsOrThePlacesOfOthers) {
  std::promise<void> started, open, all;
  std::vector<std::string> ran;
  int dropped = 0;
  Errands errands({1, 4, 2});
  ASSERT_TRUE(errands.Send([&] {
    started.set_value();
    open.get_future().wait();
  }));
  started.get_future().wait();
  const auto send = [&](const std::string& source) {
    const auto run = [&ran, &all, source] {
      ran.push_back(source);
      if (ran.size() == 4) all.set_value();
    };
    return errands.Send({run, [&dropped] { ++dropped; }}, Errands::Place::kBack, source);
  };
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(send("greedy"));
  EXPECT_FALSE(send("greedy")) << "full, and nobody holds more";
  EXPECT_TRUE(send("other"));
  EXPECT_TRUE(send("third"));
  EXPECT_EQ(dropped, 2);
  EXPECT_FALSE(send("greedy"));
  open.set_value();
  all.get_future().wait();
  errands.Stop();
  EXPECT_THAT(ran, ::testing::UnorderedElementsAre("greedy", "greedy", "other", "third"));
  ASSERT_EQ(ran.size(), 4U);
  EXPECT_EQ(ran.back(), "greedy") << "each source has its turn";
}

TEST(ErrandsTest, OneSourceCannotTakeAllThreads) {
  std::promise<void> open;
  const auto gate = open.get_future().share();
  std::atomic<int> in_work = 0;
  Errands errands({4, 64, 2});
  const auto hang = [&, gate] {
    ++in_work;
    gate.wait();
  };
  for (int i = 0; i < 16; ++i) ASSERT_TRUE(errands.Send({hang, {}}, Errands::Place::kBack, "greedy"));
  std::promise<void> served;
  ASSERT_TRUE(errands.Send({[&] { served.set_value(); }, {}}, Errands::Place::kBack, "other"));
  EXPECT_EQ(served.get_future().wait_for(std::chrono::seconds(30)), std::future_status::ready);
  EXPECT_LE(in_work, 2);
  open.set_value();
}

}  // namespace
}  // namespace signet::testing
