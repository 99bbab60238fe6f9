#include "reconcile/control_plane_label.hpp"

#include <fmt/format.h>

#include "api/injection_names.hpp"
#include "obs/log.hpp"
#include "reconcile/resources.hpp"

namespace signet::reconcile {
namespace {

using nlohmann::json;

base::Status EnsureOne(kube::ObjectStore& store, const std::string& name) {
  const auto live = store.Get(Namespaces(), "", name);
  if (!live && live.error().code == base::Code::kNotFound) return {};
  if (!live) return base::Error(live.error());
  const json labels = live->value("metadata", json::object()).value("labels", json());
  if (labels.is_object() && labels.contains(api::kControlPlaneLabel)) return {};
  json label = json::object();
  label[std::string(api::kControlPlaneLabel)] = "true";
  TRY([[maybe_unused]] const json written,
      store.MergePatch(Namespaces(), "", name, {{"metadata", {{"labels", std::move(label)}}}}));
  obs::Info("namespace labelled", {{"namespace", name}, {"label", std::string(api::kControlPlaneLabel)}});
  return {};
}

}  // namespace

base::Status EnsureControlPlaneLabels(kube::ObjectStore& store, const std::vector<std::string>& namespaces) {
  base::Status first;
  for (const auto& name : namespaces) {
    auto done = EnsureOne(store, name);
    if (done || !first) continue;
    auto error = std::move(done.error());
    error.message = fmt::format("namespace {} cannot be labelled {}: {}", name, api::kControlPlaneLabel, error.message);
    first = std::move(error);
  }
  return first;
}

}  // namespace signet::reconcile
