// reconcile/request_filter.hpp - what the informer's copy keeps of SigningRequests, so that memory does not grow with
// every request that was ever made.
//
// An undecided request is kept, but for a long message: whoever needs that reads the request live (IsAbridged). A
// decided one is left out. If it has a ttlSecondsAfterFinished, its name, uid and time of deletion are remembered.
//
// Thread-safety: any thread.
// Sizes:         per decided request with a time to live: its names and about 300 bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "controller/informer.hpp"
#include "controller/work_queue.hpp"

namespace signet::reconcile {

class RequestFilter final : public controller::Informer::Filter {
 public:
  /// A message with more characters than this (base64) is left out.
  static constexpr std::size_t kMaxMessage = 2048;
  /// A request that TakeDue has named, and that is still there after this time, is named again.
  static constexpr std::chrono::minutes kNameAgain{1};

  /// True if Keep has taken the message out of this copy of a request.
  [[nodiscard]] static bool IsAbridged(const nlohmann::json& request);

  bool Keep(nlohmann::json& object) override;
  void OnDeleted(const nlohmann::json& object) override;
  void OnListBegin() override;
  void OnListEnd() override;

  /// Decided requests whose time to live is over at `now`, those that are due longest first; at most `limit`.
  [[nodiscard]] std::vector<controller::Key> TakeDue(base::TimePoint now, std::size_t limit);
  /// The uid of a decided request that is to be deleted; nullopt: none is known under this name.
  [[nodiscard]] std::optional<std::string> UidOf(const controller::Key& key) const;
  /// Decided requests that wait for their deletion.
  [[nodiscard]] std::size_t remembered() const;

 private:
  struct Entry {
    std::string uid;
    base::TimePoint due;
    std::uint32_t listing = 0;
  };
  using Entries = std::map<controller::Key, Entry>;
  void RemoveLocked(Entries::iterator it);

  mutable std::mutex mutex_;
  Entries entries_;                                                      ///< guarded by mutex_
  std::set<std::pair<base::TimePoint, const controller::Key*>> by_due_;  ///< keys of entries_; guarded by mutex_
  std::uint32_t listing_ = 0;                                            ///< guarded by mutex_
};

}  // namespace signet::reconcile
