#include "audit/line.hpp"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "encoding/json.hpp"

namespace signet::audit {
namespace {

using base::Code;
using base::MakeError;

constexpr std::size_t kMaxMembers = 64;

/// A recursive descent over one text; every step returns false at the first octet that does not fit.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  bool Object(std::vector<Line::Member>& members) {
    Space();
    if (!Eat('{')) return false;
    Space();
    if (Eat('}')) return AtEnd();
    do {
      Space();
      Line::Member member;
      if (!Key(member.key)) return false;
      Space();
      if (!Eat(':')) return false;
      Space();
      const std::size_t start = at_;
      if (!Value(member.kind, 1)) return false;
      member.raw = text_.substr(start, at_ - start);
      if (members.size() == kMaxMembers) return false;
      for (const auto& known : members) {
        if (known.key == member.key) return false;
      }
      members.push_back(member);
      Space();
    } while (Eat(','));
    return Eat('}') && AtEnd();
  }

  [[nodiscard]] std::size_t position() const { return at_; }
  [[nodiscard]] bool beyond_ascii() const { return beyond_ascii_; }

 private:
  bool AtEnd() {
    Space();
    return at_ == text_.size();
  }
  [[nodiscard]] char Peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool Eat(char expected) {
    if (Peek() != expected || at_ >= text_.size()) return false;
    ++at_;
    return true;
  }
  void Space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\r')) ++at_;
  }

  bool Key(std::string_view& key) {
    const std::size_t start = at_ + 1;
    if (!String()) return false;
    key = text_.substr(start, at_ - start - 1);
    return key.find('\\') == std::string_view::npos;
  }

  bool String() {
    if (!Eat('"')) return false;
    while (at_ < text_.size()) {
      const auto c = static_cast<std::uint8_t>(text_[at_++]);
      if (c == '"') return true;
      if (c < 0x20) return false;
      if (c >= 0x80) beyond_ascii_ = true;
      if (c == '\\' && !Escape()) return false;
    }
    return false;
  }

  bool Escape() {
    const char c = Peek();
    ++at_;
    if (c == 'u') {
      beyond_ascii_ = true;  // surrogates: left to the full parser
      for (int i = 0; i < 4; ++i, ++at_) {
        if (std::string_view("0123456789abcdefABCDEF").find(Peek()) == std::string_view::npos) return false;
      }
      return true;
    }
    return std::string_view("\"\\/bfnrt").find(c) != std::string_view::npos;
  }

  bool Digits() {
    const std::size_t start = at_;
    while (Peek() >= '0' && Peek() <= '9') ++at_;
    return at_ > start;
  }

  bool Number() {
    Eat('-');
    if (Eat('0')) {
      if (Peek() >= '0' && Peek() <= '9') return false;
    } else if (!Digits()) {
      return false;
    }
    if (Eat('.') && !Digits()) return false;
    if (Eat('e') || Eat('E')) {
      if (!Eat('+')) Eat('-');
      return Digits();
    }
    return true;
  }

  bool Word(std::string_view word) {
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }

  bool Value(Line::Kind& kind, std::size_t depth) {
    switch (Peek()) {
      case '"':
        kind = Line::Kind::kString;
        return String();
      case '{':
        kind = Line::Kind::kObject;
        return Nested(depth, '{', '}');
      case '[':
        kind = Line::Kind::kArray;
        return Nested(depth, '[', ']');
      case 't':
        kind = Line::Kind::kTrue;
        return Word("true");
      case 'f':
        kind = Line::Kind::kFalse;
        return Word("false");
      case 'n':
        kind = Line::Kind::kNull;
        return Word("null");
      default:
        kind = Line::Kind::kNumber;
        return Number();
    }
  }

  bool Nested(std::size_t depth, char open, char close) {
    if (depth >= encoding::kMaxJsonDepth || !Eat(open)) return false;
    Space();
    if (Eat(close)) return true;
    do {
      Space();
      std::string_view key;
      if (open == '{') {
        if (!Key(key)) return false;
        Space();
        if (!Eat(':')) return false;
        Space();
      }
      Line::Kind kind{};
      if (!Value(kind, depth + 1)) return false;
      Space();
    } while (Eat(','));
    return Eat(close);
  }

  std::string_view text_;
  std::size_t at_ = 0;
  bool beyond_ascii_ = false;
};

}  // namespace

base::Status Line::Parse(std::string_view text) {
  members_.clear();
  Scanner scanner(text);
  if (!scanner.Object(members_)) {
    return MakeError(Code::kInvalidArgument,
                     "not a JSON object (column " + std::to_string(scanner.position() + 1) + ")");
  }
  if (scanner.beyond_ascii()) TRY_VOID(encoding::ParseJson(text));
  return {};
}

const Line::Member* Line::Find(std::string_view key) const {
  const auto it = std::find_if(members_.begin(), members_.end(), [&](const Member& m) { return m.key == key; });
  return it == members_.end() ? nullptr : &*it;
}

std::optional<std::string_view> Line::Plain(std::string_view key) const {
  const Member* member = Find(key);
  if (member == nullptr || member->kind != Kind::kString) return std::nullopt;
  const auto text = member->raw.substr(1, member->raw.size() - 2);
  if (text.find('\\') != std::string_view::npos) return std::nullopt;
  return text;
}

std::string Line::Text(std::string_view key) const {
  if (const auto plain = Plain(key)) return std::string(*plain);
  const Member* member = Find(key);
  if (member == nullptr || member->kind != Kind::kString) return {};
  const auto parsed = encoding::ParseJson(member->raw);
  return parsed ? parsed->get<std::string>() : std::string();
}

std::optional<std::uint64_t> Line::Number(std::string_view key) const {
  const Member* member = Find(key);
  if (member == nullptr || member->kind != Kind::kNumber) return std::nullopt;
  std::uint64_t value = 0;
  const auto* end = member->raw.data() + member->raw.size();
  const auto parsed = std::from_chars(member->raw.data(), end, value);
  if (parsed.ec != std::errc{} || parsed.ptr != end) return std::nullopt;
  return value;
}

}  // namespace signet::audit
