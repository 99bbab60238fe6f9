#include "token/ring.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <thread>
#include <vector>

namespace signet::token {
namespace {

using Got = RingReader::Got;

class RingTest : public ::testing::Test {
 protected:
  static constexpr std::size_t kCapacity = 256;

  static FrameHeader HeaderOf(std::uint64_t id, FrameType type = FrameType::kSign) {
    FrameHeader header;
    header.type = type;
    header.id = id;
    return header;
  }
  bool Write(std::uint64_t id, std::size_t size) {
    return writer_.Write(HeaderOf(id), base::Bytes(size, static_cast<std::uint8_t>(id)));
  }
  /// The id of the next frame, after its body was found to be what Write wrote; 0: nothing there.
  std::uint64_t Read(std::size_t size) {
    std::size_t got = 0;
    if (reader_.Read(buffer_, got) != Got::kFrame) return 0;
    FrameHeader header;
    std::memcpy(&header, buffer_.data(), sizeof(header));
    EXPECT_EQ(got, sizeof(header) + size);
    for (std::size_t i = sizeof(header); i < got; ++i) EXPECT_EQ(buffer_[i], static_cast<std::uint8_t>(header.id));
    return header.id;
  }
  Got ReadAnything() {
    std::size_t got = 0;
    return reader_.Read(buffer_, got);
  }

  std::unique_ptr<RingControl> control_ = std::make_unique<RingControl>();
  std::vector<std::uint8_t> data_ = std::vector<std::uint8_t>(kCapacity);
  RingMemory memory_{control_.get(), data_.data(), kCapacity};
  RingWriter writer_{memory_};
  RingReader reader_{memory_};
  base::Bytes buffer_ = base::Bytes(128);
};

TEST_F(RingTest, BringsFramesOverInOrderAroundTheEnd) {
  for (std::uint64_t id = 1; id < 500; ++id) {
    const std::size_t size = id * 7 % 100;
    ASSERT_TRUE(Write(id, size));
    ASSERT_EQ(Read(size), id);
  }
  EXPECT_EQ(ReadAnything(), Got::kNothing);
}

TEST_F(RingTest, RefusesWhatDoesNotFitAndTakesItLater) {
  std::uint64_t written = 0;
  while (Write(written + 1, 12)) ++written;
  EXPECT_EQ(written, kCapacity / 40) << "4 of length, 24 of header, 12 of body";
  ASSERT_EQ(Read(12), 1U);
  EXPECT_TRUE(Write(++written, 12));
  EXPECT_FALSE(Write(99, 12));
  for (std::uint64_t id = 2; id <= written; ++id) EXPECT_EQ(Read(12), id);
  EXPECT_FALSE(Write(99, kCapacity)) << "larger than the whole";
  EXPECT_EQ(ReadAnything(), Got::kNothing) << "a refused frame leaves nothing";
}

TEST_F(RingTest, AWriterThatDiesHalfWayLeavesNothing) {
  ASSERT_TRUE(Write(1, 8));
  std::memset(data_.data() + 40, 0x55, 64);  // the next frame's octets, without its tail
  EXPECT_EQ(Read(8), 1U);
  EXPECT_EQ(ReadAnything(), Got::kNothing);
}

TEST_F(RingTest, RingsOncePerRest) {
  EXPECT_FALSE(writer_.TakeRest());
  ASSERT_TRUE(reader_.Rest());
  ASSERT_TRUE(Write(1, 0));
  EXPECT_TRUE(writer_.TakeRest());
  EXPECT_FALSE(writer_.TakeRest());
  EXPECT_FALSE(reader_.Rest()) << "a frame is there";
  EXPECT_FALSE(writer_.TakeRest()) << "the reader did not go to rest";
  EXPECT_EQ(Read(0), 1U);
  EXPECT_TRUE(reader_.Rest());
  reader_.Wake();
  EXPECT_FALSE(writer_.TakeRest());
}

TEST_F(RingTest, TellsWhatHasBeenTaken) {
  ASSERT_TRUE(Write(1, 0));
  const auto first = writer_.position();
  ASSERT_TRUE(Write(2, 0));
  const auto second = writer_.position();
  EXPECT_FALSE(writer_.Taken(first));
  ASSERT_EQ(Read(0), 1U);
  EXPECT_TRUE(writer_.Taken(first));
  EXPECT_FALSE(writer_.Taken(second));
  control_->head = ~std::uint64_t{0};
  EXPECT_FALSE(writer_.Taken(first)) << "a position that was never written";
}

TEST_F(RingTest, SeesWhetherTheNextFrameIsOfTheSameKind) {
  const FrameHeader same = HeaderOf(0);
  EXPECT_FALSE(reader_.NextIsLike(same)) << "there is none";
  ASSERT_TRUE(Write(1, 8));
  EXPECT_TRUE(reader_.NextIsLike(same));
  FrameHeader other = same;
  other.number = 7;
  EXPECT_FALSE(reader_.NextIsLike(other));
  EXPECT_FALSE(reader_.NextIsLike(HeaderOf(0, FrameType::kFind)));
}

TEST_F(RingTest, AHostileReaderOnlyFillsTheRing) {
  for (const std::uint64_t head : {std::uint64_t{1}, std::uint64_t{1} << 40, std::uint64_t{1} << 63}) {
    control_->head = head;
    EXPECT_FALSE(Write(1, 8)) << head;
  }
}

/// What the other side may write: a tail, and the length before the frame.
struct Lie {
  const char* name;
  std::uint64_t tail;
  std::uint32_t length;
};
class HostileWriterTest : public RingTest, public ::testing::WithParamInterface<Lie> {};

TEST_P(HostileWriterTest, IsFoundOutForGood) {
  const std::uint32_t length = GetParam().length;
  std::memcpy(data_.data(), &length, sizeof(length));
  control_->tail = GetParam().tail;
  EXPECT_EQ(ReadAnything(), Got::kBroken);
  control_->tail = 0;
  EXPECT_EQ(ReadAnything(), Got::kBroken) << "it stays so";
  EXPECT_TRUE(reader_.Rest()) << "nothing more is read, so nothing keeps the loop awake";
}

INSTANTIATE_TEST_SUITE_P(Lies, HostileWriterTest,
                         ::testing::Values(Lie{"TailBeyondTheRing", 264, 16},
                                           Lie{"TailBeforeTheStart", ~std::uint64_t{7}, 16},
                                           Lie{"LessThanAHeader", 16, 12}, Lie{"LengthBelowAHeader", 32, 15},
                                           Lie{"LengthBeyondTheTail", 32, 64}, Lie{"LengthBeyondTheBuffer", 256, 200},
                                           Lie{"LengthNearOverflow", 256, 0xFFFF'FFFF}),
                         [](const auto& test) { return test.param.name; });

TEST_F(RingTest, CarriesFramesBetweenThreads) {
  constexpr std::uint64_t kFrames = 20'000;
  std::thread other([this] {
    for (std::uint64_t id = 1; id <= kFrames;) {
      if (Write(id, id % 50)) {
        ++id;
      } else {
        std::this_thread::yield();
      }
    }
  });
  for (std::uint64_t expected = 1; expected <= kFrames;) {
    const std::uint64_t id = Read(expected % 50);
    if (id == 0) {
      std::this_thread::yield();
      continue;
    }
    ASSERT_EQ(id, expected++);
  }
  other.join();
}

}  // namespace
}  // namespace signet::token
