#include "frontend/sign_body.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "encoding/json.hpp"
#include "encoding/text.hpp"
#include "frontend/simple_json.hpp"
#include "support/matchers.hpp"

namespace signet::frontend {
namespace {

using base::Code;
using ::testing::HasSubstr;
using testing::IsErr;
using testing::IsOk;

const std::string kDigest = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

TEST(ParseSignBodyTest, ReadsEveryMember) {
  const auto body = ParseSignBody(R"({"policy":"release","digest":")" + kDigest +
                                  R"(","algorithm":"ECDSAWithSHA256","encoding":"p1363","artifact":{"name":"a/b:1",)"
                                  R"("mediaType":"application/json","annotations":{"k":"v \u00e9"}}})");
  ASSERT_THAT(body, IsOk());
  EXPECT_EQ(body->call.policy, "release");
  EXPECT_EQ(body->call.digest->value.size(), 32U);
  EXPECT_FALSE(body->call.message);
  EXPECT_EQ(body->call.algorithm, encoding::SignatureAlgorithm::kEcdsaWithSha256);
  EXPECT_EQ(body->encoding, SignatureEncoding::kP1363);
  EXPECT_EQ(body->call.artifact->name, "a/b:1");
  EXPECT_EQ(body->call.artifact->annotations.at("k"), "v \u00e9");
}

TEST(ParseSignBodyTest, ReadsTheSimpleFormAsTheFullOne) {
  const std::string simple = R"({"policy":"release","message":"aGVsbG8=","artifact":{"name":"x"}})";
  const std::string escaped = R"({"policy":"rel\u0065ase","message":"aGVsbG8=","artifact":{"name":"x"}})";
  ASSERT_TRUE(ScanSignBody(simple));
  ASSERT_FALSE(ScanSignBody(escaped));
  for (const auto& text : {simple, escaped}) {
    const auto body = ParseSignBody(text);
    ASSERT_THAT(body, IsOk());
    EXPECT_EQ(body->call.policy, "release");
    EXPECT_EQ(base::AsText(*body->call.message), "hello");
    EXPECT_EQ(body->call.artifact->name, "x");
    EXPECT_FALSE(body->call.algorithm);
    EXPECT_EQ(body->encoding, SignatureEncoding::kAsn1);
  }
}

struct BadBody {
  const char* text;
  const char* message;
};
class BadSignBodyTest : public ::testing::TestWithParam<BadBody> {};

TEST_P(BadSignBodyTest, IsRefusedByName) {
  const auto body = ParseSignBody(GetParam().text);
  ASSERT_THAT(body, IsErr(Code::kInvalidArgument, "Malformed"));
  EXPECT_THAT(body.error().message, HasSubstr(GetParam().message));
}

#define DIGEST R"("digest":"sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")"
INSTANTIATE_TEST_SUITE_P(
    Bodies, BadSignBodyTest,
    ::testing::Values(BadBody{"", "not JSON"}, BadBody{"null", "not an object"}, BadBody{"[]", "not an object"},
                      BadBody{"\"x\"", "not an object"}, BadBody{"{}", "policy: missing"},
                      BadBody{R"({"policy":"p"})", "digest: or message is missing"},
                      BadBody{"{\"policy\":\"p\"," DIGEST ",\"message\":\"aGk=\"}", "exclude each other"},
                      BadBody{"{\"policy\":\"p\"," DIGEST "} x", "not JSON"},
                      BadBody{"{\"policy\":\"p\"," DIGEST ",}", "not JSON"},
                      BadBody{"{\"policy\":\"p\"," DIGEST ",\"extra\":\"x\"}", "extra: unknown member"},
                      BadBody{"{\"policy\":\"p\",\"policy\":\"p\"," DIGEST "}", "appears twice"},
                      BadBody{"{\"policy\":\"p\"," DIGEST "," DIGEST "}", "appears twice"},
                      BadBody{"{\"policy\":\"p\",\"Digest\":\"x\"}", "Digest: unknown member"},
                      BadBody{"{\"policy\":\"\"," DIGEST "}", "policy: a name has"},
                      BadBody{"{\"policy\":7," DIGEST "}", "policy: not a string"},
                      BadBody{R"({"policy":"p","digest":null})", "digest: not a string"},
                      BadBody{R"({"policy":"p","digest":"sha256:00"})", "digest: "},
                      BadBody{R"({"policy":"p","digest":"md5:00"})", "digest: "},
                      BadBody{R"({"policy":"p","message":"aGk"})", "message: not canonical base64"},
                      BadBody{R"({"policy":"p","message":"aGl="})", "message: not canonical base64"},
                      BadBody{"{\"policy\":\"p\"," DIGEST ",\"algorithm\":\"RS256\"}", "algorithm: unknown"},
                      BadBody{"{\"policy\":\"p\"," DIGEST ",\"encoding\":\"raw\"}", "encoding: asn1 or p1363"},
                      BadBody{"{\"policy\":\"p\"," DIGEST ",\"artifact\":\"a\"}", "artifact"},
                      BadBody{"{\"policy\":\"p\"," DIGEST ",\"artifact\":{}}", "artifact"},
                      BadBody{"{\"policy\":\"p\"," DIGEST ",\"artifact\":{\"name\":\"../x\"}}", "artifact.name"},
                      BadBody{"{\"policy\":\"p\"," DIGEST ",\"artifact\":{\"name\":\"x\",\"mediaType\":\"y\"}}",
                              "artifact.mediaType"},
                      BadBody{"{\"policy\":\"p\"," DIGEST ",\"artifact\":{\"name\":\"x\",\"size\":1}}", "artifact"}));

TEST(ParseSignBodyTest, CapsMessages) {
  const auto with = [](std::size_t size) {
    return ParseSignBody(R"({"policy":"p","message":")" + encoding::ToBase64(base::Bytes(size, 'x')) + "\"}");
  };
  ASSERT_THAT(with(64 * 1024), IsOk());
  EXPECT_THAT(with(64 * 1024 + 1), IsErr(Code::kInvalidArgument, "TooLarge"));
  EXPECT_THAT(with(100 * 1024), IsErr(Code::kInvalidArgument, "TooLarge"));
  EXPECT_THAT(ParseSignBody(R"({"policy":"p","message":""})"), IsOk()) << "an empty message can be signed";
}

std::string Batch(int items, const std::string& item) {
  std::string text = R"({"policy":"release","items":[)";
  for (int i = 0; i < items; ++i) text += (i > 0 ? "," : "") + item;
  return text + "]}";
}

TEST(ParseBatchBodyTest, ReadsItemsUnderOnePolicy) {
  const std::string item = R"({"digest":")" + kDigest + R"(","encoding":"p1363"})";
  const auto batch = ParseBatchBody(Batch(256, item));
  ASSERT_THAT(batch, IsOk());
  ASSERT_EQ(batch->size(), 256U);
  EXPECT_EQ(batch->back().call.policy, "release");
  EXPECT_EQ(batch->back().encoding, SignatureEncoding::kP1363);
  const auto full =
      ParseBatchBody(R"({"items":[{"message":"aGk=","artifact":{"name":"x","annotations":{"a":"b"}}}],"policy":"p"})");
  ASSERT_THAT(full, IsOk());
  EXPECT_EQ(full->front().call.artifact->annotations.at("a"), "b");
}

TEST(ParseBatchBodyTest, RefusesByName) {
  const std::string item = R"({"digest":")" + kDigest + "\"}";
  const auto message = [](const std::string& text) {
    const auto batch = ParseBatchBody(text);
    EXPECT_THAT(batch, IsErr(Code::kInvalidArgument, "Malformed")) << text;
    return batch ? std::string() : batch.error().message;
  };
  EXPECT_THAT(message(Batch(0, item)), HasSubstr("1 to 256"));
  EXPECT_THAT(message(Batch(257, item)), HasSubstr("1 to 256"));
  EXPECT_THAT(message(R"({"policy":"p"})"), HasSubstr("items"));
  EXPECT_THAT(message(R"({"items":[]})"), HasSubstr("policy: missing"));
  EXPECT_THAT(message(R"({"policy":"p","items":{}})"), HasSubstr("items"));
  EXPECT_THAT(message(R"({"policy":"p","items":[1]})"), HasSubstr("items[0]: not an object"));
  EXPECT_THAT(message(R"({"policy":"p","items":[)" + item + R"(,{"digest":"x"}]})"), HasSubstr("items[1].digest"));
  EXPECT_THAT(message(R"({"policy":"p","items":[{"policy":"q","message":""}]})"),
              HasSubstr("items[0].policy: unknown member"));
  EXPECT_THAT(message(R"({"policy":"p","items":[)" + item + R"(],"more":1})"), HasSubstr("more: unknown member"));
}

/// What the quick scanner accepts, the strict parser accepts, and they agree on every member.
void Compare(std::string_view text) {
  const auto raw = ScanSignBody(text);
  if (!raw) return;
  const auto parsed = encoding::ParseJson(text);
  ASSERT_THAT(parsed, IsOk()) << text;
  nlohmann::json rebuilt = nlohmann::json::object();
  const auto put = [](nlohmann::json& out, const char* name, const std::optional<std::string_view>& value) {
    if (value) out[name] = *value;
  };
  put(rebuilt, "policy", raw->policy);
  put(rebuilt, "digest", raw->digest);
  put(rebuilt, "message", raw->message);
  put(rebuilt, "algorithm", raw->algorithm);
  put(rebuilt, "encoding", raw->encoding);
  if (raw->artifact) {
    rebuilt["artifact"] = nlohmann::json::object();
    put(rebuilt["artifact"], "name", raw->artifact_name);
    put(rebuilt["artifact"], "mediaType", raw->artifact_media_type);
  }
  EXPECT_EQ(rebuilt, *parsed) << text;
}

TEST(ScanSignBodyTest, AgreesWithTheStrictParserOnMutations) {
  const std::string base = R"( {"policy":"p", "digest":"sha256:00","algorithm":"A" ,"encoding":"asn1",)"
                           R"("artifact":{"name":"n","mediaType":"t/s"},"message":"" } )";
  ASSERT_TRUE(ScanSignBody(base));
  std::uint64_t state = 88172645463325252ULL;  // xorshift: the same mutations every time
  const auto next = [&state](std::uint64_t bound) {
    state ^= state << 13U;
    state ^= state >> 7U;
    state ^= state << 17U;
    return state % bound;
  };
  const std::string alphabet = "\"\\{}[]:, \n\tanp0\x01\x7f\xc3\xa9";
  int accepted = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string text = base;
    for (std::uint64_t n = next(4); n > 0; --n) {
      const std::size_t at = next(text.size());
      switch (next(3)) {
        case 0:
          text[at] = alphabet[next(alphabet.size())];
          break;
        case 1:
          text.erase(at, 1);
          break;
        default:
          text.insert(at, 1, alphabet[next(alphabet.size())]);
      }
    }
    if (ScanSignBody(text)) ++accepted;
    Compare(text);
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(accepted, 1000);
}

}  // namespace
}  // namespace signet::frontend
