// tests/unit/reconcile/fakes.hpp - what stands around the reconcilers: a loop, a service, an HSM, a record.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "audit/journal.hpp"
#include "base/reactor.hpp"
#include "reconcile/events.hpp"
#include "signing/service.hpp"
#include "token/hsm.hpp"

namespace signet::testing {

/// A Reactor on a thread of its own; timers never fire.
class LoopThread final : public base::Reactor {
 public:
  LoopThread() : thread_([this] { Run(); }) {}
  ~LoopThread() override {
    Post([this] { stopping_ = true; });
    thread_.join();
  }
  void Post(Handler handler) override {
    {
      const std::lock_guard lock(mutex_);
      queue_.push_back(std::move(handler));
    }
    wake_.notify_one();
  }
  Id After(std::chrono::microseconds, Handler) override { return 1; }
  void Cancel(Id) override {}
  Id WatchReadable(int, Handler) override { return 1; }
  void Unwatch(Id) override {}

  /// Returns when everything posted so far has run.
  void Flush() {
    std::mutex mutex;
    std::condition_variable ran;
    bool done = false;
    Post([&] {
      const std::lock_guard lock(mutex);
      done = true;
      ran.notify_one();
    });
    std::unique_lock lock(mutex);
    ran.wait(lock, [&] { return done; });
  }

 private:
  void Run() {
    while (!stopping_) {
      Handler next;
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [this] { return !queue_.empty(); });
        next = std::move(queue_.front());
        queue_.pop_front();
      }
      next();
    }
  }
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Handler> queue_;
  bool stopping_ = false;  // loop only
  std::thread thread_;
};

// Public keys made by the openssl command line.
inline constexpr std::string_view kPemA =
    "-----BEGIN PUBLIC KEY-----\n"
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEtsc5+z2v0B/z44jeGj5T6ffG8zJ6\n"
    "3j6M24NckbfnHF4kLXgX+zxzrrcPvKcoytOXWrdE01XwB+xH4FVMZodWGA==\n"
    "-----END PUBLIC KEY-----\n";
inline constexpr std::string_view kPemB =
    "-----BEGIN PUBLIC KEY-----\n"
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE8ioN4AWLbYmWpJuP6FOXan7geU/5\n"
    "aa6dNfZ8AWCvBcqZasV1GLIJCVVzCmvSSo6xEbrtjvwDY8BObZJrO7HcKA==\n"
    "-----END PUBLIC KEY-----\n";

inline crypto::PublicKey KeyFromPem(std::string_view pem) { return *crypto::PublicKey::FromPem(pem); }

inline token::KeyInfo GoodKey(std::string_view pem, token::KeyRef ref = 1) {
  token::KeyInfo key;
  key.ref = ref;
  key.public_key = KeyFromPem(pem);
  key.token_label = "prod";
  key.sensitive = true;
  key.extractable = false;
  key.never_extractable = true;
  key.local = true;
  key.can_sign = true;
  key.mechanisms = {encoding::SignatureAlgorithm::kEcdsaWithSha256, encoding::SignatureAlgorithm::kEcdsaWithSha384};
  return key;
}

/// Keys by the URI's object. Loop thread, or while the loop is idle.
class KeyRing final : public token::Hsm {
 public:
  std::map<std::string, std::vector<token::KeyInfo>> keys;
  base::Status reachable;         ///< an error is the answer to everything
  base::Status generating;        ///< an error is the answer to Generate (which has then made nothing)
  std::string_view next = kPemA;  ///< what Generate makes
  int finds = 0;
  int generated = 0;

  void Find(const encoding::Pkcs11Uri& uri, Callback<token::KeyInfo> done) override {
    ++finds;
    if (!reachable) return done(base::Error(reachable.error()));
    const auto it = keys.find(uri.object.value_or(""));
    if (it == keys.end() || it->second.empty()) {
      return done(base::MakeError(base::Code::kNotFound, "KeyNotFound", "no private key fits the URI"));
    }
    if (it->second.size() > 1) {
      return done(base::MakeError(base::Code::kFailedPrecondition, "KeyAmbiguous", "2 private keys fit the URI"));
    }
    done(it->second.front());
  }
  void Generate(const encoding::Pkcs11Uri& uri, const token::GenerateSpec&, Callback<token::KeyInfo> done) override {
    if (!reachable) return done(base::Error(reachable.error()));
    if (!generating) return done(base::Error(generating.error()));
    ++generated;
    auto& ring = keys[uri.object.value_or("")];
    ring.push_back(GoodKey(next));
    done(ring.back());
  }
  void Sign(token::KeyRef, encoding::SignatureAlgorithm, base::ByteView, Callback<base::Bytes> done) override {
    done(base::MakeError(base::Code::kInternal, "Unexpected", "the reconcilers never sign by themselves"));
  }
  [[nodiscard]] token::HsmState State() const override {
    if (reachable) return {true, "", "", 1, 1};
    return {false, "TokenNotFound", "put the token back", 1, 0};
  }
  [[nodiscard]] token::HsmState StateOf(token::KeyRef) const override { return State(); }
  void OnStateChange(std::function<void()>) override {}
};

/// Remembers events; answers nothing else that the reconcilers use.
class Ledger final : public audit::Journal {
 public:
  struct Line {
    std::string type;
    std::map<std::string, std::string> fields;
  };
  std::vector<Line> lines;
  std::vector<std::string> ever_named;
  bool writable = true;

  void Append(const audit::Intent&, Done done) override { done({}); }
  void Append(const audit::Outcome&, Done done) override { done({}); }
  void Append(const audit::Release&, Done done) override { done({}); }
  void Note(const audit::Refusal&) override {}
  void Event(std::string_view type, const std::map<std::string, std::string>& fields, Done done) override {
    if (!writable) return done(base::MakeError(base::Code::kUnavailable, "AuditUnavailable", "disk full"));
    lines.push_back({std::string(type), fields});
    done({});
  }
  [[nodiscard]] bool available() const override { return writable; }
  [[nodiscard]] const std::string& stream() const override { return stream_; }
  [[nodiscard]] std::string head() const override { return std::string(64, '0'); }
  [[nodiscard]] std::uint64_t sequence() const override { return lines.size(); }
  [[nodiscard]] const std::vector<audit::OpenOperation>& unsettled() const override { return open_; }
  [[nodiscard]] const std::vector<DayCount>& today() const override { return today_; }
  [[nodiscard]] std::vector<std::string> KeysEverNamed(std::string_view) const override { return ever_named; }

 private:
  std::string stream_ = std::string(32, '0');
  std::vector<audit::OpenOperation> open_;
  std::vector<DayCount> today_;
};

/// A SigningService that answers what the test says. Without a script it signs.
class ScriptedService final : public signing::SigningService {
 public:
  struct Step {
    base::Error error;
    std::optional<base::Duration> retry_after;
    std::vector<api::ApprovalStatus> approvals = {};
    bool wants_approvals = false;
  };
  std::deque<Step> script;  ///< one per Sign; then `always`, then a signature
  std::optional<Step> always;
  std::optional<policy::Decision> explained;  ///< nothing: allowed
  std::vector<signing::SignCall> calls;
  std::vector<signing::Caller> callers;
  int signatures = 0;

  void Sign(const signing::Caller& caller, signing::SignCall call, Done done) override {
    calls.push_back(call);
    callers.push_back(caller);
    if (!script.empty() || always) {
      Step step = script.empty() ? *always : script.front();
      if (!script.empty()) script.pop_front();
      if (step.error.reason != "Sign") {
        return done(tl::make_unexpected(signing::Refused{std::move(step.error), step.retry_after,
                                                         std::move(step.approvals), step.wants_approvals}));
      }
    }
    ++signatures;
    signing::Signed made;
    made.signature = {1, 2, 3, static_cast<std::uint8_t>(signatures)};
    made.algorithm = encoding::SignatureAlgorithm::kEcdsaWithSha256;
    made.public_key = KeyFromPem(kPemA);
    made.record = "OP" + std::to_string(signatures);
    made.policy_name = call.policy;
    made.policy_uid = "policy-uid";
    made.policy_generation = 3;
    made.signed_at = base::TimePoint(std::chrono::seconds(1'795'424'400));
    done(made);
  }
  void SignBatch(const signing::Caller&, std::vector<signing::SignCall>, BatchDone done) override { done({}); }
  void Replay(const signing::Caller& /*caller*/, std::vector<signing::Replayed> /*items*/,
              ReplayDone /*done*/) override {
    ADD_FAILURE() << "requests are signed once";
  }
  void Settle(const audit::Release& release, std::function<void()> done) override {
    const std::string word = release.released == audit::Released::kNo ? " discarded " : " unknown ";
    settled.push_back(release.operation +
                      (release.released == audit::Released::kYes ? " released" : word + release.reason));
    signed_when_settled.push_back(signatures);
    if (done) done();
  }
  std::vector<std::string> settled;
  std::vector<int> signed_when_settled;
  [[nodiscard]] policy::Decision Explain(const signing::Caller&, const signing::SignCall&) const override {
    if (explained) return *explained;
    policy::Decision allowed;
    allowed.reason = policy::Reason::kAllowed;
    return allowed;
  }
  [[nodiscard]] std::vector<std::shared_ptr<const signing::ActivePolicy>> Visible(
      const signing::Caller&) const override {
    return {};
  }
  [[nodiscard]] std::shared_ptr<const signing::ActivePolicy> Visible(const signing::Caller&,
                                                                     std::string_view) const override {
    return nullptr;
  }
  [[nodiscard]] std::size_t in_flight() const override { return 0; }
};

class EventList final : public reconcile::EventRecorder {
 public:
  struct Entry {
    std::string kind, name, reason, message;
    Type type;
  };
  void Record(const kube::Resource& resource, const api::ObjectMeta& object, Type type, std::string reason,
              std::string message) override {
    const std::lock_guard lock(mutex_);
    entries_.push_back({resource.kind, object.name, std::move(reason), std::move(message), type});
  }
  [[nodiscard]] std::vector<std::string> Reasons() const {
    const std::lock_guard lock(mutex_);
    std::vector<std::string> out;
    for (const auto& entry : entries_) out.push_back(entry.reason);
    return out;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<Entry> entries_;
};

/// The condition of `type` in an object's status, or null.
inline nlohmann::json ConditionOf(const nlohmann::json& object, std::string_view type) {
  if (!object.contains("status") || !object["status"].contains("conditions")) return nullptr;
  for (const auto& condition : object["status"]["conditions"]) {
    if (condition["type"] == type) return condition;
  }
  return nullptr;
}

}  // namespace signet::testing
