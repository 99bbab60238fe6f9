#include "reconcile/approval_index.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <tuple>
#include <utility>

#include "api/approval.hpp"
#include "api/texts.hpp"
#include "reconcile/resources.hpp"

namespace signet::reconcile {
namespace {

constexpr int kListAttempts = 3;

/// Where an object of whatever shape says which request it is about; empty: nowhere.
std::string RequestNamed(const nlohmann::json& object) {
  static const nlohmann::json::json_pointer kName("/spec/requestRef/name");
  if (!object.contains(kName) || !object[kName].is_string()) return {};
  return object[kName].get<std::string>();
}

/// All by which policy::CountApprovals tells approvers apart.
std::string PersonOf(const api::UserInfo& user) {
  nlohmann::json person = {user.username, user.groups};
  for (const auto& key : policy::ApprovalContext().acting_for_extra_keys) {
    const auto extra = user.extra.find(key);
    person.push_back(extra == user.extra.end() ? nlohmann::json() : nlohmann::json(extra->second));
  }
  return person.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

bool IsOlder(const policy::Approval& left, const policy::Approval& right) {
  return std::tie(left.time, left.name) < std::tie(right.time, right.name);
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
  // The webhook refuses such texts; an approval from before it did may have one. Its "no" still ends the request.
  if (out.vouched && out.spec.decision == api::Decision::kApprove) {
    if (auto texts = api::CheckTexts(object); !texts) {
      out.vouched = false;
      out.not_vouched = texts.error().message;
    }
  }
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
  ApprovalCollector collector;
  for (const auto& object : objects) {
    if (auto approval = Read(*object)) collector.Add(std::move(*approval));
  }
  return collector.Take();
}

base::Result<std::vector<policy::Approval>> ApprovalIndex::ReadLive(kube::ObjectStore& store,
                                                                    const controller::Key& request) const {
  for (int attempt = 1;; ++attempt) {
    ApprovalCollector collector;
    const auto read = store.ListEachIn(SigningApprovals(), request.ns, [&](const nlohmann::json& object) {
      if (RequestNamed(object) != request.name) return;
      if (auto approval = Read(object)) collector.Add(std::move(*approval));
    });
    if (read) return collector.Take();
    // Between two pages the version of the first one went away: all from the start.
    if (read.error().code != base::Code::kAborted || attempt == kListAttempts) return base::Error(read.error());
  }
}

void ApprovalCollector::Add(policy::Approval approval) {
  if (!approval.vouched || !approval.spec.approver) {
    if (unvouched_.size() < kMaxUnvouched) unvouched_.push_back(std::move(approval));
    return;
  }
  auto& person = people_[{approval.spec.request_uid, PersonOf(*approval.spec.approver)}];
  if (approval.spec.decision == api::Decision::kDeny) {
    if (person.no.empty()) {
      person.no.push_back(std::move(approval));
    } else if (IsOlder(approval, person.no.front())) {
      person.no.front() = std::move(approval);
    }
    return;
  }
  person.yes.insert(std::upper_bound(person.yes.begin(), person.yes.end(), approval, IsOlder), std::move(approval));
  if (person.yes.size() > kMaxYes) person.yes.erase(person.yes.begin());
}

std::vector<policy::Approval> ApprovalCollector::Take() {
  std::vector<policy::Approval> out;
  for (auto& [identity, person] : people_) {
    std::move(person.no.begin(), person.no.end(), std::back_inserter(out));
    std::move(person.yes.begin(), person.yes.end(), std::back_inserter(out));
  }
  std::sort(out.begin(), out.end(), IsOlder);
  std::sort(unvouched_.begin(), unvouched_.end(), IsOlder);
  std::move(unvouched_.begin(), unvouched_.end(), std::back_inserter(out));
  people_.clear();
  unvouched_.clear();
  return out;
}

}  // namespace signet::reconcile
