// reconcile/request_status.hpp - what a SigningRequest's status says: pure.
//
// Undecided: no condition, or Ready=False with the reason for waiting. Decided, for ever, by one of
//   Approved=True and Ready=True (Signed)
//   Denied=True (why) and Ready=False (Denied)
//   Failed=True (why) and Ready=False (Failed)
//
// Thread-safety: pure functions.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/types.hpp"
#include "base/result.hpp"
#include "signing/service.hpp"

namespace signet::reconcile {

/// A request as far as its metadata and status tell, whatever its spec looks like.
struct RequestView {
  api::ObjectMeta meta;
  std::vector<api::Condition> conditions;
  bool decided = false;
  std::string waiting_reason;  ///< of Ready=False; empty: nothing written yet
  std::vector<api::ApprovalStatus> approvals;
  std::string record;  ///< operation whose signature the status carries
  std::optional<base::TimePoint> finished_at;
  std::optional<std::int64_t> ttl_seconds_after_finished;
};
base::Result<RequestView> ViewRequest(const nlohmann::json& object);
/// As RequestView::decided, of an object whose metadata may be unusable.
bool IsDecided(const nlohmann::json& object);

/// Status documents for PatchStatus.
nlohmann::json WaitingStatus(const RequestView& view, std::string reason, std::string message, base::TimePoint now);
nlohmann::json DeniedStatus(const RequestView& view, std::string reason, std::string message, base::TimePoint now);
nlohmann::json FailedStatus(const RequestView& view, std::string reason, std::string message, base::TimePoint now);
nlohmann::json SignedStatus(const RequestView& view, const signing::Signed& made, base::TimePoint now);

/// As many as a status holds: those that count or deny before those that do not. Their texts are printable
/// (base/printable.hpp).
inline constexpr std::size_t kMaxShownApprovals = 64;
std::vector<api::ApprovalStatus> ShownApprovals(std::vector<api::ApprovalStatus> approvals);

/// What a refusal of SigningService means for a request.
enum class Verdict : std::uint8_t {
  kDenied,   ///< terminal, once a live read confirms it
  kFailed,   ///< terminal
  kWaiting,  ///< may pass by itself
  kUnknown,  ///< the HSM may have signed; the operation's outcome is recorded as unknown
};
struct Classified {
  Verdict verdict = Verdict::kFailed;
  std::string reason;
  std::string message;
};
Classified Classify(const base::Error& error, const api::SigningRequestSpec& spec);

/// The one text for "no such policy" and "you are not a subject": they must not differ.
std::string NotAllowedMessage(const api::SigningRequestSpec& spec);

}  // namespace signet::reconcile
