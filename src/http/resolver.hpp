// http/resolver.hpp - names to addresses without holding up the loop.
//
// getaddrinfo blocks for as long as it likes and cannot be stopped, so it has a thread of its own while it runs; a
// Resolver that is gone by then hears nothing more.
//
// Ownership:     borrows the reactor.
// Thread-safety: reactor thread.
// Blocking:      never.
// Errors:        kUnavailable, reason "NameNotResolved".
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/reactor.hpp"
#include "base/result.hpp"

namespace signet::http {

class Resolver {
 public:
  using Addresses = std::vector<std::string>;  ///< "10.0.0.1", "fd00::1"; each once, in the system's order, at most 64
  using Done = std::function<void(base::Result<Addresses>)>;

  virtual ~Resolver() = default;
  /// `done` is called on the loop, later. A name that is being looked up already is not looked up again: `done`
  /// takes the earlier one's place.
  virtual void Resolve(const std::string& host, Done done) = 0;

  /// The system's: /etc/hosts, DNS, whatever nsswitch.conf says.
  static std::unique_ptr<Resolver> System(base::Reactor& reactor);
};

/// "127.0.0.1", "::1".
bool IsAddress(const std::string& host);

}  // namespace signet::http
