#include "reconcile/webhook_configurations.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "encoding/text.hpp"
#include "fakes/fake_store.hpp"
#include "support/matchers.hpp"

namespace signet::testing {
namespace {

using base::Code;
using nlohmann::json;
using reconcile::kWebhookConfiguration;
using reconcile::MutatingWebhookConfigurations;
using reconcile::ValidatingWebhookConfigurations;
using reconcile::WebhookConfigurations;
using reconcile::WebhookEndpoint;

const WebhookEndpoint kUrl{"https://127.0.0.1:9443", "", "", 443, ""};
const WebhookEndpoint kService{"", "signet-system", "signet-webhook", 8443, ""};

class WebhookConfigurationsTest : public ::testing::Test {
 protected:
  json Live(const kube::Resource& resource) {
    auto object = store_.Get(resource, "", kWebhookConfiguration);
    EXPECT_THAT(object, IsOk());
    return object ? *object : json();
  }
  std::size_t Writes() const { return store_.CountCalls("Create") + store_.CountCalls("Update"); }

  FakeStore store_;
  WebhookConfigurations configurations_{store_, kUrl};
};

TEST_F(WebhookConfigurationsTest, CreatesBothAndThenLeavesThemAlone) {
  EXPECT_THAT(configurations_.Ensure("PEM", "word"), IsOk());
  for (const auto* resource : {&MutatingWebhookConfigurations(), &ValidatingWebhookConfigurations()}) {
    const json live = Live(*resource);
    ASSERT_FALSE(live["webhooks"].empty());
    for (const json& webhook : live["webhooks"]) {
      EXPECT_EQ(webhook["clientConfig"]["caBundle"], encoding::ToBase64(base::AsBytes("PEM")));
      EXPECT_EQ(webhook["failurePolicy"], "Fail");
      EXPECT_EQ(webhook["namespaceSelector"], json::object()) << "no namespace is excluded";
      EXPECT_EQ(webhook["objectSelector"], json::object());
      EXPECT_EQ(webhook["admissionReviewVersions"], json::array({"v1"}));
    }
  }
  EXPECT_EQ(Writes(), 2U);
  EXPECT_THAT(configurations_.Ensure("PEM", "word"), IsOk());
  EXPECT_EQ(Writes(), 2U);
}

TEST_F(WebhookConfigurationsTest, WatchesEveryWriteThatMatters) {
  std::set<std::string> seen;
  const auto note = [&](const char* prefix, const json& configuration) {
    for (const json& webhook : configuration["webhooks"]) {
      for (const json& rule : webhook["rules"]) {
        for (const json& operation : rule["operations"]) {
          for (const json& resource : rule["resources"]) {
            seen.insert(prefix + operation.get<std::string>() + " " + resource.get<std::string>());
          }
        }
      }
    }
  };
  note("mutate ", reconcile::MutatingConfiguration(kUrl, ""));
  note("validate ", reconcile::ValidatingConfiguration(kUrl, ""));
  EXPECT_THAT(seen, ::testing::UnorderedElementsAre(
                        "mutate CREATE signingrequests", "mutate CREATE signingapprovals",
                        "validate CREATE signingrequests", "validate UPDATE signingrequests",
                        "validate CREATE signingapprovals", "validate UPDATE signingapprovals",
                        "validate DELETE signingapprovals", "validate UPDATE signingrequests/status",
                        "validate UPDATE signingpolicies/status", "validate CREATE signingpolicies",
                        "validate UPDATE signingpolicies", "validate DELETE signingpolicies"));
}

TEST_F(WebhookConfigurationsTest, TheOperatorsOwnStatusWritesAreNotReviewed) {
  auto endpoint = kUrl;
  endpoint.status_writer = R"(sys"tem\operator)";
  int conditions = 0;
  const json webhooks = reconcile::ValidatingConfiguration(endpoint, "x")["webhooks"];
  for (const json& webhook : webhooks) {
    if (!webhook.contains("matchConditions")) continue;
    ++conditions;
    EXPECT_EQ(webhook["matchConditions"],
              json::array({{{"name", "not-the-operator"},
                            {"expression", R"(request.userInfo.username != "sys\"tem\\operator")"}}}));
    for (const json& rule : webhook["rules"]) {
      for (const json& resource : rule["resources"]) {
        EXPECT_TRUE(resource.get<std::string>().ends_with("/status")) << "nobody is excepted from other reviews";
      }
    }
  }
  EXPECT_EQ(conditions, 1);
  for (const json& webhook : reconcile::ValidatingConfiguration(kUrl, "x")["webhooks"]) {
    EXPECT_FALSE(webhook.contains("matchConditions")) << "who writes is not known";
  }
}

TEST_F(WebhookConfigurationsTest, PodsAreNoneOfOurBusinessUnlessTold) {
  EXPECT_EQ(reconcile::MutatingConfiguration(kUrl, "x")["webhooks"].size(), 1U);
}

TEST_F(WebhookConfigurationsTest, PodsAreSelectedByLabelsAlone) {
  const json webhooks = reconcile::MutatingConfiguration(
      kUrl, "x", reconcile::InjectionScope{{"kube-system", "signet-system"}})["webhooks"];
  ASSERT_EQ(webhooks.size(), 3U);
  for (std::size_t i = 1; i < 3; ++i) {
    const json& webhook = webhooks[i];
    EXPECT_EQ(webhook["clientConfig"]["url"], "https://127.0.0.1:9443/inject");
    EXPECT_EQ(webhook["rules"], json::parse(R"([{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
                                                 "resources": ["pods"], "scope": "Namespaced"}])"));
    EXPECT_EQ(webhook["failurePolicy"], "Fail");
    EXPECT_EQ(webhook["sideEffects"], "None");
    EXPECT_EQ(webhook["timeoutSeconds"], 5);
    EXPECT_EQ(webhook["reinvocationPolicy"], "IfNeeded");
  }
  const auto selectors = [&](std::size_t i) {
    return json{webhooks[i]["namespaceSelector"]["matchExpressions"],
                webhooks[i]["objectSelector"]["matchExpressions"]};
  };
  EXPECT_EQ(selectors(1), json::parse(R"([
    [{"key": "signet.dev/inject", "operator": "In", "values": ["true"]},
     {"key": "signet.dev/control-plane", "operator": "DoesNotExist"},
     {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system", "signet-system"]}],
    [{"key": "signet.dev/inject", "operator": "NotIn", "values": ["false"]}]])"));
  EXPECT_EQ(selectors(2), json::parse(R"([
    [{"key": "signet.dev/inject", "operator": "NotIn", "values": ["true"]},
     {"key": "signet.dev/control-plane", "operator": "DoesNotExist"},
     {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system", "signet-system"]}],
    [{"key": "signet.dev/inject", "operator": "In", "values": ["true"]}]])"));
  EXPECT_NE(webhooks[1]["name"], webhooks[2]["name"]);
}

TEST_F(WebhookConfigurationsTest, ChangesOfPodsWithASidecarAreReviewed) {
  const json webhooks = reconcile::ValidatingConfiguration(kUrl, "x", reconcile::InjectionScope{})["webhooks"];
  ASSERT_EQ(webhooks.size(), 7U);
  std::set<std::string> seen;
  for (std::size_t i = 3; i < webhooks.size(); ++i) {
    const json& webhook = webhooks[i];
    EXPECT_EQ(webhook["clientConfig"]["url"], "https://127.0.0.1:9443/inject");
    EXPECT_FALSE(webhook.contains("reinvocationPolicy")) << "mutating ones only";
    EXPECT_EQ(webhook["rules"][0]["operations"], json::array({"UPDATE"}));
    const std::string resource = webhook["rules"][0]["resources"][0];
    // Controllers must be able to change pods while the operator is away.
    EXPECT_EQ(webhook["failurePolicy"], resource == "pods" ? "Ignore" : "Fail");
    const json& namespaces = webhook["namespaceSelector"]["matchExpressions"][0];
    const bool labelled = namespaces["operator"] == "In";
    // A label taken off a pod must not take the pod out of sight where the namespace's counts.
    EXPECT_EQ(webhook["objectSelector"].empty(), labelled);
    seen.insert(resource + (labelled ? " namespace" : " pod"));
  }
  EXPECT_THAT(seen, ::testing::UnorderedElementsAre("pods namespace", "pods pod", "pods/ephemeralcontainers namespace",
                                                    "pods/ephemeralcontainers pod"));
}

TEST_F(WebhookConfigurationsTest, InjectionComesAndGoes) {
  WebhookConfigurations injecting(store_, kUrl, reconcile::InjectionScope{});
  ASSERT_THAT(injecting.Ensure("PEM", "word"), IsOk());
  EXPECT_EQ(Live(MutatingWebhookConfigurations())["webhooks"].size(), 3U);
  ASSERT_THAT(configurations_.Ensure("PEM", "word"), IsOk());
  EXPECT_EQ(Live(MutatingWebhookConfigurations())["webhooks"].size(), 1U);
}

TEST_F(WebhookConfigurationsTest, NamesAUrlOrAService) {
  const json url = reconcile::MutatingConfiguration(kUrl, "x")["webhooks"][0]["clientConfig"];
  EXPECT_EQ(url["url"], "https://127.0.0.1:9443/mutate");
  EXPECT_FALSE(url.contains("service"));
  const json service = reconcile::ValidatingConfiguration(kService, "x")["webhooks"][1]["clientConfig"];
  EXPECT_EQ(service["service"],
            json({{"namespace", "signet-system"}, {"name", "signet-webhook"}, {"path", "/validate"}, {"port", 8443}}));
  EXPECT_FALSE(service.contains("url"));
}

TEST_F(WebhookConfigurationsTest, TellsTheWordInEveryPath) {
  WebhookConfigurations injecting(store_, kUrl, reconcile::InjectionScope{});
  for (const std::string word : {"first", "second"}) {
    ASSERT_THAT(injecting.Ensure("PEM", word), IsOk());
    std::set<std::string> urls;
    for (const auto* resource : {&MutatingWebhookConfigurations(), &ValidatingWebhookConfigurations()}) {
      const json live = Live(*resource);
      for (const json& webhook : live["webhooks"]) urls.insert(webhook["clientConfig"]["url"]);
    }
    EXPECT_EQ(urls, (std::set<std::string>{kUrl.url + "/mutate/" + word, kUrl.url + "/validate/" + word,
                                           kUrl.url + "/inject/" + word}));
  }
  EXPECT_EQ(Writes(), 4U);
}

TEST_F(WebhookConfigurationsTest, PutsBackWhatWasDeletedOrEdited) {
  ASSERT_THAT(configurations_.Ensure("PEM", "word"), IsOk());
  const json mutating = Live(MutatingWebhookConfigurations())["webhooks"];
  const json validating = Live(ValidatingWebhookConfigurations())["webhooks"];
  ASSERT_THAT(store_.Delete(MutatingWebhookConfigurations(), "", kWebhookConfiguration, ""), IsOk());
  json edited = Live(ValidatingWebhookConfigurations());
  edited["webhooks"][0]["namespaceSelector"] = {{"matchLabels", {{"signet", "yes"}}}};
  edited["webhooks"][0]["matchConditions"] = json::array({{{"name", "never"}, {"expression", "false"}}});
  edited["webhooks"].erase(1);
  ASSERT_THAT(store_.Update(ValidatingWebhookConfigurations(), "", kWebhookConfiguration, edited), IsOk());
  EXPECT_THAT(configurations_.Ensure("PEM", "word"), IsOk());
  EXPECT_EQ(Live(MutatingWebhookConfigurations())["webhooks"], mutating);
  EXPECT_EQ(Live(ValidatingWebhookConfigurations())["webhooks"], validating);
}

TEST_F(WebhookConfigurationsTest, ANewBundleIsWritten) {
  ASSERT_THAT(configurations_.Ensure("one", "word"), IsOk());
  EXPECT_THAT(configurations_.Ensure("one two", "word"), IsOk());
  EXPECT_EQ(Live(MutatingWebhookConfigurations())["webhooks"][0]["clientConfig"]["caBundle"],
            encoding::ToBase64(base::AsBytes("one two")));
}

/// A server of the future that adds a member with a default to what it stores.
class DefaultingStore final : public kube::ObjectStore {
 public:
  explicit DefaultingStore(FakeStore& inner) : inner_(inner) {}
  base::Result<json> Get(const kube::Resource& r, std::string_view ns, std::string_view name) override {
    return inner_.Get(r, ns, name);
  }
  base::Result<kube::List> ListAll(const kube::Resource& r) override { return inner_.ListAll(r); }
  base::Result<json> Create(const kube::Resource& r, std::string_view ns, const json& object) override {
    return inner_.Create(r, ns, Defaulted(object));
  }
  base::Result<json> Update(const kube::Resource& r, std::string_view ns, std::string_view name,
                            const json& object) override {
    return inner_.Update(r, ns, name, Defaulted(object));
  }
  base::Result<json> PatchStatus(const kube::Resource& r, std::string_view ns, std::string_view name,
                                 std::string_view uid, std::string_view version, const json& status) override {
    return inner_.PatchStatus(r, ns, name, uid, version, status);
  }
  base::Status Delete(const kube::Resource& r, std::string_view ns, std::string_view name,
                      std::string_view uid) override {
    return inner_.Delete(r, ns, name, uid);
  }
  std::unique_ptr<kube::Watch> StartWatch(const kube::Resource& r, std::string_view version,
                                          kube::WatchSink sink) override {
    return inner_.StartWatch(r, version, std::move(sink));
  }
  [[nodiscard]] bool TrustsRequesters() const override { return false; }

 private:
  static json Defaulted(json object) {
    for (json& webhook : object["webhooks"]) webhook["newMember"] = "Default";
    return object;
  }
  FakeStore& inner_;
};

TEST_F(WebhookConfigurationsTest, DoesNotFightAServersDefaults) {
  DefaultingStore later(store_);
  WebhookConfigurations configurations(later, kUrl);
  EXPECT_THAT(configurations.Ensure("PEM", "word"), IsOk());
  EXPECT_THAT(configurations.Ensure("PEM", "word"), IsOk());
  EXPECT_EQ(Writes(), 2U);
  json edited = Live(ValidatingWebhookConfigurations());
  edited["webhooks"][0]["newMember"] = "Other";
  ASSERT_THAT(store_.Update(ValidatingWebhookConfigurations(), "", kWebhookConfiguration, edited), IsOk());
  EXPECT_THAT(configurations.Ensure("PEM", "word"), IsOk());
  EXPECT_EQ(Live(ValidatingWebhookConfigurations())["webhooks"][0]["newMember"], "Default");
}

TEST_F(WebhookConfigurationsTest, OneThatFailsDoesNotKeepTheOtherBack) {
  store_.set_fault([](const FakeStore::Call& call) -> std::optional<FakeStore::Fault> {
    if (call.resource == ValidatingWebhookConfigurations()) {
      return FakeStore::Fault{base::MakeError(Code::kPermissionDenied, "Forbidden", "no"), false};
    }
    return std::nullopt;
  });
  EXPECT_THAT(configurations_.Ensure("PEM", "word"), IsErr(Code::kPermissionDenied));
  EXPECT_EQ(Live(MutatingWebhookConfigurations())["webhooks"].size(), 1U);
}

TEST_F(WebhookConfigurationsTest, ReadsTheLiveWordOfEitherForm) {
  EXPECT_EQ(*configurations_.LiveWord(), "");
  EXPECT_THAT(configurations_.Ensure("PEM", "word-1"), IsOk());
  EXPECT_EQ(*configurations_.LiveWord(), "word-1");
  WebhookConfigurations by_service(store_, kService);
  EXPECT_THAT(by_service.Ensure("PEM", "word-2"), IsOk());
  EXPECT_EQ(*by_service.LiveWord(), "word-2");
}

TEST_F(WebhookConfigurationsTest, AServersErrorDoesNotShowTheWord) {
  store_.set_fault([](const FakeStore::Call& call) -> std::optional<FakeStore::Fault> {
    if (call.verb != "Create") return {};
    return FakeStore::Fault{base::MakeError(Code::kInvalidArgument, "Invalid: \"/validate/word-1\", /mutate/word-1")};
  });
  const auto status = configurations_.Ensure("PEM", "word-1");
  ASSERT_FALSE(status.has_value());
  EXPECT_EQ(status.error().message.find("word-1"), std::string::npos) << status.error().message;
}

}  // namespace
}  // namespace signet::testing
