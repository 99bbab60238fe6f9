#include "reconcile/quota_lender.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <random>

#include "base/bytes.hpp"
#include "crypto/digest.hpp"
#include "encoding/json.hpp"
#include "encoding/text.hpp"
#include "obs/log.hpp"
#include "obs/metrics.hpp"
#include "reconcile/quota_error.hpp"
#include "reconcile/resources.hpp"

namespace signet::reconcile {
namespace {

using base::Code;
using nlohmann::json;

constexpr std::size_t kNameDigits = 20;
constexpr unsigned kShards = 64;

json NewConfigMap(const std::string& name) {
  return {{"metadata",
           {{"name", name},
            {"labels", {{"app.kubernetes.io/managed-by", "signet-operator"}, {"signet.dev/quota", "true"}}}}}};
}

/// Books of policies that nobody asks for any more.
void DropOld(json& data, std::int64_t day) {
  for (auto it = data.begin(); it != data.end();) {
    const bool old = it->is_string() && QuotaBook::IsOver(it->get_ref<const std::string&>(), day);
    it = old ? data.erase(it) : std::next(it);
  }
}

obs::Counter& Counted(std::string_view result) {
  return obs::GetCounter("signet_quota_leases_total", "Asks for a part of a day's budget, by what came of them",
                         {{"result", result}});
}

}  // namespace

QuotaLender::QuotaLender(Options options, kube::ObjectStore& store, base::Reactor& reactor)
    : options_(std::move(options)), store_(store), reactor_(reactor), thread_([this] { Run(); }) {}

QuotaLender::~QuotaLender() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

QuotaLender::Place QuotaLender::PlaceOf(const std::string& policy, const std::string& subject) {
  // A policy's name has no newline: no two accounts are spelled alike.
  std::string account = policy + "\n";
  if (!subject.empty()) account += std::to_string(crypto::Sha256(base::AsBytes(subject))[0] % kShards);
  const auto hash = crypto::Sha256(base::AsBytes(account));
  return {fmt::format("signet-quota-{:02x}", hash[0] % kMaps), encoding::ToHex(hash).substr(0, kNameDigits) + ".json"};
}

void QuotaLender::Ask(policy::LeaseAsk ask, Done done) {
  const auto place = PlaceOf(ask.policy, ask.subject);
  {
    const std::lock_guard lock(mutex_);
    auto& waiting = asks_[place];
    if (waiting.empty()) order_.push_back(place);
    waiting.push_back({std::move(ask), std::move(done)});
  }
  wake_.notify_all();
}

void QuotaLender::Run() {
  for (;;) {
    Place place;
    std::vector<Waiting> asks;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return stopping_ || !order_.empty(); });
      if (stopping_) return;
      place = std::move(order_.front());
      order_.pop_front();
      asks = std::move(asks_.extract(place).mapped());
    }
    Serve(place, std::move(asks));
  }
}

void QuotaLender::Serve(const Place& place, std::vector<Waiting> asks) {
  auto leases = LendAll(place, asks);
  if (!leases) {
    obs::Warn("no part of the day's budget could be had", {{"policy", asks.front().ask.policy},
                                                           {"configMap", options_.ns + "/" + place.map},
                                                           {"error", base::Describe(leases.error())}});
  }
  for (std::size_t i = 0; i < asks.size(); ++i) {
    auto answer = leases ? std::move((*leases)[i]) : base::Result<policy::Lease>(leases.error());
    Counted(!answer ? "failed" : answer->lent > asks[i].ask.used ? "lent" : "spent").Add();
    reactor_.Post([done = std::move(asks[i].done), answer = std::move(answer)]() mutable { done(std::move(answer)); });
  }
}

/// False: the lender ends.
bool QuotaLender::Pause(int attempt) {
  static thread_local std::minstd_rand random{std::random_device{}()};
  const auto longest = options_.backoff.count() * (1LL << std::min(attempt, 6));
  const std::chrono::milliseconds pause(std::uniform_int_distribution<long long>(0, longest)(random));
  std::unique_lock lock(mutex_);
  return !wake_.wait_for(lock, pause, [this] { return stopping_; });
}

base::Result<QuotaLender::Leases> QuotaLender::LendAll(const Place& place, const std::vector<Waiting>& asks) {
  for (int attempt = 0; attempt < options_.attempts; ++attempt) {
    auto leases = LendOnce(place, asks);
    if (leases || leases.error().code != Code::kAborted) return leases;
    if (!Pause(attempt)) break;
  }
  return QuotaUnavailable("too many replicas ask for parts of this budget at once");
}

/// @return kAborted: another replica has written in between
base::Result<QuotaLender::Leases> QuotaLender::LendOnce(const Place& place, const std::vector<Waiting>& asks) {
  const auto& name = place.map;
  const auto& policy = asks.front().ask.policy;
  auto map = store_.Get(ConfigMaps(), options_.ns, name);
  if (!map && map.error().code != Code::kNotFound) {
    return QuotaUnavailable(fmt::format("ConfigMap {}/{} cannot be read: {}", options_.ns, name, map.error().message));
  }
  const bool exists = map.has_value();
  json next = exists ? std::move(*map) : NewConfigMap(name);
  const auto before = encoding::TextAt(encoding::At(next, "data"), place.member);
  auto book = QuotaBook::Parse(before);
  if (!book) {
    return QuotaUnavailable(
        fmt::format("ConfigMap {}/{}: {} is not what Signet wrote ({}): delete it, and the replicas write "
                    "anew what they have",
                    options_.ns, name, place.member, book.error().message));
  }
  Leases leases;
  for (const auto& waiting : asks) leases.push_back(book->Lend(waiting.ask, options_.borrower));
  const auto after = book->Text(policy);
  if (exists && after == before) return leases;
  json& data = next["data"];
  if (!data.is_object()) data = json::object();
  DropOld(data, asks.front().ask.day);
  data[place.member] = after;
  const auto written =
      exists ? store_.Update(ConfigMaps(), options_.ns, name, next) : store_.Create(ConfigMaps(), options_.ns, next);
  if (written) return leases;
  const auto code = written.error().code;
  // Another replica was faster, also with the first block of all; or somebody deleted the map in between.
  if (code == Code::kAborted || code == Code::kAlreadyExists || (exists && code == Code::kNotFound)) {
    return base::MakeError(Code::kAborted, "Conflict", written.error().message);
  }
  return QuotaUnavailable(
      fmt::format("ConfigMap {}/{} cannot be written: {}", options_.ns, name, written.error().message));
}

}  // namespace signet::reconcile
