#include "reconcile/pin_secret.hpp"

#include <gmock/gmock.h>

#include <thread>

#include "encoding/text.hpp"
#include "fakes/fake_store.hpp"
#include "support/matchers.hpp"
#include "token/pin_guard.hpp"

namespace signet::reconcile {
namespace {

using testing::FakeStore;
using testing::IsErr;
using testing::IsOk;
using token::PinGuard;

const kube::Resource kSecrets{"", "v1", "secrets", "Secret", true};

class PinSecretTest : public ::testing::Test {
 protected:
  std::string Read(const std::string& name) {
    std::string seen;
    EXPECT_THAT(memory_.Change(name,
                               [&](std::string& text) -> base::Status {
                                 seen = text;
                                 return {};
                               }),
                IsOk());
    return seen;
  }
  base::Status Write(const std::string& name, const std::string& value) {
    return memory_.Change(name, [&](std::string& text) -> base::Status {
      text = value;
      return {};
    });
  }

  FakeStore store_;
  SecretPinMemory memory_{store_, "signet-system"};
};

TEST_F(PinSecretTest, KeepsOneTextPerToken) {
  EXPECT_EQ(Read("pin-a.json"), "");
  EXPECT_THAT(store_.Get(kSecrets, "signet-system", kPinSecret), IsErr(base::Code::kNotFound)) << "nothing to keep";
  ASSERT_THAT(Write("pin-a.json", "one"), IsOk());
  ASSERT_THAT(Write("pin-b.json", "two"), IsOk());
  EXPECT_EQ(Read("pin-a.json"), "one");
  EXPECT_EQ(Read("pin-b.json"), "two");
  ASSERT_THAT(store_.Delete(kSecrets, "signet-system", kPinSecret, ""), IsOk());
  EXPECT_EQ(Read("pin-a.json"), "") << "forgotten";
}

TEST_F(PinSecretTest, GivesOneOfManyReplicasTheTurn) {
  const std::string pin(64, 'a');
  std::atomic<int> tries{0};
  std::vector<std::thread> replicas;
  for (int i = 0; i < 8; ++i) {
    replicas.emplace_back([&, holder = std::to_string(i)] {
      auto kind = PinGuard::Verdict::Kind::kTaken;
      const auto edit = [&](std::string& text) -> base::Status {
        TRY(auto guard, PinGuard::Parse(text, {}));
        kind = guard.Claim(pin, base::Bytes(guard.key()), holder, base::SystemClock().Now(), std::chrono::seconds(60))
                   .kind;
        text = guard.Format();
        return {};
      };
      SecretPinMemory memory(store_, "signet-system");
      EXPECT_THAT(memory.Change("pin-a.json", edit), IsOk());
      if (kind == PinGuard::Verdict::Kind::kTry) ++tries;
    });
  }
  for (auto& replica : replicas) replica.join();
  EXPECT_EQ(tries.load(), 1);
}

TEST_F(PinSecretTest, KnowsThatTheProcessBeforeItInTheSamePodIsGone) {
  SecretPinMemory before(store_, "signet-system", "uid-1");
  SecretPinMemory now(store_, "signet-system", "uid-1");
  SecretPinMemory other(store_, "signet-system", "uid-2");
  EXPECT_TRUE(now.IsGone(before.MakeHolder()));
  EXPECT_FALSE(now.IsGone(now.MakeHolder()));
  EXPECT_FALSE(now.IsGone(other.MakeHolder()));
  EXPECT_FALSE(now.IsGone(memory_.MakeHolder())) << "of a process whose pod is not known, such as a check";
  EXPECT_FALSE(memory_.IsGone(now.MakeHolder()));
}

TEST_F(PinSecretTest, SaysWhatItMayNotDo) {
  for (const char* verb : {"Get", "Create", "Update"}) {
    SCOPED_TRACE(verb);
    store_.set_fault([&](const FakeStore::Call& call) -> std::optional<FakeStore::Fault> {
      if (call.verb != verb) return std::nullopt;
      return FakeStore::Fault{base::MakeError(base::Code::kPermissionDenied, "forbidden")};
    });
    if (std::string_view(verb) == "Update") {
      store_.set_fault({});
      ASSERT_THAT(Write("pin-a.json", "one"), IsOk());
      store_.set_fault([](const FakeStore::Call& call) -> std::optional<FakeStore::Fault> {
        if (call.verb != "Update") return std::nullopt;
        return FakeStore::Fault{base::MakeError(base::Code::kPermissionDenied, "forbidden")};
      });
    }
    const auto written = Write("pin-a.json", "other");
    ASSERT_THAT(written, IsErr(base::Code::kUnavailable, "StateUnwritable"));
    EXPECT_THAT(written.error().message, ::testing::HasSubstr("signet-pin"));
  }
}

TEST_F(PinSecretTest, DoesNotTakeWhatIsNoTextForAnEmptyOne) {
  ASSERT_THAT(store_.Create(kSecrets, "signet-system",
                            {{"apiVersion", "v1"},
                             {"kind", "Secret"},
                             {"metadata", {{"name", kPinSecret}, {"namespace", "signet-system"}}},
                             {"data", {{"pin-a.json", "%%%"}}}}),
              IsOk());
  EXPECT_THAT(PinGuard::Parse(Read("pin-a.json"), {}), IsErr(base::Code::kFailedPrecondition, "StateUnreadable"));
}

}  // namespace
}  // namespace signet::reconcile
