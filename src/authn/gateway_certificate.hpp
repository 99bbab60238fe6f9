// authn/gateway_certificate.hpp - the gateway's authority, kept in a Secret, and this replica's certificate under it.
//
// Secret signet-gateway-ca (kubernetes.io/tls): tls.crt and tls.key are the authority, made by whichever replica comes
// first, for ten years. ConfigMap signet-gateway-ca has its certificate alone under ca.crt: what callers trust. An
// authority of one's own may be put into the Secret; every replica goes over to it at its next look. For a change that
// no caller notices, trusted.crt of the Secret holds certificates that are published beside tls.crt: first the next
// one, later the last one.
//
// The certificate that is served lives in memory: P-256, renewed after two thirds of its life, without the API server.
// Connections that are open go on with theirs (http::Server::Options::tls).
//
// A Secret that was deleted is written again with the authority in use: callers' trust does not end by an accident. One
// that holds no authority is left alone and reported.
//
// Ownership:     borrows store and clock; owns the authority's key, wiped by its owners.
// Thread-safety: one thread (the keeper's); TlsContext may go anywhere.
// Blocking:      two to four store calls a Look.
// Errors:        those of the store; kFailedPrecondition, reason "GatewayCAInvalid". What was served goes on being
//                served, and is renewed.
#pragma once

#include <chrono>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.hpp"
#include "base/result.hpp"
#include "crypto/certificate.hpp"
#include "crypto/tls_session.hpp"
#include "kube/object_store.hpp"

namespace signet::authn {

const kube::Resource& ConfigMaps();

class GatewayCertificate {
 public:
  static constexpr std::string_view kName = "signet-gateway-ca";  ///< of Secret and ConfigMap
  struct Options {
    std::string ns;
    std::vector<std::string> dns_names;     ///< by which callers reach the gateway; one of both lists is not empty
    std::vector<std::string> ip_addresses;  ///< as inet_ntop writes them
    std::chrono::seconds lifetime{std::chrono::hours(24)};  ///< of what is served; renewed after two thirds of it
    std::chrono::seconds authority_lifetime{std::chrono::hours(24 * 3653)};
  };

  GatewayCertificate(kube::ObjectStore& store, const base::Clock& clock, Options options)
      : store_(store), clock_(clock), options_(std::move(options)) {}
  GatewayCertificate(const GatewayCertificate&) = delete;
  GatewayCertificate& operator=(const GatewayCertificate&) = delete;
  ~GatewayCertificate();

  /// Looks at Secret and ConfigMap, puts right what is absent, and renews what is due, also when the store fails.
  base::Status Look();
  /// What to serve; nullptr until the first authority was seen.
  [[nodiscard]] std::shared_ptr<const crypto::TlsContext> context() const { return context_; }
  [[nodiscard]] base::TimePoint not_after() const { return not_after_; }
  [[nodiscard]] const std::string& bundle() const { return bundle_; }  ///< what ca.crt says

 private:
  base::Status TakeAuthority();
  base::Status Adopt(const nlohmann::json& secret);
  base::Result<nlohmann::json> MakeSecret();
  base::Status Publish();
  base::Status Renew();

  kube::ObjectStore& store_;
  const base::Clock& clock_;
  const Options options_;
  std::optional<crypto::Authority> authority_;
  crypto::CertificateInfo authority_info_;
  std::string authority_certificate_, authority_key_, bundle_;  ///< PEM; the key is wiped at the end
  std::shared_ptr<const crypto::TlsContext> context_;
  base::TimePoint not_before_{}, not_after_{};
};

}  // namespace signet::authn
