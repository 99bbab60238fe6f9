#include "operator/injection_feed.hpp"

#include <fmt/format.h>

#include <charconv>
#include <utility>

#include "api/injection_names.hpp"
#include "authn/gateway_certificate.hpp"
#include "crypto/certificate.hpp"
#include "obs/log.hpp"
#include "operator/core.hpp"
#include "reconcile/control_plane_label.hpp"

namespace signet::app {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;

constexpr auto kCaRefresh = 10s;
constexpr auto kVersionRefresh = 60s;
constexpr auto kLabelsRefresh = 30s;
constexpr std::size_t kMostCa = 16U << 10;  // octets; an annotation holds it
constexpr int kNativeMinor = 29;

/// The digits in front; -1: none.
int Leading(const json& version, const char* member) {
  const auto found = version.is_object() ? version.find(member) : version.end();
  if (found == version.end() || !found->is_string()) return -1;
  const auto& text = found->get_ref<const std::string&>();
  int number = -1;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

base::Error NoCa(std::string_view ns, std::string_view why) {
  return base::MakeError(
      base::Code::kUnavailable, "GatewayUnavailable",
      fmt::format("the gateway's CA certificate is not there: ConfigMap {}/{} {}", ns, api::kGatewayCaConfigMap, why));
}

}  // namespace

base::Result<frontend::SidecarForm> FormFor(const json& version) {
  const int major = Leading(version, "major");
  const int minor = Leading(version, "minor");
  if (major < 0 || minor < 0) {
    return base::MakeError(base::Code::kUnavailable, "VersionUnknown",
                           "the API server does not tell its version: choose the operator's --sidecar-form");
  }
  const bool native = major > 1 || (major == 1 && minor >= kNativeMinor);
  return native ? frontend::SidecarForm::kNative : frontend::SidecarForm::kContainer;
}

InjectionFeed::InjectionFeed(config::InjectionPlan plan, std::string ns, std::string version, kube::ObjectStore& store,
                             const base::Clock& clock)
    : plan_(std::move(plan)),
      ns_(std::move(ns)),
      version_(std::move(version)),
      excluded_({std::string(kClusterNamespace), ns_}),
      store_(store),
      clock_(clock),
      injector_(clock, excluded_) {
  using Form = config::InjectionOptions::Form;
  if (plan_.form == Form::kNative) form_ = frontend::SidecarForm::kNative;
  if (plan_.form == Form::kContainer) form_ = frontend::SidecarForm::kContainer;
}

base::Status InjectionFeed::Step(bool leads) {
  auto read = Read();
  Publish(read);
  if (!leads || clock_.Steady() < labels_due_) return read;
  auto labelled = reconcile::EnsureControlPlaneLabels(store_, excluded_);
  if (labelled) labels_due_ = clock_.Steady() + kLabelsRefresh;
  return read ? std::move(labelled) : std::move(read);
}

base::Status InjectionFeed::Read() {
  const auto now = clock_.Steady();
  if (ca_.empty() || now >= ca_due_) {
    auto read = ReadCa();
    // What was read stays good while the server is away, or the object is being made anew.
    if (!read && ca_.empty()) return read;
    if (read) ca_due_ = now + kCaRefresh;
  }
  const bool chosen = plan_.form != config::InjectionOptions::Form::kAuto;
  if (!chosen && (!form_ || now >= form_due_)) {
    auto read = ReadForm();
    if (!read && !form_) return read;
    if (read) form_due_ = now + kVersionRefresh;
  }
  return {};
}

base::Status InjectionFeed::ReadCa() {
  const auto object = store_.Get(authn::ConfigMaps(), ns_, api::kGatewayCaConfigMap);
  if (!object && object.error().code == base::Code::kNotFound) {
    return NoCa(ns_, "is not there yet: is the gateway on (--gateway)?");
  }
  if (!object) return NoCa(ns_, "cannot be read: " + object.error().message);
  const auto data = object->find("data");
  const bool there = data != object->end() && data->is_object() && data->contains(api::kGatewayCaKey) &&
                     (*data)[std::string(api::kGatewayCaKey)].is_string();
  if (!there) return NoCa(ns_, fmt::format("has no {}", api::kGatewayCaKey));
  auto pem = (*data)[std::string(api::kGatewayCaKey)].get<std::string>();
  if (pem.size() > kMostCa) return NoCa(ns_, "is too large");
  if (const auto certificate = crypto::ReadCertificate(pem); !certificate) {
    return NoCa(ns_, "holds no certificate: " + certificate.error().message);
  }
  ca_ = std::move(pem);
  return {};
}

base::Status InjectionFeed::ReadForm() {
  TRY(const json version, store_.ServerVersion());
  TRY(const auto form, FormFor(version));
  if (form_ != form) {
    obs::Info("sidecars are injected",
              {{"form", std::string(Name(form))}, {"server", version.value("gitVersion", "")}});
  }
  form_ = form;
  return {};
}

void InjectionFeed::Publish(base::Status read) {
  if (!read) return injector_.Set(std::move(read.error()));
  frontend::InjectionOptions options;
  options.image = plan_.image;
  options.gateway_url = plan_.gateway_url;
  options.gateway_ca = ca_;
  options.audience = plan_.audience;
  options.form = *form_;
  options.resources = plan_.resources;
  options.version = version_;
  injector_.Set(std::move(options));
}

}  // namespace signet::app
