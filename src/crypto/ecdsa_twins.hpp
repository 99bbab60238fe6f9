// crypto/ecdsa_twins.hpp - the other byte strings that verify where an ECDSA signature does.
//
// With (r, s) also (r, n-s) is a signature of the same message: anybody can make it without the key. A record that
// names a signature by its hash is asked for all of them.
//
// Sources: SEC 1 section 4.1.4; RFC 3279 section 2.2.3 (DER); IEEE 1363 (r || s).
// Thread-safety: pure functions.
#pragma once

#include <vector>

#include "base/bytes.hpp"

namespace signet::crypto {

/// DER encodings of (r, s) and, for each of P-256, P-384 and P-521 whose order is above s, of (r, n-s). `signature` is
/// DER (BER forms, too) or r || s of equal halves; empty when it is neither.
std::vector<base::Bytes> EcdsaTwins(base::ByteView signature);

}  // namespace signet::crypto
