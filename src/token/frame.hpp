// token/frame.hpp - the frames between the front process and its workers. Private to src/token.
//
// One frame: a FrameType, an operation id, then fields in host byte order (both ends are the same
// binary); channel.hpp carries it. A worker handles frames in order and answers each Sign, Find and
// Generate with exactly one frame, so that an unanswered frame behind another was never begun. Such a
// frame says by when it must be begun: what the worker has not taken by then, it will refuse. The front
// can tell its caller so at once, and need not wait for the frames before it.
//
//   to the worker   Configure, ReadPin, Login, ForgetPin, DefineKey | Sign, Find, Generate
//   to the front    Status, PinRead, LoginResult, Proven            | Done
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>

#include "base/bytes.hpp"
#include "base/clock.hpp"
#include "base/result.hpp"

namespace signet::token {

inline constexpr std::string_view kWorkerArgument = "hsm-worker";
inline constexpr std::size_t kMaxFrame = 128 * 1024;  ///< octets

enum class FrameType : std::uint8_t {
  kConfigure = 1,
  kReadPin,    ///< body: the key of the fingerprint
  kLogin,      ///< with the PIN just read; detail 1: the token accepted it before
  kForgetPin,  ///< the PIN just read
  kDefineKey,
  kSign,
  kFind,
  kGenerate,
  kStatus = 64,
  kPinRead,
  kLoginResult,
  kDone,
  kProven,  ///< a private key has signed a challenge: of a key found again for Sign, and of one whose public key does
            ///< not verify it; before the Done of that operation
};

/// How far an operation got in the worker.
enum class Progress : std::uint8_t {
  kOk,
  kError,     ///< an answer for the caller
  kNotReady,  ///< the worker had no login: never shown to the HSM
  kLost,      ///< the HSM was asked and certainly did nothing: may be asked once more
  kExpired,   ///< its time was over before its turn came: never shown to the HSM
};

enum class WorkerPhase : std::uint8_t {
  kDown,        ///< no module or no token; `reason` says which
  kWantsLogin,  ///< token open, not logged in
  kReady,
};

/// A point of the steady clock, which is one for all processes of a machine, as a frame carries it.
inline std::int64_t BeginBy(base::SteadyPoint point) { return point.time_since_epoch().count(); }

/// The first octets of every frame.
struct FrameHeader {
  FrameType type{};
  std::uint8_t detail = 0;  ///< Sign: SignatureAlgorithm; Done: Progress; Status: WorkerPhase
  std::uint16_t unused = 0;
  std::uint32_t number = 0;   ///< Sign, DefineKey: KeyRef; Done: microseconds in the HSM
  std::uint64_t id = 0;       ///< of the operation
  std::int64_t begin_by = 0;  ///< Sign, Find, Generate: the worker begins it before, or not at all; see BeginBy
};
static_assert(sizeof(FrameHeader) == 24 && std::is_trivially_copyable_v<FrameHeader>);

class FrameWriter {
 public:
  explicit FrameWriter(const FrameHeader& header) { Raw(&header, sizeof(header)); }
  /// Fields only; the header comes later.
  FrameWriter() = default;

  FrameWriter& U8(std::uint8_t value) { return Raw(&value, sizeof(value)); }
  FrameWriter& U32(std::uint32_t value) { return Raw(&value, sizeof(value)); }
  FrameWriter& U64(std::uint64_t value) { return Raw(&value, sizeof(value)); }
  FrameWriter& Bool(bool value) { return U8(value ? 1 : 0); }
  FrameWriter& Octets(base::ByteView octets) {
    U32(static_cast<std::uint32_t>(octets.size()));
    return Raw(octets.data(), octets.size());
  }
  FrameWriter& Text(std::string_view text) { return Octets(base::AsBytes(text)); }
  FrameWriter& Err(const base::Error& error);

  [[nodiscard]] const base::Bytes& bytes() const { return bytes_; }
  base::Bytes Take() { return std::move(bytes_); }

 private:
  FrameWriter& Raw(const void* data, std::size_t size) {
    const auto* octets = static_cast<const std::uint8_t*>(data);
    bytes_.insert(bytes_.end(), octets, octets + size);
    return *this;
  }

  base::Bytes bytes_;
};

/// Reads fields in order; after the end, everything is empty and ok() is false.
class FrameReader {
 public:
  explicit FrameReader(base::ByteView rest) : rest_(rest) {}

  std::uint8_t U8() { return Plain<std::uint8_t>(); }
  std::uint32_t U32() { return Plain<std::uint32_t>(); }
  std::uint64_t U64() { return Plain<std::uint64_t>(); }
  bool Bool() { return U8() != 0; }
  base::ByteView Octets() { return Take(U32()); }
  std::string Text() { return std::string(base::AsText(Octets())); }
  base::Error Err();

  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] base::ByteView rest() const { return rest_; }

 private:
  template <class Value>
  Value Plain() {
    Value value{};
    const base::ByteView octets = Take(sizeof(value));
    if (!octets.empty()) std::memcpy(&value, octets.data(), sizeof(value));
    return value;
  }
  base::ByteView Take(std::size_t size) {
    if (size > rest_.size()) {
      ok_ = false;
      rest_ = {};
      return {};
    }
    const base::ByteView taken = rest_.first(size);
    rest_ = rest_.subspan(size);
    return taken;
  }

  base::ByteView rest_;
  bool ok_ = true;
};

}  // namespace signet::token
