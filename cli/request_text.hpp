// cli/request_text.hpp - what a SigningRequest's status says, in words.
//
// Thread-safety: pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "api/types.hpp"

namespace signet::cli {

struct RequestState {
  enum class Kind : std::uint8_t { kWaiting, kSigned, kDenied, kFailed };
  Kind kind = Kind::kWaiting;
  std::string reason;  ///< of the condition that says so; "Pending" before the operator has seen it
  std::string message;
};
RequestState StateOf(const api::SigningRequest& request);
/// "Signed", "Denied", "Failed", "Waiting".
std::string_view Name(RequestState::Kind kind);
/// "denied, NotAllowed: message".
std::string Sentence(const RequestState& state);
/// "AwaitingApproval: message; approved by alice" for progress.
std::string WaitingLine(const api::SigningRequest& request, const RequestState& state);

/// "Approve by alice, 3m ago: counts" and so on, a line each.
std::string ApprovalsText(const api::SigningRequest& request, base::TimePoint now);

/// "ServiceAccount ci/builder", "Group release-managers", ...: a subject of a policy.
std::string SubjectText(const api::Subject& subject);

/// What approvers sign for: the digest as it was asked for, or the SHA-256 of the message.
std::string ContentDigest(const api::SigningRequestSpec& spec);

/// The algorithm of the request, else the policy's first; "" where neither is known.
std::string AlgorithmName(const api::SigningRequestSpec& spec, const api::SigningPolicy* policy);

/// Five characters of [a-z0-9], for names.
std::string RandomSuffix();

}  // namespace signet::cli
