// kube/transport.hpp - HTTP to one API server: what RestStore needs of a library, and no more.
//
// The seam that keeps cpprestsdk (end of life) replaceable: cpprest_transport.cpp is the one file
// that knows it. Nothing here knows of Kubernetes.
//
// Thread-safety: every method from any thread.
// Blocking:      Send blocks until the answer or a deadline; OpenStream does not.
// Errors:        only for exchanges without an answer: kUnavailable (no connection, or it broke: whether
//                the request was carried out is unknown), kDeadlineExceeded, kInternal with the reason
//                kAnswerTooLarge. An HTTP error is an answer.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "kube/cluster_config.hpp"

namespace signet::kube {

inline constexpr std::string_view kAnswerTooLarge = "AnswerTooLarge";

struct HttpRequest {
  std::string method;        ///< "GET"
  std::string target;        ///< path and query, percent-encoded; relative to the server's prefix
  std::string content_type;  ///< "" without a body
  std::string body;
  std::size_t max_answer = 0;  ///< octets of the answer's body; 0: the transport's own limit
};

struct HttpResponse {
  int status = 0;
  std::chrono::seconds retry_after{0};  ///< 0: the header was absent
  std::string body;
};

struct Deadlines {
  std::chrono::milliseconds first_byte{10'000};  ///< until the status line
  std::chrono::milliseconds total{30'000};
};

/// Callbacks of a streamed response: one at a time, in order, on any thread of the library. Octets may
/// come before the status is known.
struct StreamSink {
  std::function<void(int status, std::chrono::seconds retry_after)> on_status;
  std::function<void(std::string_view octets)> on_octets;
  std::function<void(base::Status)> on_end;  ///< exactly once, last; ok: the response was complete
};

class Stream {
 public:
  virtual ~Stream() = default;  ///< cancels; callbacks may still run afterwards
  /// Closes the connection. on_end follows, if it has not been called yet.
  virtual void Cancel() = 0;
};

/// After a broken connection every pooled one is forgotten (a server that restarted has broken them
/// all), and CA and client certificate are read again: what is sent next uses a new connection.
class Transport {
 public:
  virtual ~Transport() = default;
  virtual base::Result<HttpResponse> Send(const HttpRequest& request, const Deadlines& deadlines) = 0;
  virtual std::unique_ptr<Stream> OpenStream(const HttpRequest& request, StreamSink sink) = 0;
};

/// cpprestsdk below. Call InitializeProcess() first in main.
/// @return kInvalidArgument, reason "ConfigInvalid"; kNotFound and kPermissionDenied for files
base::Result<std::unique_ptr<Transport>> OpenCpprestTransport(ClusterConfig config, std::size_t max_body);

}  // namespace signet::kube
