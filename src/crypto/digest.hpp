// crypto/digest.hpp - SHA-2 over memory (OpenSSL inside).
#pragma once

#include <array>
#include <string>

#include "base/bytes.hpp"
#include "encoding/algorithm.hpp"

namespace signet::crypto {

base::Bytes Hash(encoding::HashAlgorithm hash, base::ByteView data);
std::array<std::uint8_t, 32> Sha256(base::ByteView data);
/// Lower-case hex SHA-256, 64 characters.
std::string Sha256Hex(base::ByteView data);
/// `size` octets of the operating system's random source.
base::Bytes RandomBytes(std::size_t size);

}  // namespace signet::crypto
