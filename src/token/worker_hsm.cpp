#include "token/worker_hsm.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <set>

#include "obs/log.hpp"
#include "token/worker_pool.hpp"

namespace signet::token {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kMaxRecorded = 65'536;         // proofs that are known to be on record
constexpr int kExitWithLauncher = 4;                 // as for an HSM that is away
constexpr std::size_t kMaxInput = kMaxFrame - 1024;  // octets of a message to sign

base::Error Bad(std::string message) { return base::MakeError(base::Code::kInvalidArgument, std::move(message)); }

std::shared_ptr<PinMemory> MemoryOf(const WorkerHsmOptions& options) {
  if (options.pin_memory) return options.pin_memory;
  return options.state_dir.empty() ? MakeProcessPinMemory() : MakeFolderPinMemory(options.state_dir);
}

base::Status Validate(const WorkerHsmOptions& options) {
  if (options.module.empty()) return Bad("no PKCS#11 module is configured: name its path");
  if (options.tokens.empty()) return Bad("no token is configured: name a PIN file");
  for (const auto& token : options.tokens) {
    if (token.pin_file.empty()) return Bad("a token has no PIN file");
  }
  if (options.tokens.size() > 1 &&
      std::any_of(options.tokens.begin(), options.tokens.end(), [](const auto& token) { return !token.uri; })) {
    return Bad("with more than one token, each needs its URI");
  }
  if (options.workers_per_token < 1 || options.workers_per_token > 16) return Bad("workers per token must be 1 to 16");
  if (options.sign_timeout < 50ms || options.sign_timeout > 10min) return Bad("sign timeout must be 50ms to 10m");
  if (options.generate_timeout < options.sign_timeout) return Bad("generate timeout is below the sign timeout");
  if (options.queue_limit < 1) return Bad("queue limit must be at least 1");
  return {};
}

/// Which pools a key may be in, asked one by one and brought together.
struct Search {
  std::size_t open = 0;
  std::vector<std::pair<std::size_t, ProvenKey>> found;
  std::optional<base::Error> failure;  ///< anything but "not here"
};

class WorkerHsmImpl final : public WorkerHsm {
 public:
  WorkerHsmImpl(WorkerHsmOptions options, std::shared_ptr<Launcher> launcher, base::Reactor& reactor,
                const base::Clock& clock)
      : options_(std::move(options)),
        reactor_(reactor),
        clock_(clock),
        launcher_(std::move(launcher)),
        pins_(MemoryOf(options_), reactor) {}
  ~WorkerHsmImpl() override {
    *alive_ = false;
    reactor_.Unwatch(launcher_watch_);
  }

  base::Status Start() {
    launcher_watch_ = reactor_.WatchReadable(launcher_->fd(), [this] {
      if (launcher_->IsGone()) EndWithLauncher();
    });
    for (std::size_t i = 0; i < options_.tokens.size(); ++i) {
      const auto& token = options_.tokens[i];
      PoolOptions pool;
      pool.name = token.uri && token.uri->token ? *token.uri->token : fmt::format("#{}", i);
      pool.module = options_.module;
      pool.uri = token.uri;
      pool.pin_file = token.pin_file;
      pool.workers = options_.workers_per_token;
      pool.sign_timeout = options_.sign_timeout;
      pool.generate_timeout = options_.generate_timeout;
      pool.queue_limit = options_.queue_limit;
      pools_.push_back(std::make_unique<WorkerPool>(
          std::move(pool), reactor_, clock_, *launcher_, pins_, [this] { StateChanged(); },
          [this](const KeyProof& proof) { Record(proof, [](const base::Status&) {}); }));
      TRY_VOID(pools_.back()->Start());
    }
    return {};
  }

  void Find(const encoding::Pkcs11Uri& uri, Callback<KeyInfo> done) override {
    std::vector<std::size_t> candidates = Candidates(uri);
    if (candidates.empty()) return Later(std::move(done), NoToken());
    auto search = std::make_shared<Search>();
    search->open = candidates.size();
    for (const std::size_t pool : candidates) {
      pools_[pool]->Find(uri, [this, search, pool, done](base::Result<ProvenKey> record) {
        if (record) {
          search->found.emplace_back(pool, *std::move(record));
        } else if (record.error().code != base::Code::kNotFound) {
          search->failure = std::move(record).error();
        }
        if (--search->open == 0) Conclude(*search, done);
      });
    }
  }

  void Generate(const encoding::Pkcs11Uri& uri, const GenerateSpec& spec, Callback<KeyInfo> done) override {
    std::vector<std::size_t> candidates = Candidates(uri);
    if (candidates.empty()) return Later(std::move(done), NoToken());
    if (candidates.size() > 1) {
      return Later(std::move(done), base::MakeError(base::Code::kFailedPrecondition, "KeyAmbiguous",
                                                    "the URI fits more than one token: name the token"));
    }
    if (!uri.object || uri.object->empty())
      return Later(std::move(done), Bad("a key to generate needs an object name"));
    if (!encoding::IsSupportedKeySize(spec.algorithm, spec.bits)) {
      return Later(std::move(done), Bad("no such key algorithm and size"));
    }
    const std::size_t pool = candidates.front();
    pools_[pool]->Generate(uri, spec, [this, pool, done = std::move(done)](base::Result<ProvenKey> record) {
      if (!record) return done(std::move(record).error());
      Accept(pool, *std::move(record), done);
    });
  }

  void Sign(KeyRef key, encoding::SignatureAlgorithm algorithm, base::ByteView input,
            Callback<base::Bytes> done) override {
    if (key == 0 || key > keys_.size()) return Later(std::move(done), Bad("no such key"));
    const auto& info = encoding::Info(algorithm);
    if (info.hash ? input.size() != encoding::DigestSize(*info.hash) : input.size() > kMaxInput) {
      return Later(std::move(done), Bad("the input's size does not fit the algorithm"));
    }
    const Key& entry = keys_[key - 1];
    if (entry.algorithm != info.key) {
      return Later(std::move(done), base::MakeError(base::Code::kFailedPrecondition, "MechanismMissing",
                                                    "the algorithm does not fit the kind of the key"));
    }
    pools_[entry.pool]->Sign(key, entry.identity, algorithm, input, std::move(done));
  }

  [[nodiscard]] HsmState State() const override {
    HsmState all;
    // What a process ends for is what it has to tell; then, that not all is known yet.
    const auto weight = [](const HsmState& one) {
      if (one.fatal_configuration) return 3;
      if (one.reason == "Starting") return 2;
      return one.ready ? 0 : 1;
    };
    const HsmState* tells = nullptr;
    for (const auto& pool : pools_) {
      const HsmState& one = pool->state();
      all.workers += one.workers;
      all.workers_ready += one.workers_ready;
      all.ready |= one.ready;
      if (tells == nullptr || weight(one) > weight(*tells)) tells = &one;
    }
    if (tells == nullptr || weight(*tells) == 0) return all;
    all.ready &= weight(*tells) == 1;
    all.reason = tells->reason;
    all.message = tells->message;
    all.fatal_configuration = tells->fatal_configuration;
    return all;
  }

  [[nodiscard]] HsmState StateOf(KeyRef key) const override {
    if (key != 0 && key <= keys_.size()) return pools_[keys_[key - 1].pool]->state();
    HsmState none;
    none.reason = "KeyNotFound";
    none.message = "no such key";
    return none;
  }

  void OnStateChange(std::function<void()> handler) override { handlers_.push_back(std::move(handler)); }

  [[nodiscard]] std::vector<pid_t> WorkerPidsForTest() const override {
    std::vector<pid_t> all;
    for (const auto& pool : pools_) {
      const auto pids = pool->Pids();
      all.insert(all.end(), pids.begin(), pids.end());
    }
    return all;
  }

 private:
  struct Key {
    std::size_t pool;
    KeyIdentity identity;
    encoding::KeyAlgorithm algorithm;
  };

  /// Workers that end could not be replaced. A supervisor starts us, and a launcher, anew.
  [[noreturn]] static void EndWithLauncher() {
    obs::Err("the launcher of the HSM workers has ended: ending, too");
    std::_Exit(kExitWithLauncher);
  }

  static base::Error NoToken() {
    return base::MakeError(base::Code::kNotFound, "KeyNotFound", "no configured token fits the key's URI");
  }

  template <class T>
  void Later(Callback<T> done, base::Error error) {
    reactor_.Post([done = std::move(done), error = std::move(error)] { done(error); });
  }

  std::vector<std::size_t> Candidates(const encoding::Pkcs11Uri& uri) const {
    std::vector<std::size_t> candidates;
    for (std::size_t i = 0; i < pools_.size(); ++i) {
      if (pools_[i]->MayHold(uri)) candidates.push_back(i);
    }
    return candidates;
  }

  void Conclude(Search& search, const Callback<KeyInfo>& done) {
    // A token that could not be asked might hold a second key: no answer is better than a wrong one.
    if (search.failure) return done(*search.failure);
    if (search.found.empty()) {
      return done(
          base::MakeError(base::Code::kNotFound, "KeyNotFound", "no private key in the HSM fits the key's URI"));
    }
    if (search.found.size() > 1) {
      return done(base::MakeError(base::Code::kFailedPrecondition, "KeyAmbiguous",
                                  "keys in more than one token fit the key's URI: name the token"));
    }
    Accept(search.found.front().first, std::move(search.found.front().second), done);
  }

  /// The proof is a signature: it goes on record before anybody hears of the key.
  void Accept(std::size_t pool, ProvenKey key, const Callback<KeyInfo>& done) {
    const KeyProof proof{key.proof.verified,  key.record.public_key, pools_[pool]->token_label(), key.record.label,
                         key.proof.algorithm, key.proof.challenge,   key.proof.signature_sha256};
    Record(proof, [this, alive = alive_, pool, record = std::move(key.record), done](const base::Status& recorded) {
      if (!*alive) return;
      if (!recorded) return done(recorded.error());
      done(Register(pool, record));
    });
  }

  /// A worker shows one proof for as long as it holds: one line for all of that time.
  void Record(const KeyProof& proof, std::function<void(base::Status)> done) {
    if (!options_.record_proof || recorded_.contains(proof.challenge)) return done({});
    options_.record_proof(
        proof, [this, alive = alive_, challenge = proof.challenge, done = std::move(done)](const base::Status& status) {
          if (*alive && status) {
            if (recorded_.size() >= kMaxRecorded) recorded_.clear();
            recorded_.insert(challenge);
          }
          done(status);
        });
  }

  KeyInfo Register(std::size_t pool, pkcs11::KeyRecord record) {
    KeyInfo info;
    info.public_key = record.public_key;
    info.token_label = pools_[pool]->token_label();
    info.sensitive = record.sensitive;
    info.extractable = record.extractable;
    info.never_extractable = record.never_extractable;
    info.local = record.local;
    info.can_sign = record.can_sign;
    info.mechanisms = record.algorithms;
    for (std::size_t i = 0; i < keys_.size(); ++i) {
      const Key& known = keys_[i];
      if (known.pool != pool || known.identity.spki != info.public_key.der() || known.identity.id != record.id ||
          known.identity.label != record.label) {
        continue;
      }
      info.ref = static_cast<KeyRef>(i + 1);
      return info;
    }
    keys_.push_back(
        {pool, {std::move(record.label), std::move(record.id), info.public_key.der()}, info.public_key.algorithm()});
    info.ref = static_cast<KeyRef>(keys_.size());
    return info;
  }

  void StateChanged() {
    reactor_.Post([this, alive = alive_] {
      if (!*alive) return;
      for (const auto& handler : handlers_) handler();
    });
  }

  WorkerHsmOptions options_;
  base::Reactor& reactor_;
  const base::Clock& clock_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  std::vector<std::function<void()>> handlers_;
  std::set<std::string> recorded_;      ///< challenges of proofs that are on record
  std::deque<Key> keys_;                ///< by KeyRef - 1; addresses stay
  std::shared_ptr<Launcher> launcher_;  ///< outlives the pools, whose workers it ends
  base::Reactor::Id launcher_watch_ = 0;
  PinMemoryThread pins_;  ///< likewise
  std::vector<std::unique_ptr<WorkerPool>> pools_;
};

}  // namespace

bool IsKeyTrouble(const base::Error& error) {
  return error.reason == "KeyChanged" || error.reason == "KeyMismatch" || error.reason == "KeyAmbiguous" ||
         error.reason == "KeyNotUsable";
}

base::Result<std::unique_ptr<WorkerHsm>> WorkerHsm::Create(WorkerHsmOptions options, base::Reactor& reactor,
                                                           const base::Clock& clock) {
  TRY_VOID(Validate(options));
  if (!options.pin_memory && !options.state_dir.empty()) {
    std::error_code failed;
    std::filesystem::create_directories(options.state_dir, failed);
    if (failed) return Bad("the state folder " + options.state_dir + " cannot be made: " + failed.message());
  }
  std::shared_ptr<Launcher> launcher = Launcher::OfProcess();
  if (!launcher) {
    TRY(launcher, Launcher::Start({options.executable, std::nullopt, true}));
  }
  auto hsm = std::make_unique<WorkerHsmImpl>(std::move(options), std::move(launcher), reactor, clock);
  TRY_VOID(hsm->Start());
  return std::unique_ptr<WorkerHsm>(std::move(hsm));
}

}  // namespace signet::token
