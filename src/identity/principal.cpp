#include "identity/principal.hpp"

namespace signet::identity {

std::string_view Name(Proof proof) {
  switch (proof) {
    case Proof::kAsserted:
      return "asserted";
    case Proof::kAdmission:
      return "admission";
    case Proof::kTokenReview:
      return "tokenReview";
  }
  return "asserted";
}

std::optional<ServiceAccountName> ParseServiceAccount(std::string_view username) {
  static constexpr std::string_view kPrefix = "system:serviceaccount:";
  if (!username.starts_with(kPrefix)) return std::nullopt;
  username.remove_prefix(kPrefix.size());
  const auto colon = username.find(':');
  if (colon == std::string_view::npos) return std::nullopt;
  const ServiceAccountName parsed{username.substr(0, colon), username.substr(colon + 1)};
  if (parsed.ns.empty() || parsed.name.empty() || parsed.name.find(':') != std::string_view::npos) return std::nullopt;
  return parsed;
}

}  // namespace signet::identity
