// http/listener.hpp - listening sockets: Unix sockets that are never open too wide, loopback TCP.
//
// Ownership:     a Listener owns its descriptor and, for Unix sockets, the file it made: Close()
//                and the destructor remove that file while it is still the same inode.
// Thread-safety: none.
// Sources:       unix(7) (fchmod before bind holds the mode), path of at most 107 bytes.
#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "identity/principal.hpp"

namespace signet::http {

class Listener {
 public:
  /// A socket file that nobody answers is replaced, a live one refused, anything else left alone.
  /// @return kInvalidArgument    the path is empty or over 107 bytes
  ///         kFailedPrecondition no such folder, not a socket, another process serves it
  static base::Result<Listener> Unix(const std::string& path, std::uint32_t mode);
  /// @param address "127.0.0.1:PORT", "[::1]:PORT"; every numeric address with `allow_remote`.
  /// @return kInvalidArgument    not numeric, not loopback; kFailedPrecondition in use
  static base::Result<Listener> Tcp(std::string_view address, bool allow_remote);

  Listener(Listener&& other) noexcept;
  Listener& operator=(Listener&& other) noexcept;
  ~Listener() { Close(); }

  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] std::uint16_t port() const { return port_; }  ///< 0 for Unix sockets
  [[nodiscard]] bool is_unix() const { return !path_.empty(); }
  /// The next waiting connection, non-blocking and close-on-exec, and its peer's address; -1 with errno: none.
  [[nodiscard]] int Accept(sockaddr_storage& peer) const;
  void Close();

 private:
  Listener() = default;
  base::UniqueFd fd_;
  std::uint16_t port_ = 0;
  std::string path_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

/// Who is at the other end (SO_PEERCRED); nothing when the kernel does not say.
std::optional<identity::PeerInfo> PeerOf(int fd);

}  // namespace signet::http
