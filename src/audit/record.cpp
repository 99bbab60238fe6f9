#include "audit/record.hpp"

#include <fmt/format.h>

#include "crypto/digest.hpp"
#include "encoding/text.hpp"

namespace signet::audit {
namespace {

void AppendNumber(std::string& out, std::uint64_t number) {
  const fmt::format_int text(number);
  out.append(text.data(), text.size());
}

void Field(std::string& out, std::string_view name_with_punctuation, std::string_view value) {
  out += name_with_punctuation;
  encoding::AppendJsonString(out, value);
}

void OptionalField(std::string& out, std::string_view name_with_punctuation, std::string_view value) {
  if (!value.empty()) Field(out, name_with_punctuation, value);
}

void TornFields(std::string& out, const Torn& torn) {
  out += ",\"tornBytes\":";
  AppendNumber(out, torn.bytes);
  Field(out, ",\"tornSha256\":", View(torn.hash));
}

/// {"name":...,"namespace":...,"uid":...,"node":...}, where the caller is a pod.
void AppendPod(std::string& out, const identity::PodIdentity& pod) {
  if (pod.uid.empty()) return;
  Field(out, ",\"pod\":{\"name\":", pod.name);
  Field(out, ",\"namespace\":", pod.ns);
  Field(out, ",\"uid\":", pod.uid);
  OptionalField(out, ",\"node\":", pod.node);
  out += '}';
}

/// [{"key":...,"value":...}] in the order of the keys until kMaxAnnotationBytes; the count of those left out stands
/// beside them. Not as members: a Line refuses names with escapes, and callers choose these.
void AppendAnnotations(std::string& out, const std::map<std::string, std::string>& annotations) {
  std::size_t left = kMaxAnnotationBytes;
  std::size_t omitted = 0;
  std::string_view punctuation = ",\"artifactAnnotations\":[{\"key\":";
  for (const auto& [key, value] : annotations) {
    if (key.size() + value.size() > left) {
      ++omitted;
      continue;
    }
    left -= key.size() + value.size();
    Field(out, punctuation, key);
    Field(out, ",\"value\":", value);
    out += '}';
    punctuation = ",{\"key\":";
  }
  if (omitted < annotations.size()) out += ']';
  if (omitted == 0) return;
  out += ",\"artifactAnnotationsOmitted\":";
  AppendNumber(out, omitted);
}

/// [{"approval":...,"approver":...,"signedBy":...}], where there are any.
void AppendApprovals(std::string& out, const std::vector<audit::Intent::Approved>& approvals) {
  if (approvals.empty()) return;
  out += ",\"approvals\":[";
  for (const auto& approved : approvals) {
    if (&approved != &approvals.front()) out += ',';
    Field(out, "{\"approval\":", approved.approval);
    Field(out, ",\"approver\":", approved.approver);
    OptionalField(out, ",\"signedBy\":", approved.signed_by);
    out += '}';
  }
  out += ']';
}

}  // namespace

std::string_view Name(Result result) {
  switch (result) {
    case Result::kSigned:
      return "signed";
    case Result::kFailed:
      return "failed";
    case Result::kDiscarded:
      return "discarded";
    case Result::kUnknown:
      return "unknown";
  }
  return "unknown";
}

HashText HashOf(std::string_view line) {
  static constexpr std::string_view kDigits = "0123456789abcdef";
  const auto digest = crypto::Sha256(base::AsBytes(line));
  HashText text;
  for (std::size_t i = 0; i < digest.size(); ++i) {
    text[2 * i] = kDigits[digest[i] >> 4U];
    text[2 * i + 1] = kDigits[digest[i] & 0xFU];
  }
  return text;
}

void LineWriter::AppendTime(std::string& out) {
  const auto now = clock_.Now();
  const auto second = std::chrono::floor<std::chrono::seconds>(now);
  if (second.time_since_epoch().count() != second_number_) {
    second_number_ = second.time_since_epoch().count();
    second_ = base::FormatTime(second).substr(0, 19);
  }
  out += second_;
  auto micros = static_cast<std::uint32_t>((now - second).count());
  std::array<char, 8> fraction{'.', '0', '0', '0', '0', '0', '0', 'Z'};
  for (std::size_t i = 6; i > 0; --i, micros /= 10) fraction[i] = static_cast<char>('0' + micros % 10);
  out.append(fraction.data(), fraction.size());
}

void LineWriter::Begin(std::string& out, std::string_view type) {
  line_start_ = out.size();
  out += "{\"stream\":\"";
  out += position_.stream;
  out += "\",\"seq\":";
  AppendNumber(out, position_.seq + 1);
  out += ",\"prev\":\"";
  out += View(position_.head);
  out += "\",\"time\":\"";
  AppendTime(out);
  out += "\",\"type\":";
  encoding::AppendJsonString(out, type);
}

void LineWriter::End(std::string& out) {
  out += '}';
  position_.head = HashOf(std::string_view(out).substr(line_start_));
  ++position_.seq;
  out += '\n';
}

void LineWriter::Intent(std::string& out, const audit::Intent& record) {
  Begin(out, kTypeIntent);
  Field(out, ",\"operation\":", record.operation);
  Field(out, ",\"door\":", record.door);
  Field(out, ",\"principal\":", record.principal);
  Field(out, ",\"identity\":", record.identity);
  if (record.peer_uid) {
    out += ",\"peerUID\":";
    AppendNumber(out, *record.peer_uid);
  }
  if (record.peer_gid) {
    out += ",\"peerGID\":";
    AppendNumber(out, *record.peer_gid);
  }
  if (record.peer_pid && *record.peer_pid >= 0) {
    out += ",\"peerPID\":";
    AppendNumber(out, static_cast<std::uint64_t>(*record.peer_pid));
  }
  AppendPod(out, record.pod);
  Field(out, ",\"policy\":", record.policy);
  OptionalField(out, ",\"policyUID\":", record.policy_uid);
  out += ",\"policyGeneration\":";
  AppendNumber(out, static_cast<std::uint64_t>(std::max<std::int64_t>(record.policy_generation, 0)));
  Field(out, ",\"policyHash\":", record.policy_hash);
  Field(out, ",\"keyID\":", record.key_id);
  Field(out, ",\"algorithm\":", record.algorithm);
  Field(out, ",\"digest\":", record.digest);
  if (record.message) out += ",\"message\":true";
  OptionalField(out, ",\"artifactName\":", record.artifact_name);
  OptionalField(out, ",\"artifactMediaType\":", record.artifact_media_type);
  AppendAnnotations(out, record.artifact_annotations);
  OptionalField(out, ",\"requestNamespace\":", record.request_namespace);
  OptionalField(out, ",\"requestName\":", record.request_name);
  OptionalField(out, ",\"requestUID\":", record.request_uid);
  OptionalField(out, ",\"idempotencyKey\":", record.idempotency_key);
  AppendApprovals(out, record.approvals);
  End(out);
}

void LineWriter::Outcome(std::string& out, const audit::Outcome& record) {
  Begin(out, kTypeOutcome);
  Field(out, ",\"operation\":", record.operation);
  Field(out, ",\"result\":", Name(record.result));
  OptionalField(out, ",\"signatureSha256\":", record.signature_sha256);
  OptionalField(out, ",\"reason\":", record.reason);
  OptionalField(out, ",\"idempotencyKey\":", record.idempotency_key);
  End(out);
}

void LineWriter::Release(std::string& out, const audit::Release& record) {
  Begin(out, kTypeRelease);
  Field(out, ",\"operation\":", record.operation);
  static constexpr std::array<std::string_view, 3> kReleased = {",\"released\":true", ",\"released\":false",
                                                                ",\"released\":null"};
  out += kReleased.at(static_cast<std::size_t>(record.released));
  OptionalField(out, ",\"reason\":", record.reason);
  End(out);
}

void LineWriter::Refusal(std::string& out, const audit::Refusal& record, bool overflow) {
  Begin(out, kTypeRefused);
  Field(out, ",\"door\":", record.door);
  Field(out, ",\"principal\":", record.principal);
  Field(out, ",\"policy\":", record.policy);
  Field(out, ",\"reason\":", record.reason);
  out += ",\"count\":";
  AppendNumber(out, record.count);
  if (overflow) out += ",\"overflow\":true";
  End(out);
}

void LineWriter::Stream(std::string& out, const Torn& torn) {
  Begin(out, kTypeStream);
  Field(out, ",\"format\":", kFormat);
  if (torn.bytes > 0) TornFields(out, torn);
  End(out);
}

void LineWriter::Segment(std::string& out, std::uint64_t number, std::string_view checkpoint, const Torn& torn) {
  Begin(out, kTypeSegment);
  Field(out, ",\"format\":", kFormat);
  out += ",\"number\":";
  AppendNumber(out, number);
  out += ",\"checkpoint\":";
  out += checkpoint;
  if (torn.bytes > 0) TornFields(out, torn);
  End(out);
}

void LineWriter::Recovered(std::string& out, const Torn& torn, std::string_view reason) {
  Begin(out, kTypeRecovered);
  Field(out, ",\"reason\":", reason);
  TornFields(out, torn);
  End(out);
}

void LineWriter::Resumed(std::string& out, std::string_view reason) {
  Begin(out, kTypeResumed);
  Field(out, ",\"reason\":", reason);
  End(out);
}

void LineWriter::Event(std::string& out, std::string_view type, const std::map<std::string, std::string>& fields) {
  Begin(out, type);
  for (const auto& [name, value] : fields) {
    out += ',';
    encoding::AppendJsonString(out, name);
    out += ':';
    encoding::AppendJsonString(out, value);
  }
  End(out);
}

}  // namespace signet::audit
