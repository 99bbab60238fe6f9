#include "http/listener.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <utility>

#include "base/file_lock.hpp"
#include "obs/log.hpp"

namespace signet::http {
namespace {

using base::Code;
using base::ErrnoError;
using base::MakeError;
using base::UniqueFd;

constexpr int kBacklog = 4096;
constexpr std::chrono::milliseconds kLockPatience{2000};

const char* Name(base::LockState state) { return state == base::LockState::kShared ? "read" : "write"; }

sockaddr_un UnixAddress(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

/// Two servers that start together must not each take the other's socket for stale: the second one waits here until the
/// first one listens. The lock is held for that moment only, so whoever holds it for longer is no Signet that starts,
/// and keeps no socket from being served.
UniqueFd LockStart(const std::string& path) {
  const std::filesystem::path socket(path);
  const std::string name = socket.parent_path() / ("." + socket.filename().string() + ".lock");
  auto lock = base::OpenLockFile(name);
  const auto state = lock ? base::AwaitLock(lock->get(), kLockPatience) : base::Result<base::LockState>(lock.error());
  if (!state) {
    obs::Warn("the start of the socket's server is not locked against a second one",
              {{"file", name}, {"error", base::Describe(state.error())}});
    return {};
  }
  if (*state != base::LockState::kTaken) {
    obs::Warn("another process has held the lock of the socket's start for too long: serving without it",
              {{"file", name}, {"waited_ms", kLockPatience.count()}, {"lock", Name(*state)}});
  }
  return *std::move(lock);
}

/// Makes room for a socket at `path`. Call with the start locked.
base::Status ClearStale(const std::string& path, const sockaddr_un& address) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) {
    if (errno == ENOENT) return {};
    return ErrnoError(Code::kFailedPrecondition, "cannot look at " + path, errno);
  }
  if (!S_ISSOCK(info.st_mode)) {
    return MakeError(Code::kFailedPrecondition,
                     path + " exists and is not a socket: move it away or choose another path");
  }
  const UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!probe.valid()) return ErrnoError(Code::kInternal, "cannot make a socket", errno);
  const int connected = ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  if (connected != 0 && errno == ECONNREFUSED) {
    if (::unlink(path.c_str()) == 0 || errno == ENOENT) return {};
    return ErrnoError(Code::kFailedPrecondition, "cannot replace the stale socket " + path, errno);
  }
  if (connected == 0 || errno == EAGAIN || errno == EPROTOTYPE) {  // EAGAIN: alive, its backlog is full
    return MakeError(Code::kFailedPrecondition,
                     "another process serves this socket: " + path + "; stop it or choose another path");
  }
  return ErrnoError(Code::kFailedPrecondition, "cannot tell whether the socket " + path + " is in use", errno);
}

struct InternetAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;
  bool loopback = false;
};

bool ParsePort(std::string_view text, std::uint16_t& port) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

base::Result<InternetAddress> ParseAddress(std::string_view text) {
  const auto bad = [&] {
    return MakeError(Code::kInvalidArgument,
                     "not an address and port: \"" + std::string(text) + "\"; write 127.0.0.1:8080");
  };
  const std::size_t colon = text.rfind(':');
  std::uint16_t port = 0;
  if (colon == std::string_view::npos || !ParsePort(text.substr(colon + 1), port)) return bad();
  std::string host(text.substr(0, colon));
  InternetAddress address;
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    auto& v6 = reinterpret_cast<sockaddr_in6&>(address.storage);
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    if (::inet_pton(AF_INET6, host.substr(1, host.size() - 2).c_str(), &v6.sin6_addr) != 1) return bad();
    address.size = sizeof(v6);
    address.loopback = IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr);
    return address;
  }
  auto& v4 = reinterpret_cast<sockaddr_in&>(address.storage);
  v4.sin_family = AF_INET;
  v4.sin_port = htons(port);
  if (::inet_pton(AF_INET, host == "localhost" ? "127.0.0.1" : host.c_str(), &v4.sin_addr) != 1) return bad();
  address.size = sizeof(v4);
  address.loopback = (ntohl(v4.sin_addr.s_addr) >> 24U) == 127;
  return address;
}

std::uint16_t PortOf(int fd) {
  sockaddr_storage bound{};
  socklen_t size = sizeof(bound);
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &size) != 0) return 0;
  return ntohs(bound.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6&>(bound).sin6_port
                                           : reinterpret_cast<sockaddr_in&>(bound).sin_port);
}

}  // namespace

base::Result<Listener> Listener::Unix(const std::string& path, std::uint32_t mode) {
  if (path.empty() || path.size() >= sizeof(sockaddr_un::sun_path) || path.find('\0') != std::string::npos) {
    return MakeError(Code::kInvalidArgument, "a socket path has 1 to 107 bytes, this one has " +
                                                 std::to_string(path.size()) + ": choose a shorter one");
  }
  std::string folder = std::filesystem::path(path).parent_path().string();
  if (folder.empty()) folder = ".";
  struct stat place {};
  if (::stat(folder.c_str(), &place) != 0 || !S_ISDIR(place.st_mode)) {
    return ErrnoError(Code::kFailedPrecondition, "cannot open the socket's folder " + folder, errno);
  }
  const UniqueFd lock = LockStart(path);
  const sockaddr_un address = UnixAddress(path);
  TRY_VOID(ClearStale(path, address));

  Listener listener;
  listener.fd_ = UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener.fd_.valid()) return ErrnoError(Code::kInternal, "cannot make a socket", errno);
  // The file is born with no permission at all and gets its mode when the socket listens.
  if (::fchmod(listener.fd(), 0) != 0) return ErrnoError(Code::kInternal, "cannot set the mode of a socket", errno);
  if (::bind(listener.fd(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return ErrnoError(Code::kFailedPrecondition, "cannot make the socket " + path, errno);
  }
  struct stat info {};
  if (::lstat(path.c_str(), &info) == 0) {
    listener.path_ = path;
    listener.device_ = info.st_dev;
    listener.inode_ = info.st_ino;
  }
  if (::listen(listener.fd(), kBacklog) != 0 || ::chmod(path.c_str(), static_cast<mode_t>(mode)) != 0) {
    return ErrnoError(Code::kFailedPrecondition, "cannot listen on " + path, errno);
  }
  return listener;
}

base::Result<Listener> Listener::Tcp(std::string_view text, bool allow_remote) {
  TRY(const InternetAddress address, ParseAddress(text));
  if (!address.loopback && !allow_remote) {
    return MakeError(Code::kInvalidArgument,
                     "not a loopback address: \"" + std::string(text) + "\"; write 127.0.0.1:PORT");
  }
  Listener listener;
  listener.fd_ = UniqueFd(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener.fd_.valid()) return ErrnoError(Code::kInternal, "cannot make a socket", errno);
  const int on = 1;
  ::setsockopt(listener.fd(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  ::setsockopt(listener.fd(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));  // accepted sockets inherit it
  if (::bind(listener.fd(), reinterpret_cast<const sockaddr*>(&address.storage), address.size) != 0 ||
      ::listen(listener.fd(), kBacklog) != 0) {
    return ErrnoError(Code::kFailedPrecondition, "cannot listen on " + std::string(text), errno);
  }
  listener.port_ = PortOf(listener.fd());
  return listener;
}

Listener::Listener(Listener&& other) noexcept
    : fd_(std::move(other.fd_)),
      port_(other.port_),
      path_(std::exchange(other.path_, {})),
      device_(other.device_),
      inode_(other.inode_) {}

Listener& Listener::operator=(Listener&& other) noexcept {
  if (this != &other) {
    Close();
    fd_ = std::move(other.fd_);
    port_ = other.port_;
    path_ = std::exchange(other.path_, {});
    device_ = other.device_;
    inode_ = other.inode_;
  }
  return *this;
}

int Listener::Accept(sockaddr_storage& peer) const {
  peer = {};
  socklen_t size = sizeof(peer);
  return ::accept4(fd(), reinterpret_cast<sockaddr*>(&peer), &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

void Listener::Close() {
  struct stat info {};
  if (!path_.empty() && ::lstat(path_.c_str(), &info) == 0 && info.st_dev == device_ && info.st_ino == inode_) {
    ::unlink(path_.c_str());
  }
  path_.clear();
  fd_.Close();
}

std::optional<identity::PeerInfo> PeerOf(int fd) {
  ucred credentials{};
  socklen_t size = sizeof(credentials);
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0 || size != sizeof(credentials)) return {};
  return identity::PeerInfo{credentials.uid, credentials.gid, credentials.pid};
}

}  // namespace signet::http
