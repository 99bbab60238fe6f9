#include "cli/requests.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/cluster.hpp"
#include "cli/output.hpp"
#include "cli/request_text.hpp"
#include "cli/table.hpp"
#include "reconcile/resources.hpp"

namespace signet::cli {
namespace {

using nlohmann::json;

constexpr const char* kListPurpose = "List SigningRequests: what was asked, by whom, and how it stands.";
constexpr const char* kListFooter = R"(Examples:
  {signet} requests                      # of the context's namespace
  {signet} requests -A --waiting         # what waits, everywhere
  {signet} requests --policy release -o json | jq -r '.items[].metadata.name'

Exit codes: 0 listed (also when there are none); 1 failed; 2 usage; 3 kubeconfig.)";

constexpr const char* kShowPurpose =
    "Show one SigningRequest: policy, requester, artifact, digest, conditions, approvals, signature, and what is "
    "missing.";
constexpr const char* kShowFooter = R"(Examples:
  {signet} show payments-api-1.42.0 -n payments-ci
  {signet} show payments-api-1.42.0 -o yaml

Exit codes: 0 shown; 1 failed, or no such request; 2 usage; 3 kubeconfig.)";

struct ListFlags {
  ClusterFlags cluster;
  bool all = false;
  bool waiting = false;
  std::string policy;
  Format format = Format::kTable;
};

ExitCode RunList(const Context& context, const ListFlags& flags) {
  auto cluster = OpenCluster(context, flags.cluster);
  if (!cluster) return FailOf(context, cluster.error());
  auto list = flags.all ? cluster->store->ListAll(reconcile::SigningRequests())
                        : cluster->store->ListNamespace(reconcile::SigningRequests(), cluster->ns);
  if (!list) return FailOf(context, list.error());
  std::vector<json> objects;
  std::vector<api::SigningRequest> requests;
  for (json& object : list->items) {
    auto request = ReadLeniently(object);
    if (!flags.policy.empty() && request.spec.policy_name != flags.policy) continue;
    if (flags.waiting && StateOf(request).kind != RequestState::Kind::kWaiting) continue;
    requests.push_back(std::move(request));
    objects.push_back(std::move(object));
  }
  if (flags.format == Format::kName) {
    std::string names;
    for (const auto& request : requests) names += fmt::format("signingrequest.signet.dev/{}\n", request.metadata.name);
    return Print(context, names);
  }
  if (flags.format != Format::kTable) return Print(context, Render(ListOf(std::move(objects)), flags.format));
  if (requests.empty()) {
    Note(flags.all ? "No requests found." : fmt::format("No requests found in namespace {}.", cluster->ns));
    return ExitCode::kDone;
  }
  return Print(context, RequestsTable(requests, flags.all, base::SystemClock().Now(), context.columns));
}

struct ShowFlags {
  ClusterFlags cluster;
  std::string name;
  Format format = Format::kTable;
};

ExitCode RunShow(const Context& context, const ShowFlags& flags) {
  auto cluster = OpenCluster(context, flags.cluster);
  if (!cluster) return FailOf(context, cluster.error());
  auto object = cluster->store->Get(reconcile::SigningRequests(), cluster->ns, flags.name);
  if (!object) return FailOf(context, object.error());
  if (flags.format == Format::kName) return Print(context, fmt::format("signingrequest.signet.dev/{}\n", flags.name));
  if (flags.format != Format::kTable) {
    return Print(context, Render(WithoutManagedFields(std::move(*object)), flags.format));
  }
  const auto request = ReadLeniently(*object);
  const auto policy = GetPolicy(*cluster, request.spec.policy_name);
  return Print(context,
               ShowText(request, policy ? &policy->policy : nullptr, context.program, base::SystemClock().Now()));
}

std::string ApprovalsNeeded(const api::SigningPolicy& policy) {
  const auto& approvals = policy.spec.approvals;
  if (!approvals || approvals->required == 0) return "";
  std::string who;
  for (const auto& approver : approvals->approvers) who += (who.empty() ? "" : ", ") + SubjectText(approver);
  return fmt::format("{}{} of: {}", approvals->required, approvals->require_signed ? ", each signed," : "", who);
}

std::string NextStep(const api::SigningRequest& request, const api::SigningPolicy* policy, std::string_view program) {
  if (StateOf(request).reason != "AwaitingApproval") return "";
  const bool is_signed = policy != nullptr && policy->spec.approvals && policy->spec.approvals->require_signed;
  return fmt::format("{} approve {} -n {}{}", program, request.metadata.name, request.metadata.ns,
                     is_signed ? " --key ~/.ssh/id_ed25519" : "");
}

std::string ConditionsText(const api::SigningRequest& request) {
  std::string out;
  for (const auto& condition : request.status.conditions) {
    out += fmt::format("{}{}={} {}{}{}", out.empty() ? "" : "\n", condition.type, condition.status ? "True" : "False",
                       condition.reason, condition.message.empty() ? "" : ": ", condition.message);
  }
  return out;
}

}  // namespace

void AddRequests(CLI::App& parent, Context& context) {
  auto flags = std::make_shared<ListFlags>();
  auto* command = AddCommand(parent, context, "requests", kListPurpose, kListFooter,
                             [&context, flags] { return RunList(context, *flags); });
  command->add_flag("-A,--all-namespaces", flags->all, "Of all namespaces");
  command->add_flag("--waiting", flags->waiting, "Only those that are not decided");
  command->add_option("--policy", flags->policy, "Only those under this policy")->type_name("NAME");
  AddNamespaceFlag(*command, flags->cluster);
  AddClusterFlags(*command, flags->cluster);
  AddImpersonationFlags(*command, flags->cluster);
  AddOutputFlag(*command, flags->format, {Format::kTable, Format::kJson, Format::kYaml, Format::kName});
}

void AddShow(CLI::App& parent, Context& context) {
  auto flags = std::make_shared<ShowFlags>();
  auto* command = AddCommand(parent, context, "show", kShowPurpose, kShowFooter,
                             [&context, flags] { return RunShow(context, *flags); });
  command->add_option("NAME", flags->name, "The SigningRequest")->required();
  AddNamespaceFlag(*command, flags->cluster);
  AddClusterFlags(*command, flags->cluster);
  AddImpersonationFlags(*command, flags->cluster);
  AddOutputFlag(*command, flags->format, {Format::kTable, Format::kJson, Format::kYaml, Format::kName});
}

std::string RequestsTable(const std::vector<api::SigningRequest>& requests, bool namespaces, base::TimePoint now,
                          int columns) {
  auto sorted = requests;
  std::stable_sort(sorted.begin(), sorted.end(), [](const auto& left, const auto& right) {
    return left.metadata.creation_time < right.metadata.creation_time;
  });
  std::vector<std::string> headers = {"NAME", "STATE", "REASON", "POLICY", "ARTIFACT", "REQUESTER", "AGE"};
  if (namespaces) headers.insert(headers.begin(), "NAMESPACE");
  Table table(headers);
  for (const auto& request : sorted) {
    const auto state = StateOf(request);
    std::vector<std::string> row = {request.metadata.name,
                                    std::string(Name(state.kind)),
                                    state.kind == RequestState::Kind::kSigned ? "" : state.reason,
                                    request.spec.policy_name,
                                    request.spec.artifact ? request.spec.artifact->name : "",
                                    request.spec.requester ? request.spec.requester->username : "",
                                    Age(request.metadata.creation_time, now)};
    if (namespaces) row.insert(row.begin(), request.metadata.ns);
    table.Add(std::move(row));
  }
  return table.Render(columns);
}

std::string ShowText(const api::SigningRequest& request, const api::SigningPolicy* policy, std::string_view program,
                     base::TimePoint now) {
  const auto state = StateOf(request);
  const auto& status = request.status;
  Sheet sheet;
  sheet.Add("Name", request.metadata.name);
  sheet.Add("Namespace", request.metadata.ns);
  sheet.Add("Age", Age(request.metadata.creation_time, now));
  sheet.Add("State", fmt::format("{} ({})", Name(state.kind), state.reason));
  sheet.Add("Policy", policy == nullptr
                          ? request.spec.policy_name
                          : fmt::format("{} (generation {})", request.spec.policy_name, policy->metadata.generation));
  sheet.Add("Requester", request.spec.requester ? request.spec.requester->username : "not stamped");
  if (request.spec.artifact) {
    sheet.Add("Artifact", request.spec.artifact->name);
    sheet.Add("Media type", request.spec.artifact->media_type);
  }
  if (request.spec.digest || request.spec.message) {
    sheet.Add(request.spec.message ? "Message" : "Digest",
              ContentDigest(request.spec) +
                  (request.spec.message ? fmt::format(" ({} bytes)", request.spec.message->size()) : ""));
  }
  sheet.Add("Algorithm", AlgorithmName(request.spec, policy));
  sheet.Add("Conditions", ConditionsText(request));
  if (policy != nullptr) sheet.Add("Approvals needed", ApprovalsNeeded(*policy));
  sheet.Add("Approvals given", ApprovalsText(request, now));
  if (!status.signature.empty()) {
    sheet.Add("Signature", status.signature);
    sheet.Add("Key", status.key_id);
    sheet.Add("Signed under", fmt::format("{} (generation {})", status.policy_name, status.policy_generation));
    sheet.Add("Signed at", status.signed_at);
    sheet.Add("Record", status.record);
  }
  if (state.kind == RequestState::Kind::kWaiting)
    sheet.Add("Missing", state.message.empty() ? state.reason : state.message);
  sheet.Add("Approve with", NextStep(request, policy, program));
  return sheet.Render();
}

}  // namespace signet::cli
