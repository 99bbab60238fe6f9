// tests/unit/frontend/fakes.hpp - a SigningService that does what a test says.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "api/json.hpp"
#include "crypto/public_key.hpp"
#include "encoding/text.hpp"
#include "fakes/fake_clock.hpp"
#include "frontend/routes.hpp"
#include "signing/service.hpp"

namespace signet::testing {

/// Public key and signature made with the openssl command line: P-256, over SHA-256("hello").
inline constexpr std::string_view kP256Pem =
    "-----BEGIN PUBLIC KEY-----\n"
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE44r9f8Go+0ngctKsGSo4M6bJhF1Q\n"
    "8wY7SYvJ6wdXaXr2OyjREq9gnf0kMdbmDNA4ZLUfExGT2vVjsooOhDdmtw==\n"
    "-----END PUBLIC KEY-----\n";

inline constexpr std::string_view kP256KeyID = "f24ec603d2170aed010c81567a1442178137cce928a7465706ceaf9f8aebcc0b";
inline constexpr std::string_view kP256SignatureDer =
    "MEYCIQDQVYQPe1ARk32OZ064JwOJfMSFKB3opRxLuThPefvdtgIhAPmFjj8Pf+APPSJno3D6NHc6Jvw6JIjLogx4sm92Za70";
inline constexpr std::string_view kP256SignatureP1363 =
    "0FWED3tQEZN9jmdOuCcDiXzEhSgd6KUcS7k4T3n73bb5hY4/D3/gDz0iZ6Nw+jR3Oib8OiSIy6IMeLJvdmWu9A==";

/// What the service gives for a signature with that key.
inline signing::Signed P256Signed(std::string record = "01J0000000000000000000000A") {
  signing::Signed done;
  done.signature = *encoding::FromBase64(kP256SignatureDer);
  done.algorithm = encoding::SignatureAlgorithm::kEcdsaWithSha256;
  done.public_key = *crypto::PublicKey::FromPem(kP256Pem);
  done.record = std::move(record);
  return done;
}

/// A policy in force; `key_ready` false: its key is missing.
inline std::shared_ptr<const signing::ActivePolicy> MakePolicy(std::string name, bool key_ready = true,
                                                               std::string algorithm = "ECDSAWithSHA256") {
  const nlohmann::json object = {
      {"apiVersion", "signet.dev/v1alpha1"},
      {"kind", "SigningPolicy"},
      {"metadata", {{"name", name}}},
      {"spec", {{"key", {{"uri", "pkcs11:token=t;object=o"}}}, {"algorithms", {algorithm}}}}};
  auto active = std::make_shared<signing::ActivePolicy>();
  auto policy = api::PolicyFromJson(object);
  EXPECT_TRUE(policy.has_value()) << policy.error().message;
  active->compiled = *policy::CompiledPolicy::Compile(std::move(*policy));
  if (key_ready) {
    active->key.emplace();
    active->key->public_key = *crypto::PublicKey::FromPem(kP256Pem);
  } else {
    active->not_ready_reason = "KeyNotFound";
    active->not_ready_message = "no key fits";
  }
  return active;
}

class FakeService final : public signing::SigningService {
 public:
  /// Answers one call; nothing set: the call waits in `waiting`.
  std::function<Answer(const signing::Caller&, const signing::SignCall&)> answer;
  std::vector<signing::SignCall> calls;
  std::vector<Done> waiting;
  std::vector<std::shared_ptr<const signing::ActivePolicy>> policies;

  void Sign(const signing::Caller& caller, signing::SignCall call, Done done) override {
    calls.push_back(call);
    if (answer) return done(answer(caller, call));
    waiting.push_back(std::move(done));
  }
  void SignBatch(const signing::Caller& caller, std::vector<signing::SignCall> batch, BatchDone done) override {
    std::vector<Answer> answers;
    for (auto& call : batch) {
      calls.push_back(call);
      answers.push_back(answer(caller, call));
    }
    done(std::move(answers));
  }
  /// Nothing set: replays are allowed.
  std::function<std::optional<signing::Refused>(const signing::Caller&, const std::vector<signing::Replayed>&)> replay;
  std::vector<signing::Replayed> replayed;
  void Replay(const signing::Caller& caller, std::vector<signing::Replayed> items, ReplayDone done) override {
    replayed.insert(replayed.end(), items.begin(), items.end());
    done(replay ? replay(caller, items) : std::nullopt);
  }
  void Settle(const audit::Release& /*release*/, std::function<void()> /*done*/) override { ADD_FAILURE(); }
  /// Nothing set: no subject.
  std::function<policy::Decision(const signing::Caller&, const signing::SignCall&)> explain;
  [[nodiscard]] policy::Decision Explain(const signing::Caller& caller, const signing::SignCall& call) const override {
    return explain ? explain(caller, call) : policy::Decision{};
  }
  [[nodiscard]] std::vector<std::shared_ptr<const signing::ActivePolicy>> Visible(
      const signing::Caller& /*caller*/) const override {
    return policies;
  }
  [[nodiscard]] std::shared_ptr<const signing::ActivePolicy> Visible(const signing::Caller& /*caller*/,
                                                                     std::string_view name) const override {
    for (const auto& policy : policies) {
      if (policy->compiled->policy().metadata.name == name) return policy;
    }
    return nullptr;
  }
  [[nodiscard]] std::size_t in_flight() const override { return waiting.size(); }
};

inline signing::SigningService::Answer Refuse(base::Code code, std::string reason, std::string message,
                                              std::optional<base::Duration> retry_after = {}) {
  return tl::unexpected(
      signing::Refused{base::MakeError(code, std::move(reason), std::move(message)), std::move(retry_after)});
}

/// Everything a SigningApi needs, and a way to ask it without a socket.
class ApiFixture : public ::testing::Test {
 protected:
  http::Response Ask(std::string_view method, std::string_view target, std::string_view body = {},
                     std::vector<std::pair<std::string_view, std::string_view>> headers = {},
                     std::string_view content_type = "application/json") {
    http::Response got;
    got.status = 0;
    Start(method, target, body, std::move(headers), content_type, [&](http::Response r) { got = std::move(r); });
    return got;
  }
  void Start(std::string_view method, std::string_view target, std::string_view body,
             std::vector<std::pair<std::string_view, std::string_view>> headers, std::string_view content_type,
             http::Responder respond) {
    http::Request request;
    request.method = method;
    request.target = target;
    request.body = body;
    request.content_type = content_type;
    request.headers = std::move(headers);
    api_.Handle(request, std::move(respond));
  }
  static nlohmann::json Json(const http::Response& response) { return nlohmann::json::parse(response.body); }

  FakeClock clock_;
  FakeService service_;
  std::vector<frontend::Check> checks_ = {{"hsm", true, "", ""}};
  base::Result<signing::Caller> caller_ = [] {
    signing::Caller caller;
    caller.principal.username = "system:serviceaccount:ci:builder";
    return caller;
  }();
  bool asynchronous_ = false;
  std::vector<frontend::CallerDone> callers_;  ///< who waits for a name
  std::vector<std::string> prepared_;          ///< policies
  std::function<void(signing::Caller, frontend::CallerDone)> prepare_;
  double taken_ = 0, turns_ = 1e9;
  frontend::SigningApi api_{
      {},
      {&service_, &clock_,
       [this](const http::Request&, frontend::CallerDone later) -> std::optional<base::Result<signing::Caller>> {
         if (!asynchronous_) return caller_;
         callers_.push_back(std::move(later));
         return std::nullopt;
       },
       [this] { return checks_; },
       [this](signing::Caller caller, const std::string& policy, frontend::CallerDone done) {
         prepared_.push_back(policy);
         if (prepare_) return prepare_(std::move(caller), std::move(done));
         done(std::move(caller));
       },
       [this](const signing::Caller&, double requests) {
         taken_ += requests;
         return taken_ > turns_ ? std::optional<base::Duration>(std::chrono::milliseconds(2500)) : std::nullopt;
       },
       [](const signing::Caller&, std::string own, http::Responder respond) {
         http::Response response;
         response.body = nlohmann::json{{"own", own}}.dump();
         respond(std::move(response));
       }}};
};

}  // namespace signet::testing
