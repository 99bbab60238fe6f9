// frontend/routes.hpp - the signing API over HTTP: the same paths on the socket and on the gateway.
//
// docs/openapi.yaml is the contract, docs/protocol.md explains it; tests hold both to this code.
//
// Ownership:     borrows service and clock; they must outlive the SigningApi and every request given to it.
// Thread-safety: reactor thread.
// Blocking:      never.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.hpp"
#include "base/result.hpp"
#include "frontend/readiness.hpp"
#include "http/server.hpp"
#include "signing/service.hpp"

namespace signet::frontend {

using CallerDone = std::function<void(base::Result<signing::Caller>)>;
/// Who is calling, as this door establishes it; kUnauthenticated, kPermissionDenied or kUnavailable otherwise. The
/// answer when it is known; nothing: `later` has it, once, on the loop, after the call has returned.
using Authenticate =
    std::function<std::optional<base::Result<signing::Caller>>(const http::Request&, CallerDone later)>;
/// What a door sees to between "who" and "may they": the caller, perhaps with its images. `done` runs once, now or
/// later.
using Prepare = std::function<void(signing::Caller caller, const std::string& policy, CallerDone done)>;
/// Nothing: go on. Otherwise the caller has asked too often, and this is how long it shall wait.
using Limit = std::function<std::optional<base::Duration>(const signing::Caller&, double requests)>;
/// GET /v1/pod: the calling pod, and whether its containers other than `own` have ended.
using DescribePod = std::function<void(const signing::Caller&, std::string own, http::Responder)>;

/// GET /v1/authorities: the certificates (PEM) that callers of the gateway shall believe. Empty: not known yet.
using Authorities = std::function<std::string()>;

struct Route {
  std::string_view method;
  std::string_view path;  ///< as OpenAPI writes it: "/v1/keys/{policy}"
};
/// Everything that is served; HEAD goes where GET goes. /v1/pod and /v1/authorities are the gateway's alone.
std::span<const Route> Routes();
/// Index into Routes() by path alone; Routes().size() for any other path.
std::size_t FindRoute(std::string_view target);

class SigningApi {
 public:
  struct Options {
    std::size_t sign_body_bytes = 256 * 1024;    ///< a 64 KiB message in base64 and every annotation
    std::size_t batch_body_bytes = 1024 * 1024;  ///< set http::Limits::body_bytes to the larger
    std::size_t idempotency_entries = 10'000;
    std::chrono::seconds idempotency_time{600};
  };
  struct Dependencies {
    signing::SigningService* service = nullptr;
    const base::Clock* clock = nullptr;
    Authenticate authenticate;
    Readiness readiness;
    Prepare prepare;          ///< empty: nothing to see to
    Limit limit;              ///< empty: none
    DescribePod pod;          ///< empty: /v1/pod is not served
    Authorities authorities;  ///< empty: /v1/authorities is not served
  };

  SigningApi(Options options, Dependencies dependencies);
  ~SigningApi();
  SigningApi(const SigningApi&) = delete;
  SigningApi& operator=(const SigningApi&) = delete;

  void Handle(const http::Request& request, http::Responder respond);
  /// Handle as a handler for http::Server::Listen; may outlive this object.
  [[nodiscard]] http::Handler handler() const;

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace signet::frontend
