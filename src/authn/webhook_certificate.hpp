// authn/webhook_certificate.hpp - the webhook's own serving certificate: made, kept in a Secret, rotated.
//
// Secret signet-webhook-tls (kubernetes.io/tls): tls.crt and tls.key are served by every replica; next.crt and next.key
// are there while a rotation runs; previous.crt is what was served before. A rotation never serves what the API server
// does not trust yet:
//   1. a next pair is written to the Secret;
//   2. caBundle of both configurations becomes current + next (reconcile/webhook_configurations.hpp);
//   3. `pause` later, time for every API server to see that, next becomes current. The old certificate stays in the
//      bundle until it expires or the next rotation comes, for replicas that have not looked at the Secret yet.
// A Secret that is gone, damaged or expired is written anew: around the pair that this process still serves, so that
// the new one comes by the same three steps; else around its next pair, which most API servers trust; else from
// nothing.
//
// Ownership:     borrows store and clock.
// Thread-safety: one thread (the keeper's); TlsContext may go anywhere.
// Blocking:      one to three store calls a Look.
// Errors:        those of the store; what was served before goes on being served.
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

class WebhookCertificate {
 public:
  static constexpr std::string_view kSecret = "signet-webhook-tls";
  struct Options {
    std::string ns;
    std::vector<std::string> dns_names;     ///< by which API servers reach the webhook; one of both lists is not empty
    std::vector<std::string> ip_addresses;  ///< as inet_ntop writes them
    std::chrono::seconds lifetime{std::chrono::hours(24 * 90)};  ///< renewed after two thirds of it
    std::string client_authorities;                              ///< crypto::TlsContext::Create
    std::chrono::milliseconds pause{10'000};  ///< from the last bundle written to serving the next certificate
  };
  struct State {
    std::shared_ptr<const crypto::TlsContext> serve;
    std::string bundle;  ///< PEM: the certificate served, then next and previous where they are
    std::string sha256;  ///< of the certificate served
    base::TimePoint not_after{};
    bool rotating = false;  ///< a next one waits
  };

  WebhookCertificate(kube::ObjectStore& store, const base::Clock& clock, Options options)
      : store_(store), clock_(clock), options_(std::move(options)) {}

  /// Looks at the Secret, and puts it right where it is absent or damaged (any replica: of several one wins).
  /// @param leads may begin and finish rotations
  base::Result<State> Look(bool leads);
  /// Both configurations have `bundle` now: the pause before its next certificate begins.
  void OnBundleInstalled(const std::string& bundle);

 private:
  struct Pair {
    std::string certificate;
    std::string key;  ///< PEM; wiped by ~Pair
    crypto::CertificateInfo info;
    std::shared_ptr<const crypto::TlsContext> context;

    Pair() = default;
    Pair(Pair&&) = default;
    Pair& operator=(Pair&&) = default;
    Pair(const Pair&) = default;
    Pair& operator=(const Pair&) = default;
    ~Pair() { base::WipeMemory(key.data(), key.size()); }
  };
  struct Content {
    std::optional<Pair> current, next;
    std::string previous;  ///< certificate alone; empty: none
  };

  base::Result<Pair> Make() const;
  base::Result<Pair> Parse(const std::string& certificate, const std::string& key) const;
  [[nodiscard]] bool IsServable(const Pair& pair) const;
  [[nodiscard]] Content Read(const nlohmann::json& secret) const;
  base::Status Write(const nlohmann::json* secret, const Content& content);
  /// True: `content` was changed and must be written.
  base::Result<bool> PutRight(Content& content) const;
  base::Result<bool> Rotate(Content& content) const;
  [[nodiscard]] std::string BundleOf(const Content& content) const;

  kube::ObjectStore& store_;
  const base::Clock& clock_;
  const Options options_;
  std::optional<Pair> served_;
  std::string installed_;  ///< the bundle that the configurations have
  base::SteadyPoint installed_at_{};
};

}  // namespace signet::authn
