#include "authn/pod_facts.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "encoding/json.hpp"

namespace signet::authn {
namespace {

using encoding::At;
using encoding::TextAt;
using nlohmann::json;

constexpr std::string_view kSha256 = "sha256:";
constexpr std::size_t kHexDigits = 64;

struct Kind {
  const char* spec;
  const char* status;
};
constexpr std::array kKinds = {Kind{"containers", "containerStatuses"}, Kind{"initContainers", "initContainerStatuses"},
                               Kind{"ephemeralContainers", "ephemeralContainerStatuses"}};

/// Terminated, and never started again.
bool HasEnded(const json& status, const std::string& restart_policy) {
  const json& terminated = At(At(status, "state"), "terminated");
  if (!terminated.is_object()) return false;
  if (restart_policy == "Never") return true;
  const json& code = At(terminated, "exitCode");
  return restart_policy == "OnFailure" && code.is_number_integer() && code.get<std::int64_t>() == 0;
}

std::map<std::string, const json*> ByName(const json& statuses) {
  std::map<std::string, const json*> out;
  if (!statuses.is_array()) return out;
  for (const json& status : statuses) out.emplace(TextAt(status, "name"), &status);
  return out;
}

/// What the spec orders: the digest in "repository[:tag]@sha256:...", or an entry in `unpinned`.
std::string Ordered(const json& holder, const char* member, const std::string& name, identity::PodImages& images) {
  const std::string image = TextAt(holder, member);
  std::string digest = image.find('@') == std::string::npos ? std::string() : DigestOf(image);
  if (digest.empty()) {
    images.unpinned.push_back(name);
  } else {
    images.digests.push_back(digest);
  }
  return digest;
}

void AddContainers(const json& pod, PodFacts& facts) {
  const json& spec = At(pod, "spec");
  const std::string restart_policy = TextAt(spec, "restartPolicy");
  auto& images = facts.images;
  std::size_t count = 0;
  std::size_t agreed = 0;
  for (const Kind& kind : kKinds) {
    const json& containers = At(spec, kind.spec);
    if (!containers.is_array()) continue;
    const auto statuses = ByName(At(At(pod, "status"), kind.status));
    for (const json& container : containers) {
      if (++count > kMostContainers) break;
      const std::string name = TextAt(container, "name");
      const std::string ordered = Ordered(container, "image", name, images);
      const auto status = statuses.find(name);
      const std::string runs = status == statuses.end() ? "" : DigestOf(TextAt(*status->second, "imageID"));
      if (!runs.empty() && runs != ordered) images.digests.push_back(runs);
      if (!runs.empty() && runs == ordered) ++agreed;
      if (&kind != kKinds.data()) continue;
      facts.containers.push_back({name, status != statuses.end() && HasEnded(*status->second, restart_policy)});
    }
  }
  images.complete = count > 0 && count <= kMostContainers && agreed == count;
}

/// Volumes with the files of an image: the status says nothing of them, so the spec's word is all there is.
void AddImageVolumes(const json& spec, identity::PodImages& images) {
  const json& volumes = At(spec, "volumes");
  if (!volumes.is_array()) return;
  for (const json& volume : volumes) {
    const json& image = At(volume, "image");
    if (image.is_object()) Ordered(image, "reference", TextAt(volume, "name"), images);
  }
}

}  // namespace

const kube::Resource& Pods() {
  static const kube::Resource kResource{"", "v1", "pods", "Pod", true};
  return kResource;
}

std::string DigestOf(std::string_view image_id) {
  if (image_id.size() < kSha256.size() + kHexDigits) return {};
  const auto digest = image_id.substr(image_id.size() - kSha256.size() - kHexDigits);
  const auto before = image_id.substr(0, image_id.size() - digest.size());
  if (!digest.starts_with(kSha256)) return {};
  if (!before.empty() && !before.ends_with('@') && !before.ends_with("//")) return {};
  const auto hex = digest.substr(kSha256.size());
  const bool fits =
      std::all_of(hex.begin(), hex.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
  return fits ? std::string(digest) : std::string();
}

base::Result<PodFacts> PodFactsOf(const json& pod) {
  PodFacts facts;
  const json& metadata = At(pod, "metadata");
  facts.pod.ns = TextAt(metadata, "namespace");
  facts.pod.name = TextAt(metadata, "name");
  facts.pod.uid = TextAt(metadata, "uid");
  if (facts.pod.ns.empty() || facts.pod.name.empty() || facts.pod.uid.empty()) {
    return base::MakeError(base::Code::kInvalidArgument, "not a pod: it has no name, namespace or uid");
  }
  const json& spec = At(pod, "spec");
  facts.pod.node = TextAt(spec, "nodeName");
  AddContainers(pod, facts);
  AddImageVolumes(spec, facts.images);
  return facts;
}

bool OthersEnded(const PodFacts& facts, std::string_view own) {
  return std::all_of(facts.containers.begin(), facts.containers.end(),
                     [own](const PodFacts::Container& container) { return container.ended || container.name == own; });
}

}  // namespace signet::authn
