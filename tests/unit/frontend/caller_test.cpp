// The caller that a door establishes reaches the service whole, now or later.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "fakes.hpp"

namespace signet::testing {
namespace {

using signing::Door;

signing::Caller FromPod() {
  signing::Caller caller;
  caller.door = Door::kGateway;
  caller.principal.username = "system:serviceaccount:ci:builder";
  caller.principal.uid = "0b5c";
  caller.principal.groups = {"system:serviceaccounts", "system:serviceaccounts:ci"};
  caller.principal.extra = {{"authentication.kubernetes.io/pod-name", {"build-1"}}};
  caller.principal.proof = identity::Proof::kTokenReview;
  caller.peer = identity::PeerInfo{1, 2, 3};
  caller.pod = identity::PodIdentity{"ci", "build-1", "uid-1", "node-1"};
  caller.images = std::make_shared<identity::PodImages>();
  return caller;
}

class CallerTest : public ApiFixture {
 protected:
  void SetUp() override {
    caller_ = FromPod();
    service_.answer = [this](const signing::Caller& caller, const signing::SignCall&) {
      seen_.push_back(caller);
      return P256Signed();
    };
  }
  void ExpectSeen(std::size_t count) {
    ASSERT_EQ(seen_.size(), count);
    for (const auto& caller : seen_) {
      EXPECT_EQ(caller.door, Door::kGateway);
      EXPECT_EQ(caller.principal.username, "system:serviceaccount:ci:builder");
      EXPECT_EQ(caller.principal.uid, "0b5c");
      EXPECT_EQ(caller.principal.groups.size(), 2U);
      EXPECT_EQ(caller.principal.extra.size(), 1U);
      EXPECT_EQ(caller.principal.proof, identity::Proof::kTokenReview);
      ASSERT_TRUE(caller.peer);
      EXPECT_EQ(caller.peer->pid, 3);
      ASSERT_TRUE(caller.pod);
      EXPECT_EQ(caller.pod->uid, "uid-1");
      EXPECT_TRUE(caller.images);
    }
  }
  /// Sends a request whose caller becomes known after Handle has returned.
  http::Response AskLater(std::string_view target, std::string_view body) {
    http::Response got;
    asynchronous_ = true;
    Start("POST", target, body, {}, "application/json", [&](http::Response r) { got = std::move(r); });
    EXPECT_EQ(callers_.size(), 1U);
    callers_.front()(FromPod());
    return got;
  }
  std::vector<signing::Caller> seen_;
};

constexpr std::string_view kBody =
    R"({"policy":"release","digest":"sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"})";

TEST_F(CallerTest, ReachesTheServiceAtOnce) {
  EXPECT_EQ(Ask("POST", "/v1/sign", kBody).status, 200);
  ExpectSeen(1);
}

TEST_F(CallerTest, ReachesTheServiceWhenItIsKnownLater) {
  EXPECT_EQ(AskLater("/v1/sign", kBody).status, 200);
  ExpectSeen(1);
}

TEST_F(CallerTest, ReachesTheServiceOfABatchWhenItIsKnownLater) {
  const std::string item = R"({"digest":"sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"})";
  const auto response = AskLater("/v1/sign/batch", R"({"policy":"release","items":[)" + item + "," + item + "]}");
  EXPECT_EQ(response.status, 200) << response.body;
  ExpectSeen(2);
}

}  // namespace
}  // namespace signet::testing
