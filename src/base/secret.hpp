// base/secret.hpp - a PIN or another secret: wiped when freed, never printed.
//
// Ownership:     owns its octets; move-only, so that there is one copy to wipe.
// Thread-safety: none; hand it over by move.
#pragma once

#include <string>

#include "base/bytes.hpp"

namespace signet::base {

class Secret {
 public:
  Secret() = default;
  explicit Secret(Bytes octets) : octets_(std::move(octets)) {}
  Secret(Secret&&) noexcept = default;
  Secret& operator=(Secret&& other) noexcept;
  Secret(const Secret&) = delete;
  Secret& operator=(const Secret&) = delete;
  ~Secret() { Wipe(); }

  [[nodiscard]] ByteView Reveal() const { return octets_; }
  [[nodiscard]] bool empty() const { return octets_.empty(); }
  /// Constant-time for equal lengths.
  [[nodiscard]] bool Equals(const Secret& other) const;
  void Wipe() noexcept;

 private:
  Bytes octets_;
};

/// Zeroes memory in a way the compiler keeps.
void WipeMemory(void* data, std::size_t size) noexcept;

}  // namespace signet::base
