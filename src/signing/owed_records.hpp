// signing/owed_records.hpp - outcomes and releases that the journal must still take.
//
// While the journal is unavailable nothing new is signed, but what was signed before has an end that
// belongs on record. It is kept here and offered again until it is written; if the process dies
// first, the next one records `unknown`.
//
// Thread-safety: loop thread. Errors: none; what can never be written is logged and dropped.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <variant>

#include "audit/journal.hpp"
#include "base/reactor.hpp"

namespace signet::signing {

class OwedRecords {
 public:
  OwedRecords(base::Reactor& reactor, audit::Journal& journal) : reactor_(reactor), journal_(journal) {}
  OwedRecords(const OwedRecords&) = delete;
  OwedRecords& operator=(const OwedRecords&) = delete;
  ~OwedRecords();

  /// `done` (may be empty) runs once the record has it.
  void Add(audit::Outcome outcome, std::function<void()> done = {});
  void Add(audit::Release release, std::function<void()> done = {});
  [[nodiscard]] std::size_t waiting() const { return waiting_.size(); }

 private:
  struct Entry {
    std::variant<audit::Outcome, audit::Release> record;
    std::function<void()> done;
  };

  void Offer(const std::shared_ptr<Entry>& entry);
  void OnAppended(const std::shared_ptr<Entry>& entry, const base::Status& status);
  void Repeat();

  base::Reactor& reactor_;
  audit::Journal& journal_;
  std::deque<std::shared_ptr<Entry>> waiting_;
  base::Reactor::Id timer_ = 0;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace signet::signing
