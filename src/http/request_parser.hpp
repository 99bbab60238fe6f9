// http/request_parser.hpp - octets to one HTTP/1.1 request, bounded at every step.
//
// Framing and field syntax are Boost.Beast's; this class keeps the few fields that are of use,
// adds the limits, and refuses what two readers could understand differently (request smuggling):
// Transfer-Encoding other than "chunked", both lengths at once, several Host fields. Trailer
// fields are read and forgotten.
//
// Ownership:     copies what it keeps; input may be freed after Feed.
// Thread-safety: none.
// Sources:       RFC 9112 sections 3.2 (target), 6 (body length), 7.1 (chunked); RFC 9110 10.1.1 (Expect).
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "http/server.hpp"

namespace signet::http {

class RequestParser {
 public:
  enum class State : std::uint8_t { kHeader, kBody, kComplete, kRefused };
  struct Limits {
    std::size_t header_bytes = 16 * 1024;
    std::size_t body_bytes = 1024 * 1024;
  };
  struct Refusal {
    int status = 400;
    std::string_view code;
    std::string_view detail;
  };

  /// `wanted`: header names in lower case that the request is to carry; must outlive the parser.
  RequestParser(Limits limits, const std::vector<std::string>& wanted);
  ~RequestParser();
  RequestParser(RequestParser&&) noexcept;
  RequestParser& operator=(RequestParser&&) noexcept;

  /// Takes octets from the front of `data`.
  /// @return how many were consumed; offer the rest again together with what comes next.
  std::size_t Feed(std::string_view data);
  /// Forgets the request; the next octet starts another.
  void Reset();
  /// Gives the memory of a body back that is of no use any more; then there is only Reset.
  void DropBody();

  [[nodiscard]] State state() const;
  [[nodiscard]] const Refusal& refusal() const;     ///< kRefused
  [[nodiscard]] bool started() const;               ///< an octet of the request has been consumed
  [[nodiscard]] bool keep_alive() const;            ///< kComplete
  [[nodiscard]] bool http10() const;                ///< version 1.0
  [[nodiscard]] bool head() const;                  ///< the method is HEAD
  [[nodiscard]] bool expects_continue() const;      ///< after kHeader
  [[nodiscard]] std::size_t body_capacity() const;  ///< octets of memory held for the body
  [[nodiscard]] std::string_view host() const;      ///< Host, or the authority of an absolute target
  /// Views into the parser, valid until Reset. kComplete only.
  void Fill(Request& out) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Does a Host value ("localhost:8080", "127.0.0.1", "[::1]:9") name this machine's loopback interface?
bool NamesLoopback(std::string_view host);

}  // namespace signet::http
