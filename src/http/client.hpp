// http/client.hpp - a small HTTP/1.1 client of a Unix socket: one exchange a connection, for command-line programs.
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

}  // namespace signet::http
