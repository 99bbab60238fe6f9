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
    hsm_ = Make(state_dir, workers);
  }
  /// One process of several: only the memory that it names is shared.
  std::unique_ptr<WorkerHsm> Make(const std::string& state_dir, std::uint32_t workers,
                                  std::shared_ptr<PinMemory> memory = nullptr) {
    WorkerHsmOptions options;
    options.pin_memory = std::move(memory);
    options.module = FAKE_P11_MODULE;
    options.tokens = {{std::nullopt, fake_.pin_file()}};
    options.workers_per_token = workers;
    options.sign_timeout = 1000ms;
    options.generate_timeout = 1000ms;
    options.state_dir = state_dir;
    auto created = WorkerHsm::Create(std::move(options), loop_.reactor());
    EXPECT_THAT(created, IsOk());
    return created ? *std::move(created) : nullptr;
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

// Five pods of one installation, each with a volume of its own (another inode) and the same wrong PIN.
TEST_F(PinTest, TriesAWrongPinOnceOverReplicasThatStartTogetherAndOverTheirRestarts) {
  fake_.SetPin("wrong");
  for (const bool folder : {false, true}) {
    SCOPED_TRACE(folder);
    fake_.folder().Write("calls", "");
    const auto shared = folder ? nullptr : MakeProcessPinMemory();
    for (int restart = 0; restart < 2; ++restart) {
      std::vector<std::unique_ptr<WorkerHsm>> pods;
      for (int i = 0; i < 5; ++i) {
        fake_.SetPin("wrong");  // replaced: a new inode
        pods.push_back(Make(folder ? fake_.state_dir() : "", 2, shared));
      }
      for (const auto& pod : pods) {
        ASSERT_TRUE(loop_.Until([&] { return pod->State().reason == "PinRefused"; })) << pod->State().message;
      }
      EXPECT_EQ(Logins(), 1) << "restart " << restart;
    }
  }
}

/// Stops the memory's thread right after a claim was written, until Release.
class StoppingMemory final : public PinMemory {
 public:
  base::Status Change(const std::string& name, const Edit& edit) override {
    std::string written;
    auto done = memory_->Change(name, [&](std::string& text) -> base::Status {
      TRY_VOID(edit(text));
      written = text;
      return {};
    });
    std::unique_lock lock(mutex_);
    if (!stop_ || written.find("\"trying\"") == std::string::npos) return done;
    stop_ = false;
    stopped_ = true;
    wake_.wait(lock, [&] { return !stopped_; });
    return done;
  }
  bool stopped() {
    const std::lock_guard lock(mutex_);
    return stopped_;
  }
  void Release() {
    const std::lock_guard lock(mutex_);
    stopped_ = false;
    wake_.notify_all();
  }

 private:
  const std::shared_ptr<PinMemory> memory_ = MakeProcessPinMemory();
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stop_ = true, stopped_ = false;
};

TEST_F(PinTest, LeavesNoClaimBehindWhenItEndsBeforeItSeesThatItHasTheTurn) {
  const auto shared = std::make_shared<StoppingMemory>();
  auto ending = Make("", 1, shared);
  ASSERT_TRUE(loop_.Until([&] { return shared->stopped(); }));
  shared->Release();
  ending.reset();  // what the memory answers waits for the loop
  EXPECT_EQ(Logins(), 0);
  const auto next = Make("", 1, shared);
  ASSERT_TRUE(loop_.Until([&] { return next->State().workers_ready == 1; })) << next->State().message;
}

TEST_F(PinTest, TriesARotatedPinOnceWhileReplicasSeeBothFiles) {
  const auto shared = MakeProcessPinMemory();
  fake_.SetPin("wrong");
  const auto old = Make("", 1, shared);
  ASSERT_TRUE(loop_.Until([&] { return old->State().reason == "PinRefused"; }));
  fake_.SetPin("wrong too");
  const auto fresh = Make("", 1, shared);
  ASSERT_TRUE(loop_.Until([&] { return fresh->State().reason == "PinRefused"; }));
  fake_.SetPin("wrong");
  const auto again = Make("", 1, shared);
  ASSERT_TRUE(loop_.Until([&] { return again->State().reason == "PinRefused"; }));
  EXPECT_EQ(Logins(), 2);
}

TEST_F(PinTest, TriesTheSamePinOnceMoreWhenItsMemoryIsRemoved) {
  fake_.SetPin("wrong");
  Start(fake_.state_dir());
  ASSERT_TRUE(Reason("PinRefused"));
  fake_.Set("pin", "wrong");  // the administrator has reset the token's PIN to it
  loop_.For(1500ms);
  EXPECT_EQ(Logins(), 1);
  for (const auto& entry : std::filesystem::directory_iterator(fake_.state_dir())) {
    if (entry.path().extension() == ".json") std::filesystem::remove(entry.path());
  }
  EXPECT_TRUE(Ready(3)) << hsm_->State().message;
}

TEST_F(PinTest, DoesNotCountTheLoginOfSomebodyElseAsTheWordForThisPin) {
  fake_.Set("login_rv", "0x100");  // USER_ALREADY_LOGGED_IN
  fake_.SetPin("wrong");
  Start(fake_.state_dir(), 1);
  ASSERT_TRUE(Ready(1));
  fake_.Set("login_rv", "0x80000001");
  ::kill(hsm_->WorkerPidsForTest().front(), SIGKILL);
  ASSERT_TRUE(Reason("LoginFailed"));
  for (const auto& entry : std::filesystem::directory_iterator(fake_.state_dir())) {
    std::ostringstream text;
    text << std::ifstream(entry.path()).rdbuf();
    EXPECT_EQ(text.str().find("\"knownGood\":true"), std::string::npos);
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
  ASSERT_TRUE(loop_.Until([&] { return Logins() >= 2; }));
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

TEST_F(PinTest, DoesNotTryAgainAtOnceWhenALoginGetsNoAnswer) {
  for (const char* how : {"crash", "hang"}) {
    SCOPED_TRACE(how);
    fake_.folder().Write("calls", "");
    hsm_.reset();
    std::filesystem::remove_all(fake_.state_dir());
    fake_.Set("login", how);
    Start(fake_.state_dir());
    ASSERT_TRUE(Reason("LoginFailed")) << hsm_->State().reason;
    EXPECT_THAT(hsm_->State().message, ::testing::HasSubstr("no answer"));
    loop_.For(2500ms);
    fake_.Set("login", "");
    Start(fake_.state_dir());  // a restart shortens nothing
    ASSERT_TRUE(Reason("LoginFailed")) << hsm_->State().reason;
    loop_.For(500ms);
    EXPECT_EQ(Logins(), 1);
  }
}

TEST_F(PinTest, GoesOnTryingAPinThatWasGoodAfterLoginsWithoutAnAnswer) {
  Start(fake_.state_dir(), 1);
  ASSERT_TRUE(Ready(1));
  fake_.Set("login", "crash");
  ::kill(hsm_->WorkerPidsForTest().front(), SIGKILL);
  ASSERT_TRUE(loop_.Until([&] { return Logins() >= 2; }));
  fake_.Set("login", "");
  EXPECT_TRUE(Ready(1)) << hsm_->State().message;
}

struct Trouble {
  const char* rv;
  const char* name;
};
class LoginTroubleTest : public PinTest, public ::testing::WithParamInterface<Trouble> {};

// Whatever is not "wrong PIN" shows the HSM's own answer, and ends by itself: for a PIN that was good before, and for
// one that was never tried.
TEST_P(LoginTroubleTest, ShowsTheAnswerAndRecovers) {
  for (const bool known_good : {true, false}) {
    SCOPED_TRACE(known_good);
    hsm_.reset();
    std::filesystem::remove_all(fake_.state_dir());
    fake_.Set("login_rv", "");
    if (known_good) {
      Start(fake_.state_dir(), 1);
      ASSERT_TRUE(Ready(1));
    }
    fake_.folder().Write("calls", "");
    fake_.Set("login_rv", GetParam().rv);
    Start(fake_.state_dir(), 1);
    ASSERT_TRUE(loop_.Until([&] { return Logins() >= 2; })) << hsm_->State().message;
    ASSERT_TRUE(loop_.Until([&] { return hsm_->State().message.find(GetParam().rv) != std::string::npos; }))
        << hsm_->State().reason << ": " << hsm_->State().message;
    EXPECT_THAT(hsm_->State().reason, ::testing::AnyOf("LoginFailed", "PinExpired", "PinNotInitialized"));
    EXPECT_THAT(hsm_->State().message, ::testing::HasSubstr(GetParam().name));
    fake_.Set("login_rv", "");
    EXPECT_TRUE(Ready(1)) << hsm_->State().message;
  }
}
INSTANTIATE_TEST_SUITE_P(All, LoginTroubleTest,
                         ::testing::Values(Trouble{"0x5", "GENERAL_ERROR"}, Trouble{"0x6", "FUNCTION_FAILED"},
                                           Trouble{"0x30", "DEVICE_ERROR"}, Trouble{"0xa3", "PIN_EXPIRED"},
                                           Trouble{"0x102", "USER_PIN_NOT_INITIALIZED"},
                                           Trouble{"0x103", "USER_TYPE_INVALID"}, Trouble{"0x105", "USER_TOO_MANY"},
                                           Trouble{"0x80000042", "0x80000042"}, Trouble{"0x1c1", "0x1c1"}));

class WrongPinTest : public PinTest, public ::testing::WithParamInterface<const char*> {};

TEST_P(WrongPinTest, IsTriedOnce) {
  fake_.Set("login_rv", GetParam());
  Start(fake_.state_dir());
  ASSERT_TRUE(loop_.Until([&] { return Logins() == 1 && hsm_->State().reason.starts_with("Pin"); }));
  Start(fake_.state_dir());
  ASSERT_TRUE(Reason("PinRefused"));
  loop_.For(2500ms);
  EXPECT_EQ(Logins(), 1);
}
INSTANTIATE_TEST_SUITE_P(All, WrongPinTest, ::testing::Values("0xa0", "0xa1", "0xa2", "0xa4"));

TEST_F(PinTest, TakesTheTokensFlagForAWordAboutANewPin) {
  fake_.Set("login_rv", "0x5");
  fake_.Set("count_on", "0x5");
  Start("");
  ASSERT_TRUE(Reason("PinRefused"));
  loop_.For(1500ms);
  EXPECT_EQ(Logins(), 1);
}

TEST_F(PinTest, GoesOnWhenATokenThatWasLockedIsUnlocked) {
  Start(fake_.state_dir(), 1);
  ASSERT_TRUE(Ready(1));
  fake_.Set("login_rv", "0xa4");
  fake_.Set("lock_on", "0xa4");
  ::kill(hsm_->WorkerPidsForTest().front(), SIGKILL);
  ASSERT_TRUE(Reason("PinLocked"));
  fake_.Set("login_rv", "");
  fake_.Set("lock_on", "");
  EXPECT_TRUE(Ready(1)) << hsm_->State().message;
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
  EXPECT_GE(files, 3);  // and the locks: of the folder, of the holders; perhaps a temporary file
}

}  // namespace
}  // namespace signet::token
