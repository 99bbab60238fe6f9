#include "encoding/text.hpp"

#include <nlohmann/json.hpp>

#include "support/matchers.hpp"

namespace signet::encoding {
namespace {

using base::AsBytes;
using base::AsText;
using base::Code;
using testing::IsErr;

TEST(Base64Test, AgreesWithRfc4648Section10) {
  const std::vector<std::pair<std::string, std::string>> vectors = {{"", ""},
                                                                    {"f", "Zg=="},
                                                                    {"fo", "Zm8="},
                                                                    {"foo", "Zm9v"},
                                                                    {"foob", "Zm9vYg=="},
                                                                    {"fooba", "Zm9vYmE="},
                                                                    {"foobar", "Zm9vYmFy"}};
  for (const auto& [plain, coded] : vectors) {
    EXPECT_EQ(ToBase64(AsBytes(plain)), coded);
    ASSERT_TRUE(FromBase64(coded).has_value()) << coded;
    EXPECT_EQ(AsText(*FromBase64(coded)), plain);
  }
}

TEST(Base64Test, RefusesWhatIsNotCanonical) {
  for (const char* text :
       {"Zg", "Zg=", "Zh==", "Zm9=", "Zg==Zg==", "Z===", "====", "Zm9v\n", " Zm9v", "Zm9-", "Zg=v"}) {
    EXPECT_THAT(FromBase64(text), IsErr(Code::kInvalidArgument)) << text;
  }
}

TEST(HexTest, ReadsBothCasesWritesLower) {
  EXPECT_EQ(ToHex(*FromHex("00ffAb")), "00ffab");
  EXPECT_THAT(FromHex("abc"), IsErr(Code::kInvalidArgument));
  EXPECT_THAT(FromHex("0x"), IsErr(Code::kInvalidArgument));
}

std::string Quoted(std::string_view text) {
  std::string out;
  AppendJsonString(out, text);
  return out;
}

TEST(AppendJsonStringTest, WritesWhatAJsonParserReadsBack) {
  std::string all;
  for (int c = 0; c < 128; ++c) all += static_cast<char>(c);
  all += "\u00e9\u20ac\U0001F511";
  EXPECT_EQ(nlohmann::json::parse(Quoted(all)).get<std::string>(), all);
}

TEST(AppendJsonStringTest, ReplacesOctetsThatAreNotUtf8) {
  for (const std::string bad : {"\xff", "\xc0\xaf", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82"}) {
    const std::string quoted = Quoted("a" + bad + "b");
    const auto parsed = nlohmann::json::parse(quoted).get<std::string>();
    EXPECT_TRUE(parsed.starts_with("a\uFFFD") && parsed.ends_with("b")) << quoted;
  }
}

TEST(AppendJsonStringTest, EscapesWhatATerminalMustNotGet) {
  EXPECT_EQ(Quoted("a\xE2\x80\xAE\xC2\x9B\xF3\xA0\x81\x81z"), R"("a\u202e\u009b\udb40\udc41z")");
  EXPECT_EQ(Quoted("\xC3\xA4\xE2\x82\xAC\xF0\x9F\x94\x91"), "\"\xC3\xA4\xE2\x82\xAC\xF0\x9F\x94\x91\"");
}

TEST(IsLowerHexTest, WantsTheSizeAndLowerCase) {
  EXPECT_TRUE(IsLowerHex("0189af", 6));
  EXPECT_TRUE(IsLowerHex("", 0));
  for (const char* text : {"0189a", "0189aff", "0189aF", "0189ag", "0x89af", " 189af"}) {
    EXPECT_FALSE(IsLowerHex(text, 6)) << text;
  }
}

TEST(AppendJsonStringTest, KeepsALineOneLine) { EXPECT_EQ(Quoted("a\nb\r\x01"), R"("a\nb\r\u0001")"); }

}  // namespace
}  // namespace signet::encoding
