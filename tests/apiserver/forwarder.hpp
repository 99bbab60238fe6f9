// tests/apiserver/forwarder.hpp - a TCP relay to the API server on an address of our own.
#pragma once

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace signet::testing {

class Forwarder {
 public:
  /// Relays `listen`:any port to the host and port of `server` (https://host:port).
  Forwarder(const std::string& listen, const std::string& server) {
    const auto colon = server.rfind(':');
    host_ = server.substr(8, colon - 8);
    port_ = server.substr(colon + 1);
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    ::inet_pton(AF_INET, listen.c_str(), &address.sin_addr);
    if (::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || ::listen(listener_, 64) != 0) {
      throw std::runtime_error("cannot listen on " + listen);
    }
    socklen_t size = sizeof address;
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    url_ = "https://" + listen + ":" + std::to_string(ntohs(address.sin_port));
    acceptor_ = std::thread([this] { Accept(); });
  }
  ~Forwarder() {
    stopping_ = true;
    ::shutdown(listener_, SHUT_RDWR);
    acceptor_.join();
    CutAll();
    for (auto& thread : relays_) thread.join();
    for (const int fd : sockets_) ::close(fd);
    ::close(listener_);
  }

  [[nodiscard]] const std::string& url() const { return url_; }
  [[nodiscard]] int accepted() const { return accepted_; }
  /// Resets every connection, as the end of a server does; new ones are still taken.
  void CutAll() {
    const std::lock_guard lock(mutex_);
    sockaddr nobody{};
    nobody.sa_family = AF_UNSPEC;
    for (const int fd : sockets_) ::connect(fd, &nobody, sizeof nobody);
  }

 private:
  void Accept() {
    for (;;) {
      const int client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (client < 0) return;
      ++accepted_;
      addrinfo hints{};
      hints.ai_socktype = SOCK_STREAM;
      addrinfo* found = nullptr;
      const int upstream = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      const bool connected = ::getaddrinfo(host_.c_str(), port_.c_str(), &hints, &found) == 0 &&
                             ::connect(upstream, found->ai_addr, found->ai_addrlen) == 0;
      if (found != nullptr) ::freeaddrinfo(found);
      const std::lock_guard lock(mutex_);
      sockets_.insert(sockets_.end(), {client, upstream});
      if (!connected || stopping_) {
        ::shutdown(client, SHUT_RDWR);
        continue;
      }
      relays_.emplace_back([client, upstream] { Relay(client, upstream); });
      relays_.emplace_back([client, upstream] { Relay(upstream, client); });
    }
  }
  static void Relay(int from, int to) {
    std::array<char, 16384> buffer{};
    for (ssize_t got; (got = ::recv(from, buffer.data(), buffer.size(), 0)) > 0;) {
      for (ssize_t sent = 0; sent < got;) {
        const ssize_t n = ::send(to, buffer.data() + sent, static_cast<std::size_t>(got - sent), MSG_NOSIGNAL);
        if (n <= 0) return;
        sent += n;
      }
    }
    ::shutdown(from, SHUT_RDWR);
    ::shutdown(to, SHUT_RDWR);
  }

  std::string host_;
  std::string port_;
  std::string url_;
  int listener_ = -1;
  std::atomic<bool> stopping_{false};
  std::atomic<int> accepted_{0};
  std::mutex mutex_;
  std::vector<int> sockets_;         ///< guarded by mutex_; closed at the end, so that no number is reused
  std::vector<std::thread> relays_;  ///< guarded by mutex_ until the acceptor has ended
  std::thread acceptor_;
};

}  // namespace signet::testing
