#include "authn/path_tokens.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "crypto/hmac.hpp"

namespace signet::authn {
namespace {

constexpr std::size_t kNumberSize = 12;  // hex digits: milliseconds for some thousand years

std::string Format(std::uint64_t number) { return fmt::format("{:012x}", number); }

}  // namespace

std::optional<std::uint64_t> PathTokens::NumberOf(std::string_view token) const {
  if (token.size() != kSize) return {};
  const std::string_view digits = token.substr(0, kNumberSize);
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number, 16);
  // Written in one way only: what a log or a search finds is what was sent.
  if (error != std::errc() || end != digits.data() + digits.size() || Format(number) != digits) return {};
  if (!sealer_.IsMac(digits, token.substr(kNumberSize))) return {};
  return number;
}

void PathTokens::Observe(std::string_view token, base::SteadyPoint now) {
  const auto number = NumberOf(token);
  const std::lock_guard lock(mutex_);
  if (!number || *number <= newest_) return;
  if (newest_ == 0) {  // this process is new: of those before, at most the last one
    const auto before = static_cast<std::uint64_t>((options_.life + options_.overlap).count());
    oldest_ = *number - std::min(before, *number);
  }
  newest_ = *number;
  newest_at_ = now;
  replacing_.emplace_back(now + options_.overlap, newest_);
  failed_ = false;
}

std::string PathTokens::Choose(std::string_view live, bool renew, base::TimePoint time, base::SteadyPoint now) {
  const auto number = NumberOf(live);
  const std::lock_guard lock(mutex_);
  const auto age = now - newest_at_;
  const bool fresh = age < options_.life && !(failed_ && age >= options_.overlap);
  if (number && *number == newest_ && fresh && !renew) return std::string(live);
  const auto clock = std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
  const std::string digits =
      Format(std::max(static_cast<std::uint64_t>(std::max<std::int64_t>(clock, 1)), newest_ + 1));
  return digits + sealer_.Mac(digits).substr(0, kSize - kNumberSize);
}

bool PathTokens::Accepts(std::string_view token, base::SteadyPoint now) {
  const auto number = NumberOf(token);
  if (!number) return false;
  const std::lock_guard lock(mutex_);
  std::erase_if(replacing_, [&](const auto& next) {
    if (next.first > now) return false;
    oldest_ = std::max(oldest_, next.second);
    return true;
  });
  if (*number >= oldest_) return true;
  failed_ = true;
  return false;
}

}  // namespace signet::authn
