// tests/bench/http_bench.cpp - a light keep-alive client: N connections on Unix sockets, one thread, epoll.
//
// http_bench SOCKET[,SOCKET...] PATH BODY_FILE CONNECTIONS SECONDS ITEMS
// Connections go to the sockets in turn.
// ITEMS is how many signatures one response holds (batch). Prints one JSON line. A response that is not 200 counts as
// an error.
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "http_bench: %s: %s\n", what.c_str(), std::strerror(errno));
  std::exit(1);
}

struct Connection {
  int fd = -1;
  std::string received;
  Clock::time_point sent;
};

int Connect(const std::string& path) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
  if (fd < 0 || ::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) Die(path);
  return fd;
}

void Send(Connection& connection, const std::string& request) {
  connection.received.clear();
  connection.sent = Clock::now();
  std::size_t done = 0;
  while (done < request.size()) {
    const ssize_t n = ::send(connection.fd, request.data() + done, request.size() - done, MSG_NOSIGNAL);
    if (n < 0) Die("send");
    done += static_cast<std::size_t>(n);
  }
}

/// Whole response received?
bool Complete(const std::string& text) {
  const auto end = text.find("\r\n\r\n");
  if (end == std::string::npos) return false;
  const auto length = text.find("Content-Length: ");
  if (length == std::string::npos || length > end) return true;
  return text.size() >= end + 4 + static_cast<std::size_t>(std::atol(text.c_str() + length + 16));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 7) Die("usage: http_bench SOCKETS PATH BODY_FILE CONNECTIONS SECONDS ITEMS");
  std::ifstream file(argv[3]);
  const std::string body{std::istreambuf_iterator<char>(file), {}};
  const std::string request = std::string("POST ") + argv[2] +
                              " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: " +
                              std::to_string(body.size()) + "\r\n\r\n" + body;
  const std::size_t items = static_cast<std::size_t>(std::atol(argv[6]));
  std::vector<Connection> connections(static_cast<std::size_t>(std::atol(argv[4])));
  const int poll = ::epoll_create1(EPOLL_CLOEXEC);
  std::vector<std::string> sockets;
  std::stringstream list(argv[1]);
  for (std::string path; std::getline(list, path, ',');) sockets.push_back(path);
  for (std::size_t i = 0; i < connections.size(); ++i) {
    connections[i].fd = Connect(sockets[i % sockets.size()]);
    epoll_event event{EPOLLIN, {.u64 = i}};
    ::epoll_ctl(poll, EPOLL_CTL_ADD, connections[i].fd, &event);
  }
  std::vector<float> micros;
  std::size_t errors = 0;
  const auto start = Clock::now();
  const auto end =
      start + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(std::atof(argv[5])));
  for (auto& connection : connections) Send(connection, request);
  std::vector<char> buffer(1 << 20);
  while (Clock::now() < end) {
    epoll_event events[64];
    const int ready = ::epoll_wait(poll, events, 64, 1000);
    for (int i = 0; i < ready; ++i) {
      Connection& connection = connections[events[i].data.u64];
      const ssize_t n = ::recv(connection.fd, buffer.data(), buffer.size(), 0);
      if (n <= 0) Die("the server closed the connection");
      connection.received.append(buffer.data(), static_cast<std::size_t>(n));
      if (!Complete(connection.received)) continue;
      micros.push_back(std::chrono::duration<float, std::micro>(Clock::now() - connection.sent).count());
      if (!connection.received.starts_with("HTTP/1.1 200 ")) {
        if (errors++ == 0) std::fprintf(stderr, "http_bench: %s\n", connection.received.c_str());
      }
      Send(connection, request);
    }
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  if (micros.empty()) Die("no answer");
  std::sort(micros.begin(), micros.end());
  std::printf(R"({"rate":%.1f,"p50_us":%.1f,"p99_us":%.1f,"errors":%zu})"
              "\n",
              static_cast<double>(micros.size() * items) / seconds, micros[micros.size() / 2],
              micros[micros.size() * 99 / 100], errors);
  return errors == 0 ? 0 : 1;
}
