// tests/unit/frontend/admission_fixture.hpp - Admission with a real record, a fake service, and reviews as they come.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "authn/stamp.hpp"
#include "fakes.hpp"
#include "frontend/admission.hpp"
#include "support/journal_fixture.hpp"

namespace signet::testing {

inline constexpr const char* kOperator = "system:serviceaccount:signet-system:signet-operator";
inline constexpr const char* kDigest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

class AdmissionFixture : public JournalFixture {
 protected:
  using json = nlohmann::json;
  using Verdict = frontend::AdmissionVerdict;

  void SetUp() override {
    journal_ = Open();
    frontend::Admission::Dependencies dependencies;
    dependencies.clock = &clock_;
    dependencies.sealer = &sealer_;
    dependencies.service = &service_;
    changes_ = std::make_unique<frontend::PolicyChanges>(*journal_, clock_);
    dependencies.changes = changes_.get();
    dependencies.revision = [this](const frontend::Admission::RequestRef& request, bool live, auto done) {
      asked_.emplace_back(request.ns + "/" + request.name + "/" + request.uid, live);
      done(live ? live_ : cached_);
    };
    dependencies.would_count = [this](const json& approval, const auto& done) {
      judged_ = approval;
      done(counts_);
    };
    dependencies.may_be_removed = [this](const json& approval, const auto& done) {
      judged_ = approval;
      done(removable_);
    };
    dependencies.policies = [this] { return policies_; };
    admission_ =
        std::make_unique<frontend::Admission>(frontend::Admission::Options{kOperator}, std::move(dependencies));
  }

  static json Review(const std::string& operation, const std::string& kind, const std::string& resource, json object,
                     json old_object = nullptr) {
    return {{"apiVersion", "admission.k8s.io/v1"},
            {"kind", "AdmissionReview"},
            {"request",
             {{"uid", "review-1"},
              {"kind", {{"group", "signet.dev"}, {"version", "v1alpha1"}, {"kind", kind}}},
              {"resource", {{"group", "signet.dev"}, {"version", "v1alpha1"}, {"resource", resource}}},
              {"name", "r1"},
              {"namespace", kind == "SigningPolicy" ? "" : "ci"},
              {"operation", operation},
              {"userInfo",
               {{"username", "alice"},
                {"uid", "u-a"},
                {"groups", {"dev", "system:authenticated"}},
                {"extra", {{"scopes", {"x"}}}}}},
              {"object", std::move(object)},
              {"oldObject", std::move(old_object)},
              {"dryRun", false},
              {"options", {{"kind", "CreateOptions"}, {"apiVersion", "meta.k8s.io/v1"}}}}}};
  }
  static json Request() {
    return {{"apiVersion", "signet.dev/v1alpha1"},
            {"kind", "SigningRequest"},
            {"metadata", {{"name", "r1"}, {"namespace", "ci"}, {"uid", "uid-r"}, {"generation", 1}}},
            {"spec", {{"policyRef", {{"name", "release"}}}, {"digest", kDigest}}}};
  }
  static json Approval() {
    return {{"apiVersion", "signet.dev/v1alpha1"},
            {"kind", "SigningApproval"},
            {"metadata", {{"name", "a1"}, {"namespace", "ci"}}},
            {"spec", {{"requestRef", {{"name", "r1"}, {"uid", "uid-r"}}}, {"decision", "Approve"}}}};
  }
  static json Policy() {
    return {{"apiVersion", "signet.dev/v1alpha1"},
            {"kind", "SigningPolicy"},
            {"metadata", {{"name", "release"}, {"uid", "uid-p"}}},
            {"spec",
             {{"key", {{"uri", "pkcs11:token=t;object=o"}}},
              {"algorithms", {"ECDSAWithSHA256"}},
              {"subjects", {{{"kind", "User"}, {"name", "alice"}}}}}}};
  }

  /// Through HTTP, as the API server asks.
  json Ask(const std::string& target, const json& review) {
    http::Request request;
    request.method = "POST";
    request.target = target;
    request.content_type = "application/json";
    const std::string body = review.dump();
    request.body = body;
    std::optional<http::Response> got;
    admission_->Handle(request, [&](http::Response response) { got = std::move(response); });
    reactor_.RunReady();
    EXPECT_TRUE(got.has_value());
    if (!got) return {};
    EXPECT_EQ(got->status, 200) << got->body;
    const json answer = json::parse(got->body);
    EXPECT_EQ(answer["response"].value("uid", json()), review["request"]["uid"]);
    EXPECT_EQ(answer["kind"], "AdmissionReview");
    return answer["response"];
  }
  json Mutate(const json& review) { return Ask("/mutate", review); }
  json Validate(const json& review) { return Ask("/validate", review); }

  /// The object after the answer's patch.
  static json Patched(const json& review, const json& response) {
    EXPECT_EQ(response.value("allowed", false), true) << response;
    if (!response.contains("patch")) return review["request"]["object"];
    EXPECT_EQ(response["patchType"], "JSONPatch");
    const auto patch = encoding::FromBase64(response["patch"].get<std::string>());
    return review["request"]["object"].patch(json::parse(base::AsText(*patch)));
  }
  /// What /validate sees after /mutate.
  json Stamped(json review) {
    review["request"]["object"] = Patched(review, Mutate(review));
    return review;
  }
  static std::string Refusal(const json& response) {
    EXPECT_EQ(response["allowed"], false) << response;
    return response.contains("status") ? response["status"].value("message", "") : "";
  }
  static std::vector<std::string> Warnings(const json& response) {
    EXPECT_EQ(response["allowed"], true) << response;
    return response.value("warnings", std::vector<std::string>());
  }

  authn::Sealer sealer_ = [] {
    std::vector<base::Secret> keys;
    keys.emplace_back(base::Bytes(32, 7));
    return authn::Sealer(std::move(keys));
  }();
  FakeService service_;
  std::unique_ptr<audit::Journal> journal_;
  std::unique_ptr<frontend::PolicyChanges> changes_;
  base::Result<api::PolicyRevision> cached_ = api::PolicyRevision{"uid-p", 3};
  base::Result<api::PolicyRevision> live_ = api::PolicyRevision{"uid-p", 3};
  base::Status counts_, removable_;
  json judged_;
  std::vector<std::pair<std::string, bool>> asked_;
  std::vector<std::shared_ptr<const json>> policies_;
  std::unique_ptr<frontend::Admission> admission_;
};

}  // namespace signet::testing
