// `signet audit query`.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "audit/verify.hpp"
#include "cli/audit_commands.hpp"
#include "cli/audit_rows.hpp"
#include "cli/output.hpp"

namespace signet::cli {
namespace {

constexpr const char* kPurpose =
    R"(Ask the audit record: who signed what, when, under which policy, and what became of it.

Checks the chain first, as `{signet} audit verify` does, and shows only lines that fit; intent, outcome and release of an
operation are one row. A FILE stands for itself and its full segments FILE.000001, ... beside it.)";
constexpr const char* kFooter = R"(Examples:
  {signet} audit query /var/lib/signet/audit.jsonl --policy release --since 2026-11-01T00:00:00Z
  {signet} audit query audit.jsonl --digest sha256:9f86d081 -o json   # who signed this?
  {signet} audit query /archive/audit/ --result discarded -o csv > discarded.csv

Exit codes: 0 the chain is whole (also when nothing matches); 1 it is broken (rows before the break are shown), or
failed; 2 usage.)";

struct Flags {
  audit::VerifyOptions verify;
  std::string after, since, until;
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

std::string TextOf(const std::vector<AuditRow>& rows, Format format, int columns) {
  if (format == Format::kCsv) return ToCsv(rows);
  if (format == Format::kTable) return rows.empty() ? "" : ToTable(rows, columns);
  nlohmann::json all = nlohmann::json::array();
  std::string lines;
  for (const auto& row : rows) {
    if (format == Format::kJsonl) {
      lines += ToJson(row).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
    } else {
      all.push_back(ToJson(row));
    }
  }
  return format == Format::kJsonl ? lines : Render(all, format);
}

std::string FirstProblem(const audit::VerifyReport& report) {
  const auto where = [](const audit::Problem& problem) {
    return problem.line > 0 ? fmt::format("{}:{}: {}", problem.file, problem.line, problem.why)
                            : fmt::format("{}: {}", problem.file, problem.why);
  };
  for (const auto& stream : report.streams) {
    if (stream.problem) return where(*stream.problem);
  }
  return report.problems.empty() ? "" : where(report.problems.front());
}

ExitCode Run(const Context& context, const Flags& given) {
  Flags flags = given;
  if (!flags.after.empty()) flags.verify.after = flags.after;
  if (!ReadTime(context, "--since", flags.since, flags.filter.since) ||
      !ReadTime(context, "--until", flags.until, flags.filter.until)) {
    return ExitCode::kUsage;
  }
  const auto report = audit::Verify(flags.verify);
  if (!report) return Fail(context, ExitCode::kFailed, report.error());
  const auto found = CollectRows(*report, flags.filter);
  if (!found) return Fail(context, ExitCode::kFailed, found.error());
  const auto printed = Print(context, TextOf(found->rows, flags.format, context.columns));
  if (printed != ExitCode::kDone) return printed;
  Note(fmt::format("{} lines read, {} operations, {} shown", found->lines, found->operations, found->rows.size()));
  if (report->ok()) return ExitCode::kDone;
  return Fail(context, ExitCode::kFailed, "the record is not whole: " + FirstProblem(*report));
}

std::string CheckRequest(const std::string& text) {
  const auto slash = text.find('/');
  return slash != std::string::npos && slash > 0 && slash + 1 < text.size() ? "" : "must be NAMESPACE/NAME";
}

}  // namespace

void AddAuditQuery(CLI::App& parent, Context& context) {
  auto flags = std::make_shared<Flags>();
  auto* command =
      AddCommand(parent, context, "query", kPurpose, kFooter, [&context, flags] { return Run(context, *flags); });
  auto& filter = flags->filter;
  command->add_option("PATH", flags->verify.paths, "Files or folders of the record")->required();
  command->add_option("--policy", filter.policy, "Under this policy")->type_name("NAME");
  command->add_option("--principal", filter.principal, "Asked by, such as system:serviceaccount:ci:builder")
      ->type_name("USER");
  command->add_option("--key-id", filter.key_id, "With this key; a beginning will do")->type_name("HEX");
  command->add_option("--digest", filter.digest, "Of this digest; a beginning will do")->type_name("sha256:HEX");
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
