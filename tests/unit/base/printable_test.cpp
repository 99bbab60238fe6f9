#include "base/printable.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace signet::base {
namespace {

/// What may not reach a terminal, in UTF-8 or as bytes that are none.
const std::vector<std::string> kHarmful = {
    "\x1b[31m",
    "\x07",
    "\x08",
    "\x7f",
    std::string(1, '\0'),  // C0, DEL
    "\xc2\x80",
    "\xc2\x9b",
    "\xc2\x9f",  // C1, CSI
    "\xd8\x9c",
    "\xe2\x80\x8e",
    "\xe2\x80\x8f",  // marks: ALM, LRM, RLM
    "\xe2\x80\xaa",
    "\xe2\x80\xae",
    "\xe2\x81\xa6",
    "\xe2\x81\xa9",  // embeddings, overrides, isolates
    "\xe2\x80\x8b",
    "\xe2\x80\x8d",
    "\xe2\x81\xa0",
    "\xef\xbb\xbf",
    "\xc2\xad",  // invisible, BOM, soft hyphen
    "\xe2\x80\xa8",
    "\xe2\x80\xa9",  // line and paragraph separators
    "\xf3\xa0\x81\x81",
    "\xf3\xa0\x84\x80",
    "\xef\xb8\x8f",
    "\xef\xbf\xb9",  // tags, selectors, annotations
    "\x80",
    "\xff",
    "\xc3",
    "\xc0\x9b",
    "\xe0\x80\x9b",
    "\xed\xa0\x80",
    "\xf4\x90\x80\x80",
    "\xe2\x80",
};
bool Shows(const std::string& text) {
  for (std::string_view rest = text; !rest.empty();) {
    const auto next = FirstCharacter(rest);
    if (!next.valid || (IsHarmful(next.point) && next.point != '\n')) return true;
    rest.remove_prefix(next.size);
  }
  return false;
}

TEST(PrintableTest, LetsNothingHarmfulThroughInAnyForm) {
  for (const auto& bad : kHarmful) {
    const std::string text = "a" + bad + "b";
    SCOPED_TRACE(nlohmann::json(text).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace));
    EXPECT_TRUE(Shows(text)) << "the list holds only what is harmful";
    for (const auto& shown : {PrintableLine(text), PrintableText(text)}) {
      EXPECT_FALSE(Shows(shown));
      EXPECT_TRUE(shown.starts_with("a?")) << shown;
      EXPECT_TRUE(shown.ends_with("b")) << shown;
    }
    const auto json = nlohmann::json({{"name\n" + bad, text}});
    const auto dumped = json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
    EXPECT_FALSE(Shows(PrintableJson(dumped)));
    EXPECT_EQ(nlohmann::json::parse(PrintableJson(dumped)), nlohmann::json::parse(dumped)) << "the value stays";
  }
}

TEST(PrintableTest, LeavesTextOfAnyLanguageAsItIs) {
  for (const std::string text : {"plain ~!", "\xC3\xA9t\xC3\xA9", "\xE6\x97\xA5\xE6\x9C\xAC",
                                 "\xD7\xA9\xD7\x9C\xD7\x95\xD7\x9D", "\xF0\x9F\x94\x91", "", "e\xCC\x81"}) {
    EXPECT_EQ(PrintableLine(text), text);
    EXPECT_EQ(PrintableText(text), text);
    EXPECT_EQ(PrintableJson(nlohmann::json(text).dump()), nlohmann::json(text).dump());
  }
}

TEST(PrintableTest, FindsTheFirstHarmfulCharacter) {
  for (const auto& bad : kHarmful) {
    const std::string text =
        "\xC3\xA9"
        "a" +
        bad + "b";
    for (const auto lines : {Lines::kLine, Lines::kText}) {
      const auto found = FirstHarmful(text, lines);
      ASSERT_TRUE(found.has_value()) << text;
      EXPECT_EQ(found->number, 3U);
      EXPECT_EQ(found->valid, FirstCharacter(bad).valid);
    }
  }
  EXPECT_EQ(FirstHarmful("\xE2\x80\xAE", Lines::kLine)->point, 0x202EU);
  const std::string lines = "\xE6\x97\xA5\n\tb\r\n";
  EXPECT_FALSE(FirstHarmful(lines, Lines::kText).has_value());
  EXPECT_EQ(FirstHarmful(lines, Lines::kLine)->number, 2U);
  EXPECT_EQ(FirstHarmful("a\rb\r\n", Lines::kText)->number, 2U);
  EXPECT_FALSE(FirstHarmful("", Lines::kLine).has_value());
}

TEST(PrintableTest, KeepsLinesOnlyWhereThereAreLines) {
  EXPECT_EQ(PrintableLine("a\nb\tc\r"), "a b c?");
  EXPECT_EQ(PrintableText("a\nb\tc\r\nd\re"), "a\nb\tc\r\nd?e");
  EXPECT_EQ(PrintableJson("{\n  \"a\": 1\n}\n"), "{\n  \"a\": 1\n}\n");
}

}  // namespace
}  // namespace signet::base
