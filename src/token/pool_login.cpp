// The login half of WorkerPool: who may try the PIN, and when.
#include <fmt/format.h>

#include "obs/log.hpp"
#include "token/worker_pool.hpp"

namespace signet::token {
namespace {

using namespace std::chrono_literals;

constexpr auto kWatchInterval = 1000ms;
constexpr auto kFlagInterval = 5000ms;
constexpr std::uint8_t kKeepAsRefused = 0;
constexpr std::uint8_t kForget = 1;

}  // namespace

void WorkerPool::MaybeLogin() {
  if (login_worker_) return;
  const auto now = clock_.Steady();
  if (now < login_not_before_ || (block_ && (block_->until_file_changes || now < block_->retry_at))) return;
  std::optional<std::size_t> chosen;
  for (std::size_t index = 0; index < workers_.size(); ++index) {
    if (workers_[index].phase != Phase::kWantsLogin) continue;
    // Who holds the refused PIN can tell whether a new file content is only the same PIN again.
    if (!chosen || index == refused_holder_) chosen = index;
  }
  if (!chosen) return;
  FrameHeader header;
  header.type = FrameType::kReadPin;
  if (!workers_[*chosen].process->Send(header, {})) return;
  login_worker_ = chosen;
  login_since_ = now;
}

void WorkerPool::EndLogin() {
  login_worker_.reset();
  attempt_.reset();
}

void WorkerPool::BlockLogin(std::string reason, std::string message, bool until_file_changes, Milliseconds retry) {
  if (!block_ || block_->reason != reason) {
    obs::Err("the HSM login is held back", {{"token", options_.name}, {"reason", reason}, {"message", message}});
  }
  block_ = Block{std::move(reason), std::move(message), until_file_changes, clock_.Steady() + retry};
  watched_at_ = clock_.Steady();
  seen_.reset();
}

void WorkerPool::BlockRefused(std::size_t index, std::string message) {
  refused_holder_ = index;
  BlockLogin("PinRefused", std::move(message), true, 0ms);
}

void WorkerPool::OnPinRead(std::size_t index, base::ByteView body) {
  FrameReader reader(body);
  const PinReadMessage read = ReadPinRead(reader);
  if (!reader.ok() || login_worker_ != index) return ProtocolError(index, "unexpected PIN answer");
  const auto forget = [&](std::uint8_t detail, std::string_view note) {
    FrameHeader header;
    header.type = FrameType::kRefusePin;
    header.detail = detail;
    FrameWriter text;
    text.Text(note);
    workers_[index].process->Send(header, text.bytes());
    EndLogin();
  };
  if (read.trouble.reason == "HSMUnavailable") {
    login_not_before_ = clock_.Steady() + kWatchInterval;
    return forget(kForget, "");
  }
  token_ = read.token;
  if (read.token.pin_locked) {
    BlockLogin("PinLocked", "the token's user PIN is locked: unlock it with the token's SO PIN", false, kFlagInterval);
  } else if (read.token.pin_final_try) {
    BlockLogin(
        "PinFinalTry",
        "the token allows one last PIN attempt, which Signet does not spend: log in once with another tool, then "
        "Signet goes on by itself",
        false, kFlagInterval);
  } else if (!read.read) {
    BlockLogin("PinFileUnreadable", base::Describe(read.trouble), true, 0ms);
  } else if (!guard_.MayTry(read.file, read.token.serial, read.equals_refused)) {
    const bool unknown_end = guard_.record() && guard_.record()->state != PinRecord::State::kRefused;
    BlockRefused(index, fmt::format("{}: put the right PIN into {}; it is not tried again until the file changes",
                                    unknown_end ? "logins with this PIN ended without a clear answer"
                                                : "the token refused this PIN",
                                    options_.pin_file));
    // A PIN whose fate is unknown may be the right one: writing it to the file again is leave to try it.
    forget(unknown_end ? kForget : kKeepAsRefused, guard_.record() ? FormatPinRecord(*guard_.record()) : "");
    return UpdateState();
  } else {
    attempt_ = guard_.Begin(read.file, read.token.serial);
    FrameHeader header;
    header.type = FrameType::kLogin;
    FrameWriter order;
    Write(order, LoginMessage{attempt_->trying.known_good, FormatPinRecord(attempt_->trying),
                              FormatPinRecord(attempt_->accepted), FormatPinRecord(attempt_->refused),
                              FormatPinRecord(attempt_->unclear),
                              attempt_->uncounted ? FormatPinRecord(*attempt_->uncounted) : ""});
    if (!workers_[index].process->Send(header, order.bytes())) {
      guard_.End(*attempt_, LoginOutcome::kUncounted);  // it never went out
      EndLogin();
    }
    return;
  }
  forget(kForget, "");
  UpdateState();
}

void WorkerPool::OnLoginResult(std::size_t index, base::ByteView body) {
  FrameReader reader(body);
  const LoginResultMessage result = ReadLoginResult(reader);
  if (login_worker_ != index || !attempt_) return ProtocolError(index, "unexpected login answer");
  const PinGuard::Attempt attempt = *attempt_;
  EndLogin();
  if (!result.tried) {
    guard_.End(attempt, LoginOutcome::kUncounted);
    BlockLogin(result.trouble.reason.empty() ? "LoginFailed" : result.trouble.reason, base::Describe(result.trouble),
               false, kFlagInterval);
    return UpdateState();
  }
  logins_.Add();
  guard_.End(attempt, result.outcome);
  const std::string answer = base::Describe(result.trouble);
  switch (result.outcome) {
    case LoginOutcome::kAccepted:
      block_.reset();
      break;
    case LoginOutcome::kUnclear:
    case LoginOutcome::kUncounted:
      block_.reset();
      login_not_before_ = clock_.Steady() + kWatchInterval;
      obs::Warn("an HSM login did not come about", {{"token", options_.name}, {"error", answer}});
      break;
    case LoginOutcome::kRefused:
      BlockRefused(index, fmt::format("{}: put the right PIN into {}; it is not tried again until the file changes",
                                      answer, options_.pin_file));
      if (result.trouble.reason == "PinLocked") block_->reason = result.trouble.reason;
      break;
  }
  // Its status follows in a frame of its own; the next login waits for that.
  UpdateState();
}

void WorkerPool::WatchPin() {
  const auto now = clock_.Steady();
  if (!block_ || !block_->until_file_changes || login_worker_ || now - watched_at_ < kWatchInterval) return;
  watched_at_ = now;
  const auto file = IdentifyFile(options_.pin_file);
  if (!file) return seen_.reset();
  // A file that is still being written would be a wrong PIN: it has to hold still for one interval.
  const bool settled = seen_ == *file;
  seen_ = *file;
  if (settled && (guard_.LooksNew(*file) || block_->reason == "PinFileUnreadable")) block_->until_file_changes = false;
}

}  // namespace signet::token
