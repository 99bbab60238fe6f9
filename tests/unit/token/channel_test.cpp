#include "token/channel.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <thread>

#include "support/matchers.hpp"

namespace signet::token {
namespace {

class ChannelTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto rings = SharedRings::Create(memory_);
    ASSERT_TRUE(rings.has_value());
    rings_ = *std::move(rings);
    auto theirs = SharedRings::Map(memory_.get());
    ASSERT_TRUE(theirs.has_value());
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    front_ = base::UniqueFd(ends[0]);
    worker_socket_ = base::UniqueFd(ends[1]);
    ::fcntl(front_.get(), F_SETFL, O_NONBLOCK);
    worker_.emplace(*std::move(theirs), worker_socket_.get());
    writer_.emplace(rings_.to_worker());
    reader_.emplace(rings_.to_front());
  }
  FrameHeader Take(RingReader& reader) {
    FrameHeader header;
    std::size_t size = 0;
    if (reader.Read(buffer_, size) == RingReader::Got::kFrame) std::memcpy(&header, buffer_.data(), sizeof(header));
    return header;
  }
  static FrameHeader Numbered(std::uint64_t id) {
    FrameHeader header;
    header.type = FrameType::kDone;
    header.id = id;
    return header;
  }

  base::UniqueFd memory_, front_, worker_socket_;
  SharedRings rings_;
  std::optional<WorkerChannel> worker_;
  std::optional<RingWriter> writer_;
  std::optional<RingReader> reader_;
  base::Bytes buffer_ = base::Bytes(kMaxFrame);
};

TEST_F(ChannelTest, NoEndCanCutTheMemory) {
  EXPECT_NE(::ftruncate(memory_.get(), 4096), 0);
  EXPECT_NE(::ftruncate(memory_.get(), 1 << 24), 0);
}

TEST_F(ChannelTest, RefusesMemoryOfAnotherSize) {
  const base::UniqueFd other(::memfd_create("other", MFD_CLOEXEC));
  EXPECT_FALSE(SharedRings::Map(other.get()).has_value());
}

TEST_F(ChannelTest, TheBellWakesAWorkerThatWaits) {
  std::thread waits([this] { EXPECT_EQ(worker_->Wait(), Bell::kRung); });
  while (!writer_->TakeRest()) std::this_thread::yield();
  Ring(front_.get());
  waits.join();
}

TEST_F(ChannelTest, AWorkerThatFindsAFrameDoesNotWait) {
  ASSERT_TRUE(writer_->Write(Numbered(1), {}));
  EXPECT_EQ(worker_->Wait(), Bell::kRung) << "without a bell";
}

TEST_F(ChannelTest, WhatWasAnsweredOutlivesTheWorker) {
  ASSERT_TRUE(worker_->Write(Numbered(1), {}));
  ASSERT_TRUE(worker_->Write(Numbered(2), {}));
  worker_.reset();
  worker_socket_.Close();
  EXPECT_EQ(TakeBell(front_.get()), Bell::kGone);
  EXPECT_EQ(Take(*reader_).id, 1U);
  EXPECT_EQ(Take(*reader_).id, 2U);
}

TEST_F(ChannelTest, APatientAnswerIsThereWithoutABell) {
  ASSERT_TRUE(reader_->Rest());
  ASSERT_TRUE(worker_->Write(Numbered(1), {}, true));
  EXPECT_EQ(TakeBell(front_.get()), Bell::kSilent);
  EXPECT_EQ(Take(*reader_).id, 1U);
  ASSERT_TRUE(reader_->Rest());
  ASSERT_TRUE(worker_->Write(Numbered(2), {}));
  EXPECT_EQ(TakeBell(front_.get()), Bell::kRung);
}

TEST_F(ChannelTest, AFullRingWaitsForItsReaderAndLosesNothing) {
  constexpr std::uint64_t kFrames = 400;
  const base::Bytes body(1000, 1);
  std::thread answers([&] {
    for (std::uint64_t id = 1; id <= kFrames; ++id) EXPECT_TRUE(worker_->Write(Numbered(id), body));
  });
  for (std::uint64_t expected = 1; expected <= kFrames;) {
    const auto id = Take(*reader_).id;
    if (id == 0) {
      std::this_thread::yield();
      continue;
    }
    ASSERT_EQ(id, expected++);
  }
  answers.join();
}

TEST_F(ChannelTest, AFullRingIsLeftWhenTheFrontIsGone) {
  const base::Bytes body(1000, 1);
  std::thread answers([&] {
    while (worker_->Write(Numbered(1), body)) {
    }
  });
  front_.Close();
  answers.join();
  EXPECT_TRUE(worker_->FrontIsGone());
  EXPECT_EQ(worker_->Wait(), Bell::kGone);
}

TEST_F(ChannelTest, KnowsWhetherTheFrontIsThere) {
  EXPECT_FALSE(worker_->FrontIsGone());
  Ring(front_.get());
  EXPECT_FALSE(worker_->FrontIsGone());
  EXPECT_EQ(worker_->Wait(), Bell::kRung) << "looking did not take the bell";
}

}  // namespace
}  // namespace signet::token
