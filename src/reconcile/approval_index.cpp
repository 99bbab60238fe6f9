#include "reconcile/approval_index.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <tuple>
#include <utility>

#include "api/approval.hpp"

namespace signet::reconcile {
namespace {

/// Where an object of whatever shape says which request it is about; empty: nowhere.
std::string RequestNamed(const nlohmann::json& object) {
  static const nlohmann::json::json_pointer kName("/spec/requestRef/name");
  if (!object.contains(kName) || !object[kName].is_string()) return {};
  return object[kName].get<std::string>();
}

}  // namespace

std::vector<controller::Key> ApprovalIndex::Change(const controller::Key& key, const Object& after) {
  std::vector<controller::Key> touched;
  const std::lock_guard lock(mutex_);
  if (const auto known = request_of_.find(key); known != request_of_.end()) {
    touched.push_back(known->second);
    auto& group = by_request_[known->second];
    group.erase(key.name);
    if (group.empty()) by_request_.erase(known->second);
    request_of_.erase(known);
  }
  const std::string name = after == nullptr ? "" : RequestNamed(*after);
  if (name.empty()) return touched;
  const controller::Key request{key.ns, name};
  by_request_[request][key.name] = after;
  request_of_[key] = request;
  if (touched.empty() || !(touched.front() == request)) touched.push_back(request);
  return touched;
}

base::Result<policy::Approval> ApprovalIndex::Read(const nlohmann::json& object) const {
  TRY(auto parsed, api::ApprovalFromJson(object));
  policy::Approval out;
  out.name = parsed.metadata.name;
  out.time = parsed.spec.stamp ? parsed.spec.stamp->time : parsed.metadata.creation_time;
  out.spec = std::move(parsed.spec);
  const auto stamped = stamped_ ? stamped_(object) : base::Status{};
  out.vouched = stamped.has_value();
  if (!stamped) out.not_vouched = stamped.error().message;
  return out;
}

std::vector<policy::Approval> ApprovalIndex::For(const controller::Key& request) const {
  std::vector<Object> objects;
  {
    const std::lock_guard lock(mutex_);
    const auto group = by_request_.find(request);
    if (group == by_request_.end()) return {};
    for (const auto& [name, object] : group->second) objects.push_back(object);
  }
  std::vector<policy::Approval> out;
  for (const auto& object : objects) {
    if (auto approval = Read(*object)) out.push_back(std::move(*approval));
  }
  const auto order = [](const policy::Approval& approval) {
    return std::tuple(!approval.vouched, approval.time, std::string_view(approval.name));
  };
  std::sort(out.begin(), out.end(), [&](const auto& left, const auto& right) { return order(left) < order(right); });
  if (out.size() > kMost) out.resize(kMost);
  return out;
}

}  // namespace signet::reconcile
