#include "policy/glob.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <random>

#include "support/naive_glob.hpp"

namespace signet::policy {
namespace {

struct Case {
  const char* pattern;
  const char* name;
  bool matches;
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.pattern << " on " << c.name; }

class GlobTest : public ::testing::TestWithParam<Case> {};

TEST_P(GlobTest, Matches) {
  const Case& c = GetParam();
  EXPECT_EQ(Glob(c.pattern).Matches(c.name), c.matches);
  EXPECT_EQ(testing::NaiveGlobMatches(c.pattern, c.name), c.matches) << "the reference";
}

INSTANTIATE_TEST_SUITE_P(
    Table, GlobTest,
    ::testing::Values(
        Case{"a", "a", true}, Case{"a", "b", false}, Case{"a", "", false}, Case{"a", "aa", false},
        Case{"A", "a", false}, Case{"*", "", true}, Case{"*", "abc", true}, Case{"*", "a/b", false},
        Case{"?", "a", true}, Case{"?", "", false}, Case{"?", "/", false}, Case{"?", "\xC3\xA4", false},
        Case{"??", "\xC3\xA4", true}, Case{"ci-*", "ci-", true}, Case{"ci-*", "ci-main", true},
        Case{"ci-*", "xci-main", false}, Case{"*-bot", "release-bot", true}, Case{"*-bot", "release-bot2", false},
        Case{"a*b*c", "axxbyybzc", true}, Case{"a*b*c", "axxcyyb", false}, Case{"a?c", "abc", true},
        Case{"a?c", "ac", false}, Case{"a*?c", "ac", false}, Case{"a*?c", "abc", true}, Case{"**", "a", true},
        Case{"**", "a/b/c", true}, Case{"a/**", "a/b", true}, Case{"a/**", "a/b/c/d", true}, Case{"a/**", "a", false},
        Case{"a/**", "ab/c", false}, Case{"a/**", "b/a/c", false}, Case{"**/c", "c", true}, Case{"**/c", "a/b/c", true},
        Case{"**/c", "a/b/xc", false}, Case{"a/**/c", "a/c", true}, Case{"a/**/c", "a/x/y/c", true},
        Case{"a/**/c", "a/x/y/d", false}, Case{"a/**/c", "c", false}, Case{"**/b/**", "a/b/c", true},
        Case{"**/b/**", "b/c", true}, Case{"**/b/**", "a/b", false}, Case{"**/**", "a", true},
        Case{"**/*", "a/b", true}, Case{"*/**", "a", false}, Case{"*/**", "a/b", true}, Case{"*/b", "a/b", true},
        Case{"*/b", "a/x/b", false}, Case{"a/*/c", "a/b/c", true}, Case{"a/*/c", "a/c", false},
        Case{"a/**/x*/**/z?", "a/1/2/xy/3/zz", true}, Case{"a/**/x*/**/z?", "a/1/2/yx/3/zz", false},
        Case{"registry.example.com/payments/**", "registry.example.com/payments/api:1.42.0", true},
        Case{"registry.example.com/payments/**", "registry.example.com/payments-evil/api", false},
        Case{"registry.example.com/payments/**", "registryxexample.com/payments/api", false},
        Case{"application/*", "application/vnd.oci.image.manifest.v1+json", true}, Case{"application/*", "", false},
        Case{"*/*", "text/plain", true}, Case{"*/*", "", false}, Case{"a.b", "axb", false}, Case{"a+", "aa", false}));

TEST(GlobPropertyTest, AgreesWithTheNaiveMatcher) {
  std::mt19937 random(20261123);
  const auto draw = [&](std::string_view alphabet, int longest) {
    std::string text;
    for (int n = std::uniform_int_distribution<>(0, longest)(random); n > 0; --n) {
      text += alphabet[std::uniform_int_distribution<std::size_t>(0, alphabet.size() - 1)(random)];
    }
    return text;
  };
  int matched = 0;
  for (int i = 0; i < 100000; ++i) {
    std::string pattern;
    for (int n = std::uniform_int_distribution<>(1, 4)(random); n > 0; --n) {
      if (!pattern.empty()) pattern += '/';
      std::string segment = random() % 3 == 0 ? "**" : draw("ab*?", 3);
      if (segment != "**") {
        while (segment.find("**") != std::string::npos) segment.erase(segment.find("**"), 1);
      }
      pattern += segment;
    }
    const std::string name = draw("ab/", 8);
    const bool expected = testing::NaiveGlobMatches(pattern, name);
    matched += expected ? 1 : 0;
    ASSERT_EQ(Glob(pattern).Matches(name), expected) << '"' << pattern << "\" on \"" << name << '"';
  }
  EXPECT_GT(matched, 5000) << "the property must be tried on both answers";
}

TEST(GlobPropertyTest, TakesNoMoreThanPatternTimesNameSteps) {
  std::string stars;
  std::string segments;
  for (int i = 0; i < 127; ++i) stars += "a*";
  for (int i = 0; i < 42; ++i) segments += "**/a*a*/";
  std::string name(1023, 'a');
  std::string path;
  while (path.size() < 1000) path += "aaaaaaaa/";
  const auto start = std::chrono::steady_clock::now();
  EXPECT_FALSE(Glob(stars + "b").Matches(name + "c"));
  EXPECT_FALSE(Glob(segments + "b").Matches(path + "c"));
  // Half a million steps each; an exponential matcher would not end in the life of the universe.
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(1));
}

}  // namespace
}  // namespace signet::policy
