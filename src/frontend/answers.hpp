// frontend/answers.hpp - what the service and the policies say, as JSON bodies.
//
// Thread-safety: pure functions.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "frontend/sign_body.hpp"
#include "http/server.hpp"
#include "signing/service.hpp"

namespace signet::frontend {

/// {"signature","algorithm","keyID","record"} or the problem. p1363 needs an ECDSA signature: kInternal otherwise.
http::Response SignResponse(const signing::SigningService::Answer& answer, SignatureEncoding encoding);
/// {"results":[{...} | {"error":{problem}}]}, one per item, in order.
http::Response BatchResponse(const std::vector<signing::SigningService::Answer>& answers,
                             const std::vector<SignatureEncoding>& encodings);

/// {"keys":[...]}, sorted by policy.
http::Response KeysResponse(std::vector<std::shared_ptr<const signing::ActivePolicy>> policies);
/// What callers of the gateway shall believe; empty: NotReady.
http::Response AuthoritiesResponse(std::string_view pem);
/// The PEM public key, or with `as_json` the entry of KeysResponse and publicKey. Without a key: KeyNotReady.
http::Response KeyResponse(const signing::ActivePolicy& policy, bool as_json);

}  // namespace signet::frontend
