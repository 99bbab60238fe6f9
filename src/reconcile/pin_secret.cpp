#include "reconcile/pin_secret.hpp"

#include <fmt/format.h>

#include <chrono>
#include <random>
#include <thread>

#include "encoding/text.hpp"

namespace signet::reconcile {
namespace {

using nlohmann::json;

constexpr int kAttempts = 20;

const kube::Resource& Secrets() {
  static const kube::Resource kResource{"", "v1", "secrets", "Secret", true};
  return kResource;
}

/// The member's text; empty: absent. What is no text of ours is refused by the guard, not overwritten.
std::string PinText(const json& secret, const std::string& name) {
  const auto data = secret.find("data");
  if (data == secret.end() || !data->is_object() || !data->contains(name)) return {};
  const json& value = (*data)[name];
  const auto text = value.is_string() ? encoding::FromBase64(value.get_ref<const std::string&>()) : base::Error{};
  return text ? std::string(base::AsText(*text)) : "damaged";
}

void Pause(int attempt) {
  static thread_local std::minstd_rand random{std::random_device{}()};
  // The callers' threads wait for this store anyway; another replica has just written.
  std::this_thread::sleep_for(
      std::chrono::milliseconds(std::uniform_int_distribution<int>(1, 5 + 10 * attempt)(random)));
}

}  // namespace

SecretPinMemory::SecretPinMemory(kube::ObjectStore& store, std::string ns, std::string pod_uid)
    : store_(store),
      ns_(std::move(ns)),
      pod_(pod_uid.empty() ? "" : fmt::format("pod-{}/", pod_uid)),
      process_(fmt::format("{}{}/", pod_, PinMemory::MakeHolder())) {}

std::string SecretPinMemory::MakeHolder() { return process_ + PinMemory::MakeHolder(); }

bool SecretPinMemory::IsGone(const std::string& holder) {
  return !pod_.empty() && holder.starts_with(pod_) && !holder.starts_with(process_);
}

base::Error SecretPinMemory::Unwritable(const base::Error& error) const {
  return base::MakeError(
      base::Code::kUnavailable, "StateUnwritable",
      fmt::format(
          "no PIN is tried, since Secret {}/{} cannot be read or written, where replicas remember refused ones: "
          "{}; the operator needs get and update on it, and create on secrets",
          ns_, kPinSecret, error.message));
}

base::Status SecretPinMemory::ChangeOnce(const std::string& name, const Edit& edit) {
  auto found = store_.Get(Secrets(), ns_, kPinSecret);
  if (!found && found.error().code != base::Code::kNotFound) return Unwritable(found.error());
  json secret = found ? *std::move(found)
                      : json{{"apiVersion", "v1"},
                             {"kind", "Secret"},
                             {"metadata", {{"name", kPinSecret}, {"namespace", ns_}}},
                             {"type", "Opaque"}};
  const std::string before = PinText(secret, name);
  std::string text = before;
  TRY_VOID(edit(text));
  if (text == before) return {};
  if (!secret["data"].is_object()) secret["data"] = json::object();
  secret["data"][name] = encoding::ToBase64(base::AsBytes(text));
  const bool fresh = !secret["metadata"].contains("resourceVersion");
  auto written = fresh ? store_.Create(Secrets(), ns_, secret) : store_.Update(Secrets(), ns_, kPinSecret, secret);
  if (written) return {};
  const auto code = written.error().code;
  // Another replica was first, or somebody has removed it meanwhile: read again.
  const bool again =
      code == base::Code::kAborted || code == base::Code::kAlreadyExists || (!fresh && code == base::Code::kNotFound);
  if (again) return base::MakeError(base::Code::kAborted, "", written.error().message);
  return Unwritable(written.error());
}

base::Status SecretPinMemory::Change(const std::string& name, const Edit& edit) {
  for (int attempt = 0;; ++attempt) {
    auto changed = ChangeOnce(name, edit);
    if (changed || changed.error().code != base::Code::kAborted) return changed;
    if (attempt == kAttempts) return Unwritable(changed.error());
    Pause(attempt);
  }
}

}  // namespace signet::reconcile
