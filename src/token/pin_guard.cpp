#include "token/pin_guard.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "crypto/digest.hpp"
#include "crypto/hmac.hpp"
#include "encoding/json.hpp"
#include "encoding/text.hpp"
#include "pkcs11/rv.hpp"

namespace signet::token {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;

constexpr std::array<std::string_view, 5> kStates = {"trying", "accepted", "refused", "unclear", "unanswered"};
constexpr int kVersion = 2;
constexpr int kRounds = 100'000;
constexpr std::size_t kKeySize = 32;      // bytes
constexpr std::size_t kMaxEntries = 24;   // PINs of one token that are remembered
constexpr std::size_t kMaxAnswer = 160;   // characters
constexpr base::Duration kMaxClaim = 2h;  // a claim that ends later was written by a clock that is wrong
constexpr std::uint32_t kMaxTries = 1u << 16;

base::Error Unreadable() {
  return base::MakeError(base::Code::kFailedPrecondition, "StateUnreadable",
                         "what is remembered of the PIN is damaged: make sure that the PIN file holds the right PIN, "
                         "then remove it (docs/operator.md, \"The PIN\")");
}

/// With room for a slow answer of the token, and never so long that the memory of a PIN seems to have no end.
base::Duration Doubled(base::Duration first, base::Duration last, std::uint32_t tries) {
  return std::min<base::Duration>(first * (1LL << std::min(tries == 0 ? 0U : tries - 1, 20U)), last);
}

}  // namespace

PinFlags FlagsSince(const pkcs11::TokenInfo& before, const pkcs11::TokenInfo& now) {
  const bool counted = (now.pin_count_low && !before.pin_count_low) || (now.pin_final_try && !before.pin_final_try) ||
                       (now.pin_locked && !before.pin_locked);
  return {counted, now.pin_locked};
}

LoginOutcome ClassifyLogin(const base::Status& login, bool known_good, PinFlags flags) {
  if (login) return LoginOutcome::kAccepted;
  const auto& error = login.error();
  if (error.native.source != pkcs11::kNativeSource) return LoginOutcome::kUncounted;
  switch (pkcs11::MeaningForPin(error)) {
    case pkcs11::PinMeaning::kWrong:
      return LoginOutcome::kRefused;
    case pkcs11::PinMeaning::kLocked:
      return flags.locked ? LoginOutcome::kUncounted : LoginOutcome::kRefused;
    case pkcs11::PinMeaning::kCannotBeOne:
      return known_good ? LoginOutcome::kUncounted : LoginOutcome::kRefused;
    case pkcs11::PinMeaning::kNone:
      break;
  }
  if (known_good) return LoginOutcome::kUncounted;
  if (flags.counted) return LoginOutcome::kRefused;
  return pkcs11::CertainlyNotBegun(error) ? LoginOutcome::kUncounted : LoginOutcome::kUnclear;
}

std::string PinFingerprint(const base::Secret& pin, base::ByteView key) {
  return encoding::ToHex(crypto::Pbkdf2Sha256(pin.Reveal(), key, kRounds));
}

std::string PinMemoryName(const pkcs11::TokenInfo& token) {
  const std::string identity = token.manufacturer + '\0' + token.model + '\0' + token.serial + '\0' + token.label;
  return "pin-" + crypto::Sha256Hex(base::AsBytes(identity)).substr(0, 16) + ".json";
}

PinGuard::PinGuard(const pkcs11::TokenInfo& token)
    : key_(crypto::RandomBytes(kKeySize)), label_(token.label), serial_(token.serial) {}

std::string PinGuard::Format() const {
  json pins = json::array();
  for (const auto& entry : entries_) {
    json one = {{"pin", entry.pin},
                {"state", kStates.at(static_cast<std::size_t>(entry.state))},
                {"knownGood", entry.known_good},
                {"tries", entry.tries},
                {"time", base::FormatTime(entry.time)}};
    if (!entry.holder.empty()) one["holder"] = entry.holder;
    if (!entry.answer.empty()) one["answer"] = entry.answer;
    pins.push_back(std::move(one));
  }
  const json text = {{"version", kVersion},
                     {"token", {{"label", label_}, {"serial", serial_}}},
                     {"key", encoding::ToHex(key_)},
                     {"pins", std::move(pins)}};
  return text.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

base::Result<PinGuard::Entry> PinGuard::ParseEntry(const void* json_entry) {
  const json& one = *static_cast<const json*>(json_entry);
  Entry entry;
  entry.pin = one.at("pin").get<std::string>();
  const auto state = std::find(kStates.begin(), kStates.end(), one.at("state").get<std::string>());
  const auto time = base::ParseTime(one.at("time").get<std::string>());
  if (entry.pin.size() != 64 || state == kStates.end() || !time || !one.at("tries").is_number_unsigned()) {
    return Unreadable();
  }
  entry.state = static_cast<State>(state - kStates.begin());
  entry.known_good = one.at("knownGood").get<bool>();
  entry.tries = static_cast<std::uint32_t>(std::min<std::uint64_t>(one.at("tries").get<std::uint64_t>(), kMaxTries));
  entry.time = *time;
  entry.holder = one.value("holder", "");
  entry.answer = one.value("answer", "");
  return entry;
}

base::Result<PinGuard> PinGuard::Parse(const std::string& text, const pkcs11::TokenInfo& token) {
  if (text.empty()) return PinGuard(token);
  const auto parsed = encoding::ParseJson(text);
  if (!parsed || !parsed->is_object()) return Unreadable();
  try {
    PinGuard guard;
    if (parsed->at("version") != kVersion) return Unreadable();
    const auto key = encoding::FromHex(parsed->at("key").get<std::string>());
    if (!key || key->size() != kKeySize) return Unreadable();
    guard.key_ = *key;
    guard.label_ = parsed->at("token").value("label", "");
    guard.serial_ = parsed->at("token").value("serial", "");
    if (!parsed->at("pins").is_array() || parsed->at("pins").size() > kMaxEntries) return Unreadable();
    for (const json& one : parsed->at("pins")) {
      TRY(Entry entry, ParseEntry(&one));
      guard.entries_.push_back(std::move(entry));
    }
    return guard;
  } catch (const json::exception&) {
    return Unreadable();
  }
}

base::Duration PinGuard::Pause(LoginOutcome outcome, std::uint32_t tries, bool known_good) {
  if (outcome == LoginOutcome::kUnclear) return Doubled(2s, 5min, tries);
  // It may have been changed at the token meanwhile, which counts what we do not hear of.
  if (outcome == LoginOutcome::kUnanswered) return known_good ? Doubled(5s, 5min, tries) : Doubled(60s, 1h, tries);
  return Doubled(500ms, 60s, tries);
}

PinGuard::Verdict PinGuard::Judge(const Entry& entry, base::TimePoint now) const {
  using Kind = Verdict::Kind;
  const auto wait = [&](LoginOutcome outcome, std::uint32_t tries) -> Verdict {
    const auto until = entry.time + Pause(outcome, tries, entry.known_good);
    const std::string answer = entry.answer.empty() ? "an earlier login got no answer" : entry.answer;
    return {until <= now ? Kind::kTry : Kind::kWait, until, entry.known_good, answer};
  };
  switch (entry.state) {
    case State::kAccepted:
      return {Kind::kTry, {}, true, {}};
    case State::kRefused:
      return {Kind::kRefused, {}, false, fmt::format("{} at {}", entry.answer, base::FormatTimeSeconds(entry.time))};
    case State::kUnclear:
      return wait(LoginOutcome::kUnclear, entry.tries);
    case State::kUnanswered:
      return wait(LoginOutcome::kUnanswered, entry.tries);
    case State::kTrying:
      break;
  }
  return wait(LoginOutcome::kUnanswered, entry.tries + 1);
}

PinGuard::Entry& PinGuard::Touch(const std::string& pin) {
  const auto found =
      std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) { return entry.pin == pin; });
  if (found != entries_.end()) {
    std::rotate(found, found + 1, entries_.end());
  } else {
    if (entries_.size() >= kMaxEntries) entries_.erase(entries_.begin());
    entries_.push_back({});
    entries_.back().pin = pin;
    entries_.back().state = State::kAccepted;  // set by the caller
  }
  return entries_.back();
}

/// Attempts whose holder has ended got no answer.
void PinGuard::EndClaims(base::TimePoint now, const std::function<bool(const std::string&)>& is_gone) {
  for (Entry& entry : entries_) {
    if (entry.state != State::kTrying || !is_gone(entry.holder)) continue;
    entry.state = State::kUnanswered;
    entry.tries = std::min(entry.tries + 1, kMaxTries);
    entry.time = std::min(entry.time, now);
    entry.holder.clear();
    entry.answer.clear();
  }
}

PinGuard::Verdict PinGuard::Claim(const std::string& pin, base::ByteView key, const std::string& holder,
                                  base::TimePoint now, base::Duration limit,
                                  const std::function<bool(const std::string&)>& is_gone) {
  using Kind = Verdict::Kind;
  if (!std::equal(key.begin(), key.end(), key_.begin(), key_.end())) return {Kind::kKeyChanged, {}, false, {}};
  if (is_gone) EndClaims(now, [&](const std::string& other) { return other != holder && is_gone(other); });
  Verdict verdict;
  for (Entry& entry : entries_) {
    const bool live = entry.state == State::kTrying && now < entry.time && entry.time - now <= kMaxClaim;
    if (live && entry.holder != holder) return {Kind::kTaken, entry.time, false, {}};
    entry.time = std::min(entry.time, now);  // a clock that was wrong must not hold the PIN back until then
    if (entry.pin == pin) verdict = Judge(entry, now);
  }
  if (verdict.kind != Kind::kTry) return verdict;
  Entry& entry = Touch(pin);
  if (entry.state == State::kTrying) ++entry.tries;  // the attempt that got no answer
  entry.state = State::kTrying;
  entry.time = now + limit;
  entry.holder = holder;
  entry.known_good = verdict.known_good;
  return verdict;
}

void PinGuard::Settle(const std::string& pin, const std::string& holder, LoginOutcome outcome, std::string_view answer,
                      base::TimePoint now) {
  const auto found = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) {
    return entry.pin == pin && entry.state == State::kTrying && entry.holder == holder;
  });
  const bool verdict = outcome == LoginOutcome::kAccepted || outcome == LoginOutcome::kRefused;
  if (found == entries_.end() && !verdict) return;
  Entry& entry = Touch(pin);
  entry.holder.clear();
  entry.time = now;
  entry.answer = answer.substr(0, kMaxAnswer);
  switch (outcome) {
    case LoginOutcome::kAccepted:
      entry.state = State::kAccepted;
      entry.known_good = true;
      entry.tries = 0;
      entry.answer.clear();
      return;
    case LoginOutcome::kRefused:
      entry.state = State::kRefused;
      entry.known_good = false;
      return;
    case LoginOutcome::kUnclear:
    case LoginOutcome::kUnanswered:
    case LoginOutcome::kUncounted:
      break;
  }
  if (entry.known_good && outcome != LoginOutcome::kUnanswered) {
    entry.state = State::kAccepted;  // whatever the token's trouble is, it is not the PIN
  } else if (outcome != LoginOutcome::kUncounted) {
    entry.state = outcome == LoginOutcome::kUnclear ? State::kUnclear : State::kUnanswered;
    entry.tries = std::min(entry.tries + 1, kMaxTries);
  } else if (entry.tries > 0) {
    entry.state = State::kUnclear;
  } else {
    entries_.pop_back();
  }
}

}  // namespace signet::token
