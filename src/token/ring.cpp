#include "token/ring.hpp"

#include <algorithm>
#include <cstring>

namespace signet::token {
namespace {

constexpr std::size_t kLengthSize = sizeof(std::uint32_t);

constexpr std::uint64_t Padded(std::uint64_t size) { return (size + 7) & ~std::uint64_t{7}; }

}  // namespace

void RingWriter::Copy(const void* from, std::size_t size) {
  if (size == 0) return;
  const std::size_t at = fill_ & (memory_.capacity - 1);
  const std::size_t first = std::min(size, memory_.capacity - at);
  std::memcpy(memory_.data + at, from, first);
  std::memcpy(memory_.data, static_cast<const std::uint8_t*>(from) + first, size - first);
  fill_ += size;
}

bool RingWriter::Write(const FrameHeader& header, base::ByteView body) {
  const std::size_t size = sizeof(header) + body.size();
  const std::uint64_t need = Padded(kLengthSize + size);
  const std::uint64_t used = tail_ - memory_.control->head.load(std::memory_order_acquire);
  if (used > memory_.capacity || need > memory_.capacity - used) return false;
  const auto length = static_cast<std::uint32_t>(size);
  fill_ = tail_;
  Copy(&length, sizeof(length));
  Copy(&header, sizeof(header));
  Copy(body.data(), body.size());
  tail_ += need;
  memory_.control->tail.store(tail_, std::memory_order_seq_cst);
  return true;
}

bool RingWriter::TakeRest() {
  // Sequentially consistent with Rest(): either we see it resting, or it sees our tail.
  if (memory_.control->resting.load(std::memory_order_seq_cst) == 0) return false;
  return memory_.control->resting.exchange(0, std::memory_order_seq_cst) != 0;
}

bool RingWriter::Taken(std::uint64_t position) const {
  // Behind tail_ the distance is small, whatever was written there; beyond it, it wraps and is large.
  return tail_ - memory_.control->head.load(std::memory_order_acquire) <= tail_ - position;
}

void RingReader::Copy(std::uint64_t position, void* to, std::size_t size) const {
  const std::size_t at = position & (memory_.capacity - 1);
  const std::size_t first = std::min(size, memory_.capacity - at);
  std::memcpy(to, memory_.data + at, first);
  std::memcpy(static_cast<std::uint8_t*>(to) + first, memory_.data, size - first);
}

RingReader::Got RingReader::Read(base::Bytes& buffer, std::size_t& size) {
  if (broken_) return Got::kBroken;
  const std::uint64_t there = memory_.control->tail.load(std::memory_order_acquire) - head_;
  if (there == 0) return Got::kNothing;
  broken_ = true;
  if (there > memory_.capacity || there < kLengthSize + sizeof(FrameHeader)) return Got::kBroken;
  std::uint32_t length = 0;
  Copy(head_, &length, sizeof(length));
  if (length < sizeof(FrameHeader) || length > buffer.size()) return Got::kBroken;
  const std::uint64_t taken = Padded(kLengthSize + length);
  if (taken > there) return Got::kBroken;
  broken_ = false;
  Copy(head_ + kLengthSize, buffer.data(), length);
  size = length;
  head_ += taken;
  memory_.control->head.store(head_, std::memory_order_release);
  return Got::kFrame;
}

bool RingReader::NextIsLike(const FrameHeader& like) const {
  const std::uint64_t there = memory_.control->tail.load(std::memory_order_acquire) - head_;
  if (there < kLengthSize + sizeof(FrameHeader)) return false;
  FrameHeader next;
  Copy(head_ + kLengthSize, &next, sizeof(next));
  return next.type == like.type && next.detail == like.detail && next.number == like.number;
}

bool RingReader::Rest() {
  memory_.control->resting.store(1, std::memory_order_seq_cst);
  if (memory_.control->tail.load(std::memory_order_seq_cst) == head_ || broken_) return true;
  Wake();
  return false;
}

void RingReader::Wake() { memory_.control->resting.store(0, std::memory_order_relaxed); }

}  // namespace signet::token
