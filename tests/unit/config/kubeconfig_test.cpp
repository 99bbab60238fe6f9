#include "config/kubeconfig.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "support/matchers.hpp"
#include "support/temp_folder.hpp"

namespace signet::config {
namespace {

using base::Code;
using ::signet::testing::IsErr;
using ::signet::testing::IsOk;
using ::signet::testing::TempFolder;
using ::testing::HasSubstr;

std::string File(std::string_view cluster, std::string_view user, std::string_view context = "namespace: ns") {
  return fmt::format(
      "apiVersion: v1\nkind: Config\ncurrent-context: one\npreferences: {{}}\n"
      "clusters:\n- name: c\n  cluster:\n    server: https://127.0.0.1:6443\n    {}\n"
      "users:\n- name: u\n  user:\n    {}\n"
      "contexts:\n- name: one\n  context: {{cluster: c, user: u, {}}}\n- name: two\n  context: {{cluster: gone, user: "
      "u}}\n",
      cluster, user, context);
}
constexpr std::string_view kCa = "certificate-authority-data: Q0E=";

base::Result<kube::ClusterConfig> Load(std::string_view text, std::string_view context = "") {
  const TempFolder folder;
  folder.Write("config", text);
  return LoadKubeconfig((folder.path() / "config").string(), context);
}
std::string Problem(const base::Result<kube::ClusterConfig>& loaded) {
  EXPECT_THAT(loaded, IsErr(Code::kInvalidArgument, "KubeconfigInvalid"));
  return loaded ? "" : loaded.error().message;
}

TEST(KubeconfigTest, ReadsInlineData) {
  const auto config = Load(File(kCa, "{client-certificate-data: Q0VSVA==, client-key-data: S0VZ}"));
  ASSERT_THAT(config, IsOk());
  EXPECT_EQ(config->server, "https://127.0.0.1:6443");
  EXPECT_EQ(config->ca_data, "CA");
  EXPECT_EQ(config->client_certificate_data, "CERT");
  EXPECT_EQ(base::AsText(config->client_key_data.Reveal()), "KEY");
  EXPECT_EQ(config->namespace_name, "ns");
}

TEST(KubeconfigTest, TakesFilesRelativeToItself) {
  const TempFolder folder;
  folder.Write("config",
               File("certificate-authority: pki/ca.crt", "{client-certificate: ./c.crt, client-key: /abs/c.key}"));
  const auto config = LoadKubeconfig((folder.path() / "config").string(), "");
  ASSERT_THAT(config, IsOk());
  EXPECT_EQ(config->ca_file, (folder.path() / "pki/ca.crt").string());
  EXPECT_EQ(config->client_certificate_file, (folder.path() / "./c.crt").string());
  EXPECT_EQ(config->client_key_file, "/abs/c.key");
}

TEST(KubeconfigTest, PrefersTheTokenFileOverTheTokenAndRefusesFilesBesideData) {
  const TempFolder folder;
  folder.Write("token", "of the file\n");
  const std::string token_file = (folder.path() / "token").string();
  EXPECT_THAT(Problem(Load(File(fmt::format("{}\n    certificate-authority: /ca.crt", kCa), "{token: t}"))),
              HasSubstr("certificate-authority and certificate-authority-data are both set"));
  EXPECT_THAT(Problem(Load(File(kCa, "{client-key: k, client-key-data: S0VZ, client-certificate: c}"))),
              HasSubstr("client-key and client-key-data are both set"));
  const auto both = Load(File(kCa, fmt::format("{{token: inline, tokenFile: {}}}", token_file)));
  ASSERT_THAT(both, IsOk());
  EXPECT_EQ(both->token_file, token_file);
  EXPECT_TRUE(both->token.empty());
  const auto inline_token = Load(File(kCa, "{token: secret}"));
  ASSERT_THAT(inline_token, IsOk());
  EXPECT_EQ(base::AsText(inline_token->token.Reveal()), "secret");
  const auto unreadable = Load(File(kCa, "{token: secret, tokenFile: /no/such/file}"));
  ASSERT_THAT(unreadable, IsOk());
  EXPECT_EQ(base::AsText(unreadable->token.Reveal()), "secret") << "as client-go falls back";
  EXPECT_TRUE(unreadable->token_file.empty());
}

TEST(KubeconfigTest, TakesEveryBase64ThatGoTakes) {
  for (const char* text : {"Q0E=", "\"Q0\\nE=\\r\\n\"", "Q0F=", "\"Q0E=\"", "|\n      Q0\n      E=\n"}) {
    const auto config = Load(File("certificate-authority-data: " + std::string(text), "{token: t}"));
    ASSERT_THAT(config, IsOk()) << text;
    EXPECT_EQ(config->ca_data, "CA") << text;
  }
  for (const char* text : {"Q0E", "'Q0 E='", "Q0E==", "Q0-_"}) {
    EXPECT_THAT(Problem(Load(File("certificate-authority-data: " + std::string(text), "{token: t}"))),
                HasSubstr("certificate-authority-data"))
        << text;
  }
}

TEST(KubeconfigTest, ReadsEveryFormOfYaml) {
  const std::string block = File(kCa, "{token: t}");
  std::string crlf;
  for (const char c : block) crlf += c == '\n' ? "\r\n" : std::string(1, c);
  const std::string json =
      R"({"clusters":[{"name":"c","cluster":{"server":"https://127.0.0.1:6443","certificate-authority-data":"Q0E="}}],)"
      R"("users":[{"name":"u","user":{"token":"t"}}],"current-context":"one",)"
      R"("contexts":[{"name":"one","context":{"cluster":"c","user":"u"}}]})";
  for (const std::string& text : {block, crlf, "\xEF\xBB\xBF" + block, "---\n" + block, json}) {
    const auto config = Load(text);
    ASSERT_THAT(config, IsOk()) << text;
    EXPECT_EQ(config->server, "https://127.0.0.1:6443");
    EXPECT_EQ(base::AsText(config->token.Reveal()), "t");
  }
  EXPECT_THAT(Problem(Load("")), HasSubstr("current-context"));
}

TEST(KubeconfigTest, NamesFileEntryAndRemedyOfWhatItDoesNotSupport) {
  const auto refused = [](std::string_view user, std::string_view remedy) {
    const std::string message = Problem(Load(File(kCa, user)));
    EXPECT_THAT(message, HasSubstr("config: user \"u\": "));
    EXPECT_THAT(message, HasSubstr(remedy));
  };
  refused("{auth-provider: {name: gcp}}", "gke-gcloud-auth-plugin");
  refused("{username: a, password: b}", "a token");
  refused("{token: t, password: b}", "a token");
  refused("{exec: {command: aws}}", "client.authentication.k8s.io/v1beta1");
  refused("{exec: {command: aws, apiVersion: client.authentication.k8s.io/v1alpha1}}", "update it");
  refused("{exec: {command: aws, apiVersion: client.authentication.k8s.io/v1}}", "interactiveMode");
  refused("{exec: {apiVersion: client.authentication.k8s.io/v1beta1}}", "no command");
  EXPECT_THAT(Problem(Load(File("insecure-skip-tls-verify: true", "{token: t}"))),
              HasSubstr("cluster \"c\": insecure"));
  EXPECT_THAT(Problem(Load(File(fmt::format("{}\n    insecure-skip-tls-verify: true", kCa), "{token: t}"))),
              HasSubstr("exclude each other"));
  EXPECT_THAT(Load(File(fmt::format("{}\n    insecure-skip-tls-verify: false", kCa), "{token: t}")), IsOk());
  EXPECT_THAT(Load(File(kCa, "{token: t, exec: {}, auth-provider: null, as-groups: []}")), IsOk());
}

TEST(KubeconfigTest, ReadsTheNameOfTheCertificateAndTheProxy) {
  const auto config = Load(
      File(fmt::format("{}\n    tls-server-name: api.internal\n    proxy-url: socks5://p:1080", kCa), "{token: t}"));
  ASSERT_THAT(config, IsOk());
  EXPECT_EQ(config->tls_server_name, "api.internal");
  EXPECT_EQ(config->proxy_url, "socks5://p:1080");
  const std::string problem =
      Problem(Load(File(fmt::format("{}\n    proxy-url: ftp://u:s3cret@p", kCa), "{token: t}")));
  EXPECT_THAT(problem, HasSubstr("proxy"));
  EXPECT_THAT(problem, ::testing::Not(HasSubstr("s3cret")));
}

TEST(KubeconfigTest, ReadsImpersonation) {
  const auto config =
      Load(File(kCa, "{token: t, as: jane, as-uid: '7', as-groups: [a, b], as-user-extra: {k: [one, two]}}"));
  ASSERT_THAT(config, IsOk());
  EXPECT_EQ(config->impersonation.user, "jane");
  EXPECT_EQ(config->impersonation.uid, "7");
  EXPECT_EQ(config->impersonation.groups, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(config->impersonation.extra.at("k"), (std::vector<std::string>{"one", "two"}));
  EXPECT_THAT(Problem(Load(File(kCa, "{token: t, as-groups: [a]}"))), HasSubstr("needs a user"));
  EXPECT_THAT(
      Problem(Load(File(kCa, R"({token: t, as: jane, as-groups: ["a\r\nImpersonate-Group: system:masters"]})"))),
      HasSubstr("control character"));
}

TEST(KubeconfigTest, ReadsExecPlugins) {
  const TempFolder folder;
  folder.Write("config", File(kCa,
                              "{exec: {apiVersion: client.authentication.k8s.io/v1, command: bin/get, args: [a, b c], "
                              "env: [{name: NAME, value: v}], interactiveMode: Never, installHint: get it}}"));
  const auto config = LoadKubeconfig((folder.path() / "config").string(), "");
  ASSERT_THAT(config, IsOk());
  ASSERT_TRUE(config->exec.has_value());
  EXPECT_EQ(config->exec->command, (folder.path() / "bin/get").string());
  EXPECT_EQ(config->exec->arguments, (std::vector<std::string>{"a", "b c"}));
  EXPECT_EQ(config->exec->environment.front(), (std::pair<std::string, std::string>("NAME", "v")));
  EXPECT_EQ(config->exec->interactive, kube::ExecPlugin::Interactive::kNever);
  EXPECT_THAT(config->exec->where, HasSubstr("config: user \"u\""));
  const auto by_path = Load(File(kCa, "{exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: aws}}"));
  ASSERT_THAT(by_path, IsOk());
  EXPECT_EQ(by_path->exec->command, "aws");
  EXPECT_EQ(by_path->exec->interactive, kube::ExecPlugin::Interactive::kIfAvailable);
  const auto token_first =
      Load(File(kCa, "{token: t, exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: aws}}"));
  ASSERT_THAT(token_first, IsOk());
  EXPECT_FALSE(token_first->exec.has_value());
}

TEST(KubeconfigTest, SaysWhatIsMissing) {
  EXPECT_THAT(Problem(Load(File(kCa, "{token: t}"), "three")), HasSubstr("no contexts called \"three\""));
  EXPECT_THAT(Problem(Load(File(kCa, "{token: t}"), "two")), HasSubstr("no clusters called \"gone\""));
  EXPECT_THAT(Problem(Load(File("extra: 1", "{token: t}"))), HasSubstr("certificate-authority"));
  EXPECT_THAT(Problem(Load(File("certificate-authority-data: '*'", "{token: t}"))),
              HasSubstr("certificate-authority-data"));
  EXPECT_THAT(Problem(Load("a: 1\n")), HasSubstr("current-context"));
  EXPECT_THAT(Problem(Load("[1]\n")), HasSubstr("not a kubeconfig"));
  EXPECT_THAT(Problem(Load("a: [\n")), HasSubstr("config:"));
  EXPECT_THAT(Problem(LoadKubeconfig("/no/such", "")), HasSubstr("/no/such: No such file"));
}

TEST(KubeconfigTest, NeverRepeatsSecretsInItsErrors) {
  const std::string message = Problem(Load(File(kCa, "{client-key-data: 's3cr3t!', token: t0p}")));
  EXPECT_THAT(message, ::testing::Not(HasSubstr("s3cr3t")));
  EXPECT_THAT(message, ::testing::Not(HasSubstr("t0p")));
}

/// `name` is of the context, its cluster and its user.
std::string Named(std::string_view name, std::string_view port, std::string_view current = "") {
  return fmt::format(
      "current-context: {3}\nclusters:\n- name: {0}\n  cluster: {{server: 'https://127.0.0.1:{1}', {2}}}\n"
      "users:\n- name: {0}\n  user: {{token: {0}}}\ncontexts:\n- name: {0}\n  context: {{cluster: {0}, user: {0}}}\n",
      name, port, kCa, current);
}

class MergedKubeconfigTest : public ::testing::Test {
 protected:
  std::string Put(const std::string& name, std::string_view text) {
    std::filesystem::create_directories((folder_.path() / name).parent_path());
    folder_.Write(name, text);
    return (folder_.path() / name).string();
  }
  static std::string ServerOf(const std::vector<std::string>& files, std::string_view context = "") {
    const auto loaded = LoadKubeconfig(files, context);
    return loaded ? loaded->server : loaded.error().message;
  }
  const TempFolder folder_;
};

TEST_F(MergedKubeconfigTest, TakesTheFirstFileThatHasAnEntryAndTheFirstCurrentContext) {
  const auto one = Put("one", Named("a", "1"));
  const auto two = Put("two", Named("a", "2", "a") + "# again\n");
  const auto three = Put("three", Named("b", "3", "b"));
  EXPECT_EQ(ServerOf({one, two, three}), "https://127.0.0.1:1") << "current-context of two, the entries of one";
  EXPECT_EQ(ServerOf({two, one, three}), "https://127.0.0.1:2");
  EXPECT_EQ(ServerOf({three, one}), "https://127.0.0.1:3");
  EXPECT_EQ(ServerOf({one, two, three}, "b"), "https://127.0.0.1:3");
}

TEST_F(MergedKubeconfigTest, JoinsContextClusterAndUserOfDifferentFiles) {
  const auto context = Put("context", "current-context: x\ncontexts: [{name: x, context: {cluster: a, user: u}}]\n");
  const auto cluster =
      Put("sub/cluster", "clusters: [{name: a, cluster: {server: 'https://h:1', certificate-authority: ca}}]\n");
  const auto user = Put("user", "users: [{name: u, user: {tokenFile: t}}]\n");
  const auto loaded = LoadKubeconfig({context, cluster, user}, "");
  ASSERT_THAT(loaded, IsOk());
  EXPECT_EQ(loaded->ca_file, (folder_.path() / "sub/ca").string()) << "relative to the file that names it";
  EXPECT_EQ(loaded->token_file, (folder_.path() / "t").string());
}

TEST_F(MergedKubeconfigTest, NeverGoesToAnotherClusterWhenAFileOrItsEntryIsBroken) {
  const auto good = Put("good", Named("a", "1", "a"));
  const std::vector<std::pair<std::string, std::string>> broken = {
      {"yaml", "clusters: ["},
      {"list", "[]"},
      {"text", "just words"},
      {"clusters", "clusters: {a: b}\ncurrent-context: a\n"},
      {"number", "current-context: 7\n"},
      {"empty-entry", "clusters: [{name: a}]\n"},
      {"twice", Named("a", "9") + "\nusers: []\n"},
      {"doubled", "clusters: [{name: a, cluster: {server: s}}, {name: a, cluster: {server: t}}]\n"},
      {"exec", "users: [{name: a, user: {exec: {command: aws}}}]\n"},
      {"http", "clusters: [{name: a, cluster: {server: 'http://127.0.0.1:2'}}]\n"}};
  for (const auto& [name, text] : broken) {
    const auto file = Put(name, text);
    const auto loaded = LoadKubeconfig({file, good}, "");

    EXPECT_THAT(Problem(loaded), HasSubstr(file)) << name;
  }
  const auto other = Put("other", Named("b", "2", "c"));
  EXPECT_THAT(ServerOf({other, good}), HasSubstr("called \"c\"")) << "a current-context that is nowhere";
  EXPECT_THAT(ServerOf({good, (folder_.path() / "absent").string()}), HasSubstr("absent"));
}

TEST_F(MergedKubeconfigTest, TakesEmptyFilesAndBrokenLinesOfBase64) {
  const auto empty = Put("empty", "");
  const auto folded = Put("folded",
                          "current-context: a\nclusters:\n- name: a\n  cluster:\n    server: https://h:1\n"
                          "    certificate-authority-data: |\n      Q0\n      E=\n"
                          "contexts: [{name: a, context: {cluster: a}}]\n");
  const auto loaded = LoadKubeconfig({empty, folded}, "");
  ASSERT_THAT(loaded, IsOk());
  EXPECT_EQ(loaded->ca_data, "CA");
}

}  // namespace
}  // namespace signet::config
