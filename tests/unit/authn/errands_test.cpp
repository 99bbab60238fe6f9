#include "authn/errands.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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

}  // namespace
}  // namespace signet::testing
