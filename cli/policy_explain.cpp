// `signet policy explain`.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "api/json.hpp"
#include "cli/cli_error.hpp"
#include "cli/cluster.hpp"
#include "cli/output.hpp"
#include "cli/policy_commands.hpp"
#include "cli/policy_eval.hpp"
#include "identity/principal.hpp"
#include "reconcile/resources.hpp"

namespace signet::cli {
namespace {

using nlohmann::json;

constexpr const char* kExplainPurpose = R"(Would this subject get this signature now, and if not, why?

Evaluates the policy of the cluster, or one in files (-f), with the operator's own code, on this machine. Of the
cluster's policy, the state of its key counts too; quotas are not evaluated, nor which images a pod runs: of
spec.pod the answer says that it is there.)";
constexpr const char* kExplainFooter = R"(Examples:
  {signet} policy explain release --as system:serviceaccount:payments-ci:ci-main \
      --artifact registry.example.com/payments/api:1.42.0
  {signet} policy explain release -f policies/ --as alice --as-group release-engineers --at 2026-12-24T20:00:00Z
  {signet} policy explain release -f release.yaml --as system:serviceaccount:web:release-bot \
      --namespace-label signet.dev/tier=production --approvals 2

Exit codes: 0 would be signed now; 1 failed; 2 usage; 3 no such file or policy file, kubeconfig; 5 would not.)";

struct ExplainFlags {
  std::string policy, user, artifact, media_type, digest, algorithm, at;
  std::vector<std::string> groups, files;
  std::map<std::string, std::string> labels;
  int approvals = 0;
  ClusterFlags cluster;
  Format format = Format::kTable;
};

base::Result<Question> QuestionOf(const ExplainFlags& flags) {
  Question out;
  out.username = flags.user;
  out.groups = flags.groups.empty() ? ImpliedGroups(flags.user) : flags.groups;
  out.approvals = flags.approvals;
  out.at = base::SystemClock().Now();
  if (!flags.labels.empty()) out.namespace_labels = flags.labels;
  if (!flags.at.empty()) {
    const auto at = base::ParseTime(flags.at);
    if (!at) return UsageError("--at: " + at.error().message);
    out.at = *at;
  }
  if (!flags.artifact.empty()) {
    if (auto good = api::ValidateArtifactName(flags.artifact); !good)
      return UsageError("--artifact: " + good.error().message);
    out.artifact = api::Artifact{flags.artifact, flags.media_type, {}};
  } else if (!flags.media_type.empty()) {
    return UsageError("--media-type belongs to an --artifact");
  }
  if (!flags.digest.empty()) {
    auto digest = api::ParseDigest(flags.digest);
    if (!digest) return UsageError("--digest: " + digest.error().message);
    out.digest = std::move(*digest);
  }
  if (!flags.algorithm.empty()) {
    out.algorithm = encoding::ParseSignatureAlgorithm(flags.algorithm);
    if (!out.algorithm) return UsageError("--algorithm: no algorithm is called " + flags.algorithm);
  }
  return out;
}

/// The labels of the service account's namespace, as the operator would see them.
void FindLabels(Cluster& cluster, Question& question) {
  const auto account = identity::ParseServiceAccount(question.username);
  if (!account || question.namespace_labels) return;
  const auto found = cluster.store->Get(reconcile::Namespaces(), "", account->ns);
  if (!found) {
    Note(fmt::format("note: the labels of namespace {} cannot be read ({}): give them with --namespace-label",
                     account->ns, Plainly(found.error())));
    return;
  }
  question.namespace_labels.emplace();
  const json labels = found->at("metadata").value("labels", json::object());
  for (const auto& [key, value] : labels.items()) {
    if (value.is_string()) question.namespace_labels->emplace(key, value.get<std::string>());
  }
}

/// A policy that says yes signs only when its key is ready.
void ConsiderStatus(const api::SigningPolicy& policy, Verdict& verdict) {
  const auto* ready = api::FindCondition(policy.status.conditions, "Ready");
  if (!verdict.allowed() || (ready != nullptr && ready->status)) return;
  verdict.reason = ready == nullptr ? "Pending" : ready->reason;
  verdict.message = ready == nullptr ? "the policy allows it, but the operator has not looked at the policy yet"
                                     : "the policy allows it, but its key cannot be used: " + ready->message;
}

base::Result<Verdict> Explain(const Context& context, const ExplainFlags& flags, Question question) {
  if (!flags.files.empty()) {
    TRY(const auto policies, LoadPolicies(flags.files));
    const auto found = policies.find(flags.policy);
    if (found == policies.end()) {
      return base::MakeError(base::Code::kNotFound, "ConfigInvalid",
                             fmt::format("no SigningPolicy {} in {}", flags.policy, fmt::join(flags.files, ", ")));
    }
    return Evaluate(found->second, question);
  }
  TRY(auto cluster, OpenCluster(context, flags.cluster));
  TRY(const auto found, GetPolicy(cluster, flags.policy));
  FindLabels(cluster, question);
  TRY(auto verdict, Evaluate(found.policy, question));
  ConsiderStatus(found.policy, verdict);
  return verdict;
}

ExitCode RunExplain(const Context& context, const ExplainFlags& flags) {
  const auto question = QuestionOf(flags);
  if (!question) return Fail(context, ExitCode::kUsage, question.error());
  const auto verdict = Explain(context, flags, *question);
  if (!verdict) {
    if (verdict.error().reason == "FileUnreadable") return Fail(context, ExitCode::kConfiguration, verdict.error());
    return FailOf(context, verdict.error());
  }
  const auto name = encoding::Info(verdict->algorithm).name;
  ExitCode printed{};
  if (flags.format == Format::kTable) {
    auto text = verdict->allowed() ? fmt::format("Allowed: {} would be signed for {}\n", name, Clean(flags.user))
                                   : fmt::format("{}: {}\n", verdict->reason, Clean(verdict->message));
    if (verdict->allowed() && !verdict->note.empty()) text += fmt::format("  {}\n", Clean(verdict->note));
    printed = Print(context, text);
  } else {
    json out = {{"policy", flags.policy},
                {"username", flags.user},
                {"allowed", verdict->allowed()},
                {"reason", verdict->reason}};
    if (verdict->allowed()) out["algorithm"] = name;
    if (!verdict->message.empty()) out["message"] = verdict->message;
    if (!verdict->note.empty()) out["note"] = verdict->note;
    printed = Print(context, Render(out, flags.format));
  }
  if (printed != ExitCode::kDone) return printed;
  return verdict->allowed() ? ExitCode::kDone : ExitCode::kDenied;
}

}  // namespace

void AddPolicyExplain(CLI::App& parent, Context& context) {
  auto flags = std::make_shared<ExplainFlags>();
  auto* command = AddCommand(parent, context, "explain", kExplainPurpose, kExplainFooter,
                             [&context, flags] { return RunExplain(context, *flags); });
  command->add_option("POLICY", flags->policy, "The SigningPolicy")->required();
  command->add_option("--as", flags->user, "Who asks: alice, system:serviceaccount:NAMESPACE:NAME")
      ->required()
      ->type_name("USER");
  command->add_option("--as-group", flags->groups, "A group of theirs (repeatable; default: those every such user has)")
      ->type_name("GROUP")
      ->take_all()
      ->expected(1);
  command->add_option("--artifact", flags->artifact, "What they say they sign")->type_name("NAME");
  command->add_option("--media-type", flags->media_type, "Of the artifact")->type_name("TYPE");
  command->add_option("--digest", flags->digest, "What they sign: its hash must be the algorithm's")
      ->type_name("sha256:HEX");
  command->add_option("--algorithm", flags->algorithm, "Such as ECDSAWithSHA256 (default: the policy's first)")
      ->type_name("NAME");
  command->add_option("--at", flags->at, "When, such as 2026-12-24T20:00:00Z (default: now)")->type_name("TIME");
  command->add_option("--approvals", flags->approvals, "How many approvals count (default 0)")
      ->type_name("N")
      ->check(CLI::Range(0, 1000).description(""));
  AddPairsFlag(*command, "--namespace-label", flags->labels, "A label of the service account's namespace (repeatable)");
  command
      ->add_option("-f,--file", flags->files, "Policies in this file or folder instead of the cluster's (repeatable)")
      ->type_name("PATH")
      ->take_all()
      ->expected(1);
  AddClusterFlags(*command, flags->cluster);
  AddOutputFlag(*command, flags->format, {Format::kTable, Format::kJson, Format::kYaml});
}

}  // namespace signet::cli
