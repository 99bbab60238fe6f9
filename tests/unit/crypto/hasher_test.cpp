#include "crypto/hasher.hpp"

#include <gtest/gtest.h>

#include <string>

#include "crypto/digest.hpp"

namespace signet::crypto {
namespace {

TEST(Hasher, MatchesTheDigestOfTheWhole) {
  const std::string text(100'000, 'x');
  for (const auto hash :
       {encoding::HashAlgorithm::kSha256, encoding::HashAlgorithm::kSha384, encoding::HashAlgorithm::kSha512}) {
    for (const std::size_t piece : {std::size_t{1}, std::size_t{4096}, text.size()}) {
      Hasher hasher(hash);
      for (std::size_t at = 0; at < text.size(); at += piece) {
        hasher.Update(base::AsBytes(std::string_view(text).substr(at, piece)));
      }
      EXPECT_EQ(hasher.Finish(), Hash(hash, base::AsBytes(text)));
    }
    EXPECT_EQ(Hasher(hash).Finish(), Hash(hash, {}));
  }
}

}  // namespace
}  // namespace signet::crypto
