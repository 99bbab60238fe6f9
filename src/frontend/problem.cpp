#include "frontend/problem.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "encoding/text.hpp"

namespace signet::frontend {
namespace {

using base::Code;

constexpr std::array kProblems = {
    ProblemInfo{"Malformed", 400, "The request is malformed", "correct the request: docs/protocol.md shows its form", 0,
                true},
    ProblemInfo{"Unauthenticated", 401, "The caller is unknown", "show a valid identity", 0, false},
    ProblemInfo{"NotAllowed", 403, "Not allowed",
                "no policy of this name allows this caller: check the name, or ask the platform team to add the caller "
                "to the policy's subjects",
                0, false},
    ProblemInfo{"AlgorithmNotAllowed", 403, "The policy does not allow this algorithm",
                "ask for one of the algorithms that GET /v1/keys lists", 0, true},
    ProblemInfo{"ArtifactNotAllowed", 403, "The policy does not allow this artifact",
                "name an artifact that the policy allows", 0, true},
    ProblemInfo{"ImageNotAllowed", 403, "The policy does not allow an image of this pod",
                "run images that the policy's pod.imageDigests list, in every container", 0, true},
    ProblemInfo{"Suspended", 403, "The policy is suspended", "ask the platform team why, and wait until it is resumed",
                0, true},
    ProblemInfo{"OutsideWindow", 403, "The policy's time window is closed", "ask again when the window opens", 0, true},
    ProblemInfo{"ApprovalRequired", 403, "The policy asks for approvals",
                "create a SigningRequest: approvals are given to requests, not to the socket", 0, true},
    ProblemInfo{"NotFound", 404, "No such resource", "see docs/protocol.md for the paths that are served", 0, true},
    ProblemInfo{"MethodNotAllowed", 405, "The method is not served here", "use a method of the Allow header", 0, true},
    ProblemInfo{"Timeout", 408, "The request took too long to arrive", "send the request whole", 0, true},
    ProblemInfo{"IdempotencyConflict", 409, "The idempotency key belongs to another request",
                "use a new key for a new request", 0, true},
    ProblemInfo{"TooLarge", 413, "The request is too large", "sign a digest, or send smaller batches", 0, true},
    ProblemInfo{"UnsupportedMediaType", 415, "The body is not JSON", "send Content-Type: application/json", 0, true},
    ProblemInfo{"ExpectationFailed", 417, "The expectation is not served", "leave the Expect field out", 0, true},
    ProblemInfo{"DigestMismatch", 422, "Digest and algorithm do not fit",
                "send a digest made with the algorithm's hash, or the message", 0, true},
    ProblemInfo{"MechanismMissing", 422, "The HSM cannot use this algorithm with this key",
                "ask for another algorithm of GET /v1/keys, or tell the platform team", 0, true},
    ProblemInfo{"QuotaExceeded", 429, "The policy's quota is used up", "ask again later", 1, true},
    ProblemInfo{"HeaderTooLarge", 431, "The header is too large", "send fewer or shorter fields", 0, true},
    ProblemInfo{"Internal", 500, "Something went wrong inside", "tell the operator of Signet: its log says more", 0,
                false},
    ProblemInfo{"VerificationFailed", 500, "The signature did not verify and was discarded",
                "tell the operator of Signet: HSM or key is at fault", 0, false},
    ProblemInfo{"HSMUnavailable", 503, "The HSM cannot be reached", "nothing was signed: ask again shortly", 2, false},
    ProblemInfo{"AuditUnavailable", 503, "The audit record cannot be written",
                "nothing is signed without a record: ask again when the record's disk has space", 5, false},
    ProblemInfo{"PolicyStale", 503, "The policy may be out of date",
                "nothing is signed under a policy that cannot be confirmed: ask again shortly", 5, false},
    ProblemInfo{"KeyNotReady", 503, "The policy's key cannot be used", "ask again when GET /v1/keys shows it as ready",
                5, true},
    ProblemInfo{"QuotaUnavailable", 503, "No part of the day's budget can be had",
                "nothing was signed: ask again shortly", 1, true},
    ProblemInfo{"PodPending", 503, "The images of the calling pod are not known yet", "ask again shortly", 1, true},
    ProblemInfo{"Busy", 503, "Too much is going on", "ask again shortly, with fewer requests at once", 1, true},
    ProblemInfo{"NotReady", 503, "Not ready", "wait until the checks pass", 2, true},
    ProblemInfo{"OutcomeUnknown", 504, "The HSM did not answer in time",
                "no signature is released and the record says unknown: a new request makes a new signature", 0, false},
};

std::string_view CodeFor(const base::Error& error) {
  if (error.code == Code::kDeadlineExceeded) return "OutcomeUnknown";
  if (error.reason == "AwaitingApproval") return "ApprovalRequired";
  const auto& found = FindProblem(error.reason);
  if (found.code == error.reason) return found.code;
  switch (error.code) {
    case Code::kInvalidArgument:
      return "Malformed";
    case Code::kUnauthenticated:
      return "Unauthenticated";
    case Code::kPermissionDenied:
    case Code::kNotFound:
      return "NotAllowed";
    case Code::kResourceExhausted:
      return "Busy";
    case Code::kUnavailable:
      return "HSMUnavailable";
    default:
      return "Internal";
  }
}

}  // namespace

std::span<const ProblemInfo> Problems() { return kProblems; }

const ProblemInfo& FindProblem(std::string_view code) {
  const auto* found = std::find_if(kProblems.begin(), kProblems.end(), [&](const auto& p) { return p.code == code; });
  if (found != kProblems.end()) return *found;
  return *std::find_if(kProblems.begin(), kProblems.end(), [](const auto& p) { return p.code == "Internal"; });
}

Problem MakeProblem(std::string_view code, std::string_view detail) {
  const ProblemInfo& info = FindProblem(code);
  Problem problem{&info, info.status, std::string(detail.empty() ? info.next : detail), {}};
  if (info.retry_after > 0) problem.retry_after = std::chrono::seconds(info.retry_after);
  return problem;
}

Problem FromError(const base::Error& error) {
  const ProblemInfo& info = FindProblem(CodeFor(error));
  return MakeProblem(info.code, info.shows_message ? std::string_view(error.message) : std::string_view());
}

Problem FromRefused(const signing::Refused& refused) {
  Problem problem = FromError(refused.error);
  if (refused.retry_after && problem.retry_after) {
    problem.retry_after =
        std::max(std::chrono::ceil<std::chrono::seconds>(*refused.retry_after), std::chrono::seconds(1));
  }
  return problem;
}

void AppendProblem(const Problem& problem, std::string& out) {
  out += R"({"type":")";
  out += kProblemBase;
  out += problem.info->code;
  out += R"(","title":)";
  encoding::AppendJsonString(out, problem.info->title);
  out += R"(,"status":)";
  out += std::to_string(problem.status);
  out += R"(,"code":")";
  out += problem.info->code;
  out += R"(","detail":)";
  encoding::AppendJsonString(out, problem.detail);
  if (problem.retry_after) {
    out += R"(,"retryAfterSeconds":)";
    out += std::to_string(problem.retry_after->count());
  }
  out += '}';
}

http::Response ToResponse(const Problem& problem) {
  http::Response response;
  response.status = problem.status;
  response.content_type = kProblemMediaType;
  AppendProblem(problem, response.body);
  if (problem.retry_after) response.headers.emplace_back("Retry-After", std::to_string(problem.retry_after->count()));
  return response;
}

http::Response RefuseWithProblem(int status, std::string_view code, std::string_view detail) {
  Problem problem = MakeProblem(code, detail);
  problem.status = status;
  return ToResponse(problem);
}

}  // namespace signet::frontend
