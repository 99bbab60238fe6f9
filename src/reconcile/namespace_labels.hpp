// reconcile/namespace_labels.hpp - labels of namespaces, for policies with a namespaceSelector.
//
// Thread-safety: Set and Remove from any thread (handed over by Post); Find on the reactor's thread,
//                where the pointer stays good until the handler returns.
#pragma once

#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.hpp"
#include "base/reactor.hpp"

namespace signet::reconcile {

class NamespaceLabels {
 public:
  using Labels = std::map<std::string, std::string>;

  explicit NamespaceLabels(base::Reactor& reactor) : reactor_(reactor), table_(std::make_shared<Table>()) {}

  /// Takes the labels of a v1 Namespace. `confirmed`: when a live read that showed it began; not set: it came by a
  /// watch or list, which says nothing of its age.
  void Set(const nlohmann::json& object, std::optional<base::SteadyPoint> confirmed = std::nullopt);
  void Remove(std::string_view name);
  /// nullptr: no such namespace is known.
  [[nodiscard]] const Labels* Find(std::string_view name) const;
  /// When these labels were last read live; nullopt: never.
  [[nodiscard]] std::optional<base::SteadyPoint> ConfirmedAt(std::string_view name) const;
  /// Empty: no such namespace is known.
  [[nodiscard]] std::string Uid(std::string_view name) const;

 private:
  struct Entry {
    Labels labels;
    std::string uid;
    std::optional<base::SteadyPoint> confirmed;
  };
  using Table = std::map<std::string, Entry, std::less<>>;
  base::Reactor& reactor_;
  std::shared_ptr<Table> table_;  ///< loop only; shared with handlers still queued
};

}  // namespace signet::reconcile
