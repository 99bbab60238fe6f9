// Invariant 3, counted in the module: a wrong PIN is tried once.
#include <gmock/gmock.h>
#include <signal.h>

#include "support/fake_p11.hpp"
#include "support/loop.hpp"
#include "support/matchers.hpp"
#include "token/worker_hsm.hpp"

namespace signet::token {
namespace {

using namespace std::chrono_literals;
using testing::IsOk;

class PinTest : public ::testing::Test {
 protected:
  void Start(const std::string& state_dir, std::uint32_t workers = 3) {
    hsm_.reset();
    WorkerHsmOptions options;
    options.module = FAKE_P11_MODULE;
    options.tokens = {{std::nullopt, fake_.pin_file()}};
    options.workers_per_token = workers;
    options.sign_timeout = 1000ms;
    options.generate_timeout = 1000ms;
    options.state_dir = state_dir;
    auto created = WorkerHsm::Create(std::move(options), loop_.reactor());
    ASSERT_THAT(created, IsOk());
    hsm_ = *std::move(created);
  }
  bool Reason(const std::string& reason) {
    return loop_.Until([&] { return hsm_->State().reason == reason; });
  }
  bool Ready(std::uint32_t workers) {
    return loop_.Until([&] { return hsm_->State().workers_ready == workers; });
  }
  int Logins() const { return fake_.Calls("C_Login"); }

  testing::FakeP11 fake_;
  testing::Loop loop_;
  std::unique_ptr<WorkerHsm> hsm_;
};

TEST_F(PinTest, TriesAWrongPinOnceOverWorkersAndRestarts) {
  fake_.SetPin("wrong");
  for (int restart = 0; restart < 4; ++restart) {
    Start(fake_.state_dir());
    ASSERT_TRUE(Reason("PinRefused")) << hsm_->State().reason;
    loop_.For(300ms);
    EXPECT_EQ(Logins(), 1) << "restart " << restart;
    EXPECT_EQ(hsm_->WorkerPidsForTest().size(), 1u) << "the canary is alone";
  }
}

TEST_F(PinTest, TriesAWrongPinOnceWhenTheRefusedWorkerIsKilled) {
  fake_.SetPin("wrong");
  Start(fake_.state_dir());
  ASSERT_TRUE(Reason("PinRefused"));
  const auto before = hsm_->WorkerPidsForTest();
  ::kill(before.front(), SIGKILL);
  ASSERT_TRUE(loop_.Until([&] {
    const auto now = hsm_->WorkerPidsForTest();
    return !now.empty() && now != before;
  }));
  loop_.For(1500ms);
  EXPECT_EQ(hsm_->State().reason, "PinRefused");
  EXPECT_EQ(Logins(), 1);
}

TEST_F(PinTest, GoesOnByItselfWhenTheFileHoldsTheRightPin) {
  fake_.SetPin("wrong");
  Start("");
  ASSERT_TRUE(Reason("PinRefused"));
  fake_.SetPin("1234");
  EXPECT_TRUE(Ready(3)) << hsm_->State().message;
  EXPECT_EQ(Logins(), 1 + 3);
}

TEST_F(PinTest, TriesEachNewWrongPinOnce) {
  fake_.SetPin("wrong");
  Start("");
  ASSERT_TRUE(Reason("PinRefused"));
  fake_.SetPin("wrong again");
  ASSERT_TRUE(loop_.Until([&] { return Logins() == 2; }));
  loop_.For(2500ms);
  EXPECT_EQ(Logins(), 2);
}

TEST_F(PinTest, DoesNotTryTheSamePinInATouchedFile) {
  fake_.SetPin("wrong");
  Start(fake_.state_dir());
  ASSERT_TRUE(Reason("PinRefused"));
  fake_.SetPin("wrong\n");  // another file, another size, the same PIN
  loop_.For(3500ms);
  EXPECT_EQ(Logins(), 1);
  EXPECT_EQ(hsm_->State().reason, "PinRefused");
  Start(fake_.state_dir());  // the touched file is remembered, too
  ASSERT_TRUE(Reason("PinRefused"));
  loop_.For(300ms);
  EXPECT_EQ(Logins(), 1);
}

struct Flag {
  const char* name;
  const char* setting;
  const char* reason;
};
class PinFlagTest : public PinTest, public ::testing::WithParamInterface<Flag> {};

TEST_P(PinFlagTest, NeverLogsInAndGoesOnWhenTheFlagIsGone) {
  fake_.Set(GetParam().setting, "1");
  Start(fake_.state_dir());
  ASSERT_TRUE(Reason(GetParam().reason));
  loop_.For(500ms);
  EXPECT_EQ(Logins(), 0);
  fake_.Set(GetParam().setting, "");
  EXPECT_TRUE(Ready(3));
  EXPECT_EQ(Logins(), 3);
}
INSTANTIATE_TEST_SUITE_P(All, PinFlagTest,
                         ::testing::Values(Flag{"FinalTry", "final_try", "PinFinalTry"},
                                           Flag{"Locked", "locked", "PinLocked"}),
                         [](const auto& row) { return row.param.name; });

TEST_F(PinTest, StopsWhenTheTokenRefusesTheKnownPinLater) {
  Start(fake_.state_dir(), 2);
  ASSERT_TRUE(Ready(2));
  ASSERT_EQ(Logins(), 2);
  fake_.Set("pin", "changed");  // at the HSM, not in the file
  for (const pid_t pid : hsm_->WorkerPidsForTest()) ::kill(pid, SIGKILL);
  ASSERT_TRUE(Reason("PinRefused"));
  loop_.For(500ms);
  EXPECT_EQ(Logins(), 3);
  for (int restart = 0; restart < 3; ++restart) {
    Start(fake_.state_dir(), 2);
    ASSERT_TRUE(Reason("PinRefused"));
  }
  EXPECT_EQ(Logins(), 3);
}

TEST_F(PinTest, CountsALoginWithoutAnAnswerAsRefused) {
  fake_.Set("login", "crash");
  Start(fake_.state_dir());
  ASSERT_TRUE(Reason("PinRefused"));
  loop_.For(500ms);
  EXPECT_EQ(Logins(), 1);
  fake_.Set("login", "");
  Start(fake_.state_dir());
  ASSERT_TRUE(Reason("PinRefused"));
  EXPECT_EQ(Logins(), 1);
  fake_.SetPin("1234");
  EXPECT_TRUE(Ready(3));
}

TEST_F(PinTest, KillsAWorkerThatHangsInLoginAndDoesNotTryAgain) {
  fake_.Set("login", "hang");
  Start("");
  ASSERT_TRUE(loop_.Until([&] { return Logins() == 1; }));
  ASSERT_TRUE(Reason("PinRefused"));
  EXPECT_EQ(Logins(), 1);
}

TEST_F(PinTest, TriesAPinThatWasGoodOnceMoreAfterAKillInLogin) {
  Start(fake_.state_dir(), 1);
  ASSERT_TRUE(Ready(1));
  fake_.Set("login", "crash");
  ::kill(hsm_->WorkerPidsForTest().front(), SIGKILL);
  ASSERT_TRUE(Reason("PinRefused"));
  EXPECT_EQ(Logins(), 1 + 2);
}

TEST_F(PinTest, TakesAnUnknownAnswerAsARefusal) {
  fake_.Set("login_rv", "0x80000042");
  Start("");
  ASSERT_TRUE(Reason("PinRefused"));
  loop_.For(1500ms);
  EXPECT_EQ(Logins(), 1);
}

TEST_F(PinTest, RepeatsALoginThatFailedForAnotherReasonAFewTimes) {
  fake_.Set("login_rv", "0x5");  // GENERAL_ERROR, and the token has counted no wrong PIN
  Start(fake_.state_dir());
  ASSERT_TRUE(Reason("PinRefused"));
  EXPECT_EQ(Logins(), 5);
  fake_.folder().Write("calls", "");
  Start(fake_.state_dir());
  ASSERT_TRUE(Reason("PinRefused"));
  EXPECT_EQ(Logins(), 0);
}

TEST_F(PinTest, DoesNotRepeatALoginWhenTheTokenHasCountedAWrongPin) {
  fake_.Set("login_rv", "0x5");
  fake_.Set("count_low", "1");
  Start("");
  ASSERT_TRUE(Reason("PinRefused"));
  EXPECT_EQ(Logins(), 1);
}

TEST_F(PinTest, RepeatsALoginThatTheTokenDidNotLookAt) {
  fake_.Set("login_rv", "0xb1");  // SESSION_COUNT
  Start("");
  ASSERT_TRUE(loop_.Until([&] { return Logins() >= 2; }));
  fake_.Set("login_rv", "");
  EXPECT_TRUE(Ready(3));
}

TEST_F(PinTest, SaysWhatIsWrongWithThePinFile) {
  for (const std::string& content : {std::string(""), std::string("\n"), std::string(300, '1')}) {
    fake_.SetPin(content);
    Start("");
    ASSERT_TRUE(Reason("PinFileUnreadable"));
  }
  std::filesystem::remove(fake_.pin_file());
  Start("");
  ASSERT_TRUE(Reason("PinFileUnreadable"));
  EXPECT_EQ(Logins(), 0);
  fake_.SetPin("1234");
  EXPECT_TRUE(Ready(3));
}

TEST_F(PinTest, LogsInWithoutANoteNever) {
  Start(fake_.state_dir());  // makes the folder
  hsm_.reset();
  const int before = Logins();
  std::filesystem::remove_all(fake_.state_dir());
  fake_.folder().Write("state", "not a folder");
  WorkerHsmOptions options;
  options.module = FAKE_P11_MODULE;
  options.tokens = {{std::nullopt, fake_.pin_file()}};
  options.state_dir = fake_.state_dir();
  EXPECT_FALSE(WorkerHsm::Create(std::move(options), loop_.reactor()).has_value());
  EXPECT_EQ(Logins(), before);
}

TEST_F(PinTest, LeavesNoPinInTheStateFile) {
  fake_.SetPin("wrong-pin-value");
  Start(fake_.state_dir());
  ASSERT_TRUE(Reason("PinRefused"));
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(fake_.state_dir())) {
    std::ostringstream text;
    text << std::ifstream(entry.path()).rdbuf();
    EXPECT_EQ(text.str().find("wrong-pin-value"), std::string::npos);
    ++files;
  }
  EXPECT_EQ(files, 1);
}

}  // namespace
}  // namespace signet::token
