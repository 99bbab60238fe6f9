#include "api/scalars.hpp"

#include <algorithm>
#include <array>

#include "api/json.hpp"
#include "api/limits.hpp"

namespace signet::api {
namespace {

using base::Code;
using base::MakeError;

bool IsLower(char c) { return c >= 'a' && c <= 'z'; }
bool IsUpper(char c) { return c >= 'A' && c <= 'Z'; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsAlphanumeric(char c) { return IsLower(c) || IsUpper(c) || IsDigit(c); }
bool IsPrintableAscii(char c) { return c >= 0x20 && c < 0x7F; }
bool IsRestrictedNameChar(char c) {
  return IsAlphanumeric(c) || std::string_view("!#$&^_.+-").find(c) != std::string_view::npos;
}

template <class Test>
bool All(std::string_view text, Test test) {
  return std::all_of(text.begin(), text.end(), test);
}

/// Calls `test(segment)` for the parts between '/'; false when one fails.
template <class Test>
bool AllSegments(std::string_view text, Test test) {
  while (true) {
    const auto slash = text.find('/');
    if (!test(text.substr(0, slash))) return false;
    if (slash == std::string_view::npos) return true;
    text.remove_prefix(slash + 1);
  }
}

bool IsDots(std::string_view segment) { return segment == "." || segment == ".."; }
bool HasLooseDoubleStar(std::string_view segment) {
  return segment != "**" && segment.find("**") != std::string_view::npos;
}

std::optional<std::string> GlobProblem(std::string_view glob) {
  if (glob.empty()) return "must not be empty";
  if (glob.find_first_of("[]{}\\") != std::string_view::npos) {
    return "brackets, braces and backslashes are refused: globs know *, ? and ** only";
  }
  if (!AllSegments(glob, [](std::string_view segment) { return !HasLooseDoubleStar(segment); })) {
    return "** must stand for a whole segment between slashes";
  }
  return std::nullopt;
}

bool IsLabelName(std::string_view text) {
  return !text.empty() && text.size() <= limits::kLabelValue && IsAlphanumeric(text.front()) &&
         IsAlphanumeric(text.back()) &&
         All(text, [](char c) { return IsAlphanumeric(c) || c == '-' || c == '_' || c == '.'; });
}

/// Number at the front of `text`, at most `digits` long; takes it off.
std::optional<std::int64_t> TakeNumber(std::string_view& text, std::size_t digits) {
  std::size_t size = 0;
  std::int64_t number = 0;
  while (size < text.size() && IsDigit(text[size])) {
    if (size == digits) return std::nullopt;
    number = number * 10 + (text[size++] - '0');
  }
  if (size == 0) return std::nullopt;
  text.remove_prefix(size);
  return number;
}

}  // namespace

bool IsDnsLabel(std::string_view text) {
  const auto inner = [](char c) { return IsLower(c) || IsDigit(c); };
  return !text.empty() && text.size() <= limits::kNamespace && inner(text.front()) && inner(text.back()) &&
         All(text, [&](char c) { return inner(c) || c == '-'; });
}

bool IsLowerHex(std::string_view text) {
  return All(text, [](char c) { return IsDigit(c) || (c >= 'a' && c <= 'f'); });
}

bool IsDnsSubdomain(std::string_view text) {
  if (text.empty() || text.size() > limits::kObjectName) return false;
  while (true) {
    const auto dot = text.find('.');
    const auto label = text.substr(0, dot);
    const auto inner = [](char c) { return IsLower(c) || IsDigit(c); };
    if (label.empty() || !inner(label.front()) || !inner(label.back())) return false;
    if (!All(label, [&](char c) { return inner(c) || c == '-'; })) return false;
    if (dot == std::string_view::npos) return true;
    text.remove_prefix(dot + 1);
  }
}

bool IsLabelKey(std::string_view text) {
  const auto slash = text.find('/');
  if (slash == std::string_view::npos) return IsLabelName(text);
  return IsDnsSubdomain(text.substr(0, slash)) && IsLabelName(text.substr(slash + 1));
}

bool IsLabelValue(std::string_view text) { return text.empty() || IsLabelName(text); }

bool IsMediaType(std::string_view text) {
  const auto slash = text.find('/');
  if (slash == std::string_view::npos) return false;
  const auto is_name = [](std::string_view name) {
    return !name.empty() && name.size() <= 127 && IsAlphanumeric(name.front()) && All(name, IsRestrictedNameChar);
  };
  return is_name(text.substr(0, slash)) && is_name(text.substr(slash + 1));
}

bool IsTimeZoneName(std::string_view text) {
  if (text.empty() || text.size() > limits::kTimeZone || std::count(text.begin(), text.end(), '/') > 2) return false;
  return AllSegments(text, [](std::string_view segment) {
    return !segment.empty() &&
           All(segment, [](char c) { return IsAlphanumeric(c) || c == '_' || c == '+' || c == '-'; });
  });
}

std::optional<std::string> ArtifactGlobProblem(std::string_view glob) {
  if (auto problem = GlobProblem(glob)) return problem;
  if (!All(glob, IsPrintableAscii)) return "must be printable ASCII";
  if (glob.find('%') != std::string_view::npos) return "% is refused: no artifact name has one";
  if (!AllSegments(glob, [](std::string_view segment) { return !segment.empty() && !IsDots(segment); })) {
    return "must not begin or end with a slash, nor have an empty, . or .. segment: no artifact name has one";
  }
  return std::nullopt;
}

std::optional<std::string> MediaTypeGlobProblem(std::string_view glob) {
  if (auto problem = GlobProblem(glob)) return problem;
  const bool good = std::count(glob.begin(), glob.end(), '/') == 1 && AllSegments(glob, [](std::string_view part) {
                      return !part.empty() && part != "**" &&
                             All(part, [](char c) { return IsRestrictedNameChar(c) || c == '*' || c == '?'; });
                    });
  if (!good) return "must be type/subtype, with * and ? if you like";
  return std::nullopt;
}

std::optional<std::string> AccountGlobProblem(std::string_view glob) {
  if (auto problem = GlobProblem(glob)) return problem;
  if (!All(glob, [](char c) { return IsLower(c) || IsDigit(c) || c == '-' || c == '.' || c == '*' || c == '?'; })) {
    return "a service account's name has lower-case letters, digits, '-' and '.' (and * and ? as wildcards)";
  }
  if (glob == "**") return "** must stand for a whole segment between slashes, which account names do not have: use *";
  return std::nullopt;
}

std::optional<std::string> UserGlobProblem(std::string_view glob) {
  if (auto problem = GlobProblem(glob)) return problem;
  if (std::any_of(glob.begin(), glob.end(), [](char c) { return (c >= 0 && c < 0x20) || c == 0x7F; })) {
    return "must not have control characters";
  }
  return std::nullopt;
}

std::optional<int> ParseTimeOfDay(std::string_view text, bool is_end) {
  if (text.size() != 5 || text[2] != ':' || !IsDigit(text[0]) || !IsDigit(text[1]) || !IsDigit(text[3]) ||
      !IsDigit(text[4])) {
    return std::nullopt;
  }
  const int hours = (text[0] - '0') * 10 + (text[1] - '0');
  const int minutes = (text[3] - '0') * 10 + (text[4] - '0');
  if (hours == 24 && minutes == 0 && is_end) return 24 * 60;
  if (hours > 23 || minutes > 59) return std::nullopt;
  return hours * 60 + minutes;
}

std::optional<int> ParseDay(std::string_view text) {
  static constexpr std::array<std::string_view, 7> kDayNames = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  const auto* const found = std::find(kDayNames.begin(), kDayNames.end(), text);
  if (found == kDayNames.end()) return std::nullopt;
  return static_cast<int>(found - kDayNames.begin());
}

base::Status ValidateArtifactName(std::string_view name) {
  const auto bad = [](const char* what) { return MakeError(Code::kInvalidArgument, "Invalid", what); };
  if (name.empty() || name.size() > limits::kArtifactName) return bad("an artifact name has 1 to 1024 bytes");
  if (!All(name, IsPrintableAscii)) return bad("an artifact name is printable ASCII");
  if (name.find_first_of("%\\") != std::string_view::npos) return bad("an artifact name has no % and no backslash");
  if (!AllSegments(name, [](std::string_view segment) { return !segment.empty(); })) {
    return bad("an artifact name has no slash at its ends and no empty segment");
  }
  if (!AllSegments(name, [](std::string_view segment) { return !IsDots(segment); })) {
    return bad("an artifact name has no . or .. segment");
  }
  return {};
}

base::Result<std::chrono::seconds> ParseDuration(std::string_view text) {
  const auto bad = [](const char* what) { return MakeError(Code::kInvalidArgument, "Invalid", what); };
  if (text.empty() || text.size() > limits::kDuration) return bad("must be a duration like 24h, 1h30m or 90s");
  std::int64_t seconds = 0;
  static constexpr std::array<std::pair<char, std::int64_t>, 3> kUnits = {{{'h', 3600}, {'m', 60}, {'s', 1}}};
  std::size_t unit = 0;
  while (!text.empty()) {
    const auto number = TakeNumber(text, 8);  // 8 digits of hours stay far below the range of int64
    if (!number || text.empty())
      return bad("must be a duration like 24h, 1h30m or 90s, in whole numbers of h, m and s");
    while (unit < kUnits.size() && kUnits.at(unit).first != text.front()) ++unit;
    if (unit == kUnits.size()) return bad("must be a duration like 24h, 1h30m or 90s: h, m and s in this order");
    seconds += *number * kUnits.at(unit++).second;
    text.remove_prefix(1);
  }
  const std::chrono::seconds duration(seconds);
  if (seconds == 0 || duration > limits::kLongestDuration) return bad("must be more than 0s and at most 8760h");
  return duration;
}

}  // namespace signet::api
