// token/worker_hsm.hpp - the Hsm made of worker processes: this process holds neither module nor PIN.
//
// Each configured token is served by a few worker processes (the same binary, started one after
// another by posix_spawn). A worker loads the PKCS#11 module, logs in once, keeps its session and
// handles, and answers one small frame with one small frame through shared memory. A worker that crashes
// or hangs is replaced; operations that it certainly had not begun go to another one. What no worker has
// begun by its deadline ends as not begun and is never begun afterwards.
//
// PIN: one login at a time among all who share the PinMemory. A PIN that the token called wrong is not tried
// again by any of them; every other failure of a login is tried again after a pause that doubles.
//
// Reasons in State(): Starting, ModuleFailed, TokenNotFound, TokenAmbiguous, SessionLimit, SessionRefused,
// PinFileUnreadable, PinRefused, PinLocked, PinFinalTry, PinExpired, PinNotInitialized, StateUnreadable,
// StateUnwritable, LoginFailed, WorkerFailed.
//
// Ownership:     owns its workers and ends them in the destructor, which drops unanswered callbacks.
// Thread-safety: the reactor's thread only. That thread must outlive the workers: they ask the kernel
//                to be killed when the thread that started them ends.
// Sources:       PKCS#11 v2.40 base: "Application behavior in relation to forking", "Session management".
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/reactor.hpp"
#include "base/result.hpp"
#include "encoding/pkcs11_uri.hpp"
#include "token/hsm.hpp"
#include "token/pin_memory.hpp"

namespace signet::token {

struct TokenOptions {
  /// Which token: token, serial, manufacturer and model count. Nothing: the only initialised one.
  std::optional<encoding::Pkcs11Uri> uri;
  std::string pin_file;  ///< read by workers only; see ReadPinFile
};

/// Puts a proof on record, then calls `done`.
using RecordProof = std::function<void(const KeyProof& proof, std::function<void(base::Status)> done)>;

struct WorkerHsmOptions {
  std::string module;  ///< path of the PKCS#11 module
  std::vector<TokenOptions> tokens;
  std::uint32_t workers_per_token = 2;  ///< [1, 16]
  /// [50 ms, 10 min]; an operation may wait for so long and then take as long: a worker silent for longer is killed.
  std::chrono::milliseconds sign_timeout{10'000};
  std::chrono::milliseconds generate_timeout{120'000};  ///< key generation can be slow in an HSM
  std::uint32_t queue_limit = 1024;                     ///< operations waiting for a worker, per token
  /// Where it is remembered which PINs were refused; nullptr: in state_dir.
  std::shared_ptr<PinMemory> pin_memory = {};
  std::string state_dir;  ///< a folder, which several processes may share; empty: in this process
  /// Where proofs of possession are recorded; empty: nowhere. A key is found only once its proof is on record.
  RecordProof record_proof = {};
  std::string executable = "/proc/self/exe";  ///< a program that calls MaybeRunWorker first
};

class WorkerHsm : public Hsm {
 public:
  /// Starts the first worker of every token and returns at once; State() tells how they fare. `clock`: the
  /// system's steady time is what workers hold deadlines to, so that of another clock serves tests only.
  /// @return kInvalidArgument: an option is out of range. kInternal: no process could be started.
  static base::Result<std::unique_ptr<WorkerHsm>> Create(WorkerHsmOptions options, base::Reactor& reactor,
                                                         const base::Clock& clock = base::SystemClock());

  /// Process ids of the workers that run now.
  [[nodiscard]] virtual std::vector<pid_t> WorkerPidsForTest() const = 0;
};

/// To be called before anything else in every main that uses a WorkerHsm: when this process was
/// started as a worker, serves until its parent goes away and returns the exit code.
std::optional<int> MaybeRunWorker(int argc, char** argv);

}  // namespace signet::token
