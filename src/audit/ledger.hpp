// audit/ledger.hpp - what the record adds up to: open operations, unsettled signatures, counts, keys.
//
// Kept along with every line, so that a new segment can begin with a checkpoint and a start reads
// one segment only; `signet audit verify` keeps its own and compares.
//
// Thread-safety: none. Blocking: never.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "audit/journal.hpp"
#include "audit/line.hpp"
#include "base/result.hpp"

namespace signet::audit {

class Ledger {
 public:
  void OnIntent(const Intent& record, std::string_view date);
  /// False when the operation is not open.
  bool OnOutcome(std::string_view operation, Result result, std::string_view signature_sha256);
  /// False when (perhaps) released and the operation is not a signed one of the controller door that waits for this.
  bool OnRelease(std::string_view operation, Released released);
  void OnKey(std::string_view policy, std::string_view key_id);
  /// Any line of a checked chain. kInvalidArgument: its fields are wrong, or it contradicts the lines before it.
  base::Status Apply(const Line& line);

  /// A JSON object; the same history gives the same text.
  void AppendCheckpoint(std::string& out) const;
  /// Replaces everything by a checkpoint. kInvalidArgument: not one.
  base::Status Restore(std::string_view checkpoint);

  /// From now on, changes are remembered until Settle, so that Undo can take them back. For a writer, whose lines may
  /// fail to reach the file after they are counted.
  void KeepChanges() { keep_changes_ = true; }
  /// How many changes can be undone now.
  [[nodiscard]] std::size_t changes() const { return changes_.size(); }
  /// The oldest `count` changes are on record: forgets how to undo them.
  void Settle(std::size_t count);
  /// Takes back every change since the last Settle.
  void Undo();

  [[nodiscard]] std::vector<std::string> OpenIntents() const;  ///< operation ids in order
  [[nodiscard]] std::vector<OpenOperation> Unsettled() const;
  [[nodiscard]] std::vector<Journal::DayCount> Counts(std::string_view date) const;
  [[nodiscard]] std::vector<std::string> Keys(std::string_view policy) const;

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  using Operations = std::unordered_map<std::string, OpenOperation, Hash, std::equal_to<>>;
  using DayCounts = std::map<std::string, std::map<std::string, std::uint64_t, std::less<>>, std::less<>>;
  struct Opened {
    const OpenOperation* operation;
  };
  struct Moved {  ///< out of open_ or unsettled_
    Operations::node_type node;
    bool was_open = false;
    bool now_unsettled = false;
    const OpenOperation* operation = nullptr;
  };
  struct Counted {
    std::uint64_t* count;
    std::uint64_t by;
  };
  struct NewDay {
    std::string day;
    DayCounts counts;
  };
  struct NewKey {
    std::string policy;
  };
  using Change = std::variant<Opened, Moved, Counted, NewDay, NewKey>;

  void Count(std::string_view policy, std::string_view principal, std::string_view date, std::uint64_t count);
  base::Status ApplyIntent(const Line& line);
  base::Status ApplyOutcome(const Line& line);
  base::Status ApplyRelease(const Line& line);
  static std::vector<const OpenOperation*> Sorted(const Operations& operations);
  void Remember(Change change);
  void UndoOne(Opened& change);
  void UndoOne(Moved& change);
  void UndoOne(Counted& change);
  void UndoOne(NewDay& change);
  void UndoOne(NewKey& change);

  Operations open_;
  Operations unsettled_;
  std::string day_;
  DayCounts counts_;  ///< a count that Undo has taken back to 0 may stay
  std::map<std::string, std::vector<std::string>, std::less<>> keys_;
  bool keep_changes_ = false;
  std::deque<Change> changes_;  ///< oldest first
};

/// What a release says; nothing: its member is missing or none of true, false and null.
std::optional<Released> ReleasedOf(const Line& line);

/// Checks that a line has the members its type needs; types of events may have any others.
base::Status CheckFields(const Line& line);

}  // namespace signet::audit
