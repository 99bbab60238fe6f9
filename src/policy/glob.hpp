// policy/glob.hpp - names against patterns, on bytes, case-sensitive, the whole name.
//
//   *    any bytes within one segment, none included      ?    one byte within a segment
//   **   as a whole segment: any number of segments, none included; at the end at least one, so
//        that payments/** does not match payments itself
//
// Segments lie between slashes. Nothing else is special; api refuses brackets and backslashes.
// Matching takes at most |pattern| * |name| steps and never allocates.
//
// Thread-safety: immutable.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace signet::policy {

class Glob {
 public:
  explicit Glob(std::string pattern);
  [[nodiscard]] bool Matches(std::string_view name) const;
  [[nodiscard]] const std::string& pattern() const { return pattern_; }

 private:
  struct Segment {
    std::uint32_t begin = 0;
    std::uint32_t size = 0;
    bool deep = false;  ///< **
  };
  std::string pattern_;
  std::vector<Segment> segments_;  ///< empty: no wildcard, compare
};

}  // namespace signet::policy
