#include "reconcile/quota_lender.hpp"

#include <gmock/gmock.h>

#include <random>
#include <set>

#include "fakes/fake_store.hpp"
#include "fakes/manual_reactor.hpp"
#include "policy/quota.hpp"
#include "reconcile/resources.hpp"
#include "support/matchers.hpp"

namespace signet::reconcile {
namespace {

using base::Code;
using testing::FakeClock;
using testing::FakeStore;
using ::testing::HasSubstr;
using testing::ManualReactor;
using Why = policy::QuotaRefusal::Why;
using namespace std::chrono_literals;

constexpr const char* kNs = "signet-system";

api::Quota PerDay(std::int64_t limit, api::Quota::Scope scope = api::Quota::Scope::kPolicy) {
  return {std::nullopt, limit, scope};
}

/// A replica: its record (what it has used, and the stream's name), and what lives only as long as the process.
class Replica {
 public:
  Replica(std::string name, FakeStore& store, FakeClock& clock)
      : name_(std::move(name)), store_(store), clock_(clock), reactor_(clock) {
    Start();
  }
  void Restart() {
    Stop();
    Start();
  }
  void LoseRecord() {
    Stop();
    used_.clear();
    ++records_;
    Start();
  }
  /// "taken", "used up", "unavailable".
  std::string Sign(const api::Quota& quota, const std::string& subject = "alice") {
    for (;;) {
      const auto refused = ledger_->Reserve("release", quota, subject);
      if (!refused) {
        ++used_[subject];
        return "taken";
      }
      if (refused->why == Why::kUsedUp) return "used up";
      if (refused->why == Why::kUnavailable) return "unavailable";
      bool told = false;
      if (!ledger_->WhenAnswered("release", quota, subject, [&] { told = true; })) return "too many wait";
      if (!reactor_.RunUntil([&] { return told; })) return "no answer";
    }
  }
  void Settle() { reactor_.RunReady(); }

 private:
  void Stop() {
    lender_.reset();
    ledger_.reset();
  }
  void Start() {
    ledger_ = std::make_unique<policy::QuotaLedger>(clock_);
    for (const auto& [subject, count] : used_) ledger_->Restore("release", subject, count);
    QuotaLender::Options options;
    options.ns = kNs;
    options.borrower = {name_ + "-record-" + std::to_string(records_), name_};
    options.backoff = 1ms;
    lender_ = std::make_unique<QuotaLender>(options, store_, reactor_);
    ledger_->ShareThrough(lender_.get());
  }

  const std::string name_;
  FakeStore& store_;
  FakeClock& clock_;
  ManualReactor reactor_;
  int records_ = 0;
  std::map<std::string, std::uint64_t> used_;
  std::unique_ptr<policy::QuotaLedger> ledger_;
  std::unique_ptr<QuotaLender> lender_;
};

class QuotaLenderTest : public ::testing::Test {
 protected:
  std::int64_t Drain(Replica& replica, const api::Quota& quota, const std::string& subject = "alice") {
    std::int64_t taken = 0;
    while (replica.Sign(quota, subject) == "taken") ++taken;
    return taken;
  }
  std::size_t Writes() const { return store_.CountCalls("Create") + store_.CountCalls("Update"); }

  FakeClock clock_;
  FakeStore store_{clock_};
  Replica a_{"signet-operator-0", store_, clock_};
  Replica b_{"signet-operator-1", store_, clock_};
};

TEST_F(QuotaLenderTest, LendsTheWholeBudgetAndNoMore) {
  std::int64_t taken = 0;
  bool more = true;
  while (more) {
    more = false;
    for (auto* replica : {&a_, &b_}) {
      if (replica->Sign(PerDay(1000)) == "taken") {
        ++taken;
        more = true;
      }
    }
  }
  EXPECT_EQ(taken, 1000);
  EXPECT_LT(Writes(), 100U) << "nothing is written per signature";
  clock_.Advance(24h);
  EXPECT_EQ(a_.Sign(PerDay(1000)), "taken") << "a new day";
}

TEST_F(QuotaLenderTest, HoldsOverRestarts) {
  std::int64_t taken = 0;
  for (int i = 0; i < 10; ++i) {
    a_.Restart();
    EXPECT_EQ(a_.Sign(PerDay(100)), "taken");
    ++taken;
  }
  const auto place = QuotaLender::PlaceOf("release", "");
  const auto map = *store_.Get(ConfigMaps(), kNs, place.map);
  const auto book = nlohmann::json::parse(map["data"][place.member].get<std::string>());
  EXPECT_EQ(book["days"]["2026-11-23"][""]["signet-operator-0-record-0"]["lent"], 10)
      << "two blocks: what was lent and not used is still this replica's";
  taken += Drain(a_, PerDay(100));
  taken += Drain(b_, PerDay(100));
  EXPECT_EQ(taken, 100);
}

TEST_F(QuotaLenderTest, ARecordThatIsLostCostsTheRestOfItsBlock) {
  EXPECT_EQ(a_.Sign(PerDay(100)), "taken");  // of five
  a_.LoseRecord();
  EXPECT_EQ(Drain(a_, PerDay(100)) + Drain(b_, PerDay(100)), 95);
}

TEST_F(QuotaLenderTest, GivesEverySubjectItsOwn) {
  const auto quota = PerDay(30, api::Quota::Scope::kSubject);
  std::int64_t taken = 0;
  for (const auto* subject : {"alice", "bob"}) {
    for (auto* replica : {&a_, &b_}) taken += Drain(*replica, quota, subject);
  }
  EXPECT_EQ(taken, 60);
}

TEST_F(QuotaLenderTest, GoesOnWithWhatIsLentAndThenSaysUnavailable) {
  EXPECT_EQ(a_.Sign(PerDay(1000)), "taken");
  store_.set_fault(
      [](const FakeStore::Call&) { return FakeStore::Fault{base::MakeError(Code::kUnavailable, "no connection")}; });
  for (int i = 1; i < 50; ++i) EXPECT_EQ(a_.Sign(PerDay(1000)), "taken");
  EXPECT_EQ(a_.Sign(PerDay(1000)), "unavailable");
  EXPECT_EQ(b_.Sign(PerDay(1000)), "unavailable") << "it has nothing at all";
  store_.set_fault({});
  clock_.Advance(2s);
  EXPECT_EQ(a_.Sign(PerDay(1000)), "taken");
}

TEST_F(QuotaLenderTest, StopsAtABookThatItDidNotWrite) {
  EXPECT_EQ(a_.Sign(PerDay(1)), "taken");
  const auto place = QuotaLender::PlaceOf("release", "");
  auto map = *store_.Get(ConfigMaps(), kNs, place.map);
  map["data"][place.member] = "{}";
  ASSERT_THAT(store_.Update(ConfigMaps(), kNs, place.map, map), testing::IsOk());
  EXPECT_EQ(b_.Sign(PerDay(10)), "unavailable");
}

// Issue 11, row 19: a Role names every ConfigMap that is written.
TEST_F(QuotaLenderTest, KeepsEveryBookInOneOfAFewConfigMaps) {
  std::set<std::string> maps;
  std::set<std::string> members;
  for (int i = 0; i < 1000; ++i) {
    const auto place = QuotaLender::PlaceOf("policy-" + std::to_string(i), i % 2 == 0 ? "" : "alice");
    EXPECT_THAT(place.map, ::testing::MatchesRegex("signet-quota-[01][0-9a-f]"));
    maps.insert(place.map);
    members.insert(place.member);
  }
  EXPECT_EQ(maps.size(), QuotaLender::kMaps);
  EXPECT_EQ(members.size(), 1000U);
  EXPECT_NE(QuotaLender::PlaceOf("release", "").member, QuotaLender::PlaceOf("release", "alice").member);
}

TEST_F(QuotaLenderTest, KeepsTheBooksOfOtherPoliciesUntilTheirDaysAreOver) {
  const auto place = QuotaLender::PlaceOf("release", "");
  const nlohmann::json others = {{"metadata", {{"name", place.map}}},
                                 {"data",
                                  {{"today.json", R"({"policy":"t","since":"2026-11-22","days":{"2026-11-23":{}}})"},
                                   {"old.json", R"({"policy":"o","since":"2026-11-20","days":{"2026-11-21":{}}})"},
                                   {"note", "not a book"}}}};
  ASSERT_THAT(store_.Create(ConfigMaps(), kNs, others), testing::IsOk());
  EXPECT_EQ(a_.Sign(PerDay(1)), "taken");
  const auto data = store_.Get(ConfigMaps(), kNs, place.map)->at("data");
  EXPECT_TRUE(data.contains("today.json"));
  EXPECT_TRUE(data.contains("note"));
  EXPECT_FALSE(data.contains("old.json"));
  EXPECT_THAT(data.at(place.member).get<std::string>(), HasSubstr("signet-operator-0"));
}

/// Whatever happens in whatever order, no more is signed than the policy says.
TEST_F(QuotaLenderTest, NeverLendsMoreThanTheBudgetWhateverHappens) {
  for (unsigned seed = 0; seed < 30; ++seed) {
    SCOPED_TRACE(seed);
    std::minstd_rand random(seed);
    const auto up_to = [&random](int limit) { return static_cast<int>(random() % static_cast<unsigned>(limit)); };
    clock_.Advance(48h);
    FakeStore store(clock_);
    std::array<std::unique_ptr<Replica>, 3> replicas;
    for (std::size_t i = 0; i < replicas.size(); ++i) {
      replicas.at(i) = std::make_unique<Replica>("r" + std::to_string(i), store, clock_);
    }
    std::int64_t limit = 10 + up_to(300);
    std::int64_t allowed = limit;  // what was signed when the limit was lowered stays signed
    std::int64_t taken = 0;
    bool lost = false;
    for (int step = 0; step < 600; ++step) {
      auto& replica = *replicas.at(static_cast<std::size_t>(up_to(3)));
      switch (up_to(40)) {
        case 0:
          replica.Restart();
          break;
        case 1:
          replica.LoseRecord();
          lost = true;
          break;
        case 2:  // the answer is lost, or the call is, or another was faster
          store.set_fault([own = std::minstd_rand(random()), left = 3](const auto&) mutable {  // on the lender's thread
            if (left-- <= 0) return std::optional<FakeStore::Fault>();
            const bool applied = own() % 2 == 0;
            const auto code = own() % 2 == 0 ? Code::kUnavailable : Code::kAborted;
            return std::optional<FakeStore::Fault>({base::MakeError(code, "trouble"), applied});
          });
          break;
        case 3:
          limit = std::max<std::int64_t>(1, limit / 2 + up_to(static_cast<int>(limit)));
          allowed = std::max(taken, limit);
          break;
        default:
          for (int burst = up_to(8); burst >= 0; --burst) taken += replica.Sign(PerDay(limit)) == "taken" ? 1 : 0;
      }
      ASSERT_LE(taken, allowed) << "step " << step;
      clock_.Advance(100ms);
    }
    store.set_fault({});
    clock_.Advance(2min);
    for (int round = 0; round < 3; ++round) {
      for (auto& replica : replicas) taken += Drain(*replica, PerDay(limit));
      clock_.Advance(2min);
    }
    ASSERT_LE(taken, allowed);
    if (!lost && taken < limit) ADD_FAILURE() << "only " << taken << " of " << limit << " could be used";
  }
}

}  // namespace
}  // namespace signet::reconcile
