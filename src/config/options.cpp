#include "config/options.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "audit/line_copier.hpp"
#include "config/reader.hpp"
#include "store/manifest.hpp"

namespace signet::config {
namespace {

using base::Code;
using base::MakeError;
using std::chrono::milliseconds;

base::Result<encoding::Pkcs11Uri> ParseTokenUri(const std::string& text) {
  auto uri = encoding::ParsePkcs11Uri(text);
  if (!uri) return ConfigError(fmt::format("token URI \"{}\": {}", text, uri.error().message));
  if (uri->object || uri->id || uri->type) {
    return ConfigError(
        fmt::format("token URI \"{}\": names a key; only token, serial, manufacturer and model name a token", text));
  }
  return uri;
}

/// The path that workers load: absolute, so that dlopen takes the file that was meant. A name without a slash that is
/// no file here is left to dlopen, which knows the system's folders of libraries.
base::Result<std::string> FindModule(const std::string& module) {
  if (module.empty()) return ConfigError("no PKCS#11 module: give --pkcs11-module SO or hsm.module");
  struct stat info {};
  if (::stat(module.c_str(), &info) != 0) {
    const int err = errno;
    if (err == ENOENT && module.find('/') == std::string::npos) return module;
    return ConfigError(base::ErrnoError(Code::kNotFound, fmt::format("PKCS#11 module {}", module), err).message);
  }
  if (!S_ISREG(info.st_mode)) return ConfigError(fmt::format("PKCS#11 module {}: not a file", module));
  std::error_code failed;
  auto path = std::filesystem::absolute(module, failed);
  if (failed) return ConfigError(fmt::format("PKCS#11 module {}: {}", module, failed.message()));
  return path.lexically_normal().string();
}

base::Status CheckPort(std::string_view what, std::string_view address, std::string_view port) {
  std::uint16_t number = 0;
  const char* end = port.data() + port.size();
  const auto parsed = std::from_chars(port.data(), end, number);
  if (parsed.ec == std::errc{} && parsed.ptr == end) return {};
  return ConfigError(fmt::format("{} \"{}\": must be HOST:PORT with a port between 0 and 65535", what, address));
}

}  // namespace

void ReadHsm(Reader section, HsmOptions& out) {
  section.Text("module", out.module);
  section.Text("pinFile", out.pin_file);
  section.Text("tokenLabel", out.token_label);
  section.Number("workers", out.workers, 1, 16);
  section.Text("stateDir", out.state_dir);
  section.Timespan("signTimeout", out.sign_timeout, milliseconds(50), milliseconds(600'000));
  section.Timespan("generateTimeout", out.generate_timeout, milliseconds(1'000), milliseconds(3'600'000));
  for (Reader& item : section.Sections("tokens")) {
    TokenOption token;
    item.Text("uri", token.uri);
    item.Text("pinFile", token.pin_file);
    if (token.uri.empty()) item.Refuse("uri", "is missing");
    if (token.pin_file.empty()) item.Refuse("pinFile", "is missing");
    out.tokens.push_back(std::move(token));
  }
}

void ReadAudit(Reader section, AuditOptions& out) {
  section.Text("file", out.file);
  std::size_t durability = static_cast<std::size_t>(out.durability);
  section.Choice("durability", durability, {"process", "fsync"});
  out.durability = static_cast<audit::Durability>(durability);
  section.Size("segmentSize", out.segment_bytes, 4096, 1ULL << 40);
  section.Flag("stdout", out.to_stdout);
}

void ReadLog(Reader section, LogOptions& out) {
  std::size_t level = static_cast<std::size_t>(out.level);
  section.Choice("level", level, {"debug", "info", "warn", "error"});
  out.level = static_cast<obs::Level>(level);
  std::size_t format = out.text ? 1 : 0;
  section.Choice("format", format, {"json", "text"});
  out.text = format == 1;
}

base::Result<token::WorkerHsmOptions> ToWorkerHsmOptions(const HsmOptions& options) {
  token::WorkerHsmOptions out;
  TRY(out.module, FindModule(options.module));
  out.workers_per_token = options.workers;
  out.sign_timeout = options.sign_timeout;
  out.generate_timeout = options.generate_timeout;
  out.state_dir = options.state_dir;
  const bool single = !options.pin_file.empty() || !options.token_label.empty();
  if (!options.tokens.empty() && single) {
    return ConfigError("hsm.tokens and --pin-file (hsm.pinFile, hsm.tokenLabel) name tokens twice: use one of them");
  }
  if (options.tokens.empty() && options.pin_file.empty()) {
    return ConfigError("no PIN file: give --pin-file FILE, or hsm.tokens with a pinFile each");
  }
  if (single) {
    token::TokenOptions token{std::nullopt, options.pin_file};
    if (!options.token_label.empty()) {
      encoding::Pkcs11Uri uri;
      uri.token = options.token_label;
      uri.text = encoding::FormatPkcs11Uri(uri);
      TRY(token.uri, ParseTokenUri(uri.text));
    }
    out.tokens.push_back(std::move(token));
    return out;
  }
  std::set<std::string> seen;
  for (const TokenOption& option : options.tokens) {
    TRY(auto uri, ParseTokenUri(option.uri));
    if (!seen.insert(encoding::FormatPkcs11Uri(uri)).second) {
      return ConfigError(fmt::format("token URI \"{}\" is configured twice", option.uri));
    }
    out.tokens.push_back({std::move(uri), option.pin_file});
  }
  return out;
}

std::string PinStateFolder(const HsmOptions& hsm, const AuditOptions& audit) {
  if (!hsm.state_dir.empty() || audit.file.empty()) return hsm.state_dir;
  return (std::filesystem::path(audit.file).parent_path() / "pin-state").string();
}

audit::Journal::Options ToJournalOptions(const AuditOptions& options) {
  audit::Journal::Options out;
  out.file = options.file;
  out.durability = options.durability;
  out.segment_bytes = options.segment_bytes;
  if (options.to_stdout) out.copy = std::make_shared<audit::LineCopier>(STDOUT_FILENO);
  return out;
}

void Apply(const LogOptions& options) {
  obs::SetLevel(options.level);
  obs::SetTextFormat(options.text);
}

base::Result<audit::Durability> ParseDurability(std::string_view text) {
  if (text == "process") return audit::Durability::kProcess;
  if (text == "fsync") return audit::Durability::kFsync;
  return ConfigError(fmt::format("durability \"{}\": must be process or fsync", text));
}

base::Result<nlohmann::json> LoadConfigFile(const std::string& path) {
  std::string text(store::kMaxManifestBytes + 1, '\0');
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file || !(file.read(text.data(), static_cast<std::streamsize>(text.size())) || file.eof())) {
    return ConfigError(
        base::ErrnoError(Code::kNotFound, fmt::format("cannot read {}", path), errno != 0 ? errno : EISDIR).message);
  }
  text.resize(static_cast<std::size_t>(file.gcount()));
  auto documents = store::ParseYaml(text, path);
  if (!documents) return ConfigError(documents.error().message);
  if (documents->size() > 1) return ConfigError(fmt::format("{}: holds more than one document", path));
  return documents->empty() ? nlohmann::json::object() : std::move(documents->front().value);
}

base::Status ValidateLoopback(std::string_view what, std::string_view address) {
  constexpr std::string_view kHost = "127.0.0.1:";
  if (!address.starts_with(kHost)) {
    return ConfigError(
        fmt::format("{} \"{}\": must be 127.0.0.1:PORT; other machines must not reach it", what, address));
  }
  return CheckPort(what, address, address.substr(kHost.size()));
}

base::Status ValidateAddress(std::string_view what, std::string_view address) {
  const auto colon = address.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return CheckPort(what, address, "");
  return CheckPort(what, address, address.substr(colon + 1));
}

}  // namespace signet::config
