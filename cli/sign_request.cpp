// `signet sign` as a SigningRequest.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/clock.hpp"
#include "cli/request_text.hpp"
#include "cli/sign.hpp"
#include "cli/signature_check.hpp"
#include "crypto/digest.hpp"
#include "crypto/public_key.hpp"
#include "encoding/text.hpp"
#include "reconcile/resources.hpp"

namespace signet::cli {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;

/// A name that Kubernetes takes: after the file or artifact, and five random characters.
std::string NameFor(const SignFlags& flags) {
  if (!flags.name.empty()) return flags.name;
  const std::string& from = flags.file.empty() || flags.file == "-" ? flags.artifact : flags.file;
  std::string stem;
  for (const char c : from.substr(from.find_last_of('/') + 1)) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    const bool capital = c >= 'A' && c <= 'Z';
    if (letter || capital) stem += capital ? static_cast<char>(c - 'A' + 'a') : c;
    if (!letter && !capital && !stem.empty() && stem.back() != '-') stem += '-';
  }
  constexpr std::size_t kLongest = 50;
  stem.resize(std::min(stem.size(), kLongest));
  stem.erase(stem.find_last_not_of('-') + 1);
  return (stem.empty() ? "sign" : stem) + "-" + RandomSuffix();
}

/// What signs: the flag's, else the policy's first where we may read the policy, else not known.
std::optional<api::SignatureAlgorithm> ChosenAlgorithm(const SignFlags& flags, Cluster& cluster, Progress& progress) {
  if (!flags.algorithm.empty()) return encoding::ParseSignatureAlgorithm(flags.algorithm);
  if (!flags.digest.empty()) return std::nullopt;
  const auto policy = GetPolicy(cluster, flags.policy);
  if (policy) return policy->policy.spec.algorithms.front();
  progress.Say(fmt::format("note: the policy cannot be read ({}), so SHA-256 is taken; --algorithm says otherwise",
                           policy.error().reason.empty() ? "not valid" : policy.error().reason));
  return std::nullopt;
}

base::Result<json> CreateRequest(const SignFlags& flags, const SignInput& input, Cluster& cluster) {
  json spec = InputJson(flags, input);
  spec["policyRef"] = {{"name", flags.policy}};
  const json object = {{"apiVersion", api::kApiVersion},
                       {"kind", "SigningRequest"},
                       {"metadata", {{"name", NameFor(flags)}, {"namespace", cluster.ns}}},
                       {"spec", std::move(spec)}};
  return cluster.store->Create(reconcile::SigningRequests(), cluster.ns, object);
}

ExitCode DeliverOf(const Context& context, const SignFlags& flags, const SignInput& input,
                   const api::SigningRequest& request) {
  auto signature = encoding::FromBase64(request.status.signature);
  if (!signature || signature->empty()) return Fail(context, ExitCode::kFailed, "the status holds no signature");
  SignatureClaim claim{request.status.algorithm, request.status.key_id, request.status.public_key, *signature, "asn1"};
  const auto key = CheckSignature(flags, input, claim);
  if (!key) return FailOfCheck(context, key.error());
  if (flags.encoding == "p1363" && key->algorithm() == encoding::KeyAlgorithm::kEcdsa) {
    constexpr std::size_t kBits = 8;
    auto raw = crypto::EcdsaDerToP1363(*signature, (static_cast<std::size_t>(key->bits()) + kBits - 1) / kBits);
    if (!raw) return Fail(context, ExitCode::kFailed, raw.error());
    claim.signature = *raw;
    claim.encoding = "p1363";
    if (const auto again = CheckSignature(flags, input, claim); !again) return FailOfCheck(context, again.error());
    signature = std::move(*raw);
  }
  if (!flags.quiet) {
    Note(fmt::format("signed with {}, key {}, record {}", request.status.algorithm, request.status.key_id,
                     request.status.record));
  }
  return Deliver(context, flags, *signature);
}

/// Looks again and again, ever more slowly: those who may get a request need not be allowed to watch all of them.
ExitCode WaitFor(const Context& context, const SignFlags& flags, const SignInput& input, Cluster& cluster,
                 const api::ObjectMeta& made, base::SteadyPoint end, Progress& progress) {
  constexpr milliseconds kSlowest{2000};
  for (milliseconds pause{50};; pause = std::min(pause * 2, kSlowest)) {
    const auto object = cluster.store->Get(reconcile::SigningRequests(), cluster.ns, made.name);
    const bool passing = !object && (object.error().code == base::Code::kUnavailable ||
                                     object.error().code == base::Code::kDeadlineExceeded);
    if (!object && !passing) return FailOf(context, object.error());
    if (object) {
      const auto request = ReadLeniently(*object);
      if (request.metadata.uid != made.uid) {
        return Fail(context, ExitCode::kFailed,
                    fmt::format("{} was deleted and made anew by somebody else", made.name));
      }
      const auto state = StateOf(request);
      if (state.kind == RequestState::Kind::kSigned) return DeliverOf(context, flags, input, request);
      if (state.kind != RequestState::Kind::kWaiting) return Fail(context, ExitCode::kDenied, Sentence(state));
      progress.Say("waiting: " + WaitingLine(request, state));
    } else {
      progress.Say("waiting: " + Plainly(object.error()));
    }
    if (base::SystemClock().Steady() + pause >= end) {
      return Fail(context, ExitCode::kTimedOut,
                  fmt::format("undecided after {}; the request stays and may still be signed: {} show {} -n {}",
                              flags.timeout, context.program, made.name, cluster.ns));
    }
    std::this_thread::sleep_for(pause);
  }
}

}  // namespace

ExitCode SignAsRequest(const Context& context, const SignFlags& flags, milliseconds timeout) {
  auto cluster = OpenCluster(context, flags.cluster);
  if (!cluster) return FailOf(context, cluster.error());
  const auto end = base::SystemClock().Steady() + timeout;
  Progress progress(flags.quiet);
  const auto input = ReadSignInput(flags, ChosenAlgorithm(flags, *cluster, progress));
  if (!input) {
    const auto& reason = input.error().reason;
    return Fail(context,
                reason == "FileUnreadable" ? ExitCode::kConfiguration
                : reason == "Usage"        ? ExitCode::kUsage
                                           : ExitCode::kFailed,
                input.error());
  }
  const auto created = CreateRequest(flags, *input, *cluster);
  if (!created) return FailOf(context, created.error());
  const auto made = ReadLeniently(*created).metadata;
  if (!flags.wait) return Print(context, fmt::format("signingrequest.signet.dev/{}\n", made.name));
  if (!flags.quiet) Note(fmt::format("made SigningRequest {} in namespace {}", made.name, cluster->ns));
  return WaitFor(context, flags, *input, *cluster, made, end, progress);
}

}  // namespace signet::cli
