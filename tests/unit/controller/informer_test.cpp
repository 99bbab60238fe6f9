#include "controller/informer.hpp"

#include <string>
#include <vector>

#include "fakes/empty_store.hpp"
#include "fakes/fake_clock.hpp"
#include "fakes/fake_store.hpp"
#include "support/matchers.hpp"
#include "unit/controller/waiting.hpp"

namespace signet::controller {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::FakeClock;
using testing::FakeStore;
using testing::Watched;

const kube::Resource kWidgets{"test.signet.dev", "v1", "widgets", "Widget", true};

class InformerTest : public ::testing::Test {
 protected:
  InformerTest() {
    informer_.AddHandler([this](const Key& key, const Informer::Object& before, const Informer::Object& after) {
      const char* what = before == nullptr ? "+" : after == nullptr ? "-" : "~";
      seen_.Update([&](auto& seen) { seen.push_back(what + key.name); });
    });
  }
  json Make(const std::string& name) {
    auto made = store_.Create(kWidgets, "ns", {{"metadata", {{"name", name}}}, {"spec", {{"size", 1}}}});
    EXPECT_TRUE(made.has_value());
    return *made;
  }
  void Remove(const std::string& name) { EXPECT_TRUE(store_.Delete(kWidgets, "ns", name, "").has_value()); }
  bool WaitForSeen(const std::vector<std::string>& expected) {
    return seen_.WaitUntil([&](const auto& seen) { return seen == expected; });
  }
  /// The store has no signal for calls: look again each millisecond.
  bool WaitForCalls(const char* verb, std::size_t count) {
    const auto called = [&](const auto&) { return store_.CountCalls(verb) >= count; };
    for (int i = 0; i < 10000 && store_.CountCalls(verb) < count; ++i) seen_.WaitUntil(called, milliseconds(1));
    return store_.CountCalls(verb) >= count;
  }
  bool WaitForWatch(std::size_t count) { return WaitForCalls("StartWatch", count); }

  FakeClock clock_;
  FakeStore store_{clock_};
  Watched<std::vector<std::string>> seen_;
  Informer informer_{store_, kWidgets, {milliseconds(1), milliseconds(5)}, clock_};
};

TEST_F(InformerTest, ListsThenFollowsEvents) {
  Make("a");
  EXPECT_FALSE(informer_.HasSynced());
  informer_.Start();
  ASSERT_TRUE(informer_.WaitForSync(seconds(10)));
  EXPECT_NE(informer_.Get({"ns", "a"}), nullptr);
  Make("b");
  ASSERT_TRUE(WaitForSeen({"+a", "+b"}));
  Remove("a");
  ASSERT_TRUE(WaitForSeen({"+a", "+b", "-a"}));
  EXPECT_EQ(informer_.Get({"ns", "a"}), nullptr);
  EXPECT_EQ(informer_.Keys(), (std::vector<Key>{{"ns", "b"}}));
}

TEST_F(InformerTest, GoesOnFromTheLastVersionAfterARegularEnd) {
  informer_.Start();
  ASSERT_TRUE(informer_.WaitForSync(seconds(10)));
  Make("a");
  ASSERT_TRUE(WaitForSeen({"+a"}));
  store_.BreakWatches({});
  Make("b");
  ASSERT_TRUE(WaitForSeen({"+a", "+b"}));
  EXPECT_EQ(store_.CountCalls("ListAll"), 1U);
  EXPECT_GE(store_.CountCalls("StartWatch"), 2U);
}

TEST_F(InformerTest, ListsAgainWhenTheVersionIsTooOld) {
  Make("a");
  Make("b");
  informer_.Start();
  ASSERT_TRUE(WaitForSeen({"+a", "+b"}));
  ASSERT_TRUE(WaitForWatch(1));  // or it would be too old at once, and the informer list a third time
  // While no watch runs: one object goes, one comes, and the events are forgotten.
  store_.HoldEvents(true);
  Remove("a");
  Make("c");
  store_.Compact();
  store_.BreakWatches(base::MakeError(base::Code::kAborted, "Expired", "too old resource version"));
  // What was held is of the old watch; the informer has it or lists it, and each change is seen once.
  store_.HoldEvents(false);
  ASSERT_TRUE(seen_.WaitUntil([](const auto& seen) { return seen.size() == 4; }));
  EXPECT_THAT(seen_.Get(), ::testing::UnorderedElementsAre("+a", "+b", "-a", "+c"));
  ASSERT_TRUE(WaitForWatch(2));
  EXPECT_EQ(store_.CountCalls("ListAll"), 2U);
}

TEST_F(InformerTest, FindsWhatHappenedWhileItWasBlind) {
  Make("a");
  informer_.Start();
  ASSERT_TRUE(WaitForSeen({"+a"}));
  testing::Watched<bool> down;
  down.Update([](bool& d) { d = true; });
  store_.set_fault([&](const FakeStore::Call& call) -> std::optional<FakeStore::Fault> {
    if (down.Get() && (call.verb == "ListAll" || call.verb == "StartWatch")) {
      return FakeStore::Fault{base::MakeError(base::Code::kUnavailable, "the server is down")};
    }
    return std::nullopt;
  });
  store_.BreakWatches(base::MakeError(base::Code::kUnavailable, "the connection broke"));
  store_.Flush();
  Remove("a");
  Make("b");
  down.Update([](bool& d) { d = false; });
  ASSERT_TRUE(seen_.WaitUntil([](const auto& seen) { return seen.size() == 3; }));
  EXPECT_THAT(seen_.Get(), ::testing::UnorderedElementsAre("+a", "-a", "+b"));
  EXPECT_EQ(informer_.Keys(), (std::vector<Key>{{"ns", "b"}}));
}

TEST_F(InformerTest, SaysWhenTheStoreLastProvedItCurrent) {
  Watched<int> confirmations;
  informer_.OnConfirmed([&] { confirmations.Update([](int& count) { ++count; }); });
  EXPECT_EQ(informer_.LastConfirmed(), std::nullopt);
  informer_.Start();
  ASSERT_TRUE(confirmations.WaitUntil([](int count) { return count == 1; }));
  EXPECT_EQ(informer_.LastConfirmed(), clock_.Steady());
  clock_.Advance(seconds(60));
  EXPECT_EQ(informer_.LastConfirmed(), clock_.Steady() - seconds(60));
  ASSERT_TRUE(WaitForWatch(1));
  store_.SendBookmarks();
  ASSERT_TRUE(confirmations.WaitUntil([](int count) { return count == 2; }));
  EXPECT_EQ(informer_.LastConfirmed(), clock_.Steady());
  EXPECT_TRUE(seen_.Get().empty());
  informer_.Stop();  // before `confirmations` goes
}

/// A server on which things happen between the objects of a list.
class BusyStore final : public testing::EmptyStore {
 public:
  std::function<void(const ListSink& list, const kube::WatchSink& watch)> script;
  base::Status ListEach(const kube::Resource&, const ListSink& list) override {
    list.on_version("5");
    script(list, watch_);
    return {};
  }
  std::unique_ptr<kube::Watch> StartWatch(const kube::Resource&, std::string_view version,
                                          kube::WatchSink sink) override {
    EXPECT_EQ(version, "5");
    watch_ = std::move(sink);
    return std::make_unique<kube::Watch>();
  }

 private:
  kube::WatchSink watch_;
};

json Version(const std::string& name, const char* version) {
  return {{"metadata", {{"namespace", "ns"}, {"name", name}, {"resourceVersion", version}}}};
}

TEST(BusyInformerTest, KnowsWhatIsNewWhileItLists) {
  using Type = kube::WatchEvent::Type;
  BusyStore store;
  Watched<std::vector<std::string>> seen;
  Informer informer(store, kWidgets, {milliseconds(1), milliseconds(5)}, base::SystemClock());
  informer.AddHandler([&](const Key& key, const Informer::Object& before, const Informer::Object& after) {
    const char* what = before == nullptr ? "+" : after == nullptr ? "-" : "~";
    seen.Update([&](auto& all) { all.push_back(what + key.name); });
  });
  bool synced_early = true;
  std::vector<std::string> early;
  store.script = [&](const auto& list, const auto& watch) {
    list.on_object(Version("a", "1"));
    watch.on_event({Type::kAdded, Version("new", "6")});
    watch.on_event({Type::kModified, Version("b", "7")});
    watch.on_event({Type::kDeleted, Version("c", "8")});
    list.on_object(Version("b", "2"));
    list.on_object(Version("c", "3"));
    early = seen.Get();
    synced_early = informer.HasSynced() || !informer.HasAnswered();
    watch.on_event({Type::kModified, Version("a", "9")});
  };
  informer.Start();
  ASSERT_TRUE(informer.WaitForSync(seconds(10)));
  EXPECT_FALSE(synced_early);
  EXPECT_EQ(early, (std::vector<std::string>{"+a", "+new", "+b"})) << "long before the list is complete";
  EXPECT_EQ(informer.Keys(), (std::vector<Key>{{"ns", "a"}, {"ns", "b"}, {"ns", "new"}}));
  EXPECT_EQ((*informer.Get({"ns", "b"}))["metadata"]["resourceVersion"], "7") << "the list's is older";
  EXPECT_EQ((*informer.Get({"ns", "a"}))["metadata"]["resourceVersion"], "9");
  informer.Stop();
}

TEST(BusyInformerTest, StopsInTheMiddleOfALongList) {
  BusyStore store;
  Watched<bool> listing;
  Informer informer(store, kWidgets, {milliseconds(1), milliseconds(5)}, base::SystemClock());
  store.script = [&](const auto& list, const auto&) {
    for (int page = 0; !list.stopped(); ++page) {  // would go on for ever
      list.on_object(Version("a", "1"));
      if (page == 3) listing.Update([](bool& on) { on = true; });
    }
  };
  informer.Start();
  ASSERT_TRUE(listing.WaitUntil([](bool on) { return on; }));
  informer.Stop();
}

TEST_F(InformerTest, StopsWhileTheStoreFails) {
  store_.set_fault([](const FakeStore::Call&) {
    return FakeStore::Fault{base::MakeError(base::Code::kPermissionDenied, "forbidden")};
  });
  informer_.Start();
  ASSERT_TRUE(WaitForCalls("ListAll", 3));
  informer_.Stop();
  EXPECT_FALSE(informer_.HasSynced());
}

}  // namespace
}  // namespace signet::controller
