// http/response_parser.hpp - octets to one HTTP/1.1 response, bounded at every step.
//
// Framing and field syntax are Boost.Beast's. Interim responses (1xx) are passed by; an answer that has no length of
// its own (it would end with the connection, and could be cut) is refused, as is a switch of protocols.
//
// Ownership:     copies what it keeps; input may be freed after Feed.
// Thread-safety: none.
// Sources:       RFC 9112 sections 4 and 6, RFC 9110 section 15.2 (interim responses).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "http/server.hpp"

namespace signet::http {

class ResponseParser {
 public:
  enum class State : std::uint8_t { kHeader, kBody, kComplete, kRefused };
  struct Limits {
    std::size_t header_bytes = 16 * 1024;
    std::size_t body_bytes = 4 * 1024 * 1024;
  };

  /// `wanted`: header names as they are to be written in the Response; must outlive the parser.
  ResponseParser(Limits limits, const std::vector<std::string>& wanted);
  ~ResponseParser();
  ResponseParser(ResponseParser&&) noexcept;
  ResponseParser& operator=(ResponseParser&&) noexcept;

  /// Takes octets from the front of `data`.
  /// @return how many were consumed; offer the rest again together with what comes next.
  std::size_t Feed(std::string_view data);
  /// Forgets the response; the next octet starts another.
  void Reset();

  [[nodiscard]] State state() const;
  [[nodiscard]] bool started() const;              ///< an octet of the response has been consumed
  [[nodiscard]] bool keep_alive() const;           ///< kComplete
  [[nodiscard]] std::string_view refusal() const;  ///< kRefused: why, for logs
  /// The response, moved out. kComplete only.
  Response Take();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace signet::http
