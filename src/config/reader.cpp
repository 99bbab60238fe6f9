#include "config/reader.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

namespace signet::config {
namespace {

using base::Code;
using nlohmann::json;
using std::chrono::milliseconds;

const json& Empty() {
  static const json kEmpty = json::object();
  return kEmpty;
}

bool ParseCount(std::string_view& text, std::uint64_t& out) {
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, out);
  if (parsed.ec != std::errc{}) return false;
  text.remove_prefix(static_cast<std::size_t>(parsed.ptr - text.data()));
  return true;
}

}  // namespace

base::Error ConfigError(std::string message) {
  return base::MakeError(Code::kInvalidArgument, "ConfigInvalid", std::move(message));
}

base::Result<milliseconds> ParseTimespan(std::string_view text) {
  constexpr std::array<std::pair<std::string_view, std::uint64_t>, 4> kUnits = {
      {{"ms", 1}, {"h", 3'600'000}, {"m", 60'000}, {"s", 1'000}}};
  const base::Error bad = base::MakeError(Code::kInvalidArgument, "must be a time like 500ms, 10s, 2m or 1h30m");
  std::uint64_t total = 0;
  if (text.empty()) return bad;
  while (!text.empty()) {
    std::uint64_t count = 0;
    if (!ParseCount(text, count) || count > 1'000'000'000) return bad;
    const auto unit =
        std::find_if(kUnits.begin(), kUnits.end(), [&](const auto& u) { return text.starts_with(u.first); });
    if (unit == kUnits.end()) return bad;
    text.remove_prefix(unit->first.size());
    total += count * unit->second;
  }
  return milliseconds(total);
}

base::Result<std::uint64_t> ParseSize(std::string_view text) {
  constexpr std::array<std::pair<std::string_view, std::uint64_t>, 4> kUnits = {
      {{"", 1}, {"Ki", 1ULL << 10}, {"Mi", 1ULL << 20}, {"Gi", 1ULL << 30}}};
  std::uint64_t count = 0;
  const bool number = ParseCount(text, count) && count <= (1ULL << 33);
  const auto unit = std::find_if(kUnits.begin(), kUnits.end(), [&](const auto& u) { return text == u.first; });
  if (!number || unit == kUnits.end()) {
    return base::MakeError(Code::kInvalidArgument, "must be a number of bytes like 65536, 64Ki, 64Mi or 1Gi");
  }
  return count * unit->second;
}

base::Result<std::uint32_t> ParseFileMode(std::string_view text) {
  std::uint32_t mode = 0;
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, mode, 8);
  if (text.size() < 3 || text.size() > 4 || parsed.ec != std::errc{} || parsed.ptr != end || mode > 0777) {
    return base::MakeError(Code::kInvalidArgument, "must be a file mode in octal like 0660 (in YAML with quotes)");
  }
  return mode;
}

Reader::Reader(const json& object, std::string path) : Reader(object, std::move(path), std::make_shared<Shared>()) {}

Reader::Reader(const json& object, std::string path, std::shared_ptr<Shared> shared)
    : object_(&object),
      path_(std::move(path)),
      shared_(std::move(shared)),
      taken_(std::make_shared<std::vector<std::string>>()) {
  if (object_->is_null()) object_ = &Empty();
  if (!object_->is_object()) {
    if (shared_->first)
      shared_->first = ConfigError(fmt::format("{}: must be an object", path_.empty() ? "the file" : path_));
    object_ = &Empty();
  }
  shared_->sections.push_back({object_, path_, taken_});
}

std::string Reader::Path(std::string_view key) const {
  return path_.empty() ? std::string(key) : fmt::format("{}.{}", path_, key);
}

void Reader::Refuse(std::string_view key, std::string_view what) {
  if (shared_->first) shared_->first = ConfigError(fmt::format("{}: {}", Path(key), what));
}

const json* Reader::Take(const char* key) {
  taken_->emplace_back(key);
  const auto found = object_->find(key);
  return found == object_->end() || found->is_null() ? nullptr : &*found;
}

void Reader::Text(const char* key, std::string& out) {
  const json* value = Take(key);
  if (value == nullptr) return;
  if (!value->is_string()) return Refuse(key, "must be a text (quote it)");
  out = value->get<std::string>();
}

void Reader::Flag(const char* key, bool& out) {
  const json* value = Take(key);
  if (value == nullptr) return;
  if (!value->is_boolean()) return Refuse(key, "must be true or false");
  out = value->get<bool>();
}

void Reader::Number(const char* key, std::uint32_t& out, std::uint32_t least, std::uint32_t most) {
  const json* value = Take(key);
  if (value == nullptr) return;
  if (!value->is_number_integer() || *value < least || *value > most) {
    return Refuse(key, fmt::format("must be a whole number between {} and {}", least, most));
  }
  out = value->get<std::uint32_t>();
}

void Reader::Texts(const char* key, std::vector<std::string>& out) {
  const json* value = Take(key);
  if (value == nullptr) return;
  if (!value->is_array() ||
      !std::all_of(value->begin(), value->end(), [](const json& item) { return item.is_string(); })) {
    return Refuse(key, "must be a list of texts");
  }
  out = value->get<std::vector<std::string>>();
}

void Reader::Numbers(const char* key, std::vector<std::uint32_t>& out) {
  const json* value = Take(key);
  if (value == nullptr) return;
  const auto fits = [](const json& item) { return item.is_number_integer() && item >= 0 && item <= UINT32_MAX; };
  if (!value->is_array() || !std::all_of(value->begin(), value->end(), fits)) {
    return Refuse(key, "must be a list of whole numbers");
  }
  out = value->get<std::vector<std::uint32_t>>();
}

void Reader::Timespan(const char* key, milliseconds& out, milliseconds least, milliseconds most) {
  std::string text;
  const json* value = Take(key);
  if (value == nullptr) return;
  const auto parsed = value->is_string() ? ParseTimespan(value->get<std::string>()) : ParseTimespan("");
  if (!parsed) return Refuse(key, parsed.error().message);
  if (*parsed < least || *parsed > most) {
    return Refuse(key, fmt::format("must be between {} ms and {} ms", least.count(), most.count()));
  }
  out = *parsed;
}

void Reader::Size(const char* key, std::uint64_t& out, std::uint64_t least, std::uint64_t most) {
  const json* value = Take(key);
  if (value == nullptr) return;
  const auto parsed = ParseSize(value->is_string() ? value->get<std::string>() : value->dump());
  if (!parsed) return Refuse(key, parsed.error().message);
  if (*parsed < least || *parsed > most)
    return Refuse(key, fmt::format("must be between {} and {} bytes", least, most));
  out = *parsed;
}

void Reader::FileMode(const char* key, std::uint32_t& out) {
  const json* value = Take(key);
  if (value == nullptr) return;
  const auto parsed = ParseFileMode(value->is_string() ? value->get<std::string>() : std::string());
  if (!parsed) return Refuse(key, parsed.error().message);
  out = *parsed;
}

void Reader::Choice(const char* key, std::size_t& out, const std::vector<std::string_view>& names) {
  std::string text;
  const json* value = Take(key);
  if (value == nullptr) return;
  const auto found =
      value->is_string() ? std::find(names.begin(), names.end(), value->get<std::string>()) : names.end();
  if (found == names.end()) return Refuse(key, fmt::format("must be one of {}", fmt::join(names, ", ")));
  out = static_cast<std::size_t>(found - names.begin());
}

Reader Reader::Section(const char* key) {
  const json* value = Take(key);
  return {value == nullptr ? Empty() : *value, Path(key), shared_};
}

std::vector<Reader> Reader::Sections(const char* key) {
  std::vector<Reader> sections;
  const json* value = Take(key);
  if (value == nullptr) return sections;
  if (!value->is_array()) {
    Refuse(key, "must be a list");
    return sections;
  }
  for (std::size_t i = 0; i < value->size(); ++i) {
    sections.push_back(Reader((*value)[i], fmt::format("{}[{}]", Path(key), i), shared_));
  }
  return sections;
}

base::Status Reader::Finish() {
  TRY_VOID(shared_->first);
  for (const Visited& section : shared_->sections) {
    const auto& taken = *section.taken;
    for (const auto& [key, value] : section.object->items()) {
      if (std::find(taken.begin(), taken.end(), key) != taken.end()) continue;
      const std::string where = section.path.empty() ? "the file" : section.path;
      return ConfigError(
          fmt::format("{}: unknown key \"{}\" (known: {})", where, key.substr(0, 64), fmt::join(taken, ", ")));
    }
  }
  return {};
}

}  // namespace signet::config
