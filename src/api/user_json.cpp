#include <nlohmann/json.hpp>
#include <utility>

#include "api/limits.hpp"
#include "api/object_json.hpp"
#include "api/scalars.hpp"

namespace signet::api {
namespace {

using base::Result;
using base::Status;

Result<std::vector<std::string>> ReadTexts(const Node& node, std::size_t items, std::size_t characters) {
  std::vector<std::string> out;
  TRY_VOID(node.EachItem(items, [&](const Node& item) -> Status {
    TRY(const auto text, item.Text(0, characters));
    out.emplace_back(text);
    return {};
  }));
  return out;
}

Result<std::string> ReadHex(const Node& stamp, const char* member, std::size_t digits) {
  TRY(const auto node, stamp.Get(member));
  TRY(const auto text, node.Text(digits, digits));
  if (!IsLowerHex(text)) return node.Bad("must be lower-case hex digits");
  return std::string(text);
}

}  // namespace

Result<UserInfo> ReadUserInfo(const Node& node) {
  TRY_VOID(node.OnlyMembers({"username", "uid", "groups", "extra"}));
  UserInfo out;
  TRY(const auto username, node.Get("username"));
  TRY(const auto username_text, username.Text(1, limits::kUsername));
  out.username = std::string(username_text);
  if (const auto uid = node.Find("uid")) {
    TRY(const auto text, uid->Text(0, limits::kUserUid));
    out.uid = std::string(text);
  }
  if (const auto groups = node.Find("groups")) {
    TRY(out.groups, ReadTexts(*groups, limits::kGroups, limits::kGroup));
  }
  if (const auto extra = node.Find("extra")) {
    TRY_VOID(extra->EachMember(limits::kExtra, [&](const std::string& key, const Node& values) -> Status {
      if (key.empty() || key.size() > limits::kExtraKey) return values.Bad("a key has 1 to 512 characters");
      TRY(out.extra[key], ReadTexts(values, limits::kExtraValues, limits::kExtraValue));
      return {};
    }));
  }
  return out;
}

Result<base::TimePoint> ReadTimePoint(const Node& node) {
  TRY(const auto text, node.Text(1, limits::kTime));
  auto time = base::ParseTime(text);
  if (!time) return node.Bad("must be an RFC 3339 time like 2026-11-23T09:00:00Z");
  return *time;
}

Result<Stamp> ReadStamp(const Node& node) {
  TRY_VOID(node.OnlyMembers({"time", "nonce", "seal"}));
  Stamp out;
  TRY(const auto time, node.Get("time"));
  TRY(out.time, ReadTimePoint(time));
  TRY(out.nonce, ReadHex(node, "nonce", limits::kNonce));
  TRY(out.seal, ReadHex(node, "seal", limits::kSeal));
  return out;
}

}  // namespace signet::api
