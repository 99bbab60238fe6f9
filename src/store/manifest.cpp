#include "store/manifest.hpp"

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <istream>
#include <optional>
#include <streambuf>

#include "base/printable.hpp"
#include "encoding/json.hpp"

namespace signet::store {
namespace {

using base::Code;
using base::MakeError;
using nlohmann::json;

/// Ends a parse from inside yaml-cpp's callbacks; never leaves this file.
struct Refused {
  int line;
  std::string what;
};

base::Error Malformed(std::string_view name, int line, std::string_view what) {
  return MakeError(Code::kInvalidArgument, "Malformed", fmt::format("{}:{}: {}", name, line, what));
}

bool OneOf(std::string_view text, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), text) != words.end();
}

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

std::size_t SkipDigits(std::string_view text, std::size_t at) {
  while (at < text.size() && IsDigit(text[at])) ++at;
  return at;
}

/// [-+]? ( D+ [.]? D* | [.] D+ ) ( [eE] [-+]? D+ )?
bool LooksDecimal(std::string_view text, bool& integer) {
  std::size_t at = !text.empty() && (text[0] == '-' || text[0] == '+') ? 1 : 0;
  const std::size_t whole = at;
  at = SkipDigits(text, at);
  std::size_t digits = at - whole;
  integer = digits > 0;
  if (at < text.size() && text[at] == '.') {
    integer = false;
    const std::size_t fraction = ++at;
    at = SkipDigits(text, at);
    digits += at - fraction;
  }
  if (digits == 0) return false;
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    integer = false;
    ++at;
    if (at < text.size() && (text[at] == '-' || text[at] == '+')) ++at;
    const std::size_t exponent = at;
    at = SkipDigits(text, at);
    if (at == exponent) return false;
  }
  return at == text.size();
}

/// Numbers to one reader and something else to another: 010, 0x1F, 0b11, 0o17, 1_000, .inf.
bool IsDisputedNumber(std::string_view text) {
  std::string_view body = text;
  if (!body.empty() && (body[0] == '-' || body[0] == '+')) body.remove_prefix(1);
  if (OneOf(body, {".inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN"})) return true;
  const auto all = [](std::string_view part, std::string_view set) {
    return !part.empty() && part.find_first_not_of(set) == std::string_view::npos;
  };
  if (body.size() > 2 && body[0] == '0') {
    const std::string_view digits = body.substr(2);
    if ((body[1] == 'x' || body[1] == 'X') && all(digits, "0123456789abcdefABCDEF_")) return true;
    if ((body[1] == 'b' || body[1] == 'B') && all(digits, "01_")) return true;
    if ((body[1] == 'o' || body[1] == 'O') && all(digits, "01234567_")) return true;
  }
  if (body.size() > 1 && body[0] == '0' && all(body, "0123456789_")) return true;
  if (body.empty() || !IsDigit(body[0]) || body.find('_') == std::string_view::npos) return false;
  std::string without(body);
  std::erase(without, '_');
  bool integer = false;
  return LooksDecimal(without, integer);
}

base::Result<json> ResolveNumber(std::string_view text, bool integer) {
  std::string_view body = text;
  if (body[0] == '+') body.remove_prefix(1);
  const char* end = body.data() + body.size();
  if (integer) {
    std::int64_t number = 0;
    if (std::from_chars(body.data(), end, number).ec == std::errc{}) return json(number);
    std::uint64_t large = 0;
    if (body[0] != '-' && std::from_chars(body.data(), end, large).ec == std::errc{}) return json(large);
  }
  double real = 0;
  const auto parsed = std::from_chars(body.data(), end, real);
  if (parsed.ec != std::errc{} || !std::isfinite(real)) {
    return MakeError(Code::kInvalidArgument, fmt::format("the number {} does not fit: quote it", text.substr(0, 40)));
  }
  constexpr double kExact = 9007199254740992.0;  // 2^53: as in JSON written by Go, 1e3 is the integer 1000
  if (real == std::floor(real) && std::abs(real) <= kExact) return json(static_cast<std::int64_t>(real));
  return json(real);
}

bool IsUtf8(std::string_view text);

/// Builds values from yaml-cpp's events; refuses on the spot what must not reach us.
class Builder final : public YAML::EventHandler {
 public:
  explicit Builder(std::string_view text) : text_(text) {}

  std::vector<Document> Take() { return std::move(documents_); }

  void OnDocumentStart(const YAML::Mark& mark) override {
    // yaml-cpp takes whatever follows a finished root node as one more document.
    if (started_ && !AtDocumentMarker(mark)) throw Refused{mark.line + 1, "expected --- before another document"};
    started_ = true;
    root_ = json();
    line_ = mark.line + 1;
    stack_.clear();
  }
  void OnDocumentEnd() override {
    if (!root_.is_null()) documents_.push_back({std::move(root_), line_});
  }
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    RefuseAnchor(mark, anchor);
    if (AtKey()) throw Refused{Line(mark), "a key is missing"};
    Add(nullptr);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t /*anchor*/) override {
    throw Refused{Line(mark), "aliases (*name) are not accepted: write the value out"};
  }
  void OnAnchor(const YAML::Mark& mark, const std::string& /*name*/) override {
    throw Refused{Line(mark), "anchors (&name) are not accepted: write the value out"};
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    RefuseAnchor(mark, anchor);
    const bool plain = tag == "?";
    if (!plain && tag != "!") throw Refused{Line(mark), "tags (!!name) are not accepted"};
    if (value.find('\0') != std::string::npos) throw Refused{Line(mark), "a text holds the character NUL"};
    // yaml-cpp turns the escapes \N and \_ into bare octets of Latin-1.
    if (!IsUtf8(value)) throw Refused{Line(mark), "an escape that is not UTF-8 here: write \\u0085 or \\u00a0"};
    if (AtKey()) {
      SetKey(mark, value, plain);
      return;
    }
    if (!plain) {
      Add(value);
      return;
    }
    auto resolved = ResolvePlainScalar(value);
    if (!resolved) throw Refused{Line(mark), resolved.error().message};
    Add(std::move(*resolved));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value /*style*/) override {
    Open(mark, tag, anchor, json::array());
  }
  void OnSequenceEnd() override { stack_.pop_back(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value /*style*/) override {
    Open(mark, tag, anchor, json::object());
  }
  void OnMapEnd() override { stack_.pop_back(); }

 private:
  struct Frame {
    json* container;
    std::optional<std::string> key;  ///< maps: the key that waits for its value
  };

  /// Implied nodes carry no mark of their own.
  int Line(const YAML::Mark& mark) {
    if (!mark.is_null()) last_line_ = mark.line + 1;
    return last_line_;
  }
  bool AtDocumentMarker(const YAML::Mark& mark) const {
    if (mark.column != 0) return false;
    std::size_t at = 0;
    for (int line = 0; line < mark.line; ++line) {
      at = text_.find('\n', at);
      if (at == std::string_view::npos) return false;
      ++at;
    }
    return text_.substr(at).starts_with("---");
  }
  bool AtKey() const { return !stack_.empty() && stack_.back().container->is_object() && !stack_.back().key; }

  void RefuseAnchor(const YAML::Mark& mark, YAML::anchor_t anchor) {
    if (anchor != 0) throw Refused{Line(mark), "anchors (&name) are not accepted: write the value out"};
  }
  void SetKey(const YAML::Mark& mark, const std::string& key, bool plain) {
    if (plain && key == "<<") throw Refused{Line(mark), "merge keys (<<) are not accepted: write the members out"};
    if (stack_.back().container->contains(key)) {
      throw Refused{Line(mark), fmt::format("the key \"{}\" appears twice", key.substr(0, 64))};
    }
    last_line_ = mark.line + 1;
    stack_.back().key = key;
  }
  json* Add(json value) {
    if (stack_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Frame& frame = stack_.back();
    if (frame.container->is_array()) {
      frame.container->push_back(std::move(value));
      return &frame.container->back();
    }
    json& member = (*frame.container)[*frame.key];
    frame.key.reset();
    member = std::move(value);
    return &member;
  }
  void Open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, json value) {
    RefuseAnchor(mark, anchor);
    if (tag != "?" && !tag.empty()) throw Refused{Line(mark), "tags (!!name) are not accepted"};
    if (AtKey()) throw Refused{Line(mark), "a key must be a plain or quoted text"};
    if (stack_.size() >= kMaxManifestDepth) {
      throw Refused{Line(mark), fmt::format("nested deeper than {} levels", kMaxManifestDepth)};
    }
    stack_.push_back({Add(std::move(value)), std::nullopt});
  }

  std::string_view text_;
  std::vector<Document> documents_;
  json root_;
  std::vector<Frame> stack_;
  bool started_ = false;
  int line_ = 1;
  int last_line_ = 1;
};

/// Reads from memory without a copy.
class ViewBuffer final : public std::streambuf {
 public:
  explicit ViewBuffer(std::string_view text) {
    char* begin = const_cast<char*>(text.data());  // NOLINT(cppcoreguidelines-pro-type-const-cast): get area only
    setg(begin, begin, begin + text.size());
  }
};

/// Length of the UTF-8 sequence at `at`, or 0 (RFC 3629 section 4).
std::size_t Utf8Length(std::string_view text, std::size_t at) {
  const auto octet = [&](std::size_t i) {
    return at + i < text.size() ? static_cast<unsigned char>(text[at + i]) : 0U;
  };
  const auto tail = [&](std::size_t i) { return (octet(i) & 0xC0U) == 0x80U; };
  const unsigned lead = octet(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return tail(1) ? 2 : 0;
  if (lead >= 0xE0 && lead <= 0xEF) {
    if (!tail(1) || !tail(2)) return 0;
    if (lead == 0xE0 && octet(1) < 0xA0) return 0;
    if (lead == 0xED && octet(1) > 0x9F) return 0;
    return 3;
  }
  if (lead >= 0xF0 && lead <= 0xF4) {
    if (!tail(1) || !tail(2) || !tail(3)) return 0;
    if (lead == 0xF0 && octet(1) < 0x90) return 0;
    if (lead == 0xF4 && octet(1) > 0x8F) return 0;
    return 4;
  }
  return 0;
}

bool IsUtf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = Utf8Length(text, at);
    if (length == 0) return false;
    at += length;
  }
  return true;
}

base::Status CheckText(std::string_view text, std::string_view name, int line = 1) {
  for (std::size_t at = 0; at < text.size();) {
    if (text[at] == '\0') return Malformed(name, line, "holds the octet 0: not a text file");
    const std::size_t length = Utf8Length(text, at);
    if (length == 0) return Malformed(name, line, "not UTF-8");
    if (text[at] == '\n') ++line;
    at += length;
  }
  return {};
}

// ---- writing ------------------------------------------------------------------------------

std::string Quoted(std::string_view text) {
  std::string out = "\"";
  while (!text.empty()) {
    const auto next = base::FirstCharacter(text);
    const auto sequence = text.substr(0, next.size);
    text.remove_prefix(next.size);
    if (!next.valid) {
      out += "\xEF\xBF\xBD";
    } else if (next.point == '"' || next.point == '\\') {
      out += '\\';
      out += sequence;
    } else if (next.point == '\n') {
      out += "\\n";
    } else if (base::IsHarmful(next.point)) {
      out += next.point < 0x10000 ? fmt::format("\\u{:04x}", next.point) : fmt::format("\\U{:08x}", next.point);
    } else {
      out += sequence;
    }
  }
  return out + '"';
}

bool IsPlainSafe(std::string_view text) {
  constexpr std::string_view kFirst = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz/";
  constexpr std::string_view kInside = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/._-+=@:;,()*% ";
  if (text.empty() || kFirst.find(text.front()) == std::string_view::npos) return false;
  if (text.find_first_not_of(kInside) != std::string_view::npos) return false;
  if (text.back() == ' ' || text.back() == ':' || text.find(": ") != std::string_view::npos) return false;
  const auto resolved = ResolvePlainScalar(text);
  return resolved && resolved->is_string();
}

bool IsLiteralSafe(std::string_view text) {
  if (text.find('\n') == std::string_view::npos || text.front() == ' ' || text.front() == '\n') return false;
  if (text.ends_with("\n\n") || text.find(" \n") != std::string_view::npos) return false;
  return std::all_of(text.begin(), text.end(), [](char c) { return c == '\n' || (c >= 0x20 && c < 0x7F); });
}

std::string Scalar(const json& value) {
  if (!value.is_string()) return value.dump();
  const auto& text = value.get_ref<const std::string&>();
  return IsPlainSafe(text) ? text : Quoted(text);
}

void Write(std::string& out, const json& value, std::size_t indent);

/// " scalar\n", or a literal block whose lines stand at `indent`.
void WriteInline(std::string& out, const json& value, std::size_t indent) {
  if (!value.is_string() || !IsLiteralSafe(value.get_ref<const std::string&>())) {
    out += fmt::format(" {}\n", Scalar(value));
    return;
  }
  std::string_view text = value.get_ref<const std::string&>();
  out += text.back() == '\n' ? " |\n" : " |-\n";
  if (text.back() == '\n') text.remove_suffix(1);
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    if (end > at) out += std::string(indent, ' ');
    out += text.substr(at, end - at);
    out += '\n';
    at = end + 1;
  }
}

void WriteMember(std::string& out, const json& value, std::size_t indent) {
  if (value.is_structured() && !value.empty()) {
    out += '\n';
    Write(out, value, value.is_array() ? indent : indent + 2);
    return;
  }
  WriteInline(out, value, indent + 2);
}

void Write(std::string& out, const json& value, std::size_t indent) {
  if (value.is_object() && !value.empty()) {
    for (const auto& [key, member] : value.items()) {
      const std::string name = Scalar(json(key));
      // YAML looks for the colon of a plain entry within 1024 characters (YAML 1.2.2 section 7.4).
      constexpr std::size_t kLongestSimpleKey = 1000;
      out += name.size() > kLongestSimpleKey ? fmt::format("{0}? {1}\n{0}:", std::string(indent, ' '), name)
                                             : fmt::format("{}{}:", std::string(indent, ' '), name);
      WriteMember(out, member, indent);
    }
    return;
  }
  if (value.is_array() && !value.empty()) {
    for (const json& item : value) {
      if (!item.is_structured() || item.empty()) {
        out += fmt::format("{}-", std::string(indent, ' '));
        WriteInline(out, item, indent + 2);
        continue;
      }
      const std::size_t start = out.size();
      Write(out, item, indent + 2);
      out[start + indent] = '-';
    }
    return;
  }
  out += fmt::format("{}{}\n", std::string(indent, ' '), Scalar(value));
}

}  // namespace

base::Result<json> ResolvePlainScalar(std::string_view text) {
  if (OneOf(text, {"", "~", "null", "Null", "NULL"})) return json(nullptr);
  if (OneOf(text, {"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", "y", "Y"})) return json(true);
  if (OneOf(text, {"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", "n", "N"})) return json(false);
  if (IsDisputedNumber(text)) {
    return MakeError(Code::kInvalidArgument, fmt::format("{} is one number to some YAML readers and another to others: "
                                                         "write it in decimal, or quote it if it is a text",
                                                         text.substr(0, 40)));
  }
  bool integer = false;
  if (LooksDecimal(text, integer)) return ResolveNumber(text, integer);
  return json(std::string(text));
}

namespace {

/// `first_line`: where `text` begins in the file, counted from 1.
base::Result<std::vector<Document>> ParseYamlFrom(int first_line, std::string_view text, std::string_view name) {
  const int before = first_line - 1;
  TRY_VOID(CheckText(text, name, first_line));
  ViewBuffer buffer(text);
  std::istream stream(&buffer);
  Builder builder(text);
  try {
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const Refused& refused) {
    return Malformed(name, before + refused.line, refused.what);
  } catch (const YAML::Exception& error) {
    return Malformed(name, before + (error.mark.is_null() ? 1 : error.mark.line + 1), error.msg);
  } catch (const std::exception& error) {
    return Malformed(name, first_line, error.what());
  }
  auto documents = builder.Take();
  for (Document& document : documents) document.line += before;
  return documents;
}

/// Where the next document begins after the line at `at`: at a line that is --- or begins with it and a blank
/// (YAML 1.2.2 section 9.1.2); the end of `text` when there is none.
std::size_t NextMarker(std::string_view text, std::size_t at) {
  while ((at = text.find("\n---", at)) != std::string_view::npos) {
    const std::size_t after = ++at + 3;
    if (after == text.size() || std::string_view(" \t\r\n").find(text[after]) != std::string_view::npos) return at;
  }
  return text.size();
}

}  // namespace

base::Result<std::vector<Document>> ParseYaml(std::string_view text, std::string_view name, std::size_t max_bytes) {
  if (text.size() > max_bytes) {
    return Malformed(name, 1, fmt::format("larger than {} bytes", max_bytes));
  }
  return ParseYamlFrom(1, text, name);
}

Documents ParseEachDocument(std::string_view text, std::string_view name, std::size_t max_bytes) {
  constexpr std::size_t kMaxParts = 1000;  // of a broken file; what follows counts as one document
  Documents out;
  auto whole = ParseManifest(text, name, max_bytes);
  if (whole) {
    out.good = std::move(*whole);
    return out;
  }
  if (name.ends_with(".json") || text.size() > max_bytes) {
    out.broken.push_back(whole.error());
    out.broken_texts.emplace_back(text.substr(0, max_bytes));
    return out;
  }
  int line = 1;
  std::size_t parts = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = ++parts == kMaxParts ? text.size() : NextMarker(text, begin);
    const auto part = text.substr(begin, end - begin);
    if (auto documents = ParseYamlFrom(line, part, name)) {
      std::move(documents->begin(), documents->end(), std::back_inserter(out.good));
    } else {
      out.broken.push_back(documents.error());
      out.broken_texts.emplace_back(part);
    }
    line += static_cast<int>(std::count(part.begin(), part.end(), '\n'));
    begin = end;
  }
  if (out.broken.empty()) out.broken.push_back(whole.error());  // wrong as a whole alone
  return out;
}

base::Result<std::vector<Document>> ParseManifest(std::string_view text, std::string_view name, std::size_t max_bytes) {
  if (!name.ends_with(".json")) return ParseYaml(text, name, max_bytes);
  if (text.size() > max_bytes) return Malformed(name, 1, fmt::format("larger than {} bytes", max_bytes));
  TRY_VOID(CheckText(text, name));
  auto value = encoding::ParseJson(text);
  if (!value) return Malformed(name, 1, value.error().message);
  std::vector<Document> documents;
  documents.push_back({std::move(*value), 1});
  return documents;
}

std::string WriteYaml(const json& value) {
  std::string out;
  Write(out, value, 0);
  return out;
}

}  // namespace signet::store
