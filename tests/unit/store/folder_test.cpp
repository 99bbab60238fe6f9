#include "store/folder.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "support/matchers.hpp"
#include "support/temp_folder.hpp"

namespace signet::store {
namespace {

using base::Code;
using ::signet::testing::IsErr;
using ::signet::testing::IsOk;
using ::signet::testing::TempFolder;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> Names(const FolderListing& listing) {
  std::vector<std::string> names;
  for (const auto& file : listing.files) names.push_back(file.name);
  return names;
}

TEST(FolderTest, ListsManifestsSorted) {
  const TempFolder folder;
  for (const char* name : {"b.yaml", "a.yml", "c.json", ".hidden.yaml", "note.txt", "b.status.yaml"})
    folder.Write(name, "a: 1\n");
  const auto listing = ListFolder(folder.path(), {});
  ASSERT_THAT(listing, IsOk());
  EXPECT_THAT(Names(*listing), ElementsAre("a.yml", "b.yaml", "c.json"));
  EXPECT_TRUE(listing->refused.empty());
}

TEST(FolderTest, FollowsTheLinksOfAConfigMapMount) {
  const TempFolder folder;
  std::filesystem::create_directory(folder.path() / "..v1");
  folder.Write("..v1/p.yaml", "a: 1\n");
  std::filesystem::create_directory_symlink("..v1", folder.path() / "..data");
  std::filesystem::create_symlink("..data/p.yaml", folder.path() / "p.yaml");
  const auto listing = ListFolder(folder.path(), {});
  ASSERT_THAT(listing, IsOk());
  ASSERT_THAT(Names(*listing), ElementsAre("p.yaml"));
  EXPECT_EQ(ReadFolderFile(folder.path(), listing->files[0], 100).value(), "a: 1\n");

  // kubelet's update: a new folder, then one rename of ..data
  std::filesystem::create_directory(folder.path() / "..v2");
  folder.Write("..v2/p.yaml", "a: 2\n");
  std::filesystem::create_directory_symlink("..v2", folder.path() / "..data_tmp");
  std::filesystem::rename(folder.path() / "..data_tmp", folder.path() / "..data");
  const auto after = ListFolder(folder.path(), {});
  ASSERT_THAT(after, IsOk());
  EXPECT_NE(*after, *listing);
  EXPECT_THAT(ReadFolderFile(folder.path(), listing->files[0], 100), IsErr(Code::kAborted));
  EXPECT_EQ(ReadFolderFile(folder.path(), after->files[0], 100).value(), "a: 2\n");
}

TEST(FolderTest, RefusesLinksOutOfTheFolder) {
  const TempFolder outside;
  outside.Write("secret.yaml", "pin: 1\n");
  const TempFolder folder;
  std::filesystem::create_symlink(outside.path() / "secret.yaml", folder.path() / "a.yaml");
  std::filesystem::create_directory_symlink(outside.path(), folder.path() / "..data");
  std::filesystem::create_symlink("..data/secret.yaml", folder.path() / "b.yaml");
  std::filesystem::create_symlink("nowhere", folder.path() / "c.yaml");
  const auto listing = ListFolder(folder.path(), {});
  ASSERT_THAT(listing, IsOk());
  EXPECT_TRUE(listing->files.empty());
  ASSERT_EQ(listing->refused.size(), 3U);
  EXPECT_THAT(listing->refused[0].message, HasSubstr("a.yaml: is a link that leads out"));
  EXPECT_THAT(listing->refused[1].message, HasSubstr("b.yaml: is a link that leads out"));
}

TEST(FolderTest, RefusesALinkThatWasTurnedOutwardsAfterListing) {
  const TempFolder outside;
  outside.Write("secret.yaml", "pin: 1\n");
  const TempFolder folder;
  folder.Write("a.yaml", "a: 1\n");
  const auto listing = ListFolder(folder.path(), {});
  ASSERT_THAT(listing, IsOk());
  std::filesystem::remove(folder.path() / "a.yaml");
  std::filesystem::create_symlink(outside.path() / "secret.yaml", folder.path() / "a.yaml");
  EXPECT_THAT(ReadFolderFile(folder.path(), listing->files[0], 100), IsErr(Code::kInvalidArgument));
}

TEST(FolderTest, RefusesWhatIsNotARegularFile) {
  const TempFolder folder;
  ASSERT_EQ(::mkfifo((folder.path() / "fifo.yaml").c_str(), 0600), 0);
  std::filesystem::create_directory(folder.path() / "dir.yaml");
  const auto listing = ListFolder(folder.path(), {});
  ASSERT_THAT(listing, IsOk());
  EXPECT_TRUE(listing->files.empty());
  ASSERT_EQ(listing->refused.size(), 2U);
  EXPECT_THAT(listing->refused[0].message, HasSubstr("not a regular file"));
}

TEST(FolderTest, BoundsNumberAndSize) {
  const TempFolder folder;
  folder.Write("a.yaml", "12345");
  folder.Write("b.yaml", "12345");
  const auto first = ListFolder(folder.path(), {.files = 1});
  ASSERT_THAT(first, IsOk());
  EXPECT_EQ(first->files.size(), 1U);
  EXPECT_FALSE(first->refused.empty());
  const auto partly = ListFolder(folder.path(), {.total_bytes = 9});
  ASSERT_THAT(partly, IsOk());
  ASSERT_EQ(partly->files.size(), 1U);
  ASSERT_EQ(partly->refused.size(), 1U);
  EXPECT_EQ(partly->refused[0].file, "b.yaml");
  folder.Write("a.yaml", "1234567890");  // too large by itself: it takes no room from the others
  const auto large = ListFolder(folder.path(), {.file_bytes = 9, .total_bytes = 9});
  ASSERT_THAT(large, IsOk());
  ASSERT_EQ(large->files.size(), 1U);
  EXPECT_EQ(large->files[0].name, "b.yaml");
  folder.Write("a.yaml", "12345");
  const auto listing = ListFolder(folder.path(), {.files = 2, .total_bytes = 10});
  ASSERT_THAT(listing, IsOk());
  EXPECT_THAT(ReadFolderFile(folder.path(), listing->files[0], 4), IsErr(Code::kInvalidArgument, "Malformed"));
}

TEST(FolderTest, SaysWhatIsWrongWithTheFolder) {
  const TempFolder folder;
  folder.Write("file", "");
  EXPECT_THAT(ListFolder(folder.path() / "none", {}), IsErr(Code::kNotFound));
  EXPECT_THAT(ListFolder(folder.path() / "file", {}), IsErr(Code::kFailedPrecondition));
}

TEST(FolderTest, WaitsForFilesToSettle) {
  FolderListing listing;
  listing.files.push_back({"a.yaml", {.modified_ns = 1'000'000'000}});
  const base::TimePoint written{std::chrono::seconds(1)};
  EXPECT_FALSE(IsSettled(listing, nullptr, written));
  EXPECT_TRUE(IsSettled(listing, nullptr, written + kSettleTime));
  EXPECT_TRUE(IsSettled(listing, &listing, written));  // a clock that is behind the file's
  FolderListing touched = listing;
  touched.files[0].stamp.size = 7;
  EXPECT_FALSE(IsSettled(touched, &listing, written));
}

TEST(FolderTest, ReplacesFilesAsAWhole) {
  const TempFolder folder;
  ASSERT_THAT(WriteFileAtomically(folder.path(), "a.status.yaml", "one", true), IsOk());
  ASSERT_THAT(WriteFileAtomically(folder.path(), "a.status.yaml", "two", false), IsOk());
  EXPECT_EQ(folder.Read("a.status.yaml"), "two");
  std::size_t entries = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder.path())) ++entries;
  EXPECT_EQ(entries, 1U);
  EXPECT_THAT(WriteFileAtomically(folder.path() / "none", "a", "x", false), IsErr(Code::kNotFound));
}

}  // namespace
}  // namespace signet::store
