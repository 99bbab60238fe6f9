#include "signing/folder_policies.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "obs/log.hpp"
#include "obs/metrics.hpp"
#include "signing/key_pins.hpp"
#include "signing/policy_set.hpp"

namespace signet::signing {
namespace {

using base::Code;
using base::MakeError;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds kConfirmEvery{5};  ///< how exact confirmed_at is: far below any policy_max_age
constexpr seconds kLookAgainAtKey{30};
constexpr seconds kLongestKeyWait{10};
constexpr int kMostUnsettledLooks = 20;
constexpr std::size_t kMaxProblemsShown = 3;

class FolderPoliciesImpl final : public FolderPolicies {
 public:
  FolderPoliciesImpl(Options options, base::Reactor& reactor, const base::Clock& clock, token::Hsm& hsm, KeyPins pins)
      : options_(std::move(options)),
        reactor_(reactor),
        clock_(clock),
        hsm_(hsm),
        pins_(std::move(pins)),
        files_(PolicyFiles(options_.folder)) {}
  ~FolderPoliciesImpl() override;

  base::Status Start();

  [[nodiscard]] std::shared_ptr<const ActivePolicy> Find(std::string_view name) const override;
  [[nodiscard]] std::vector<std::shared_ptr<const ActivePolicy>> All() const override;
  [[nodiscard]] Health State() const override;
  void RetryKeys() override;

 private:
  struct Entry {
    std::shared_ptr<const ActivePolicy> active;
    bool confirmed = false;      ///< the folder as it is now says so
    std::uint64_t revision = 0;  ///< answers to questions of an earlier one are dropped
    bool asking = false;
    int failures = 0;
    base::Reactor::Id timer = 0;
  };

  void Look();
  void TakeOver();
  void Confirm();
  void Install(PolicySet set);
  void Install(const std::string& name, PolicyReading reading);
  void Update(Entry& entry, const std::function<void(ActivePolicy&)>& change);
  void Problem(const std::string& problem);

  void AskForKey(const std::string& name);
  void AskLater(const std::string& name, base::Duration delay);
  void Answer(const std::string& name, base::Result<token::KeyInfo> answer);
  void Bind(const std::string& name, Entry& entry, token::KeyInfo key);
  void Unbind(const std::string& name, Entry& entry, std::string_view reason, std::string message);
  void WarnOfSharedKeys();
  void CountKeys();

  const Options options_;
  base::Reactor& reactor_;
  const base::Clock& clock_;
  token::Hsm& hsm_;
  KeyPins pins_;
  std::map<std::string, Entry, std::less<>> entries_;
  std::set<std::string> shared_keys_;  ///< keyIDs that were warned of
  store::ManifestSource files_;
  int unsettled_ = 0;
  std::uint64_t revisions_ = 0;
  std::string set_problem_;  ///< of the files as they were last taken over
  std::string problem_;
  base::Reactor::Id timer_ = 0;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

FolderPoliciesImpl::~FolderPoliciesImpl() {
  *alive_ = false;
  reactor_.Cancel(timer_);
  for (const auto& [name, entry] : entries_) reactor_.Cancel(entry.timer);
}

base::Status FolderPoliciesImpl::Start() {
  TRY(auto set, LoadPolicySet(files_, options_.folder, clock_));
  files_.TakeChanged();
  Install(std::move(set));
  if (entries_.empty()) obs::Warn("no policy yet: nobody may sign", {{"folder", options_.folder.string()}});
  timer_ = reactor_.After(options_.poll, [this] { Look(); });
  return {};
}

void FolderPoliciesImpl::Look() {
  const auto again = files_.Look(clock_.Now());
  bool soon = false;
  if (!again) {
    Problem(base::Describe(again.error()));
  } else if (*again && ++unsettled_ < kMostUnsettledLooks) {
    soon = true;  // files that belong together are taken over together, unless one of them never settles
  } else {
    unsettled_ = 0;
    TakeOver();
  }
  timer_ = reactor_.After(soon ? std::min(options_.poll, store::kSettleTime) : options_.poll, [this] { Look(); });
}

void FolderPoliciesImpl::TakeOver() {
  if (files_.TakeChanged()) {
    auto set = ReadPolicySet(files_);
    set_problem_.clear();
    for (std::size_t i = 0; i < std::min(set.problems.size(), kMaxProblemsShown); ++i) {
      set_problem_ += (i > 0 ? "; " : "") + set.problems[i];
    }
    if (set.problems.size() > kMaxProblemsShown) {
      set_problem_ += fmt::format("; and {} more", set.problems.size() - kMaxProblemsShown);
    }
    obs::GetCounter("signet_policy_reloads_total", "Changed policy folders, by what became of them.",
                    {{"result", set.problems.empty() ? "accepted" : "refused"}})
        .Add();
    Install(std::move(set));
  }
  Problem(set_problem_);
  Confirm();
}

void FolderPoliciesImpl::Problem(const std::string& problem) {
  obs::GetGauge("signet_policy_folder_ok", "1 while the policy folder as it is now is in force.").Set(problem.empty());
  if (problem == problem_) return;
  if (problem.empty()) {
    obs::Info("policy folder in force again", {{"folder", options_.folder.string()}});
  } else {
    obs::Err("part of the policy folder cannot be used: what it said before goes stale after policyMaxAge",
             {{"folder", options_.folder.string()}, {"error", problem}});
  }
  problem_ = problem;
}

void FolderPoliciesImpl::Update(Entry& entry, const std::function<void(ActivePolicy&)>& change) {
  auto next = std::make_shared<ActivePolicy>(*entry.active);
  change(*next);
  entry.active = std::move(next);
}

void FolderPoliciesImpl::Confirm() {
  const base::SteadyPoint now = clock_.Steady();
  for (auto& [name, entry] : entries_) {
    if (!entry.confirmed || now - entry.active->confirmed_at < kConfirmEvery) continue;
    Update(entry, [&](ActivePolicy& active) { active.confirmed_at = now; });
  }
}

void FolderPoliciesImpl::Install(PolicySet set) {
  for (auto it = entries_.begin(); it != entries_.end();) {
    if (set.policies.contains(it->first)) {
      ++it;
      continue;
    }
    obs::Info("policy removed", {{"policy", it->first}});
    reactor_.Cancel(it->second.timer);
    pins_.Forget(it->first);
    it = entries_.erase(it);
  }
  for (auto& [name, reading] : set.policies) Install(name, std::move(reading));
  CountKeys();
}

void FolderPoliciesImpl::Install(const std::string& name, PolicyReading reading) {
  const auto known = entries_.find(name);
  if (known == entries_.end() && !reading.policy) return;
  const ActivePolicy* before = known == entries_.end() ? nullptr : known->second.active.get();
  api::SigningPolicy next = reading.policy ? std::move(reading.policy->policy) : before->compiled->policy();
  const std::string hash = reading.policy ? reading.policy->hash : before->hash;
  next.spec.suspend = next.spec.suspend || reading.suspended;
  const bool edited = before == nullptr || before->hash != hash;
  const bool changed = edited || before->compiled->policy().spec.suspend != next.spec.suspend;
  auto& generation = next.metadata.generation;
  generation = std::max<std::int64_t>(generation, 1);
  if (before != nullptr) {
    const auto last = before->compiled->policy().metadata.generation;
    generation = changed ? std::max(generation, last + 1) : last;
  }
  const std::string uri = next.spec.key.uri.text;
  auto compiled = policy::CompiledPolicy::Compile(std::move(next));
  if (!compiled) return;  // ReadPolicySet has compiled it already
  // While the key of an edited policy is looked for, the one under the same URI goes on serving.
  const bool keeps_key = before != nullptr && before->compiled->policy().spec.key.uri.text == uri;
  auto active = keeps_key ? std::make_shared<ActivePolicy>(*before) : std::make_shared<ActivePolicy>();
  active->compiled = std::move(*compiled);
  active->hash = hash;
  if (reading.confirmed || before == nullptr) active->confirmed_at = clock_.Steady();
  if (edited && !active->key) {
    active->not_ready_reason = "KeyNotReady";
    active->not_ready_message = "the key is being looked for";
  }
  Entry& entry = entries_[name];
  entry.active = std::move(active);
  entry.confirmed = reading.confirmed;
  if (!changed) return;
  obs::Info("policy in force", {{"policy", name},
                                {"generation", entry.active->compiled->policy().metadata.generation},
                                {"suspended", entry.active->compiled->policy().spec.suspend ? "true" : "false"}});
  if (!edited) return;
  entry.revision = ++revisions_;
  entry.asking = false;
  entry.failures = 0;
  AskForKey(name);
}

// ---- keys ---------------------------------------------------------------------------------

void FolderPoliciesImpl::AskForKey(const std::string& name) {
  Entry& entry = entries_.at(name);
  reactor_.Cancel(entry.timer);
  entry.timer = 0;
  if (entry.asking) return;
  entry.asking = true;
  hsm_.Find(entry.active->compiled->policy().spec.key.uri,
            [this, alive = alive_, name, revision = entry.revision](base::Result<token::KeyInfo> answer) {
              if (!*alive) return;
              const auto found = entries_.find(name);
              if (found == entries_.end() || found->second.revision != revision) return;
              found->second.asking = false;
              Answer(name, std::move(answer));
            });
}

void FolderPoliciesImpl::AskLater(const std::string& name, base::Duration delay) {
  Entry& entry = entries_.at(name);
  reactor_.Cancel(entry.timer);
  entry.timer = reactor_.After(delay, [this, name] {
    entries_.at(name).timer = 0;
    AskForKey(name);
  });
}

void FolderPoliciesImpl::Answer(const std::string& name, base::Result<token::KeyInfo> answer) {
  Entry& entry = entries_.at(name);
  const std::string pinned = pins_.Find(name, entry.active->hash);
  if (answer && !pinned.empty() && answer->public_key.keyID() != pinned) {
    Unbind(name, entry, "KeyChanged",
           fmt::format("another key ({}) stands under this policy's URI; edit the policy to accept it",
                       answer->public_key.keyID()));
  } else if (answer && !answer->can_sign) {
    Unbind(name, entry, "KeyNotUsable", "the key does not allow signing");
  } else if (answer) {
    Bind(name, entry, std::move(*answer));
    return;
  } else if (answer.error().code == Code::kUnavailable) {
    // A key that is known stays: signing itself says when the HSM is away.
    if (!entry.active->key) Unbind(name, entry, "HSMUnavailable", answer.error().message);
  } else if (answer.error().code == Code::kNotFound && !pinned.empty()) {
    Unbind(name, entry, "KeyLost", fmt::format("the key {} of this policy is gone; restore it", pinned));
  } else if (answer.error().code == Code::kNotFound) {
    const bool generate = entry.active->compiled->policy().spec.key.generate.has_value();
    Unbind(name, entry, "KeyNotFound",
           generate ? answer.error().message + "; the operator generates keys, a sidecar never does"
                    : answer.error().message);
  } else {
    Unbind(name, entry, answer.error().reason.empty() ? "KeyNotReady" : answer.error().reason, answer.error().message);
  }
  const auto wait = std::min<seconds>(kLongestKeyWait, seconds(1LL << std::min(entry.failures, 10)));
  ++entry.failures;
  AskLater(name, wait);
}

void FolderPoliciesImpl::Bind(const std::string& name, Entry& entry, token::KeyInfo key) {
  entry.failures = 0;
  const std::string key_id = key.public_key.keyID();
  const bool same = entry.active->key && entry.active->key->ref == key.ref;
  pins_.Set(name, entry.active->hash, key_id);
  if (!same) {
    obs::Info("key bound", {{"policy", name}, {"keyID", key_id}, {"token", key.token_label}});
    if (key.extractable || !key.sensitive) {
      obs::Warn("the private key can be read out of its token", {{"policy", name}, {"keyID", key_id}});
    }
    Update(entry, [&](ActivePolicy& active) {
      active.key = std::move(key);
      active.not_ready_reason.clear();
      active.not_ready_message.clear();
    });
    WarnOfSharedKeys();
    CountKeys();
  }
  AskLater(name, kLookAgainAtKey);
}

void FolderPoliciesImpl::Unbind(const std::string& name, Entry& entry, std::string_view reason, std::string message) {
  if (entry.active->key || entry.active->not_ready_reason != reason) {
    obs::Warn("policy has no usable key", {{"policy", name}, {"reason", reason}, {"message", message}});
  }
  Update(entry, [&](ActivePolicy& active) {
    active.key.reset();
    active.not_ready_reason = reason;
    active.not_ready_message = std::move(message);
  });
  CountKeys();
}

void FolderPoliciesImpl::WarnOfSharedKeys() {
  std::map<std::string, std::vector<std::string>> users;
  for (const auto& [name, entry] : entries_) {
    if (entry.active->key) users[entry.active->key->public_key.keyID()].push_back(name);
  }
  for (const auto& [key_id, names] : users) {
    if (names.size() < 2 || !shared_keys_.insert(key_id).second) continue;
    obs::Warn("KeyShared: several policies use one key, each could undo the limits of the others",
              {{"keyID", key_id}, {"policies", fmt::format("{}", fmt::join(names, " "))}});
  }
}

void FolderPoliciesImpl::CountKeys() {
  const Health health = State();
  obs::GetGauge("signet_policies", "Policies in force.").Set(static_cast<double>(health.policies));
  obs::GetGauge("signet_policies_ready", "Policies in force whose key can be used.")
      .Set(static_cast<double>(health.keys_ready));
}

void FolderPoliciesImpl::RetryKeys() {
  for (auto& [name, entry] : entries_) {
    if (entry.active->key) continue;
    entry.failures = 0;
    AskForKey(name);
  }
}

// ---- PolicySource -------------------------------------------------------------------------

std::shared_ptr<const ActivePolicy> FolderPoliciesImpl::Find(std::string_view name) const {
  const auto found = entries_.find(name);
  return found == entries_.end() ? nullptr : found->second.active;
}

std::vector<std::shared_ptr<const ActivePolicy>> FolderPoliciesImpl::All() const {
  std::vector<std::shared_ptr<const ActivePolicy>> all;
  all.reserve(entries_.size());
  for (const auto& [name, entry] : entries_) all.push_back(entry.active);
  return all;
}

FolderPolicies::Health FolderPoliciesImpl::State() const {
  Health health{entries_.size(), 0, problem_};
  for (const auto& [name, entry] : entries_) health.keys_ready += entry.active->key ? 1 : 0;
  return health;
}

}  // namespace

base::Result<std::unique_ptr<FolderPolicies>> FolderPolicies::Open(Options options, base::Reactor& reactor,
                                                                   const base::Clock& clock, token::Hsm& hsm) {
  if (options.poll < milliseconds(10) || options.poll > milliseconds(60'000)) {
    return MakeError(Code::kInvalidArgument, "poll must be between 10 ms and 60 s");
  }
  TRY(KeyPins pins, KeyPins::Load(options.state_dir));
  auto policies = std::make_unique<FolderPoliciesImpl>(std::move(options), reactor, clock, hsm, std::move(pins));
  TRY_VOID(policies->Start());
  return std::unique_ptr<FolderPolicies>(std::move(policies));
}

}  // namespace signet::signing
