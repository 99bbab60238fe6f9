// Worker processes against SoftHSM.
#include "token/worker_hsm.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include "crypto/digest.hpp"
#include "softhsm/worker_fixture.hpp"
#include "token/check.hpp"

namespace signet::token {
namespace {

using namespace std::chrono_literals;
using base::Code;
using encoding::KeyAlgorithm;
using encoding::SignatureAlgorithm;
using testing::IsErr;
using testing::IsOk;
using testing::SoftHsm;

struct Kind {
  const char* name;
  KeyAlgorithm algorithm;
  int bits;
  std::size_t algorithms;
};
class SoftHsmKeyTest : public SoftHsmTest, public ::testing::WithParamInterface<Kind> {};

TEST_P(SoftHsmKeyTest, GeneratesFindsAndSigns) {
  StartReady(Options());
  const auto made = Generate("pkcs11:object=release", GetParam().algorithm, GetParam().bits);
  ASSERT_THAT(made, IsOk());
  EXPECT_TRUE(made->sensitive && made->never_extractable && made->local && made->can_sign);
  EXPECT_FALSE(made->extractable);
  EXPECT_EQ(made->public_key.algorithm(), GetParam().algorithm);
  EXPECT_EQ(made->public_key.bits(), GetParam().bits);
  EXPECT_EQ(made->token_label, SoftHsm::kLabel);
  EXPECT_EQ(made->mechanisms.size(), GetParam().algorithms);
  const auto key = Find("pkcs11:token=signet-test;object=release");
  ASSERT_THAT(key, IsOk());
  EXPECT_EQ(key->ref, made->ref);
  EXPECT_EQ(key->public_key.keyID(), made->public_key.keyID());

  for (const auto algorithm : key->mechanisms) {
    const auto& info = encoding::Info(algorithm);
    for (const char* message : {"a", "another message to be signed"}) {
      const base::Bytes input =
          info.hash ? crypto::Hash(*info.hash, base::AsBytes(message)) : base::ToBytes(base::AsBytes(message));
      const auto signature = Sign(key->ref, algorithm, input);
      ASSERT_THAT(signature, IsOk()) << info.name;
      EXPECT_THAT(key->public_key.Verify(algorithm, input, *signature), IsOk()) << info.name;
    }
  }
  EXPECT_THAT(Generate("pkcs11:object=release", GetParam().algorithm, GetParam().bits), IsErr(Code::kAlreadyExists));
}
INSTANTIATE_TEST_SUITE_P(
    All, SoftHsmKeyTest,
    ::testing::Values(Kind{"P256", KeyAlgorithm::kEcdsa, 256, 3}, Kind{"P384", KeyAlgorithm::kEcdsa, 384, 3},
                      Kind{"P521", KeyAlgorithm::kEcdsa, 521, 3}, Kind{"Rsa2048", KeyAlgorithm::kRsa, 2048, 6},
                      Kind{"Rsa3072", KeyAlgorithm::kRsa, 3072, 6}, Kind{"Rsa4096", KeyAlgorithm::kRsa, 4096, 6},
                      Kind{"Ed25519", KeyAlgorithm::kEd25519, 256, 1}),
    [](const auto& row) { return row.param.name; });

TEST_F(SoftHsmTest, SignsALargeMessageWithEd25519) {
  StartReady(Options());
  const auto key = Generate("pkcs11:object=ed", KeyAlgorithm::kEd25519, 256);
  const base::Bytes message(64 * 1024, 0x5a);
  const auto signature = Sign(key->ref, SignatureAlgorithm::kPureEd25519, message);
  ASSERT_THAT(signature, IsOk());
  EXPECT_THAT(key->public_key.Verify(SignatureAlgorithm::kPureEd25519, message, *signature), IsOk());
  EXPECT_THAT(Sign(key->ref, SignatureAlgorithm::kPureEd25519, base::Bytes(1024 * 1024)),
              IsErr(Code::kInvalidArgument));
}

TEST_F(SoftHsmTest, GeneratesOnlyWhatCanBeNamed) {
  StartReady(Options());
  EXPECT_THAT(Generate("pkcs11:token=signet-test", KeyAlgorithm::kEcdsa, 256), IsErr(Code::kInvalidArgument));
  EXPECT_THAT(Generate("pkcs11:object=key", KeyAlgorithm::kEcdsa, 224), IsErr(Code::kInvalidArgument));
  const auto named = Generate("pkcs11:object=key;id=%01%02", KeyAlgorithm::kEcdsa, 256);
  ASSERT_THAT(named, IsOk());
  EXPECT_EQ(Find("pkcs11:id=%01%02")->ref, named->ref);
}

TEST_F(SoftHsmTest, HealsWhenTheTokenFolderGoesAwayAndComesBack) {
  StartReady(Options(2));
  const auto key = Generate("pkcs11:object=key", KeyAlgorithm::kEcdsa, 256);
  const base::Bytes digest(32, 3);
  const auto algorithm = SignatureAlgorithm::kEcdsaWithSha256;
  for (int round = 0; round < 2; ++round) {
    ASSERT_THAT(Sign(key->ref, algorithm, digest), IsOk());
    softhsm_.MoveAway();
    ASSERT_TRUE(loop_.Until([&] {
      const auto signature = Sign(key->ref, algorithm, digest);
      EXPECT_THAT(signature, IsErr(Code::kUnavailable, "HSMUnavailable"));
      return !hsm_->State().ready;
    }));
    EXPECT_EQ(hsm_->State().reason, "TokenNotFound") << hsm_->State().message;
    softhsm_.MoveBack();
    ASSERT_TRUE(Ready(2));
    const auto signature = Sign(key->ref, algorithm, digest);
    ASSERT_THAT(signature, IsOk());
    EXPECT_THAT(key->public_key.Verify(algorithm, digest, *signature), IsOk());
  }
}

TEST_F(SoftHsmTest, NoticesAnIdleTokenThatGoesAway) {
  StartReady(Options(1));
  softhsm_.MoveAway();
  EXPECT_TRUE(loop_.Until([&] { return !hsm_->State().ready; }, 15s));
  softhsm_.MoveBack();
  EXPECT_TRUE(Ready(1));
}

TEST_F(SoftHsmTest, LosesNoOperationThatWasNotBegunWhenWorkersAreKilled) {
  StartReady(Options(2));
  const auto key = Generate("pkcs11:object=key", KeyAlgorithm::kEcdsa, 256);
  const base::Bytes digest(32, 3);
  int answered = 0;
  int unknown = 0;
  int running = 0;
  int started = 0;
  int kills = 0;
  constexpr int kKills = 5;
  constexpr int kAfter = 400;
  int last_kill = 0;
  const auto pump = [&] {
    while (running < 16 && (kills < kKills || started < last_kill + kAfter)) {
      ++running;
      ++started;
      hsm_->Sign(key->ref, SignatureAlgorithm::kEcdsaWithSha256, digest, [&](base::Result<base::Bytes> signature) {
        --running;
        ++answered;
        if (signature) return;
        EXPECT_THAT(signature, IsErr(Code::kInternal));
        ++unknown;
      });
    }
    if (kills < kKills && answered > last_kill + kAfter && hsm_->State().workers_ready == 2) {
      ++kills;
      last_kill = answered;
      ::kill(hsm_->WorkerPidsForTest()[static_cast<std::size_t>(kills % 2)], SIGKILL);
    }
    return kills == kKills && running == 0;
  };
  ASSERT_TRUE(loop_.Until(pump, 60s)) << answered;
  EXPECT_EQ(answered, started);
  EXPECT_LE(unknown, kills) << "at most the operation that the killed worker had in the HSM";
  EXPECT_TRUE(Ready(2));
}

TEST_F(SoftHsmTest, ServesKeysOfTwoTokens) {
  softhsm_.AddToken("second");
  auto options = Options();
  EXPECT_THAT(WorkerHsm::Create(
                  [&] {
                    auto unnamed = Options();
                    unnamed.tokens.push_back(unnamed.tokens[0]);
                    return unnamed;
                  }(),
                  loop_.reactor()),
              IsErr(Code::kInvalidArgument));
  options.tokens = {{*encoding::ParsePkcs11Uri("pkcs11:token=signet-test"), softhsm_.pin_file()},
                    {*encoding::ParsePkcs11Uri("pkcs11:token=second"), softhsm_.pin_file()}};
  StartReady(options);
  ASSERT_THAT(Generate("pkcs11:object=key", KeyAlgorithm::kEcdsa, 256),
              IsErr(Code::kFailedPrecondition, "KeyAmbiguous"));
  const auto first = Generate("pkcs11:token=signet-test;object=key", KeyAlgorithm::kEcdsa, 256);
  ASSERT_THAT(first, IsOk());
  EXPECT_EQ(Find("pkcs11:object=key")->ref, first->ref);
  const auto second = Generate("pkcs11:token=second;object=key", KeyAlgorithm::kEcdsa, 256);
  ASSERT_THAT(second, IsOk());
  EXPECT_EQ(second->token_label, "second");
  EXPECT_THAT(Find("pkcs11:object=key"), IsErr(Code::kFailedPrecondition, "KeyAmbiguous"));
  for (const auto& key : {*first, *second}) {
    const base::Bytes digest(32, 3);
    const auto signature = Sign(key.ref, SignatureAlgorithm::kEcdsaWithSha256, digest);
    ASSERT_THAT(signature, IsOk());
    EXPECT_THAT(key.public_key.Verify(SignatureAlgorithm::kEcdsaWithSha256, digest, *signature), IsOk());
  }
}

TEST_F(SoftHsmTest, SignsWithOneTokenWhileAnotherIsAway) {
  auto options = Options();
  options.tokens = {{*encoding::ParsePkcs11Uri("pkcs11:token=away"), softhsm_.pin_file()},
                    {*encoding::ParsePkcs11Uri("pkcs11:token=signet-test"), softhsm_.pin_file()}};
  auto created = WorkerHsm::Create(std::move(options), loop_.reactor());
  ASSERT_THAT(created, IsOk());
  hsm_ = *std::move(created);
  EXPECT_FALSE(hsm_->State().ready) << "both are starting";
  ASSERT_TRUE(loop_.Until([&] { return hsm_->State().ready; }));
  EXPECT_EQ(hsm_->State().reason, "TokenNotFound") << hsm_->State().message;

  const auto key = Generate("pkcs11:token=signet-test;object=key", KeyAlgorithm::kEcdsa, 256);
  ASSERT_THAT(key, IsOk());
  EXPECT_THAT(Sign(key->ref, SignatureAlgorithm::kEcdsaWithSha256, base::Bytes(32, 3)), IsOk());
  const auto absent = Find("pkcs11:token=away;object=key");
  ASSERT_THAT(absent, IsErr(Code::kUnavailable, "HSMUnavailable"));
  EXPECT_THAT(absent.error().message, ::testing::HasSubstr("(TokenNotFound)"));

  softhsm_.AddToken("away");
  ASSERT_TRUE(Ready(2));
  EXPECT_EQ(hsm_->State().reason, "");
  EXPECT_THAT(Find("pkcs11:token=away;object=key"), IsErr(Code::kNotFound));
}

// Two services that start on one token folder at once: SoftHSM may show no token for a moment.
TEST_F(SoftHsmTest, StartsTogetherWithOthersOnOneTokenFolder) {
  for (int round = 0; round < 15; ++round) {
    auto one = WorkerHsm::Create(Options(1), loop_.reactor());
    auto two = WorkerHsm::Create(Options(1), loop_.reactor());
    auto three = WorkerHsm::Create(Options(1), loop_.reactor());
    ASSERT_THAT(one, IsOk());
    bool fatal = false;
    ASSERT_TRUE(loop_.Until([&] {
      bool ready = true;
      for (const auto* hsm : {&one, &two, &three}) {
        fatal |= (**hsm)->State().fatal_configuration;
        ready &= (**hsm)->State().ready;
      }
      return ready;
    })) << "round "
        << round;
    EXPECT_FALSE(fatal) << "round " << round;
  }
}

TEST_F(SoftHsmTest, KeepsModuleAndPinOutOfTheFrontProcess) {
  StartReady(Options(1));
  std::ifstream maps("/proc/self/maps");
  const std::string text{std::istreambuf_iterator<char>(maps), {}};
  // In one process per case (ctest) nobody else has loaded it here.
  if (::testing::UnitTest::GetInstance()->test_to_run_count() == 1) {
    EXPECT_EQ(text.find("libsofthsm2"), std::string::npos);
  }
  std::ifstream command("/proc/" + std::to_string(hsm_->WorkerPidsForTest().front()) + "/cmdline");
  const std::string arguments{std::istreambuf_iterator<char>(command), {}};
  EXPECT_EQ(arguments.find(SoftHsm::kPin), std::string::npos);
}

TEST_F(SoftHsmTest, HandsNoOtherDescriptorToItsWorkers) {
  const int opened = ::open("/dev/null", O_RDONLY);
  const int leak = ::fcntl(opened, F_DUPFD, 20);  // not close-on-exec, on purpose
  ::close(opened);
  StartReady(Options(1));
  const auto folder = "/proc/" + std::to_string(hsm_->WorkerPidsForTest().front()) + "/fd";
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    std::error_code gone;
    const auto target = std::filesystem::read_symlink(entry.path(), gone).string();
    const int number = std::stoi(entry.path().filename().string());
    if (number <= 3) continue;
    EXPECT_NE(target, "/dev/null") << "descriptor " << number;
  }
  ::close(leak);
}

TEST_F(SoftHsmTest, WorkersEndWithTheirParent) {
  StartReady(Options(1));
  // A second front process of its own, killed without a chance to say goodbye.
  const pid_t front = ::fork();
  if (front == 0) {
    testing::Loop loop;
    auto hsm = WorkerHsm::Create(Options(2), loop.reactor());
    if (!hsm || !loop.Until([&] { return (*hsm)->State().workers_ready == 2; })) ::_exit(1);
    std::string pids;
    for (const pid_t pid : (*hsm)->WorkerPidsForTest()) pids += std::to_string(pid) + "\n";
    softhsm_.folder().Put("pids", pids);
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(front, &status, 0), front);
  ASSERT_TRUE(WIFSIGNALED(status));
  std::istringstream pids(softhsm_.folder().Read("pids"));
  int count = 0;
  for (pid_t pid = 0; pids >> pid; ++count) {
    EXPECT_TRUE(loop_.Until(
        [&] {
          std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
          std::string name, id, state;
          return !(stat >> id >> name >> state) || state == "Z";
        },
        5s));
  }
  EXPECT_EQ(count, 2);
}

std::vector<std::string> Details(const CheckReport& report) {
  std::vector<std::string> details;
  for (const auto& line : report.lines)
    details.push_back((line.ok ? "ok " : "not ok ") + line.what + ": " + line.detail);
  return details;
}

TEST_F(SoftHsmTest, CheckTellsWhatItFindsWithAndWithoutLogin) {
  StartReady(Options(1));
  ASSERT_THAT(Generate("pkcs11:object=key", KeyAlgorithm::kEcdsa, 256), IsOk());
  hsm_.reset();
  CheckOptions options;
  options.module = SoftHsm::module();
  options.tokens = Options().tokens;
  options.keys = {*encoding::ParsePkcs11Uri("pkcs11:object=key")};
  auto report = Check(options);
  EXPECT_TRUE(report.ok) << ::testing::PrintToString(Details(report));
  ASSERT_EQ(report.lines.size(), 4u);
  EXPECT_EQ(report.lines[2].what, "key");
  EXPECT_THAT(report.lines[2].detail, ::testing::HasSubstr("invisible without --login"));
  options.login = true;
  report = Check(options);
  EXPECT_TRUE(report.ok) << ::testing::PrintToString(Details(report));
  ASSERT_EQ(report.lines.size(), 5u);
  EXPECT_EQ(report.lines[2].what, "login");
  EXPECT_THAT(report.lines[3].detail, ::testing::HasSubstr("not extractable"));
  EXPECT_THAT(report.lines[4].detail, ::testing::HasSubstr("ECDSAWithSHA256"));
  options.keys = {*encoding::ParsePkcs11Uri("pkcs11:object=absent")};
  EXPECT_FALSE(Check(options).ok);
  options.tokens[0].uri = *encoding::ParsePkcs11Uri("pkcs11:token=absent");
  EXPECT_FALSE(Check(options).ok || Check(options).fatal_configuration);  // an HSM that is away, as at a start
  options.tokens[0].uri.reset();
  softhsm_.AddToken("second");
  EXPECT_TRUE(Check(options).fatal_configuration);
  options.module = "/nonexistent.so";
  EXPECT_FALSE(Check(options).ok);
}

}  // namespace
}  // namespace signet::token
