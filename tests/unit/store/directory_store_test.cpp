#include "store/directory_store.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/file.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "base/unique_fd.hpp"
#include "store/manifest.hpp"
#include "store/status_file.hpp"
#include "support/matchers.hpp"
#include "support/temp_folder.hpp"

namespace signet::store {
namespace {

using base::Code;
using kube::WatchEvent;
using nlohmann::json;
using ::signet::testing::IsErr;
using ::signet::testing::IsOk;
using ::signet::testing::TempFolder;
using ::testing::HasSubstr;
using ::testing::SizeIs;

const kube::Resource kPolicies{"signet.dev", "v1alpha1", "signingpolicies", "SigningPolicy", false};
const kube::Resource kRequests{"signet.dev", "v1alpha1", "signingrequests", "SigningRequest", true};

std::string Request(std::string_view name, std::string_view policy = "release", std::string_view extra = "") {
  return fmt::format(
      "apiVersion: signet.dev/v1alpha1\nkind: SigningRequest\nmetadata: {{name: {}{}}}\nspec: {{policyRef: {{name: "
      "{}}}}}\n",
      name, extra, policy);
}
std::string Policy(std::string_view name) {
  return fmt::format(
      "apiVersion: signet.dev/v1alpha1\nkind: SigningPolicy\nmetadata: {{name: {}}}\nspec: {{suspend: false}}\n", name);
}

std::unique_ptr<DirectoryStore> Open(const TempFolder& folder) {
  DirectoryStore::Options options{.folder = folder.path(), .resources = {kPolicies, kRequests}};
  options.poll = std::chrono::milliseconds(60000);  // looks happen when the test asks: Refresh()
  options.bookmark = std::chrono::milliseconds(0);
  auto store = DirectoryStore::Open(std::move(options), base::SystemClock());
  EXPECT_THAT(store, IsOk());
  return store ? std::move(*store) : nullptr;
}

json Get(DirectoryStore& store, std::string_view name, std::string_view ns = "default") {
  const auto object = store.Get(kRequests, ns, name);
  EXPECT_THAT(object, IsOk());
  return object.value_or(json());
}

base::Result<json> Patch(DirectoryStore& store, const json& object, const json& status) {
  const json& metadata = object.at("metadata");
  return store.PatchStatus(kRequests, metadata.at("namespace").get<std::string>(),
                           metadata.at("name").get<std::string>(), metadata.at("uid").get<std::string>(),
                           metadata.at("resourceVersion").get<std::string>(), status);
}

/// Collects what a watch says.
class Collector {
 public:
  kube::WatchSink Sink() {
    return {[this](WatchEvent event) {
              const std::lock_guard lock(mutex_);
              events_.push_back(std::move(event));
              arrived_.notify_all();
            },
            [this](base::Status status) {
              const std::lock_guard lock(mutex_);
              end_ = std::move(status);
              arrived_.notify_all();
            }};
  }
  std::vector<WatchEvent> Wait(std::size_t count) {
    std::unique_lock lock(mutex_);
    arrived_.wait_for(lock, std::chrono::seconds(10), [&] { return events_.size() >= count; });
    return events_;
  }
  std::optional<base::Status> WaitForEnd() {
    std::unique_lock lock(mutex_);
    arrived_.wait_for(lock, std::chrono::seconds(10), [&] { return end_.has_value(); });
    return end_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::vector<WatchEvent> events_;
  std::optional<base::Status> end_;
};

TEST(DirectoryStoreTest, ReadsManifestsAndGivesThemIdentity) {
  const TempFolder folder;
  folder.Put("all.yaml",
             Policy("release") + "---\n" + Request("one") + "---\n" + Request("two", "p", ", namespace: ci"));
  const auto store = Open(folder);
  const json one = Get(*store, "one");
  EXPECT_EQ(one.at("metadata").at("namespace"), "default");
  EXPECT_EQ(one.at("metadata").at("generation"), 1);
  EXPECT_THAT(one.at("metadata").at("uid").get<std::string>(), SizeIs(36));
  EXPECT_THAT(store->Get(kRequests, "ci", "two"), IsOk());
  EXPECT_THAT(store->Get(kRequests, "default", "two"), IsErr(Code::kNotFound));
  EXPECT_THAT(store->Get(kPolicies, "", "release"), IsOk());
  EXPECT_EQ(store->ListAll(kRequests)->items.size(), 2U);
  EXPECT_EQ(store->ListAll(kPolicies)->items.size(), 1U);
  EXPECT_TRUE(store->TrustsRequesters());
  EXPECT_TRUE(store->Problems().empty());
}

TEST(DirectoryStoreTest, IgnoresWhatOnlyTheServerMaySay) {
  const TempFolder folder;
  folder.Put("r.yaml", Request("one", "p", ", uid: mine, generation: 9, resourceVersion: '77', labels: {a: b}") +
                           "status: {signature: Zm9yZ2Vk}\n");
  const auto store = Open(folder);
  const json one = Get(*store, "one");
  EXPECT_FALSE(one.contains("status"));
  EXPECT_EQ(one.at("metadata").at("generation"), 1);
  EXPECT_NE(one.at("metadata").at("uid"), "mine");
  EXPECT_EQ(one.at("metadata").at("labels"), json({{"a", "b"}}));
}

TEST(DirectoryStoreTest, WritesStatusBesideTheManifestAndKeepsItOverARestart) {
  const TempFolder folder;
  folder.Put("r.yaml", Request("one") + "---\n" + Request("two"));
  auto store = Open(folder);
  const json before = Get(*store, "one");
  const json two = Get(*store, "two");
  const auto after = Patch(*store, before, {{"publicKey", "-----BEGIN-----\nAA==\n"}, {"signature", "AA=="}});
  ASSERT_THAT(after, IsOk());
  EXPECT_NE(after->at("metadata").at("resourceVersion"), before.at("metadata").at("resourceVersion"));
  EXPECT_THAT(folder.Read("r.status.yaml"), HasSubstr("publicKey: |\n    -----BEGIN-----\n"));
  const auto documents = ParseYaml(folder.Read("r.status.yaml"), "r.status.yaml");
  ASSERT_THAT(documents, IsOk());
  ASSERT_EQ(documents->size(), 2U);
  EXPECT_EQ(documents->at(0).value.at("status").at("signature"), "AA==");
  EXPECT_EQ(documents->at(0).value.at("kind"), "SigningRequest");

  store.reset();
  store = Open(folder);
  const json again = Get(*store, "one");
  EXPECT_EQ(again.at("status"), after->at("status"));
  EXPECT_EQ(again.at("metadata").at("uid"), before.at("metadata").at("uid"));
  EXPECT_EQ(again.at("metadata").at("generation"), 1);
  EXPECT_EQ(Get(*store, "two").at("metadata").at("uid"), two.at("metadata").at("uid"));
}

TEST(DirectoryStoreTest, RefusesAStatusForAnotherVersionOrUid) {
  const TempFolder folder;
  folder.Put("r.yaml", Request("one"));
  const auto store = Open(folder);
  const json seen = Get(*store, "one");
  ASSERT_THAT(Patch(*store, seen, {{"a", 1}}), IsOk());
  EXPECT_THAT(Patch(*store, seen, {{"a", 2}}), IsErr(Code::kAborted, "Conflict"));
  json other = Get(*store, "one");
  other["metadata"]["uid"] = "00000000-0000-4000-8000-000000000000";
  EXPECT_THAT(Patch(*store, other, {{"a", 2}}), IsErr(Code::kAborted, "Conflict"));
  EXPECT_EQ(Get(*store, "one").at("status"), json({{"a", 1}}));
}

TEST(DirectoryStoreTest, PatchesByMergeAndWritesNothingForNothing) {
  const TempFolder folder;
  folder.Put("r.yaml", Request("one"));
  const auto store = Open(folder);
  ASSERT_THAT(Patch(*store, Get(*store, "one"), {{"a", 1}, {"b", {{"c", 2}, {"d", 3}}}}), IsOk());
  const json before = Get(*store, "one");
  const auto same = Patch(*store, before, {{"a", 1}});
  ASSERT_THAT(same, IsOk());
  EXPECT_EQ(*same, before);
  ASSERT_THAT(Patch(*store, before, json::parse(R"({"a":null,"b":{"c":9}})")), IsOk());
  EXPECT_EQ(Get(*store, "one").at("status"), json::parse(R"({"b":{"c":9,"d":3}})"));
}

TEST(DirectoryStoreTest, CountsChangesOfTheSpecAlsoWhileItWasStopped) {
  const TempFolder folder;
  folder.Put("r.yaml", Request("one", "a"));
  auto store = Open(folder);
  const json first = Get(*store, "one");
  folder.Put("r.yaml", "# touched\n" + Request("one", "a"));
  EXPECT_TRUE(store->Refresh());
  EXPECT_EQ(Get(*store, "one").at("metadata").at("generation"), 1);
  folder.Put("r.yaml", Request("one", "b"));
  EXPECT_TRUE(store->Refresh());
  EXPECT_EQ(Get(*store, "one").at("metadata").at("generation"), 2);
  store.reset();
  folder.Put("r.yaml", Request("one", "c"));
  store = Open(folder);
  EXPECT_EQ(Get(*store, "one").at("metadata").at("generation"), 3);
  EXPECT_EQ(Get(*store, "one").at("metadata").at("uid"), first.at("metadata").at("uid"));
}

TEST(DirectoryStoreTest, TellsWatchesInOrder) {
  const TempFolder folder;
  folder.Put("r.yaml", Request("one"));
  const auto store = Open(folder);
  Collector collector;
  const auto watch = store->StartWatch(kRequests, store->ListAll(kRequests)->resource_version, collector.Sink());
  folder.Put("s.yaml", Request("two"));
  store->Refresh();
  ASSERT_THAT(Patch(*store, Get(*store, "one"), {{"a", 1}}), IsOk());
  std::filesystem::remove(folder.path() / "s.yaml");
  EXPECT_FALSE(store->Refresh());
  EXPECT_TRUE(store->Refresh());
  const auto events = collector.Wait(3);
  ASSERT_EQ(events.size(), 3U);
  EXPECT_EQ(events[0].type, WatchEvent::Type::kAdded);
  EXPECT_EQ(events[0].object.at("metadata").at("name"), "two");
  EXPECT_EQ(events[1].type, WatchEvent::Type::kModified);
  EXPECT_EQ(events[1].object.at("status"), json({{"a", 1}}));
  EXPECT_EQ(events[2].type, WatchEvent::Type::kDeleted);
  EXPECT_EQ(events[2].object.at("metadata").at("name"), "two");
}

TEST(DirectoryStoreTest, EndsWatchesThatAskForUnknownVersions) {
  const TempFolder folder;
  folder.Put("r.yaml", Request("one"));
  auto store = Open(folder);
  for (const char* version : {"999999", "", "x"}) {
    Collector collector;
    const auto watch = store->StartWatch(kRequests, version, collector.Sink());
    const auto end = collector.WaitForEnd();
    ASSERT_TRUE(end.has_value());
    EXPECT_THAT(*end, IsErr(Code::kAborted)) << version;
  }
}

TEST(DirectoryStoreTest, SendsBookmarksWhileTheFolderCanBeRead) {
  const TempFolder folder;
  DirectoryStore::Options options{.folder = folder.path(), .resources = {kRequests}};
  options.poll = std::chrono::milliseconds(10);
  options.bookmark = std::chrono::milliseconds(1);
  auto store = DirectoryStore::Open(options, base::SystemClock());
  ASSERT_THAT(store, IsOk());
  Collector collector;
  const auto watch = (*store)->StartWatch(kRequests, (*store)->ListAll(kRequests)->resource_version, collector.Sink());
  EXPECT_EQ(collector.Wait(1).at(0).type, WatchEvent::Type::kBookmark);
}

TEST(DirectoryStoreTest, MakesANewObjectOfADeletedName) {
  const TempFolder folder;
  folder.Put("r.yaml", Request("one"));
  const auto store = Open(folder);
  const json first = Get(*store, "one");
  ASSERT_THAT(Patch(*store, first, {{"signature", "AA=="}}), IsOk());
  std::filesystem::remove(folder.path() / "r.yaml");
  EXPECT_FALSE(store->Refresh());
  EXPECT_TRUE(store->Refresh());
  EXPECT_THAT(store->Get(kRequests, "default", "one"), IsErr(Code::kNotFound));
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "r.status.yaml"));
  std::string kept;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path()))
    kept += entry.path().filename().string() + " ";
  EXPECT_THAT(kept, HasSubstr("r.deleted-"));
  folder.Put("r.yaml", Request("one"));
  store->Refresh();
  const json second = Get(*store, "one");
  EXPECT_NE(second.at("metadata").at("uid"), first.at("metadata").at("uid"));
  EXPECT_FALSE(second.contains("status"));
}

TEST(DirectoryStoreTest, SurvivesEditorsThatSaveByRemovingAndCreating) {
  const TempFolder folder;
  folder.Put("r.yaml", Request("one"));
  const auto store = Open(folder);
  const json first = Get(*store, "one");
  std::filesystem::remove(folder.path() / "r.yaml");
  EXPECT_FALSE(store->Refresh());
  EXPECT_EQ(Get(*store, "one"), first);
  folder.Put("r.yaml", Request("one"));
  store->Refresh();
  EXPECT_EQ(Get(*store, "one").at("metadata").at("uid"), first.at("metadata").at("uid"));
}

TEST(DirectoryStoreTest, FollowsAnObjectIntoARenamedFile) {
  const TempFolder folder;
  folder.Put("r.yaml", Request("one"));
  const auto store = Open(folder);
  ASSERT_THAT(Patch(*store, Get(*store, "one"), {{"signature", "AA=="}}), IsOk());
  const json first = Get(*store, "one");
  std::filesystem::rename(folder.path() / "r.yaml", folder.path() / "s.yaml");
  store->Refresh();
  store->Refresh();
  EXPECT_EQ(Get(*store, "one").at("metadata").at("uid"), first.at("metadata").at("uid"));
  EXPECT_EQ(Get(*store, "one").at("status"), first.at("status"));
  EXPECT_TRUE(std::filesystem::exists(folder.path() / "s.status.yaml"));
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "r.status.yaml"));
}

TEST(DirectoryStoreTest, UsesNoneOfTwoObjectsWithOneName) {
  const TempFolder folder;
  folder.Put("a.yaml", Request("one", "a"));
  const auto store = Open(folder);
  const json first = Get(*store, "one");
  folder.Put("b.yaml", Request("one", "b"));
  store->Refresh();
  EXPECT_THAT(store->Get(kRequests, "default", "one"), IsErr(Code::kNotFound));
  ASSERT_THAT(store->Problems(), SizeIs(2));
  EXPECT_THAT(store->Problems()[0].message, HasSubstr("a.yaml: SigningRequest one is defined in a.yaml and in b.yaml"));
  std::filesystem::remove(folder.path() / "b.yaml");
  store->Refresh();
  store->Refresh();
  EXPECT_EQ(Get(*store, "one").at("metadata").at("uid"), first.at("metadata").at("uid"));
  EXPECT_TRUE(store->Problems().empty());
}

TEST(DirectoryStoreTest, RefusesManifestsThatWouldShareAStatusFile) {
  const TempFolder folder;
  folder.Put("a.yaml", Request("one"));
  folder.Put("a.json",
             R"({"apiVersion":"signet.dev/v1alpha1","kind":"SigningRequest","metadata":{"name":"two"},"spec":{}})");
  const auto store = Open(folder);
  EXPECT_TRUE(store->ListAll(kRequests)->items.empty());
  ASSERT_THAT(store->Problems(), SizeIs(2));
  EXPECT_THAT(store->Problems()[0].message, HasSubstr("shares a.status.yaml with a.yaml"));
}

TEST(DirectoryStoreTest, KeepsTheLastGoodContentOfABrokenFile) {
  const TempFolder folder;
  folder.Put("a.yaml", Request("one"));
  folder.Put("b.yaml", Request("two"));
  auto store = Open(folder);
  const json first = Get(*store, "one");
  folder.Put("a.yaml", "kind: [\n");
  store->Refresh();
  EXPECT_THAT(store->ListAll(kRequests)->items, ::testing::Contains(first));
  EXPECT_THAT(store->Get(kRequests, "default", "one"), IsErr(Code::kUnavailable, "StoreUnavailable"));
  EXPECT_THAT(store->Get(kRequests, "default", "two"), IsOk());
  ASSERT_THAT(store->Problems(), SizeIs(1));
  EXPECT_THAT(store->Problems()[0].message, HasSubstr("a.yaml:"));
  store.reset();
  store = Open(folder);  // broken at start: absent, but not forgotten
  EXPECT_THAT(store->Get(kRequests, "default", "one"), IsErr(Code::kNotFound));
  EXPECT_THAT(store->Get(kRequests, "default", "two"), IsOk());
  folder.Put("a.yaml", Request("one"));
  store->Refresh();
  EXPECT_EQ(Get(*store, "one").at("metadata").at("uid"), first.at("metadata").at("uid"));
  EXPECT_TRUE(store->Problems().empty());
}

TEST(DirectoryStoreTest, ReadsEachDocumentOfABrokenFileByItself) {
  const TempFolder folder;
  folder.Put("a.yaml", Request("one") + "---\n" + Request("two") + "---\n" + Request("three"));
  const auto store = Open(folder);
  folder.Put("a.yaml", Request("one") + "  labels: [\n---\n" + Request("three"));
  store->Refresh();
  EXPECT_THAT(store->Get(kRequests, "default", "three"), IsOk());
  for (const char* hidden : {"one", "two"}) {  // either may stand in the part that cannot be read
    EXPECT_THAT(store->Get(kRequests, "default", hidden), IsErr(Code::kUnavailable, "StoreUnavailable"));
  }
  folder.Put("b.yaml", Request("one"));  // moved to where it can be read
  store->Refresh();
  EXPECT_THAT(store->Get(kRequests, "default", "one"), IsOk());
  folder.Put("a.yaml", Request("three"));
  store->Refresh();
  EXPECT_THAT(store->Get(kRequests, "default", "two"), IsErr(Code::kNotFound));
  EXPECT_TRUE(store->Problems().empty());
}

TEST(DirectoryStoreTest, SaysWhichDocumentIsWrong) {
  const TempFolder folder;
  folder.Put("a.yaml",
             Request("one") + "---\nkind: Secret\napiVersion: v1\n---\n" + Request("'Not_A_Name'") + "---\n[1]\n");
  const auto store = Open(folder);
  EXPECT_THAT(store->Get(kRequests, "default", "one"), IsOk());
  ASSERT_THAT(store->Problems(), SizeIs(3));
  EXPECT_THAT(store->Problems()[0].message, HasSubstr("a.yaml:13: not an object"));
  EXPECT_THAT(store->Problems()[1].message, HasSubstr("a.yaml:5: apiVersion \"v1\", kind \"Secret\""));
  EXPECT_THAT(store->Problems()[2].message, HasSubstr("a.yaml:8: metadata.name"));
}

TEST(DirectoryStoreTest, ProcessesNothingBesideACorruptStatusFile) {
  const TempFolder folder;
  folder.Put("a.yaml", Request("one"));
  folder.Put("a.status.yaml", "kind: SigningRequest\n");
  const auto store = Open(folder);
  EXPECT_THAT(store->Get(kRequests, "default", "one"), IsErr(Code::kNotFound));
  ASSERT_THAT(store->Problems(), SizeIs(1));
  EXPECT_THAT(store->Problems()[0].message, HasSubstr("a.status.yaml"));
  std::filesystem::remove(folder.path() / "a.status.yaml");
  store->Refresh();
  EXPECT_THAT(store->Get(kRequests, "default", "one"), IsOk());
}

TEST(DirectoryStoreTest, TakesAnEmptyStatusFileAsNone) {
  const TempFolder folder;
  folder.Put("a.yaml", Request("one"));
  folder.Put("a.status.yaml", "");
  const auto store = Open(folder);
  EXPECT_THAT(store->Get(kRequests, "default", "one"), IsOk());
}

TEST(DirectoryStoreTest, ClearsTemporaryFilesOfACrash) {
  const TempFolder folder;
  folder.Write(".signet-tmp-0011", "half");
  const auto store = Open(folder);
  EXPECT_FALSE(std::filesystem::exists(folder.path() / ".signet-tmp-0011"));
}

TEST(DirectoryStoreTest, AdmitsOneProcess) {
  const TempFolder folder;
  auto store = Open(folder);
  DirectoryStore::Options options{.folder = folder.path(), .resources = {kRequests}};
  EXPECT_THAT(DirectoryStore::Open(options, base::SystemClock()), IsErr(Code::kFailedPrecondition, "StoreLocked"));
  store.reset();
  EXPECT_THAT(DirectoryStore::Open(options, base::SystemClock()), IsOk());
}

TEST(DirectoryStoreTest, OpensWhateverLockAReaderOfTheFolderHolds) {
  const TempFolder folder;
  Open(folder).reset();
  const base::UniqueFd reader(::open((folder.path() / ".signet.lock").c_str(), O_RDONLY | O_CLOEXEC));
  if (reader.valid()) {
    ASSERT_EQ(::flock(reader.get(), LOCK_EX), 0);
  } else {
    ASSERT_EQ(errno, EACCES);  // all but root
  }
  DirectoryStore::Options options{.folder = folder.path(), .resources = {kRequests}};
  EXPECT_THAT(DirectoryStore::Open(options, base::SystemClock()), IsOk());
}

TEST(DirectoryStoreTest, SaysWhyAFolderCannotBeAStore) {
  const TempFolder folder;
  folder.Write("file", "");
  const auto open = [](const std::filesystem::path& path) {
    return DirectoryStore::Open({.folder = path, .resources = {kRequests}}, base::SystemClock());
  };
  EXPECT_THAT(open(folder.path() / "none"), IsErr(Code::kFailedPrecondition, "StoreNotFound"));
  EXPECT_THAT(open(folder.path() / "file"), IsErr(Code::kFailedPrecondition, "StoreNotFound"));
  EXPECT_THAT(open("/proc/self/fdinfo"), IsErr(Code::kFailedPrecondition, "StoreNotWritable"));
}

TEST(DirectoryStoreTest, DeletesAManifestThatHoldsOneObject) {
  const TempFolder folder;
  folder.Put("a.yaml", Request("one"));
  folder.Put("b.yaml", Request("two") + "---\n" + Request("three"));
  const auto store = Open(folder);
  const std::string uid = Get(*store, "one").at("metadata").at("uid");
  EXPECT_THAT(store->Delete(kRequests, "default", "one", "another"), IsErr(Code::kAborted));
  EXPECT_THAT(store->Delete(kRequests, "default", "one", uid), IsOk());
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "a.yaml"));
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "a.status.yaml"));
  EXPECT_THAT(store->Get(kRequests, "default", "one"), IsErr(Code::kNotFound));
  EXPECT_THAT(store->Delete(kRequests, "default", "two", ""), IsErr(Code::kUnimplemented));
  EXPECT_THAT(store->Create(kRequests, "default", {}), IsErr(Code::kUnimplemented));
  EXPECT_THAT(store->Update(kRequests, "default", "two", {}), IsErr(Code::kUnimplemented));
}

TEST(DirectoryStoreTest, IsUnavailableWhileTheFolderIsGone) {
  const TempFolder parent;
  std::filesystem::create_directory(parent.path() / "s");
  DirectoryStore::Options options{.folder = parent.path() / "s", .resources = {kRequests}};
  options.poll = std::chrono::milliseconds(60000);
  parent.Put("s/a.yaml", Request("one"));
  auto store = DirectoryStore::Open(options, base::SystemClock());
  ASSERT_THAT(store, IsOk());
  std::filesystem::rename(parent.path() / "s", parent.path() / "t");
  (*store)->Refresh();
  EXPECT_THAT((*store)->Get(kRequests, "default", "one"), IsErr(Code::kUnavailable));
  EXPECT_THAT((*store)->ListAll(kRequests), IsErr(Code::kUnavailable));
  std::filesystem::rename(parent.path() / "t", parent.path() / "s");
  (*store)->Refresh();
  EXPECT_THAT((*store)->Get(kRequests, "default", "one"), IsOk());
}

TEST(DirectoryStoreTest, ServesManyThreads) {
  const TempFolder folder;
  for (int i = 0; i < 8; ++i) folder.Put(fmt::format("r{}.yaml", i), Request(fmt::format("r{}", i)));
  const auto store = Open(folder);
  Collector collector;
  const auto watch = store->StartWatch(kRequests, store->ListAll(kRequests)->resource_version, collector.Sink());
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&store, i] {
      for (int round = 0; round < 10; ++round) {
        const auto object = store->Get(kRequests, "default", fmt::format("r{}", i));
        EXPECT_THAT(Patch(*store, *object, {{"round", round}}), IsOk());
      }
    });
  }
  for (int i = 0; i < 20; ++i) store->Refresh();
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(collector.Wait(80).size(), 80U);
}

TEST(StatusFileTest, NamesAreDerivedFromTheManifest) {
  EXPECT_EQ(StatusFileName("a.b.yaml"), "a.b.status.yaml");
  EXPECT_EQ(StatusFileName("a.json"), "a.status.yaml");
  EXPECT_TRUE(IsStatusFileName("a.status.yaml"));
  EXPECT_FALSE(IsStatusFileName("a.yaml"));
  EXPECT_EQ(RetiredFileName("a.status.yaml", "2026-11-23T09:00:01Z", "1c2d3e4f-0000"),
            "a.deleted-20261123T090001Z-1c2d3e4f.status.yaml");
  EXPECT_FALSE(IsStatusFileName("a.deleted-20261123T090001Z-1c2d3e4f.status.yaml"));
}

}  // namespace
}  // namespace signet::store
