#include "token/pin_file.hpp"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include "support/matchers.hpp"
#include "support/temp_folder.hpp"

namespace signet::token {
namespace {

using testing::IsErr;
using testing::IsOk;

class PinFileTest : public ::testing::Test {
 protected:
  base::Result<PinFile> Read(std::string_view content) {
    folder_.Write("pin", content);
    return ReadPinFile(path_);
  }
  testing::TempFolder folder_;
  std::string path_ = (folder_.path() / "pin").string();
};

TEST_F(PinFileTest, StripsWhatEditorsAndShellsAdd) {
  for (const auto& [content, pin] :
       {std::pair{"1234", "1234"},
        {"1234\n", "1234"},
        {"1234\r\n", "1234"},
        {"1234\r", "1234"},
        {"1234\n\n", "1234"},
        {"1234\r\n\r\n\n", "1234"},
        {"\xEF\xBB\xBF"
         "1234\r\n",
         "1234"},
        {"12 34", "12 34"},
        {"caf\xC3\xA9-\xE2\x82\xAC-\xF0\x9F\x94\x91\n", "caf\xC3\xA9-\xE2\x82\xAC-\xF0\x9F\x94\x91"}}) {
    const auto file = Read(content);
    ASSERT_THAT(file, IsOk());
    EXPECT_EQ(base::AsText(file->pin.Reveal()), pin);
  }
}

TEST_F(PinFileTest, AcceptsTheLongestPinAndNoLonger) {
  EXPECT_THAT(Read(std::string(kMaxPin, '1') + "\n"), IsOk());
  EXPECT_THAT(Read(std::string(kMaxPin + 1, '1')), IsErr(base::Code::kUnavailable, "PinFileUnreadable"));
  EXPECT_THAT(Read(std::string(4096, '1')), IsErr(base::Code::kUnavailable, "PinFileUnreadable"));
}

TEST_F(PinFileTest, RefusesWhatIsNoPin) {
  EXPECT_THAT(Read(""), IsErr(base::Code::kUnavailable, "PinFileUnreadable"));
  EXPECT_THAT(Read("\n"), IsErr(base::Code::kUnavailable, "PinFileUnreadable"));
  EXPECT_THAT(ReadPinFile(folder_.path().string()), IsErr(base::Code::kUnavailable, "PinFileUnreadable"));
  EXPECT_THAT(ReadPinFile(path_ + "-absent"), IsErr(base::Code::kUnavailable, "PinFileUnreadable"));
  const std::string fifo = (folder_.path() / "fifo").string();
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_THAT(ReadPinFile(fifo), IsErr(base::Code::kUnavailable, "PinFileUnreadable"));
}

TEST_F(PinFileTest, SaysWhatCannotBeAPin) {
  using namespace std::string_literals;
  for (const auto& [content, why] : {std::pair{"\xEF\xBB\xBF\r\n"s, "empty"},
                                     {"\n1234"s, "more than one line"},
                                     {"1234\n5678\n"s, "more than one line"},
                                     {"1234\r5678"s, "more than one line"},
                                     {"1234 "s, "blank"},
                                     {" 1234\n"s, "blank"},
                                     {"1234 \r\n"s, "blank"},
                                     {"12\t34"s, "control character"},
                                     {"1234\x1b"s, "control character"},
                                     {"1\0002\0"s, "UTF-8"},
                                     {"12\0"s, "UTF-8"},
                                     {"\xFF\xFE1\0002\0"s, "UTF-8"},
                                     {"\xFE\xFF\0001\0002"s, "UTF-8"},
                                     {"1234\xC2\xA0"s, "blank"},  // no-break space
                                     {"\xE3\x80\x80"
                                      "1234"s,
                                      "blank"},                                   // ideographic space
                                     {"1234\xC2\x85"s, "control character"},      // NEL
                                     {"1234\xE2\x80\xA8"s, "control character"},  // line separator
                                     {"1234\xE2\x80\x8B"s, "invisible"},          // zero width space
                                     {"1234\xEF\xBB\xBF"s, "invisible"},
                                     {"\xEF\xBB\xBF\xEF\xBB\xBF"
                                      "1234"s,
                                      "invisible"},
                                     {"\xE2\x80\x8E"
                                      "1234"s,
                                      "invisible"},  // left-to-right mark
                                     {"12\xC2\x9B"
                                      "34"s,
                                      "control character"},
                                     {"caf\xE9"s, "UTF-8"},
                                     {"\xC0\xB1"s, "UTF-8"},
                                     {"\xED\xA0\x80"s, "UTF-8"},
                                     {"\xE2\x82"s, "UTF-8"}}) {
    const auto file = Read(content);
    ASSERT_THAT(file, IsErr(base::Code::kUnavailable, "PinFileUnreadable")) << content;
    EXPECT_THAT(file.error().message, ::testing::HasSubstr(why)) << content;
  }
}

TEST_F(PinFileTest, HoldsThePinToTheLimitsOfTheToken) {
  EXPECT_THAT(CheckPinSize("/p", 4, 4, 8), IsOk());
  EXPECT_THAT(CheckPinSize("/p", 8, 4, 8), IsOk());
  EXPECT_THAT(CheckPinSize("/p", 3, 4, 8), IsErr(base::Code::kUnavailable, "PinFileUnreadable"));
  EXPECT_THAT(CheckPinSize("/p", 9, 4, 8), IsErr(base::Code::kUnavailable, "PinFileUnreadable"));
  EXPECT_THAT(CheckPinSize("/p", 300, 0, 0), IsOk());
}

TEST_F(PinFileTest, IdentifiesContentWithoutReadingIt) {
  const auto read = Read("1234");
  EXPECT_EQ(*IdentifyFile(path_), read->identity);
  folder_.Put("pin", "1234");
  EXPECT_NE(*IdentifyFile(path_), read->identity);
}

TEST_F(PinFileTest, ReplacesAndRemovesSmallFiles) {
  const std::string path = (folder_.path() / "state.json").string();
  EXPECT_EQ(*ReadSmallFile(path), "");
  ASSERT_THAT(ReplaceFile(path, "one"), IsOk());
  ASSERT_THAT(ReplaceFile(path, "two"), IsOk());
  EXPECT_EQ(*ReadSmallFile(path), "two");
  ASSERT_THAT(ReplaceFile(path, ""), IsOk());
  EXPECT_EQ(*ReadSmallFile(path), "");
  EXPECT_THAT(ReplaceFile(path + "/under/a/file", "x"), IsErr(base::Code::kUnavailable, "StateUnwritable"));
}

}  // namespace
}  // namespace signet::token
