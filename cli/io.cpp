#include "cli/io.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <functional>

#include "base/unique_fd.hpp"
#include "crypto/hasher.hpp"

namespace signet::cli {
namespace {

using base::Code;

base::Error Unreadable(const std::string& path, int number) {
  auto error = base::ErrnoError(Code::kNotFound, fmt::format("cannot read {}", path == "-" ? "stdin" : path), number);
  error.reason = "FileUnreadable";
  error.native = {};
  return error;
}

/// Calls `take` with piece after piece; false ends it.
base::Status EachPiece(const std::string& path, const std::function<bool(base::ByteView)>& take) {
  base::UniqueFd file;
  int fd = STDIN_FILENO;
  if (path != "-") {
    file = base::UniqueFd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file.valid()) return Unreadable(path, errno);
    fd = file.get();
  }
  constexpr std::size_t kPiece = 1U << 18;
  base::Bytes buffer(kPiece);
  for (;;) {
    const auto got = read(fd, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Unreadable(path, errno);
    if (got == 0 || !take(base::ByteView(buffer).first(static_cast<std::size_t>(got)))) return {};
  }
}

}  // namespace

base::Result<base::Bytes> ReadAll(const std::string& path, std::size_t limit) {
  base::Bytes out;
  TRY_VOID(EachPiece(path, [&](base::ByteView piece) {
    out.insert(out.end(), piece.begin(), piece.end());
    return out.size() <= limit;
  }));
  if (out.size() <= limit) return out;
  return base::MakeError(Code::kResourceExhausted, "TooLarge",
                         fmt::format("{} has more than {} bytes", path == "-" ? "stdin" : path, limit));
}

base::Result<std::map<encoding::HashAlgorithm, base::Bytes>> HashFile(
    const std::string& path, const std::vector<encoding::HashAlgorithm>& hashes) {
  std::map<encoding::HashAlgorithm, crypto::Hasher> hashers;
  for (const auto hash : hashes) hashers.try_emplace(hash, hash);
  TRY_VOID(EachPiece(path, [&](base::ByteView piece) {
    for (auto& [hash, hasher] : hashers) hasher.Update(piece);
    return true;
  }));
  std::map<encoding::HashAlgorithm, base::Bytes> out;
  for (auto& [hash, hasher] : hashers) out.emplace(hash, hasher.Finish());
  return out;
}

base::Status WriteFile(const std::string& path, base::ByteView data) {
  constexpr mode_t kMode = 0644;
  const base::UniqueFd file(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, kMode));
  const auto failed = [&path] {
    auto error = base::ErrnoError(Code::kUnavailable, fmt::format("cannot write {}", path), errno);
    error.native = {};
    return error;
  };
  if (!file.valid()) return failed();
  while (!data.empty()) {
    const auto put = write(file.get(), data.data(), data.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return failed();
    data = data.subspan(static_cast<std::size_t>(put));
  }
  return {};
}

}  // namespace signet::cli
