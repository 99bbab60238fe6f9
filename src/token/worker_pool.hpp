// token/worker_pool.hpp - one token's workers: keeps them alive, logs them in, hands them work.
//
// Supervision: workers start one after another; worker 0 is the canary. One login at a time, each
// claimed in the PinMemory before and settled there after. Ended or hung workers are replaced after a growing pause.
// Dispatch: the least loaded ready worker, a few frames in flight each while they are quick, a bounded
// queue before them. An operation that no worker has begun by its deadline ends as not begun, and no
// worker will begin it. One that was begun ends with the worker's answer or with the worker: one that
// no worker can have begun is then given to another one; one whose fate is unknown ends with a final error.
//
// Thread-safety: the reactor's thread; callbacks run there, never inside the call that took them.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/reactor.hpp"
#include "obs/metrics.hpp"
#include "token/hsm.hpp"
#include "token/pin_guard.hpp"
#include "token/pin_memory.hpp"
#include "token/worker_messages.hpp"
#include "token/worker_process.hpp"

namespace signet::token {

struct PoolOptions {
  std::string name;  ///< for logs and metrics
  std::string module;
  std::optional<encoding::Pkcs11Uri> uri;
  std::string pin_file;
  std::uint32_t workers = 2;
  std::chrono::milliseconds sign_timeout{10'000};
  std::chrono::milliseconds generate_timeout{120'000};
  std::size_t queue_limit = 1024;
};

class WorkerPool {
 public:
  using SignCallback = Hsm::Callback<base::Bytes>;
  using FindCallback = Hsm::Callback<ProvenKey>;

  /// `pins` must outlive it. `proven` gets the proofs that workers make for signatures.
  WorkerPool(PoolOptions options, base::Reactor& reactor, const base::Clock& clock, Launcher& launcher,
             PinMemoryThread& pins, std::function<void()> changed, std::function<void(const KeyProof&)> proven);
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;
  ~WorkerPool();

  base::Status Start();

  void Sign(KeyRef key, const KeyIdentity& identity, encoding::SignatureAlgorithm algorithm, base::ByteView input,
            SignCallback done);
  void Find(const encoding::Pkcs11Uri& uri, FindCallback done);
  void Generate(const encoding::Pkcs11Uri& uri, const GenerateSpec& spec, FindCallback done);

  [[nodiscard]] const HsmState& state() const { return state_; }
  /// False when a key with this URI cannot be in this token, as far as is known.
  [[nodiscard]] bool MayHold(const encoding::Pkcs11Uri& uri) const;
  /// The token's label, once it is known.
  [[nodiscard]] const std::string& token_label() const { return token_.label; }
  [[nodiscard]] std::vector<pid_t> Pids() const;

 private:
  using Milliseconds = std::chrono::milliseconds;
  static constexpr std::size_t kMaxInFlight = 8;
  static constexpr int kLoginPatience = 3;  ///< times the time a signature may take

  enum class Phase : std::uint8_t { kStopped, kStarting, kDown, kWantsLogin, kReady };

  /// An operation that a worker has; in the order in which the worker will answer.
  struct InFlight {
    std::uint64_t id;
    FrameType type;
    Milliseconds limit;
    std::uint64_t position;  ///< where its frame ends in the channel
  };
  struct Worker {
    std::unique_ptr<WorkerProcess> process;
    Phase phase = Phase::kStopped;
    base::SteadyPoint since{};       ///< of the phase
    base::SteadyPoint respawn_at{};  ///< kStopped
    base::SteadyPoint head_since{};  ///< the oldest operation has the worker to itself since then
    std::deque<InFlight> in_flight;
    std::vector<bool> knows_key;
    std::uint32_t failures = 0;
    bool slow = false;    ///< as its last signature was
    bool hung = false;    ///< killed by us for its silence
    bool ousted = false;  ///< killed by us for what it said
  };
  struct Op {
    std::uint32_t generation = 1;
    bool live = false;
    bool queued = false;
    bool lost = false;  ///< the HSM was asked once and did nothing
    FrameHeader header;
    base::Bytes body;
    const KeyIdentity* identity = nullptr;  ///< Sign; owned by the Hsm's table
    SignCallback sign;
    FindCallback find;
    Milliseconds limit{};
    base::SteadyPoint submitted, deadline;
  };
  /// Why nobody may log in for now.
  struct Block {
    std::string reason, message;
    bool watch_file = false;  ///< until WatchPin finds the file changed, or the time has come
    base::SteadyPoint retry_at{};
    std::optional<FileIdentity> file;  ///< what held the refused PIN
  };
  /// The login under way: read the guard's key, let the worker read the PIN, claim, log in, settle.
  struct Turn {
    enum class Step : std::uint8_t { kReadGuard, kReadPin, kClaim, kLogin, kSettle, kSettleAgain };
    std::size_t worker = 0;
    Step step = Step::kReadGuard;
    bool lost = false;  ///< the worker ended while the memory was asked
    bool known_good = false;
    std::string pin;  ///< its fingerprint
    base::Bytes key;
    std::optional<FileIdentity> file;
    LoginOutcome outcome = LoginOutcome::kUncounted;
    std::string answer;
    base::SteadyPoint settle_at{};
  };

  // Supervision (worker_pool.cpp)
  void SpawnIfDue();
  void Spawn(std::size_t index);
  void OnBell(std::size_t index);
  bool Look(bool waiting);
  bool Receive(std::size_t index);
  void OnFrame(std::size_t index, const FrameHeader& header, base::ByteView body);
  void OnEnd(std::size_t index);
  void OnProven(std::size_t index, base::ByteView body);
  void OnStatus(std::size_t index, const FrameHeader& header, base::ByteView body);
  void SetPhase(std::size_t index, Phase phase);
  void ProtocolError(std::size_t index, const char* what);
  void UpdateState();
  HsmState ComputeState() const;
  [[nodiscard]] std::uint32_t Count(Phase phase) const;
  void ScheduleTick();
  void Tick();

  // Login (pool_login.cpp)
  void MaybeLogin();
  void OnPinRead(std::size_t index, base::ByteView body);
  void OnLoginResult(std::size_t index, base::ByteView body);
  void WithGuard(std::function<void(PinGuard&)> edit, std::function<void(const base::Status&)> then);
  void OnGuardRead(const base::Status& read, const base::Bytes& key);
  void OnClaimed(const base::Status& claimed, const PinGuard::Verdict& verdict);
  void OnLoginFailed(LoginOutcome outcome, const std::string& answer, const std::string& reason);
  void OnLoginWorkerEnd();
  void Settle(LoginOutcome outcome, std::string answer);
  void Settle();
  bool TurnStands();
  bool SendToLogin(FrameType type, std::uint8_t detail, base::ByteView body);
  void EndTurn();
  void GiveUpTurn();
  void BlockLogin(std::string reason, std::string message, bool watch_file, Milliseconds retry);
  void BlockRefused(std::string reason, const std::string& answer);
  void BlockFailed(const std::string& answer, base::Duration pause, std::string reason = "LoginFailed");
  void BlockUnremembered(const base::Error& error);
  void WatchPin();

  // Dispatch (pool_dispatch.cpp)
  std::uint32_t NewOp(FrameType type, Milliseconds limit);
  void Submit(std::uint32_t index);
  bool TrySend(std::uint32_t index);
  static bool HasRoom(const Worker& worker, base::SteadyPoint now);
  Worker* LeastLoaded(base::SteadyPoint now);
  void DispatchQueue();
  void Requeue(std::uint64_t id);
  void OnDone(std::size_t index, const FrameHeader& header, base::ByteView body);
  void Finish(std::uint64_t id, const base::Error& error);
  void FinishLater(std::uint32_t index, base::Error error);
  Op* Live(std::uint64_t id);
  void Release(Op& op);
  void ReturnOps(Worker& worker, bool begun, const base::Error& head_error);
  void Expire(base::SteadyPoint now);
  [[nodiscard]] base::Error Unavailable() const;

  PoolOptions options_;
  base::Reactor& reactor_;
  const base::Clock& clock_;
  Launcher& launcher_;
  std::function<void()> changed_;
  std::function<void(const KeyProof&)> proven_;
  HsmState state_;

  std::vector<Worker> workers_;
  pkcs11::TokenInfo token_;
  bool ever_ready_ = false;
  base::Error trouble_;  ///< the last one a worker reported while none was better off; empty reason: none
  base::Reactor::Id poller_ = 0;
  base::Reactor::Id tick_ = 0;
  base::SteadyPoint tick_at_{};

  PinMemoryThread& pins_;
  const std::string holder_;  ///< of this pool's claims
  const std::shared_ptr<std::atomic<bool>> alive_ = std::make_shared<std::atomic<bool>>(true);
  std::optional<Block> block_;
  std::optional<Turn> login_;
  std::uint32_t login_failures_ = 0;  ///< in a row
  base::SteadyPoint login_since_{}, login_not_before_{}, watched_at_{};
  std::optional<FileIdentity> seen_;  ///< the PIN file at the last look

  std::vector<Op> ops_;
  std::vector<std::uint32_t> free_ops_;
  std::deque<std::uint64_t> queue_;
  std::size_t live_ops_ = 0;

  obs::Histogram& sign_seconds_;
  obs::Histogram& other_seconds_;
  obs::Histogram& queue_seconds_;
  obs::Gauge& ready_gauge_;
  obs::Counter& restarts_;
  obs::Counter& logins_;
  obs::Counter& abandoned_;
};

}  // namespace signet::token
