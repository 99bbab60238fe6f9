#include "store/status_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "base/unique_fd.hpp"
#include "crypto/digest.hpp"
#include "encoding/json.hpp"
#include "encoding/text.hpp"
#include "store/folder.hpp"
#include "store/manifest.hpp"

namespace signet::store {
namespace {

using encoding::TextAt;
using nlohmann::json;

constexpr std::string_view kSuffix = ".status.yaml";
constexpr std::string_view kRetiredMark = ".deleted-";
constexpr const char* kHashAnnotation = "signet.dev/spec-hash";
constexpr std::size_t kMaxStatusFileBytes = 64U << 20;

bool ParseRecord(const json& document, StatusRecord& record) {
  if (!document.is_object() || !document.contains("metadata") || !document.at("metadata").is_object()) return false;
  const json& metadata = document.at("metadata");
  record.key = {TextAt(document, "apiVersion"), TextAt(document, "kind"), TextAt(metadata, "namespace"),
                TextAt(metadata, "name")};
  record.uid = TextAt(metadata, "uid");
  record.created = TextAt(metadata, "creationTimestamp");
  record.generation = metadata.contains("generation") && metadata.at("generation").is_number_integer()
                          ? metadata.at("generation").get<std::int64_t>()
                          : 0;
  if (metadata.contains("annotations") && metadata.at("annotations").is_object()) {
    record.spec_hash = TextAt(metadata.at("annotations"), kHashAnnotation);
  }
  const std::string version = TextAt(metadata, "resourceVersion");
  const char* end = version.data() + version.size();
  const auto parsed = std::from_chars(version.data(), end, record.resource_version);
  if (parsed.ec != std::errc{} || parsed.ptr != end) return false;
  if (document.contains("status")) record.status = document.at("status");
  const bool status_fits = record.status.is_null() || record.status.is_object();
  return status_fits && !record.key.kind.empty() && !record.key.name.empty() && !record.uid.empty() &&
         !record.spec_hash.empty() && record.generation > 0;
}

json ToDocument(const StatusRecord& record) {
  json metadata = {{"name", record.key.name},
                   {"uid", record.uid},
                   {"generation", record.generation},
                   {"resourceVersion", std::to_string(record.resource_version)},
                   {"creationTimestamp", record.created},
                   {"annotations", {{kHashAnnotation, record.spec_hash}}}};
  if (!record.key.ns.empty()) metadata["namespace"] = record.key.ns;
  json document = {
      {"apiVersion", record.key.api_version}, {"kind", record.key.kind}, {"metadata", std::move(metadata)}};
  if (!record.status.is_null()) document["status"] = record.status;
  return document;
}

}  // namespace

std::string StatusFileName(std::string_view manifest) {
  return fmt::format("{}{}", manifest.substr(0, manifest.rfind('.')), kSuffix);
}

bool IsStatusFileName(std::string_view name) {
  return name.ends_with(kSuffix) && name.front() != '.' && name.find(kRetiredMark) == std::string_view::npos;
}

std::string RetiredFileName(std::string_view status_file, std::string_view time, std::string_view uid) {
  std::string compact(time);
  std::erase(compact, '-');
  std::erase(compact, ':');
  return fmt::format("{}{}{}-{}{}", status_file.substr(0, status_file.size() - kSuffix.size()), kRetiredMark, compact,
                     uid.substr(0, 8), kSuffix);
}

base::Result<std::vector<std::string>> ListStatusFiles(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (std::filesystem::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    std::string name = it->path().filename().string();
    if (name.starts_with(kTemporaryPrefix)) ::unlink(it->path().c_str());
    if (IsStatusFileName(name)) names.push_back(std::move(name));
  }
  if (error) return base::ErrnoError(base::Code::kUnavailable, "cannot list " + folder.string(), error.value());
  std::sort(names.begin(), names.end());
  return names;
}

base::Result<std::vector<StatusRecord>> ReadStatusFile(const std::filesystem::path& folder, const std::string& name) {
  base::UniqueFd fd(::open((folder / name).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  struct stat info {};
  if (!fd.valid() || ::fstat(fd.get(), &info) != 0) {
    return base::ErrnoError(base::Code::kUnavailable, fmt::format("{}: cannot be read", name), errno);
  }
  if (!S_ISREG(info.st_mode) || static_cast<std::uint64_t>(info.st_size) > kMaxStatusFileBytes) {
    return base::MakeError(base::Code::kInvalidArgument, "StatusCorrupt",
                           fmt::format("{}: not a status file of ours", name));
  }
  std::string text(static_cast<std::size_t>(info.st_size), '\0');
  std::size_t have = 0;
  while (have < text.size()) {
    const ssize_t got = ::read(fd.get(), text.data() + have, text.size() - have);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return base::ErrnoError(base::Code::kUnavailable, fmt::format("{}: cannot be read", name), errno);
    if (got == 0) break;
    have += static_cast<std::size_t>(got);
  }
  text.resize(have);
  return ParseStatusFile(text, name);
}

base::Result<std::vector<StatusRecord>> ParseStatusFile(std::string_view text, std::string_view name) {
  const auto corrupt = [&](std::string_view what) {
    return base::MakeError(base::Code::kInvalidArgument, "StatusCorrupt",
                           fmt::format("{}: {}; repair it, or remove it to treat its objects as new", name, what));
  };
  auto documents = ParseYaml(text, name, kMaxStatusFileBytes);
  if (!documents) return corrupt(documents.error().message);
  std::vector<StatusRecord> records;
  for (const Document& document : *documents) {
    StatusRecord record;
    if (!ParseRecord(document.value, record))
      return corrupt(fmt::format("line {} is no status of ours", document.line));
    records.push_back(std::move(record));
  }
  return records;
}

std::string FormatStatusFile(const std::vector<StatusRecord>& records) {
  std::string text = "# Written by Signet beside its manifest; edits are lost.\n";
  bool first = true;
  for (const StatusRecord& record : records) {
    if (!first) text += "---\n";
    first = false;
    text += WriteYaml(ToDocument(record));
  }
  return text;
}

std::string SpecHash(const json& object) {
  const auto spec = object.find("spec");
  const std::string canonical = spec == object.end() ? std::string("null") : spec->dump();
  return crypto::Sha256Hex(base::AsBytes(canonical));
}

std::string NewUid() {
  base::Bytes octets = crypto::RandomBytes(16);
  octets[6] = static_cast<std::uint8_t>((octets[6] & 0x0FU) | 0x40U);
  octets[8] = static_cast<std::uint8_t>((octets[8] & 0x3FU) | 0x80U);
  const std::string hex = encoding::ToHex(octets);
  return fmt::format("{}-{}-{}-{}-{}", hex.substr(0, 8), hex.substr(8, 4), hex.substr(12, 4), hex.substr(16, 4),
                     hex.substr(20));
}

}  // namespace signet::store
