// api/node.hpp - a JSON value that knows where it stands, for strict reading.
//
// A Node is a view: the JSON value and the Node it came from must outlive it. The path
// ("spec.windows[1].from") is put together only when something is wrong.
//
// Errors: kInvalidArgument, reason "Invalid", message "PATH: what".
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace signet::api {

class Node {
 public:
  Node(const nlohmann::json& value, std::string_view name) : value_(&value), name_(name) {}

  [[nodiscard]] const nlohmann::json& value() const { return *value_; }
  [[nodiscard]] std::string Path() const;
  [[nodiscard]] base::Error Bad(std::string_view what) const;

  /// An object with no other members than these.
  [[nodiscard]] base::Status OnlyMembers(std::initializer_list<std::string_view> known) const;
  /// Nothing when absent. A null is there, and has the wrong type for everything.
  [[nodiscard]] std::optional<Node> Find(std::string_view member) const;
  /// The error names the missing member.
  [[nodiscard]] base::Result<Node> Get(std::string_view member) const;

  /// Lengths in Unicode characters.
  [[nodiscard]] base::Result<std::string_view> Text(std::size_t min, std::size_t max) const;
  [[nodiscard]] base::Result<bool> Bool() const;
  [[nodiscard]] base::Result<std::int64_t> Integer(std::int64_t min, std::int64_t max) const;

  /// Calls `read(Node)` for every item of a list of at most `max`, until one fails.
  template <class Read>
  [[nodiscard]] base::Status EachItem(std::size_t max, Read read) const {
    TRY_VOID(IsList(max));
    for (std::size_t i = 0; i < value_->size(); ++i) TRY_VOID(read(Node((*value_)[i], this, i)));
    return {};
  }
  /// Calls `read(key, Node)` for every member of a map of at most `max`, until one fails.
  template <class Read>
  [[nodiscard]] base::Status EachMember(std::size_t max, Read read) const {
    TRY_VOID(IsMap(max));
    for (auto it = value_->begin(); it != value_->end(); ++it) {
      TRY_VOID(read(it.key(), Node(*it, this, it.key(), Step::kKey)));
    }
    return {};
  }

 private:
  enum class Step : std::uint8_t { kMember, kItem, kKey };
  Node(const nlohmann::json& value, const Node* parent, std::size_t index)
      : value_(&value), parent_(parent), index_(index), step_(Step::kItem) {}
  Node(const nlohmann::json& value, const Node* parent, std::string_view name, Step step)
      : value_(&value), parent_(parent), name_(name), step_(step) {}
  [[nodiscard]] base::Status IsList(std::size_t max) const;
  [[nodiscard]] base::Status IsMap(std::size_t max) const;

  const nlohmann::json* value_;
  const Node* parent_ = nullptr;
  std::string_view name_;
  std::size_t index_ = 0;
  Step step_ = Step::kMember;
};

}  // namespace signet::api
