// audit/refusals.hpp - refusals counted in memory, so that nobody can fill the disk by being refused.
//
// At most kMaxKeys entries per interval, of one principal at most kMaxPerPrincipal policies and
// reasons; beyond that they are counted per door and reason, with "*" for the names.
//
// Thread-safety: none; loop thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "audit/journal.hpp"

namespace signet::audit {

class Refusals {
 public:
  static constexpr std::size_t kMaxKeys = 1000;
  static constexpr std::size_t kMaxPerPrincipal = 32;
  static constexpr std::size_t kMaxName = 256;  ///< octets kept of a name that a caller chose

  void Add(const Refusal& refusal);
  [[nodiscard]] bool empty() const { return entries_.empty(); }
  /// Gives every entry to `take` (with true for an overflow entry) and forgets it.
  void Drain(const std::function<void(const Refusal&, bool overflow)>& take);

 private:
  struct Entry {
    Refusal refusal;
    bool overflow = false;
  };
  std::unordered_map<std::string, Entry> entries_;
  std::unordered_map<std::string, std::size_t> per_principal_;
  std::string key_;
};

}  // namespace signet::audit
