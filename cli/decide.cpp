#include "cli/decide.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/printable.hpp"
#include "cli/cli_error.hpp"
#include "cli/cluster.hpp"
#include "cli/io.hpp"
#include "cli/request_text.hpp"
#include "cli/statement.hpp"
#include "cli/table.hpp"
#include "config/reader.hpp"
#include "reconcile/resources.hpp"

namespace signet::cli {
namespace {

using nlohmann::json;
using std::chrono::seconds;

constexpr const char* kApprovePurpose = R"(Say yes to a SigningRequest.

Shows what is approved and asks; then makes a SigningApproval that holds for this very request and this revision of the
policy. With --key it carries your own signature, as policies with approvals.requireSigned want it.)";
constexpr const char* kDenyPurpose = R"(Say no to a SigningRequest. The no of one approver ends it.

Shows what is denied and asks; then makes a SigningApproval with the decision Deny.)";
constexpr const char* kDecideFooter = R"(Examples:
  {signet} approve payments-api-1.42.0 -n payments-ci --comment "tests are green"
  {signet} deny payments-api-1.42.0 --comment "wrong branch"
  {signet} approve payments-api-1.42.0 --key ~/.ssh/id_ed25519        # a .pub file: the agent signs
  {signet} approve payments-api-1.42.0 --print-statement > statement  # to sign on another machine:
    ssh-keygen -Y sign -n signet-approval@signet.dev -f KEY statement
    {signet} approve payments-api-1.42.0 --signature statement.sig --issued-at TIME --expires-at TIME

Exit codes: 0 on record; 1 failed, or decided already, or your answer was no; 2 usage, or no terminal and no --yes;
3 kubeconfig, unreadable file; 5 refused by Signet's admission (not an approver, your own request, ...).)";

struct DecideFlags {
  api::Decision decision = api::Decision::kApprove;
  std::string name, comment, signature, issued_at, expires_at, cluster_id;
  std::string valid_for = "1h";
  Signer signer;
  bool print = false;
  bool yes = false;
  ClusterFlags cluster;

  [[nodiscard]] bool Signs() const { return !signer.key.empty() || !signer.command.empty() || !signature.empty(); }
};

struct Subject {
  FoundRequest request;
  std::optional<FoundPolicy> policy;
  [[nodiscard]] const api::SigningPolicy* policy_or_null() const { return policy ? &policy->policy : nullptr; }
};

base::Result<std::string> ClusterId(const DecideFlags& flags, Cluster& cluster) {
  if (!flags.cluster_id.empty()) return flags.cluster_id;
  auto found = cluster.store->Get(reconcile::Namespaces(), "", "kube-system");
  if (found) return found->at("metadata").value("uid", "");
  auto error = found.error();
  error.message = Plainly(error) + "; its uid is part of what is signed: ask for it, and give it with --cluster-id";
  return error;
}

struct Validity {
  base::TimePoint from, until;
};

base::Result<Validity> ValidityOf(const DecideFlags& flags) {
  const auto now = std::chrono::time_point_cast<seconds>(base::SystemClock().Now());
  const auto length = config::ParseTimespan(flags.valid_for);
  if (!length) return UsageError("--valid-for: " + length.error().message);
  Validity out{now, now + std::max(std::chrono::duration_cast<seconds>(*length), seconds(1))};
  if (!flags.issued_at.empty()) {
    const auto time = base::ParseTime(flags.issued_at);
    if (!time) return UsageError("--issued-at: " + time.error().message);
    out = {*time, *time + (out.until - out.from)};
  }
  if (!flags.expires_at.empty()) {
    const auto time = base::ParseTime(flags.expires_at);
    if (!time) return UsageError("--expires-at: " + time.error().message);
    out.until = *time;
  }
  if (out.until <= out.from) return UsageError("--expires-at must be later than --issued-at");
  return out;
}

base::Result<std::string> StatementText(const DecideFlags& flags, Cluster& cluster, const Subject& subject,
                                        const Validity& validity) {
  if (!subject.policy) {
    return base::MakeError(
        base::Code::kPermissionDenied,
        fmt::format("SigningPolicy {} cannot be read, and its revision is part of what is signed: ask "
                    "for the right to get signingpolicies",
                    subject.request.request.spec.policy_name));
  }
  TRY(auto cluster_id, ClusterId(flags, cluster));
  return policy::Render(StatementOf(subject.request.request, subject.policy->policy, std::move(cluster_id),
                                    flags.decision, validity.from, validity.until));
}

base::Result<std::optional<api::ApprovalSignature>> SignatureFor(const DecideFlags& flags, Cluster& cluster,
                                                                 const Subject& subject) {
  if (!flags.Signs()) return std::optional<api::ApprovalSignature>();
  TRY(const auto validity, ValidityOf(flags));
  TRY(const auto statement, StatementText(flags, cluster, subject, validity));
  api::ApprovalSignature out{validity.from, validity.until, ""};
  if (flags.signature.empty()) {
    TRY(out.signature, SignStatement(statement, flags.signer));
  } else {
    TRY(const auto armored, ReadAll(flags.signature, api::kMaxSshSignature));
    out.signature = std::string(base::AsText(armored));
    if (auto good = CheckSignature(statement, out.signature); !good) {
      return base::MakeError(base::Code::kFailedPrecondition,
                             fmt::format("{} does not sign what is to be decided: {}; were request, policy, decision, "
                                         "--issued-at and --expires-at the same?",
                                         flags.signature, good.error().message));
    }
  }
  return std::optional(std::move(out));
}

/// True: yes.
bool Confirmed(const DecideFlags& flags, const std::string& text) {
  std::fputs(base::PrintableText(text).c_str(), stderr);
  std::fputs(flags.decision == api::Decision::kApprove ? "Approve? [y/N] " : "Deny? [y/N] ", stderr);
  std::string answer;
  std::getline(std::cin, answer);
  return answer == "y" || answer == "Y" || answer == "yes";
}

std::optional<ExitCode> CheckUsage(const Context& context, const DecideFlags& flags) {
  const int ways = static_cast<int>(!flags.signer.key.empty()) + static_cast<int>(!flags.signer.command.empty()) +
                   static_cast<int>(!flags.signature.empty());
  if (ways > 1) return Fail(context, ExitCode::kUsage, "--key, --sign-with and --signature exclude each other");
  if (!flags.signature.empty() && (flags.issued_at.empty() || flags.expires_at.empty())) {
    return Fail(context, ExitCode::kUsage, "--signature needs the --issued-at and --expires-at that were signed");
  }
  if (!flags.print && !flags.yes && !context.in_is_terminal) {
    return Fail(context, ExitCode::kUsage, "stdin is no terminal to ask on: give --yes to decide without being asked");
  }
  return std::nullopt;
}

ExitCode PrintStatement(const Context& context, const DecideFlags& flags, Cluster& cluster, const Subject& subject) {
  const auto validity = ValidityOf(flags);
  if (!validity) return Fail(context, ExitCode::kUsage, validity.error());
  const auto statement = StatementText(flags, cluster, subject, *validity);
  if (!statement) return FailOf(context, statement.error());
  Note(fmt::format(
      "sign it with ssh-keygen -Y sign -n {}, then: {} {} {} -n {} --signature FILE --issued-at {} "
      "--expires-at {}",
      policy::kApprovalNamespace, context.program, flags.decision == api::Decision::kApprove ? "approve" : "deny",
      flags.name, cluster.ns, base::FormatTimeSeconds(validity->from), base::FormatTimeSeconds(validity->until)));
  return PrintRaw(context, *statement);
}

ExitCode RunDecide(const Context& context, const DecideFlags& flags) {
  if (const auto wrong = CheckUsage(context, flags)) return *wrong;
  auto cluster = OpenCluster(context, flags.cluster);
  if (!cluster) return FailOf(context, cluster.error());
  auto request = GetRequest(*cluster, flags.name);
  if (!request) return FailOf(context, request.error());
  const auto state = StateOf(request->request);
  if (state.kind != RequestState::Kind::kWaiting) {
    return Fail(context, ExitCode::kFailed, fmt::format("{} is decided already: {}", flags.name, Sentence(state)));
  }
  Subject subject{std::move(*request), std::nullopt};
  if (auto policy = GetPolicy(*cluster, subject.request.request.spec.policy_name)) {
    subject.policy = std::move(*policy);
  } else {
    Note(fmt::format("note: the policy cannot be shown: {}", Plainly(policy.error())));
  }
  if (flags.print) return PrintStatement(context, flags, *cluster, subject);
  const auto& seen = subject.request.request;
  if (!flags.yes && !Confirmed(flags, DecisionText(seen, subject.policy_or_null(), base::SystemClock().Now()))) {
    return Fail(context, ExitCode::kFailed, "nothing was sent");
  }
  const auto signature = SignatureFor(flags, *cluster, subject);
  if (!signature) {
    const auto& error = signature.error();
    if (error.reason == "Usage") return Fail(context, ExitCode::kUsage, error);
    if (error.reason == "FileUnreadable") return Fail(context, ExitCode::kConfiguration, error);
    return FailOf(context, error);
  }
  const auto created =
      cluster->store->Create(reconcile::SigningApprovals(), cluster->ns,
                             ApprovalObject(seen, subject.policy_or_null(), flags.decision, flags.comment, *signature));
  if (!created) return FailOf(context, created.error());
  const std::string made = created->at("metadata").value("name", "");
  return Print(context, fmt::format("signingapproval.signet.dev/{} {}\n", made,
                                    flags.decision == api::Decision::kApprove ? "approves" : "denies"));
}

void Add(CLI::App& parent, Context& context, api::Decision decision, const char* name, const char* purpose) {
  auto flags = std::make_shared<DecideFlags>();
  flags->decision = decision;
  auto* command = AddCommand(parent, context, name, purpose, kDecideFooter,
                             [&context, flags] { return RunDecide(context, *flags); });
  command->add_option("NAME", flags->name, "The SigningRequest")->required();
  command->add_option("--comment", flags->comment, "Why, for those who read the request and the record")
      ->type_name("TEXT");
  command->add_flag("-y,--yes", flags->yes, "Do not ask");
  command->add_option("--key", flags->signer.key, "Sign it with this SSH key (a .pub file: with the agent)")
      ->type_name("FILE");
  command
      ->add_option("--sign-with", flags->signer.command,
                   "Sign it with this shell command: statement on stdin, armoured SSH signature on stdout")
      ->type_name("COMMAND");
  command->add_option("--valid-for", flags->valid_for, "How long the signature holds (default 1h)")->type_name("TIME");
  command->add_flag("--print-statement", flags->print, "Print the exact octets to sign, and send nothing");
  command->add_option("--signature", flags->signature, "A signature made elsewhere")->type_name("FILE");
  command->add_option("--issued-at", flags->issued_at, "The issuedAt that was signed")->type_name("TIME");
  command->add_option("--expires-at", flags->expires_at, "The expiresAt that was signed")->type_name("TIME");
  command->add_option("--cluster-id", flags->cluster_id, "Uid of the namespace kube-system, if you may not read it")
      ->type_name("UID");
  AddNamespaceFlag(*command, flags->cluster);
  AddClusterFlags(*command, flags->cluster);
  AddImpersonationFlags(*command, flags->cluster);
}

}  // namespace

void AddApprove(CLI::App& parent, Context& context) {
  Add(parent, context, api::Decision::kApprove, "approve", kApprovePurpose);
}

void AddDeny(CLI::App& parent, Context& context) { Add(parent, context, api::Decision::kDeny, "deny", kDenyPurpose); }

json ApprovalObject(const api::SigningRequest& request, const api::SigningPolicy* policy, api::Decision decision,
                    const std::string& comment, const std::optional<api::ApprovalSignature>& signature) {
  constexpr std::size_t kLongestStem = 240;
  std::string stem = request.metadata.name.substr(0, kLongestStem);
  stem.erase(stem.find_last_not_of("-.") + 1);
  json spec = {{"requestRef", {{"name", request.metadata.name}, {"uid", request.metadata.uid}}},
               {"decision", api::Name(decision)}};
  if (!comment.empty()) spec["comment"] = comment;
  if (policy != nullptr) {
    spec["policy"] = {{"uid", policy->metadata.uid}, {"generation", policy->metadata.generation}};
  }
  if (signature) {
    spec["signed"] = {{"issuedAt", base::FormatTimeSeconds(signature->issued_at)},
                      {"expiresAt", base::FormatTimeSeconds(signature->expires_at)},
                      {"signature", signature->signature}};
  }
  return {{"apiVersion", api::kApiVersion},
          {"kind", "SigningApproval"},
          {"metadata", {{"name", stem + "-" + RandomSuffix()}, {"namespace", request.metadata.ns}}},
          {"spec", std::move(spec)}};
}

std::string DecisionText(const api::SigningRequest& request, const api::SigningPolicy* policy, base::TimePoint now) {
  const auto& spec = request.spec;
  Sheet sheet;
  sheet.Add("Request", fmt::format("{}/{}", request.metadata.ns, request.metadata.name));
  sheet.Add("Requester", spec.requester ? spec.requester->username : "not stamped");
  sheet.Add("Artifact", spec.artifact ? spec.artifact->name : "none named");
  if (spec.artifact) sheet.Add("Media type", spec.artifact->media_type);
  sheet.Add(spec.message ? "Message" : "Digest", ContentDigest(spec));
  sheet.Add("Algorithm", AlgorithmName(spec, policy));
  sheet.Add("Policy", policy == nullptr
                          ? spec.policy_name + " (not readable; the revision in force is approved)"
                          : fmt::format("{}, generation {}", spec.policy_name, policy->metadata.generation));
  if (policy != nullptr && policy->spec.approvals) {
    sheet.Add("Required", fmt::format("{} approval{}{}", policy->spec.approvals->required,
                                      policy->spec.approvals->required == 1 ? "" : "s",
                                      policy->spec.approvals->require_signed ? ", each signed: give --key" : ""));
  }
  sheet.Add("Given so far", ApprovalsText(request, now));
  return sheet.Render();
}

}  // namespace signet::cli
