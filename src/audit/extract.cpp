#include "audit/extract.hpp"

#include <filesystem>
#include <string>

#include "audit/chain.hpp"
#include "audit/line.hpp"
#include "audit/record.hpp"

namespace signet::audit {
namespace {

bool HasNote(const std::string& file) {
  std::error_code ignored;
  return std::filesystem::exists(file + ".head", ignored);
}

/// FILE, or FILE.000001, where a process writes the record.
bool IsNamedAsWritten(const std::filesystem::path& file) {
  if (HasNote(file.string())) return true;
  const auto number = file.extension().string();
  const bool is_number = number.size() > 1 && number.find_first_not_of("0123456789", 1) == std::string::npos;
  auto base = file;
  return is_number && HasNote(base.replace_extension().string());
}

}  // namespace

bool IsExtract(const InputFile& file) {
  if (IsNamedAsWritten(file.path)) return false;
  LineReader reader(file.fd->get());
  Line line;
  std::uint64_t last = 0;
  std::string_view text;
  for (auto next = reader.Read(text); next == LineReader::Next::kLine; next = reader.Read(text)) {
    if (text.ends_with('\r')) return true;
    if (last == 0 && !text.starts_with("{\"stream\":\"")) return true;  // spaces, another order of members
    if (!line.Parse(text)) {
      if (last == 0) return true;
      continue;  // torn, or damage: its chain tells
    }
    const auto seq = line.Number("seq").value_or(0);
    const auto type = line.Plain("type");
    if (last == 0 && type != kTypeStream && type != kTypeSegment) return true;
    if (last != 0 && seq != last + 1) return true;
    last = seq;
  }
  return false;
}

}  // namespace signet::audit
