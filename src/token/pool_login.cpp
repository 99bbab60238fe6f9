// The login half of WorkerPool: who may try the PIN, and when.
#include <fmt/format.h>

#include <random>

#include "obs/log.hpp"
#include "token/worker_pool.hpp"

namespace signet::token {
namespace {

using namespace std::chrono_literals;

constexpr auto kWatchInterval = 1000ms;
constexpr auto kLookAgain = 10'000ms;  // at a refused PIN: what is remembered of it may have been removed
constexpr auto kFlagInterval = 5000ms;
constexpr auto kTakenInterval = 300ms;
constexpr auto kClaimMargin = 5000ms;  // above the time after which a silent worker is killed

/// Several processes that wait for one thing must not ask in step.
std::chrono::milliseconds WithJitter(base::Duration pause) {
  static thread_local std::minstd_rand random{std::random_device{}()};
  return std::chrono::ceil<std::chrono::milliseconds>(pause * std::uniform_int_distribution<int>(100, 125)(random) /
                                                      100);
}

std::string Hint(const std::string& pin_file) {
  return fmt::format(
      "put the right PIN into {}; this one is not tried again (docs/operator.md, \"The PIN\", says how to "
      "have it tried once more)",
      pin_file);
}

}  // namespace

/// Runs `edit` on what is remembered of the token, then `then` on the loop, unless this turn is over.
void WorkerPool::WithGuard(std::function<void(PinGuard&)> edit, std::function<void(const base::Status&)> then) {
  const auto change = [edit = std::move(edit), token = token_](std::string& text) -> base::Status {
    TRY(PinGuard guard, PinGuard::Parse(text, token));
    edit(guard);
    text = guard.Format();
    return {};
  };
  pins_.Change(PinMemoryName(token_), change, [this, alive = alive_, then = std::move(then)](const base::Status& done) {
    if (*alive) then(done);
  });
}

void WorkerPool::MaybeLogin() {
  const auto now = clock_.Steady();
  if (login_) {
    if (login_->step == Turn::Step::kSettleAgain && now >= login_->settle_at) Settle();
    return;
  }
  if (now < login_not_before_ || (block_ && (block_->watch_file || now < block_->retry_at))) return;
  for (std::size_t index = 0; index < workers_.size(); ++index) {
    if (workers_[index].phase != Phase::kWantsLogin) continue;
    login_ = Turn{};
    login_->worker = index;
    login_since_ = now;
    auto key = std::make_shared<base::Bytes>();
    return WithGuard([key](PinGuard& guard) { *key = guard.key(); },
                     [this, key](const base::Status& read) { OnGuardRead(read, *key); });
  }
}

/// False: the turn goes on with a worker that has ended meanwhile, and is over.
bool WorkerPool::TurnStands() {
  if (login_ && workers_[login_->worker].phase == Phase::kWantsLogin && !login_->lost) return true;
  login_.reset();
  return false;
}

bool WorkerPool::SendToLogin(FrameType type, std::uint8_t detail, base::ByteView body) {
  FrameHeader header;
  header.type = type;
  header.detail = detail;
  login_since_ = clock_.Steady();
  return workers_[login_->worker].process->Send(header, body);
}

/// Without a note no attempt: a restart, or another process, could try a wrong PIN again.
void WorkerPool::BlockUnremembered(const base::Error& error) {
  BlockLogin(error.reason == "StateUnreadable" ? error.reason : "StateUnwritable", base::Describe(error), false,
             kFlagInterval);
}

void WorkerPool::OnGuardRead(const base::Status& read, const base::Bytes& key) {
  if (!TurnStands()) return;
  login_->key = key;
  login_->step = Turn::Step::kReadPin;
  if (read && SendToLogin(FrameType::kReadPin, 0, key)) return;
  if (!read) BlockUnremembered(read.error());
  login_.reset();
  UpdateState();
}

void WorkerPool::EndTurn() {
  SendToLogin(FrameType::kForgetPin, 0, {});
  login_.reset();
  UpdateState();
}

/// The pool ends: a claim that stayed would keep the next process waiting until its time is over.
void WorkerPool::GiveUpTurn() {
  if (!login_) return;
  switch (login_->step) {
    case Turn::Step::kReadGuard:
    case Turn::Step::kReadPin:
    case Turn::Step::kSettle:  // under way
      return;
    case Turn::Step::kClaim:  // which may be made already, unseen; nothing was tried
      return Settle(LoginOutcome::kUncounted, "");
    case Turn::Step::kLogin:  // which takes the PIN that another worker is logged in with already, or none has yet
      return Settle(Count(Phase::kReady) > 0 ? LoginOutcome::kUncounted : LoginOutcome::kUnanswered,
                    "Signet ended during a login");
    case Turn::Step::kSettleAgain:
      return Settle();
  }
}

void WorkerPool::BlockLogin(std::string reason, std::string message, bool watch_file, Milliseconds retry) {
  if (!block_ || block_->reason != reason) {
    obs::Err("the HSM login is held back", {{"token", options_.name}, {"reason", reason}, {"message", message}});
  }
  const auto now = clock_.Steady();
  block_ = Block{std::move(reason), std::move(message), watch_file, now + retry, {}};
  watched_at_ = now;
  seen_.reset();
}

void WorkerPool::BlockRefused(std::string reason, const std::string& answer) {
  BlockLogin(std::move(reason), answer + ": " + Hint(options_.pin_file), true, kLookAgain);
  block_->file = login_->file;
}

void WorkerPool::OnPinRead(std::size_t index, base::ByteView body) {
  FrameReader reader(body);
  const PinReadMessage read = ReadPinRead(reader);
  if (!reader.ok() || !login_ || login_->worker != index || login_->step != Turn::Step::kReadPin) {
    return ProtocolError(index, "unexpected PIN answer");
  }
  if (read.trouble.reason == "HSMUnavailable") {
    login_not_before_ = clock_.Steady() + kWatchInterval;
    return EndTurn();
  }
  token_ = read.token;
  if (read.token.pin_locked) {
    BlockLogin("PinLocked", "the token's user PIN is locked: unlock it with the token's SO PIN", false, kFlagInterval);
    return EndTurn();
  }
  if (read.token.pin_final_try) {
    BlockLogin(
        "PinFinalTry",
        "the token allows one last PIN attempt, which Signet does not spend: log in once with another tool, then "
        "Signet goes on by itself",
        false, kFlagInterval);
    return EndTurn();
  }
  if (!read.read) {
    BlockLogin("PinFileUnreadable", base::Describe(read.trouble), true, 0ms);
    return EndTurn();
  }
  login_->step = Turn::Step::kClaim;
  login_->file = read.file;
  login_->pin = read.fingerprint;
  auto verdict = std::make_shared<PinGuard::Verdict>();
  const base::Duration limit = kLoginPatience * options_.sign_timeout + kClaimMargin;
  // Not `this`: the pool may go while the memory is asked.
  WithGuard(
      [verdict, limit, alive = alive_, turn = *login_, holder = holder_, memory = pins_.memory(),
       &clock = clock_](PinGuard& guard) {
        if (!*alive) return;
        *verdict = guard.Claim(turn.pin, turn.key, holder, clock.Now(), limit,
                               [&](const std::string& other) { return memory->IsGone(other); });
      },
      [this, verdict](const base::Status& claimed) { OnClaimed(claimed, *verdict); });
}

void WorkerPool::OnClaimed(const base::Status& claimed, const PinGuard::Verdict& verdict) {
  using Kind = PinGuard::Verdict::Kind;
  if (!login_) return;
  const bool ours = claimed && verdict.kind == Kind::kTry;
  if (login_->lost) {  // the worker ended before it was told: nothing was tried
    if (!ours) return login_.reset();
    return Settle(LoginOutcome::kUncounted, "");
  }
  if (ours) {
    login_->step = Turn::Step::kLogin;
    login_->known_good = verdict.known_good;
    if (SendToLogin(FrameType::kLogin, verdict.known_good ? 1 : 0, {})) return;
    return Settle(LoginOutcome::kUncounted, "");
  }
  if (!claimed) {
    BlockUnremembered(claimed.error());
  } else if (verdict.kind == Kind::kRefused) {
    BlockRefused("PinRefused", verdict.answer);
  } else if (verdict.kind == Kind::kWait) {
    BlockFailed(verdict.answer, std::max<base::Duration>(verdict.until - clock_.Now(), kTakenInterval));
  } else {
    login_not_before_ = clock_.Steady() + WithJitter(kTakenInterval);
  }
  EndTurn();
}

void WorkerPool::BlockFailed(const std::string& answer, base::Duration pause, std::string reason) {
  const auto wait = WithJitter(pause);
  BlockLogin(std::move(reason),
             fmt::format("{}; the login is tried again in {} s", answer,
                         std::chrono::ceil<std::chrono::seconds>(wait).count()),
             false, wait);
}

void WorkerPool::OnLoginResult(std::size_t index, base::ByteView body) {
  FrameReader reader(body);
  const LoginResultMessage result = ReadLoginResult(reader);
  if (!login_ || login_->worker != index || login_->step != Turn::Step::kLogin) {
    return ProtocolError(index, "unexpected login answer");
  }
  if (result.tried) logins_.Add();
  const std::string answer = base::Describe(result.trouble);
  if (result.trouble.message.empty()) {
    block_.reset();
    login_failures_ = 0;
  } else if (result.outcome == LoginOutcome::kRefused) {
    BlockRefused(result.trouble.reason == "PinLocked" ? "PinLocked" : "PinRefused", answer);
  } else {
    OnLoginFailed(result.outcome, answer, result.trouble.reason);
  }
  // Its status follows in a frame of its own; the next login waits for that.
  Settle(result.outcome, answer);
  UpdateState();
}

/// The PIN was not refused: it, or the token, gets more time with each failure.
void WorkerPool::OnLoginFailed(LoginOutcome outcome, const std::string& answer, const std::string& reason) {
  ++login_failures_;
  const bool counts = !login_->known_good || outcome == LoginOutcome::kUnanswered;
  const auto pause = PinGuard::Pause(counts ? outcome : LoginOutcome::kUncounted, login_failures_, login_->known_good);
  const bool about_pin = reason == "PinNotInitialized" || reason == "PinExpired" || reason == "PinLocked";
  BlockFailed(answer, pause, about_pin ? reason : "LoginFailed");
}

/// Remembers the end of the attempt, and goes on trying to until it is remembered: nobody logs in before.
void WorkerPool::Settle(LoginOutcome outcome, std::string answer) {
  login_->outcome = outcome;
  login_->answer = std::move(answer);
  Settle();
}

void WorkerPool::Settle() {
  login_->step = Turn::Step::kSettle;
  // The pool and its clock may be gone when this runs: a login's end is noted all the same.
  WithGuard([turn = *login_, holder = holder_,
             now = clock_.Now()](PinGuard& guard) { guard.Settle(turn.pin, holder, turn.outcome, turn.answer, now); },
            [this](const base::Status& settled) {
              if (settled) {
                login_.reset();
                MaybeLogin();
                return ScheduleTick();
              }
              obs::Warn("the end of a login cannot be remembered yet",
                        {{"token", options_.name}, {"error", base::Describe(settled.error())}});
              login_->step = Turn::Step::kSettleAgain;
              login_->settle_at = clock_.Steady() + kWatchInterval;
              ScheduleTick();
            });
}

/// The worker whose turn it is has ended.
void WorkerPool::OnLoginWorkerEnd() {
  switch (login_->step) {
    case Turn::Step::kReadGuard:
    case Turn::Step::kClaim:
      login_->lost = true;  // what is under way in the memory comes back first
      return;
    case Turn::Step::kReadPin:
      return login_.reset();
    case Turn::Step::kLogin: {
      const std::string answer = "the login got no answer: the PKCS#11 module crashed, hung or was killed";
      OnLoginFailed(LoginOutcome::kUnanswered, answer, "");
      return Settle(LoginOutcome::kUnanswered, answer);
    }
    case Turn::Step::kSettle:
    case Turn::Step::kSettleAgain:
      return;
  }
}

void WorkerPool::WatchPin() {
  const auto now = clock_.Steady();
  if (!block_ || !block_->watch_file || login_ || now - watched_at_ < kWatchInterval) return;
  watched_at_ = now;
  const auto file = IdentifyFile(options_.pin_file);
  if (!file) return seen_.reset();
  // A file that is still being written would be a wrong PIN: it has to hold still for one interval.
  const bool settled = seen_ == *file;
  seen_ = *file;
  if (settled && (block_->file != *file || now >= block_->retry_at)) block_->watch_file = false;
}

}  // namespace signet::token
