#include "identity/principal.hpp"

#include <gtest/gtest.h>

namespace signet::identity {
namespace {

TEST(ParseServiceAccountTest, SplitsNamespaceAndName) {
  const auto parsed = ParseServiceAccount("system:serviceaccount:payments-ci:ci-main");
  ASSERT_TRUE(parsed.has_value());
  EXPECT_EQ(parsed->ns, "payments-ci");
  EXPECT_EQ(parsed->name, "ci-main");
}

TEST(ParseServiceAccountTest, RefusesEverythingElse) {
  for (const char* name : {"alice", "system:serviceaccount:", "system:serviceaccount:ns", "system:serviceaccount::x",
                           "system:serviceaccount:ns:", "system:serviceaccount:ns:a:b", "system:node:ns:name", ""}) {
    EXPECT_FALSE(ParseServiceAccount(name).has_value()) << name;
  }
}

}  // namespace
}  // namespace signet::identity
