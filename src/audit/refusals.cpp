#include "audit/refusals.hpp"

#include <algorithm>
#include <utility>

namespace signet::audit {
namespace {

/// At most `size` octets, not ending inside a UTF-8 sequence.
std::string_view Cut(std::string_view text, std::size_t size) {
  if (text.size() <= size) return text;
  while (size > 0 && (static_cast<std::uint8_t>(text[size]) & 0xC0U) == 0x80U) --size;
  return text.substr(0, size);
}

void MakeKey(std::string& key, const Refusal& refusal) {
  key.clear();
  for (const std::string_view part : {std::string_view(refusal.door), std::string_view(refusal.principal),
                                      std::string_view(refusal.policy), std::string_view(refusal.reason)}) {
    key += Cut(part, Refusals::kMaxName);
    key += '\0';
  }
}

}  // namespace

void Refusals::Add(const Refusal& refusal) {
  MakeKey(key_, refusal);
  if (const auto it = entries_.find(key_); it != entries_.end()) {
    it->second.refusal.count += refusal.count;
    return;
  }
  Entry entry{refusal, false};
  entry.refusal.principal = Cut(refusal.principal, kMaxName);
  entry.refusal.policy = Cut(refusal.policy, kMaxName);
  const auto known = per_principal_.find(entry.refusal.principal);
  const bool talkative = known != per_principal_.end() && known->second >= kMaxPerPrincipal;
  if (talkative || entries_.size() >= kMaxKeys) {
    entry.overflow = true;
    entry.refusal.policy = "*";
    if (entries_.size() >= kMaxKeys) entry.refusal.principal = "*";
    MakeKey(key_, entry.refusal);
    const auto [it, added] = entries_.try_emplace(key_, std::move(entry));
    if (!added) it->second.refusal.count += refusal.count;
    return;
  }
  ++per_principal_[entry.refusal.principal];
  entries_.emplace(key_, std::move(entry));
}

void Refusals::Drain(const std::function<void(const Refusal&, bool overflow)>& take) {
  auto entries = std::exchange(entries_, {});
  per_principal_.clear();
  for (const auto& [key, entry] : entries) take(entry.refusal, entry.overflow);
}

}  // namespace signet::audit
