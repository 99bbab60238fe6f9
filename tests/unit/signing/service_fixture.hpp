// tests/unit/signing/service_fixture.hpp - a SigningService on a real journal, with policies and an HSM that tests
// turn.
#pragma once

#include <gmock/gmock.h>

#include "api/json.hpp"
#include "crypto/digest.hpp"
#include "encoding/text.hpp"
#include "fakes/fake_hsm.hpp"
#include "fakes/fake_policies.hpp"
#include "obs/metrics.hpp"
#include "signing/service.hpp"
#include "support/journal_fixture.hpp"

namespace signet::testing {

using base::Code;
using encoding::SignatureAlgorithm;
using signing::ActivePolicy;
using signing::Caller;
using signing::Door;
using signing::Refused;
using signing::SignCall;
using signing::Signed;
using signing::SigningService;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;
using namespace std::chrono_literals;

class SigningServiceTest : public JournalFixture {
 protected:
  void SetUp() override {
    journal_ = Open();
    Put("release", MakePolicy("release"), hsm_.Add(TestKey::Ec()));
    caller_ = Through(Door::kSocket);
    Start();
  }
  void Start() {
    signing::SigningService::Dependencies dependencies;
    dependencies.reactor = &reactor_;
    dependencies.clock = &clock_;
    dependencies.hsm = &hsm_;
    dependencies.journal = journal_.get();
    dependencies.policies = &policies_;
    dependencies.quotas = quotas_.get();
    service_ = SigningService::Create(options_, std::move(dependencies));
  }

  static api::SigningPolicy MakePolicy(const std::string& name) {
    api::SigningPolicy policy;
    policy.metadata.name = name;
    policy.metadata.uid = "uid-" + name;
    policy.metadata.generation = 3;
    policy.spec.algorithms = {SignatureAlgorithm::kEcdsaWithSha256};
    policy.spec.subjects.push_back({api::Subject::Kind::kServiceAccount, "builder", "ci", std::nullopt});
    return policy;
  }
  void Put(const std::string& name, api::SigningPolicy policy, std::optional<token::KeyInfo> key,
           const std::string& why = "KeyNotFound") {
    ActivePolicy active;
    active.hash = crypto::Sha256Hex(base::AsBytes(std::to_string(++revision_)));
    active.compiled = *policy::CompiledPolicy::Compile(std::move(policy));
    active.key = std::move(key);
    if (!active.key) active.not_ready_reason = why;
    active.confirmed_at = clock_.Steady();
    policies_.all[name] = std::make_shared<const ActivePolicy>(std::move(active));
  }
  void Change(const std::function<void(api::SigningPolicy&)>& change, const std::string& name = "release") {
    auto policy = policies_.all.at(name)->compiled->policy();
    change(policy);
    Put(name, std::move(policy), policies_.all.at(name)->key);
  }

  static SignCall Call(const std::string& policy = "release") {
    SignCall call;
    call.policy = policy;
    call.digest = api::Digest{encoding::HashAlgorithm::kSha256, crypto::Hash(encoding::HashAlgorithm::kSha256, {})};
    return call;
  }
  SigningService::Answer Sign(SignCall call) { return Sign(caller_, std::move(call)); }
  SigningService::Answer Sign(const Caller& caller, SignCall call) {
    std::optional<SigningService::Answer> answer;
    service_->Sign(caller, std::move(call), [&](SigningService::Answer a) {
      EXPECT_FALSE(answer.has_value()) << "answered twice";
      answer = std::move(a);
    });
    EXPECT_FALSE(answer.has_value()) << "the callback ran before the call returned";
    reactor_.RunUntil([&] { return answer.has_value(); });
    if (!answer) return tl::make_unexpected(Refused{base::MakeError(Code::kInternal, "no answer"), std::nullopt});
    return *std::move(answer);
  }
  static std::string ReasonOf(const SigningService::Answer& answer) {
    return answer ? "signed" : answer.error().error.reason;
  }
  [[nodiscard]] nlohmann::json Last() const { return Records().back(); }
  [[nodiscard]] std::vector<std::string> Results() const {
    std::vector<std::string> results;
    for (const auto& record : Records()) {
      if (record["type"] == "outcome") results.push_back(record["result"]);
    }
    return results;
  }
  /// The caller of the tests, as this door establishes it.
  static Caller Through(Door door) {
    Caller caller;
    caller.door = door;
    caller.principal.username = "system:serviceaccount:ci:builder";
    if (door == Door::kSocket) caller.peer = identity::PeerInfo{1000, 1000, 42};
    if (door == Door::kController) caller.principal.proof = identity::Proof::kAdmission;
    if (door == Door::kGateway) {
      caller.principal.proof = identity::Proof::kTokenReview;
      caller.pod = identity::PodIdentity{"ci", "build-7", "uid-7", "node-1"};
    }
    return caller;
  }
  static Caller Stranger() {
    Caller caller = Through(Door::kSocket);
    caller.principal.username = "system:serviceaccount:ci:stranger";
    return caller;
  }

  FakePolicies policies_;
  FakeHsm hsm_{reactor_};
  std::unique_ptr<policy::QuotaLedger> quotas_ = std::make_unique<policy::QuotaLedger>(clock_);
  SigningService::Options options_;
  std::unique_ptr<audit::Journal> journal_;
  std::unique_ptr<SigningService> service_;
  Caller caller_;
  int revision_ = 0;
};

}  // namespace signet::testing
