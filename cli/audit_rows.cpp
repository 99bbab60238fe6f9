#include "cli/audit_rows.hpp"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "audit/chain.hpp"
#include "audit/ledger.hpp"
#include "base/unique_fd.hpp"
#include "cli/table.hpp"

namespace signet::cli {
namespace {

using audit::Line;

bool Matches(const AuditFilter& filter, const AuditRow& row) {
  const auto is = [](const std::string& wanted, const std::string& value) { return wanted.empty() || wanted == value; };
  if (!is(filter.policy, row.policy) || !is(filter.principal, row.principal)) return false;
  if (!is(filter.artifact, row.artifact) || !is(filter.request, row.request)) return false;
  if (!is(filter.idempotency_key, row.idempotency_key)) return false;
  if (!is(filter.pod, row.pod) && filter.pod != row.pod_uid) return false;
  if (!row.key_id.starts_with(filter.key_id) || !row.digest.starts_with(filter.digest)) return false;
  if (!filter.since && !filter.until) return true;
  const auto time = base::ParseTime(row.time);
  return time && (!filter.since || *time >= *filter.since) && (!filter.until || *time < *filter.until);
}

std::string Truth(bool value) { return value ? "true" : "false"; }

/// What a line says of the calling pod.
void ReadPod(const Line& line, AuditRow& row) {
  const auto* member = line.Find("pod");
  Line pod;
  if (member == nullptr || !pod.Parse(member->raw)) return;
  row.pod = pod.Text("namespace") + "/" + pod.Text("name");
  row.pod_uid = pod.Text("uid");
  row.node = pod.Text("node");
}

class Collector {
 public:
  explicit Collector(const AuditFilter& filter) : filter_(filter) {}

  void Take(const Line& line, const std::string& stream) {
    const auto type = line.Text("type");
    if (type == audit::kTypeIntent) return Intent(line, stream);
    const auto found = open_.find(line.Text("operation"));
    if (found == open_.end()) return;
    AuditRow& row = rows_.at(found->second);
    if (type == audit::kTypeOutcome) {
      row.result = line.Text("result");
      row.signature_sha256 = line.Text("signatureSha256");
    } else if (type == audit::kTypeRelease) {
      const auto released = audit::ReleasedOf(line).value_or(audit::Released::kUnknown);
      row.released = released == audit::Released::kUnknown ? "unknown" : Truth(released == audit::Released::kYes);
      if (released == audit::Released::kNo) row.result = "discarded";
    }
    if (const auto reason = line.Text("reason"); !reason.empty()) row.reason = reason;
  }

  AuditRows Finish(std::uint64_t lines) {
    if (!filter_.result.empty())
      std::erase_if(rows_, [&](const AuditRow& row) { return row.result != filter_.result; });
    std::stable_sort(rows_.begin(), rows_.end(),
                     [](const auto& left, const auto& right) { return left.time < right.time; });
    return {std::move(rows_), lines, operations_};
  }

 private:
  void Intent(const Line& line, const std::string& stream) {
    ++operations_;
    AuditRow row;
    row.time = line.Text("time");
    row.operation = line.Text("operation");
    row.door = line.Text("door");
    row.principal = line.Text("principal");
    row.identity = line.Text("identity");
    row.policy = line.Text("policy");
    row.policy_generation = line.Number("policyGeneration").value_or(0);
    row.key_id = line.Text("keyID");
    row.algorithm = line.Text("algorithm");
    row.digest = line.Text("digest");
    row.artifact = line.Text("artifactName");
    row.media_type = line.Text("artifactMediaType");
    const auto ns = line.Text("requestNamespace");
    if (!ns.empty()) row.request = ns + "/" + line.Text("requestName");
    row.request_uid = line.Text("requestUID");
    row.idempotency_key = line.Text("idempotencyKey");
    ReadPod(line, row);
    row.stream = stream;
    row.seq = line.Number("seq").value_or(0);
    if (!Matches(filter_, row)) return;
    open_[row.operation] = rows_.size();
    rows_.push_back(std::move(row));
  }

  const AuditFilter& filter_;
  std::vector<AuditRow> rows_;
  std::unordered_map<std::string, std::size_t> open_;
  std::uint64_t operations_ = 0;
};

/// The good lines of one stream. False: its end was not there; the files have moved.
bool ReadStream(const audit::StreamReport& stream, Collector& collector, std::uint64_t& lines) {
  std::uint64_t last = 0;
  for (const auto& file : stream.files) {
    const base::UniqueFd fd(open(file.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd.valid()) return false;
    audit::LineReader reader(fd.get());
    std::string_view text;
    while (last < stream.last_seq && reader.Read(text) == audit::LineReader::Next::kLine) {
      ++lines;
      Line line;
      if (!line.Parse(text)) continue;  // torn, and closed by the line after it
      const auto seq = line.Number("seq").value_or(0);
      if (seq > stream.last_seq) return false;
      last = seq;
      collector.Take(line, stream.stream);
    }
  }
  return last >= stream.last_seq;
}

/// RFC 4180 section 2; a leading = + - @ would be run as a formula by spreadsheets.
std::string Cell(std::string_view text) {
  std::string value(text);
  if (!value.empty() && std::string_view("=+-@\t\r").find(value.front()) != std::string_view::npos)
    value.insert(0, "'");
  if (value.find_first_of("\",\r\n") == std::string::npos) return value;
  std::string out = "\"";
  for (const char c : value) out += c == '"' ? std::string("\"\"") : std::string(1, c);
  return out + '"';
}

}  // namespace

base::Result<AuditRows> CollectRows(const audit::VerifyReport& report, const AuditFilter& filter) {
  constexpr int kAttempts = 3;  // a record at work may rotate between two looks
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    Collector collector(filter);
    std::uint64_t lines = 0;
    const bool whole = std::all_of(report.streams.begin(), report.streams.end(),
                                   [&](const auto& stream) { return ReadStream(stream, collector, lines); });
    if (whole) return collector.Finish(lines);
  }
  return base::MakeError(base::Code::kAborted, "FilesMoved", "the record rotated while it was read: try again");
}

nlohmann::json ToJson(const AuditRow& row) {
  nlohmann::json out = {{"time", row.time},
                        {"operation", row.operation},
                        {"result", row.result},
                        {"door", row.door},
                        {"principal", row.principal},
                        {"identity", row.identity},
                        {"policy", row.policy},
                        {"policyGeneration", row.policy_generation},
                        {"keyID", row.key_id},
                        {"algorithm", row.algorithm},
                        {"digest", row.digest},
                        {"stream", row.stream},
                        {"seq", row.seq}};
  const auto put = [&out](const char* name, const std::string& value) {
    if (!value.empty()) out[name] = value;
  };
  put("artifactName", row.artifact);
  put("artifactMediaType", row.media_type);
  put("request", row.request);
  put("requestUID", row.request_uid);
  put("pod", row.pod);
  put("podUID", row.pod_uid);
  put("node", row.node);
  put("idempotencyKey", row.idempotency_key);
  put("reason", row.reason);
  put("signatureSha256", row.signature_sha256);
  if (row.released == "unknown") {
    out["released"] = nullptr;
  } else if (!row.released.empty()) {
    out["released"] = row.released == "true";
  }
  return out;
}

std::string ToCsv(const std::vector<AuditRow>& rows) {
  std::string out =
      "time,operation,result,released,reason,door,principal,identity,policy,policyGeneration,keyID,algorithm,digest,"
      "artifactName,artifactMediaType,request,requestUID,signatureSha256,stream,seq,pod,podUID,node,idempotencyKey\r\n";
  for (const auto& row : rows) {
    const std::array<std::string, 24> cells = {row.time,        row.operation,
                                               row.result,      row.released,
                                               row.reason,      row.door,
                                               row.principal,   row.identity,
                                               row.policy,      std::to_string(row.policy_generation),
                                               row.key_id,      row.algorithm,
                                               row.digest,      row.artifact,
                                               row.media_type,  row.request,
                                               row.request_uid, row.signature_sha256,
                                               row.stream,      std::to_string(row.seq),
                                               row.pod,         row.pod_uid,
                                               row.node,        row.idempotency_key};
    std::string line;
    for (const auto& cell : cells) line += Cell(cell) + ",";
    line.back() = '\r';
    out += line + '\n';
  }
  return out;
}

std::string ToTable(const std::vector<AuditRow>& rows, int columns) {
  constexpr std::size_t kShortDigest = 19;  // sha256: and 12 digits
  constexpr std::size_t kSeconds = 19;
  Table table({"TIME", "RESULT", "POLICY", "PRINCIPAL", "DIGEST", "ARTIFACT", "FROM", "OPERATION"});
  for (const auto& row : rows) {
    table.Add({row.time.substr(0, kSeconds) + "Z", row.reason.empty() ? row.result : row.result + "," + row.reason,
               row.policy, row.principal, row.digest.substr(0, kShortDigest), row.artifact,
               row.request.empty() ? row.pod : row.request, row.operation});
  }
  return table.Render(columns);
}

}  // namespace signet::cli
