// frontend/problem.hpp - what callers are told when something is refused: RFC 9457 problem+json.
//
// One table of codes; docs/errors.md is held to it by a test. A detail says what and what to do next. What
// only operators may know (native numbers, addresses, stacks) goes to the log, and NotAllowed says the
// same to everyone, whether the policy exists or not.
//
// Thread-safety: pure functions.
// Sources:       RFC 9457 sections 3 and 4, RFC 9110 section 10.2.3 (Retry-After).
#pragma once

#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "http/server.hpp"
#include "signing/service.hpp"

namespace signet::frontend {

struct ProblemInfo {
  std::string_view code;   ///< "NotAllowed"; the type URI is kProblemBase + code
  int status;              ///< HTTP status
  std::string_view title;  ///< the same for every occurrence
  std::string_view next;   ///< the detail when nothing finer may or can be said
  int retry_after;         ///< seconds, when the refusal names none; 0: asking again changes nothing
  bool shows_message;      ///< the error's own message may be shown to the caller
};

inline constexpr std::string_view kProblemBase = "https://signet.dev/problems/";
inline constexpr std::string_view kProblemMediaType = "application/problem+json";

std::span<const ProblemInfo> Problems();
/// Every code that is in the table; the entry of "Internal" for all others.
const ProblemInfo& FindProblem(std::string_view code);

struct Problem {
  const ProblemInfo* info = nullptr;
  int status = 0;
  std::string detail;
  std::optional<std::chrono::seconds> retry_after;  ///< 429 and 503 only
};

Problem MakeProblem(std::string_view code, std::string_view detail = {});
/// By reason; an error whose reason is not in the table by its code.
Problem FromError(const base::Error& error);
Problem FromRefused(const signing::Refused& refused);

/// The JSON object.
void AppendProblem(const Problem& problem, std::string& out);
http::Response ToResponse(const Problem& problem);
/// For http::Server: what it refuses by itself.
http::Response RefuseWithProblem(int status, std::string_view code, std::string_view detail);

}  // namespace signet::frontend
