// frontend/idempotency.hpp - one request, one signature, however often the client has to send it.
//
// An Idempotency-Key belongs to (principal, policy, key) and is bound to the hash of the body. The same
// key with the same body gets the same answer: at once when it is known, together with the first when
// that is still in work. With another body it is a conflict. Only successes are kept: what was refused
// may be asked again. Whether a kept answer may be given out again is the caller's to decide, each time.
//
// Limits:        `entries` answers, `octets` of bodies, for `time`; the oldest goes first. Requests in work are never
//                dropped (the service bounds them); waiters of one key are bounded too.
// Thread-safety: reactor thread.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/clock.hpp"
#include "encoding/algorithm.hpp"
#include "http/server.hpp"

namespace signet::frontend {

class IdempotencyCache {
 public:
  struct Options {
    std::size_t entries = 10'000;
    std::chrono::seconds time{600};
    std::size_t waiters = 64;          ///< of one key
    std::size_t octets = 64ULL << 20;  ///< of all kept answers' bodies
  };
  using BodyHash = std::array<std::uint8_t, 32>;
  /// A signature in an answer.
  struct Made {
    std::size_t item = 0;  ///< of a batch
    std::string record, key_id;
    encoding::SignatureAlgorithm algorithm{};
  };
  struct Kept {
    http::Response response;
    std::vector<Made> made;
  };
  using KeptPtr = std::shared_ptr<const Kept>;
  using Waiter = std::function<void(const KeptPtr&)>;
  enum class Verdict : std::uint8_t {
    kFirst,     ///< do the work, then call Finish with the same key, whatever happens: others wait for it
    kDone,      ///< the first one's answer is in `kept`
    kInWork,    ///< call Wait with the same key
    kConflict,  ///< another body
    kTooMany,   ///< waiters
  };
  struct Found {
    Verdict verdict = Verdict::kFirst;
    KeptPtr kept;
  };

  IdempotencyCache(Options options, const base::Clock& clock) : options_(options), clock_(clock) {}

  /// The name of an entry.
  static std::string Key(std::string_view principal, std::string_view policy, std::string_view key);

  Found Begin(const std::string& key, const BodyHash& body);
  /// After kInWork, in the same turn: `waiter` gets the first one's answer, success or not.
  void Wait(const std::string& key, Waiter waiter);
  /// Gives `answer` to those who wait, and keeps it when `keep` and its status is 200.
  void Finish(const std::string& key, Kept answer, bool keep = true);
  [[nodiscard]] std::size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    BodyHash body{};
    bool done = false;
    base::SteadyPoint expires{};
    KeptPtr kept;
    std::vector<Waiter> waiting;
    std::list<std::string>::iterator order;  ///< of done_, when done
  };
  void Expire();

  Options options_;
  const base::Clock& clock_;
  std::unordered_map<std::string, Entry> entries_;
  std::list<std::string> done_;  ///< keys of finished entries, oldest first
  std::size_t octets_ = 0;       ///< of the bodies of finished entries
};

}  // namespace signet::frontend
