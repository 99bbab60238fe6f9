#include "api/texts.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>

#include "api/node.hpp"
#include "base/printable.hpp"

namespace signet::api {
namespace {

using base::Lines;
using base::Status;

constexpr std::size_t kAny = SIZE_MAX;  // the readers have bounded it
constexpr std::array<std::string_view, 3> kSeveralLines = {"description", "comment", "signature"};
constexpr std::array<std::string_view, 2> kUsers = {"requester", "approver"};

template <class Names>
bool IsOneOf(std::string_view name, const Names& names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

/// What a walk from the spec to a text has passed.
struct Place {
  Lines lines = Lines::kLine;
  bool of_user = false;
};

Status CheckText(const Node& node, std::string_view text, std::string_view what, const Place& place) {
  const auto found = base::FirstHarmful(text, place.lines);
  if (!found) return {};
  const auto character = found->valid ? fmt::format("U+{:04X}", found->point) : std::string("no UTF-8");
  return node.Bad(
      fmt::format("{} {} is {}, which a terminal obeys or does not show: {}", what, found->number, character,
                  place.of_user ? "ask who manages the cluster's users for a name without it" : "leave it out"));
}

Status CheckNode(const Node& node, const Place& place);

/// A map whose keys a caller chose.
Status CheckMap(const Node& map, const Place& place) {
  return map.EachMember(kAny, [&](const std::string& key, const Node& value) -> Status {
    TRY_VOID(CheckText(value, key, "the key's character", {Lines::kLine, place.of_user}));
    return CheckNode(value, place);
  });
}

Status CheckMembers(const Node& object, const Place& place) {
  for (const auto& item : object.value().items()) {
    const std::string_view name = item.key();
    const auto member = object.Find(name);
    Place inner = place;
    if (IsOneOf(name, kUsers)) inner.of_user = true;
    if (IsOneOf(name, kSeveralLines) || name == "annotations") inner.lines = Lines::kText;
    if (member->value().is_object() && (name == "annotations" || name == "extra" || name == "matchLabels")) {
      TRY_VOID(CheckMap(*member, inner));
    } else {
      TRY_VOID(CheckNode(*member, inner));
    }
  }
  return {};
}

Status CheckNode(const Node& node, const Place& place) {
  const auto& value = node.value();
  if (value.is_string()) return CheckText(node, value.get_ref<const std::string&>(), "character", place);
  if (value.is_array()) {
    return node.EachItem(kAny, [&](const Node& item) { return CheckNode(item, place); });
  }
  if (value.is_object()) return CheckMembers(node, place);
  return {};
}

}  // namespace

Status CheckTexts(const nlohmann::json& object) {
  const Node root(object, "");
  const auto spec = root.Find("spec");
  if (!spec) return {};
  return CheckNode(*spec, {});
}

}  // namespace signet::api
