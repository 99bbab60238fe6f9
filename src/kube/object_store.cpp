#include "kube/object_store.hpp"

#include <utility>

namespace signet::kube {
namespace {

base::Error NotHere() {
  return base::MakeError(base::Code::kUnimplemented, "Unimplemented", "this store is no API server");
}

}  // namespace

base::Status ObjectStore::ListEachIn(const Resource& resource, std::string_view ns,
                                     const std::function<void(nlohmann::json object)>& take) {
  TRY(auto list, ListAll(resource));
  for (auto& object : list.items) {
    const auto meta = object.find("metadata");
    if (meta != object.end() && meta->is_object() && meta->value("namespace", "") == ns) take(std::move(object));
  }
  return {};
}

base::Result<nlohmann::json> ObjectStore::MergePatch(const Resource& /*resource*/, std::string_view /*ns*/,
                                                     std::string_view /*name*/, const nlohmann::json& /*patch*/) {
  return NotHere();
}

base::Status ObjectStore::ListEach(const Resource& resource, const ListSink& sink) {
  TRY(auto list, ListAll(resource));
  sink.on_version(list.resource_version);
  for (auto& object : list.items) sink.on_object(std::move(object));
  return {};
}

base::Result<nlohmann::json> ObjectStore::ServerVersion() { return NotHere(); }

base::Result<nlohmann::json> ObjectStore::PatchStatusWithin(std::chrono::milliseconds /*limit*/,
                                                            const Resource& resource, std::string_view ns,
                                                            std::string_view name, std::string_view uid,
                                                            std::string_view resource_version,
                                                            const nlohmann::json& status) {
  return PatchStatus(resource, ns, name, uid, resource_version, status);
}

}  // namespace signet::kube
