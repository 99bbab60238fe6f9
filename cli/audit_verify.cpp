#include "cli/audit_verify.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/audit_commands.hpp"
#include "cli/context.hpp"
#include "cli/output.hpp"

namespace signet::cli {
namespace {

constexpr const char* kAuditVerifyPurpose =
    R"(Check a record line by line: the chain of hashes, the sequence, intents and their outcomes.

Finds edits, swaps, repetitions, deletions, a cut start and missing segments. A FILE stands for itself and its full
segments FILE.000001, FILE.000002, ... beside it; a folder for every file in it.)";
constexpr const char* kAuditVerifyFooter = R"help(Examples:
  {signet} audit verify /var/lib/signet/audit.jsonl
  {signet} audit verify --head "$(cat noted-head)" audit.jsonl   # proves that the end was not cut
  {signet} audit verify --after HASH audit.jsonl                 # earlier segments are archived elsewhere
  {signet} audit verify -o json /archive/audit/                  # for programs

Exit codes: 0 everything fits (prints the count of records and the head);
1 the first bad line is named; 2 usage.)help";

struct AuditVerifyFlags {
  audit::VerifyOptions options;
  std::string after;
  OutputFormat format = OutputFormat::kText;
};

using audit::Problem;
using audit::StreamReport;

std::string Where(const Problem& problem) {
  return Clean(problem.line > 0 ? fmt::format("{}:{}: {}", problem.file, problem.line, problem.why)
                                : fmt::format("{}: {}", problem.file, problem.why));
}

std::string StreamText(const StreamReport& stream) {
  std::string out;
  const auto line = [&](std::string_view label, const std::string& text) {
    out += fmt::format("{:<11}{}\n", label, Clean(text));  // a file's name may hold line ends
  };
  const bool ok = stream.First() == nullptr;
  line(ok ? "ok" : "BAD", fmt::format("{} records (seq {} to {}) in {} file{}", stream.records, stream.first_seq,
                                      stream.last_seq, stream.files.size(), stream.files.size() == 1 ? "" : "s"));
  for (const auto& gap : stream.missing) line("  missing", Where(gap.problem));
  if (stream.problem) line("  where", Where(*stream.problem));
  line("  head", stream.head + (stream.problem ? " (of the last good line)" : ""));
  line("  stream", stream.stream);
  if (stream.records > 0) line("  time", stream.first_time + " to " + stream.last_time);
  line("  intents",
       fmt::format("{}: {} signed, {} failed, {} discarded, {} unknown, {} without outcome", stream.intents,
                   stream.signed_, stream.failed, stream.discarded, stream.unknown, stream.open));
  if (stream.released + stream.delivery_unknown + stream.unsettled > 0) {
    const auto perhaps =
        stream.delivery_unknown > 0 ? fmt::format(", {} perhaps released", stream.delivery_unknown) : "";
    line("  requests", fmt::format("{} signatures released to a status{}, {} not settled", stream.released, perhaps,
                                   stream.unsettled));
  }
  if (stream.refused > 0) line("  refused", fmt::format("{} requests", stream.refused));
  for (const auto& torn : stream.torn_lines) {
    line("  torn", fmt::format("{}:{}: {} octets of a line that a crash cut short, closed at the next start", torn.file,
                               torn.line, torn.bytes));
  }
  for (const auto& lost : stream.lost_files) {
    line("  lost", fmt::format("{}:{}: the file being written was gone or changed; a new one goes on from there",
                               lost.file, lost.line));
  }
  for (const auto& head : stream.heads) {
    line("  known",
         head.records_after == 0
             ? fmt::format("the end is the head that was noted: nothing was cut (seq {})", head.seq)
             : fmt::format("the head that was noted is seq {}; {} records came after it, and whether more did "
                           "is not proved",
                           head.seq, head.records_after));
  }
  return out;
}

nlohmann::json ProblemJson(const Problem& problem) {
  return {{"file", problem.file}, {"line", problem.line}, {"message", problem.why}};
}

nlohmann::json StreamJson(const StreamReport& stream) {
  nlohmann::json out = {{"stream", stream.stream},
                        {"ok", stream.First() == nullptr},
                        {"files", stream.files},
                        {"records", stream.records},
                        {"firstSeq", stream.first_seq},
                        {"lastSeq", stream.last_seq},
                        {"head", stream.head},
                        {"firstTime", stream.first_time},
                        {"lastTime", stream.last_time},
                        {"intents", stream.intents},
                        {"signed", stream.signed_},
                        {"failed", stream.failed},
                        {"discarded", stream.discarded},
                        {"unknown", stream.unknown},
                        {"withoutOutcome", stream.open},
                        {"released", stream.released},
                        {"deliveryUnknown", stream.delivery_unknown},
                        {"unsettled", stream.unsettled},
                        {"refused", stream.refused},
                        {"tornLines", nlohmann::json::array()},
                        {"lostFiles", nlohmann::json::array()},
                        {"missing", nlohmann::json::array()},
                        {"heads", nlohmann::json::array()}};
  for (const auto& torn : stream.torn_lines) {
    out["tornLines"].push_back({{"file", torn.file}, {"line", torn.line}, {"bytes", torn.bytes}});
  }
  for (const auto& lost : stream.lost_files) out["lostFiles"].push_back({{"file", lost.file}, {"line", lost.line}});
  for (const auto& gap : stream.missing) {
    out["missing"].push_back({{"firstSeq", gap.first_seq},
                              {"lastSeq", gap.last_seq},
                              {"file", gap.problem.file},
                              {"line", gap.problem.line},
                              {"message", gap.problem.why}});
  }
  for (const auto& head : stream.heads) {
    out["heads"].push_back({{"hash", head.hash}, {"seq", head.seq}, {"recordsAfter", head.records_after}});
  }
  if (const auto* first = stream.First()) out["problem"] = ProblemJson(*first);
  return out;
}

std::string ReportJson(const audit::VerifyReport& report) {
  nlohmann::json out = {{"ok", report.ok()},
                        {"records", report.records()},
                        {"streams", nlohmann::json::array()},
                        {"problems", nlohmann::json::array()},
                        {"skipped", nlohmann::json::array()}};
  for (const auto& stream : report.streams) out["streams"].push_back(StreamJson(stream));
  for (const auto& problem : report.problems) out["problems"].push_back(ProblemJson(problem));
  for (const auto& skipped : report.skipped) out["skipped"].push_back(ProblemJson(skipped));
  return Render(out, Format::kJson);
}

}  // namespace

std::string FormatReport(const audit::VerifyReport& report, const audit::VerifyOptions& options, OutputFormat format) {
  if (format == OutputFormat::kJson) return ReportJson(report);
  std::string out;
  for (const auto& stream : report.streams) out += StreamText(stream);
  for (const auto& problem : report.problems) out += fmt::format("{:<11}{}\n", "BAD", Where(problem));
  for (const auto& skipped : report.skipped) out += fmt::format("{:<11}{}\n", "skipped", Where(skipped));
  if (!report.ok()) return out;
  if (options.heads.empty()) {
    out += "not proved: that nothing was cut off the end. Note the head elsewhere and give it back with --head HASH.\n";
  }
  if (options.after) out += "not proved: what stands in the files before the first one given here.\n";
  out +=
      "not proved: that nobody who may write all of the record has built the whole chain anew; only copies of heads "
      "kept elsewhere show that.\n";
  return out;
}

ExitCode RunAuditVerify(const Context& context, const audit::VerifyOptions& options, OutputFormat format) {
  const auto report = audit::Verify(options);
  if (!report) return Fail(context, ExitCode::kFailed, base::Describe(report.error()));
  const auto printed = Print(context, FormatReport(*report, options, format));
  if (printed != ExitCode::kDone) return printed;
  const auto* problem = report->First();
  if (problem == nullptr) return ExitCode::kDone;
  return Fail(context, ExitCode::kFailed, "the record is not whole: " + Where(*problem));
}

std::string CheckHead(const std::string& text) {
  const bool good = text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
  return good ? "" : "not a head: 64 lower-case hex digits, as `signet audit verify` prints them";
}

void AddAuditVerify(CLI::App& parent, Context& context) {
  auto flags = std::make_shared<AuditVerifyFlags>();
  auto* command = AddCommand(parent, context, "verify", kAuditVerifyPurpose, kAuditVerifyFooter, [&context, flags] {
    if (!flags->after.empty()) flags->options.after = flags->after;
    return RunAuditVerify(context, flags->options, flags->format);
  });
  command->add_option("PATH", flags->options.paths, "Files or folders of the record")->required();
  command->add_option("--head", flags->options.heads, "A head noted elsewhere: it must be in the record (repeatable)")
      ->type_name("HASH")
      ->take_all()
      ->check(CheckHead)
      ->expected(1);
  command
      ->add_option("--after", flags->after,
                   "The head of the segment before the first one given: accept a record that goes on from there")
      ->type_name("HASH")
      ->check(CheckHead);
  command->add_option("-o,--output", flags->format, "text (default) or json")
      ->type_name("FORMAT")
      ->transform(CLI::CheckedTransformer(
                      std::map<std::string, OutputFormat>{{"text", OutputFormat::kText}, {"json", OutputFormat::kJson}})
                      .description(""));
}

}  // namespace signet::cli
