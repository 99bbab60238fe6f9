// Real worker processes with a module that misbehaves.
#include "token/worker_hsm.hpp"

#include <gmock/gmock.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <filesystem>

#include "crypto/digest.hpp"
#include "fakes/fake_clock.hpp"
#include "support/fake_p11.hpp"
#include "support/loop.hpp"
#include "support/matchers.hpp"
#include "support/temp_folder.hpp"

namespace signet::token {
namespace {

using namespace std::chrono_literals;
using base::Code;
using encoding::SignatureAlgorithm;
using testing::IsErr;
using testing::IsOk;

/// So long does an operation wait while no worker is ready: one that is refused sooner has not waited.
constexpr auto kReplacementPatience = 2s;
const base::Bytes kDigest = crypto::Hash(encoding::HashAlgorithm::kSha256, base::AsBytes("to be signed"));

class WorkerHsmTest : public ::testing::Test {
 protected:
  WorkerHsmOptions Options(std::uint32_t workers = 1) {
    WorkerHsmOptions options;
    options.module = FAKE_P11_MODULE;
    options.tokens = {{std::nullopt, fake_.pin_file()}};
    options.workers_per_token = workers;
    options.sign_timeout = 1000ms;
    options.generate_timeout = 2000ms;
    options.state_dir = fake_.state_dir();
    return options;
  }

  void Start(WorkerHsmOptions options, const base::Clock& clock = base::SystemClock()) {
    hsm_.reset();
    auto created = WorkerHsm::Create(std::move(options), loop_.reactor(), clock);
    ASSERT_THAT(created, IsOk());
    hsm_ = *std::move(created);
  }
  void StartReady(WorkerHsmOptions options) {
    const std::uint32_t workers = options.workers_per_token;
    Start(std::move(options));
    ASSERT_TRUE(Ready(workers)) << hsm_->State().reason << ": " << hsm_->State().message;
  }
  bool Ready(std::uint32_t workers) {
    return loop_.Until([&] { return hsm_->State().workers_ready == workers; });
  }
  bool Reason(const std::string& reason) {
    return loop_.Until([&] { return hsm_->State().reason == reason; });
  }

  base::Result<KeyInfo> Find(const std::string& uri = "pkcs11:object=key") {
    return loop_.Await<KeyInfo>([&](auto done) { hsm_->Find(*encoding::ParsePkcs11Uri(uri), done); });
  }
  base::Result<base::Bytes> Sign(KeyRef key) {
    return loop_.Await<base::Bytes>(
        [&](auto done) { hsm_->Sign(key, SignatureAlgorithm::kEcdsaWithSha256, kDigest, done); });
  }
  /// Starts `count` signatures at once and waits for all of them.
  std::vector<base::Result<base::Bytes>> SignMany(KeyRef key, std::size_t count) {
    std::vector<base::Result<base::Bytes>> results;
    for (std::size_t i = 0; i < count; ++i) {
      hsm_->Sign(key, SignatureAlgorithm::kEcdsaWithSha256, kDigest,
                 [&results](base::Result<base::Bytes> result) { results.push_back(std::move(result)); });
    }
    EXPECT_TRUE(loop_.Until([&] { return results.size() == count; }));
    return results;
  }
  /// Starts `count` signatures at once; how many of them fail or have no answer yet when `other` becomes true.
  int CountLate(KeyRef key, int count, const bool& other) {
    int answered = 0;
    int in_time = 0;
    for (int i = 0; i < count; ++i) {
      hsm_->Sign(key, SignatureAlgorithm::kEcdsaWithSha256, kDigest, [&](const base::Result<base::Bytes>& result) {
        ++answered;
        if (result && !other) ++in_time;
      });
    }
    EXPECT_TRUE(loop_.Until([&] { return other && answered == count; }));
    return count - in_time;
  }
  /// A plan for the nth call from now on: keys prove themselves by signing, too.
  [[nodiscard]] std::string Nth(const std::string& function, int nth, const std::string& how) const {
    return std::to_string(fake_.Calls(function) + nth) + ":" + how;
  }
  /// For tests of what waits for a replacement: time for one on a busy machine.
  WorkerHsmOptions Unhurried() {
    auto options = Options();
    options.sign_timeout = options.generate_timeout = 5s;
    return options;
  }
  base::Status Verify(const KeyInfo& key, const base::Bytes& signature) {
    return key.public_key.Verify(SignatureAlgorithm::kEcdsaWithSha256, kDigest, signature);
  }

  testing::FakeP11 fake_;
  testing::Loop loop_;
  std::unique_ptr<WorkerHsm> hsm_;
};

TEST_F(WorkerHsmTest, SignsWithoutASearchOrASessionPerSignature) {
  StartReady(Options());
  const auto key = Find();
  ASSERT_THAT(key, IsOk());
  const auto first = Sign(key->ref);
  ASSERT_THAT(first, IsOk());
  EXPECT_THAT(Verify(*key, *first), IsOk());
  const int searches = fake_.Calls("C_FindObjectsInit");
  const int sessions = fake_.Calls("C_OpenSession");
  for (const auto& result : SignMany(key->ref, 50)) EXPECT_THAT(result, IsOk());
  EXPECT_EQ(fake_.Calls("C_FindObjectsInit"), searches);
  EXPECT_EQ(fake_.Calls("C_OpenSession"), sessions);
  EXPECT_EQ(fake_.Calls("C_Login"), 1);
}

TEST_F(WorkerHsmTest, GivesTheSameRefForTheSameKey) {
  StartReady(Options());
  EXPECT_EQ(Find()->ref, Find("pkcs11:token=fake1;object=key;type=private")->ref);
  EXPECT_THAT(Find("pkcs11:object=other"), IsErr(Code::kNotFound, "KeyNotFound"));
  EXPECT_THAT(Find("pkcs11:token=elsewhere;object=key"), IsErr(Code::kNotFound, "KeyNotFound"));
}

TEST_F(WorkerHsmTest, RefusesAnAmbiguousKey) {
  fake_.Set("keys", "2");
  StartReady(Options());
  EXPECT_THAT(Find(), IsErr(Code::kFailedPrecondition, "KeyAmbiguous"));
}

TEST_F(WorkerHsmTest, CallsAnUnnamedTokenAmongSeveralAConfigurationError) {
  fake_.Set("tokens", "2");
  Start(Options());
  ASSERT_TRUE(Reason("TokenAmbiguous"));
  EXPECT_TRUE(hsm_->State().fatal_configuration);
  EXPECT_EQ(fake_.Calls("C_Login"), 0);

  auto named = Options();
  named.tokens[0].uri = *encoding::ParsePkcs11Uri("pkcs11:token=fake2");
  StartReady(named);
  EXPECT_EQ(Find()->token_label, "fake2");
}

TEST_F(WorkerHsmTest, WaitsForAnAbsentTokenWhetherOneIsNamedOrNot) {
  for (const bool named : {false, true}) {
    SCOPED_TRACE(named);
    fake_.Set("absent", "1");
    auto options = Options();
    if (named) options.tokens[0].uri = *encoding::ParsePkcs11Uri("pkcs11:token=fake1");
    Start(options);
    ASSERT_TRUE(Reason("TokenNotFound"));
    EXPECT_FALSE(hsm_->State().fatal_configuration);
    fake_.Set("absent", "");
    EXPECT_TRUE(Ready(1));
  }
}

TEST_F(WorkerHsmTest, CallsSeveralTokensThatAppearUnderAWaitingProcessAConfigurationError) {
  fake_.Set("absent", "1");
  Start(Options());
  ASSERT_TRUE(Reason("TokenNotFound"));
  fake_.Set("tokens", "2");
  fake_.Set("absent", "");
  ASSERT_TRUE(Reason("TokenAmbiguous"));
  EXPECT_TRUE(hsm_->State().fatal_configuration);
  EXPECT_EQ(fake_.Calls("C_Login"), 0);
}

TEST_F(WorkerHsmTest, TellsOfTheTokenThatIsAmbiguousAndNotOfTheOneThatIsAway) {
  fake_.Set("tokens", "2");
  auto options = Options();
  options.tokens[0].uri = *encoding::ParsePkcs11Uri("pkcs11:token=elsewhere");
  options.tokens.push_back(
      {*encoding::ParsePkcs11Uri("pkcs11:manufacturer=signet%20tests"), options.tokens[0].pin_file});
  Start(options);
  ASSERT_TRUE(loop_.Until([&] { return hsm_->State().fatal_configuration; }));
  EXPECT_EQ(hsm_->State().reason, "TokenAmbiguous") << hsm_->State().message;
}

TEST_F(WorkerHsmTest, TellsTheStateOfTheTokenThatHoldsAKey) {
  auto options = Options();
  options.tokens[0].uri = *encoding::ParsePkcs11Uri("pkcs11:token=fake1");
  options.tokens.push_back({*encoding::ParsePkcs11Uri("pkcs11:token=elsewhere"), options.tokens[0].pin_file});
  Start(options);
  ASSERT_TRUE(Ready(1) && Reason("TokenNotFound"));
  const auto key = Find("pkcs11:token=fake1;object=key");
  ASSERT_THAT(key, IsOk());
  EXPECT_TRUE(hsm_->State().ready) << "one that is away does not take the others with it";
  EXPECT_TRUE(hsm_->StateOf(key->ref).ready);
  EXPECT_THAT(Sign(key->ref), IsOk());
  fake_.Set("absent", "1");
  EXPECT_TRUE(loop_.Until([&] {
    EXPECT_THAT(Sign(key->ref), IsErr(Code::kUnavailable));
    return !hsm_->StateOf(key->ref).ready;
  }));
  EXPECT_EQ(hsm_->StateOf(key->ref).reason, "TokenNotFound");
  EXPECT_FALSE(hsm_->State().ready);
  EXPECT_EQ(hsm_->StateOf(key->ref + 1).reason, "KeyNotFound");
}

TEST_F(WorkerHsmTest, FailsFastWhenTheModuleCannotBeLoaded) {
  auto options = Options();
  options.module = "/nonexistent/module.so";
  Start(options);
  EXPECT_TRUE(Reason("ModuleFailed"));
  EXPECT_THAT(Find(), IsErr(Code::kUnavailable, "HSMUnavailable"));
}

TEST_F(WorkerHsmTest, TellsAMissingMechanism) {
  StartReady(Options());
  const auto key = Find();
  ASSERT_THAT(key, IsOk());
  EXPECT_FALSE(key->mechanisms.empty());
  fake_.Set("no_ecdsa", "1");
  EXPECT_THAT(Find(), IsErr(Code::kFailedPrecondition, "MechanismMissing"));
  EXPECT_THAT(Sign(key->ref), IsErr(Code::kFailedPrecondition, "MechanismMissing"));
}

TEST_F(WorkerHsmTest, HandsOnAWrongSignature) {  // the floor above verifies
  StartReady(Options());
  const auto key = Find();
  fake_.Set("sign", "*:flip");
  const auto signature = Sign(key->ref);
  ASSERT_THAT(signature, IsOk());
  EXPECT_THAT(Verify(*key, *signature), IsErr(Code::kFailedPrecondition));
}

// What the HSM certainly did not begin is done again without anybody noticing.
struct Loss {
  const char* name;
  const char* setting;
  const char* value;  ///< for `_rv`: of the next call
  int logins;
};
class WorkerHsmLossTest : public WorkerHsmTest, public ::testing::WithParamInterface<Loss> {};

TEST_P(WorkerHsmLossTest, HealsAndReplaysOnce) {
  StartReady(Unhurried());
  const auto key = Find();
  ASSERT_THAT(Sign(key->ref), IsOk());
  const std::string setting = GetParam().setting;
  const bool one_call = setting.ends_with("_rv");
  const std::string call = setting == "sign_rv" ? "C_Sign" : "C_SignInit";
  fake_.Set(setting, one_call ? Nth(call, 1, GetParam().value) : GetParam().value);
  const auto signature = Sign(key->ref);
  ASSERT_THAT(signature, IsOk());
  EXPECT_THAT(Verify(*key, *signature), IsOk());
  EXPECT_EQ(fake_.Calls("C_Login"), GetParam().logins);
  EXPECT_EQ(fake_.Pids("C_Sign").count(*fake_.Pids("C_Login").begin()), fake_.Pids("C_Sign").size());
}
INSTANTIATE_TEST_SUITE_P(All, WorkerHsmLossTest,
                         ::testing::Values(Loss{"SessionsLost", "sessions_lost", "1", 2},
                                           Loss{"LoggedOut", "logged_out", "1", 2},
                                           Loss{"HandlesChanged", "handles", "7", 1},
                                           Loss{"NotInitialised", "uninitialised", "1", 2},
                                           Loss{"SessionHandleInvalid", "signinit_rv", "0xb3", 1},
                                           Loss{"UserNotLoggedIn", "signinit_rv", "0x101", 1},
                                           Loss{"KeyHandleInvalid", "signinit_rv", "0x60", 1},
                                           Loss{"TokenNotPresent", "signinit_rv", "0xe0", 2},
                                           Loss{"GeneralErrorBeforeSigning", "signinit_rv", "0x5", 1},
                                           Loss{"SignSessionHandleInvalid", "sign_rv", "0xb3", 1}),
                         [](const auto& row) { return row.param.name; });

// Everything else is final: nobody knows whether a signature was made, or asking again changes nothing.
struct Final {
  const char* name;
  const char* rv;
  Code code;
};
class WorkerHsmFinalTest : public WorkerHsmTest, public ::testing::WithParamInterface<Final> {};

TEST_P(WorkerHsmFinalTest, IsNotTriedAgain) {
  StartReady(Options());
  const auto key = Find();
  ASSERT_THAT(Sign(key->ref), IsOk());
  const int before = fake_.Calls("C_Sign");
  fake_.Set("sign_rv", Nth("C_Sign", 1, GetParam().rv));
  EXPECT_THAT(Sign(key->ref), IsErr(GetParam().code));
  EXPECT_EQ(fake_.Calls("C_Sign"), before + 1);
  EXPECT_TRUE(Ready(1));
  EXPECT_THAT(Sign(key->ref), IsOk());
}
INSTANTIATE_TEST_SUITE_P(All, WorkerHsmFinalTest,
                         ::testing::Values(Final{"GeneralError", "0x5", Code::kInternal},
                                           Final{"FunctionFailed", "0x6", Code::kInternal},
                                           Final{"DeviceError", "0x30", Code::kInternal},
                                           Final{"DeviceRemovedDuring", "0x32", Code::kInternal},
                                           Final{"SessionClosedDuring", "0xb0", Code::kInternal},
                                           Final{"Unlisted", "0x80000123", Code::kInternal},
                                           Final{"DataLenRange", "0x21", Code::kFailedPrecondition}),
                         [](const auto& row) { return row.param.name; });

TEST_F(WorkerHsmTest, GivesUpAfterOneReplay) {
  StartReady(Options());
  const auto key = Find();
  ASSERT_THAT(Sign(key->ref), IsOk());
  const int before = fake_.Calls("C_Sign");
  fake_.Set("signinit_rv", "*:0xb3");
  EXPECT_THAT(Sign(key->ref), IsErr(Code::kUnavailable, "HSMUnavailable"));
  EXPECT_EQ(fake_.Calls("C_Sign"), before);
}

TEST_F(WorkerHsmTest, RefusesAKeyThatHasChangedUnderItsName) {
  StartReady(Options());
  const auto key = Find();
  ASSERT_THAT(Sign(key->ref), IsOk());
  fake_.NewKey();
  fake_.Set("handles", "9");
  EXPECT_THAT(Sign(key->ref), IsErr(Code::kFailedPrecondition, "KeyChanged"));
}

TEST_F(WorkerHsmTest, SaysWhenTheKeyIsGone) {
  StartReady(Options());
  const auto key = Find();
  ASSERT_THAT(Sign(key->ref), IsOk());
  fake_.Set("keys", "0");
  EXPECT_THAT(Sign(key->ref), IsErr(Code::kNotFound, "KeyNotFound"));
}

TEST_F(WorkerHsmTest, BecomesNotReadyWithoutTokenAndHeals) {
  StartReady(Options(2));
  const auto key = Find();
  ASSERT_THAT(SignMany(key->ref, 8).front(), IsOk());
  fake_.Set("absent", "1");
  for (const auto& result : SignMany(key->ref, 8)) EXPECT_THAT(result, IsErr(Code::kUnavailable, "HSMUnavailable"));
  ASSERT_TRUE(Reason("TokenNotFound"));
  EXPECT_FALSE(hsm_->State().fatal_configuration);
  fake_.Set("absent", "");
  ASSERT_TRUE(Ready(2));
  EXPECT_THAT(Sign(key->ref), IsOk());
}

TEST_F(WorkerHsmTest, ReplacesAHungWorkerAndFinishesWhatItHadNotBegun) {
  StartReady(Options(2));
  const auto key = Find();
  ASSERT_THAT(Sign(key->ref), IsOk());
  const auto before = hsm_->WorkerPidsForTest();
  fake_.Set("sign", Nth("C_Sign", 1, "hang"));
  const auto results = SignMany(key->ref, 8);
  int unknown = 0;
  for (const auto& result : results) {
    if (result) continue;
    // Behind the hung operation others may run out of time; they were not begun and say so.
    if (result.error().code == Code::kUnavailable) continue;
    ++unknown;
    EXPECT_THAT(result, IsErr(Code::kDeadlineExceeded));
  }
  EXPECT_EQ(unknown, 1);
  ASSERT_TRUE(Ready(2));
  EXPECT_NE(hsm_->WorkerPidsForTest(), before);
  EXPECT_THAT(Sign(key->ref), IsOk());
}

TEST_F(WorkerHsmTest, NeverMakesASignatureAfterSayingThatItDidNot) {
  auto options = Options(1);
  options.sign_timeout = 2000ms;
  StartReady(options);
  const auto key = Find();
  ASSERT_THAT(Sign(key->ref), IsOk());
  const int before = fake_.Calls("C_Sign");
  fake_.Set("sign", "*:slow");
  int made = 0;
  for (const auto& result : SignMany(key->ref, 8)) {  // the worker has all of them, and time for three
    if (result) {
      ++made;
    } else {
      EXPECT_THAT(result, IsErr(Code::kUnavailable, "HSMUnavailable"));
    }
  }
  EXPECT_GT(made, 0);
  EXPECT_LT(made, 8);
  fake_.Set("sign", "");
  ASSERT_THAT(Sign(key->ref), IsOk()) << "behind what the worker still had";
  EXPECT_EQ(fake_.Calls("C_Sign"), before + made + 1);
}

TEST_F(WorkerHsmTest, PlacesNothingBehindASlowSignature) {
  auto options = Options(2);
  options.sign_timeout = 2000ms;
  StartReady(options);
  const auto key = Find();
  for (const auto& result : SignMany(key->ref, 2)) ASSERT_THAT(result, IsOk());  // one in each worker
  fake_.Set("sign", Nth("C_Sign", 1, "hang"));
  bool ended = false;
  hsm_->Sign(key->ref, SignatureAlgorithm::kEcdsaWithSha256, kDigest, [&](const base::Result<base::Bytes>& result) {
    EXPECT_THAT(result, IsErr(Code::kDeadlineExceeded));
    ended = true;
  });
  ASSERT_TRUE(loop_.Until([&] { return fake_.Calls("hang") == 1; }));
  loop_.For(100ms);  // it becomes clear that this takes long
  EXPECT_EQ(CountLate(key->ref, 8, ended), 0);
}

TEST_F(WorkerHsmTest, PlacesNothingBehindAKeySearch) {
  auto options = Options(2);
  options.sign_timeout = 2000ms;
  StartReady(options);
  const auto key = Find();
  for (const auto& result : SignMany(key->ref, 2)) ASSERT_THAT(result, IsOk());  // one in each worker
  fake_.Set("find", Nth("C_FindObjectsInit", 1, "hang"));
  bool ended = false;
  hsm_->Find(*encoding::ParsePkcs11Uri("pkcs11:object=key"), [&](const auto&) { ended = true; });
  EXPECT_EQ(CountLate(key->ref, 8, ended), 0);
}

TEST_F(WorkerHsmTest, ReplacesAWorkerThatHangsWhileItLooksForItsToken) {
  testing::FakeClock clock;
  fake_.Set("absent", "1");
  Start(Options(), clock);
  ASSERT_TRUE(Reason("TokenNotFound"));
  const auto before = hsm_->WorkerPidsForTest();
  fake_.Set("init", "hang");
  ASSERT_TRUE(loop_.Until([&] { return fake_.Calls("hang") == 1; }));
  fake_.Set("init", "");
  fake_.Set("absent", "");
  clock.Advance(100s);
  loop_.For(300ms);
  EXPECT_EQ(hsm_->WorkerPidsForTest(), before) << "an HSM that answers slowly gets its time";
  clock.Advance(21s);
  ASSERT_TRUE(loop_.Until([&] { return hsm_->WorkerPidsForTest().empty(); })) << "it hangs and is killed";
  clock.Advance(10s);  // the pause before the next one
  EXPECT_TRUE(Ready(1)) << hsm_->State().reason;
}

TEST_F(WorkerHsmTest, ReplacesACrashedWorkerAndLosesOnlyWhatItHadBegun) {
  StartReady(Options(2));
  const auto key = Find();
  ASSERT_THAT(Sign(key->ref), IsOk());
  fake_.Set("sign", Nth("C_Sign", 3, "crash"));
  int unknown = 0;
  for (const auto& result : SignMany(key->ref, 16)) {
    if (result) {
      EXPECT_THAT(Verify(*key, *result), IsOk());
    } else {
      EXPECT_THAT(result, IsErr(Code::kInternal));
      ++unknown;
    }
  }
  EXPECT_EQ(unknown, 1);
  ASSERT_TRUE(Ready(2));
  EXPECT_THAT(Sign(key->ref), IsOk());
}

TEST_F(WorkerHsmTest, SurvivesAWorkerKilledWhileIdle) {
  StartReady(Unhurried());
  const auto key = Find();
  ASSERT_THAT(Sign(key->ref), IsOk());
  bool served = false;
  for (int tries = 0; tries < 5 && !served; ++tries) {
    ASSERT_TRUE(Ready(1));
    ::kill(hsm_->WorkerPidsForTest().front(), SIGKILL);
    ASSERT_TRUE(loop_.Until([&] { return hsm_->State().workers_ready == 0; }));
    const auto began = std::chrono::steady_clock::now();
    served = Sign(key->ref).has_value();  // waits for the replacement, and gives up where that takes long
    ASSERT_TRUE(served || std::chrono::steady_clock::now() - began > kReplacementPatience);
  }
  EXPECT_TRUE(served);
}

TEST_F(WorkerHsmTest, GivesWhatADeadWorkerHadNotTakenToAnother) {
  StartReady(Unhurried());
  const auto key = Find();
  ASSERT_THAT(Sign(key->ref), IsOk());
  std::size_t served = 0;
  for (int tries = 0; tries < 5 && served < 12; ++tries) {
    ASSERT_TRUE(Ready(1));
    const pid_t pid = hsm_->WorkerPidsForTest().front();
    const int process = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));  // the launcher's child, not ours
    ASSERT_GE(process, 0);
    ::kill(pid, SIGKILL);
    pollfd ended{process, POLLIN, 0};
    ASSERT_EQ(::poll(&ended, 1, 10'000), 1);
    ::close(process);
    // The front has not noticed yet and writes to a worker that is no more.
    const auto began = std::chrono::steady_clock::now();
    served = 0;
    for (const auto& result : SignMany(key->ref, 12)) served += result ? 1 : 0;
    ASSERT_TRUE(served == 12 || std::chrono::steady_clock::now() - began > kReplacementPatience);
  }
  EXPECT_EQ(served, 12U);
}

TEST_F(WorkerHsmTest, KillsAndReplacesWorkersThatWriteNonsense) {
  const testing::TempFolder folder;
  folder.Write("hostile", "");
  const auto hostile = folder.path() / "hostile";
  ::setenv("SIGNET_TEST_HOSTILE_WORKER", hostile.c_str(), 1);
  Start(Options());
  EXPECT_TRUE(Reason("WorkerFailed")) << hsm_->State().reason;
  std::filesystem::remove(hostile);
  ASSERT_TRUE(Ready(1)) << "the next one is honest";
  EXPECT_THAT(Sign(Find()->ref), IsOk());
}

TEST_F(WorkerHsmTest, BoundsItsQueue) {
  auto options = Options(1);
  options.queue_limit = 3;
  StartReady(options);
  const auto key = Find();
  ASSERT_THAT(Sign(key->ref), IsOk());
  const auto results = SignMany(key->ref, 20);
  const auto busy = std::count_if(results.begin(), results.end(), [](const auto& result) {
    return !result && result.error().code == Code::kResourceExhausted && result.error().reason == "Busy";
  });
  // Eight are with the worker, three wait; on a machine so slow that the first signature took long, one and three.
  EXPECT_THAT(busy, ::testing::AnyOf(20 - 8 - 3, 20 - 1 - 3));
}

TEST_F(WorkerHsmTest, ChecksWhatItIsGiven) {
  StartReady(Options());
  const auto key = Find();
  const auto sign = [&](KeyRef ref, SignatureAlgorithm algorithm, base::ByteView input) {
    return loop_.Await<base::Bytes>([&](auto done) { hsm_->Sign(ref, algorithm, input, done); });
  };
  EXPECT_THAT(sign(0, SignatureAlgorithm::kEcdsaWithSha256, kDigest), IsErr(Code::kInvalidArgument));
  EXPECT_THAT(sign(99, SignatureAlgorithm::kEcdsaWithSha256, kDigest), IsErr(Code::kInvalidArgument));
  EXPECT_THAT(sign(key->ref, SignatureAlgorithm::kEcdsaWithSha384, kDigest), IsErr(Code::kInvalidArgument));
  EXPECT_THAT(sign(key->ref, SignatureAlgorithm::kSha256WithRsa, kDigest),
              IsErr(Code::kFailedPrecondition, "MechanismMissing"));
}

TEST_F(WorkerHsmTest, LeavesNoWorkerBehind) {
  StartReady(Options(3));
  const auto pids = hsm_->WorkerPidsForTest();
  ASSERT_EQ(pids.size(), 3u);
  hsm_.reset();
  for (const pid_t pid : pids) EXPECT_EQ(::kill(pid, 0), -1);
}

}  // namespace
}  // namespace signet::token
