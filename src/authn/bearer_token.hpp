// authn/bearer_token.hpp - what a service-account token says of itself, before anybody is asked about it.
//
// Read, not verified: the API server verifies (token_reviewer.hpp). What is refused here would be refused there too,
// and costs no call: garbage, tokens made for somebody else, tokens that are over.
//
// Thread-safety: pure functions.
// Blocking:      never.
// Sizes:         tokens of at most kMostTokenOctets.
// Errors:        kUnauthenticated, reason "Unauthenticated"; the message never has a part of the token.
// Sources:       RFC 7515 section 3.1 (compact serialization); RFC 7519 sections 4.1.3 (aud) and 4.1.4 (exp);
//                RFC 6750 section 2.1 (Authorization: Bearer).
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "base/clock.hpp"
#include "base/result.hpp"

namespace signet::authn {

inline constexpr std::size_t kMostTokenOctets = 12 * 1024;

/// The claims in a JWT's payload: three parts of base64url, the second a JSON object.
base::Result<nlohmann::json> ReadClaims(std::string_view token);

/// The moment at which the token ends, when it is a JWT for `audience` that is not over yet.
base::Result<base::TimePoint> CheckToken(std::string_view token, std::string_view audience, base::TimePoint now);

/// The token of an Authorization field's value ("Bearer TOKEN", the scheme in any case).
base::Result<std::string_view> BearerOf(std::string_view authorization);

}  // namespace signet::authn
