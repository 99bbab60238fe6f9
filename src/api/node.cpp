#include "api/node.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace signet::api {
namespace {

constexpr std::size_t kLongestEcho = 64;

/// What a caller wrote, cut and made printable before it comes back in a message.
std::string Echo(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, kLongestEcho)) out += c >= 0x20 && c < 0x7F ? c : '?';
  if (text.size() > kLongestEcho) out += "...";
  return out;
}

std::size_t Characters(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
}

}  // namespace

std::string Node::Path() const {
  std::string path = parent_ != nullptr ? parent_->Path() : std::string();
  if (step_ == Step::kItem) return path + fmt::format("[{}]", index_);
  if (step_ == Step::kKey) return path + fmt::format("[\"{}\"]", Echo(name_));
  if (!path.empty()) path += '.';
  return path + Echo(name_);
}

base::Error Node::Bad(std::string_view what) const {
  const std::string path = Path();
  return base::MakeError(base::Code::kInvalidArgument, "Invalid",
                         path.empty() ? std::string(what) : fmt::format("{}: {}", path, what));
}

base::Status Node::OnlyMembers(std::initializer_list<std::string_view> known) const {
  if (!value_->is_object()) return Bad("must be an object");
  for (auto it = value_->begin(); it != value_->end(); ++it) {
    if (std::find(known.begin(), known.end(), it.key()) == known.end()) {
      return Node(*it, this, it.key(), Step::kMember)
          .Bad(fmt::format("unknown field; known are {}", fmt::join(known, ", ")));
    }
  }
  return {};
}

std::optional<Node> Node::Find(std::string_view member) const {
  const auto it = value_->find(member);
  if (it == value_->end()) return std::nullopt;
  return Node(*it, this, member, Step::kMember);
}

base::Result<Node> Node::Get(std::string_view member) const {
  if (auto found = Find(member)) return *found;
  return Node(*value_, this, member, Step::kMember).Bad("required");
}

base::Result<std::string_view> Node::Text(std::size_t min, std::size_t max) const {
  if (!value_->is_string()) return Bad("must be a string");
  const std::string_view text = value_->get_ref<const std::string&>();
  if (const auto size = Characters(text); size < min || size > max) {
    if (size < min && min == 1) return Bad("must not be empty");
    return Bad(min == max ? fmt::format("must have {} characters", max)
                          : fmt::format("must have {} to {} characters", min, max));
  }
  return text;
}

base::Result<bool> Node::Bool() const {
  if (!value_->is_boolean()) return Bad("must be true or false");
  return value_->get<bool>();
}

base::Result<std::int64_t> Node::Integer(std::int64_t min, std::int64_t max) const {
  const auto range = fmt::format("must be a whole number from {} to {}", min, max);
  if (!value_->is_number_integer()) return Bad(range);
  if (value_->is_number_unsigned() && value_->get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX)) {
    return Bad(range);
  }
  const auto number = value_->get<std::int64_t>();
  if (number < min || number > max) return Bad(range);
  return number;
}

base::Status Node::IsList(std::size_t max) const {
  if (!value_->is_array()) return Bad("must be a list");
  if (value_->size() > max) return Bad(fmt::format("must have at most {} items", max));
  return {};
}

base::Status Node::IsMap(std::size_t max) const {
  if (!value_->is_object()) return Bad("must be a map");
  if (value_->size() > max) return Bad(fmt::format("must have at most {} entries", max));
  return {};
}

}  // namespace signet::api
