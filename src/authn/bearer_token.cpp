#include "authn/bearer_token.hpp"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <string>

#include "authn/identity_error.hpp"
#include "encoding/json.hpp"
#include "encoding/text.hpp"

namespace signet::authn {
namespace {

using nlohmann::json;

constexpr std::string_view kScheme = "bearer";
constexpr double kYear10000 = 253402300800;

bool IsBase64Url(std::string_view part) {
  return !part.empty() && std::all_of(part.begin(), part.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  });
}

base::Result<base::Bytes> FromBase64Url(std::string_view part) {
  std::string text(part);
  std::replace(text.begin(), text.end(), '-', '+');
  std::replace(text.begin(), text.end(), '_', '/');
  text.append((4 - text.size() % 4) % 4, '=');
  return encoding::FromBase64(text);
}

bool Names(const json& claims, std::string_view audience) {
  const auto found = claims.find("aud");
  if (found == claims.end()) return false;
  if (found->is_string()) return found->get_ref<const std::string&>() == audience;
  if (!found->is_array()) return false;
  return std::any_of(found->begin(), found->end(), [audience](const json& entry) {
    return entry.is_string() && entry.get_ref<const std::string&>() == audience;
  });
}

}  // namespace

base::Result<json> ReadClaims(std::string_view token) {
  if (token.size() > kMostTokenOctets) return Unauthenticated("the token is too long");
  std::array<std::string_view, 3> parts;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const auto dot = token.find('.');
    const bool last = i + 1 == parts.size();
    if ((dot == std::string_view::npos) != last) return Unauthenticated("the token is no JWT: it has not three parts");
    parts.at(i) = token.substr(0, dot);
    if (!last) token.remove_prefix(dot + 1);
    if (!IsBase64Url(parts.at(i))) return Unauthenticated("the token is no JWT: a part is not base64url");
  }
  const auto octets = FromBase64Url(parts[1]);
  if (!octets) return Unauthenticated("the token is no JWT: its payload is not base64url");
  auto claims = encoding::ParseJson(base::AsText(*octets));
  if (!claims || !claims->is_object()) return Unauthenticated("the token is no JWT: its payload is no JSON object");
  return std::move(*claims);
}

base::Result<base::TimePoint> CheckToken(std::string_view token, std::string_view audience, base::TimePoint now) {
  TRY(const json claims, ReadClaims(token));
  if (!Names(claims, audience)) return Unauthenticated("the token is for another audience");
  const auto exp = claims.find("exp");
  if (exp == claims.end() || !exp->is_number()) return Unauthenticated("the token does not say when it ends");
  const auto seconds = exp->get<double>();
  if (!(seconds > 0 && seconds < kYear10000)) return Unauthenticated("the token's end is no time");
  const base::TimePoint end{std::chrono::seconds(static_cast<std::int64_t>(seconds))};
  if (end <= now) return Unauthenticated("the token has expired");
  return end;
}

base::Result<std::string_view> BearerOf(std::string_view authorization) {
  const auto space = authorization.find(' ');
  if (space == std::string_view::npos)
    return Unauthenticated("the Authorization field has another form than \"Bearer TOKEN\"");
  const auto scheme = authorization.substr(0, space);
  const bool bearer = std::equal(scheme.begin(), scheme.end(), kScheme.begin(), kScheme.end(), [](char a, char b) {
    return (a >= 'A' && a <= 'Z' ? static_cast<char>(a - 'A' + 'a') : a) == b;
  });
  auto token = authorization.substr(space + 1);
  while (token.starts_with(' ')) token.remove_prefix(1);
  if (!bearer || token.empty())
    return Unauthenticated("the Authorization field has another form than \"Bearer TOKEN\"");
  return token;
}

}  // namespace signet::authn
