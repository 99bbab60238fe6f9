#include "frontend/gateway_credentials.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <string_view>
#include <utility>

#include "base/secret.hpp"
#include "base/unique_fd.hpp"
#include "obs/log.hpp"

namespace signet::frontend {
namespace {

using base::Code;
using base::MakeError;

constexpr std::chrono::seconds kLookEvery{1};

base::Result<std::string> ReadAll(int fd, std::size_t most, const std::string& path) {
  std::string text(most, '\0');
  std::size_t size = 0;
  while (size < text.size()) {
    const ssize_t got = ::read(fd, text.data() + size, text.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return base::ErrnoError(Code::kUnavailable, "cannot read " + path, errno);
    if (got == 0) break;
    size += static_cast<std::size_t>(got);
  }
  if (size == most) return MakeError(Code::kUnavailable, path + " is too long");
  text.resize(size);
  return text;
}

/// The token without the white space around it; empty when it is none. What goes into a header line must not end it.
std::string_view TrimToken(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const auto first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  text = text.substr(first, text.find_last_not_of(kSpace) - first + 1);
  return std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7F; }) ? text : std::string_view();
}

/// As a whole or not at all.
base::Status Keep(const std::string& path, std::string_view text) {
  const std::string next = path + ".next";
  ::unlink(next.c_str());
  {
    const base::UniqueFd fd(::open(next.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, S_IRUSR | S_IWUSR));
    if (!fd.valid() || ::write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
      return base::ErrnoError(Code::kUnavailable, "cannot write " + next, errno);
    }
  }
  if (std::rename(next.c_str(), path.c_str()) == 0) return {};
  return base::ErrnoError(Code::kUnavailable, "cannot write " + path, errno);
}

}  // namespace

base::Result<std::optional<std::string>> RotatingFile::Look(bool at_once) {
  const auto now = clock_.Steady();
  if (!at_once && looked_at_ && now - *looked_at_ < kLookEvery) return std::optional<std::string>();
  looked_at_ = now;
  // O_NONBLOCK: a FIFO under this name must not stop the loop.
  const base::UniqueFd fd(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  struct stat status {};
  if (!fd.valid() || ::fstat(fd.get(), &status) != 0) {
    identity_.reset();
    return base::ErrnoError(Code::kUnavailable, "cannot open " + path_, errno);
  }
  if (!S_ISREG(status.st_mode)) return MakeError(Code::kUnavailable, path_ + " is not a regular file");
  const Identity found{static_cast<std::uint64_t>(status.st_dev), static_cast<std::uint64_t>(status.st_ino),
                       static_cast<std::uint64_t>(status.st_size),
                       static_cast<std::int64_t>(status.st_mtim.tv_sec) * 1'000'000'000 + status.st_mtim.tv_nsec};
  if (!at_once && identity_ == found) return std::optional<std::string>();
  TRY(std::string text, ReadAll(fd.get(), most_, path_));
  identity_ = found;
  return std::optional<std::string>(std::move(text));
}

GatewayCredentials::~GatewayCredentials() {
  if (line_) base::WipeMemory(line_->data(), line_->size());
}

void GatewayCredentials::LookAtToken(bool at_once) {
  auto content = token_file_.Look(at_once);
  if (!content) {
    token_problem_ = std::move(content).error();
    token_problem_.reason = "TokenMissing";
    return;
  }
  if (!*content) return;
  std::string& text = **content;
  const std::string_view token = TrimToken(text);
  if (token.empty()) {
    token_problem_ = MakeError(Code::kUnavailable, "TokenMissing", token_file_.path() + " holds no token");
    obs::Warn("the token file holds no token", {{"file", token_file_.path()}});
  } else {
    auto line = std::make_shared<std::string>();
    line->reserve(token.size() + 32);
    line->append("Authorization: Bearer ").append(token).append("\r\n");
    if (!line_ || *line_ != *line) obs::Info("read the token", {{"file", token_file_.path()}});
    line_ = std::move(line);
  }
  base::WipeMemory(text.data(), text.size());
}

base::Result<GatewayCredentials::Line> GatewayCredentials::Authorization() {
  LookAtToken(false);
  if (!line_) return token_problem_;
  return Line(line_);
}

void GatewayCredentials::ReadAgain() { LookAtToken(true); }

base::Status GatewayCredentials::Pin(std::string_view pem, std::string remembered) {
  TRY(auto given, crypto::TlsTrust::Create(pem));
  trust_ = std::move(given);
  pinned_ = pem;
  remembered_ = std::move(remembered);
  auto content = RotatingFile(*remembered_, crypto::TlsTrust::kMaxPem + 1, clock_).Look(true);
  if (!content || !*content) return {};  // nothing was announced yet
  auto trust = crypto::TlsTrust::Create(**content);
  if (!trust) {
    obs::Warn("the gateway's CA that was announced before cannot be used: the one given is",
              {{"file", *remembered_}, {"error", base::Describe(trust.error())}});
    return {};
  }
  trust_ = *std::move(trust);
  pinned_ = **std::move(content);
  return {};
}

base::Status GatewayCredentials::Announce(std::string_view pem) {
  if (!remembered_ || pem == pinned_) return {};
  TRY(auto trust, crypto::TlsTrust::Create(pem));
  trust_ = std::move(trust);
  pinned_ = pem;
  obs::Info("the gateway has announced its next CA", {});
  if (auto kept = Keep(*remembered_, pem); !kept) {
    obs::Warn("the gateway's CA is not kept over a restart", {{"error", base::Describe(kept.error())}});
  }
  return {};
}

base::Result<std::shared_ptr<const crypto::TlsTrust>> GatewayCredentials::Trust() {
  if (remembered_) return trust_;
  auto content = ca_file_.Look(false);
  auto problem = content ? base::Error() : std::move(content).error();
  if (content && *content) {
    auto trust = crypto::TlsTrust::Create(**content);
    if (trust) {
      obs::Info("read the gateway's CA", {{"file", ca_file_.path()}});
      trust_ = std::move(*trust);
    } else {
      problem = MakeError(Code::kUnavailable, ca_file_.path() + ": " + trust.error().message);
      obs::Warn("the gateway's CA file cannot be used", {{"error", base::Describe(problem)}});
    }
  }
  if (!problem.message.empty()) {
    trust_problem_ = std::move(problem);
    trust_problem_.reason = "TrustUnreadable";
  }
  if (!trust_) return trust_problem_;
  return trust_;
}

}  // namespace signet::frontend
