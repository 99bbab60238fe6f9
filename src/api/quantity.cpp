#include "api/quantity.hpp"

#include <array>
#include <charconv>
#include <cmath>
#include <utility>

namespace signet::api {
namespace {

constexpr std::size_t kMostText = 32;

/// The factor of a suffix; nothing: no suffix.
std::optional<double> Factor(std::string_view suffix) {
  static constexpr std::array<std::pair<std::string_view, double>, 16> kFactors = {{{"", 1.0},
                                                                                    {"n", 1e-9},
                                                                                    {"u", 1e-6},
                                                                                    {"m", 1e-3},
                                                                                    {"k", 1e3},
                                                                                    {"M", 1e6},
                                                                                    {"G", 1e9},
                                                                                    {"T", 1e12},
                                                                                    {"P", 1e15},
                                                                                    {"E", 1e18},
                                                                                    {"Ki", 1024.0},
                                                                                    {"Mi", 1048576.0},
                                                                                    {"Gi", 1073741824.0},
                                                                                    {"Ti", 1099511627776.0},
                                                                                    {"Pi", 1125899906842624.0},
                                                                                    {"Ei", 1152921504606846976.0}}};
  for (const auto& [name, factor] : kFactors) {
    if (name == suffix) return factor;
  }
  if (suffix.size() < 2 || (suffix[0] != 'e' && suffix[0] != 'E')) return std::nullopt;
  std::string_view digits = suffix.substr(1);
  const bool plus = digits.front() == '+';
  if (plus) digits.remove_prefix(1);
  if (digits.empty() || (plus && digits.front() == '-')) return std::nullopt;
  int exponent = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), exponent);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  if (exponent < -18 || exponent > 18) return std::nullopt;
  return std::pow(10.0, exponent);
}

}  // namespace

std::optional<double> ParseQuantity(std::string_view text) {
  if (text.size() > kMostText) return std::nullopt;
  if (!text.empty() && text.front() == '+') text.remove_prefix(1);
  double value = 0;
  double place = 1;
  bool point = false;
  std::size_t digits = 0;
  std::size_t at = 0;
  for (; at < text.size(); ++at) {
    const char c = text[at];
    if (c == '.' && !point) {
      point = true;
    } else if (c >= '0' && c <= '9') {
      ++digits;
      if (point) place /= 10;
      value = point ? value + (c - '0') * place : value * 10 + (c - '0');
    } else {
      break;
    }
  }
  const auto factor = Factor(text.substr(at));
  if (digits == 0 || !factor) return std::nullopt;
  return value * *factor;
}

}  // namespace signet::api
