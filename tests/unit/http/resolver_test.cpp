#include "http/resolver.hpp"

#include "support/loop.hpp"
#include "support/matchers.hpp"

namespace signet::http {
namespace {

using base::Code;
using testing::IsErr;

TEST(ResolverTest, FindsTheAddressesOfAName) {
  testing::Loop loop;
  const auto resolver = Resolver::System(loop.reactor());
  const auto found =
      loop.Await<Resolver::Addresses>([&](Resolver::Done done) { resolver->Resolve("localhost", std::move(done)); });
  ASSERT_THAT(found, testing::IsOk());
  EXPECT_THAT(*found, ::testing::Each(::testing::AnyOf("127.0.0.1", "::1")));
}

TEST(ResolverTest, SaysWhichNameHasNone) {
  testing::Loop loop;
  const auto resolver = Resolver::System(loop.reactor());
  const auto found =
      loop.Await<Resolver::Addresses>([&](Resolver::Done done) { resolver->Resolve("no host", std::move(done)); });
  ASSERT_THAT(found, IsErr(Code::kUnavailable, "NameNotResolved"));
  EXPECT_THAT(found.error().message, ::testing::HasSubstr("no host"));
}

TEST(ResolverTest, MayGoWhileANameIsLookedUp) {
  testing::Loop loop;
  auto resolver = Resolver::System(loop.reactor());
  bool called = false;
  resolver->Resolve("localhost", [&](auto) { called = true; });
  resolver.reset();
  loop.For(std::chrono::milliseconds(50));
  EXPECT_FALSE(called);
}

TEST(ResolverTest, TellsAddressesFromNames) {
  EXPECT_TRUE(IsAddress("10.0.0.1"));
  EXPECT_TRUE(IsAddress("fd00::1"));
  EXPECT_FALSE(IsAddress("10.0.0"));
  EXPECT_FALSE(IsAddress("gateway"));
  EXPECT_FALSE(IsAddress(""));
}

}  // namespace
}  // namespace signet::http
