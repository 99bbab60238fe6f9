// Signatures here are made by ssh-keygen -Y sign, never by our own code.
#include "crypto/ssh_signature.hpp"

#include "crypto/digest.hpp"
#include "ssh_fixture.hpp"
#include "support/matchers.hpp"

namespace signet::crypto {
namespace {

using base::AsBytes;
using base::Code;
using encoding::HashAlgorithm;
using ::testing::HasSubstr;
using testing::IsErr;
using testing::IsOk;
using testing::SignatureParts;
using testing::SshKind;
using testing::SshString;

constexpr std::string_view kNamespace = "signet-approval@signet.dev";
constexpr std::string_view kMessage = "{\"decision\":\"Approve\"}";

base::Status Verify(const std::string& armored, const SshPublicKey& key, std::string_view message = kMessage,
                    std::string_view name_space = kNamespace) {
  TRY(const SshSignature signature, ParseSshSignature(armored));
  return VerifySshSignature(signature, key, name_space, AsBytes(message));
}
std::string Malformed(const std::string& armored) {
  const auto signature = ParseSshSignature(armored);
  EXPECT_THAT(signature, IsErr(Code::kInvalidArgument, "MalformedSignature"));
  return signature ? "accepted" : signature.error().message;
}

class SshSignatureKindTest : public ::testing::TestWithParam<SshKind> {
 protected:
  SshSignatureKindTest() : key_(SshPublicKey::Parse(folder_.MakeKey("key", GetParam().option)).value()) {
    armored_ = folder_.Sign("key", kMessage);
  }
  testing::SshFolder folder_;
  SshPublicKey key_;
  std::string armored_;
};

TEST_P(SshSignatureKindTest, AcceptsWhatSshKeygenSigned) {
  const auto signature = ParseSshSignature(armored_);
  ASSERT_THAT(signature, IsOk());
  EXPECT_TRUE(signature->key.SameKey(key_));
  EXPECT_EQ(signature->signature_namespace, kNamespace);
  EXPECT_EQ(signature->hash, HashAlgorithm::kSha512);
  EXPECT_EQ(signature->algorithm, key_.algorithm() == "ssh-rsa" ? "rsa-sha2-512" : key_.algorithm());
  EXPECT_THAT(Verify(armored_, key_), IsOk());
  for (int i = 0; i < 4; ++i) {  // ECDSA's r and s change in length
    EXPECT_THAT(Verify(folder_.Sign("key", kMessage), key_), IsOk());
  }
}

TEST_P(SshSignatureKindTest, AcceptsBothHashesAndNoMixture) {
  const std::string text = folder_.Sign("key", kMessage, std::string(kNamespace), "-O hashalg=sha256");
  const auto signature = ParseSshSignature(text);
  ASSERT_THAT(signature, IsOk());
  EXPECT_EQ(signature->hash, HashAlgorithm::kSha256);
  EXPECT_THAT(Verify(text, key_), IsOk());
  auto parts = SignatureParts::Of(text);
  parts.hash = "sha512";
  EXPECT_THAT(Verify(parts.Armored(), key_), IsErr(Code::kPermissionDenied, "SignatureInvalid"));
}

TEST_P(SshSignatureKindTest, RefusesAnotherMessage) {
  EXPECT_THAT(Verify(armored_, key_, "{\"decision\":\"Approvf\"}"), IsErr(Code::kPermissionDenied, "SignatureInvalid"));
  EXPECT_THAT(Verify(armored_, key_, ""), IsErr(Code::kPermissionDenied, "SignatureInvalid"));
  EXPECT_THAT(Verify(armored_, key_, std::string(kMessage) + "\n"), IsErr(Code::kPermissionDenied, "SignatureInvalid"));
}

TEST_P(SshSignatureKindTest, RefusesAnotherNamespace) {
  EXPECT_THAT(Verify(armored_, key_, kMessage, "git"), IsErr(Code::kPermissionDenied, "WrongNamespace"));
  EXPECT_THAT(Verify(armored_, key_, kMessage, ""), IsErr(Code::kInvalidArgument));
  auto parts = SignatureParts::Of(folder_.Sign("key", kMessage, "git"));
  EXPECT_THAT(Verify(parts.Armored(), key_), IsErr(Code::kPermissionDenied, "WrongNamespace"));
  parts.name_space = kNamespace;  // renamed after signing
  EXPECT_THAT(Verify(parts.Armored(), key_), IsErr(Code::kPermissionDenied, "SignatureInvalid"));
}

TEST_P(SshSignatureKindTest, RefusesAnotherKey) {
  const auto other = SshPublicKey::Parse(folder_.MakeKey("other", GetParam().option)).value();
  EXPECT_THAT(Verify(armored_, other), IsErr(Code::kPermissionDenied, "WrongKey"));
  EXPECT_THAT(Verify(armored_, {}), IsErr(Code::kPermissionDenied, "WrongKey"));
  auto parts = SignatureParts::Of(armored_);
  parts.key = base::AsText(other.blob());  // says that the other key has signed
  EXPECT_THAT(Verify(parts.Armored(), other), IsErr(Code::kPermissionDenied, "SignatureInvalid"));
}

TEST_P(SshSignatureKindTest, RefusesEveryFlippedOctet) {
  const std::string blob = SignatureParts::Unarmored(armored_);
  for (std::size_t at = 0; at < blob.size(); ++at) {
    for (const unsigned mask : {0x01U, 0x80U}) {
      std::string tampered = blob;
      tampered[at] = static_cast<char>(static_cast<unsigned char>(tampered[at]) ^ mask);
      ASSERT_FALSE(Verify(SignatureParts::Armor(tampered), key_).has_value()) << at;
    }
  }
}

TEST_P(SshSignatureKindTest, RefusesEveryCut) {
  const std::string blob = SignatureParts::Unarmored(armored_);
  for (std::size_t size = 0; size < blob.size(); ++size) {
    ASSERT_THAT(ParseSshSignature(SignatureParts::Armor(blob.substr(0, size))),
                IsErr(Code::kInvalidArgument, "MalformedSignature"))
        << size;
  }
  for (std::size_t size = 0; size + 1 < armored_.size(); ++size) {  // the last line end may be missing
    ASSERT_THAT(ParseSshSignature(armored_.substr(0, size)), IsErr(Code::kInvalidArgument, "MalformedSignature"))
        << size;
  }
  EXPECT_THAT(Verify(armored_.substr(0, armored_.size() - 1), key_), IsOk());
}

TEST_P(SshSignatureKindTest, RefusesWhatStandsBehindAnyField) {
  const auto parts = SignatureParts::Of(armored_);
  ASSERT_THAT(Verify(parts.Armored(), key_), IsOk());
  auto changed = parts;
  changed.tail = "x";
  EXPECT_THAT(Malformed(changed.Armored()), HasSubstr("behind its last field"));
  changed = parts;
  changed.signature += "x";
  EXPECT_THAT(Malformed(changed.Armored()), HasSubstr("behind the inner signature"));
  changed = parts;
  changed.key += "x";
  EXPECT_THAT(Malformed(changed.Armored()), HasSubstr("behind its end"));
  const auto [algorithm, octets] = parts.Inner();
  changed = parts;
  changed.signature = SshString(algorithm) + SshString(octets + "x");
  Malformed(changed.Armored());
  changed.signature = SshString(algorithm) + SshString("");
  Malformed(changed.Armored());
}

TEST_P(SshSignatureKindTest, RefusesOtherSignatureAlgorithms) {
  auto parts = SignatureParts::Of(armored_);
  const auto [algorithm, octets] = parts.Inner();
  for (const char* other : {"ssh-rsa", "rsa-sha2-512", "rsa-sha2-256", "ssh-ed25519", "ecdsa-sha2-nistp256",
                            "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "none", ""}) {
    if (other == algorithm) continue;
    parts.signature = SshString(other) + SshString(octets);
    const auto status = Verify(parts.Armored(), key_);
    if (key_.algorithm() == "ssh-rsa" && std::string_view(other) == "rsa-sha2-256") {
      EXPECT_THAT(status, IsErr(Code::kPermissionDenied, "SignatureInvalid"));
    } else {
      EXPECT_THAT(status, IsErr(Code::kInvalidArgument, "MalformedSignature")) << other;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, SshSignatureKindTest, ::testing::ValuesIn(testing::kSshKinds),
                         [](const auto& test) { return test.param.name; });

class SshSignatureTest : public ::testing::Test {
 protected:
  SshSignatureTest() : key_(SshPublicKey::Parse(folder_.MakeKey("key", "ed25519")).value()) {
    parts_ = SignatureParts::Of(folder_.Sign("key", kMessage));
  }
  testing::SshFolder folder_;
  SshPublicKey key_;
  SignatureParts parts_;
};

TEST_F(SshSignatureTest, IsStrictAboutTheFields) {
  auto changed = parts_;
  changed.magic = "SSHSIH";
  EXPECT_THAT(Malformed(changed.Armored()), HasSubstr("SSHSIG"));
  changed = parts_;
  for (const std::uint32_t version : {0U, 2U, 0x01000000U}) {
    changed.version = version;
    EXPECT_THAT(Malformed(changed.Armored()), HasSubstr("version"));
  }
  changed = parts_;
  changed.reserved = "x";
  EXPECT_THAT(Malformed(changed.Armored()), HasSubstr("reserved"));
  changed = parts_;
  for (const char* hash : {"sha1", "sha384", "SHA512", "md5", ""}) {
    changed.hash = hash;
    EXPECT_THAT(Malformed(changed.Armored()), HasSubstr("sha256 nor sha512"));
  }
  changed = parts_;
  for (const std::string& name : {std::string(), std::string("a b"), std::string("a\nb"), std::string("a\0b", 3),
                                  std::string("\xC3\xA9"), std::string(257, 'n')}) {
    changed.name_space = name;
    EXPECT_THAT(Malformed(changed.Armored()), HasSubstr("namespace"));
  }
  changed = parts_;
  changed.key = SshString("sk-ssh-ed25519@openssh.com") + SshString(std::string(32, 'k')) + SshString("ssh:");
  EXPECT_THAT(Malformed(changed.Armored()), HasSubstr("security key"));
}

TEST_F(SshSignatureTest, IsStrictAboutTheArmour) {
  const std::string blob = parts_.Blob();
  const std::string good = parts_.Armored();
  EXPECT_THAT(Verify(SignatureParts::Armor(blob, 76), key_), IsOk());
  EXPECT_THAT(Verify(SignatureParts::Armor(blob, 70, "\r\n"), key_), IsOk());
  EXPECT_THAT(Malformed(SignatureParts::Armor(blob, 77)), HasSubstr("too long"));
  EXPECT_THAT(Malformed(SignatureParts::Armor(blob, 70, "\n\n")), HasSubstr("empty"));
  EXPECT_THAT(Malformed(" " + good), HasSubstr("begin"));
  EXPECT_THAT(Malformed("text\n" + good), HasSubstr("begin"));
  EXPECT_THAT(Malformed(good + "x"), HasSubstr("behind its end"));
  EXPECT_THAT(Malformed(good + "\n"), HasSubstr("behind its end"));
  EXPECT_THAT(Malformed(good + good), HasSubstr("behind its end"));
  EXPECT_THAT(Malformed(SignatureParts::Armor("")), HasSubstr("too early"));
  std::string space = good;
  space.insert(60, " ");
  EXPECT_THAT(Malformed(space), HasSubstr("base64"));
  EXPECT_THAT(Malformed(""), HasSubstr("begin"));
  EXPECT_THAT(Malformed(blob), HasSubstr("begin"));
  EXPECT_THAT(Malformed(good + std::string(kMaxSshSignature, '\n')), HasSubstr("16 KiB"));
}

TEST_F(SshSignatureTest, SignsLargeAndEmptyMessages) {
  for (const std::string& message : {std::string(), std::string(1, '\0'), std::string(200'000, 'm')}) {
    EXPECT_THAT(Verify(folder_.Sign("key", message), key_, message), IsOk());
  }
}

TEST_F(SshSignatureTest, AcceptsRsaOfSshKeygensOwnSize) {
  const auto key = SshPublicKey::Parse(folder_.MakeKey("rsa", "rsa")).value();
  EXPECT_EQ(key.bits(), 3072);
  EXPECT_THAT(Verify(folder_.Sign("rsa", kMessage), key), IsOk());
}

TEST_F(SshSignatureTest, SaysWhichKeyHasSigned) {
  const auto other = SshPublicKey::Parse(folder_.MakeKey("other", "ed25519")).value();
  const auto status = Verify(parts_.Armored(), other);
  ASSERT_THAT(status, IsErr(Code::kPermissionDenied, "WrongKey"));
  EXPECT_THAT(status.error().message, HasSubstr(key_.fingerprint()));
}

TEST_F(SshSignatureTest, HoldsValuesThatNoParserMade) {
  auto signature = ParseSshSignature(parts_.Armored()).value();
  signature.hash = HashAlgorithm::kSha384;
  EXPECT_THAT(VerifySshSignature(signature, key_, kNamespace, AsBytes(kMessage)),
              IsErr(Code::kInvalidArgument, "MalformedSignature"));
  EXPECT_THAT(VerifySshSignature(SshSignature{}, key_, kNamespace, AsBytes(kMessage)),
              IsErr(Code::kPermissionDenied, "WrongKey"));
}

/// r and s beyond the curve, zero and negative.
TEST(SshSignatureEcdsaTest, RefusesNumbersThatAreNone) {
  const testing::SshFolder folder;
  const auto key = SshPublicKey::Parse(folder.MakeKey("key", "ecdsa -b 256")).value();
  auto parts = SignatureParts::Of(folder.Sign("key", kMessage));
  const std::string one("\x01", 1);
  for (const auto& [r, s] :
       std::vector<std::pair<std::string, std::string>>{{"", one},
                                                        {one, ""},
                                                        {one, std::string(1, '\0')},
                                                        {one, std::string("\0\x01", 2)},
                                                        {"\x81", one},
                                                        {std::string(33, '\x7f'), one},
                                                        {one, std::string(1, '\0') + std::string(33, '\x81')}}) {
    parts.signature = SshString(key.algorithm()) + SshString(SshString(r) + SshString(s));
    EXPECT_THAT(Malformed(parts.Armored()), HasSubstr("not an SSH signature"));
  }
  parts.signature = SshString(key.algorithm()) + SshString(SshString(one) + SshString(one));
  EXPECT_THAT(Verify(parts.Armored(), key), IsErr(Code::kPermissionDenied, "SignatureInvalid"));
}

}  // namespace
}  // namespace signet::crypto
