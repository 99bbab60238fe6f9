// frontend/scrape_token.hpp - the bearer token that a scrape of /metrics has to show, from a file that may be replaced.
//
// The file is read again as gateway_credentials.hpp says. What cannot be read or is no token leaves the last good one
// in force; while there never was one, every scrape is refused. The token is never logged.
//
// Ownership:     borrows the clock.
// Thread-safety: reactor thread.
// Blocking:      a small local file, once a second at most.
// Sources:       RFC 6750 section 2.1.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/clock.hpp"
#include "base/secret.hpp"
#include "frontend/gateway_credentials.hpp"

namespace signet::frontend {

class ScrapeToken {
 public:
  static constexpr std::size_t kMinBytes = 16;
  static constexpr std::size_t kMaxBytes = 4096;

  ScrapeToken(std::string path, const base::Clock& clock) : file_(std::move(path), kMaxBytes + 1, clock) {}

  /// @param authorization  value of the Authorization field; empty when there is none
  bool Allows(std::string_view authorization);

 private:
  void Read();
  void Complain(const std::string& problem);

  RotatingFile file_;
  std::optional<base::Secret> token_;
  std::string problem_;  ///< the last one logged
};

}  // namespace signet::frontend
