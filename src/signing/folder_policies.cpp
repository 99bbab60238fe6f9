#include "signing/folder_policies.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <thread>

#include "obs/log.hpp"
#include "obs/metrics.hpp"
#include "signing/key_pins.hpp"
#include "signing/policy_set.hpp"
#include "store/folder.hpp"

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
constexpr int kMostLooksAtStart = 200;

class FolderPoliciesImpl final : public FolderPolicies {
 public:
  FolderPoliciesImpl(Options options, base::Reactor& reactor, const base::Clock& clock, token::Hsm& hsm, KeyPins pins)
      : options_(std::move(options)), reactor_(reactor), clock_(clock), hsm_(hsm), pins_(std::move(pins)) {}
  ~FolderPoliciesImpl() override;

  base::Status Start();

  [[nodiscard]] std::shared_ptr<const ActivePolicy> Find(std::string_view name) const override;
  [[nodiscard]] std::vector<std::shared_ptr<const ActivePolicy>> All() const override;
  [[nodiscard]] Health State() const override;
  void RetryKeys() override;

 private:
  struct Entry {
    std::shared_ptr<const ActivePolicy> active;
    std::uint64_t revision = 0;  ///< answers to questions of an earlier one are dropped
    bool asking = false;
    int failures = 0;
    base::Reactor::Id timer = 0;
  };
  using Loaded = std::map<std::string, LoadedPolicy, std::less<>>;

  void Look();
  base::Result<bool> TryLoad();
  void Confirm();
  base::Status Install(Loaded loaded);
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
  std::set<std::string> shared_keys_;             ///< keyIDs that were warned of
  std::optional<store::FolderListing> seen_;      ///< the listing that was loaded or refused
  base::Status verdict_;                          ///< of that listing
  std::optional<store::FolderListing> previous_;  ///< of the last look
  int unsettled_ = 0;
  std::uint64_t revisions_ = 0;
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
  bool loaded = false;
  for (int look = 0; !loaded; ++look) {
    auto result = TryLoad();
    if (!result && result.error().reason == "PoliciesInvalid") return result.error();
    if (!result || look == kMostLooksAtStart) {
      return MakeError(Code::kFailedPrecondition, "PoliciesNotFound",
                       fmt::format("policies folder {}: {}", options_.folder.string(),
                                   result ? "is being written all the time" : base::Describe(result.error())));
    }
    loaded = *result;
    if (!loaded) std::this_thread::sleep_for(store::kSettleTime);  // the loop does not run yet
  }
  if (entries_.empty()) obs::Warn("no policy yet: nobody may sign", {{"folder", options_.folder.string()}});
  timer_ = reactor_.After(options_.poll, [this] { Look(); });
  return {};
}

void FolderPoliciesImpl::Look() {
  const auto loaded = TryLoad();
  Problem(loaded ? (*loaded ? std::string() : problem_) : base::Describe(loaded.error()));
  const bool again = loaded && !*loaded;
  timer_ = reactor_.After(again ? std::min(options_.poll, store::kSettleTime) : options_.poll, [this] { Look(); });
}

/// @return true: the folder as it is now is in force. false: it is being written, look again soon.
base::Result<bool> FolderPoliciesImpl::TryLoad() {
  TRY(store::FolderListing listing, store::ListFolder(options_.folder, kPolicyFolderLimits));
  if (seen_ && *seen_ == listing) {
    Confirm();
    TRY_VOID(verdict_);
    return true;
  }
  const bool settled = store::IsSettled(listing, previous_ ? &*previous_ : nullptr, clock_.Now());
  previous_ = listing;
  if (!settled && ++unsettled_ < kMostUnsettledLooks) return false;
  unsettled_ = 0;
  auto loaded = LoadPolicySet(options_.folder, listing);
  if (!loaded && loaded.error().code == Code::kAborted) return false;
  if (!loaded && loaded.error().code != Code::kInvalidArgument) return loaded.error();
  seen_ = std::move(listing);
  Confirm();
  verdict_ = loaded ? Install(std::move(*loaded)) : base::Status(loaded.error());
  obs::GetCounter("signet_policy_reloads_total", "Changed policy folders, by what became of them.",
                  {{"result", verdict_ ? "accepted" : "refused"}})
      .Add();
  TRY_VOID(verdict_);
  return true;
}

void FolderPoliciesImpl::Problem(const std::string& problem) {
  obs::GetGauge("signet_policy_folder_ok", "1 while the policy folder as it is now is in force.").Set(problem.empty());
  if (problem == problem_) return;
  if (problem.empty()) {
    obs::Info("policy folder in force again", {{"folder", options_.folder.string()}});
  } else {
    obs::Err("policy folder not taken over: the set before stays in force",
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
    if (now - entry.active->confirmed_at < kConfirmEvery) continue;
    Update(entry, [&](ActivePolicy& active) { active.confirmed_at = now; });
  }
}

base::Status FolderPoliciesImpl::Install(Loaded loaded) {
  // Everything that can fail comes first: all or nothing.
  std::map<std::string, std::shared_ptr<const policy::CompiledPolicy>> compiled;
  for (auto& [name, next] : loaded) {
    const auto known = entries_.find(name);
    std::int64_t& generation = next.policy.metadata.generation;
    generation = std::max<std::int64_t>(generation, 1);
    if (known != entries_.end()) {
      const std::int64_t before = known->second.active->compiled->policy().metadata.generation;
      generation = known->second.active->hash == next.hash ? before : std::max(generation, before + 1);
    }
    auto result = policy::CompiledPolicy::Compile(std::move(next.policy));
    if (!result) {
      return MakeError(Code::kInvalidArgument, "PoliciesInvalid",
                       fmt::format("{}: {}", next.place, result.error().message));
    }
    compiled[name] = std::move(*result);
  }
  for (auto it = entries_.begin(); it != entries_.end();) {
    if (loaded.contains(it->first)) {
      ++it;
      continue;
    }
    obs::Info("policy removed", {{"policy", it->first}});
    reactor_.Cancel(it->second.timer);
    pins_.Forget(it->first);
    it = entries_.erase(it);
  }
  for (const auto& [name, next] : loaded) {
    Entry& entry = entries_[name];
    const bool edited = !entry.active || entry.active->hash != next.hash;
    // While the key of an edited policy is looked for, the one under the same URI goes on serving.
    const bool keeps_key = entry.active && entry.active->compiled->policy().spec.key.uri.text ==
                                               compiled[name]->policy().spec.key.uri.text;
    auto active = keeps_key ? std::make_shared<ActivePolicy>(*entry.active) : std::make_shared<ActivePolicy>();
    active->compiled = std::move(compiled[name]);
    active->hash = next.hash;
    active->confirmed_at = clock_.Steady();
    if (edited && !active->key) {
      active->not_ready_reason = "KeyNotReady";
      active->not_ready_message = "the key is being looked for";
    }
    entry.active = std::move(active);
    if (!edited) continue;
    obs::Info("policy in force", {{"policy", name},
                                  {"generation", entry.active->compiled->policy().metadata.generation},
                                  {"suspended", entry.active->compiled->policy().spec.suspend ? "true" : "false"}});
    entry.revision = ++revisions_;
    entry.asking = false;
    entry.failures = 0;
    AskForKey(name);
  }
  CountKeys();
  return {};
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
