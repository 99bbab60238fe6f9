// audit/line_copier.hpp - copies the record's lines to stdout, for log collectors.
//
// A convenience, never a condition: the record is the file. Lines wait in bounded memory for a thread
// that writes them; when the reader of stdout is slow or stuck, new lines are dropped whole, counted
// and told in the log. `seq` and `prev` show the gap to whoever reads the copy.
//
// Ownership:     borrows the descriptor for the life of the process and leaves its flags alone (others may share
//                it). Owns one thread.
// Thread-safety: Add from any thread.
// Blocking:      Add never waits for the reader. The destructor gives the reader about one second for the rest.
// Sizes:         max_bytes of lines wait, 4 MiB unless told otherwise.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

namespace signet::audit {

class LineCopier {
 public:
  static constexpr std::size_t kDefaultBytes = 4U << 20U;
  explicit LineCopier(int fd, std::size_t max_bytes = kDefaultBytes);
  ~LineCopier();
  LineCopier(const LineCopier&) = delete;
  LineCopier& operator=(const LineCopier&) = delete;

  /// Whole lines, each with its newline.
  void Add(std::string_view lines);
  /// Lines dropped so far.
  [[nodiscard]] std::uint64_t dropped() const;

 private:
  struct State;
  /// Shared with the thread, which a reader that never reads may hold up for longer than this object lives.
  std::shared_ptr<State> state_;
};

}  // namespace signet::audit
