// frontend/gateway_watch.hpp - what a sidecar asks the gateway for itself: may we sign, and has our pod done its work?
//
// Ownership:     borrow client and reactor.
// Thread-safety: reactor thread.
// Blocking:      never.
#pragma once

#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/reactor.hpp"
#include "frontend/gateway_client.hpp"
#include "frontend/gateway_credentials.hpp"
#include "frontend/readiness.hpp"

namespace signet::frontend {

/// Readiness of the sidecar. Sticky: ready from the first time on that the gateway has accepted our token, so that an
/// outage of Signet takes no application out of its Service. Strict: ready while the gateway accepts us and is ready
/// itself.
class GatewayContact {
 public:
  GatewayContact(GatewayClient& client, base::Reactor& reactor, bool strict);
  ~GatewayContact();
  GatewayContact(const GatewayContact&) = delete;
  GatewayContact& operator=(const GatewayContact&) = delete;

  /// "gateway"; a sticky one that is ready and has a problem names it all the same.
  [[nodiscard]] Check State() const;

 private:
  void Ask();
  void AskIfReady();
  void After(std::chrono::milliseconds pause);

  GatewayClient& client_;
  base::Reactor& reactor_;
  const bool strict_;
  std::mt19937 random_{std::random_device{}()};  // for jitter only
  base::Reactor::Id timer_ = 0;
  bool gateway_ready_ = false;  ///< strict: it said so last
  std::shared_ptr<int> alive_ = std::make_shared<int>(0);
};

/// Asks every few seconds whether all other containers of our pod have ended for good. What goes wrong in between
/// never ends it.
class PodWatch {
 public:
  /// @param container our own name in the pod
  PodWatch(GatewayClient& client, base::Reactor& reactor, std::string container, std::function<void()> others_ended);
  ~PodWatch();
  PodWatch(const PodWatch&) = delete;
  PodWatch& operator=(const PodWatch&) = delete;

 private:
  void Ask();
  void After();

  GatewayClient& client_;
  base::Reactor& reactor_;
  const std::string container_;
  const std::function<void()> others_ended_;
  std::mt19937 random_{std::random_device{}()};  // for jitter only
  base::Reactor::Id timer_ = 0;
  std::shared_ptr<int> alive_ = std::make_shared<int>(0);
};

/// Asks now and then which authorities callers of the gateway shall believe: the answer comes over a connection that
/// those believed so far vouch for. So a CA changes without a restart, and nobody but the gateway can change it.
class AuthorityWatch {
 public:
  AuthorityWatch(GatewayClient& client, base::Reactor& reactor, GatewayCredentials& credentials);
  ~AuthorityWatch();
  AuthorityWatch(const AuthorityWatch&) = delete;
  AuthorityWatch& operator=(const AuthorityWatch&) = delete;

 private:
  void Ask();
  void After(std::chrono::milliseconds pause);

  GatewayClient& client_;
  base::Reactor& reactor_;
  GatewayCredentials& credentials_;
  std::mt19937 random_{std::random_device{}()};  // for jitter only
  base::Reactor::Id timer_ = 0;
  std::shared_ptr<int> alive_ = std::make_shared<int>(0);
};

}  // namespace signet::frontend
