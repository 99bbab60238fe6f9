#include "store/manifest_source.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>

#include "encoding/json.hpp"
#include "store/manifest.hpp"

namespace signet::store {
namespace {

using encoding::TextAt;
using nlohmann::json;

/// RFC 1123 subdomain, as Kubernetes wants names.
bool IsObjectName(std::string_view name) {
  const auto alphanumeric = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  if (name.empty() || name.size() > 253 || !alphanumeric(name.front()) || !alphanumeric(name.back())) return false;
  return std::all_of(name.begin(), name.end(), [&](char c) { return alphanumeric(c) || c == '-' || c == '.'; });
}

std::string ApiVersion(const kube::Resource& resource) {
  return resource.group.empty() ? resource.version : fmt::format("{}/{}", resource.group, resource.version);
}

void DefineObject(const std::vector<kube::Resource>& resources, const json& document, int line, const std::string& file,
                  Source& source) {
  const auto problem = [&](std::string_view what) {
    source.problems.push_back({file, fmt::format("{}:{}: {}", file, line, what)});
  };
  if (!document.is_object()) return problem("not an object (apiVersion, kind, metadata, spec)");
  const std::string api_version = TextAt(document, "apiVersion");
  const std::string kind = TextAt(document, "kind");
  const auto resource = std::find_if(resources.begin(), resources.end(), [&](const kube::Resource& known) {
    return known.kind == kind && ApiVersion(known) == api_version;
  });
  if (resource == resources.end()) {
    if (kind.ends_with("List")) return problem("a List: write each object as a document of its own, between --- lines");
    return problem(fmt::format("apiVersion \"{}\", kind \"{}\" is none that is read here: ignored", api_version, kind));
  }
  const auto metadata = document.find("metadata");
  if (metadata == document.end() || !metadata->is_object()) return problem("metadata is missing");
  DefinedObject object{{api_version, kind, {}, TextAt(*metadata, "name")}, document, line};
  if (!IsObjectName(object.key.name)) {
    return problem(
        "metadata.name must be lower-case letters, digits, '-' and '.', at most 253 (generateName needs an API "
        "server)");
  }
  if (resource->namespaced) {
    object.key.ns = metadata->contains("namespace") ? TextAt(*metadata, "namespace") : "default";
    if (!IsObjectName(object.key.ns)) return problem("metadata.namespace is not a namespace name");
  }
  // What a server would set is set by the store alone: a manifest must not bring its own signature or uid.
  json clean = {{"name", object.key.name}};
  if (!object.key.ns.empty()) clean["namespace"] = object.key.ns;
  for (const char* kept : {"labels", "annotations"}) {
    if (metadata->contains(kept)) clean[kept] = metadata->at(kept);
  }
  object.manifest["metadata"] = std::move(clean);
  object.manifest.erase("status");
  source.objects.push_back(std::move(object));
}

}  // namespace

Define DefineObjects(std::vector<kube::Resource> resources) {
  return [resources = std::move(resources)](const json& document, int line, const std::string& file, Source& source) {
    DefineObject(resources, document, line, file, source);
  };
}

void ManifestSource::Read(const FolderFile& file, Source& source) {
  auto text = ReadFolderFile(folder_, file, limits_.file_bytes);
  if (!text && text.error().code == base::Code::kAborted) {
    again_ = true;
    MarkUnread(source);
    return;
  }
  changed_ = true;
  source.loaded = true;
  source.unread = false;
  source.stamp = file.stamp;
  source.problems.clear();
  Documents documents =
      text ? ParseEachDocument(*text, file.name, limits_.file_bytes) : Documents{{}, {text.error()}, {}};
  source.broken_texts = std::move(documents.broken_texts);
  source.broken = !documents.broken.empty();
  retry_ = retry_ || (!text && text.error().code != base::Code::kInvalidArgument);
  if (!text) source.stamp = {};  // what the system refused once may be readable, unchanged, at the next look
  for (const base::Error& error : documents.broken) source.problems.push_back({file.name, base::Describe(error)});
  const auto before = std::exchange(source.objects, {});
  for (const Document& document : documents.good) define_(document.value, document.line, file.name, source);
  if (source.broken) KeepWhatIsHidden(before, source);
}

void ManifestSource::MarkUnread(Source& source) {
  changed_ = changed_ || !source.unread;
  source.unread = true;
}

/// What a file defined before and does not define where it can still be read may stand in its broken part.
void ManifestSource::KeepWhatIsHidden(const std::vector<DefinedObject>& before, Source& source) {
  std::set<ObjectKey> defined;
  for (const DefinedObject& object : source.objects) defined.insert(object.key);
  for (DefinedObject object : before) {
    if (defined.contains(object.key)) continue;
    object.current = false;
    source.objects.push_back(std::move(object));
  }
}

bool ManifestSource::ReadChanged(const FolderListing& listing, base::TimePoint now) {
  const FolderListing* previous = looked_ ? &last_ : nullptr;
  bool wait = false;
  for (const FolderFile& file : listing.files) {
    const auto known = sources_.find(file.name);
    if (known != sources_.end() && known->second.loaded && known->second.stamp == file.stamp) {
      changed_ = changed_ || known->second.missed > 0 || known->second.unread;
      known->second.missed = 0;
      known->second.unread = false;
      continue;
    }
    if (!IsSettled(file, previous, now)) {
      if (known != sources_.end()) {
        known->second.missed = 0;
        MarkUnread(known->second);
      }
      wait = true;
      continue;
    }
    Source& source = sources_[file.name];
    source.missed = 0;
    Read(file, source);
  }
  for (const Problem& refused : listing.refused) {
    Source& source = sources_[refused.file];
    source.missed = 0;
    source.loaded = true;
    source.stamp = {};
    source.broken = true;
    source.broken_texts.clear();
    const std::vector<Problem> problems = {refused};
    changed_ = changed_ || source.problems != problems;
    source.problems = problems;
    for (DefinedObject& object : source.objects) object.current = false;
  }
  return wait;
}

bool ManifestSource::DropVanished(const FolderListing& listing) {
  std::set<std::string_view> seen;
  for (const FolderFile& file : listing.files) seen.insert(file.name);
  for (const Problem& refused : listing.refused) seen.insert(refused.file);
  bool wait = false;
  for (auto it = sources_.begin(); it != sources_.end();) {
    if (seen.contains(it->first)) {
      ++it;
      continue;
    }
    changed_ = true;
    // Editors save by removing and creating: one look without the file is not yet a deletion.
    if (++it->second.missed < 2) {
      wait = true;
      ++it;
    } else {
      it = sources_.erase(it);
    }
  }
  return wait;
}

base::Result<bool> ManifestSource::Look(base::TimePoint now) {
  TRY(FolderListing listing, ListFolder(folder_, limits_, looked_ ? &last_ : nullptr));
  if (looked_ && !again_ && !retry_ && listing == last_) return false;
  again_ = false;
  retry_ = false;
  const bool unsettled = ReadChanged(listing, now);
  const bool vanished = DropVanished(listing);
  again_ = again_ || unsettled || vanished;
  last_ = std::move(listing);
  looked_ = true;
  return again_;
}

void ManifestSource::Forget(const std::string& file) {
  sources_.erase(file);
  std::erase_if(last_.files, [&](const FolderFile& known) { return known.name == file; });
}

}  // namespace signet::store
