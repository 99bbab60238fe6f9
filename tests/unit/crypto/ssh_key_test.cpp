// Keys here are made by ssh-keygen; what it would never make is put together by hand.
#include "crypto/ssh_key.hpp"

#include "ssh_fixture.hpp"
#include "support/matchers.hpp"

namespace signet::crypto {
namespace {

using base::AsBytes;
using base::Code;
using ::testing::HasSubstr;
using testing::IsErr;
using testing::IsOk;
using testing::KeyBlob;
using testing::KeyLine;
using testing::SshKind;
using testing::SshString;

class SshPublicKeyKindTest : public ::testing::TestWithParam<SshKind> {};

TEST_P(SshPublicKeyKindTest, ReadsWhatSshKeygenMakes) {
  const testing::SshFolder folder;
  const std::string line = folder.MakeKey("key", GetParam().option, "alice smith@example.com");
  const auto key = SshPublicKey::Parse(line);
  ASSERT_THAT(key, IsOk());
  EXPECT_EQ(key->algorithm(), GetParam().algorithm);
  EXPECT_EQ(key->bits(), GetParam().bits);
  EXPECT_EQ(key->comment(), "alice smith@example.com");
  EXPECT_EQ(key->Line() + "\n", line);
  // ssh-keygen -l: "256 SHA256:... comment (ED25519)"
  ASSERT_EQ(std::system(("ssh-keygen -l -f " + folder.path("key.pub") + " > " + folder.path("print")).c_str()), 0);
  EXPECT_THAT(folder.Read("print"), HasSubstr(" " + key->fingerprint() + " "));
  const auto same = SshPublicKey::FromBlob(key->blob());
  ASSERT_THAT(same, IsOk());
  EXPECT_TRUE(same->SameKey(*key));
  EXPECT_EQ(same->comment(), "");
}

TEST_P(SshPublicKeyKindTest, RefusesEveryCutAndEveryTail) {
  const testing::SshFolder folder;
  const std::string blob = KeyBlob(folder.MakeKey("key", GetParam().option));
  ASSERT_THAT(SshPublicKey::FromBlob(AsBytes(blob)), IsOk());
  for (std::size_t size = 0; size < blob.size(); ++size) {
    ASSERT_THAT(SshPublicKey::FromBlob(AsBytes(blob.substr(0, size))), IsErr(Code::kInvalidArgument)) << size;
  }
  EXPECT_THAT(SshPublicKey::FromBlob(AsBytes(blob + '\0')), IsErr(Code::kInvalidArgument));
  for (const SshKind& other : testing::kSshKinds) {
    if (std::string_view(other.algorithm) == GetParam().algorithm) continue;
    EXPECT_THAT(SshPublicKey::Parse(KeyLine(other.algorithm, blob)), IsErr(Code::kInvalidArgument)) << other.algorithm;
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, SshPublicKeyKindTest, ::testing::ValuesIn(testing::kSshKinds),
                         [](const auto& test) { return test.param.name; });

constexpr std::string_view kEd25519 =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIM8/lJb+D4XVSnDouYCrzCXZdb0UzKO91QFalGynhCCM";
std::string Ed25519() { return std::string(kEd25519); }
std::string Refusal(const std::string& line) {
  const auto key = SshPublicKey::Parse(line);
  if (key) return "accepted";
  EXPECT_EQ(key.error().code, Code::kInvalidArgument);
  return key.error().message;
}

TEST(SshPublicKeyTest, IsStrictAboutTheLine) {
  EXPECT_THAT(SshPublicKey::Parse(Ed25519()), IsOk());
  EXPECT_THAT(SshPublicKey::Parse(Ed25519() + "\n"), IsOk());
  EXPECT_THAT(SshPublicKey::Parse(Ed25519() + " me\r\n"), IsOk());
  EXPECT_EQ(SshPublicKey::Parse(Ed25519() + " jos\xC3\xA9 at home").value().comment(), "jos?? at home");
  EXPECT_THAT(Refusal(Ed25519() + "\n\n"), HasSubstr("base64"));
  EXPECT_THAT(Refusal(Ed25519() + " me\n" + Ed25519()), HasSubstr("one line"));
  EXPECT_THAT(Refusal(Ed25519() + " me\tyou"), HasSubstr("control character"));
  EXPECT_THAT(Refusal(Ed25519() + " " + std::string(1025, 'c')), HasSubstr("comment"));
  EXPECT_THAT(Refusal(Ed25519() + std::string(17000, 'c')), HasSubstr("too long"));
  EXPECT_THAT(Refusal(" " + Ed25519()), HasSubstr("not an SSH key type"));
  EXPECT_THAT(Refusal("ssh-ed25519  " + Ed25519().substr(12)), HasSubstr("more than one space"));
  EXPECT_THAT(Refusal("ssh-ed25519"), HasSubstr("no key"));
  EXPECT_THAT(Refusal("ssh-ed25519 "), HasSubstr("not base64"));
  EXPECT_THAT(Refusal("ssh-ed25519 AAAA="), HasSubstr("base64"));
  EXPECT_THAT(Refusal(""), HasSubstr("not an SSH key type"));
  EXPECT_THAT(Refusal(Ed25519() + "="), HasSubstr("base64"));
}

TEST(SshPublicKeyTest, SaysWhatItDoesNotServe) {
  EXPECT_THAT(Refusal("sk-ssh-ed25519@openssh.com AAAA"), HasSubstr("security key"));
  EXPECT_THAT(Refusal("sk-ecdsa-sha2-nistp256@openssh.com AAAA"), HasSubstr("security key"));
  EXPECT_THAT(Refusal("ssh-ed25519-cert-v01@openssh.com AAAA"), HasSubstr("certificate"));
  EXPECT_THAT(Refusal("ssh-dss AAAA"), HasSubstr("DSA"));
  EXPECT_THAT(Refusal("command=\"rm -rf /\" " + Ed25519()), HasSubstr("authorized_keys options"));
  EXPECT_THAT(Refusal("from=\"10.0.0.0/8\" " + Ed25519()), HasSubstr("authorized_keys options"));
}

std::string RsaBlob(const std::string& e, const std::string& n) {
  return SshString("ssh-rsa") + SshString(e) + SshString(n);
}
/// A positive odd number of so many bits, as an mpint. Not a product of two primes: nobody looks.
std::string Modulus(int bits) {
  std::string n(static_cast<std::size_t>((bits + 7) / 8), '\x55');
  n.front() = static_cast<char>(1U << (static_cast<unsigned>(bits - 1) % 8));
  return bits % 8 == 0 ? std::string(1, '\0') + n : n;
}
const std::string kF4("\x01\x00\x01", 3);

TEST(SshPublicKeyTest, BoundsRsaKeys) {
  const auto size = [](int bits) { return Refusal(KeyLine("ssh-rsa", RsaBlob(kF4, Modulus(bits)))); };
  EXPECT_EQ(size(2048), "accepted");
  EXPECT_EQ(size(4096), "accepted");
  EXPECT_EQ(size(8192), "accepted");
  EXPECT_THAT(size(2047), HasSubstr("2047 bits"));
  EXPECT_THAT(size(1024), HasSubstr("1024 bits"));
  EXPECT_THAT(size(8193), HasSubstr("8193 bits"));
  const auto exponent = [](const std::string& e) { return Refusal(KeyLine("ssh-rsa", RsaBlob(e, Modulus(2048)))); };
  EXPECT_THAT(exponent("\x01"), HasSubstr("weak"));
  EXPECT_THAT(exponent("\x03"), HasSubstr("weak"));
  EXPECT_THAT(exponent(std::string("\x01\x00\x02", 3)), HasSubstr("weak"));
  EXPECT_THAT(exponent(std::string("\x01\x00\x00\x00\x00\x00\x00\x00\x01", 9)), HasSubstr("weak"));
  EXPECT_THAT(exponent(""), HasSubstr("shortest form"));
  EXPECT_THAT(exponent("\x81"), HasSubstr("shortest form"));
  EXPECT_THAT(exponent(std::string("\x00\x01\x00\x01", 4)), HasSubstr("shortest form"));
  std::string even = Modulus(2048);
  even.back() = '\x54';
  EXPECT_THAT(Refusal(KeyLine("ssh-rsa", RsaBlob(kF4, even))), HasSubstr("weak"));
  EXPECT_THAT(Refusal(KeyLine("ssh-rsa", RsaBlob(kF4, '\0' + Modulus(2048)))), HasSubstr("shortest form"));
}

TEST(SshPublicKeyTest, RefusesPointsThatAreNotOnTheCurve) {
  const testing::SshFolder folder;
  std::string blob = KeyBlob(folder.MakeKey("key", "ecdsa -b 256"));
  blob.back() = static_cast<char>(blob.back() ^ 1);
  EXPECT_THAT(Refusal(KeyLine("ecdsa-sha2-nistp256", blob)), HasSubstr("not a valid key"));
  const auto point = [](const std::string& octets) {
    return Refusal(
        KeyLine("ecdsa-sha2-nistp256", SshString("ecdsa-sha2-nistp256") + SshString("nistp256") + SshString(octets)));
  };
  EXPECT_THAT(point(std::string(1, '\0')), HasSubstr("uncompressed"));
  EXPECT_THAT(point("\x02" + blob.substr(blob.size() - 64, 32)), HasSubstr("uncompressed"));
  EXPECT_THAT(point("\x06" + blob.substr(blob.size() - 64)), HasSubstr("uncompressed"));
  EXPECT_THAT(Refusal(KeyLine("ecdsa-sha2-nistp256", SshString("ecdsa-sha2-nistp256") + SshString("nistp384") +
                                                         SshString(blob.substr(blob.size() - 65)))),
              HasSubstr("curve"));
}

TEST(SshPublicKeyTest, ComparesKeysNotComments) {
  const testing::SshFolder folder;
  const auto one = SshPublicKey::Parse(Ed25519() + " one").value();
  const auto two = SshPublicKey::Parse(Ed25519() + " two").value();
  const auto other = SshPublicKey::Parse(folder.MakeKey("other", "ed25519")).value();
  EXPECT_TRUE(one.SameKey(two));
  EXPECT_FALSE(one.SameKey(other));
  EXPECT_FALSE(one.SameKey({}));
  EXPECT_FALSE(SshPublicKey().SameKey(SshPublicKey()));
  EXPECT_THAT(SshPublicKey().VerifyRaw("ssh-ed25519", {}, {}), IsErr(Code::kInvalidArgument));
}

}  // namespace
}  // namespace signet::crypto
