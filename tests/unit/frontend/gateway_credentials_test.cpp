#include "frontend/gateway_credentials.hpp"

#include <filesystem>

#include "crypto/certificate.hpp"
#include "fakes/fake_clock.hpp"
#include "support/matchers.hpp"
#include "support/temp_folder.hpp"

namespace signet::frontend {
namespace {

using base::Code;
using testing::IsErr;
using testing::IsOk;
namespace fs = std::filesystem;

std::string NewCa() {
  crypto::CertificateOptions options;
  options.dns_names = {"gateway.example"};
  options.not_before = base::SystemClock().Now();
  options.not_after = base::SystemClock().Now() + std::chrono::hours(1);
  return crypto::MakeServerCertificate(options).value().certificate_pem;
}

class GatewayCredentialsTest : public ::testing::Test {
 protected:
  std::string Token() {
    const auto line = credentials_.Authorization();
    return line ? **line : line.error().reason;
  }
  void Later() { clock_.Advance(std::chrono::seconds(1)); }
  static std::string Line(const std::string& token) { return "Authorization: Bearer " + token + "\r\n"; }

  testing::TempFolder folder_;
  testing::FakeClock clock_;
  GatewayCredentials credentials_{(folder_.path() / "token").string(), (folder_.path() / "ca").string(), clock_};
};

TEST_F(GatewayCredentialsTest, ReadsTheTokenWithoutTheSpaceAroundIt) {
  folder_.Write("token", " \nabc.def-_~+/=\r\n");
  EXPECT_EQ(Token(), Line("abc.def-_~+/="));
}

TEST_F(GatewayCredentialsTest, LooksAtMostOnceASecond) {
  folder_.Put("token", "one");
  EXPECT_EQ(Token(), Line("one"));
  folder_.Put("token", "other");
  EXPECT_EQ(Token(), Line("one"));
  Later();
  EXPECT_EQ(Token(), Line("other"));
}

TEST_F(GatewayCredentialsTest, ReadsAgainWhenTold) {
  folder_.Put("token", "one");
  EXPECT_EQ(Token(), Line("one"));
  folder_.Put("token", "two");
  credentials_.ReadAgain();
  EXPECT_EQ(Token(), Line("two"));
}

TEST_F(GatewayCredentialsTest, FollowsKubeletsFolders) {
  const auto publish = [this](const std::string& name, const std::string& token) {
    fs::create_directory(folder_.path() / name);
    folder_.Write(name + "/token", token);
    fs::create_directory_symlink(name, folder_.path() / "tmp");
    fs::rename(folder_.path() / "tmp", folder_.path() / "..data");
  };
  publish("..1", "one");
  fs::create_symlink("..data/token", folder_.path() / "token");
  EXPECT_EQ(Token(), Line("one"));
  publish("..2", "two");
  Later();
  EXPECT_EQ(Token(), Line("two"));
}

TEST_F(GatewayCredentialsTest, KeepsTheLastGoodToken) {
  EXPECT_EQ(Token(), "TokenMissing");
  folder_.Put("token", "good");
  Later();
  EXPECT_EQ(Token(), Line("good"));
  for (const std::string& bad : {std::string("\n"), std::string("two words"), std::string("line\r\nX-Injected: 1"),
                                 std::string("nul\0nul", 7), std::string(20'000, 'x')}) {
    folder_.Put("token", bad);
    Later();
    EXPECT_EQ(Token(), Line("good"));
  }
  fs::remove(folder_.path() / "token");
  Later();
  EXPECT_EQ(Token(), Line("good"));
  folder_.Put("token", "better");
  Later();
  EXPECT_EQ(Token(), Line("better"));
}

TEST_F(GatewayCredentialsTest, DoesNotWaitForAPipe) {
  ASSERT_EQ(std::system(("mkfifo " + (folder_.path() / "token").string()).c_str()), 0);
  EXPECT_EQ(Token(), "TokenMissing");
}

TEST_F(GatewayCredentialsTest, KeepsOneTrustUntilTheFileChanges) {
  EXPECT_THAT(credentials_.Trust(), IsErr(Code::kUnavailable, "TrustUnreadable"));
  folder_.Put("ca", "nonsense");
  Later();
  EXPECT_THAT(credentials_.Trust(), IsErr(Code::kUnavailable, "TrustUnreadable"));
  folder_.Put("ca", NewCa());
  Later();
  const auto first = credentials_.Trust();
  ASSERT_THAT(first, IsOk());
  Later();
  EXPECT_EQ(credentials_.Trust().value(), *first);
  folder_.Put("ca", NewCa());
  Later();
  const auto second = credentials_.Trust();
  EXPECT_NE(second.value(), *first);
  folder_.Put("ca", "nonsense");
  Later();
  EXPECT_EQ(credentials_.Trust().value(), *second);
}

TEST_F(GatewayCredentialsTest, APinnedCaChangesByTheGatewaysWordAlone) {
  const std::string first = NewCa();
  const std::string second = NewCa();
  const std::string kept = folder_.path() / "s.ca";
  EXPECT_THAT(credentials_.Pin("nonsense", kept), IsErr(Code::kInvalidArgument));
  folder_.Put("ca", second);
  ASSERT_THAT(credentials_.Pin(first, kept), IsOk());
  const auto given = credentials_.Trust();
  ASSERT_THAT(given, IsOk());
  folder_.Put("ca", NewCa());
  Later();
  EXPECT_EQ(*credentials_.Trust(), *given) << "no file has a say";
  EXPECT_THAT(credentials_.Announce("nonsense"), IsErr(Code::kInvalidArgument));
  EXPECT_THAT(credentials_.Announce(""), IsErr(Code::kInvalidArgument));
  EXPECT_EQ(*credentials_.Trust(), *given);
  EXPECT_THAT(credentials_.Announce(first), IsOk());
  EXPECT_EQ(*credentials_.Trust(), *given) << "the same: connections stay";
  ASSERT_THAT(credentials_.Announce(first + second), IsOk());
  EXPECT_NE(*credentials_.Trust(), *given);
  EXPECT_EQ(folder_.Read("s.ca"), first + second);

  // A process that starts again goes on from there, not from what may have been given up since.
  GatewayCredentials again((folder_.path() / "token").string(), "", clock_);
  ASSERT_THAT(again.Pin(first, kept), IsOk());
  const auto restarted = again.Trust();
  ASSERT_THAT(again.Announce(first + second), IsOk());
  EXPECT_EQ(*again.Trust(), *restarted);
  folder_.Put("s.ca", "damaged");
  EXPECT_THAT(again.Pin(first, kept), IsOk());
}

TEST_F(GatewayCredentialsTest, ACaFromAFileIsNoAnnouncements) {
  folder_.Put("ca", NewCa());
  const auto given = credentials_.Trust();
  EXPECT_THAT(credentials_.Announce(NewCa()), IsOk());
  EXPECT_EQ(*credentials_.Trust(), *given);
}

}  // namespace
}  // namespace signet::frontend
