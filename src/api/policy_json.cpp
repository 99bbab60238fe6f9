#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "api/json.hpp"
#include "api/limits.hpp"
#include "api/node.hpp"
#include "api/object_json.hpp"
#include "api/scalars.hpp"
#include "api/texts.hpp"

namespace signet::api {
namespace {

using base::Result;
using base::Status;

base::Error Prefixed(const Node& node, const base::Error& error) { return node.Bad(error.message); }

constexpr std::string_view kLabelValueRule =
    "must be a label value of letters, digits, -, _ and ., with a letter or digit at both ends";

/// Reads a string that `problem` finds nothing wrong with.
template <class Problem>
Result<std::string> ReadGlob(const Node& node, std::size_t max, Problem problem) {
  TRY(const auto text, node.Text(1, max));
  if (auto why = problem(text)) return node.Bad(*why);
  return std::string(text);
}

Result<LabelSelectorRequirement> ReadRequirement(const Node& node) {
  TRY_VOID(node.OnlyMembers({"key", "operator", "values"}));
  LabelSelectorRequirement out;
  TRY(const auto key, node.Get("key"));
  TRY(const auto key_text, key.Text(1, limits::kLabelKey));
  if (!IsLabelKey(key_text)) return key.Bad("must be a label key such as team or example.com/team");
  out.key = std::string(key_text);
  TRY(const auto op, node.Get("operator"));
  TRY(const auto op_text, op.Text(1, 32));
  using Operator = LabelSelectorRequirement::Operator;
  if (op_text == "In") {
    out.op = Operator::kIn;
  } else if (op_text == "NotIn") {
    out.op = Operator::kNotIn;
  } else if (op_text == "Exists") {
    out.op = Operator::kExists;
  } else if (op_text == "DoesNotExist") {
    out.op = Operator::kDoesNotExist;
  } else {
    return op.Bad("must be In, NotIn, Exists or DoesNotExist");
  }
  if (const auto values = node.Find("values")) {
    TRY_VOID(values->EachItem(limits::kSelectorValues, [&](const Node& value) -> Status {
      TRY(const auto text, value.Text(0, limits::kLabelValue));
      if (!IsLabelValue(text)) return value.Bad(kLabelValueRule);
      out.values.emplace_back(text);
      return {};
    }));
  }
  const bool wants_values = out.op == Operator::kIn || out.op == Operator::kNotIn;
  if (wants_values && out.values.empty()) return node.Bad("In and NotIn need values");
  if (!wants_values && !out.values.empty()) return node.Bad("Exists and DoesNotExist take no values");
  return out;
}

Result<LabelSelector> ReadSelector(const Node& node) {
  TRY_VOID(node.OnlyMembers({"matchLabels", "matchExpressions"}));
  LabelSelector out;
  if (const auto labels = node.Find("matchLabels")) {
    TRY_VOID(labels->EachMember(limits::kMatchLabels, [&](const std::string& key, const Node& value) -> Status {
      if (!IsLabelKey(key)) return value.Bad("must be a label key such as team or example.com/team");
      TRY(const auto text, value.Text(0, limits::kLabelValue));
      if (!IsLabelValue(text)) return value.Bad(kLabelValueRule);
      out.match_labels.emplace(key, text);
      return {};
    }));
  }
  if (const auto expressions = node.Find("matchExpressions")) {
    TRY_VOID(expressions->EachItem(limits::kMatchExpressions, [&](const Node& item) -> Status {
      TRY(auto requirement, ReadRequirement(item));
      out.match_expressions.push_back(std::move(requirement));
      return {};
    }));
  }
  if (out.match_labels.empty() && out.match_expressions.empty()) {
    return node.Bad("an empty selector is refused: it would match every namespace");
  }
  return out;
}

Status ReadAccount(const Node& node, Subject& out) {
  TRY(const auto name, node.Get("name"));
  TRY(out.name, ReadGlob(name, limits::kAccountName, AccountGlobProblem));
  const auto ns = node.Find("namespace");
  const auto selector = node.Find("namespaceSelector");
  if (ns.has_value() == selector.has_value()) {
    return node.Bad("a ServiceAccount has exactly one of namespace and namespaceSelector");
  }
  if (ns) {
    TRY(const auto text, ns->Text(1, limits::kNamespace));
    if (!IsDnsLabel(text)) return ns->Bad("must be the name of one namespace; for several use namespaceSelector");
    out.ns = std::string(text);
  } else {
    TRY(out.namespace_selector, ReadSelector(*selector));
  }
  return {};
}

Result<Subject> ReadSubject(const Node& node) {
  TRY_VOID(node.OnlyMembers({"kind", "name", "namespace", "namespaceSelector"}));
  Subject out;
  TRY(const auto kind, node.Get("kind"));
  TRY(const auto kind_text, kind.Text(1, 32));
  if (kind_text == "ServiceAccount") {
    TRY_VOID(ReadAccount(node, out));
    return out;
  }
  if (kind_text == "User") {
    out.kind = Subject::Kind::kUser;
  } else if (kind_text == "Group") {
    out.kind = Subject::Kind::kGroup;
  } else {
    return kind.Bad("must be ServiceAccount, User or Group");
  }
  if (node.Find("namespace") || node.Find("namespaceSelector")) {
    return node.Bad(fmt::format("a {} takes neither namespace nor namespaceSelector", kind_text));
  }
  TRY(const auto name, node.Get("name"));
  TRY(out.name, ReadGlob(name, limits::kSubjectName, UserGlobProblem));
  if (out.kind == Subject::Kind::kUser && out.name.starts_with("system:")) {
    return name.Bad("a User entry never matches system:*; for service accounts use kind ServiceAccount");
  }
  return out;
}

Result<std::vector<Subject>> ReadSubjects(const Node& node) {
  std::vector<Subject> out;
  TRY_VOID(node.EachItem(limits::kSubjects, [&](const Node& item) -> Status {
    TRY(auto subject, ReadSubject(item));
    out.push_back(std::move(subject));
    return {};
  }));
  return out;
}

Result<ArtifactRule> ReadArtifactRule(const Node& node) {
  TRY_VOID(node.OnlyMembers({"name", "mediaTypes"}));
  ArtifactRule out;
  TRY(const auto name, node.Get("name"));
  TRY(out.name, ReadGlob(name, limits::kArtifactGlob, ArtifactGlobProblem));
  if (const auto types = node.Find("mediaTypes")) {
    TRY_VOID(types->EachItem(limits::kMediaTypes, [&](const Node& item) -> Status {
      TRY(auto glob, ReadGlob(item, limits::kMediaType, MediaTypeGlobProblem));
      if (std::find(out.media_types.begin(), out.media_types.end(), glob) != out.media_types.end()) {
        return item.Bad("appears twice");
      }
      out.media_types.push_back(std::move(glob));
      return {};
    }));
  }
  return out;
}

Result<TimeOfDay> ReadTime(const Node& window, std::string_view member, bool is_end) {
  TRY(const auto node, window.Get(member));
  TRY(const auto text, node.Text(0, limits::kTimeOfDay));
  const auto minutes = ParseTimeOfDay(text, is_end);
  if (!minutes) return node.Bad(is_end ? "must be HH:MM, from 00:00 to 24:00" : "must be HH:MM, from 00:00 to 23:59");
  return TimeOfDay{*minutes};
}

Result<Window> ReadWindow(const Node& node) {
  TRY_VOID(node.OnlyMembers({"days", "from", "to", "timeZone"}));
  Window out;
  if (const auto days = node.Find("days")) {
    TRY_VOID(days->EachItem(limits::kDays, [&](const Node& item) -> Status {
      TRY(const auto text, item.Text(1, 3));
      const auto day = ParseDay(text);
      if (!day) return item.Bad("must be Mon, Tue, Wed, Thu, Fri, Sat or Sun");
      if (std::find(out.days.begin(), out.days.end(), *day) != out.days.end()) return item.Bad("appears twice");
      out.days.push_back(*day);
      return {};
    }));
  }
  TRY(out.from, ReadTime(node, "from", false));
  TRY(out.to, ReadTime(node, "to", true));
  if (const auto zone = node.Find("timeZone")) {
    TRY(const auto text, zone->Text(1, limits::kTimeZone));
    if (!IsTimeZoneName(text)) return zone->Bad("must be an IANA time zone like Europe/Berlin");
    out.time_zone = std::string(text);
  }
  return out;
}

Result<Quota> ReadQuota(const Node& node) {
  TRY_VOID(node.OnlyMembers({"perSecond", "perDay", "scope"}));
  Quota out;
  if (const auto rate = node.Find("perSecond")) {
    TRY(out.per_second, rate->Integer(1, limits::kPerSecond));
  }
  if (const auto budget = node.Find("perDay")) {
    TRY(out.per_day, budget->Integer(1, limits::kPerDay));
  }
  if (!out.per_second && !out.per_day) return node.Bad("needs perSecond or perDay");
  if (const auto scope = node.Find("scope")) {
    TRY(const auto text, scope->Text(1, 32));
    if (text != "Policy" && text != "Subject") return scope->Bad("must be Policy or Subject");
    out.scope = text == "Policy" ? Quota::Scope::kPolicy : Quota::Scope::kSubject;
  }
  return out;
}

Result<Approvals> ReadApprovals(const Node& node) {
  TRY_VOID(node.OnlyMembers({"required", "approvers", "validFor", "requireSigned"}));
  Approvals out;
  if (const auto required = node.Find("required")) {
    TRY(const auto number, required->Integer(0, limits::kApprovalsRequired));
    out.required = static_cast<int>(number);
  }
  if (const auto approvers = node.Find("approvers")) {
    TRY(out.approvers, ReadSubjects(*approvers));
  }
  if (out.required > 0 && out.approvers.empty()) {
    return node.Bad("approvals are required and nobody may give them: list approvers");
  }
  if (const auto require_signed = node.Find("requireSigned")) {
    TRY(out.require_signed, require_signed->Bool());
    if (out.require_signed && out.required == 0) return require_signed->Bad("needs required to be 1 or more");
  }
  if (const auto valid_for = node.Find("validFor")) {
    TRY(out.valid_for, ReadDuration(*valid_for, std::chrono::minutes(1)));
  }
  return out;
}

Result<PodRule> ReadPod(const Node& node) {
  TRY_VOID(node.OnlyMembers({"imageDigests"}));
  PodRule out;
  TRY(const auto digests, node.Get("imageDigests"));
  TRY_VOID(digests.EachItem(limits::kImageDigests, [&](const Node& item) -> Status {
    TRY(const auto text, item.Text(0, limits::kDigestText));
    if (text.size() != limits::kImageDigest || !text.starts_with("sha256:") || !IsLowerHex(text.substr(7))) {
      return item.Bad("must be sha256: and 64 lower-case hex digits, the part after @ of an image");
    }
    if (std::find(out.image_digests.begin(), out.image_digests.end(), text) != out.image_digests.end()) {
      return item.Bad("appears twice");
    }
    out.image_digests.emplace_back(text);
    return {};
  }));
  if (out.image_digests.empty()) return digests.Bad("must name at least one image");
  return out;
}

/// Rules that no caller could meet together: they would only look like a policy that signs.
Status CheckPod(const Node& pod, const SigningPolicySpec& spec) {
  if (spec.allow_direct) return pod.Bad("is judged at the gateway alone: leave allowDirect out");
  if (spec.approvals && spec.approvals->required > 0) {
    return pod.Bad(
        "is judged at the gateway alone, and approvals are given to SigningRequests: require one or the other");
  }
  return {};
}

const char* SizeRule(KeyAlgorithm algorithm) {
  switch (algorithm) {
    case KeyAlgorithm::kEcdsa:
      return "an ECDSA key has size 256, 384 or 521";
    case KeyAlgorithm::kRsa:
      return "an RSA key has size 2048, 3072 or 4096";
    case KeyAlgorithm::kEd25519:
      break;
  }
  return "an Ed25519 key has one size only: leave size out";
}

Result<KeyGenerate> ReadGenerate(const Node& node) {
  TRY_VOID(node.OnlyMembers({"algorithm", "size"}));
  TRY(const auto algorithm, node.Get("algorithm"));
  TRY(const auto name, algorithm.Text(1, 32));
  const auto known = encoding::ParseKeyAlgorithm(name);
  if (!known) return algorithm.Bad("must be ECDSA, RSA or Ed25519");
  KeyGenerate out{*known, 0};
  const auto size = node.Find("size");
  if (!size) {
    if (*known != KeyAlgorithm::kEd25519) return node.Bad(SizeRule(*known));
    return out;
  }
  if (!size->value().is_number_integer()) return size->Bad("must be a whole number");
  const int bits = static_cast<int>(size->Integer(1, 65536).value_or(0));
  if (!encoding::IsSupportedKeySize(*known, bits)) return size->Bad(SizeRule(*known));
  if (*known != KeyAlgorithm::kEd25519) out.size = bits;
  return out;
}

Result<KeySpec> ReadKey(const Node& node) {
  TRY_VOID(node.OnlyMembers({"uri", "generate"}));
  KeySpec out;
  TRY(const auto uri, node.Get("uri"));
  TRY(const auto text, uri.Text(1, limits::kUri));
  auto parsed = encoding::ParsePkcs11Uri(text);
  if (!parsed) return Prefixed(uri, parsed.error());
  out.uri = std::move(*parsed);
  if (!out.uri.object && !out.uri.id) return uri.Bad("must name the key by object or id");
  if (out.uri.type == "public") return uri.Bad("type=public names no key that signs");
  if (const auto generate = node.Find("generate")) {
    TRY(out.generate, ReadGenerate(*generate));
    if (!out.uri.object) return uri.Bad("a key that is to be generated needs an object: its label");
    if (out.uri.id) return uri.Bad("a generated key gets a random id: leave id out");
  }
  return out;
}

Status ReadAlgorithms(const Node& spec, SigningPolicySpec& out) {
  TRY(const auto node, spec.Get("algorithms"));
  TRY_VOID(node.EachItem(limits::kAlgorithms, [&](const Node& item) -> Status {
    TRY(const auto algorithm, ReadAlgorithm(item));
    if (std::find(out.algorithms.begin(), out.algorithms.end(), algorithm) != out.algorithms.end()) {
      return item.Bad("appears twice");
    }
    if (out.key.generate && encoding::Info(algorithm).key != out.key.generate->algorithm) {
      return item.Bad(fmt::format("does not fit the {} key that spec.key.generate makes",
                                  encoding::Name(out.key.generate->algorithm)));
    }
    out.algorithms.push_back(algorithm);
    return {};
  }));
  if (out.algorithms.empty()) return node.Bad("must name at least one algorithm");
  return {};
}

Status ReadSwitches(const Node& spec, SigningPolicySpec& out) {
  if (const auto description = spec.Find("description")) {
    TRY(const auto text, description->Text(0, limits::kDescription));
    out.description = std::string(text);
  }
  if (const auto suspend = spec.Find("suspend")) {
    TRY(out.suspend, suspend->Bool());
  }
  if (const auto direct = spec.Find("allowDirect")) {
    TRY(out.allow_direct, direct->Bool());
  }
  if (const auto verify = spec.Find("verifySignatures")) {
    TRY(out.verify_signatures, verify->Bool());
  }
  return {};
}

Result<SigningPolicySpec> ReadPolicySpec(const Node& spec) {
  TRY_VOID(spec.OnlyMembers({"description", "suspend", "allowDirect", "key", "algorithms", "subjects", "artifacts",
                             "windows", "quota", "approvals", "pod", "verifySignatures"}));
  SigningPolicySpec out;
  TRY_VOID(ReadSwitches(spec, out));
  TRY(const auto key, spec.Get("key"));
  TRY(out.key, ReadKey(key));
  TRY_VOID(ReadAlgorithms(spec, out));
  if (const auto subjects = spec.Find("subjects")) {
    TRY(out.subjects, ReadSubjects(*subjects));
  }
  if (const auto artifacts = spec.Find("artifacts")) {
    TRY_VOID(artifacts->EachItem(limits::kArtifactRules, [&](const Node& item) -> Status {
      TRY(auto rule, ReadArtifactRule(item));
      out.artifacts.push_back(std::move(rule));
      return {};
    }));
  }
  if (const auto windows = spec.Find("windows")) {
    TRY_VOID(windows->EachItem(limits::kWindows, [&](const Node& item) -> Status {
      TRY(auto window, ReadWindow(item));
      out.windows.push_back(std::move(window));
      return {};
    }));
  }
  if (const auto quota = spec.Find("quota")) {
    TRY(out.quota, ReadQuota(*quota));
  }
  if (const auto approvals = spec.Find("approvals")) {
    TRY(out.approvals, ReadApprovals(*approvals));
  }
  if (const auto pod = spec.Find("pod")) {
    TRY(out.pod, ReadPod(*pod));
    TRY_VOID(CheckPod(*pod, out));
  }
  return out;
}

}  // namespace

Result<SigningPolicy> PolicyFromJson(const nlohmann::json& object) {
  TRY_VOID(CheckEnvelope(object, "SigningPolicy"));
  SigningPolicy out;
  TRY(out.metadata, MetadataFromJson(object));
  const Node root(object, "");
  TRY(const auto spec, root.Get("spec"));
  TRY(out.spec, ReadPolicySpec(spec));
  TRY_VOID(CheckTexts(object));
  if (const auto status = object.find("status"); status != object.end()) out.status = PolicyStatusFromJson(*status);
  return out;
}

}  // namespace signet::api
