// tests/support/naive_glob.hpp - the glob rules written down as plainly as possible, and as slowly.
#pragma once

#include <string_view>
#include <vector>

namespace signet::testing {

using GlobSegments = std::vector<std::string_view>;

inline GlobSegments SplitSegments(std::string_view text) {
  GlobSegments out;
  while (true) {
    const auto slash = text.find('/');
    out.push_back(text.substr(0, slash));
    if (slash == std::string_view::npos) return out;
    text.remove_prefix(slash + 1);
  }
}

inline bool NaiveSegmentMatches(std::string_view pattern, std::string_view text) {
  if (pattern.empty()) return text.empty();
  if (pattern[0] == '*') {
    return NaiveSegmentMatches(pattern.substr(1), text) ||
           (!text.empty() && NaiveSegmentMatches(pattern, text.substr(1)));
  }
  return !text.empty() && (pattern[0] == '?' || pattern[0] == text[0]) &&
         NaiveSegmentMatches(pattern.substr(1), text.substr(1));
}

inline bool NaivePathMatches(const GlobSegments& pattern, std::size_t p, const GlobSegments& name, std::size_t n) {
  if (p == pattern.size()) return n == name.size();
  if (pattern[p] == "**") {
    const bool last = p + 1 == pattern.size();
    for (std::size_t taken = last ? 1 : 0; n + taken <= name.size(); ++taken) {
      if (NaivePathMatches(pattern, p + 1, name, n + taken)) return true;
    }
    return false;
  }
  return n < name.size() && NaiveSegmentMatches(pattern[p], name[n]) && NaivePathMatches(pattern, p + 1, name, n + 1);
}

inline bool NaiveGlobMatches(std::string_view pattern, std::string_view name) {
  return NaivePathMatches(SplitSegments(pattern), 0, SplitSegments(name), 0);
}

}  // namespace signet::testing
