#include "encoding/pkcs11_uri.hpp"

#include "support/matchers.hpp"

namespace signet::encoding {
namespace {

using base::Bytes;
using base::Code;
using ::testing::HasSubstr;
using testing::IsErr;
using testing::IsOk;
using ::testing::Not;

TEST(Pkcs11UriTest, ReadsTheAttributesThatNameAKey) {
  const auto uri = ParsePkcs11Uri(
      "pkcs11:token=Software%20PKCS%2311%20softtoken;serial=4711;manufacturer=Snake%20Oil,%20Inc.;model=1.0;"
      "object=my-key;type=private;id=%69%95%3E%5C%F4%BD%EC%91");
  ASSERT_THAT(uri, IsOk());
  EXPECT_EQ(uri->token, "Software PKCS#11 softtoken");
  EXPECT_EQ(uri->serial, "4711");
  EXPECT_EQ(uri->manufacturer, "Snake Oil, Inc.");
  EXPECT_EQ(uri->model, "1.0");
  EXPECT_EQ(uri->object, "my-key");
  EXPECT_EQ(uri->type, "private");
  EXPECT_EQ(uri->id, (Bytes{0x69, 0x95, 0x3E, 0x5C, 0xF4, 0xBD, 0xEC, 0x91}));
}

// RFC 7512 section 3, in its order. What we serve is read; what carries a PIN or chooses a module is refused by name.
TEST(Pkcs11UriTest, JudgesTheExamplesOfTheRfc) {
  EXPECT_THAT(ParsePkcs11Uri("pkcs11:"), IsOk());
  EXPECT_THAT(ParsePkcs11Uri("pkcs11:object=my-pubkey;type=public"), IsOk());
  const std::vector<std::pair<std::string, std::string>> refused = {
      {"pkcs11:object=my-key;type=private?pin-source=file:/etc/token", "'pin-source' is refused"},
      {"pkcs11:token=The%20Software%20PKCS%2311%20Softtoken;manufacturer=Snake%20Oil,%20Inc.;model=1.0;"
       "object=my-certificate;type=cert;id=%69%95%3E%5C%F4%BD%EC%91;serial=?pin-source=file:/etc/token_pin",
       "'pin-source' is refused"},
      {"pkcs11:object=my-sign-key;type=private?module-name=mypkcs11", "'module-name' is refused"},
      {"pkcs11:object=my-sign-key;type=private?module-path=/mnt/libmypkcs11.so.1", "'module-path' is refused"},
      {"pkcs11:token=Software%20PKCS%2311%20softtoken;manufacturer=Snake%20Oil,%20Inc.?pin-value=the-pin",
       "'pin-value' is refused"},
      {"pkcs11:slot-description=Sun%20Metaslot", "'slot-description' is refused"},
      {"pkcs11:library-manufacturer=Snake%20Oil,%20Inc.;library-description=Soft%20Token%20Library;"
       "library-version=1.23",
       "'library-manufacturer' is refused"},
      {"pkcs11:token=My%20token%25%20created%20by%20Joe;library-version=3;id=%01%02%03%Ba%dd%Ca%fe%04%05%06",
       "'library-version' is refused"},
      {"pkcs11:token=A%20name%20with%20a%20substring%20%25%3B;object=my-certificate;type=cert",
       "'type' is private or public"},
      {"pkcs11:token=Name%20with%20a%20small%20A%20with%20acute:%20%C3%A1;object=my-certificate;type=cert",
       "'token' has at most 32 bytes"},
      {"pkcs11:token=my-token;object=my-certificate;type=cert;vendor-aaa=value-a?pin-source=file:/etc/token_pin&"
       "vendor-bbb=value-b",
       "'pin-source' is refused"},
  };
  for (const auto& [text, why] : refused) {
    const auto uri = ParsePkcs11Uri(text);
    ASSERT_THAT(uri, IsErr(Code::kInvalidArgument, "Invalid")) << text;
    EXPECT_THAT(uri.error().message, HasSubstr(why)) << text;
  }
}

TEST(Pkcs11UriTest, RefusesByName) {
  for (const char* name : {"pin-source", "pin-value", "module-path", "module-name", "slot-id", "library-version",
                           "library-manufacturer", "library-description"}) {
    for (const std::string& text :
         {std::string("pkcs11:object=a;") + name + "=1", std::string("pkcs11:") + name + "=1"}) {
      const auto uri = ParsePkcs11Uri(text);
      ASSERT_THAT(uri, IsErr(Code::kInvalidArgument)) << text;
      EXPECT_THAT(uri.error().message, HasSubstr("'" + std::string(name) + "' is refused")) << text;
    }
  }
}

TEST(Pkcs11UriTest, RefusesWhatIsNotOneOfOurs) {
  for (const char* text : {"",
                           "object=a",
                           "PKCS11:object=a",
                           "pkcs11",
                           "pkcs11:object",
                           "pkcs11:=a",
                           "pkcs11:object=a;",
                           "pkcs11:;object=a",
                           "pkcs11:object=a;;id=%01",
                           "pkcs11:object=a;object=b",
                           "pkcs11:id=%01;id=%01",
                           "pkcs11:Object=a",
                           "pkcs11:vendor-x=1",
                           "pkcs11:object=a b",
                           "pkcs11:object=a/b",
                           "pkcs11:object=\xC3\xA1",
                           "pkcs11:object=%",
                           "pkcs11:object=%4",
                           "pkcs11:object=%4g",
                           "pkcs11:object=a%00b",
                           "pkcs11:object=",
                           "pkcs11:id=",
                           "pkcs11:type=secret-key",
                           "pkcs11:type=Private",
                           "pkcs11:object=a?",
                           "pkcs11:object=a?x=y",
                           "pkcs11:object=a#x",
                           "pkcs11:obj%65ct=a"}) {
    EXPECT_THAT(ParsePkcs11Uri(text), IsErr(Code::kInvalidArgument, "Invalid")) << text;
  }
}

TEST(Pkcs11UriTest, NeverRepeatsAValueInItsMessage) {
  for (const char* text : {"pkcs11:object=a?pin-value=314159", "pkcs11:pin-value=314159", "pkcs11:object=a;314159",
                           "pkcs11:314159=a", "pkcs11:object=a?314159", "pkcs11:token=314159%"}) {
    const auto uri = ParsePkcs11Uri(text);
    ASSERT_THAT(uri, IsErr(Code::kInvalidArgument)) << text;
    EXPECT_THAT(uri.error().message, Not(HasSubstr("314159"))) << text;
  }
}

TEST(Pkcs11UriTest, BoundsLengthsInDecodedBytes) {
  const auto with = [](const std::string& name, std::size_t size) {
    return ParsePkcs11Uri("pkcs11:" + name + "=" + std::string(size, 'x'));
  };
  for (const auto& [name, limit] : std::vector<std::pair<std::string, std::size_t>>{
           {"token", 32}, {"serial", 16}, {"manufacturer", 32}, {"model", 16}, {"object", 255}, {"id", 64}}) {
    EXPECT_THAT(with(name, limit), IsOk()) << name;
    EXPECT_THAT(with(name, limit + 1), IsErr(Code::kInvalidArgument)) << name;
  }
  std::string escaped = "pkcs11:token=";
  for (int i = 0; i < 32; ++i) escaped += "%41";
  EXPECT_THAT(ParsePkcs11Uri(escaped), IsOk());
  EXPECT_THAT(ParsePkcs11Uri(escaped + "%41"), IsErr(Code::kInvalidArgument));
  EXPECT_THAT(ParsePkcs11Uri("pkcs11:object=a" + std::string(1024, ';')), IsErr(Code::kInvalidArgument));
}

// p11tool, pkcs11-tool and p11-kit print what the token's fields hold, some of them to the last octet.
TEST(Pkcs11UriTest, ReadsWhatToolsPrintAsTheUserMeansIt) {
  for (const char* text : {
           "pkcs11:model=SoftHSM%20v2;manufacturer=SoftHSM%20project;serial=8f1b2a3c4d5e6f70;token=my%20token;"
           "id=%0A%fF;object=release;type=private",
           "pkcs11:token=my%20token%20%20%20%20%20%20%20%20%20%20%20%20%20%20%20%20%20%20%20%20%20%20%20%20;"
           "id=%0a%Ff;object=release;model=SoftHSM%20v2%20%20%20%20%20%20;serial=8f1b2a3c4d5e6f70;"
           "manufacturer=SoftHSM%20project%20%20%20%20%20%20%20%20%20%20%20%20%20%20%20%20%20",
           "pkcs11:token=my%20token%00%00%00%00%00%00%00%00%00%00%00%00%00%00%00%00%00%00%00%00%00%00%00%00;"
           "model=SoftHSM%20v2%00%20%20;manufacturer=SoftHSM%20project%00;serial=8f1b2a3c4d5e6f70;id=%0A%FF;"
           "object=release",
           "  pkcs11:token=my%20token;id=%0A%FF;object=release \r\n",
       }) {
    const auto uri = ParsePkcs11Uri(text);
    ASSERT_THAT(uri, IsOk()) << text;
    EXPECT_EQ(uri->token, "my token") << text;
    EXPECT_EQ(uri->object, "release") << text;
    EXPECT_EQ(uri->id, (Bytes{0x0A, 0xFF})) << text;
    EXPECT_TRUE(uri->TokenMatches("my token", "8f1b2a3c4d5e6f70", "SoftHSM project", "SoftHSM v2")) << text;
    EXPECT_FALSE(uri->TokenMatches("my tokens", "8f1b2a3c4d5e6f70", "SoftHSM project", "SoftHSM v2")) << text;
    EXPECT_EQ(ParsePkcs11Uri(FormatPkcs11Uri(*uri))->token, "my token") << "workers are told the canonical form";
  }
}

TEST(Pkcs11UriTest, ReadsAnEmptyFieldAsAnEmptyField) {
  const auto uri = ParsePkcs11Uri("pkcs11:token=prod;serial=;model=%20%20;object=a");
  ASSERT_THAT(uri, IsOk());
  EXPECT_TRUE(uri->TokenMatches("prod", "", "any", ""));
  EXPECT_FALSE(uri->TokenMatches("prod", "1", "any", ""));
  EXPECT_FALSE(ParsePkcs11Uri(FormatPkcs11Uri(*uri))->TokenMatches("prod", "1", "any", ""));
}

TEST(Pkcs11UriTest, TrimsNoBlanksOfALabel) {
  EXPECT_EQ(ParsePkcs11Uri("pkcs11:object=a%20")->object, "a ") << "CKA_LABEL has no padding";
}

TEST(Pkcs11UriTest, AllowsAnyOctetInAnId) {
  const auto uri = ParsePkcs11Uri("pkcs11:id=%00%ffA");
  ASSERT_THAT(uri, IsOk());
  EXPECT_EQ(uri->id, (Bytes{0x00, 0xFF, 'A'}));
}

TEST(Pkcs11UriTest, FormatsWhatItReadsBack) {
  for (const char* text :
       {"pkcs11:object=a", "pkcs11:token=a%20b%25%3B;object=x%2Fy%3Fz;id=%00%FF;type=private",
        "pkcs11:serial=1;manufacturer=m;model=%23;object=%C3%A1", "pkcs11:token=ends-with:;object=a"}) {
    const auto uri = ParsePkcs11Uri(text);
    ASSERT_THAT(uri, IsOk()) << text;
    EXPECT_EQ(uri->text, text);
    EXPECT_EQ(FormatPkcs11Uri(*uri), text);
  }
}

TEST(Pkcs11UriTest, MatchesATokenThatContradictsNothing) {
  const auto uri = ParsePkcs11Uri("pkcs11:token=prod;model=Luna;object=a");
  ASSERT_THAT(uri, IsOk());
  EXPECT_TRUE(uri->TokenMatches("prod", "1", "any", "Luna"));
  EXPECT_FALSE(uri->TokenMatches("Prod", "1", "any", "Luna"));
  EXPECT_FALSE(uri->TokenMatches("prod", "1", "any", "Nano"));
  EXPECT_TRUE(ParsePkcs11Uri("pkcs11:object=a")->TokenMatches("x", "y", "z", "w"));
}

}  // namespace
}  // namespace signet::encoding
