// kube/credentials.hpp - credentials that are fetched while a program runs, rather than read from its configuration.
//
// Thread-safety: CredentialSource from any thread.
// Blocking:      Get may run a program and wait for a person.
#pragma once

#include <memory>
#include <string>

#include "base/result.hpp"
#include "base/secret.hpp"

namespace signet::kube {

/// A bearer token, or a client certificate (PEM) with its key, or all of them.
struct Credential {
  base::Secret token;
  std::string certificate;
  base::Secret key;
};

class CredentialSource {
 public:
  virtual ~CredentialSource() = default;
  /// What to use now; the same object for as long as it is valid.
  virtual base::Result<std::shared_ptr<const Credential>> Get() = 0;
  /// The API server answered 401 to `refused`: Get fetches another, unless that has happened since.
  virtual void Refuse(const std::shared_ptr<const Credential>& refused) = 0;
};

}  // namespace signet::kube
