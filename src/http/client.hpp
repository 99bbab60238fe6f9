// http/client.hpp - a small HTTP/1.1 client: one exchange a connection, for command-line programs.
//
// Ownership:     owns its path only.
// Thread-safety: none.
// Blocking:      Send, up to its deadline.
// Errors:        kNotFound (no socket file), kPermissionDenied, kUnavailable (nobody serves it, or the connection
// broke:
//                whether the request was carried out is unknown), kDeadlineExceeded (likewise), kInternal (not HTTP).
// Sources:       RFC 9112.
#pragma once

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "base/result.hpp"

namespace signet::http {

struct ClientRequest {
  std::string method = "GET";
  std::string target = "/";  ///< percent-encoded
  std::vector<std::pair<std::string, std::string>> fields;
  std::string body;
};

struct ClientResponse {
  int status = 0;
  std::string content_type;
  std::chrono::seconds retry_after{0};  ///< 0: the field was absent
  std::string body;                     ///< at most kMaxBody octets
};

class UnixClient {
 public:
  static constexpr std::size_t kMaxBody = 16U << 20;

  explicit UnixClient(std::string path) : path_(std::move(path)) {}
  [[nodiscard]] base::Result<ClientResponse> Send(const ClientRequest& request,
                                                  std::chrono::milliseconds deadline) const;
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// The same in plain text over TCP, to this machine: probes.
class TcpClient {
 public:
  /// @param address  HOST:PORT with a numeric host; "localhost" and "" are 127.0.0.1, 0.0.0.0 and :: their loopback
  explicit TcpClient(std::string address) : address_(std::move(address)) {}
  [[nodiscard]] base::Result<ClientResponse> Send(const ClientRequest& request,
                                                  std::chrono::milliseconds deadline) const;

 private:
  std::string address_;
};

}  // namespace signet::http
