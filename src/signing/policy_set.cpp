#include "signing/policy_set.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>

#include "api/json.hpp"
#include "crypto/digest.hpp"
#include "encoding/json.hpp"
#include "obs/log.hpp"
#include "policy/decide.hpp"

namespace signet::signing {
namespace {

using base::Code;
using encoding::At;
using encoding::TextAt;
using nlohmann::json;

constexpr int kMaxLooks = 200;  // of kSettleTime each, before a folder that never settles is given up

void DefinePolicy(const json& document, int line, const std::string& file, store::Source& source) {
  const std::string place = fmt::format("{}:{}", file, line);
  const auto problem = [&](std::string_view what) {
    source.problems.push_back({file, fmt::format("{}: {}", place, what)});
  };
  if (!document.is_object()) return problem("not an object (apiVersion, kind, metadata, spec)");
  const std::string kind = TextAt(document, "kind");
  const std::string api_version = TextAt(document, "apiVersion");
  if (kind.empty() || api_version.empty()) return problem("apiVersion and kind are missing");
  if (kind != "SigningPolicy") {
    // The folder of an operator's directory store may be shared: its requests are not for this program.
    const obs::Level level = api_version == api::kApiVersion ? obs::Level::kDebug : obs::Level::kWarn;
    obs::Log(level, "manifest ignored: not a SigningPolicy", {{"place", place}, {"kind", kind}});
    return;
  }
  const std::string name = TextAt(At(document, "metadata"), "name");
  if (name.empty()) return problem("metadata.name is missing");
  source.objects.push_back({{api_version, kind, {}, name}, document, line});
  source.objects.back().manifest.erase("status");
}

base::Result<LoadedPolicy> Parse(const store::DefinedObject& object, const std::string& place) {
  if (object.key.api_version != api::kApiVersion) {
    return base::MakeError(Code::kInvalidArgument,
                           fmt::format("apiVersion \"{}\" of SigningPolicy is not known; use {}",
                                       object.key.api_version, api::kApiVersion));
  }
  TRY(auto policy, api::PolicyFromJson(object.manifest));
  TRY_VOID(policy::CompiledPolicy::Compile(policy));
  const std::string canonical = api::CanonicalSpec(object.manifest);
  return LoadedPolicy{std::move(policy), crypto::Sha256Hex(base::AsBytes(canonical)), place};
}

/// Of a document that is not valid: anything but a plain `false` suspends.
bool SaysSuspend(const json& manifest) {
  const json& spec = At(manifest, "spec");
  return spec.is_object() && spec.contains("suspend") && spec.at("suspend") != json(false);
}

bool IsNamePart(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-' || c == '.'; }

/// Does a document that is no YAML have a member `suspend` with anything but a plain `false`? Rather too often than too
/// seldom: the policy signs again as soon as its file can be read.
bool MaySuspend(std::string_view text) {
  constexpr std::string_view kMember = "suspend";
  constexpr std::string_view kFalse = "false";
  for (auto at = text.find(kMember); at != std::string_view::npos; at = text.find(kMember, at + 1)) {
    if (at > 0 && IsNamePart(text[at - 1])) continue;
    auto rest = text.substr(at + kMember.size());
    if (!rest.empty() && (rest[0] == '"' || rest[0] == '\'')) rest.remove_prefix(1);
    rest.remove_prefix(std::min(rest.find_first_not_of(" \t\r\n"), rest.size()));
    if (!rest.starts_with(':')) continue;
    rest.remove_prefix(1);
    rest.remove_prefix(std::min(rest.find_first_not_of(" \t"), rest.size()));
    if (!rest.starts_with(kFalse)) return true;
    rest.remove_prefix(kFalse.size());
    if (!rest.empty() && std::string_view(" \t\r\n,}#").find(rest[0]) == std::string_view::npos) return true;
  }
  return false;
}

/// The definitions of one name that hold now.
struct Definitions {
  std::vector<LoadedPolicy> valid;
  bool invalid = false;
  bool suspended = false;
};

PolicyReading Judge(const std::string& name, Definitions definitions, std::vector<std::string>& problems) {
  PolicyReading reading;
  reading.suspended = definitions.suspended;
  auto& valid = definitions.valid;
  if (valid.empty()) return reading;
  const auto other =
      std::find_if(valid.begin(), valid.end(), [&](const auto& one) { return one.hash != valid[0].hash; });
  if (other != valid.end()) {
    problems.push_back(
        fmt::format("{}: the policy \"{}\" is defined in {} already, and differs", other->place, name, valid[0].place));
    return reading;
  }
  reading.confirmed = !definitions.invalid;
  reading.policy = std::move(valid[0]);
  return reading;
}

}  // namespace

store::ManifestSource PolicyFiles(const std::filesystem::path& folder) {
  return {folder, DefinePolicy, kPolicyFolderLimits};
}

PolicySet ReadPolicySet(const store::ManifestSource& files) {
  PolicySet set;
  std::map<std::string, Definitions> found;
  for (const auto& [file, source] : files.sources()) {
    for (const auto& problem : source.problems) set.problems.push_back(problem.message);
    const bool broken_suspends = std::any_of(source.broken_texts.begin(), source.broken_texts.end(), MaySuspend);
    for (const auto& object : source.objects) {
      auto& definitions = found[object.key.name];  // seen, at least
      // What the file no longer defines where it can be read stands in the part that cannot be read.
      if (!object.current) definitions.suspended = definitions.suspended || broken_suspends;
      if (!object.current || source.unread || source.missed > 0) continue;
      const std::string place = fmt::format("{}:{}", file, object.line);
      auto parsed = Parse(object, place);
      if (parsed) {
        definitions.suspended = definitions.suspended || parsed->policy.spec.suspend;
        definitions.valid.push_back(std::move(*parsed));
      } else {
        definitions.invalid = true;
        definitions.suspended = definitions.suspended || SaysSuspend(object.manifest);
        set.problems.push_back(fmt::format("{}: {}", place, parsed.error().message));
      }
    }
  }
  for (auto& [name, definitions] : found) {
    set.policies[name] = Judge(name, std::move(definitions), set.problems);
  }
  return set;
}

base::Result<PolicySet> LoadPolicySet(store::ManifestSource& files, const std::filesystem::path& folder,
                                      const base::Clock& clock) {
  for (int look = 0;; ++look) {
    const auto again = files.Look(clock.Now());
    if (again && !*again) break;
    if (!again || look == kMaxLooks) {
      return base::MakeError(Code::kFailedPrecondition, "PoliciesNotFound",
                             fmt::format("policies folder {}: {}", folder.string(),
                                         again ? "is being written all the time" : base::Describe(again.error())));
    }
    std::this_thread::sleep_for(store::kSettleTime);  // no loop runs yet
  }
  auto set = ReadPolicySet(files);
  if (!set.problems.empty()) {
    return base::MakeError(Code::kInvalidArgument, "PoliciesInvalid", set.problems.front());
  }
  return set;
}

}  // namespace signet::signing
