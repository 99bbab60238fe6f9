#include "authn/webhook_certificate.hpp"

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

using nlohmann::json;

constexpr int kTries = 3;  // of Look, when another replica writes at the same time

std::vector<std::string> Sorted(std::vector<std::string> names) {
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

base::Result<WebhookCertificate::Pair> WebhookCertificate::Parse(const std::string& certificate,
                                                                 const std::string& key) const {
  Pair out;
  out.certificate = certificate;
  out.key = key;
  TRY(out.info, crypto::ReadCertificate(certificate));
  const base::Secret secret(base::ToBytes(base::AsBytes(key)));
  TRY(out.context, crypto::TlsContext::Create(certificate, secret, options_.client_authorities));
  return out;
}

base::Result<WebhookCertificate::Pair> WebhookCertificate::Make() const {
  crypto::CertificateOptions options;
  options.common_name = "signet-webhook";
  options.dns_names = options_.dns_names;
  options.ip_addresses = options_.ip_addresses;
  options.not_before = clock_.Now() - kBackdate;
  options.not_after = clock_.Now() + options_.lifetime;
  TRY(const auto made, crypto::MakeServerCertificate(options));
  return Parse(made.certificate_pem, std::string(base::AsText(made.key_pem.Reveal())));
}

/// Of the names that API servers ask for, and not expired.
bool WebhookCertificate::IsServable(const Pair& pair) const {
  return Sorted(pair.info.dns_names) == Sorted(options_.dns_names) &&
         Sorted(pair.info.ip_addresses) == Sorted(options_.ip_addresses) && pair.info.not_after > clock_.Now();
}

WebhookCertificate::Content WebhookCertificate::Read(const json& secret) const {
  Content content;
  if (auto pair = Parse(DataMember(secret, "tls.crt"), DataMember(secret, "tls.key")); pair && IsServable(*pair)) {
    content.current = std::move(*pair);
  }
  if (auto pair = Parse(DataMember(secret, "next.crt"), DataMember(secret, "next.key")); pair && IsServable(*pair)) {
    content.next = std::move(*pair);
  }
  content.previous = DataMember(secret, "previous.crt");
  return content;
}

base::Status WebhookCertificate::Write(const json* secret, const Content& content) {
  json data = {{"tls.crt", AsData(content.current->certificate)}, {"tls.key", AsData(content.current->key)}};
  if (content.next) {
    data["next.crt"] = AsData(content.next->certificate);
    data["next.key"] = AsData(content.next->key);
  }
  if (!content.previous.empty()) data["previous.crt"] = AsData(content.previous);
  if (secret != nullptr) {
    json changed = *secret;
    changed["data"] = std::move(data);
    TRY(const json written, store_.Update(Secrets(), options_.ns, kSecret, changed));
    return {};
  }
  const json made = {{"apiVersion", "v1"},
                     {"kind", "Secret"},
                     {"metadata", {{"name", kSecret}, {"namespace", options_.ns}}},
                     {"type", "kubernetes.io/tls"},
                     {"data", std::move(data)}};
  TRY(const json written, store_.Create(Secrets(), options_.ns, made));
  return {};
}

base::Result<bool> WebhookCertificate::PutRight(Content& content) const {
  if (content.current) return false;
  if (served_ && IsServable(*served_)) {
    obs::Warn(
        "the webhook's certificate was taken away or damaged: going on with the one in use until there is another");
    content.current = served_;
    if (!content.next) {
      TRY(content.next, Make());
    }
    return true;
  }
  if (content.next) {
    // Expired before its turn came, or damaged: a new one would be trusted by nobody, this one is in the bundle or
    // soon.
    obs::Warn("the webhook's certificate expired or was damaged: the next one takes its place before its time",
              {{"sha256", content.next->info.sha256}});
    content.current = std::exchange(content.next, std::nullopt);
    return true;
  }
  TRY(content.current, Make());
  obs::Info("made a certificate for the webhook", {{"sha256", content.current->info.sha256}});
  return true;
}

base::Result<bool> WebhookCertificate::Rotate(Content& content) const {
  if (content.next) {
    const bool trusted = installed_.find(content.next->certificate) != std::string::npos;
    if (!trusted || clock_.Steady() < installed_at_ + options_.pause) return false;
    obs::Info("the webhook's certificate is renewed",
              {{"sha256", content.next->info.sha256}, {"notAfter", base::FormatTime(content.next->info.not_after)}});
    content.previous = content.current->certificate;
    content.current = std::move(content.next);
    content.next.reset();
    return true;
  }
  const auto& info = content.current->info;
  // Of what is left after the backdating: a short life must not be over before it began.
  const auto life = info.not_after - info.not_before - kBackdate;
  if (clock_.Now() < info.not_after - life / 3) return false;
  TRY(content.next, Make());
  obs::Info("made the webhook's next certificate", {{"sha256", content.next->info.sha256}});
  return true;
}

std::string WebhookCertificate::BundleOf(const Content& content) const {
  std::string bundle = content.current->certificate;
  const auto add = [&bundle](const std::string& certificate) {
    if (bundle.find(certificate) == std::string::npos) bundle += certificate;
  };
  if (content.next) add(content.next->certificate);
  if (const auto old = crypto::ReadCertificate(content.previous); old && old->not_after > clock_.Now()) {
    add(content.previous);
  }
  return bundle;
}

base::Result<WebhookCertificate::State> WebhookCertificate::Look(bool leads) {
  for (int tries = kTries;; --tries) {
    auto secret = store_.Get(Secrets(), options_.ns, kSecret);
    const bool absent = !secret && secret.error().code == base::Code::kNotFound;
    if (!secret && !absent) return base::Error(secret.error());
    Content content = absent ? Content{} : Read(*secret);
    TRY(bool changed, PutRight(content));
    if (!changed && leads) {
      TRY(changed, Rotate(content));
    }
    if (changed) {
      const auto written = Write(absent ? nullptr : &*secret, content);
      const bool lost = !written && (written.error().code == base::Code::kAlreadyExists ||
                                     written.error().code == base::Code::kAborted);
      if (lost && tries > 1) continue;
      if (!written) return base::Error(written.error());
    }
    State state;
    state.serve = content.current->context;
    state.bundle = BundleOf(content);
    state.sha256 = content.current->info.sha256;
    state.not_after = content.current->info.not_after;
    state.rotating = content.next.has_value();
    served_ = std::move(content.current);
    return state;
  }
}

void WebhookCertificate::OnBundleInstalled(const std::string& bundle) {
  if (bundle == installed_) return;
  installed_ = bundle;
  installed_at_ = clock_.Steady();
}

}  // namespace signet::authn
