#include "policy/glob.hpp"

#include <utility>

namespace signet::policy {
namespace {

constexpr auto kNone = std::string_view::npos;

/// One segment. On a mismatch only the last star has to give way, so this never branches out.
bool SegmentMatches(std::string_view pattern, std::string_view text) {
  std::size_t p = 0;
  std::size_t t = 0;
  std::size_t star = kNone;
  std::size_t star_text = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      star_text = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p;
      ++t;
    } else if (star != kNone) {
      p = star + 1;
      t = ++star_text;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

/// Walks the segments of a name; done once it has passed the last one.
class Cursor {
 public:
  explicit Cursor(std::string_view text) : text_(text) {}
  [[nodiscard]] bool done() const { return begin_ > text_.size(); }
  [[nodiscard]] std::string_view segment() const {
    const auto slash = text_.find('/', begin_);
    return text_.substr(begin_, slash == kNone ? kNone : slash - begin_);
  }
  void Advance() {
    const auto slash = text_.find('/', begin_);
    begin_ = slash == kNone ? text_.size() + 1 : slash + 1;
  }

 private:
  std::string_view text_;
  std::size_t begin_ = 0;
};

}  // namespace

Glob::Glob(std::string pattern) : pattern_(std::move(pattern)) {
  if (pattern_.find_first_of("*?") == std::string::npos) return;
  for (Cursor cursor(pattern_); !cursor.done(); cursor.Advance()) {
    const auto text = cursor.segment();
    const auto begin = static_cast<std::uint32_t>(text.data() - pattern_.data());
    segments_.push_back({begin, static_cast<std::uint32_t>(text.size()), text == "**"});
  }
  // "a/**" is "a/*/**": the last ** takes at least one segment.
  if (segments_.size() > 1 && segments_.back().deep) {
    Segment one = segments_.back();
    one.size = 1;
    one.deep = false;
    segments_.insert(segments_.end() - 1, one);
  }
}

bool Glob::Matches(std::string_view name) const {
  if (segments_.empty()) return name == pattern_;
  std::size_t p = 0;
  Cursor at(name);
  std::size_t retry = kNone;  // the segment after the last **
  Cursor retry_at(name);
  while (true) {
    if (p < segments_.size() && segments_[p].deep) {
      retry = ++p;
      retry_at = at;
      if (p == segments_.size()) return true;
      continue;
    }
    if (at.done()) return p == segments_.size();
    if (p < segments_.size()) {
      const auto pattern = std::string_view(pattern_).substr(segments_[p].begin, segments_[p].size);
      if (SegmentMatches(pattern, at.segment())) {
        ++p;
        at.Advance();
        continue;
      }
    }
    // As with stars: only the last ** has to take one more segment.
    if (retry == kNone) return false;
    retry_at.Advance();
    at = retry_at;
    p = retry;
  }
}

}  // namespace signet::policy
