// tests/unit/http/loop_fixture.hpp - a server on a loop of its own thread, and blocking clients for the test's thread.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <future>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/unique_fd.hpp"
#include "http/asio_reactor.hpp"
#include "http/server.hpp"
#include "support/temp_folder.hpp"

namespace signet::testing {

/// A blocking client; every wait ends after 10 s and fails the test by what is missing then.
class Client {
 public:
  static Client Unix(const std::string& path) {
    Client client(AF_UNIX);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    client.Connect(reinterpret_cast<const sockaddr*>(&address), sizeof(address));
    return client;
  }
  /// @param host last octet of the loopback address that it comes from
  static Client Tcp(std::uint16_t port, std::uint8_t host = 1) {
    Client client(AF_INET);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl((INADDR_LOOPBACK & ~0xffU) | host);
    // No port before the connection, and one that a server of another test may listen on once it is over.
    const int on = 1;
    ::setsockopt(client.fd(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    ::setsockopt(client.fd(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
    EXPECT_EQ(::bind(client.fd(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    client.Connect(reinterpret_cast<const sockaddr*>(&address), sizeof(address));
    return client;
  }

  [[nodiscard]] bool connected() const { return connected_; }
  [[nodiscard]] int fd() const { return fd_.get(); }

  /// False: the peer has closed.
  bool Send(std::string_view data) {
    while (!data.empty()) {
      const ssize_t sent = ::send(fd_.get(), data.data(), data.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      data.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
  }
  void HalfClose() { ::shutdown(fd_.get(), SHUT_WR); }
  void Close() { fd_.Close(); }

  /// One whole response (head and body), or what came until the end.
  std::string Response() {
    std::size_t head = std::string::npos;
    while ((head = buffer_.find("\r\n\r\n")) == std::string::npos) {
      if (!Fill()) return std::exchange(buffer_, {});
    }
    std::size_t size = head + 4;
    if (const auto at = buffer_.find("Content-Length: "); at < head) size += std::stoul(buffer_.substr(at + 16));
    while (buffer_.size() < size) {
      if (!Fill()) return std::exchange(buffer_, {});
    }
    std::string response = buffer_.substr(0, size);
    buffer_.erase(0, size);
    return response;
  }
  /// Everything until the peer closes.
  std::string Rest() {
    while (Fill()) {
    }
    return std::exchange(buffer_, {});
  }
  /// True when the peer has closed (a wait that runs out is false).
  [[nodiscard]] bool ended() const { return ended_; }

 private:
  explicit Client(int family) : fd_(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const timeval limit{10, 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
  }
  void Connect(const sockaddr* address, socklen_t size) { connected_ = ::connect(fd_.get(), address, size) == 0; }
  bool Fill() {
    char part[65536];
    const ssize_t size = ::recv(fd_.get(), part, sizeof(part), 0);
    if (size <= 0) {
      ended_ = size == 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
      return false;
    }
    buffer_.append(part, static_cast<std::size_t>(size));
    return true;
  }

  base::UniqueFd fd_;
  std::string buffer_;
  bool connected_ = false;
  bool ended_ = false;
};

inline http::Response PlainRefusal(int status, std::string_view code, std::string_view detail) {
  http::Response response;
  response.status = status;
  response.content_type = "text/plain";
  response.body = std::string(code) + ": " + std::string(detail);
  return response;
}

/// The loop runs from Start() to the end of the test.
class LoopFixture : public ::testing::Test {
 protected:
  ~LoopFixture() override {
    OnLoop([this] { server_.reset(); });
    reactor_->Stop();
    if (thread_.joinable()) thread_.join();
  }

  std::string path() const { return (folder_.path() / "s").string(); }
  http::Server::Options UnixOptions() const {
    http::Server::Options options;
    options.unix_path = path();
    return options;
  }
  void Start(http::Server::Options options, http::Handler handler) {
    auto server = http::Server::Listen(*reactor_, std::move(options), std::move(handler), PlainRefusal);
    ASSERT_TRUE(server.has_value()) << base::Describe(server.error());
    server_ = std::move(*server);
    Run();
  }
  void Run() {
    thread_ = std::thread([this] { reactor_->Run(); });
  }
  /// Runs `work` on the loop and waits for it.
  template <class Work>
  void OnLoop(Work work) {
    if (!thread_.joinable()) return work();
    std::promise<void> done;
    reactor_->Post([&] {
      work();
      done.set_value();
    });
    done.get_future().wait();
  }
  /// The server has no connection left (it is told by polling the loop, not by time).
  bool BecomesEmpty() {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (std::chrono::steady_clock::now() < end) {
      std::size_t count = 0;
      OnLoop([&] { count = server_->connections(); });
      if (count == 0) return true;
      std::this_thread::yield();
    }
    return false;
  }

  TempFolder folder_;
  std::unique_ptr<http::AsioReactor> reactor_ = http::AsioReactor::Create();
  std::unique_ptr<http::Server> server_;
  std::thread thread_;
};

}  // namespace signet::testing
