#include "store/manifest.hpp"

#include <gtest/gtest.h>

#include "base/clock.hpp"
#include "support/matchers.hpp"

namespace signet::store {
namespace {

using base::Code;
using nlohmann::json;
using ::signet::testing::IsErr;
using ::signet::testing::IsOk;
using ::testing::HasSubstr;

json One(std::string_view text) {
  const auto documents = ParseYaml(text, "t.yaml");
  EXPECT_THAT(documents, IsOk());
  if (!documents || documents->size() != 1) return "not one document";
  return documents->front().value;
}

std::string Problem(std::string_view text) {
  const auto documents = ParseYaml(text, "t.yaml");
  EXPECT_THAT(documents, IsErr(Code::kInvalidArgument, "Malformed")) << text;
  return documents ? "" : documents.error().message;
}

/// Expected values were taken from `kubectl label --local -o json` (client 1.20).
struct Typed {
  std::string_view text;
  std::string_view json;
};
class PlainScalarTest : public ::testing::TestWithParam<Typed> {};
TEST_P(PlainScalarTest, MeansWhatItMeansToKubectl) {
  EXPECT_EQ(One("v: " + std::string(GetParam().text)).at("v"), json::parse(GetParam().json));
}
INSTANTIATE_TEST_SUITE_P(
    All, PlainScalarTest,
    ::testing::Values(Typed{"yes", "true"}, Typed{"Yes", "true"}, Typed{"yEs", R"("yEs")"}, Typed{"y", "true"},
                      Typed{"n", "false"}, Typed{"on", "true"}, Typed{"OFF", "false"}, Typed{"true", "true"},
                      Typed{"tRue", R"("tRue")"}, Typed{"~", "null"}, Typed{"null", "null"}, Typed{"NULL", "null"},
                      Typed{"nULL", R"("nULL")"}, Typed{"", "null"}, Typed{"\"\"", R"("")"},
                      Typed{"\"yes\"", R"("yes")"}, Typed{"'on'", R"("on")"}, Typed{"'5'", R"("5")"}, Typed{"5", "5"},
                      Typed{"+5", "5"}, Typed{"-0", "0"}, Typed{"-17", "-17"}, Typed{"1e3", "1000"},
                      Typed{"1.50", "1.5"}, Typed{".5", "0.5"}, Typed{"+.5", "0.5"}, Typed{"5.", "5"},
                      Typed{"1.0", "1"}, Typed{"9223372036854775808", "9223372036854775808"},
                      Typed{"12:30", R"("12:30")"}, Typed{"09:00", R"("09:00")"}, Typed{"12:30:45", R"("12:30:45")"},
                      Typed{"2026-01-02", R"("2026-01-02")"},
                      Typed{"2026-01-02T00:00:00Z", R"("2026-01-02T00:00:00Z")"},
                      Typed{"sha256:00ff", R"("sha256:00ff")"}, Typed{"1.2.3", R"("1.2.3")"}, Typed{".e5", R"(".e5")"},
                      Typed{".", R"(".")"}, Typed{"0x", R"("0x")"}, Typed{"=", R"("=")"}, Typed{"1_a", R"("1_a")"}));

class DisputedNumberTest : public ::testing::TestWithParam<std::string_view> {};
TEST_P(DisputedNumberTest, IsRefused) {
  EXPECT_THAT(Problem("a: 1\nv: " + std::string(GetParam())), HasSubstr("t.yaml:2: "));
}
INSTANTIATE_TEST_SUITE_P(All, DisputedNumberTest,
                         ::testing::Values("010", "09", "0o17", "0x1F", "-0x10", "0b11", "1_000", "1_0.5", ".inf",
                                           "-.inf", ".NaN", "1e400", "00"));

TEST(ManifestTest, ReadsSeveralDocumentsAndTheirLines) {
  const auto documents = ParseYaml("# comment\n---\na: 1\n---\n---\n# nothing\n---\nb: {c: [x, 'y']}\n...\n", "t.yaml");
  ASSERT_THAT(documents, IsOk());
  ASSERT_EQ(documents->size(), 2U);
  EXPECT_EQ((*documents)[0].value, json({{"a", 1}}));
  EXPECT_EQ((*documents)[1].value, json::parse(R"({"b":{"c":["x","y"]}})"));
  EXPECT_EQ((*documents)[0].line, 2);
  EXPECT_EQ((*documents)[1].line, 7);
}

TEST(ManifestTest, TakesAnEmptyFileAsNoDocument) {
  for (const std::string_view text : {"", "\n", "# only a comment\n", "---\n", "\xEF\xBB\xBF"}) {
    const auto documents = ParseYaml(text, "t.yaml");
    ASSERT_THAT(documents, IsOk()) << text;
    EXPECT_TRUE(documents->empty()) << text;
  }
}

TEST(ManifestTest, ReadsBlockScalars) {
  EXPECT_EQ(One("k: |\n  a\n  b\nl: >-\n  c\n  d\n"), json({{"k", "a\nb\n"}, {"l", "c d"}}));
}

TEST(ManifestTest, RefusesDuplicateKeysWithTheirLine) {
  EXPECT_THAT(Problem("spec:\n  suspend: true\n  suspend: false\n"), HasSubstr("t.yaml:3: the key \"suspend\""));
  EXPECT_THAT(Problem("{a: 1, 'a': 2}"), HasSubstr("appears twice"));
}

TEST(ManifestTest, RefusesAnchorsAliasesTagsAndMergeKeys) {
  EXPECT_THAT(Problem("a: 1\nb: &x {c: 1}\n"), HasSubstr("t.yaml:2: anchors"));
  EXPECT_THAT(Problem("a: &x 1\nb: *x\n"), HasSubstr("anchors"));
  EXPECT_THAT(Problem("a: !!str 5\n"), HasSubstr("tags"));
  EXPECT_THAT(Problem("a: !!map {}\n"), HasSubstr("tags"));
  EXPECT_THAT(Problem("a: !local [1]\n"), HasSubstr("tags"));
  EXPECT_THAT(Problem("a: !!null ''\n"), HasSubstr("tags"));
  EXPECT_THAT(Problem("<<: {a: 1}\n"), HasSubstr("merge keys"));
}

TEST(ManifestTest, RefusesABillionLaughs) {
  std::string text = "a: &a [x, x]\n";
  for (char c = 'b'; c < 'z'; ++c)
    text += std::string(1, c) + ": &" + c + " [*" + char(c - 1) + ", *" + char(c - 1) + "]\n";
  EXPECT_THAT(Problem(text), HasSubstr("t.yaml:1: anchors"));
}

TEST(ManifestTest, BoundsDepth) {
  const auto nested = [](int levels) { return std::string(levels, '[') + std::string(levels, ']'); };
  EXPECT_THAT(ParseYaml(nested(32), "t.yaml"), IsOk());
  EXPECT_THAT(Problem(nested(33)), HasSubstr("nested deeper than 32"));
  std::string blocks;
  for (int i = 0; i < 40; ++i) blocks += std::string(i, ' ') + "a:\n";
  EXPECT_THAT(Problem(blocks), HasSubstr("nested deeper than 32"));
}

TEST(ManifestTest, EndsSoonOnAMebibyteOfBrackets) {
  const auto start = base::SystemClock().Steady();
  for (const std::string_view unit : {"[", "{", "- ", "? ", "[{", "{a: ", "a: [", "\"", "|", "&a ", "*"}) {
    std::string text;
    while (text.size() + unit.size() <= kMaxManifestBytes) text += unit;
    EXPECT_THAT(ParseYaml(text, "t.yaml"), IsErr(Code::kInvalidArgument)) << unit;
  }
  EXPECT_LT(base::SystemClock().Steady() - start, std::chrono::seconds(30));
}

TEST(ManifestTest, BoundsSize) {
  EXPECT_THAT(Problem(std::string(kMaxManifestBytes + 1, ' ')), HasSubstr("larger than"));
}

TEST(ManifestTest, RefusesWhatIsNotUtf8Text) {
  EXPECT_THAT(Problem("a: 1\nb: \xFF\xFE"), HasSubstr("t.yaml:2: not UTF-8"));
  EXPECT_THAT(Problem(std::string("a: \0b", 5)), HasSubstr("octet 0"));
  EXPECT_THAT(Problem("a: \"\\0\""), HasSubstr("NUL"));
  EXPECT_THAT(Problem("a: \xED\xA0\x80"), HasSubstr("not UTF-8"));
  EXPECT_THAT(Problem("a: \xC0\xAF"), HasSubstr("not UTF-8"));
}

TEST(ManifestTest, RefusesASecondRootWithoutMarker) {
  EXPECT_THAT(Problem("{a: 1}\n{b: 2}\n"), HasSubstr("t.yaml:2: expected ---"));
  EXPECT_THAT(Problem("{a: 1} trailing\n"), HasSubstr("t.yaml:1: "));
}

TEST(ManifestTest, RefusesBrokenYamlWithItsLine) {
  EXPECT_THAT(Problem("a: 1\nb: [1, 2\nc: 3\n"), HasSubstr("t.yaml:"));
  EXPECT_THAT(Problem("a: b: c\n"), HasSubstr("t.yaml:1: "));
  EXPECT_THAT(Problem("a:\n  b: 1\n c: 2\n"), HasSubstr("t.yaml:3: "));
  EXPECT_THAT(Problem("? [a]\n: 1\n"), HasSubstr("key"));
  EXPECT_THAT(Problem("~: 1\n"), HasSubstr("key"));
}

TEST(ManifestTest, FindsTheGoodDocumentsBesideBrokenOnes) {
  const auto read =
      ParseEachDocument("a: 1\n---\nb: [\n--- # third\nc: 3\n---not: a marker\n---\nd: |\n  ---\n  x\n", "f.yaml");
  ASSERT_EQ(read.good.size(), 3U);
  EXPECT_EQ(read.good[0].value.at("a"), 1);
  EXPECT_EQ(read.good[1].value.at("---not"), "a marker");
  EXPECT_EQ(read.good[2].value.at("d"), "---\nx\n");
  EXPECT_EQ(read.good[2].line, 7);
  ASSERT_EQ(read.broken.size(), 1U);
  EXPECT_THAT(read.broken[0].message, ::testing::HasSubstr("f.yaml:"));
  EXPECT_TRUE(ParseEachDocument("a: 1\n---\nb: 2\n", "f.yaml").broken.empty());
  EXPECT_EQ(ParseEachDocument("{", "f.json").broken.size(), 1U);
}

TEST(ManifestTest, ReadsJsonFilesAsStrictJson) {
  const auto documents = ParseManifest(R"({"a": 1})", "t.json");
  ASSERT_THAT(documents, IsOk());
  EXPECT_EQ(documents->at(0).value, json({{"a", 1}}));
  EXPECT_THAT(ParseManifest("a: 1", "t.json"), IsErr(Code::kInvalidArgument, "Malformed"));
  EXPECT_THAT(ParseManifest(R"({"a":1,"a":2})", "t.json"), IsErr(Code::kInvalidArgument, "Malformed"));
}

class WriteYamlTest : public ::testing::TestWithParam<std::string_view> {};
TEST_P(WriteYamlTest, ReadsBackToTheSameValue) {
  const json value = json::parse(GetParam());
  const std::string text = WriteYaml(value);
  EXPECT_EQ(One(text), value) << text;
}
INSTANTIATE_TEST_SUITE_P(
    All, WriteYamlTest,
    ::testing::Values(
        R"({"a":1,"b":-2,"c":1.5,"d":true,"e":null,"f":"x"})", R"({"a":{},"b":[],"c":{"d":[[1,[2]],[]]}})",
        R"({"a":[{"b":1,"c":[1,{"d":2}]},{"e":"x"},"s"]})",
        R"({"s":["yes","no","5","1e3","~","null","","010","0x1F",".inf","2026-11-23T09:00:01Z"]})",
        R"({"s":[" lead","trail ","a: b","a #b","- x","? y","# c","&a","*a","!t","%d","@x","`x","'q'","\"q\"","a\\b"]})",
        R"({"s":["tab\there","cr\rx","nul-free\u0001","\u007f","\u0085","\u2028","\ufeff","\u00e4\ud83d\ude00"]})",
        R"({"s":["a\nb","a\nb\n","a\n\nb\n","a\n\n","\n","\na"," a\nb","a \nb","a\n b\n","ends\n\n\n"]})",
        R"({"yes":1,"5":2,"a b":3,"":4,"<<":5,"a: b":6,"\n":7,"#":8,"null":9})",
        R"({"pem":"-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n"})"));

TEST(WriteYamlTest, WritesPemAsALiteralBlock) {
  EXPECT_EQ(WriteYaml({{"k", {{"publicKey", "-----BEGIN-----\nAA==\n-----END-----\n"}}}}),
            "k:\n  publicKey: |\n    -----BEGIN-----\n    AA==\n    -----END-----\n");
}

TEST(WriteYamlTest, WritesKeysOfAnyLength) {
  const std::string key(2000, 'k');
  for (const json& member :
       {json(1), json("a\nb\n"), json::array({1, json::array({2})}), json({{"x", {{key, 1}}}}), json()}) {
    const json value = {{"before", 1}, {key, member}, {"z", {{key, member}}}};
    EXPECT_EQ(One(WriteYaml(value)), value);
  }
}

TEST(WriteYamlTest, ReplacesWhatIsNotUtf8) {
  EXPECT_EQ(One(WriteYaml({{"a", "x\xFFy"}})), json({{"a", "x\xEF\xBF\xBDy"}}));
}

}  // namespace
}  // namespace signet::store
