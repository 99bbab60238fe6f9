#include "token/pin_guard.hpp"

#include <array>
#include <nlohmann/json.hpp>

#include "encoding/json.hpp"
#include "encoding/text.hpp"
#include "pkcs11/rv.hpp"

namespace signet::token {
namespace {

constexpr std::array<std::string_view, 4> kStates = {"trying", "refused", "accepted", "unclear"};
constexpr std::uint32_t kUnresolvedLimit = 2;
constexpr std::uint32_t kUnclearLimit = 5;

base::Error NotARecord() {
  return base::MakeError(base::Code::kFailedPrecondition, "StateUnwritable",
                         "the PIN state file is damaged: make sure that the PIN file holds the right PIN, then remove "
                         "the state file");
}

}  // namespace

std::string FormatPinRecord(const PinRecord& record) {
  const nlohmann::json json = {{"version", 1},
                               {"state", kStates.at(static_cast<std::size_t>(record.state))},
                               {"device", record.file.device},
                               {"inode", record.file.inode},
                               {"size", record.file.size},
                               {"mtimeNs", record.file.mtime_ns},
                               {"serial", encoding::ToHex(base::AsBytes(record.serial))},
                               {"knownGood", record.known_good},
                               {"unresolved", record.unresolved}};
  return json.dump() + "\n";
}

base::Result<PinRecord> ParsePinRecord(const std::string& text) {
  const auto parsed = encoding::ParseJson(text);
  if (!parsed || !parsed->is_object()) return NotARecord();
  try {
    PinRecord record;
    if (parsed->at("version") != 1) return NotARecord();
    for (const char* name : {"device", "inode", "size", "unresolved"}) {
      if (!parsed->at(name).is_number_unsigned()) return NotARecord();
    }
    if (!parsed->at("mtimeNs").is_number_integer() || parsed->at("unresolved") > UINT32_MAX) return NotARecord();
    const auto state = parsed->at("state").get<std::string>();
    std::size_t index = 0;
    while (index < kStates.size() && kStates.at(index) != state) ++index;
    if (index == kStates.size()) return NotARecord();
    record.state = static_cast<PinRecord::State>(index);
    record.file = {parsed->at("device").get<std::uint64_t>(), parsed->at("inode").get<std::uint64_t>(),
                   parsed->at("size").get<std::uint64_t>(), parsed->at("mtimeNs").get<std::int64_t>()};
    const auto serial = encoding::FromHex(parsed->at("serial").get<std::string>());
    if (!serial) return NotARecord();
    record.serial = base::AsText(*serial);
    record.known_good = parsed->at("knownGood").get<bool>();
    record.unresolved = parsed->at("unresolved").get<std::uint32_t>();
    return record;
  } catch (const nlohmann::json::exception&) {
    return NotARecord();
  }
}

LoginOutcome ClassifyLogin(const base::Status& login, bool known_good, bool counted) {
  if (login) return LoginOutcome::kAccepted;
  const auto& error = login.error();
  if (error.native.source != pkcs11::kNativeSource) return LoginOutcome::kRefused;
  const auto& row = pkcs11::RowOf(static_cast<pkcs11::Rv>(error.native.number));
  // There was no PIN to compare with. SoftHSM says so, too, while another process writes the token's file.
  if (row.reason == "PinNotInitialized") return LoginOutcome::kUncounted;
  if (row.name.empty() || row.consequence == pkcs11::Consequence::kPinStop) return LoginOutcome::kRefused;
  if (row.not_begun || known_good) return LoginOutcome::kUncounted;
  return counted ? LoginOutcome::kRefused : LoginOutcome::kUnclear;
}

bool PinGuard::MayTry(const FileIdentity& file, const std::string& serial, bool equals_refused) {
  if (!record_ || record_->serial != serial) return true;
  if (record_->file != file) {
    if (equals_refused) record_->file = file;
    return !equals_refused;
  }
  switch (record_->state) {
    case PinRecord::State::kAccepted:
      return true;
    case PinRecord::State::kRefused:
      return false;
    case PinRecord::State::kUnclear:
      return record_->unresolved < kUnclearLimit;
    case PinRecord::State::kTrying:
      break;
  }
  return record_->known_good && record_->unresolved < kUnresolvedLimit;
}

PinGuard::Attempt PinGuard::Begin(const FileIdentity& file, const std::string& serial) {
  const bool same = record_ && record_->file == file && record_->serial == serial;
  Attempt attempt;
  attempt.uncounted = record_;
  attempt.trying = {PinRecord::State::kTrying, file, serial, same && record_->known_good,
                    same ? record_->unresolved + 1 : 1};
  attempt.accepted = {PinRecord::State::kAccepted, file, serial, true, 0};
  attempt.refused = {PinRecord::State::kRefused, file, serial, false, 0};
  attempt.unclear = attempt.trying;
  attempt.unclear.state = PinRecord::State::kUnclear;
  record_ = attempt.trying;
  return attempt;
}

void PinGuard::End(const Attempt& attempt, LoginOutcome outcome) {
  switch (outcome) {
    case LoginOutcome::kAccepted:
      record_ = attempt.accepted;
      break;
    case LoginOutcome::kRefused:
      record_ = attempt.refused;
      break;
    case LoginOutcome::kUnclear:
      record_ = attempt.unclear;
      break;
    case LoginOutcome::kUncounted:
      record_ = attempt.uncounted;
      break;
  }
}

}  // namespace signet::token
