#include "signing/policy_set.hpp"

#include <fmt/format.h>

#include <algorithm>
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

bool SaysSuspend(const json& manifest) {
  const json& suspend = At(At(manifest, "spec"), "suspend");
  return suspend.is_boolean() && suspend.get<bool>();
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
    for (const auto& object : source.objects) {
      auto& definitions = found[object.key.name];  // seen, at least
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
