// `signet audit query`.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>

#include "audit/verify.hpp"
#include "base/printable.hpp"
#include "cli/audit_commands.hpp"
#include "cli/audit_rows.hpp"
#include "cli/io.hpp"
#include "cli/output.hpp"
#include "encoding/text.hpp"

namespace signet::cli {
namespace {

constexpr const char* kQueryPurpose =
    R"(Ask the audit record: who signed what, when, under which policy, and what became of it.

Checks the chain first, as `{signet} audit verify` does, and shows only lines that fit; intent, outcome and release of an
operation are one row. A FILE stands for itself and its full segments FILE.000001, ... beside it.)";
constexpr const char* kQueryFooter = R"(Examples:
  {signet} audit query /var/lib/signet/audit.jsonl --policy release --since 2026-11-01T00:00:00Z
  {signet} audit query audit.jsonl --digest sha256:9f86d081 -o json   # who signed this?
  {signet} audit query /archive/audit/ --result discarded -o csv > discarded.csv

Exit codes: 0 the chain is whole (also when nothing matches); 1 it is broken (rows before the break are shown), or
failed; 2 usage.)";

struct QueryFlags {
  audit::VerifyOptions verify;
  std::string after, since, until, signature;
  AuditFilter filter;
  Format format = Format::kTable;
};

bool ReadTime(const Context& context, const char* flag, const std::string& text, std::optional<base::TimePoint>& out) {
  if (text.empty()) return true;
  // A day alone is its start in UTC.
  const auto time = base::ParseTime(text.size() == 10 ? text + "T00:00:00Z" : text);
  if (time) out = *time;
  if (!time) Fail(context, ExitCode::kUsage, fmt::format("{}: {}", flag, time.error().message));
  return time.has_value();
}

/// The hashes under which the record may name the signature in this file: of all forms that `verify` takes, and hex.
base::Result<std::set<std::string>> ReadSignature(const std::string& path) {
  constexpr std::size_t kMaxBytes = 64U << 10U;
  TRY(const auto bytes, ReadAll(path, kMaxBytes));
  std::string text;
  for (const char c : base::AsText(bytes)) {
    if (c != ' ' && c != '\t' && c != '\r' && c != '\n') text += c == '-' ? '+' : c == '_' ? '/' : c;
  }
  if (text.empty()) {
    return base::MakeError(base::Code::kInvalidArgument, "ConfigInvalid",
                           path + " is empty: it should hold a signature");
  }
  std::set<std::string> hashes = SignatureHashes(bytes);
  if (auto hex = encoding::FromHex(text)) hashes.merge(SignatureHashes(*hex));
  constexpr std::size_t kGroup = 4;
  while (text.size() % kGroup != 0) text += '=';  // base64url comes without
  if (auto decoded = encoding::FromBase64(text); decoded && !decoded->empty()) hashes.merge(SignatureHashes(*decoded));
  return hashes;
}

/// Writes rows as they come; a table in parts, each with columns of its own width.
class Writer {
 public:
  Writer(const Context& context, Format format) : context_(context), format_(format) {
    if (format_ == Format::kCsv) text_ = CsvHeader();
  }

  bool Take(const AuditRow& row) {
    switch (format_) {
      case Format::kCsv:
        text_ += ToCsv(row);
        break;
      case Format::kJsonl:
        text_ += ToJson(row).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
        break;
      case Format::kJson:
        TakeJson(row);
        break;
      default:
        part_.push_back(row);
        if (part_.size() >= kRowsOfATable) EndPart();
    }
    return text_.size() < kPiece || Flush();
  }

  ExitCode End() {
    if (format_ == Format::kJson) text_ += first_ ? "[]\n" : "\n]\n";
    EndPart();
    Flush();
    return ended_;
  }

 private:
  static constexpr std::size_t kRowsOfATable = 10000;
  static constexpr std::size_t kPiece = 1U << 16U;

  void TakeJson(const AuditRow& row) {
    text_ += first_ ? "[\n  " : ",\n  ";
    first_ = false;
    for (const char c : ToJson(row).dump(2, ' ', false, nlohmann::json::error_handler_t::replace)) {
      text_ += c;
      if (c == '\n') text_ += "  ";
    }
  }

  void EndPart() {
    if (part_.empty()) return;
    const auto table = ToTable(part_, context_.columns);
    text_ += first_ ? table : table.substr(table.find('\n') + 1);
    first_ = false;
    part_.clear();
  }

  bool Flush() {
    const bool json = format_ == Format::kJson || format_ == Format::kJsonl;
    ended_ = Print(context_, json ? base::PrintableJson(text_) : text_);
    text_.clear();
    return ended_ == ExitCode::kDone;
  }

  const Context& context_;
  const Format format_;
  std::string text_;
  std::vector<AuditRow> part_;
  bool first_ = true;
  ExitCode ended_ = ExitCode::kDone;
};

ExitCode RunQuery(const Context& context, const QueryFlags& given) {
  QueryFlags flags = given;
  if (!flags.after.empty()) flags.verify.after = flags.after;
  if (!ReadTime(context, "--since", flags.since, flags.filter.since) ||
      !ReadTime(context, "--until", flags.until, flags.filter.until)) {
    return ExitCode::kUsage;
  }
  if (!flags.signature.empty()) {
    auto hashes = ReadSignature(flags.signature);
    if (!hashes) return Fail(context, ExitCode::kConfiguration, hashes.error());
    flags.filter.signatures = *std::move(hashes);
  }
  LateFacts late;
  flags.verify.observe = [&late](const std::string& stream, const audit::Line& line) { late.Observe(stream, line); };
  const auto report = audit::Verify(flags.verify);
  if (!report) return Fail(context, ExitCode::kFailed, report.error());
  Writer writer(context, flags.format);
  const auto counts = EachRow(*report, late, flags.filter, [&writer](const AuditRow& row) { return writer.Take(row); });
  const auto printed = writer.End();
  if (printed != ExitCode::kDone) return printed;
  if (!counts) return Fail(context, ExitCode::kFailed, counts.error());
  Note(fmt::format("{} lines read, {} operations, {} shown", counts->lines, counts->operations, counts->rows));
  if (report->ok()) return ExitCode::kDone;
  const auto& problem = *report->First();
  return Fail(context, ExitCode::kFailed,
              fmt::format("the record is not whole: {}{}: {}", problem.file,
                          problem.line > 0 ? fmt::format(":{}", problem.line) : "", problem.why));
}

std::string CheckRequest(const std::string& text) {
  const auto slash = text.find('/');
  return slash != std::string::npos && slash > 0 && slash + 1 < text.size() ? "" : "must be NAMESPACE/NAME";
}

}  // namespace

void AddAuditQuery(CLI::App& parent, Context& context) {
  auto flags = std::make_shared<QueryFlags>();
  auto* command = AddCommand(parent, context, "query", kQueryPurpose, kQueryFooter,
                             [&context, flags] { return RunQuery(context, *flags); });
  auto& filter = flags->filter;
  command->add_option("PATH", flags->verify.paths, "Files or folders of the record")->required();
  command->add_option("--policy", filter.policy, "Under this policy")->type_name("NAME");
  command->add_option("--principal", filter.principal, "Asked by, such as system:serviceaccount:ci:builder")
      ->type_name("USER");
  command->add_option("--key-id", filter.key_id, "With this key; a beginning will do")->type_name("HEX");
  command->add_option("--digest", filter.digest, "Of this digest; a beginning will do")->type_name("sha256:HEX");
  command
      ->add_option("--signature", flags->signature,
                   "That made this signature, or one that it was turned into without the key (- for stdin)")
      ->type_name("FILE");
  command->add_option("--artifact", filter.artifact, "Claimed to be this artifact")->type_name("NAME");
  command->add_option("--request", filter.request, "Of this SigningRequest")
      ->type_name("NAMESPACE/NAME")
      ->check(CheckRequest);
  command->add_option("--pod", filter.pod, "Asked by this pod, by name or by uid")->type_name("NAMESPACE/NAME|UID");
  command
      ->add_option("--idempotency-key", filter.idempotency_key,
                   "Sent with this Idempotency-Key: a call and its retries")
      ->type_name("KEY");
  command->add_option("--result", filter.result, "signed, failed, discarded, unknown, or open (no outcome yet)")
      ->type_name("RESULT")
      ->check(CLI::IsMember({"signed", "failed", "discarded", "unknown", "open"}).description(""));
  command->add_option("--since", flags->since, "At or after this time (2026-11-23 or 2026-11-23T09:00:00Z)")
      ->type_name("TIME");
  command->add_option("--until", flags->until, "Before this time")->type_name("TIME");
  command->add_option("--after", flags->after, "The head of the segment before the first one given")
      ->type_name("HASH")
      ->check(CheckHead);
  command->add_option("--head", flags->verify.heads, "A head noted elsewhere: it must be in the record (repeatable)")
      ->type_name("HASH")
      ->take_all()
      ->check(CheckHead)
      ->expected(1);
  AddOutputFlag(*command, flags->format, {Format::kTable, Format::kJson, Format::kJsonl, Format::kCsv});
}

}  // namespace signet::cli
