// `signet sign` through a sidecar's socket.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/clock.hpp"
#include "cli/sign.hpp"
#include "cli/signature_check.hpp"
#include "cli/socket.hpp"
#include "crypto/digest.hpp"
#include "encoding/json.hpp"
#include "encoding/text.hpp"

namespace signet::cli {
namespace {

using encoding::TextAt;
using nlohmann::json;
using std::chrono::milliseconds;

/// The algorithm that will sign: the flag's, else the policy's first.
base::Result<std::optional<api::SignatureAlgorithm>> ChosenAlgorithm(const SignFlags& flags,
                                                                     const http::UnixClient& client) {
  if (!flags.algorithm.empty()) return encoding::ParseSignatureAlgorithm(flags.algorithm);
  if (!flags.digest.empty()) return std::optional<api::SignatureAlgorithm>(std::nullopt);  // the server compares
  auto key = GetKey(client, flags.policy);
  if (!key) {
    // A key that is not ready has algorithms all the same.
    if (key.error().code != base::Code::kUnavailable || key.error().native.source != "http") return key.error();
    TRY(const json keys, GetKeys(client));
    for (const json& one : keys.value("keys", json::array())) {
      if (one.value("policy", "") == flags.policy) *(key = json(one));
    }
    if (!key) return key.error();
  }
  const json algorithms = key->value("algorithms", json::array());
  if (!algorithms.is_array() || algorithms.empty() || !algorithms.front().is_string()) {
    return std::optional<api::SignatureAlgorithm>(std::nullopt);
  }
  return encoding::ParseSignatureAlgorithm(algorithms.front().get<std::string>());
}

struct Waiting {
  base::SteadyPoint end;
  bool allowed = true;  ///< --wait
};

/// Sends until there is an answer that is final. The idempotency key makes that one signature at most.
base::Result<json> SendUntilDecided(const http::UnixClient& client, const std::string& body, Waiting waiting,
                                    Progress& progress, bool& timed_out) {
  constexpr milliseconds kLongest{60'000};
  const std::string key = encoding::ToHex(crypto::RandomBytes(16));
  const http::ClientRequest request{
      "POST", "/v1/sign", {{"Content-Type", "application/json"}, {"Idempotency-Key", key}}, body};
  for (;;) {
    const auto left = std::chrono::duration_cast<milliseconds>(waiting.end - base::SystemClock().Steady());
    std::chrono::seconds retry_after{0};
    auto answer = Call(client, request, std::clamp(left, milliseconds(1000), kLongest), &retry_after);
    if (answer) return answer;
    const bool later =
        answer.error().code == base::Code::kUnavailable || answer.error().code == base::Code::kDeadlineExceeded;
    if (!later || !waiting.allowed) return answer;
    const milliseconds pause = std::max<milliseconds>(retry_after, milliseconds(200));
    if (base::SystemClock().Steady() + pause >= waiting.end) {
      timed_out = true;
      return answer;
    }
    progress.Say(fmt::format("waiting: {}{}{}", answer.error().reason, answer.error().reason.empty() ? "" : ": ",
                             answer.error().message));
    std::this_thread::sleep_for(pause);
  }
}

/// A member that is a string; "" where it is absent or something else.
/// What the socket claims to have signed. The policy's public key is asked for where no file of it was given.
base::Result<SignatureClaim> ClaimOf(const json& answer, const SignFlags& flags, const http::UnixClient& client) {
  if (!answer.is_object()) return base::MakeError(base::Code::kInternal, "the socket's answer is not an object");
  SignatureClaim claim;
  claim.algorithm = TextAt(answer, "algorithm");
  claim.key_id = TextAt(answer, "keyID");
  claim.encoding = flags.encoding;
  auto signature = encoding::FromBase64(TextAt(answer, "signature"));
  if (!signature) return base::MakeError(base::Code::kInternal, "the socket's answer holds no signature");
  claim.signature = std::move(*signature);
  if (flags.key.empty()) {
    TRY(const json key, GetKey(client, flags.policy));
    claim.public_key = TextAt(key, "publicKey");
  }
  return claim;
}

}  // namespace

ExitCode SignThroughSocket(const Context& context, const SignFlags& flags, const std::string& socket,
                           milliseconds timeout) {
  const http::UnixClient client(socket);
  const auto algorithm = ChosenAlgorithm(flags, client);
  if (!algorithm) return FailOfSocket(context, algorithm.error());
  const auto input = ReadSignInput(flags, *algorithm);
  if (!input) {
    const auto& reason = input.error().reason;
    return Fail(context,
                reason == "FileUnreadable" ? ExitCode::kConfiguration
                : reason == "Usage"        ? ExitCode::kUsage
                                           : ExitCode::kFailed,
                input.error());
  }
  json body = InputJson(flags, *input);
  body["policy"] = flags.policy;
  if (flags.encoding != "asn1") body["encoding"] = flags.encoding;
  Progress progress(flags.quiet);
  bool timed_out = false;
  const Waiting waiting{base::SystemClock().Steady() + timeout, flags.wait};
  const auto answer =
      SendUntilDecided(client, body.dump(-1, ' ', false, json::error_handler_t::replace), waiting, progress, timed_out);
  if (!answer && timed_out) {
    return Fail(context, ExitCode::kTimedOut,
                fmt::format("not signed within {}: {}{}{}", flags.timeout, answer.error().reason,
                            answer.error().reason.empty() ? "" : ": ", answer.error().message));
  }
  if (!answer) return FailOfSocket(context, answer.error());
  const auto claim = ClaimOf(*answer, flags, client);
  if (!claim) return FailOfSocket(context, claim.error());
  if (const auto checked = CheckSignature(flags, *input, *claim); !checked) {
    return FailOfCheck(context, checked.error());
  }
  if (!flags.quiet) {
    Note(fmt::format("signed with {}, key {}, record {}", claim->algorithm, claim->key_id, TextAt(*answer, "record")));
  }
  return Deliver(context, flags, claim->signature);
}

}  // namespace signet::cli
