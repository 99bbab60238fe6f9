#include "authn/own_name.hpp"

#include <fstream>
#include <nlohmann/json.hpp>
#include <string_view>

#include "authn/bearer_token.hpp"
#include "crypto/certificate.hpp"

namespace signet::authn {
namespace {

constexpr std::size_t kMostOctets = 64 * 1024;

base::Error Nobody(std::string_view why) {
  return base::MakeError(base::Code::kFailedPrecondition, "ConfigInvalid",
                         std::string("cannot tell the user name that the API server knows this operator by: ") +
                             std::string(why) + "; give --username NAME");
}

base::Result<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return Nobody("cannot read " + path);
  std::string text(kMostOctets, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  return text;
}

/// The name in a JWT's payload.
base::Result<std::string> SubjectOf(std::string_view token) {
  while (!token.empty() && token.back() <= ' ') token.remove_suffix(1);  // files end with a line feed
  const auto claims = ReadClaims(token);
  if (!claims) return Nobody(claims.error().message);
  const auto subject = claims->find("sub");
  if (subject == claims->end() || !subject->is_string() || subject->get_ref<const std::string&>().empty()) {
    return Nobody("the token has no sub");
  }
  return subject->get<std::string>();
}

}  // namespace

base::Result<std::string> OwnName(const kube::ClusterConfig& config) {
  if (!config.impersonation.user.empty()) return config.impersonation.user;
  std::string pem = config.client_certificate_data;
  if (pem.empty() && !config.client_certificate_file.empty()) {
    TRY(pem, ReadFile(config.client_certificate_file));
  }
  if (!pem.empty()) {
    const auto info = crypto::ReadCertificate(pem);
    if (!info) return Nobody(info.error().message);
    if (info->common_name.empty()) return Nobody("the client certificate has no CN");
    return info->common_name;
  }
  if (!config.token.empty()) return SubjectOf(base::AsText(config.token.Reveal()));
  if (config.token_file.empty()) return Nobody("there is neither a token nor a client certificate");
  TRY(std::string text, ReadFile(config.token_file));
  auto subject = SubjectOf(text);
  base::WipeMemory(text.data(), text.size());
  return subject;
}

}  // namespace signet::authn
