// crypto/hasher.hpp - a digest over octets that come piece by piece (OpenSSL inside).
//
// Ownership:     owns its OpenSSL context.
// Thread-safety: none.
// Blocking:      never.
#pragma once

#include <memory>

#include "base/bytes.hpp"
#include "encoding/algorithm.hpp"

namespace signet::crypto {

class Hasher {
 public:
  explicit Hasher(encoding::HashAlgorithm hash);
  Hasher(Hasher&&) noexcept;
  Hasher& operator=(Hasher&&) noexcept;
  ~Hasher();

  void Update(base::ByteView data);
  /// Once, last.
  base::Bytes Finish();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace signet::crypto
