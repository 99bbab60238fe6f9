#include "reconcile/control_plane_label.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "fakes/fake_store.hpp"
#include "reconcile/resources.hpp"
#include "support/matchers.hpp"

namespace signet::testing {
namespace {

using base::Code;
using nlohmann::json;
using reconcile::EnsureControlPlaneLabels;

class ControlPlaneLabelTest : public ::testing::Test {
 protected:
  void Make(const char* name, json labels) {
    json object = {{"metadata", {{"name", name}, {"annotations", {{"a", "b"}}}}}};
    if (!labels.is_null()) object["metadata"]["labels"] = std::move(labels);
    ASSERT_THAT(store_.Create(reconcile::Namespaces(), "", object), IsOk());
  }
  json Metadata(const char* name) { return (*store_.Get(reconcile::Namespaces(), "", name))["metadata"]; }

  FakeStore store_;
};

TEST_F(ControlPlaneLabelTest, IsAddedBesideWhatIsThere) {
  Make("kube-system", {{"team", "platform"}});
  Make("signet-system", nullptr);
  EXPECT_THAT(EnsureControlPlaneLabels(store_, {"kube-system", "signet-system"}), IsOk());
  EXPECT_EQ(Metadata("kube-system")["labels"], json({{"team", "platform"}, {"signet.dev/control-plane", "true"}}));
  EXPECT_EQ(Metadata("kube-system")["annotations"], json({{"a", "b"}}));
  EXPECT_EQ(Metadata("signet-system")["labels"], json({{"signet.dev/control-plane", "true"}}));
}

TEST_F(ControlPlaneLabelTest, AnyValueThatIsThereStays) {
  Make("kube-system", {{"signet.dev/control-plane", ""}});
  EXPECT_THAT(EnsureControlPlaneLabels(store_, {"kube-system"}), IsOk());
  EXPECT_EQ(store_.CountCalls("MergePatch"), 0U);
}

TEST_F(ControlPlaneLabelTest, ANamespaceThatIsNotThereIsPassedBy) {
  EXPECT_THAT(EnsureControlPlaneLabels(store_, {"nowhere"}), IsOk());
}

TEST_F(ControlPlaneLabelTest, OneThatFailsDoesNotKeepTheOtherBackAndIsNamed) {
  Make("kube-system", nullptr);
  Make("signet-system", nullptr);
  store_.set_fault([](const FakeStore::Call& call) -> std::optional<FakeStore::Fault> {
    if (call.verb == "MergePatch" && call.name == "kube-system") {
      return FakeStore::Fault{base::MakeError(Code::kPermissionDenied, "Forbidden", "no"), false};
    }
    return std::nullopt;
  });
  const auto done = EnsureControlPlaneLabels(store_, {"kube-system", "signet-system"});
  EXPECT_THAT(done, IsErr(Code::kPermissionDenied));
  EXPECT_EQ(done.error().message, "namespace kube-system cannot be labelled signet.dev/control-plane: no");
  EXPECT_TRUE(Metadata("signet-system")["labels"].contains("signet.dev/control-plane"));
}

}  // namespace
}  // namespace signet::testing
