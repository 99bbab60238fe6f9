// token/channel.hpp - what a front process and one worker talk through. Private to src/token.
//
// Two rings in a piece of shared memory carry the frames, in order in each direction; a socket pair
// beside them is the bell for a side that sleeps, and tells each side when the other is gone. While
// both are busy, a frame costs no system call.
//
// The worker's answer is in the memory before it begins the next operation, and outlives it: what a
// worker had answered when it died is still read.
//
// Thread-safety: one thread per end. Blocking: only Worker ends, where they say so.
#pragma once

#include <cstdint>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "token/ring.hpp"

namespace signet::token {

inline constexpr int kWorkerSocket = 3;  ///< the worker's end, as a file descriptor number
inline constexpr int kWorkerMemory = 4;

/// The mapping of both rings. Its size is sealed: no end can cut it under the other's feet.
class SharedRings {
 public:
  /// A new one, and the descriptor to hand to the other process.
  static base::Result<SharedRings> Create(base::UniqueFd& memory);
  /// The one behind a descriptor that Create made.
  static base::Result<SharedRings> Map(int memory);
  SharedRings() = default;
  SharedRings(SharedRings&& other) noexcept;
  SharedRings& operator=(SharedRings&& other) noexcept;
  SharedRings(const SharedRings&) = delete;
  SharedRings& operator=(const SharedRings&) = delete;
  ~SharedRings();

  [[nodiscard]] RingMemory to_worker() const;
  [[nodiscard]] RingMemory to_front() const;

 private:
  void* address_ = nullptr;
};

/// One octet, never waits. A bell that cannot be delivered has either been rung already or has nobody to hear it.
void Ring(int socket);

enum class Bell : std::uint8_t { kRung, kSilent, kGone };
/// Takes one ring of the bell. Waits as long as the descriptor lets it (O_NONBLOCK, SO_RCVTIMEO).
Bell TakeBell(int socket);

/// The worker's end.
class WorkerChannel {
 public:
  /// Takes over kWorkerMemory and talks over kWorkerSocket.
  static base::Result<WorkerChannel> Open();
  WorkerChannel(SharedRings rings, int socket)
      : rings_(std::move(rings)), socket_(socket), reader_(rings_.to_worker()), writer_(rings_.to_front()) {}

  RingReader::Got Read(base::Bytes& buffer, std::size_t& size) { return reader_.Read(buffer, size); }
  /// Sleeps until there may be something to read, the front is gone or the socket's timeout is over.
  Bell Wait();
  /// Waits while the ring is full. False: the front is gone. The frame can be read at once; with `patient`, a front
  /// that sleeps is left to sleep.
  bool Write(const FrameHeader& header, base::ByteView body, bool patient = false);
  [[nodiscard]] bool NextIsLike(const FrameHeader& like) const { return reader_.NextIsLike(like); }
  /// Without waiting.
  [[nodiscard]] bool FrontIsGone() const;

 private:
  SharedRings rings_;
  int socket_;
  RingReader reader_;
  RingWriter writer_;
};

}  // namespace signet::token
