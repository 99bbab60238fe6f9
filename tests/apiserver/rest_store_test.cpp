#include <sys/resource.h>

#include <fstream>
#include <set>

#include "apiserver/cluster.hpp"
#include "apiserver/forwarder.hpp"
#include "support/matchers.hpp"

namespace signet::testing {
namespace {

using base::Code;

/// A CA that has signed nothing here.
constexpr char kOtherCa[] = R"(-----BEGIN CERTIFICATE-----
MIIBgTCCASegAwIBAgIUZxoNIpi5H9G4zpDdQlj1m27VVE4wCgYIKoZIzj0EAwIw
FTETMBEGA1UEAwwKYW5vdGhlci1jYTAgFw0yNjExMjMyMTM2NTlaGA8yMTI2MTAz
MDIxMzY1OVowFTETMBEGA1UEAwwKYW5vdGhlci1jYTBZMBMGByqGSM49AgEGCCqG
SM49AwEHA0IABL0fIg1NBEipX4H+clba+/QwFhZ9jMwPnKSGO7Anr0cYwL9FoHNF
P7h5jzTrsVgeyu4rCRytkUrkaqVslNOFHEWjUzBRMB0GA1UdDgQWBBQcn70xZBnF
4gIF362H50M5lGkThTAfBgNVHSMEGDAWgBQcn70xZBnF4gIF362H50M5lGkThTAP
BgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUCIDuQ6SpyS4Z2PLjs7NOE
rbPiQKDMi38d/uEMTxk6+zSiAiEAuHqm7GAd6JUHsoBWG2/yjU5IVpYYCsIEtCn/
A269mMo=
-----END CERTIFICATE-----
)";

class RestStoreTest : public ::testing::Test {
 protected:
  void SetUp() override { InstallWidgets(*store_); }

  json MakeWidget() {
    auto made = store_->Create(kWidgets, "default", Widget(UniqueName("widget")));
    EXPECT_THAT(made, IsOk());
    return *made;
  }
  base::Result<json> Patch(const json& widget, const json& status) {
    return store_->PatchStatus(kWidgets, "default", Meta(widget, "name"), Meta(widget, "uid"),
                               Meta(widget, "resourceVersion"), status);
  }

  std::unique_ptr<kube::RestStore> store_ = OpenStore();
};

TEST_F(RestStoreTest, CreatesReadsUpdatesAndDeletes) {
  const std::string name = UniqueName("map");
  json map = {{"apiVersion", "v1"}, {"kind", "ConfigMap"}, {"metadata", {{"name", name}}}, {"data", {{"a", "1"}}}};
  auto made = store_->Create(kConfigMaps, "default", map);
  ASSERT_THAT(made, IsOk());
  auto read = store_->Get(kConfigMaps, "default", name);
  ASSERT_THAT(read, IsOk());
  EXPECT_EQ((*read)["data"]["a"], "1");
  (*read)["data"]["a"] = "2";
  auto updated = store_->Update(kConfigMaps, "default", name, *read);
  ASSERT_THAT(updated, IsOk());
  EXPECT_EQ((*store_->Get(kConfigMaps, "default", name))["data"]["a"], "2");
  EXPECT_THAT(store_->Delete(kConfigMaps, "default", name, Meta(*made, "uid")), IsOk());
  EXPECT_THAT(store_->Get(kConfigMaps, "default", name), IsErr(Code::kNotFound, "NotFound"));
}

TEST_F(RestStoreTest, TellsConflictsApart) {
  const json widget = MakeWidget();
  const std::string name = Meta(widget, "name");
  EXPECT_THAT(store_->Create(kWidgets, "default", Widget(name)), IsErr(Code::kAlreadyExists, "AlreadyExists"));
  json edited = widget;
  edited["spec"]["size"] = 2;
  ASSERT_THAT(store_->Update(kWidgets, "default", name, edited), IsOk());
  EXPECT_THAT(store_->Update(kWidgets, "default", name, edited), IsErr(Code::kAborted, "Conflict"));
  const auto stale = Patch(widget, {{"phase", "late"}});
  EXPECT_THAT(stale, IsErr(Code::kAborted, "Conflict"));
  EXPECT_EQ(stale.error().native.number, 409);
  EXPECT_FALSE(store_->Get(kWidgets, "default", name)->contains("status"));
  EXPECT_THAT(store_->Delete(kWidgets, "default", name, "not-its-uid"), IsErr(Code::kAborted));
  EXPECT_THAT(store_->Get(kWidgets, "default", name), IsOk());
}

TEST_F(RestStoreTest, NeverWritesTheStatusOfASuccessorOfTheSameName) {
  const json first = MakeWidget();
  const std::string name = Meta(first, "name");
  ASSERT_THAT(store_->Delete(kWidgets, "default", name, Meta(first, "uid")), IsOk());
  ASSERT_THAT(store_->Create(kWidgets, "default", Widget(name)), IsOk());
  EXPECT_THAT(Patch(first, {{"phase", "wrong"}}), IsErr(Code::kAborted));
  EXPECT_FALSE(store_->Get(kWidgets, "default", name)->contains("status"));
}

TEST_F(RestStoreTest, PatchesTheStatusAlone) {
  const json widget = MakeWidget();
  auto once = Patch(widget, {{"phase", "one"}, {"note", "x"}});
  ASSERT_THAT(once, IsOk());
  auto twice = Patch(*once, {{"phase", "two"}, {"note", nullptr}});
  ASSERT_THAT(twice, IsOk());
  EXPECT_EQ((*twice)["status"], json({{"phase", "two"}}));
  EXPECT_EQ((*twice)["spec"], widget["spec"]);
  EXPECT_EQ((*twice)["metadata"]["generation"], 1);
}

TEST_F(RestStoreTest, RefusesPatchesWithoutPreconditions) {
  const json widget = MakeWidget();
  EXPECT_THAT(store_->PatchStatus(kWidgets, "default", Meta(widget, "name"), Meta(widget, "uid"), "", {{"a", 1}}),
              IsErr(Code::kInvalidArgument));
  EXPECT_THAT(
      store_->PatchStatus(kWidgets, "default", Meta(widget, "name"), "", Meta(widget, "resourceVersion"), {{"a", 1}}),
      IsErr(Code::kInvalidArgument));
}

TEST_F(RestStoreTest, ReportsWhatTheServerFindsInvalid) {
  EXPECT_THAT(store_->Create(kWidgets, "default", Widget("No Name")), IsErr(Code::kInvalidArgument, "Invalid"));
}

TEST_F(RestStoreTest, BringsEventsInOrderAndAtOnce) {
  const auto list = store_->ListAll(kWidgets);
  ASSERT_THAT(list, IsOk());
  Recorder recorder;
  const auto watch = store_->StartWatch(kWidgets, list->resource_version, recorder.Sink());
  json widget = MakeWidget();
  std::vector<std::chrono::steady_clock::time_point> replies;
  for (int i = 0; i < 50; ++i) {
    auto next = Patch(widget, {{"round", i}});
    replies.push_back(std::chrono::steady_clock::now());
    ASSERT_THAT(next, IsOk());
    widget = *next;
  }
  ASSERT_TRUE(recorder.WaitForEvents(51));
  const auto events = recorder.events();
  EXPECT_EQ(events[0].type, kube::WatchEvent::Type::kAdded);
  int early = 0, late = 0;
  for (std::size_t i = 1; i < 51; ++i) {
    EXPECT_EQ(events[i].type, kube::WatchEvent::Type::kModified);
    EXPECT_EQ(events[i].object["status"]["round"], i - 1);
    early += recorder.times()[i] < replies[i - 1] ? 1 : 0;
    late += recorder.times()[i] - replies[i - 1] > 1s ? 1 : 0;
  }
  EXPECT_LE(late, 5) << "a busy machine holds up one or two, a buffer all of them";
  std::cout << "events before the reply of their write: " << early << " of 50\n";
}

TEST_F(RestStoreTest, NoCallbackRunsAfterAWatchIsGone) {
  const auto list = store_->ListAll(kWidgets);
  Recorder recorder;
  auto watch = store_->StartWatch(kWidgets, list->resource_version, recorder.Sink());
  json widget = MakeWidget();
  ASSERT_TRUE(recorder.WaitForEvents(1));
  const auto began = std::chrono::steady_clock::now();
  watch.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - began, 10s) << "it does not wait for the server to end the watch";
  const auto count = recorder.events().size();
  Recorder second;  // proves that later events were sent
  const auto other = store_->StartWatch(kWidgets, list->resource_version, second.Sink());
  ASSERT_THAT(Patch(widget, {{"a", 1}}), IsOk());
  ASSERT_TRUE(second.WaitForEvents(2));
  EXPECT_EQ(recorder.events().size(), count);
  EXPECT_EQ(recorder.ends(), 0);
}

TEST_F(RestStoreTest, EndsWatchesRegularlyAndReadsBookmarks) {
  kube::RestOptions options;
  options.watch_min = options.watch_max = 4s;
  const auto brief = OpenStore(options);
  // The server sends a bookmark about 2 s before the end of a watch, if its timer of about a second hits that window.
  bool bookmarked = false;
  for (int attempt = 0; attempt < 10 && !bookmarked; ++attempt) {
    const auto list = brief->ListAll(kWidgets);
    ASSERT_THAT(list, IsOk());
    Recorder recorder;
    const auto watch = brief->StartWatch(kWidgets, list->resource_version, recorder.Sink());
    MakeWidget();  // no bookmark says what the list has said already
    const auto end = recorder.WaitForEnd(15s);
    ASSERT_TRUE(end.has_value());
    EXPECT_THAT(*end, IsOk());
    EXPECT_EQ(recorder.ends(), 1);
    for (const auto& event : recorder.events()) {
      if (event.type != kube::WatchEvent::Type::kBookmark) continue;
      bookmarked = true;
      EXPECT_FALSE(Meta(event.object, "resourceVersion").empty());
      EXPECT_NE(Meta(event.object, "resourceVersion"), list->resource_version);
    }
  }
  EXPECT_TRUE(bookmarked);
}

TEST_F(RestStoreTest, ReportsAWatchOnNothing) {
  Recorder recorder;
  const auto watch = store_->StartWatch({"test.signet.dev", "v1", "gadgets", "Gadget", true}, "0", recorder.Sink());
  const auto end = recorder.WaitForEnd();
  ASSERT_TRUE(end.has_value());
  EXPECT_THAT(*end, IsErr(Code::kNotFound));
}

TEST_F(RestStoreTest, ServesManyWatchesOnTwoThreads) {
  const auto list = store_->ListAll(kWidgets);
  std::vector<std::unique_ptr<Recorder>> recorders;
  std::vector<std::unique_ptr<kube::Watch>> watches;
  for (int i = 0; i < 100; ++i) {
    recorders.push_back(std::make_unique<Recorder>());
    watches.push_back(store_->StartWatch(kWidgets, list->resource_version, recorders.back()->Sink()));
  }
  MakeWidget();
  for (auto& recorder : recorders) EXPECT_TRUE(recorder->WaitForEvents(1, 30s));
  watches.clear();
}

TEST_F(RestStoreTest, ListsTwoThousandObjectsInPages) {
  const std::string stem = UniqueName("many");
  constexpr int kCount = 2000;
  std::atomic<int> failed{0};
  InParallel(16, kCount, [&](int i) {
    failed += store_->Create(kWidgets, "default", Widget(stem + "-" + std::to_string(i), i)).has_value() ? 0 : 1;
  });
  ASSERT_EQ(failed, 0);
  const auto list = store_->ListAll(kWidgets);
  ASSERT_THAT(list, IsOk());
  std::set<std::string> names;
  for (const auto& item : list->items) {
    EXPECT_EQ(item["kind"], "Widget");
    if (Meta(item, "name").starts_with(stem)) names.insert(Meta(item, "name"));
  }
  EXPECT_EQ(names.size(), static_cast<std::size_t>(kCount));
  EXPECT_FALSE(list->resource_version.empty());
  InParallel(16, kCount, [&](int i) {
    failed += store_->Delete(kWidgets, "default", stem + "-" + std::to_string(i), "").has_value() ? 0 : 1;
  });
  EXPECT_EQ(failed, 0);
}

TEST_F(RestStoreTest, ListsLargeObjectsInSmallerPages) {
  std::set<std::string> made;
  for (int i = 0; i < 10; ++i) {
    json widget = Widget(UniqueName("large"));
    widget["metadata"]["annotations"] = {{"filler", std::string(100'000, 'x')}};
    const auto created = store_->Create(kWidgets, "default", widget);
    ASSERT_THAT(created, IsOk());
    made.insert(Meta(*created, "name"));
  }
  kube::RestOptions options;
  options.max_body = 300'000;
  const auto list = OpenStore(options)->ListAll(kWidgets);
  ASSERT_THAT(list, IsOk());
  for (const auto& item : list->items) made.erase(Meta(item, "name"));
  EXPECT_TRUE(made.empty());
}

TEST_F(RestStoreTest, RefusesAServerOfAnotherCa) {
  auto config = AdminConfig();
  config.ca_file.clear();
  config.ca_data = kOtherCa;
  const auto stranger = OpenStore({}, std::move(config));
  const auto answer = stranger->ListAll(kConfigMaps);
  EXPECT_THAT(answer, IsErr(Code::kUnavailable, "NoConnection"));
  EXPECT_THAT(answer.error().message, ::testing::HasSubstr("SSL handshake (is the CA the one of this server"));
}

TEST_F(RestStoreTest, RefusesAServerOfAnotherName) {
  auto config = AdminConfig();
  Forwarder elsewhere("127.0.0.2", config.server);
  config.server = elsewhere.url();
  const auto stranger = OpenStore({}, std::move(config));
  EXPECT_THAT(stranger->ListAll(kConfigMaps), IsErr(Code::kUnavailable, "NoConnection"));
  EXPECT_GE(elsewhere.accepted(), 1);
}

kube::ClusterConfig Anonymous() {
  auto config = AdminConfig();
  config.token = {};
  config.token_file.clear();
  config.client_certificate_file.clear();
  config.client_certificate_data.clear();
  config.client_key_file.clear();
  config.client_key_data = {};
  return config;
}

TEST_F(RestStoreTest, ReportsWhatIsForbidden) {
  const auto nobody = OpenStore({}, Anonymous());
  const auto answer = nobody->ListAll(kConfigMaps);
  EXPECT_THAT(answer, IsErr(Code::kPermissionDenied, "Forbidden"));
  EXPECT_EQ(answer.error().native.number, 403);
  Recorder recorder;
  const auto watch = nobody->StartWatch(kConfigMaps, "0", recorder.Sink());
  const auto end = recorder.WaitForEnd();
  ASSERT_TRUE(end.has_value());
  EXPECT_THAT(*end, IsErr(Code::kPermissionDenied, "Forbidden"));
}

TEST_F(RestStoreTest, FollowsARotatedTokenFile) {
  // A token that the server knows: of the service account "default".
  auto issued =
      store_->Create({"", "v1", "serviceaccounts/default/token", "TokenRequest", true}, "default",
                     {{"apiVersion", "authentication.k8s.io/v1"}, {"kind", "TokenRequest"}, {"spec", json::object()}});
  ASSERT_THAT(issued, IsOk());
  const std::string file = ::testing::TempDir() + UniqueName("token");
  std::ofstream(file) << "not-a-token\n";
  auto config = Anonymous();
  config.token_file = file;
  const auto rotating = OpenStore({}, std::move(config));
  EXPECT_THAT(rotating->ListAll(kConfigMaps), IsErr(Code::kUnauthenticated, "Unauthorized"));
  std::ofstream(file + ".new") << (*issued)["status"]["token"].get<std::string>() << "\n";
  ASSERT_EQ(std::rename((file + ".new").c_str(), file.c_str()), 0);
  const auto known = rotating->ListAll(kConfigMaps);
  EXPECT_THAT(known, IsErr(Code::kPermissionDenied));  // who it is is known now
  EXPECT_THAT(known.error().message, ::testing::HasSubstr("system:serviceaccount:default:default"));
  ::unlink(file.c_str());
  EXPECT_THAT(rotating->ListAll(kConfigMaps), IsErr(Code::kUnavailable, "NoToken"));
}

TEST_F(RestStoreTest, RepeatsRequestsWhosePooledConnectionsBroke) {
  const std::string name = Meta(MakeWidget(), "name");
  auto config = AdminConfig();
  Forwarder relay("127.0.0.1", config.server);
  config.server = relay.url();
  const auto relayed = OpenStore({}, std::move(config));
  std::atomic<int> failed{0};
  for (int round = 0; round < 5; ++round) {
    InParallel(8, 16, [&](int) { failed += relayed->Get(kWidgets, "default", name).has_value() ? 0 : 1; });
    relay.CutAll();
  }
  EXPECT_EQ(failed, 0);
}

TEST_F(RestStoreTest, SeesABrokenWatchAtOnce) {
  auto config = AdminConfig();
  Forwarder relay("127.0.0.1", config.server);
  config.server = relay.url();
  const auto relayed = OpenStore({}, std::move(config));
  const auto list = relayed->ListAll(kWidgets);
  Recorder recorder;
  const auto watch = relayed->StartWatch(kWidgets, list->resource_version, recorder.Sink());
  MakeWidget();
  ASSERT_TRUE(recorder.WaitForEvents(1));
  relay.CutAll();
  const auto end = recorder.WaitForEnd();
  ASSERT_TRUE(end.has_value());
  EXPECT_THAT(*end, IsErr(Code::kUnavailable));
}

double CpuSeconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

TEST_F(RestStoreTest, PatchesSixteenAtATime) {
  std::vector<json> widgets(16);
  for (auto& widget : widgets) widget = MakeWidget();
  constexpr int kRounds = 100;
  std::atomic<int> failed{0};
  const auto began = std::chrono::steady_clock::now();
  const double cpu = CpuSeconds();
  InParallel(16, 16, [&](int i) {
    json& widget = widgets[static_cast<std::size_t>(i)];
    for (int round = 0; round < kRounds; ++round) {
      auto next = Patch(widget, {{"round", round}});
      if (!next) {
        ++failed;
        return;
      }
      widget = *std::move(next);
    }
  });
  const double spent = CpuSeconds() - cpu;
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  EXPECT_EQ(failed, 0);
  std::cout << "PATCH, 16 in flight: " << static_cast<int>(16 * kRounds / seconds) << "/s, "
            << static_cast<int>(spent / (16 * kRounds) * 1e6) << " us of client CPU each\n";
}

}  // namespace
}  // namespace signet::testing
