#include "http/upstream.hpp"

#include <algorithm>
#include <set>
#include <string>
#include <tuple>
#include <utility>

#include "http/upstream_pool.hpp"
#include "obs/log.hpp"

namespace signet::http {
namespace {

using base::Code;
using base::MakeError;

constexpr std::chrono::seconds kSweep{10};
constexpr std::chrono::seconds kRefreshAtMost{1};

/// Rendezvous hashing: each number has its own order of the endpoints.
std::uint64_t Weight(std::uint64_t affinity, std::uint64_t endpoint) {
  std::uint64_t x = affinity ^ (endpoint + 0x9E37'79B9'7F4A'7C15ULL);
  x = (x ^ (x >> 30U)) * 0xBF58'476D'1CE4'E5B9ULL;
  x = (x ^ (x >> 27U)) * 0x94D0'49BB'1331'11EBULL;
  return x ^ (x >> 31U);
}

class UpstreamImpl final : public Upstream {
 public:
  UpstreamImpl(base::Reactor& reactor, const base::Clock& clock, Resolver& resolver, Options options)
      : options_(std::move(options)), resolver_(resolver), shared_{reactor, clock, options_} {
    for (std::size_t i = 0; i < options_.targets.size(); ++i) {
      if (IsAddress(options_.targets[i].host)) Add(i, options_.targets[i].host);
    }
    Refresh();
    Sweep();
  }
  UpstreamImpl(const UpstreamImpl&) = delete;
  UpstreamImpl& operator=(const UpstreamImpl&) = delete;
  ~UpstreamImpl() override { shared_.reactor.Cancel(timer_); }

  void Send(Attempt attempt, Done done) override {
    UpstreamPool* const pool = Pick(attempt);
    if (pool == nullptr || pool->failing(shared_.clock.Steady())) RefreshSoon();
    if (pool != nullptr) return pool->Send(std::move(attempt), std::move(done));
    shared_.reactor.Post([done = std::move(done)] {
      done({MakeError(Code::kUnavailable, "NameNotResolved", "no address of the gateway is known yet"), 0, false,
            false});
    });
  }

  [[nodiscard]] bool HasOther(const std::vector<EndpointId>& tried) const override {
    const auto now = shared_.clock.Steady();
    return std::any_of(pools_.begin(), pools_.end(), [&](const auto& pool) {
      return !pool->failing(now) && std::find(tried.begin(), tried.end(), pool->id()) == tried.end();
    });
  }
  [[nodiscard]] std::size_t endpoints() const override { return pools_.size(); }
  [[nodiscard]] std::size_t connections() const override { return shared_.connections; }
  [[nodiscard]] std::string Describe(EndpointId endpoint) const override {
    const auto found =
        std::find_if(pools_.begin(), pools_.end(), [endpoint](const auto& pool) { return pool->id() == endpoint; });
    return found == pools_.end() ? "" : (*found)->name();
  }

 private:
  UpstreamPool* Pick(const Attempt& attempt) {
    const auto now = shared_.clock.Steady();
    UpstreamPool* best = nullptr;
    std::tuple<bool, bool, std::uint64_t> best_rank;
    ++turn_;
    for (std::size_t i = 0; i < pools_.size(); ++i) {
      UpstreamPool& pool = *pools_[(i + turn_) % pools_.size()];
      const bool tried = std::find(attempt.tried.begin(), attempt.tried.end(), pool.id()) != attempt.tried.end();
      const std::uint64_t load =
          attempt.affinity != 0 ? Weight(attempt.affinity, pool.hash()) : std::uint64_t{pool.outstanding()};
      const std::tuple rank{pool.failing(now), tried, load};
      if (best != nullptr && rank >= best_rank) continue;
      best = &pool;
      best_rank = rank;
    }
    return best;
  }

  void Add(std::size_t target, const std::string& address) {
    pools_.push_back(std::make_unique<UpstreamPool>(shared_, ++last_id_, target, address));
  }

  void Refresh() {
    refreshed_at_ = shared_.clock.Steady();
    std::set<std::string> hosts;  // several ports of one are one question: the resolver answers the last asker
    for (const auto& target : options_.targets) {
      if (!IsAddress(target.host)) hosts.insert(target.host);
    }
    for (const auto& host : hosts) {
      resolver_.Resolve(host,
                        [this, host, alive = std::weak_ptr<int>(alive_)](base::Result<Resolver::Addresses> found) {
                          if (!alive.expired()) OnResolved(host, std::move(found));
                        });
    }
  }
  void RefreshSoon() {
    if (shared_.clock.Steady() - refreshed_at_ >= kRefreshAtMost) Refresh();
  }

  /// What cannot be looked up keeps its addresses.
  void OnResolved(const std::string& host, const base::Result<Resolver::Addresses>& found) {
    if (!found) {
      if (!std::exchange(unresolved_, true)) {
        obs::Warn("cannot look up the gateway", {{"error", base::Describe(found.error())}});
      }
      return;
    }
    unresolved_ = false;
    for (std::size_t i = 0; i < options_.targets.size(); ++i) {
      if (options_.targets[i].host == host) Take(i, *found);
    }
  }

  void Take(std::size_t target, const Resolver::Addresses& found) {
    const auto is_of = [target](const auto& pool) { return pool->target() == target; };
    for (const std::string& address : found) {
      const bool known = std::any_of(pools_.begin(), pools_.end(),
                                     [&](const auto& pool) { return is_of(pool) && pool->address() == address; });
      if (!known) Add(target, address);
    }
    for (auto& pool : pools_) {
      if (is_of(pool) && std::find(found.begin(), found.end(), pool->address()) == found.end()) {
        pool->Retire();
        retired_.push_back(std::move(pool));
      }
    }
    std::erase(pools_, nullptr);
  }

  void Sweep() {
    const auto now = shared_.clock.Steady();
    for (const auto& pool : pools_) pool->CloseIdle(now - options_.idle_time);
    std::erase_if(retired_, [](const auto& pool) { return pool->outstanding() == 0; });
    if (now - refreshed_at_ >= options_.refresh) Refresh();
    const auto every = std::min<std::chrono::milliseconds>({kSweep, options_.idle_time, options_.refresh});
    timer_ = shared_.reactor.After(every, [this] { Sweep(); });
  }

  const Options options_;
  Resolver& resolver_;
  UpstreamPool::Shared shared_;
  std::vector<std::unique_ptr<UpstreamPool>> pools_;
  std::vector<std::unique_ptr<UpstreamPool>> retired_;  ///< until their last attempt has ended
  EndpointId last_id_ = 0;
  std::size_t turn_ = 0;
  base::SteadyPoint refreshed_at_{};
  bool unresolved_ = false;  ///< said in the log
  base::Reactor::Id timer_ = 0;
  std::shared_ptr<int> alive_ = std::make_shared<int>(0);  ///< for answers that come late
};

}  // namespace

std::unique_ptr<Upstream> Upstream::Create(base::Reactor& reactor, const base::Clock& clock, Resolver& resolver,
                                           Options options) {
  return std::make_unique<UpstreamImpl>(reactor, clock, resolver, std::move(options));
}

}  // namespace signet::http
