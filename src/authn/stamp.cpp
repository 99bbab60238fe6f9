#include "authn/stamp.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/check.hpp"
#include "crypto/digest.hpp"
#include "crypto/hmac.hpp"
#include "encoding/json.hpp"
#include "encoding/text.hpp"

namespace signet::authn {
namespace {

using encoding::TextAt;
using nlohmann::json;

constexpr std::string_view kFormat = "signet-stamp/v1";
constexpr std::size_t kNonceOctets = 16;

/// nlohmann's objects are sorted maps: a plain dump is canonical.
std::string SealedText(std::string_view kind, std::string_view ns, json spec, const std::string& time,
                       const std::string& nonce) {
  if (spec.is_object()) spec.erase("stamp");
  const json sealed = json::array({kFormat, kind, ns, std::move(spec), time, nonce});
  return sealed.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string PathMac(const base::Secret& key, std::string_view text) {
  return encoding::ToHex(
      crypto::HmacSha256(key.Reveal(), base::AsBytes(fmt::format("signet-webhook-path/v2 {}", text))));
}

base::Error NotStamped(const char* reason, std::string message) {
  return base::MakeError(base::Code::kUnauthenticated, reason, std::move(message));
}

std::chrono::microseconds Distance(base::TimePoint a, base::TimePoint b) { return a > b ? a - b : b - a; }

}  // namespace

Sealer::Sealer(std::vector<base::Secret> keys) : keys_(std::move(keys)) {
  CHECK(!keys_.empty(), "a sealer needs a key");
}

json Sealer::Stamp(std::string_view kind, std::string_view ns, const json& spec, base::TimePoint now) const {
  const std::string time = base::FormatTime(now);
  const std::string nonce = encoding::ToHex(crypto::RandomBytes(kNonceOctets));
  const auto mac = crypto::HmacSha256(keys_.front().Reveal(), base::AsBytes(SealedText(kind, ns, spec, time, nonce)));
  return {{"time", time}, {"nonce", nonce}, {"seal", encoding::ToHex(mac)}};
}

bool Sealer::Verifies(std::string_view kind, std::string_view ns, const json& spec) const {
  if (!spec.is_object()) return false;
  const auto stamp = spec.find("stamp");
  if (stamp == spec.end() || !stamp->is_object()) return false;
  const auto seal = encoding::FromHex(TextAt(*stamp, "seal"));
  if (!seal) return false;
  const std::string sealed = SealedText(kind, ns, spec, TextAt(*stamp, "time"), TextAt(*stamp, "nonce"));
  bool good = false;
  for (const auto& key : keys_) {
    good |= crypto::EqualConstantTime(crypto::HmacSha256(key.Reveal(), base::AsBytes(sealed)), *seal);
  }
  return good;
}

std::string Sealer::Mac(std::string_view text) const { return PathMac(keys_.front(), text); }

bool Sealer::IsMac(std::string_view text, std::string_view mac) const {
  bool good = false;
  for (const auto& key : keys_) {
    const std::string whole = PathMac(key, text);
    good |= crypto::EqualConstantTime(base::AsBytes(std::string_view(whole).substr(0, mac.size())), base::AsBytes(mac));
  }
  return good && !mac.empty();
}

StampJudge::StampJudge(const Sealer& sealer, const base::Clock& clock) : sealer_(sealer), clock_(clock) {}

std::size_t StampJudge::remembered() const {
  const std::lock_guard lock(mutex_);
  return seen_.size();
}

void StampJudge::Forget(base::TimePoint now) {
  while (!by_time_.empty() && by_time_.begin()->first + kMemory < now) {
    const auto entry = seen_.find(by_time_.begin()->second);
    if (entry != seen_.end() && !entry->second.contested) seen_.erase(entry);
    by_time_.erase(by_time_.begin());
  }
}

void StampJudge::Contest(std::map<std::string, Owner>::iterator entry) {
  entry->second.contested = true;
  contested_.emplace(entry->second.time, entry->first);
  if (contested_.size() <= kMostContested) return;
  const auto oldest = contested_.begin();
  closed_ = closed_ ? std::max(*closed_, oldest->first) : oldest->first;
  const auto known = seen_.find(oldest->second);
  contested_.erase(oldest);
  known->second.contested = false;  // Forget takes it, if it is old
  by_time_.emplace(known->second.time, known->first);
}

base::Status StampJudge::Judge(std::string_view kind, const json& object) {
  const json none = json::object();
  const auto member = [&](const char* name) -> const json& {
    const auto it = object.is_object() ? object.find(name) : object.end();
    return object.is_object() && it != object.end() ? *it : none;
  };
  const json& spec = member("spec");
  const json& metadata = member("metadata");
  const auto stamp = spec.is_object() ? spec.find("stamp") : spec.end();
  if (!spec.is_object() || stamp == spec.end()) {
    return NotStamped(
        "NotStamped",
        "it was made while Signet's admission webhook was away, so nobody knows who made it: make it anew");
  }
  if (!sealer_.Verifies(kind, TextAt(metadata, "namespace"), spec)) {
    return NotStamped("SealInvalid", "the seal in spec.stamp is not Signet's over this spec: make it anew");
  }
  const auto time = base::ParseTime(TextAt(*stamp, "time"));
  const auto created = base::ParseTime(TextAt(metadata, "creationTimestamp"));
  const auto now = clock_.Now();
  // A second more: creationTimestamp has whole seconds.
  const auto limit = kMaxDistance + std::chrono::seconds(1);
  if (!time || !created || Distance(*time, *created) > limit || *time > now + limit) {
    return NotStamped("StampNotFresh", fmt::format("spec.stamp is not from the moment of its creation (more than {} s "
                                                   "between stamp and creation): make it anew",
                                                   kMaxDistance.count()));
  }
  const std::string uid = TextAt(metadata, "uid");
  const std::lock_guard lock(mutex_);
  Forget(now);
  const auto [entry, added] = seen_.try_emplace(TextAt(*stamp, "nonce"), Owner{uid, *time, false});
  if (added) {
    // Nobody can make a fresh copy of an old stamp any more: nothing to remember.
    if (*time + kMemory < now) {
      seen_.erase(entry);
      if (closed_ && *time <= *closed_) {
        return NotStamped("StampReused",
                          "so many copies of stamps of its time were seen that nobody can tell: make it anew");
      }
    } else {
      by_time_.emplace(*time, entry->first);
    }
    return {};
  }
  if (entry->second.uid == uid) return {};
  if (!entry->second.contested) Contest(entry);
  return NotStamped("StampReused", "its stamp was made for another object: make it anew");
}

}  // namespace signet::authn
