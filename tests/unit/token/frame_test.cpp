#include "token/frame.hpp"

#include <gmock/gmock.h>

#include "support/matchers.hpp"
#include "token/worker_messages.hpp"

namespace signet::token {
namespace {

TEST(FrameTest, BringsFieldsBackInOrder) {
  FrameWriter writer;
  writer.U8(7).U32(70'000).U64(1ULL << 40).Bool(true).Text("text").Octets({});
  FrameReader reader(writer.bytes());
  EXPECT_EQ(reader.U8(), 7);
  EXPECT_EQ(reader.U32(), 70'000u);
  EXPECT_EQ(reader.U64(), 1ULL << 40);
  EXPECT_TRUE(reader.Bool());
  EXPECT_EQ(reader.Text(), "text");
  EXPECT_TRUE(reader.Octets().empty());
  EXPECT_TRUE(reader.ok());
  EXPECT_TRUE(reader.rest().empty());
}

TEST(FrameTest, NoticesEveryTruncation) {
  FrameWriter writer;
  Write(writer, ConfigureMessage{"module", "uri", "serial", "pin"});
  for (std::size_t size = 0; size < writer.bytes().size(); ++size) {
    FrameReader reader(base::ByteView(writer.bytes()).first(size));
    ReadConfigure(reader);
    EXPECT_FALSE(reader.ok()) << size;
  }
}

TEST(FrameTest, NoticesALengthBeyondTheFrame) {
  FrameWriter writer;
  writer.U32(0xffffffff).U8(1);
  FrameReader reader(writer.bytes());
  EXPECT_TRUE(reader.Octets().empty());
  EXPECT_FALSE(reader.ok());
  EXPECT_EQ(reader.U64(), 0u);
}

TEST(FrameTest, CarriesErrorsWithTheirNumber) {
  FrameWriter writer;
  writer.Err({base::Code::kUnavailable, "HSMUnavailable", "gone", {"pkcs11", 0xe0}});
  FrameReader reader(writer.bytes());
  const auto error = reader.Err();
  EXPECT_EQ(error.code, base::Code::kUnavailable);
  EXPECT_EQ(error.reason, "HSMUnavailable");
  EXPECT_EQ(error.message, "gone");
  EXPECT_EQ(error.native.number, 0xe0);
}

TEST(FrameTest, TakesAnUnreadableLoginAnswerAsNone) {
  FrameReader empty({});
  EXPECT_EQ(ReadLoginResult(empty).outcome, LoginOutcome::kUnanswered);
  FrameWriter writer;
  writer.Bool(true).U8(99);
  FrameReader odd(writer.bytes());
  EXPECT_EQ(ReadLoginResult(odd).outcome, LoginOutcome::kUnanswered);
}

}  // namespace
}  // namespace signet::token
