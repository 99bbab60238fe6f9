// frontend/admission_review.hpp - AdmissionReview v1: what the API server asks, and how it is answered.
//
// Strict where we read, blind to what later servers may add: unknown members are passed by.
//
// Thread-safety: pure functions.
// Errors:        kInvalidArgument, reason "Malformed", message "request.operation: ...".
// Sources:       Kubernetes "Dynamic Admission Control" (admission.k8s.io/v1); RFC 6902 (JSON Patch).
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "api/types.hpp"
#include "base/result.hpp"

namespace signet::frontend {

struct AdmissionReview {
  enum class Operation : std::uint8_t { kCreate, kUpdate, kDelete, kConnect };
  std::string uid;
  std::string group, version, kind;  ///< of the object
  std::string resource, sub_resource;
  std::string ns, name;  ///< name may be empty: generateName, deletion of a collection
  Operation operation = Operation::kCreate;
  bool dry_run = false;
  api::UserInfo user;
  nlohmann::json user_info;  ///< the same as our specs carry it: username and, where they are, uid, groups, extra
  nlohmann::json object, old_object;  ///< null where the operation has none
};
/// "CREATE", "UPDATE", "DELETE", "CONNECT".
std::string_view Name(AdmissionReview::Operation operation);

/// The answer to one review.
struct AdmissionVerdict {
  bool allowed = true;
  int code = 200;                     ///< HTTP status of the refusal, as clients see it
  std::string reason;                 ///< metav1.StatusReason: "Forbidden", "Invalid", "Conflict", "ServiceUnavailable"
  std::string message;                ///< for people: what and what to do
  std::vector<std::string> warnings;  ///< cut to kMostWarnings of kWarningOctets
  nlohmann::json patch;               ///< RFC 6902 operations; null: none

  static AdmissionVerdict Allow() { return {}; }
  /// 403: not for this caller, or not at all.
  static AdmissionVerdict Forbid(std::string message) { return Refuse(403, "Forbidden", std::move(message)); }
  /// 422: the object is wrong.
  static AdmissionVerdict Invalid(std::string message) { return Refuse(422, "Invalid", std::move(message)); }
  /// 409: something changed meanwhile.
  static AdmissionVerdict Conflict(std::string message) { return Refuse(409, "Conflict", std::move(message)); }
  /// 503: the same may work later.
  static AdmissionVerdict Unavailable(std::string message) {
    return Refuse(503, "ServiceUnavailable", std::move(message));
  }
  static AdmissionVerdict Refuse(int code, std::string reason, std::string message);
  /// The verdict for an error by its code.
  static AdmissionVerdict FromError(const base::Error& error);
};

inline constexpr std::size_t kMostWarnings = 32;
inline constexpr std::size_t kWarningOctets = 512;

base::Result<AdmissionReview> ParseAdmissionReview(std::string_view body);
/// The body of the response.
std::string RenderAdmissionReview(std::string_view uid, const AdmissionVerdict& verdict);

}  // namespace signet::frontend
