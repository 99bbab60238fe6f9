// token/ring.hpp - one direction of the memory that a front process shares with a worker. Private to src/token.
//
// Single producer, single consumer, in memory that both processes may write. Each frame is a length
// (4 octets), the frame, and padding to 8 octets. A frame exists for the reader once `tail` says so: a
// writer that dies half way leaves nothing. Nobody waits here: a reader that has nothing to do says so
// with Rest() and sleeps on something else, and the writer that finds it resting rings the bell there.
//
// Trust: the other side may write anything at any time. Own positions are kept in private memory,
// the other's are checked against the capacity, frames are copied out before they are looked at.
// Thread-safety: one thread (of one process) per end.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/bytes.hpp"
#include "token/frame.hpp"

namespace signet::token {

/// Positions count octets since the start and never go back.
struct RingControl {
  alignas(64) std::atomic<std::uint64_t> tail;     ///< written by the writer: complete up to here
  alignas(64) std::atomic<std::uint64_t> head;     ///< written by the reader: taken up to here
  alignas(64) std::atomic<std::uint32_t> resting;  ///< 1: the reader wants a bell
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free && std::atomic<std::uint32_t>::is_always_lock_free);

/// Where a ring lies; `data` has `capacity` octets, a power of two.
struct RingMemory {
  RingControl* control = nullptr;
  std::uint8_t* data = nullptr;
  std::size_t capacity = 0;
};

class RingWriter {
 public:
  explicit RingWriter(RingMemory memory) : memory_(memory) {}

  /// False: there is no room now (or never, for what is larger than the ring).
  bool Write(const FrameHeader& header, base::ByteView body);
  /// True once for each Rest() of the reader: the bell is to be rung, now that something is there.
  bool TakeRest();
  [[nodiscard]] std::uint64_t position() const { return tail_; }
  /// Whether the reader says that it has taken everything written up to `position`.
  [[nodiscard]] bool Taken(std::uint64_t position) const;

 private:
  void Copy(const void* from, std::size_t size);

  RingMemory memory_;
  std::uint64_t tail_ = 0;
  std::uint64_t fill_ = 0;  ///< tail_ of the frame being written
};

class RingReader {
 public:
  explicit RingReader(RingMemory memory) : memory_(memory) {}

  enum class Got : std::uint8_t { kFrame, kNothing, kBroken };
  /// Copies the next frame into `buffer`; `size` is then at least that of a FrameHeader. kBroken: the
  /// other side wrote what cannot be; it stays so.
  Got Read(base::Bytes& buffer, std::size_t& size);
  /// Whether the next frame is there already and asks for the same kind of work as `like`, with the same key.
  [[nodiscard]] bool NextIsLike(const FrameHeader& like) const;
  /// True: nothing is there and the writer will ring. False: something has come; read on.
  bool Rest();
  /// No bell is needed any more.
  void Wake();

 private:
  void Copy(std::uint64_t position, void* to, std::size_t size) const;

  RingMemory memory_;
  std::uint64_t head_ = 0;
  bool broken_ = false;
};

}  // namespace signet::token
