#include "reconcile/namespace_labels.hpp"

#include <nlohmann/json.hpp>
#include <utility>

namespace signet::reconcile {

void NamespaceLabels::Set(const nlohmann::json& object, std::optional<base::SteadyPoint> confirmed) {
  const auto meta = object.find("metadata");
  if (meta == object.end() || !meta->is_object()) return;
  const auto name = meta->find("name");
  if (name == meta->end() || !name->is_string()) return;
  Labels labels;
  const auto written = meta->find("labels");
  if (written != meta->end() && written->is_object()) {
    for (const auto& [key, value] : written->items()) {
      if (value.is_string()) labels.emplace(key, value.get<std::string>());
    }
  }
  const auto uid = meta->find("uid");
  Entry entry{std::move(labels), uid != meta->end() && uid->is_string() ? uid->get<std::string>() : "", confirmed};
  reactor_.Post([table = table_, name = name->get<std::string>(), entry = std::move(entry)]() mutable {
    Entry& known = (*table)[name];
    // A late event of the watch may bring back what a read has replaced: other labels than those are read again.
    if (!entry.confirmed && entry.labels == known.labels && entry.uid == known.uid) entry.confirmed = known.confirmed;
    known = std::move(entry);
  });
}

void NamespaceLabels::Remove(std::string_view name) {
  reactor_.Post([table = table_, name = std::string(name)] {
    const auto it = table->find(name);
    if (it != table->end()) table->erase(it);
  });
}

const NamespaceLabels::Labels* NamespaceLabels::Find(std::string_view name) const {
  const auto it = table_->find(name);
  return it == table_->end() ? nullptr : &it->second.labels;
}

std::optional<base::SteadyPoint> NamespaceLabels::ConfirmedAt(std::string_view name) const {
  const auto it = table_->find(name);
  return it == table_->end() ? std::nullopt : it->second.confirmed;
}

std::string NamespaceLabels::Uid(std::string_view name) const {
  const auto it = table_->find(name);
  return it == table_->end() ? std::string() : it->second.uid;
}

}  // namespace signet::reconcile
