// tests/softhsm/worker_fixture.hpp - worker processes on a SoftHSM token of one test.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "support/loop.hpp"
#include "support/matchers.hpp"
#include "support/softhsm.hpp"
#include "token/worker_hsm.hpp"

namespace signet::token {

class SoftHsmTest : public ::testing::Test {
 protected:
  WorkerHsmOptions Options(std::uint32_t workers = 1) {
    WorkerHsmOptions options;
    options.module = testing::SoftHsm::module();
    options.tokens = {{std::nullopt, softhsm_.pin_file()}};
    options.workers_per_token = workers;
    return options;
  }
  void StartReady(WorkerHsmOptions options) {
    const auto workers = static_cast<std::uint32_t>(options.workers_per_token * options.tokens.size());
    auto created = WorkerHsm::Create(std::move(options), loop_.reactor());
    ASSERT_THAT(created, testing::IsOk());
    hsm_ = *std::move(created);
    ASSERT_TRUE(Ready(workers)) << hsm_->State().reason << ": " << hsm_->State().message;
  }
  bool Ready(std::uint32_t workers) {
    return loop_.Until([&] { return hsm_->State().workers_ready == workers; });
  }
  base::Result<KeyInfo> Find(const std::string& uri) {
    return loop_.Await<KeyInfo>([&](auto done) { hsm_->Find(*encoding::ParsePkcs11Uri(uri), done); });
  }
  base::Result<KeyInfo> Generate(const std::string& uri, encoding::KeyAlgorithm algorithm, int bits) {
    return loop_.Await<KeyInfo>([&](auto done) {
      hsm_->Generate(*encoding::ParsePkcs11Uri(uri), {algorithm, bits}, done);
    });
  }
  base::Result<base::Bytes> Sign(KeyRef key, encoding::SignatureAlgorithm algorithm, base::ByteView input) {
    return loop_.Await<base::Bytes>([&](auto done) { hsm_->Sign(key, algorithm, input, done); });
  }

  testing::SoftHsm softhsm_;
  testing::Loop loop_;
  std::unique_ptr<WorkerHsm> hsm_;
};

}  // namespace signet::token
