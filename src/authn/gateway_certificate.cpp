#include "authn/gateway_certificate.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "authn/installation_key.hpp"
#include "authn/secret_data.hpp"
#include "encoding/text.hpp"
#include "obs/log.hpp"

namespace signet::authn {
namespace {

using base::Code;
using nlohmann::json;

constexpr const char* kPublished = "ca.crt";

json Metadata(const std::string& ns) { return {{"name", GatewayCertificate::kName}, {"namespace", ns}}; }

}  // namespace

const kube::Resource& ConfigMaps() {
  static const kube::Resource kResource{"", "v1", "configmaps", "ConfigMap", true};
  return kResource;
}

GatewayCertificate::~GatewayCertificate() { base::WipeMemory(authority_key_.data(), authority_key_.size()); }

base::Status GatewayCertificate::Look() {
  auto seen = TakeAuthority();
  // With an authority in hand the certificate is renewed whether the store answers or not.
  if (authority_) {
    if (auto renewed = Renew(); !renewed) return renewed;
  }
  if (!seen) return seen;
  return Publish();
}

base::Status GatewayCertificate::TakeAuthority() {
  auto secret = store_.Get(Secrets(), options_.ns, kName);
  if (!secret && secret.error().code == Code::kNotFound) {
    TRY(const json made, MakeSecret());
    secret = store_.Create(Secrets(), options_.ns, made);
    if (!secret && secret.error().code == Code::kAlreadyExists) secret = store_.Get(Secrets(), options_.ns, kName);
  }
  if (!secret) return base::Error(secret.error());
  return Adopt(*secret);
}

base::Result<json> GatewayCertificate::MakeSecret() {
  std::string certificate = authority_certificate_;
  std::string key = authority_key_;
  if (authority_) {
    obs::Warn("the gateway's authority was taken away: writing the one in use again");
  } else {
    crypto::AuthorityOptions options;
    options.common_name = kName;
    options.not_before = clock_.Now() - kBackdate;
    options.not_after = clock_.Now() + options_.authority_lifetime;
    TRY(const auto made, crypto::MakeAuthority(options));
    certificate = made.certificate_pem;
    key = std::string(base::AsText(made.key_pem.Reveal()));
  }
  json secret = {{"apiVersion", "v1"},
                 {"kind", "Secret"},
                 {"metadata", Metadata(options_.ns)},
                 {"type", "kubernetes.io/tls"},
                 {"data", {{"tls.crt", AsData(certificate)}, {"tls.key", AsData(key)}}}};
  base::WipeMemory(key.data(), key.size());
  return secret;
}

base::Status GatewayCertificate::Adopt(const json& secret) {
  std::string certificate = DataMember(secret, "tls.crt");
  std::string key = DataMember(secret, "tls.key");
  const std::string trusted = DataMember(secret, "trusted.crt");
  if (authority_ && certificate == authority_certificate_) {
    base::WipeMemory(key.data(), key.size());
    bundle_ = certificate + trusted;
    return {};
  }
  const base::Secret held(base::ToBytes(base::AsBytes(key)));
  auto authority = crypto::Authority::Load(certificate, held);
  auto info = crypto::ReadCertificate(certificate);
  const bool over = info && info->not_after <= clock_.Now();
  if (!authority || !info || over) {
    base::WipeMemory(key.data(), key.size());
    return base::MakeError(
        Code::kFailedPrecondition, "GatewayCAInvalid",
        fmt::format("Secret {}/{}: {}; put the authority back, or delete the Secret: then another is made, and "
                    "callers need the new certificate",
                    options_.ns, kName,
                    over ? "the authority has expired" : (authority ? info.error() : authority.error()).message));
  }
  obs::Info("the gateway's authority",
            {{"sha256", info->sha256}, {"notAfter", base::FormatTimeSeconds(info->not_after)}});
  base::WipeMemory(authority_key_.data(), authority_key_.size());
  authority_.emplace(std::move(*authority));
  authority_info_ = std::move(*info);
  authority_key_ = std::move(key);
  authority_certificate_ = std::move(certificate);
  bundle_ = authority_certificate_ + trusted;
  not_after_ = {};  // what is served is of the last one
  return {};
}

base::Status GatewayCertificate::Renew() {
  const auto now = clock_.Now();
  // Of what is left after the backdating: a short life must not be over before it began.
  const auto life = not_after_ - not_before_ - kBackdate;
  if (context_ && not_after_ != base::TimePoint{} && now < not_after_ - life / 3) return {};
  crypto::CertificateOptions options;
  options.common_name = "signet-gateway";
  options.dns_names = options_.dns_names;
  options.ip_addresses = options_.ip_addresses;
  options.not_before = now - kBackdate;
  options.not_after = std::min<base::TimePoint>(now + options_.lifetime, authority_info_.not_after);
  TRY(const auto made, authority_->Issue(options));
  TRY(auto context, crypto::TlsContext::Create(made.certificate_pem, made.key_pem));
  context_ = std::move(context);
  not_before_ = options.not_before;
  not_after_ = options.not_after;
  obs::Info("made a certificate for the gateway", {{"notAfter", base::FormatTimeSeconds(not_after_)}});
  return {};
}

base::Status GatewayCertificate::Publish() {
  auto map = store_.Get(ConfigMaps(), options_.ns, kName);
  if (!map && map.error().code == Code::kNotFound) {
    const json made = {{"apiVersion", "v1"},
                       {"kind", "ConfigMap"},
                       {"metadata", Metadata(options_.ns)},
                       {"data", {{kPublished, bundle_}}}};
    auto created = store_.Create(ConfigMaps(), options_.ns, made);
    if (!created && created.error().code != Code::kAlreadyExists) return base::Error(created.error());
    return {};
  }
  if (!map) return base::Error(map.error());
  json changed = std::move(*map);
  json& data = changed["data"];
  if (data.is_object() && data.contains(kPublished) && data[kPublished] == bundle_) return {};
  if (!data.is_object()) data = json::object();
  data[kPublished] = bundle_;
  auto written = store_.Update(ConfigMaps(), options_.ns, kName, changed);
  // Another replica was faster: it has written the same.
  if (!written && written.error().code != Code::kAborted) return base::Error(written.error());
  return {};
}

}  // namespace signet::authn
