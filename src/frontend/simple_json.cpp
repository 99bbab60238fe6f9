#include "frontend/simple_json.hpp"

namespace signet::frontend {
namespace {

class Scanner {
 public:
  explicit Scanner(std::string_view text) : at_(text.data()), end_(text.data() + text.size()) {}

  void Space() {
    while (at_ != end_ && (*at_ == ' ' || *at_ == '\n' || *at_ == '\t' || *at_ == '\r')) ++at_;
  }
  bool Take(char c) {
    Space();
    if (at_ == end_ || *at_ != c) return false;
    ++at_;
    return true;
  }
  bool AtEnd() {
    Space();
    return at_ == end_;
  }
  /// A string of printable ASCII without escapes.
  bool String(std::string_view& out) {
    if (!Take('"')) return false;
    const char* begin = at_;
    while (at_ != end_ && *at_ != '"') {
      if (*at_ < 0x20 || *at_ > 0x7E || *at_ == '\\') return false;
      ++at_;
    }
    if (at_ == end_) return false;
    out = {begin, static_cast<std::size_t>(at_ - begin)};
    ++at_;
    return true;
  }
  /// `member(name)` reads one value; a false of it ends everything.
  template <class Member>
  bool Object(Member member) {
    if (!Take('{')) return false;
    if (Take('}')) return true;
    do {
      std::string_view name;
      if (!String(name) || !Take(':') || !member(name)) return false;
    } while (Take(','));
    return Take('}');
  }
  bool Once(std::optional<std::string_view>& out) {
    std::string_view text;
    if (out || !String(text)) return false;
    out = text;
    return true;
  }

 private:
  const char* at_;
  const char* end_;
};

bool ScanArtifact(Scanner& scanner, RawItem& out) {
  if (out.artifact) return false;
  out.artifact = true;
  return scanner.Object([&](std::string_view name) {
    if (name == "name") return scanner.Once(out.artifact_name);
    if (name == "mediaType") return scanner.Once(out.artifact_media_type);
    return false;
  });
}

bool ScanItem(Scanner& scanner, bool with_policy, RawItem& out) {
  return scanner.Object([&](std::string_view name) {
    if (name == "digest") return scanner.Once(out.digest);
    if (name == "message") return scanner.Once(out.message);
    if (name == "policy") return with_policy && scanner.Once(out.policy);
    if (name == "algorithm") return scanner.Once(out.algorithm);
    if (name == "encoding") return scanner.Once(out.encoding);
    if (name == "artifact") return ScanArtifact(scanner, out);
    return false;
  });
}

}  // namespace

std::optional<RawItem> ScanSignBody(std::string_view text) {
  Scanner scanner(text);
  std::optional<RawItem> item(std::in_place);
  if (!ScanItem(scanner, true, *item) || !scanner.AtEnd()) return {};
  return item;
}

std::optional<RawBatch> ScanBatchBody(std::string_view text, std::size_t most_items) {
  Scanner scanner(text);
  std::optional<RawBatch> batch(std::in_place);
  bool items = false;
  const bool whole = scanner.Object([&](std::string_view name) {
    if (name == "policy") return scanner.Once(batch->policy);
    if (name != "items" || items || !scanner.Take('[')) return false;
    items = true;
    do {
      if (batch->items.size() == most_items) return false;
      if (!ScanItem(scanner, false, batch->items.emplace_back())) return false;
    } while (scanner.Take(','));
    return scanner.Take(']');
  });
  if (!whole || !items || !scanner.AtEnd()) return {};
  return batch;
}

}  // namespace signet::frontend
