#include "cli/table.hpp"

#include <gmock/gmock.h>

#include "base/printable.hpp"
#include "cli/context.hpp"
#include "cli/output.hpp"
#include "store/manifest.hpp"

namespace signet::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(Table, AlignsColumnsWithoutTrailingSpaces) {
  Table table({"NAME", "STATE", "AGE"});
  table.Add({"a", "Signed", "3m"});
  table.Add({"much-longer", "", "12s"});
  EXPECT_EQ(table.Render(0),
            "NAME          STATE    AGE\n"
            "a             Signed   3m\n"
            "much-longer   -        12s\n");
}

TEST(Table, CutsTheWidestColumnOnATerminalAndNothingInAPipe) {
  Table table({"NAME", "ARTIFACT"});
  table.Add({"a", std::string(100, 'x')});
  const auto narrow = table.Render(40);
  for (std::size_t at = 0; at < narrow.size();) {
    const auto end = narrow.find('\n', at);
    EXPECT_LE(Width(narrow.substr(at, end - at)), 40U);
    at = end + 1;
  }
  EXPECT_THAT(narrow, HasSubstr("…"));
  EXPECT_THAT(table.Render(0), HasSubstr(std::string(100, 'x')));
}

TEST(Table, CutsBetweenCharactersNotInsideThem) {
  Table table({"N"});
  table.Add({"äöüäöüäöüäöü"});
  EXPECT_EQ(table.Render(10), "N\näöüäöüäöü…\n");
}

TEST(Table, LetsNoCellMoveTheCursor) {
  Table table({"NAME"});
  table.Add(
      {"\x1B[2Jred\r\nnext\xC2\x9B"
       "31m\xFF\xE2\x80\xAE"});
  const auto text = table.Render(0);
  EXPECT_THAT(text, Not(HasSubstr("\x1B")));
  EXPECT_EQ(text, "NAME\n?[2Jred? next?31m??\n");
}

TEST(Sheet, PutsLinesOfAValueBelowEachOther) {
  Sheet sheet;
  sheet.Add("Name", "a");
  sheet.Add("Nothing", "");
  sheet.Add("Conditions", "one\ntwo");
  EXPECT_EQ(sheet.Render(),
            "Name:        a\n"
            "Conditions:  one\n"
            "             two\n");
}

TEST(Output, WritesJsonAndYaml) {
  const nlohmann::json value = {{"a", 1}, {"text", "yes"}};
  EXPECT_EQ(Render(value, Format::kJson), "{\n  \"a\": 1,\n  \"text\": \"yes\"\n}\n");
  EXPECT_EQ(Render(value, Format::kYaml), "a: 1\ntext: \"yes\"\n");
}

TEST(Output, EscapesWhatATerminalMayNotSeeAndKeepsTheValue) {
  for (const std::string bad : {"\x1B[2J",
                                "\xC2\x9B"
                                "31m",
                                "\xE2\x80\xAE", "\x7F", "\xEF\xBB\xBF", "\xF3\xA0\x81\x81"}) {
    const nlohmann::json value = {{"a" + bad, {bad, "x" + bad + "\ny"}}};
    const auto as_json = Render(value, Format::kJson);
    const auto as_yaml = Render(value, Format::kYaml);
    for (const auto& text : {as_json, as_yaml}) {
      EXPECT_EQ(base::PrintableText(text), text) << "nothing is left to replace";
      EXPECT_THAT(text, Not(HasSubstr(bad)));
    }
    EXPECT_EQ(nlohmann::json::parse(as_json), value);
    const auto parsed = store::ParseYaml(as_yaml, "test");
    ASSERT_TRUE(parsed.has_value()) << as_yaml;
    EXPECT_EQ(parsed->at(0).value, value) << as_yaml;
  }
}

TEST(Output, ListsLeaveManagedFieldsOut) {
  const auto list = ListOf({{{"metadata", {{"name", "a"}, {"managedFields", {1, 2}}}}}});
  EXPECT_EQ(list.dump(), R"({"apiVersion":"v1","items":[{"metadata":{"name":"a"}}],"kind":"List"})");
}

TEST(Output, WritesAgesAsKubectlDoes) {
  using namespace std::chrono_literals;
  const base::TimePoint now{1000h};
  EXPECT_EQ(Age(now - 119s, now), "119s");
  EXPECT_EQ(Age(now - 119min, now), "119m");
  EXPECT_EQ(Age(now - 47h, now), "47h");
  EXPECT_EQ(Age(now - 49h, now), "2d");
  EXPECT_EQ(Age(now + 5s, now), "0s");
  EXPECT_EQ(Age({}, now), "");
}

}  // namespace
}  // namespace signet::cli
