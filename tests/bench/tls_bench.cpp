// tests/bench/tls_bench.cpp - a pod that asks the gateway itself: one keep-alive TLS connection, one request at a time.
//
// tls_bench PORT CA_FILE TOKEN_FILE PATH BODY_FILE SECONDS
// Prints one JSON line as http_bench does. A response that is not 200 counts as an error.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void Die(const char* what) {
  std::fprintf(stderr, "tls_bench: %s failed\n", what);
  ERR_print_errors_fp(stderr);
  std::exit(1);
}

std::string Read(const char* path) {
  std::ifstream file(path);
  std::string text{std::istreambuf_iterator<char>(file), {}};
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

SSL* Connect(int port, const char* ca) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (fd < 0 || ::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) Die("connect");
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  SSL_CTX* context = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  if (SSL_CTX_load_verify_locations(context, ca, nullptr) != 1) Die("reading the CA");
  SSL* ssl = SSL_new(context);
  X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), "127.0.0.1");
  SSL_set_fd(ssl, fd);
  if (SSL_connect(ssl) != 1) Die("the handshake");
  return ssl;
}

/// The whole response.
std::string Receive(SSL* ssl) {
  std::string text;
  char buffer[4096];
  for (;;) {
    const int n = SSL_read(ssl, buffer, sizeof(buffer));
    if (n <= 0) Die("reading");
    text.append(buffer, static_cast<std::size_t>(n));
    const auto end = text.find("\r\n\r\n");
    if (end == std::string::npos) continue;
    const auto length = text.find("Content-Length: ");
    if (length == std::string::npos || length > end) return text;
    if (text.size() >= end + 4 + static_cast<std::size_t>(std::atol(text.c_str() + length + 16))) return text;
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 7) {
    std::fputs("usage: tls_bench PORT CA_FILE TOKEN_FILE PATH BODY_FILE SECONDS\n", stderr);
    return 2;
  }
  const std::string body = Read(argv[5]);
  const std::string request =
      std::string("POST ") + argv[4] + " HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer " + Read(argv[3]) +
      "\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  SSL* ssl = Connect(std::atoi(argv[1]), argv[2]);
  std::vector<double> micros;
  std::size_t errors = 0;
  const auto start = Clock::now();
  const auto end = start + std::chrono::duration<double>(std::atof(argv[6]));
  while (Clock::now() < end) {
    const auto sent = Clock::now();
    if (SSL_write(ssl, request.data(), static_cast<int>(request.size())) <= 0) Die("writing");
    const std::string response = Receive(ssl);
    micros.push_back(std::chrono::duration<double, std::micro>(Clock::now() - sent).count());
    if (!response.starts_with("HTTP/1.1 200 ") && errors++ == 0)
      std::fprintf(stderr, "tls_bench: %s\n", response.c_str());
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  std::sort(micros.begin(), micros.end());
  std::printf(R"({"rate":%.1f,"p50_us":%.1f,"p99_us":%.1f,"errors":%zu})"
              "\n",
              static_cast<double>(micros.size()) / seconds, micros[micros.size() / 2], micros[micros.size() * 99 / 100],
              errors);
  return errors == 0 ? 0 : 1;
}
