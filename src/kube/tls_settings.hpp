// kube/tls_settings.hpp - TLS to an API server: whom to trust, which name to expect, what to show.
//
// Only kube/cpprest_transport.cpp includes it. The checks are our own: cpprest compares the certificate with the Host
// header, falls back to the common name, and cannot be told another name.
//
// Thread-safety: Apply from any thread; the settings do not change.
// Blocking:      Read reads files.
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>

#include "base/result.hpp"
#include "kube/cluster_config.hpp"
#include "kube/credentials.hpp"

namespace signet::kube {

class TlsSettings : public std::enable_shared_from_this<TlsSettings> {
 public:
  /// @param name        a DNS name or an address that the server's certificate must have among its alternative names;
  ///                    a DNS name is also sent as SNI
  /// @param credential  of a plugin; its client certificate, if it has one, takes the place of the configuration's
  /// @return kInvalidArgument, reason "ConfigInvalid"; kNotFound and kPermissionDenied for files
  static base::Result<std::shared_ptr<const TlsSettings>> Read(const ClusterConfig& config, std::string name,
                                                               const Credential* credential);
  virtual ~TlsSettings() = default;

  /// `context` keeps the settings alive.
  virtual void Apply(SSL_CTX* context) const = 0;
};

}  // namespace signet::kube
