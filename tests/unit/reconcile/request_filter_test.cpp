// What is kept of SigningRequests: through a real informer on a store that makes its objects as they are read.
#include "reconcile/request_filter.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include <condition_variable>
#include <functional>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "fakes/empty_store.hpp"
#include "fakes/fake_clock.hpp"
#include "fakes/fake_store.hpp"
#include "reconcile/resources.hpp"
#include "support/matchers.hpp"

namespace signet::reconcile {
namespace {

using controller::Informer;
using controller::Key;
using nlohmann::json;
using ::testing::ElementsAre;
using testing::FakeClock;
using testing::FakeStore;
using ::testing::IsEmpty;
using namespace std::chrono_literals;

constexpr auto kFinishedAt = "2026-11-30T10:00:00Z";
const base::TimePoint kFinished = *base::ParseTime(kFinishedAt);

json Made(const std::string& name, std::optional<int> ttl = {}, const std::string& ns = "ci") {
  json object = {{"apiVersion", "signet.dev/v1alpha1"},
                 {"kind", "SigningRequest"},
                 {"metadata",
                  {{"name", name},
                   {"namespace", ns},
                   {"uid", "0a1b2c3d-0000-4000-8000-" + name.substr(0, 12)},
                   {"resourceVersion", "7"},
                   {"generation", 1},
                   {"creationTimestamp", kFinishedAt},
                   {"managedFields", json::array({{{"manager", std::string(900, 'm')}}})}}},
                 {"spec", {{"policyRef", {{"name", "release"}}}, {"digest", "sha256:" + std::string(64, 'a')}}}};
  if (ttl) object["spec"]["ttlSecondsAfterFinished"] = *ttl;
  return object;
}

json Decided(json object, const char* type = "Ready") {
  object["status"] = {{"finishedAt", kFinishedAt},
                      {"publicKey", std::string(800, 'k')},
                      {"conditions", json::array({{{"type", type}, {"status", "True"}, {"reason", "Signed"}}})}};
  return object;
}

/// A server of any number of objects, none of which it holds.
class Endless final : public testing::EmptyStore {
 public:
  std::size_t count = 0;
  std::function<json(std::size_t)> make;

  base::Status ListEach(const kube::Resource&, const ListSink& sink) override {
    sink.on_version("7");
    for (std::size_t i = 0; i < count; ++i) sink.on_object(make(i));
    return {};
  }
};

std::string Numbered(std::size_t i, std::size_t width) {
  const std::string digits = std::to_string(i);
  return std::string(width - digits.size(), 'r') + digits;
}

class MemoryTest : public ::testing::Test {
 protected:
  /// Octets that the process has allocated more after a list of `count` objects than before, an object.
  std::size_t GrowthOf(std::size_t count, std::function<json(std::size_t)> make) {
    store_.count = count;
    store_.make = std::move(make);
    const std::size_t before = ::mallinfo2().uordblks + ::mallinfo2().hblkhd;
    informer_.Start();
    EXPECT_TRUE(informer_.WaitForSync(60s));
    informer_.Stop();
    const std::size_t after = ::mallinfo2().uordblks + ::mallinfo2().hblkhd;
    return after > before ? (after - before) / count : 0;
  }

  Endless store_;
  RequestFilter filter_;
  Informer informer_{store_, SigningRequests(), {}, base::SystemClock()};
};

TEST_F(MemoryTest, NothingIsKeptOfADecidedRequest) {
  informer_.SetFilter(filter_);
  EXPECT_LT(GrowthOf(5000, [](std::size_t i) { return Decided(Made(Numbered(i, 40))); }), 16U);
  EXPECT_THAT(informer_.Keys(), IsEmpty());
  EXPECT_EQ(filter_.remembered(), 0U);
}

TEST_F(MemoryTest, LessThanAKibibyteIsKeptOfADecidedRequestWithATimeToLive) {
  informer_.SetFilter(filter_);
  const std::string ns(63, 'n');
  EXPECT_LT(GrowthOf(5000, [&](std::size_t i) { return Decided(Made(Numbered(i, 253), 60, ns)); }), 1024U);
  EXPECT_EQ(filter_.remembered(), 5000U);
}

TEST_F(MemoryTest, AnUndecidedRequestIsKeptWithoutItsLongMessage) {
  informer_.SetFilter(filter_);
  const auto made = [](std::size_t i) {
    json object = Made(Numbered(i, 40));
    object["spec"]["message"] = std::string(88'000, 'A');
    return object;
  };
  EXPECT_LT(GrowthOf(500, made), 8192U);
  EXPECT_EQ(informer_.Keys().size(), 500U);
}

TEST_F(MemoryTest, TheCopyHasNoManagedFields) {
  const auto made = [](std::size_t) {
    json object = Made("a");
    object["metadata"]["annotations"] = {{"kubectl.kubernetes.io/last-applied-configuration", "{}"}, {"mine", "1"}};
    return object;
  };
  GrowthOf(1, made);
  const auto copy = informer_.Get({"ci", "a"});
  ASSERT_NE(copy, nullptr);
  EXPECT_FALSE((*copy)["metadata"].contains("managedFields"));
  EXPECT_EQ((*copy)["metadata"]["annotations"], (json{{"mine", "1"}}));
}

// ---- what is kept ------------------------------------------------------------------------

TEST(RequestFilterTest, KeepsTheUndecidedAloneWhateverTheEnd) {
  RequestFilter filter;
  json open = Made("open");
  EXPECT_TRUE(filter.Keep(open));
  json waiting = Made("waiting");
  waiting["status"]["conditions"] = json::array({{{"type", "Ready"}, {"status", "False"}, {"reason", "Busy"}}});
  EXPECT_TRUE(filter.Keep(waiting));
  for (const char* end : {"Ready", "Denied", "Failed"}) {
    json object = Decided(Made("a"), end);
    EXPECT_FALSE(filter.Keep(object)) << end;
  }
  json garbage = {{"status", 7}, {"spec", "none"}};
  EXPECT_TRUE(filter.Keep(garbage)) << "whoever reads it says what is wrong";
}

TEST(RequestFilterTest, SaysOfAnObjectWhetherItIsWhole) {
  RequestFilter filter;
  json object = Made("a");
  EXPECT_FALSE(RequestFilter::IsAbridged(object));
  object["spec"]["message"] = std::string(RequestFilter::kMaxMessage, 'A');
  EXPECT_TRUE(filter.Keep(object));
  EXPECT_FALSE(RequestFilter::IsAbridged(object));
  object["spec"]["message"] = std::string(RequestFilter::kMaxMessage + 1, 'A');
  EXPECT_TRUE(filter.Keep(object));
  EXPECT_TRUE(RequestFilter::IsAbridged(object));
  EXPECT_EQ(object["metadata"]["name"], "a");
}

// ---- time to live ------------------------------------------------------------------------

TEST(RequestFilterTest, NamesARequestWhenItsTimeToLiveIsOver) {
  RequestFilter filter;
  json late = Decided(Made("late", 60));
  json early = Decided(Made("early", 10));
  filter.Keep(late);
  filter.Keep(early);
  filter.Keep(early);  // seen again: one entry
  EXPECT_EQ(filter.remembered(), 2U);
  EXPECT_THAT(filter.TakeDue(kFinished + 9s, 10), IsEmpty());
  EXPECT_THAT(filter.TakeDue(kFinished + 61s, 1), ElementsAre(Key{"ci", "early"}));
  EXPECT_EQ(filter.UidOf({"ci", "early"}), early["metadata"]["uid"]);
  EXPECT_THAT(filter.TakeDue(kFinished + 61s, 10), ElementsAre(Key{"ci", "late"})) << "the first one is being deleted";
  // A deletion that did not happen is tried again.
  EXPECT_THAT(filter.TakeDue(kFinished + 61s + RequestFilter::kNameAgain, 10),
              ::testing::UnorderedElementsAre(Key{"ci", "early"}, Key{"ci", "late"}));
  filter.OnDeleted(early);
  filter.OnDeleted(late);
  EXPECT_EQ(filter.remembered(), 0U);
  EXPECT_EQ(filter.UidOf({"ci", "early"}), std::nullopt);
  EXPECT_THAT(filter.TakeDue(kFinished + 24h, 10), IsEmpty());
}

TEST(RequestFilterTest, ForgetsWhatIsReplacedGoneOrBeingDeleted) {
  RequestFilter filter;
  json first = Decided(Made("a", 60));
  filter.Keep(first);
  json second = Decided(Made("a", 600));
  second["metadata"]["uid"] = "another";
  filter.Keep(second);
  EXPECT_EQ(filter.UidOf({"ci", "a"}), "another");
  EXPECT_THAT(filter.TakeDue(kFinished + 60s, 10), IsEmpty()) << "the time of the object that is there counts";
  second["metadata"]["deletionTimestamp"] = kFinishedAt;
  filter.Keep(second);
  EXPECT_EQ(filter.remembered(), 0U);
  filter.Keep(first);
  json undecided = Made("a", 60);
  undecided["metadata"]["uid"] = "third";
  EXPECT_TRUE(filter.Keep(undecided));
  EXPECT_EQ(filter.remembered(), 0U) << "the name belongs to an undecided request now";
}

TEST(RequestFilterTest, ForgetsWhatAListNoLongerHas) {
  RequestFilter filter;
  json gone = Decided(Made("gone", 60));
  json there = Decided(Made("there", 60));
  filter.OnListBegin();
  filter.Keep(gone);
  filter.Keep(there);
  filter.OnListEnd();
  filter.OnListBegin();
  filter.Keep(there);
  EXPECT_EQ(filter.remembered(), 2U) << "a list that has not ended says nothing of what it has not brought";
  filter.OnListEnd();
  EXPECT_EQ(filter.remembered(), 1U);
  EXPECT_EQ(filter.UidOf({"ci", "gone"}), std::nullopt);
}

// ---- beside an informer -------------------------------------------------------------------

class FilteredInformerTest : public ::testing::Test {
 protected:
  FilteredInformerTest() {
    informer_.SetFilter(filter_);
    informer_.AddHandler([this](const Key& key, const Informer::Object& before, const Informer::Object& after) {
      const std::lock_guard lock(mutex_);
      seen_.push_back((before == nullptr ? "+" : after == nullptr ? "-" : "~") + key.name);
      changed_.notify_all();
    });
  }
  ~FilteredInformerTest() override { informer_.Stop(); }
  json Create(const std::string& name, std::optional<int> ttl = {}) {
    json object = Made(name, ttl);
    object["metadata"].erase("uid");
    return *store_.Create(SigningRequests(), "ci", object);
  }
  void Decide(const json& object) {
    const json& meta = object["metadata"];
    EXPECT_TRUE(store_.PatchStatus(SigningRequests(), "ci", meta["name"].get<std::string>(),
                                   meta["uid"].get<std::string>(), meta["resourceVersion"].get<std::string>(),
                                   Decided(json::object())["status"]));
  }
  bool Sees(const std::vector<std::string>& expected) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, 10s, [&] { return seen_ == expected; });
  }

  FakeClock clock_;
  FakeStore store_{clock_};
  RequestFilter filter_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> seen_;
  Informer informer_{store_, SigningRequests(), {1ms, 5ms}, clock_};
};

TEST_F(FilteredInformerTest, ADecidedRequestLeavesTheCopyAndIsNotListedIntoItAgain) {
  const json old = Create("old", 60);
  Decide(old);
  informer_.Start();
  ASSERT_TRUE(informer_.WaitForSync(10s));
  EXPECT_THAT(informer_.Keys(), IsEmpty());
  EXPECT_EQ(filter_.remembered(), 1U);
  const json app = Create("app", 60);
  ASSERT_TRUE(Sees({"+app"}));
  Decide(app);
  ASSERT_TRUE(Sees({"+app", "-app"}));
  EXPECT_EQ(filter_.remembered(), 2U);
  // While no watch runs, one is deleted: a list finds that out, and brings no decided request back.
  store_.HoldEvents(true);
  ASSERT_TRUE(store_.Delete(SigningRequests(), "ci", "old", ""));
  store_.Compact();
  store_.BreakWatches(base::MakeError(base::Code::kAborted, "Expired", "too old resource version"));
  store_.HoldEvents(false);
  Create("next");
  ASSERT_TRUE(Sees({"+app", "-app", "+next"}));
  EXPECT_EQ(filter_.UidOf({"ci", "old"}), std::nullopt);
  EXPECT_EQ(filter_.UidOf({"ci", "app"}), app["metadata"]["uid"]);
}

TEST_F(FilteredInformerTest, ARequestThatWasDeletedNeedsNoDeletion) {
  Decide(Create("app", 60));
  informer_.Start();
  ASSERT_TRUE(informer_.WaitForSync(10s));
  ASSERT_TRUE(store_.Delete(SigningRequests(), "ci", "app", ""));
  Create("next");
  ASSERT_TRUE(Sees({"+next"}));
  EXPECT_EQ(filter_.remembered(), 0U);
}

}  // namespace
}  // namespace signet::reconcile
