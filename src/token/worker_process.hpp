// token/worker_process.hpp - the front's handle on one worker process: its pid and its end of the channel.
//
// Ownership:     owns socket, memory and watch; the launcher ends the process when the handle goes.
// Thread-safety: the reactor's thread. Blocking: never.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/reactor.hpp"
#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "token/channel.hpp"
#include "token/frame.hpp"
#include "token/launcher.hpp"

namespace signet::token {

class WorkerProcess {
 public:
  /// Has the launcher start one; `on_bell` runs when it has rung the bell or has ended.
  static base::Result<std::unique_ptr<WorkerProcess>> Start(Launcher& launcher, base::Reactor& reactor,
                                                            std::function<void()> on_bell);
  WorkerProcess(const WorkerProcess&) = delete;
  WorkerProcess& operator=(const WorkerProcess&) = delete;
  ~WorkerProcess();

  /// False: there is no room now.
  bool Send(const FrameHeader& header, base::ByteView body);
  /// Where the frame sent last ends, for Taken().
  [[nodiscard]] std::uint64_t position() const { return writer_.position(); }
  /// Of a worker that has ended: whether it had taken everything up to `position`.
  [[nodiscard]] bool Taken(std::uint64_t position) const { return writer_.Taken(position); }

  using Received = RingReader::Got;
  /// The next frame; `body` is valid until the next call.
  Received Receive(FrameHeader& header, base::ByteView& body);
  /// True: nothing is there, and the bell will ring for the next frame.
  bool Rest() { return reader_.Rest(); }
  /// The loop is awake: no bell is needed.
  void Wake() { reader_.Wake(); }
  /// kGone: the worker has ended; what it had sent can still be received.
  Bell TakeBell() { return token::TakeBell(socket_.get()); }

  void Kill();
  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  WorkerProcess(base::Reactor& reactor, Launcher& launcher, pid_t pid, base::UniqueFd socket, SharedRings rings)
      : reactor_(reactor),
        launcher_(launcher),
        pid_(pid),
        socket_(std::move(socket)),
        rings_(std::move(rings)),
        writer_(rings_.to_worker()),
        reader_(rings_.to_front()),
        buffer_(kReplySize) {}

  static constexpr std::size_t kReplySize = 32 * 1024;  // octets; signatures and keys are far below

  base::Reactor& reactor_;
  Launcher& launcher_;
  pid_t pid_;
  base::UniqueFd socket_;
  SharedRings rings_;
  RingWriter writer_;
  RingReader reader_;
  base::Reactor::Id watch_ = 0;
  base::Bytes buffer_;
};

}  // namespace signet::token
