#include "token/worker_pool.hpp"

#include <algorithm>

#include "base/check.hpp"
#include "obs/log.hpp"

namespace signet::token {
namespace {

using namespace std::chrono_literals;

constexpr auto kStartTimeout = 60s;  // from the start of a process to its first word; vendor modules are slow
// Without a token. A worker that looks for one says so when the reason changes, and ends by itself after 9 looks and
// some 25 s of pauses: who is silent for longer hangs in the module.
constexpr auto kDownTimeout = 120s;
constexpr auto kQuickRespawn = 20ms;
constexpr auto kFirstRespawn = 100ms;
constexpr auto kLastRespawn = 5000ms;
constexpr auto kBusyTick = 100ms;
constexpr int kTurnsAtEnd = 64;
constexpr int kFramesPerTurn = 64;  // then everything else gets its turn

}  // namespace

WorkerPool::WorkerPool(PoolOptions options, base::Reactor& reactor, const base::Clock& clock, Launcher& launcher,
                       PinMemoryThread& pins, std::function<void()> changed,
                       std::function<void(const KeyProof&)> proven)
    : options_(std::move(options)),
      reactor_(reactor),
      clock_(clock),
      launcher_(launcher),
      changed_(std::move(changed)),
      proven_(std::move(proven)),
      workers_(options_.workers),
      pins_(pins),
      holder_(pins_.memory()->MakeHolder()),
      sign_seconds_(obs::GetHistogram("signet_hsm_operation_seconds", "Time an operation took in the HSM.",
                                      {{"operation", "sign"}})),
      other_seconds_(obs::GetHistogram("signet_hsm_operation_seconds", "Time an operation took in the HSM.",
                                       {{"operation", "key"}})),
      queue_seconds_(obs::GetHistogram("signet_hsm_queue_seconds", "Time an operation waited for an HSM worker.")),
      ready_gauge_(
          obs::GetGauge("signet_hsm_workers_ready", "HSM workers that are logged in.", {{"token", options_.name}})),
      restarts_(obs::GetCounter("signet_hsm_worker_restarts_total", "HSM workers that ended and were replaced.",
                                {{"token", options_.name}})),
      logins_(
          obs::GetCounter("signet_hsm_login_attempts_total", "Logins tried at the token.", {{"token", options_.name}})),
      abandoned_(obs::GetCounter("signet_hsm_abandoned_total",
                                 "Signatures whose worker hung or crashed while it made them.",
                                 {{"token", options_.name}})) {}

WorkerPool::~WorkerPool() {
  GiveUpTurn();
  *alive_ = false;
  reactor_.RemovePoller(poller_);
  reactor_.Cancel(tick_);
}

base::Status WorkerPool::Start() {
  state_ = ComputeState();
  poller_ = reactor_.AddPoller([this](bool waiting) { return Look(waiting); });
  Spawn(0);
  if (!workers_[0].process) return base::MakeError(base::Code::kInternal, "no worker process can be started");
  return {};
}

void WorkerPool::Spawn(std::size_t index) {
  Worker& worker = workers_[index];
  auto started = WorkerProcess::Start(launcher_, reactor_, [this, index] { OnBell(index); });
  if (!started) {
    obs::Err("an HSM worker cannot be started", {{"error", base::Describe(started.error())}});
    worker.respawn_at = clock_.Steady() + kLastRespawn;
    return ScheduleTick();
  }
  worker.process = *std::move(started);
  worker.knows_key.clear();
  worker.slow = worker.hung = worker.ousted = false;
  SetPhase(index, Phase::kStarting);
  FrameHeader header;
  header.type = FrameType::kConfigure;
  FrameWriter body;
  Write(body, ConfigureMessage{options_.module, options_.uri ? encoding::FormatPkcs11Uri(*options_.uri) : "",
                               ever_ready_ ? token_.serial : "", options_.pin_file});
  worker.process->Send(header, body.bytes());
  ScheduleTick();
}

void WorkerPool::SpawnIfDue() {
  // One after another: several processes that initialise at once on one SoftHSM folder may see no token.
  if (Count(Phase::kStarting) > 0) return;
  const auto now = clock_.Steady();
  for (std::size_t index = 0; index < workers_.size(); ++index) {
    if (index > 0 && !ever_ready_) return;  // the canary goes alone
    if (workers_[index].phase != Phase::kStopped || now < workers_[index].respawn_at) continue;
    return Spawn(index);
  }
}

std::uint32_t WorkerPool::Count(Phase phase) const {
  return static_cast<std::uint32_t>(
      std::count_if(workers_.begin(), workers_.end(), [&](const Worker& worker) { return worker.phase == phase; }));
}

void WorkerPool::SetPhase(std::size_t index, Phase phase) {
  workers_[index].phase = phase;
  workers_[index].since = clock_.Steady();
}

void WorkerPool::OnBell(std::size_t index) {
  Worker& worker = workers_[index];
  if (!worker.process) return;
  const bool gone = worker.process->TakeBell() == Bell::kGone;
  // What it had sent before it ended; a process that has only closed its socket does not keep us here.
  for (int turns = 0; Receive(index) && gone && turns < kTurnsAtEnd; ++turns) {
  }
  if (gone) OnEnd(index);
  DispatchQueue();
}

/// What the workers have written, and what can be written to them in turn. True: there was something.
bool WorkerPool::Look(bool waiting) {
  bool received = false;
  for (std::size_t index = 0; index < workers_.size(); ++index) received |= Receive(index);
  if (received) DispatchQueue();
  if (received || !waiting) return received;
  return !std::all_of(workers_.begin(), workers_.end(),
                      [](const Worker& worker) { return !worker.process || worker.process->Rest(); });
}

/// True: a frame was received, there may be more.
bool WorkerPool::Receive(std::size_t index) {
  Worker& worker = workers_[index];
  if (!worker.process) return false;
  worker.process->Wake();
  for (int frames = 0; frames < kFramesPerTurn; ++frames) {
    if (worker.ousted) return false;
    FrameHeader header;
    base::ByteView body;
    const auto received = worker.process->Receive(header, body);
    if (received == WorkerProcess::Received::kBroken) ProtocolError(index, "its memory holds no frames");
    if (received != WorkerProcess::Received::kFrame) return frames > 0;
    OnFrame(index, header, body);
  }
  return true;
}

void WorkerPool::OnFrame(std::size_t index, const FrameHeader& header, base::ByteView body) {
  switch (header.type) {
    case FrameType::kDone:
      return OnDone(index, header, body);
    case FrameType::kStatus:
      return OnStatus(index, header, body);
    case FrameType::kPinRead:
      return OnPinRead(index, body);
    case FrameType::kLoginResult:
      return OnLoginResult(index, body);
    case FrameType::kProven:
      return OnProven(index, body);
    default:
      ProtocolError(index, "unknown frame");
  }
}

void WorkerPool::OnProven(std::size_t index, base::ByteView body) {
  FrameReader reader(body);
  const auto proof = ReadKeyProof(reader);
  if (!proof) return ProtocolError(index, "unreadable proof");
  proven_(*proof);
}

void WorkerPool::ProtocolError(std::size_t index, const char* what) {
  Worker& worker = workers_[index];
  if (!worker.process || worker.ousted) return;
  worker.ousted = true;  // its end follows
  obs::Err("an HSM worker broke the protocol", {{"what", what}, {"worker", index}});
  worker.process->Kill();
}

void WorkerPool::OnStatus(std::size_t index, const FrameHeader& header, base::ByteView body) {
  FrameReader reader(body);
  const StatusMessage status = ReadStatus(reader);
  if (!reader.ok()) return ProtocolError(index, "unreadable status");
  const auto phase = static_cast<WorkerPhase>(header.detail);
  if (phase == WorkerPhase::kDown) {
    SetPhase(index, Phase::kDown);
    trouble_ = status.trouble;
    obs::Warn("an HSM worker has no token",
              {{"token", options_.name}, {"worker", index}, {"error", base::Describe(status.trouble)}});
  } else {
    token_ = status.token;
    trouble_ = {};
    SetPhase(index, phase == WorkerPhase::kReady ? Phase::kReady : Phase::kWantsLogin);
  }
  if (phase == WorkerPhase::kReady) {
    ever_ready_ = true;
    obs::Info("an HSM worker is ready", {{"token", options_.name}, {"worker", index}});
  }
  SpawnIfDue();
  MaybeLogin();
  UpdateState();
  ScheduleTick();
}

void WorkerPool::OnEnd(std::size_t index) {
  Worker& worker = workers_[index];
  const bool was_ready = worker.phase == Phase::kReady && clock_.Steady() - worker.since > 1s;
  const bool hung = worker.hung;
  obs::Warn("an HSM worker ended and is replaced",
            {{"token", options_.name}, {"worker", index}, {"pid", worker.process->pid()}, {"hung", hung ? 1 : 0}});
  restarts_.Add();
  const bool begun = !worker.in_flight.empty() && worker.process->Taken(worker.in_flight.front().position);
  worker.process.reset();
  SetPhase(index, Phase::kStopped);
  worker.failures = was_ready ? 0 : worker.failures + 1;
  const auto pause = std::min<Milliseconds>(kFirstRespawn * (1 << std::min(worker.failures, 6u)), kLastRespawn);
  worker.respawn_at = clock_.Steady() + (was_ready ? Milliseconds(kQuickRespawn) : pause);
  if (login_ && login_->worker == index) OnLoginWorkerEnd();
  if (worker.failures >= 3 && trouble_.reason.empty()) {
    trouble_ = base::MakeError(base::Code::kUnavailable, "WorkerFailed",
                               "the HSM's workers end again and again: look at their output and at the PKCS#11 module");
  }
  ReturnOps(worker, begun,
            hung ? base::MakeError(base::Code::kDeadlineExceeded, "HSMUnavailable",
                                   "the HSM did not answer in time; whether it signed is unknown")
                 : base::MakeError(base::Code::kInternal, "",
                                   "the PKCS#11 module crashed in this operation; whether it signed is unknown"));
  SpawnIfDue();
  MaybeLogin();
  UpdateState();
  ScheduleTick();
}

HsmState WorkerPool::ComputeState() const {
  HsmState state;
  state.workers = options_.workers;
  state.workers_ready = Count(Phase::kReady);
  state.ready = state.workers_ready > 0;
  if (state.ready) return state;
  if (block_ && !block_->reason.empty()) {
    state.reason = block_->reason;
    state.message = block_->message;
  } else if (!trouble_.reason.empty()) {
    state.reason = trouble_.reason;
    state.message = base::Describe(trouble_);
    // No token yet is an HSM that is away, and may come. Several, and none named, never become one by waiting.
    const bool never_seen = token_.serial.empty() && token_.label.empty();
    state.fatal_configuration = never_seen && state.reason == "TokenAmbiguous";
  } else {
    state.reason = "Starting";
    state.message = "the HSM's workers are starting";
  }
  return state;
}

void WorkerPool::UpdateState() {
  HsmState state = ComputeState();
  const bool changed = state.ready != state_.ready || state.reason != state_.reason;
  state_ = std::move(state);
  ready_gauge_.Set(state_.workers_ready);
  if (changed) changed_();
}

bool WorkerPool::MayHold(const encoding::Pkcs11Uri& uri) const {
  if (!token_.serial.empty() || !token_.label.empty()) {
    return uri.TokenMatches(token_.label, token_.serial, token_.manufacturer, token_.model);
  }
  const auto differs = [](const std::optional<std::string>& one, const std::optional<std::string>& other) {
    return one && other && *one != *other;
  };
  return !options_.uri ||
         !(differs(uri.token, options_.uri->token) || differs(uri.serial, options_.uri->serial) ||
           differs(uri.manufacturer, options_.uri->manufacturer) || differs(uri.model, options_.uri->model));
}

std::vector<pid_t> WorkerPool::Pids() const {
  std::vector<pid_t> pids;
  for (const auto& worker : workers_) {
    if (worker.process) pids.push_back(worker.process->pid());
  }
  return pids;
}

void WorkerPool::ScheduleTick() {
  const auto now = clock_.Steady();
  const bool settled = Count(Phase::kReady) == workers_.size();
  if (settled && live_ops_ == 0 && !login_) return;  // an idle service has no timers
  base::SteadyPoint due = now + std::min<Milliseconds>(kBusyTick, options_.sign_timeout / 8);
  for (const auto& worker : workers_) {
    if (worker.phase == Phase::kStopped) due = std::min(due, worker.respawn_at);
  }
  due = std::max(due, now + 5ms);
  if (tick_ != 0 && tick_at_ <= due) return;
  reactor_.Cancel(tick_);
  tick_at_ = due;
  tick_ = reactor_.After(std::chrono::duration_cast<std::chrono::microseconds>(due - now), [this] {
    tick_ = 0;
    Tick();
  });
}

void WorkerPool::Tick() {
  const auto now = clock_.Steady();
  for (std::size_t index = 0; index < workers_.size(); ++index) {
    Worker& worker = workers_[index];
    if (!worker.process) continue;
    const bool silent_start = worker.phase == Phase::kStarting && now - worker.since > kStartTimeout;
    const bool silent_down = worker.phase == Phase::kDown && now - worker.since > kDownTimeout;
    const bool asked = login_ && login_->worker == index &&
                       (login_->step == Turn::Step::kReadPin || login_->step == Turn::Step::kLogin);
    const bool silent_login = asked && now - login_since_ > kLoginPatience * options_.sign_timeout;
    const bool silent_op = !worker.in_flight.empty() && now - worker.head_since > worker.in_flight.front().limit;
    if (worker.hung || !(silent_start || silent_down || silent_login || silent_op)) continue;
    worker.hung = true;
    worker.process->Kill();  // its socket ends, and OnEnd follows
  }
  Expire(now);
  SpawnIfDue();
  WatchPin();
  MaybeLogin();
  UpdateState();
  DispatchQueue();
  ScheduleTick();
}

}  // namespace signet::token
