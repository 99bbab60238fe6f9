#include "cli/audit_rows.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "audit/chain.hpp"
#include "audit/ledger.hpp"
#include "cli/table.hpp"
#include "crypto/digest.hpp"
#include "crypto/ecdsa_twins.hpp"

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

AuditRow RowOf(const Line& line, const std::string& stream) {
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
  if (const auto* annotations = line.Find("artifactAnnotations")) row.annotations = annotations->raw;
  row.annotations_omitted = line.Number("artifactAnnotationsOmitted").value_or(0);
  const auto ns = line.Text("requestNamespace");
  if (!ns.empty()) row.request = ns + "/" + line.Text("requestName");
  row.request_uid = line.Text("requestUID");
  row.idempotency_key = line.Text("idempotencyKey");
  ReadPod(line, row);
  row.stream = stream;
  row.seq = line.Number("seq").value_or(0);
  return row;
}

void Apply(const AuditFacts& facts, AuditRow& row) {
  if (!facts.result.empty()) row.result = facts.result;
  if (!facts.signature_sha256.empty()) row.signature_sha256 = facts.signature_sha256;
  if (!facts.released.empty()) row.released = facts.released;
  if (!facts.reason.empty()) row.reason = facts.reason;
}

/// The rows of one stream, in the order of their intents.
class StreamRows {
 public:
  StreamRows(const audit::StreamReport& stream, const LateFacts& late, const AuditFilter& filter, AuditCounts& counts)
      : stream_(stream), late_(late), filter_(filter), counts_(counts) {}

  /// The next row that matches; nullptr: there are no more.
  const AuditRow* Front() {
    for (;;) {
      while (!rows_.empty() && (end_ || begun_ - rows_.front().number >= late_.window())) {
        Waiting& front = rows_.front();
        if (!front.final) Finalize(front);
        if (Wanted(front.row)) return &front.row;
        rows_.pop_front();
      }
      if (end_) return nullptr;
      end_ = !ReadLine();
    }
  }
  void Pop() { rows_.pop_front(); }
  /// Of the last row: false when the files did not hold what the check had found.
  [[nodiscard]] bool whole() const { return last_ >= stream_.last_seq; }

 private:
  struct Waiting {
    AuditRow row;
    AuditFacts facts;
    std::uint64_t number = 0;
    bool final = false;
  };

  void Finalize(Waiting& waiting) {
    Apply(waiting.facts, waiting.row);
    if (const auto* late = late_.Find(waiting.row.operation)) Apply(*late, waiting.row);
    open_.erase(waiting.row.operation);
    waiting.final = true;
  }

  [[nodiscard]] bool Wanted(const AuditRow& row) const {
    return (filter_.result.empty() || row.result == filter_.result) &&
           (filter_.signatures.empty() || filter_.signatures.contains(row.signature_sha256));
  }

  bool ReadLine() {
    if (last_ >= stream_.last_seq) return false;
    std::string_view text;
    while (!reader_ || reader_->Read(text) != audit::LineReader::Next::kLine) {
      if (file_ >= stream_.opened.size()) return false;
      reader_.emplace(stream_.opened[file_++]->get());
    }
    ++counts_.lines;
    if (!line_.Parse(text)) return true;  // torn, and closed by the line after it
    const auto seq = line_.Number("seq").value_or(0);
    if (seq <= last_ || seq > stream_.last_seq) return true;  // files may overlap
    last_ = seq;
    Take();
    return true;
  }

  void Take() {
    const auto type = line_.Text("type");
    if (type != audit::kTypeIntent) {
      const auto found = open_.find(line_.Text("operation"));
      if (found != open_.end()) found->second->facts.Take(line_);
      return;
    }
    ++counts_.operations;
    ++begun_;
    AuditRow row = RowOf(line_, stream_.stream);
    if (!Matches(filter_, row)) return;
    auto& waiting = rows_.emplace_back();
    waiting.row = std::move(row);
    waiting.number = begun_;
    open_[waiting.row.operation] = &waiting;
  }

  const audit::StreamReport& stream_;
  const LateFacts& late_;
  const AuditFilter& filter_;
  AuditCounts& counts_;
  std::size_t file_ = 0;
  std::optional<audit::LineReader> reader_;
  Line line_;
  std::uint64_t last_ = 0;
  std::uint64_t begun_ = 0;
  bool end_ = false;
  std::deque<Waiting> rows_;
  std::unordered_map<std::string, Waiting*> open_;  ///< a deque's elements stay where they are
};

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

void AuditFacts::Take(const Line& line) {
  const auto type = line.Text("type");
  if (type == audit::kTypeOutcome) {
    result = line.Text("result");
    signature_sha256 = line.Text("signatureSha256");
  } else if (type == audit::kTypeRelease) {
    const auto how = audit::ReleasedOf(line).value_or(audit::Released::kUnknown);
    released = how == audit::Released::kUnknown ? "unknown" : Truth(how == audit::Released::kYes);
    if (how == audit::Released::kNo) result = "discarded";
  }
  if (const auto why = line.Text("reason"); !why.empty()) reason = why;
}

void LateFacts::Observe(const std::string& stream, const Line& line) {
  if (stream != stream_) {
    stream_ = stream;
    order_.clear();
    recent_.clear();
  }
  const auto type = line.Plain("type");
  if (type == audit::kTypeIntent) {
    order_.push_back(line.Text("operation"));
    recent_.insert(order_.back());
    if (order_.size() > window_) {
      recent_.erase(order_.front());
      order_.pop_front();
    }
  } else if (type == audit::kTypeOutcome || type == audit::kTypeRelease) {
    auto operation = line.Text("operation");
    if (!recent_.contains(operation)) late_[std::move(operation)].Take(line);
  }
}

const AuditFacts* LateFacts::Find(const std::string& operation) const {
  const auto found = late_.find(operation);
  return found == late_.end() ? nullptr : &found->second;
}

base::Result<AuditCounts> EachRow(const audit::VerifyReport& report, const LateFacts& late, const AuditFilter& filter,
                                  const std::function<bool(const AuditRow&)>& take) {
  AuditCounts counts;
  std::deque<StreamRows> streams;
  for (const auto& stream : report.streams) streams.emplace_back(stream, late, filter, counts);
  for (;;) {
    StreamRows* first = nullptr;
    for (auto& stream : streams) {
      const auto* row = stream.Front();
      if (row != nullptr && (first == nullptr || row->time < first->Front()->time)) first = &stream;
    }
    if (first == nullptr) break;
    ++counts.rows;
    if (!take(*first->Front())) return counts;
    first->Pop();
  }
  if (std::all_of(streams.begin(), streams.end(), [](const auto& stream) { return stream.whole(); })) return counts;
  return base::MakeError(base::Code::kAborted, "FilesMoved", "the record changed while it was read: try again");
}

std::set<std::string> SignatureHashes(base::ByteView signature) {
  std::set<std::string> hashes = {crypto::Sha256Hex(signature)};
  for (const auto& twin : crypto::EcdsaTwins(signature)) hashes.insert(crypto::Sha256Hex(twin));
  return hashes;
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
  if (!row.annotations.empty()) {
    auto& shown = out["artifactAnnotations"] = nlohmann::json::object();
    for (const auto& entry : nlohmann::json::parse(row.annotations, nullptr, false)) {
      if (entry.is_object()) shown[entry.value("key", "")] = entry.value("value", "");
    }
  }
  if (row.annotations_omitted > 0) out["artifactAnnotationsOmitted"] = row.annotations_omitted;
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

std::string CsvHeader() {
  return "time,operation,result,released,reason,door,principal,identity,policy,policyGeneration,keyID,algorithm,digest,"
         "artifactName,artifactMediaType,request,requestUID,signatureSha256,stream,seq,pod,podUID,node,"
         "idempotencyKey\r\n";
}

std::string ToCsv(const AuditRow& row) {
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
  return line + '\n';
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
