#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "config/operator_config.hpp"
#include "config/reader.hpp"
#include "config/sidecar_config.hpp"
#include "store/manifest.hpp"
#include "support/matchers.hpp"
#include "support/temp_folder.hpp"

namespace signet::config {
namespace {

using base::Code;
using ::signet::testing::IsErr;
using ::signet::testing::IsOk;
using ::signet::testing::TempFolder;
using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::string kExamples = std::string(SIGNET_SOURCE_DIR) + "/examples/";

template <class Config>
std::string Problem(const base::Result<Config>& loaded) {
  EXPECT_THAT(loaded, IsErr(Code::kInvalidArgument, "ConfigInvalid"));
  return loaded ? "" : loaded.error().message;
}
base::Result<SidecarConfig> Sidecar(std::string_view text) {
  const TempFolder folder;
  folder.Write("c.yaml", text);
  return LoadSidecarConfig((folder.path() / "c.yaml").string());
}
base::Result<OperatorConfig> Operator(std::string_view text) {
  const TempFolder folder;
  folder.Write("c.yaml", text);
  return LoadOperatorConfig((folder.path() / "c.yaml").string());
}

TEST(SidecarConfigTest, ExampleNamesEveryKeyWithItsDefault) {
  const auto example = LoadSidecarConfig(kExamples + "sidecar.yaml");
  ASSERT_THAT(example, IsOk());
  EXPECT_THAT(Validate(*example), IsOk());
  const SidecarConfig defaults;
  EXPECT_EQ(example->socket_path, defaults.socket_path);
  EXPECT_EQ(example->socket_mode, defaults.socket_mode);
  EXPECT_EQ(example->allowed_uids, defaults.allowed_uids);
  EXPECT_EQ(example->listen, defaults.listen);
  EXPECT_EQ(example->metrics, defaults.metrics);
  EXPECT_EQ(example->policy_poll, defaults.policy_poll);
  EXPECT_EQ(example->policy_max_age, defaults.policy_max_age);
  EXPECT_EQ(example->hsm.workers, defaults.hsm.workers);
  EXPECT_EQ(example->hsm.state_dir, defaults.hsm.state_dir);
  EXPECT_EQ(example->hsm.sign_timeout, defaults.hsm.sign_timeout);
  EXPECT_EQ(example->hsm.generate_timeout, defaults.hsm.generate_timeout);
  EXPECT_EQ(example->audit.durability, defaults.audit.durability);
  EXPECT_EQ(example->audit.segment_bytes, defaults.audit.segment_bytes);
  EXPECT_EQ(example->limits.header_bytes, defaults.limits.header_bytes);
  EXPECT_EQ(example->limits.body_bytes, defaults.limits.body_bytes);
  EXPECT_EQ(example->limits.connections, defaults.limits.connections);
  EXPECT_EQ(example->limits.header_time, defaults.limits.header_time);
  EXPECT_EQ(example->limits.idle_time, defaults.limits.idle_time);
  EXPECT_EQ(example->limits.write_time, defaults.limits.write_time);
  EXPECT_EQ(example->max_in_flight, defaults.max_in_flight);
  EXPECT_EQ(example->drain_timeout, defaults.drain_timeout);
  EXPECT_EQ(example->log.level, defaults.log.level);
  EXPECT_EQ(example->log.text, defaults.log.text);
  ASSERT_EQ(example->hsm.tokens.size(), 1U);
  EXPECT_EQ(example->hsm.tokens[0].uri, "pkcs11:token=prod");
}

/// The reader lists what it knows when a key is unknown: each of those must stand in the example.
template <class Load>
void ExpectComplete(const Load& load, const std::string& file, const std::vector<std::string>& sections) {
  const TempFolder folder;
  folder.Write("e.yaml", "");
  std::ifstream in(file);
  const std::string text(std::istreambuf_iterator<char>(in), {});
  const auto example = store::ParseYaml(text, file);
  ASSERT_THAT(example, IsOk());
  for (const std::string& section : sections) {
    folder.Write("e.yaml", section.empty() ? "zz: 1\n" : section + ": {zz: 1}\n");
    const auto loaded = load((folder.path() / "e.yaml").string());
    ASSERT_THAT(loaded, IsErr(Code::kInvalidArgument, "ConfigInvalid"));
    const std::string& message = loaded.error().message;
    const auto start = message.find("(known: ") + 8;
    std::stringstream known(message.substr(start, message.rfind(')') - start));
    const auto& object = section.empty() ? example->at(0).value : example->at(0).value.at(section);
    std::size_t count = 0;
    for (std::string key; std::getline(known, key, ','); ++count) {
      if (key.front() == ' ') key.erase(0, 1);
      EXPECT_TRUE(object.contains(key)) << file << ": " << section << "." << key;
    }
    EXPECT_EQ(count, object.size()) << section;
  }
}

TEST(SidecarConfigTest, GatewayExampleNamesEveryKeyWithItsDefault) {
  const auto example = LoadSidecarConfig(kExamples + "sidecar-gateway.yaml");
  ASSERT_THAT(example, IsOk());
  EXPECT_THAT(Validate(*example), IsOk());
  EXPECT_TRUE(example->gateway_mode());
  const UpstreamOptions defaults;
  EXPECT_EQ(example->gateway.ca_file, defaults.ca_file);
  EXPECT_EQ(example->gateway.server_name, defaults.server_name);
  EXPECT_EQ(example->gateway.token_file, defaults.token_file);
  EXPECT_EQ(example->gateway.attempt_timeout, defaults.attempt_timeout);
  EXPECT_EQ(example->gateway.max_wait, defaults.max_wait);
  EXPECT_EQ(example->gateway.strict, defaults.strict);
  EXPECT_EQ(example->gateway.end_with_pod, defaults.end_with_pod);
  ExpectComplete(LoadSidecarConfig, kExamples + "sidecar-gateway.yaml", {"gateway", "socket", "limits", "log"});
}

TEST(SidecarConfigTest, ReadsTheGatewaysUrls) {
  const auto target = [](std::string_view url) {
    const auto parsed = ParseGatewayUrl(url);
    return parsed ? parsed->host + " " + std::to_string(parsed->port) : "refused";
  };
  EXPECT_EQ(target("https://signet-gateway.signet-system.svc"), "signet-gateway.signet-system.svc 443");
  EXPECT_EQ(target("https://10.0.0.1:8443/"), "10.0.0.1 8443");
  EXPECT_EQ(target("https://[fd00::1]:8443"), "fd00::1 8443");
  EXPECT_EQ(target("https://[fd00::1]"), "fd00::1 443");
  for (const char* bad : {"", "https://", "http://h", "h", "https://h:0", "https://h:65536",
                          "https://h:", "https://h:1x", "https://h/path", "https://h?q", "https://u@h", "https://a b",
                          "https://[h]", "https://[::1", "https://[::1]x", "https://h\r\nX: y"}) {
    EXPECT_EQ(target(bad), "refused") << bad;
  }
}

TEST(SidecarConfigTest, GatewayModeAndDirectModeExcludeEachOther) {
  const std::string gateway = "gateway: {urls: ['https://g.example']}\n";
  const auto valid = Sidecar(gateway);
  ASSERT_THAT(valid, IsOk());
  EXPECT_THAT(Validate(*valid), IsOk());
  for (const char* direct : {"hsm: {module: /m}", "hsm: {pinFile: /p}", "hsm: {tokenLabel: t}", "hsm: {stateDir: /s}",
                             "hsm: {tokens: [{uri: 'pkcs11:token=t', pinFile: /p}]}", "policies: {folder: /p}",
                             "audit: {file: /a}", "subject: 'system:serviceaccount:a:b'"}) {
    const auto both = Sidecar(gateway + direct + "\n");
    ASSERT_THAT(both, IsOk()) << direct;
    EXPECT_THAT(Validate(*both), IsErr(Code::kInvalidArgument, "ConfigInvalid")) << direct;
  }
  for (const char* wrong :
       {"maxWait: 1s", "serverName: 'a b'", "endWithPod: \"a\\r\\nX: b\"", "caFile: ''", "tokenFile: ''"}) {
    const auto config = Sidecar("gateway: {urls: ['https://g.example'], " + std::string(wrong) + "}\n");
    ASSERT_THAT(config, IsOk()) << wrong;
    EXPECT_THAT(Validate(*config), IsErr(Code::kInvalidArgument, "ConfigInvalid")) << wrong;
  }
  EXPECT_THAT(Sidecar("gateway: {readiness: lax}\n"), IsErr(Code::kInvalidArgument, "ConfigInvalid"));
}

TEST(SidecarConfigTest, ExampleIsComplete) {
  ExpectComplete(LoadSidecarConfig, kExamples + "sidecar.yaml",
                 {"", "socket", "policies", "hsm", "audit", "limits", "log"});
}
TEST(OperatorConfigTest, ExampleIsComplete) {
  ExpectComplete(LoadOperatorConfig, kExamples + "operator.yaml",
                 {"", "injection", "hsm", "audit", "leaderElection", "policies", "log"});
}

TEST(SidecarConfigTest, ReadsWhatIsWrittenAndKeepsTheRest) {
  const auto config = Sidecar(
      "socket: {path: /tmp/s, mode: '0600', allowUIDs: [0, 1000]}\n"
      "policies: {folder: /p, poll: 500ms, maxAge: 1m30s}\n"
      "hsm: {module: /m.so, pinFile: /pin, tokenLabel: prod, workers: 3, signTimeout: 2s}\n"
      "audit: {file: /a, durability: fsync, segmentSize: 8Ki, stdout: true}\nlimits: {bodyBytes: 2048}\nlog: {level: "
      "debug, format: "
      "text}\n");
  ASSERT_THAT(config, IsOk());
  EXPECT_EQ(config->socket_path, "/tmp/s");
  EXPECT_EQ(config->socket_mode, 0600U);
  EXPECT_THAT(config->allowed_uids, ElementsAre(0, 1000));
  EXPECT_EQ(config->policy_poll, milliseconds(500));
  EXPECT_EQ(config->policy_max_age, milliseconds(90'000));
  EXPECT_EQ(config->hsm.workers, 3U);
  EXPECT_EQ(config->audit.durability, audit::Durability::kFsync);
  EXPECT_EQ(config->audit.segment_bytes, 8192U);
  EXPECT_TRUE(config->audit.to_stdout);
  EXPECT_EQ(config->limits.body_bytes, 2048U);
  EXPECT_EQ(config->limits.header_bytes, http::Limits().header_bytes);
  EXPECT_EQ(config->log.level, obs::Level::kDebug);
  EXPECT_TRUE(config->log.text);
}

TEST(SidecarConfigTest, TakesAnEmptyFile) { EXPECT_THAT(Sidecar("# nothing\n"), IsOk()); }

TEST(SidecarConfigTest, RefusesUnknownKeysByPath) {
  EXPECT_THAT(Problem(Sidecar("sokcet: {path: /s}\n")), HasSubstr("unknown key \"sokcet\""));
  EXPECT_THAT(Problem(Sidecar("hsm: {pin: '1234'}\n")), HasSubstr("hsm: unknown key \"pin\""));
  EXPECT_THAT(Problem(Sidecar("hsm: {tokens: [{uri: 'pkcs11:token=a', pinFile: /p, pin: x}]}\n")),
              HasSubstr("hsm.tokens[0]: unknown key"));
}

TEST(SidecarConfigTest, RefusesWrongTypesAndBoundsByPath) {
  EXPECT_THAT(Problem(Sidecar("hsm: {workers: 17}\n")),
              HasSubstr("hsm.workers: must be a whole number between 1 and 16"));
  EXPECT_THAT(Problem(Sidecar("hsm: {workers: -1}\n")), HasSubstr("hsm.workers"));
  EXPECT_THAT(Problem(Sidecar("hsm: {workers: two}\n")), HasSubstr("hsm.workers"));
  EXPECT_THAT(Problem(Sidecar("hsm: [1]\n")), HasSubstr("hsm: must be an object"));
  EXPECT_THAT(Problem(Sidecar("- 1\n")), HasSubstr("must be an object"));
  EXPECT_THAT(Problem(Sidecar("hsm: {module: 5}\n")), HasSubstr("hsm.module: must be a text"));
  EXPECT_THAT(Problem(Sidecar("hsm: {tokens: {}}\n")), HasSubstr("hsm.tokens: must be a list"));
  EXPECT_THAT(Problem(Sidecar("hsm: {tokens: [{uri: x}]}\n")), HasSubstr("hsm.tokens[0].pinFile: is missing"));
  EXPECT_THAT(Problem(Sidecar("audit: {durability: always}\n")),
              HasSubstr("audit.durability: must be one of process, fsync"));
  EXPECT_THAT(Problem(Sidecar("audit: {segmentSize: 1Ki}\n")), HasSubstr("audit.segmentSize"));
  EXPECT_THAT(Problem(Sidecar("policies: {poll: 10s}\n")), HasSubstr("policies.poll"));
  EXPECT_THAT(Problem(Sidecar("policies: {poll: 1}\n")), HasSubstr("policies.poll"));
  EXPECT_THAT(Problem(Sidecar("socket: {mode: '0999'}\n")), HasSubstr("socket.mode"));
  EXPECT_THAT(Problem(Sidecar("socket: {mode: 0660}\n")), HasSubstr("c.yaml:1: 0660"));
  EXPECT_THAT(Problem(Sidecar("socket: {allowUIDs: [a]}\n")), HasSubstr("socket.allowUIDs"));
  EXPECT_THAT(Problem(Sidecar("a: 1\n---\nb: 1\n")), HasSubstr("more than one document"));
}

TEST(SidecarConfigTest, SaysWhichFileCannotBeRead) {
  EXPECT_THAT(Problem(LoadSidecarConfig("/no/such.yaml")), HasSubstr("/no/such.yaml"));
  EXPECT_THAT(Problem(LoadSidecarConfig("/")), HasSubstr("cannot read /"));
}

SidecarConfig Complete() {
  SidecarConfig config;
  config.policies = "/p";
  config.audit.file = "/a";
  config.subject = "system:serviceaccount:ci:builder";
  return config;
}

TEST(SidecarConfigTest, ValidatesTheWhole) {
  EXPECT_THAT(Validate(Complete()), IsOk());
  const auto broken = [](auto&& change) {
    SidecarConfig config = Complete();
    change(config);
    return Problem<void>(Validate(config));
  };
  EXPECT_THAT(broken([](auto& c) { c.socket_path.clear(); }), HasSubstr("--socket"));
  EXPECT_THAT(broken([](auto& c) { c.policies.clear(); }), HasSubstr("--policies"));
  EXPECT_THAT(broken([](auto& c) { c.audit.file.clear(); }), HasSubstr("--audit"));
  EXPECT_THAT(broken([](auto& c) { c.subject = "alice"; }), HasSubstr("subject \"alice\""));
  EXPECT_THAT(broken([](auto& c) { c.subject = "system:serviceaccount:ci"; }), HasSubstr("subject"));
  EXPECT_THAT(broken([](auto& c) { c.subject = "system:serviceaccount:c i:x"; }), HasSubstr("subject"));
  EXPECT_THAT(broken([](auto& c) { c.listen = "0.0.0.0:80"; }), HasSubstr("127.0.0.1:PORT"));
  EXPECT_THAT(broken([](auto& c) { c.listen = "127.0.0.1:99999"; }), HasSubstr("port"));
  EXPECT_THAT(broken([](auto& c) { c.metrics = "9090"; }), HasSubstr("--metrics"));
}

TEST(SidecarConfigTest, RefusesAPortBesideAnAllowListOfUids) {
  SidecarConfig config = Complete();
  config.listen = "127.0.0.1:0";
  EXPECT_THAT(Validate(config), IsOk());
  config.allowed_uids = {0};
  EXPECT_THAT(Validate(config), IsErr(Code::kInvalidArgument, "ConfigInvalid"));
}

TEST(OperatorConfigTest, ExampleNamesEveryKeyWithItsDefault) {
  const auto example = LoadOperatorConfig(kExamples + "operator.yaml");
  ASSERT_THAT(example, IsOk());
  EXPECT_THAT(Validate(*example), IsOk());
  const OperatorConfig defaults;
  EXPECT_EQ(example->once, defaults.once);
  EXPECT_EQ(example->username, defaults.username);
  EXPECT_EQ(example->webhook.listen, defaults.webhook.listen);
  EXPECT_EQ(example->webhook.url, defaults.webhook.url);
  EXPECT_EQ(example->webhook.service, defaults.webhook.service);
  EXPECT_EQ(example->webhook.certificate_lifetime, defaults.webhook.certificate_lifetime);
  EXPECT_EQ(example->webhook.rotation_pause, defaults.webhook.rotation_pause);
  EXPECT_EQ(example->webhook.check_interval, defaults.webhook.check_interval);
  EXPECT_EQ(example->metrics, defaults.metrics);
  EXPECT_EQ(example->leader_election.enabled, defaults.leader_election.enabled);
  EXPECT_EQ(example->leader_election.name, defaults.leader_election.name);
  EXPECT_EQ(example->leader_election.lease_duration, defaults.leader_election.lease_duration);
  EXPECT_EQ(example->leader_election.renew_deadline, defaults.leader_election.renew_deadline);
  EXPECT_EQ(example->leader_election.retry_period, defaults.leader_election.retry_period);
  EXPECT_EQ(example->policy_workers, defaults.policy_workers);
  EXPECT_EQ(example->request_workers, defaults.request_workers);
  EXPECT_EQ(example->policy_max_age, defaults.policy_max_age);
  EXPECT_EQ(example->policy_refresh, defaults.policy_refresh);
  EXPECT_EQ(example->drain_timeout, defaults.drain_timeout);
}

TEST(OperatorConfigTest, ValidatesTheWhole) {
  const auto broken = [](std::string_view text) {
    const auto config = Operator(std::string("audit: {file: /a}\n") + std::string(text));
    EXPECT_THAT(config, IsOk());
    return Problem<void>(Validate(*config));
  };
  EXPECT_THAT(Problem<void>(Validate(OperatorConfig())), HasSubstr("--audit"));
  EXPECT_THAT(broken("store: /x\n"), HasSubstr("dir:PATH"));
  EXPECT_THAT(broken("store: 'dir:/x'\nkubeconfig: /k\n"), HasSubstr("two stores"));
  EXPECT_THAT(broken("once: true\n"), HasSubstr("--once"));
  EXPECT_THAT(broken("context: c\n"), HasSubstr("--context"));
  EXPECT_THAT(broken("store: 'dir:/x'\nwebhook: {listen: '127.0.0.1:0'}\n"), HasSubstr("--webhook"));
  EXPECT_THAT(broken("webhook: {url: 'http://x'}\n"), HasSubstr("--webhook-url"));
  EXPECT_THAT(broken("leaderElection: {renewDeadline: 20s}\n"), HasSubstr("leaderElection"));
  EXPECT_THAT(broken("policies: {maxAge: 5s, refresh: 5s}\n"), HasSubstr("refresh"));
  const auto folder = Operator("store: 'dir:/x'\nonce: true\naudit: {file: /a}\n");
  ASSERT_THAT(folder, IsOk());
  EXPECT_THAT(Validate(*folder), IsOk());
  EXPECT_EQ(folder->StoreFolder(), "/x");
}

TEST(HsmOptionsTest, NeedsAModuleFileAndOnePinSource) {
  const TempFolder folder;
  folder.Write("m.so", "");
  HsmOptions options;
  EXPECT_THAT(ToWorkerHsmOptions(options), IsErr(Code::kInvalidArgument, "ConfigInvalid"));
  options.module = (folder.path() / "none.so").string();
  EXPECT_THAT(Problem(ToWorkerHsmOptions(options)), HasSubstr("none.so"));
  options.module = folder.path().string();
  EXPECT_THAT(Problem(ToWorkerHsmOptions(options)), HasSubstr("not a file"));
  options.module = (folder.path() / "m.so").string();
  EXPECT_THAT(Problem(ToWorkerHsmOptions(options)), HasSubstr("--pin-file"));
  options.pin_file = "/pin";
  options.workers = 4;
  const auto alone = ToWorkerHsmOptions(options);
  ASSERT_THAT(alone, IsOk());
  ASSERT_EQ(alone->tokens.size(), 1U);
  EXPECT_FALSE(alone->tokens[0].uri.has_value());
  EXPECT_EQ(alone->tokens[0].pin_file, "/pin");
  EXPECT_EQ(alone->workers_per_token, 4U);
  options.token_label = "prod; 1";
  const auto labelled = ToWorkerHsmOptions(options);
  ASSERT_THAT(labelled, IsOk());
  EXPECT_EQ(labelled->tokens[0].uri->token, "prod; 1");
  options.tokens = {{"pkcs11:token=a", "/a"}};
  EXPECT_THAT(Problem(ToWorkerHsmOptions(options)), HasSubstr("twice"));
}

TEST(HsmOptionsTest, TakesARelativeModulePathFromTheCurrentFolder) {
  const TempFolder folder;
  folder.Write("m.so", "");
  std::filesystem::create_directory(folder.path() / "sub");
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path());
  HsmOptions options;
  options.pin_file = "/pin";
  std::vector<std::string> loaded;
  for (const char* module : {"m.so", "./m.so", "sub/../m.so"}) {
    options.module = module;
    const auto found = ToWorkerHsmOptions(options);
    loaded.push_back(found ? found->module : found.error().message);
  }
  options.module = "sub/none.so";
  const auto none = ToWorkerHsmOptions(options);
  options.module = "libsystem.so";  // no file here: dlopen looks in the system's folders
  const auto system = ToWorkerHsmOptions(options);
  std::filesystem::current_path(before);
  EXPECT_THAT(loaded, ::testing::Each((folder.path() / "m.so").string()));
  EXPECT_THAT(Problem(none), HasSubstr("sub/none.so"));
  ASSERT_THAT(system, IsOk());
  EXPECT_EQ(system->module, "libsystem.so");
}

TEST(HsmOptionsTest, TakesTokensByUriOnce) {
  const TempFolder folder;
  folder.Write("m.so", "");
  HsmOptions options;
  options.module = (folder.path() / "m.so").string();
  options.tokens = {{"pkcs11:token=a", "/a"}, {"pkcs11:token=b;serial=01", "/b"}};
  const auto two = ToWorkerHsmOptions(options);
  ASSERT_THAT(two, IsOk());
  EXPECT_EQ(two->tokens[1].uri->serial, "01");
  options.tokens[1].uri = "pkcs11:token=%61";
  EXPECT_THAT(Problem(ToWorkerHsmOptions(options)), HasSubstr("configured twice"));
  options.tokens[1].uri = "pkcs11:token=b;object=key";
  EXPECT_THAT(Problem(ToWorkerHsmOptions(options)), HasSubstr("names a key"));
  options.tokens[1].uri = "pkcs11:token=b?pin-value=1234";
  EXPECT_THAT(ToWorkerHsmOptions(options), IsErr(Code::kInvalidArgument, "ConfigInvalid"));
}

TEST(TimespanTest, ReadsUnits) {
  EXPECT_EQ(ParseTimespan("500ms").value(), milliseconds(500));
  EXPECT_EQ(ParseTimespan("1h30m").value(), milliseconds(5'400'000));
  EXPECT_EQ(ParseTimespan("0s").value(), milliseconds(0));
  for (const char* bad : {"", "5", "s", "1.5s", "-1s", "5 s", "5d", "99999999999999999999s"}) {
    EXPECT_THAT(ParseTimespan(bad), IsErr(Code::kInvalidArgument)) << bad;
  }
}

TEST(SizeTest, ReadsUnits) {
  EXPECT_EQ(ParseSize("4096").value(), 4096U);
  EXPECT_EQ(ParseSize("64Mi").value(), 64U << 20);
  for (const char* bad : {"", "x", "1KB", "1.5Ki", "-1", "99999999999"}) {
    EXPECT_THAT(ParseSize(bad), IsErr(Code::kInvalidArgument)) << bad;
  }
}

}  // namespace
}  // namespace signet::config
