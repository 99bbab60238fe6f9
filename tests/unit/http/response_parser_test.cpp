#include "http/response_parser.hpp"

#include <gmock/gmock.h>

namespace signet::http {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;
using State = ResponseParser::State;

const std::vector<std::string> kWanted = {"Retry-After", "Allow"};
constexpr ResponseParser::Limits kLimits{1024, 4096};

/// Feeds `step` octets at a time, as a connection does. The rest that was not consumed is returned.
std::string Feed(ResponseParser& parser, std::string_view text, std::size_t step) {
  std::string pending;
  for (std::size_t at = 0; at < text.size(); at += step) {
    pending.append(text.substr(at, step));
    while (!pending.empty()) {
      const State before = parser.state();
      const std::size_t consumed = parser.Feed(pending);
      pending.erase(0, consumed);
      if (parser.state() == State::kRefused || parser.state() == State::kComplete) break;
      if (consumed == 0 && parser.state() == before) break;
    }
  }
  return pending;
}

class ResponseParserTest : public ::testing::TestWithParam<std::size_t> {
 protected:
  std::string Feed(std::string_view text) { return http::Feed(parser_, text, GetParam()); }
  ResponseParser parser_{kLimits, kWanted};
};
INSTANTIATE_TEST_SUITE_P(Pieces, ResponseParserTest, ::testing::Values(1, 3, 100000));

TEST_P(ResponseParserTest, ReadsALengthAndKeepsTheConnection) {
  Feed(
      "HTTP/1.1 429 Too Many\r\nContent-Type: application/problem+json\r\nretry-after: 7\r\nX: y\r\nContent-Length: "
      "2\r\n\r\n{}");
  ASSERT_EQ(parser_.state(), State::kComplete) << parser_.refusal();
  EXPECT_TRUE(parser_.keep_alive());
  const Response response = parser_.Take();
  EXPECT_EQ(response.status, 429);
  EXPECT_EQ(response.content_type, "application/problem+json");
  EXPECT_EQ(response.body, "{}");
  EXPECT_THAT(response.headers, ElementsAre(Pair("Retry-After", "7")));
  parser_.Reset();
  Feed("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
  ASSERT_EQ(parser_.state(), State::kComplete);
  EXPECT_FALSE(parser_.keep_alive());
  EXPECT_EQ(parser_.Take().headers.size(), 0U);
}

TEST_P(ResponseParserTest, ReadsChunks) {
  Feed("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: t\r\n\r\n");
  ASSERT_EQ(parser_.state(), State::kComplete) << parser_.refusal();
  EXPECT_EQ(parser_.Take().body, "abcde");
  parser_.Reset();
  Feed("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
  ASSERT_EQ(parser_.state(), State::kComplete);
}

TEST_P(ResponseParserTest, PassesInterimResponsesBy) {
  Feed(
      "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nAllow: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: "
      "1\r\n\r\na");
  ASSERT_EQ(parser_.state(), State::kComplete) << parser_.refusal();
  const Response response = parser_.Take();
  EXPECT_EQ(response.status, 200);
  EXPECT_TRUE(response.headers.empty());
}

TEST_P(ResponseParserTest, HasAnswersWithoutBody) {
  Feed("HTTP/1.1 204 No Content\r\n\r\n");
  EXPECT_EQ(parser_.state(), State::kComplete);
}

TEST_P(ResponseParserTest, LeavesWhatComesAfter) {
  EXPECT_EQ(Feed("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1"), "HTTP/1.1");
}

TEST_P(ResponseParserTest, RefusesWhatIsNoBoundedAnswer) {
  const std::pair<std::string, std::string> cases[] = {
      {"SSH-2.0-OpenSSH\r\n\r\n", "not HTTP"},
      {"HTTP/1.1 200 OK\r\n\r\n", "no length"},
      {"HTTP/1.0 200 OK\r\n\r\nbody", "no length"},
      {"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", "switches"},
      {"HTTP/1.1 200 OK\r\nContent-Length: 4097\r\n\r\n", "too large"},
      {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", "not HTTP"},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1001\r\n" + std::string(0x1001, 'x'), "too large"},
      {"HTTP/1.1 200 OK\r\nX: " + std::string(2000, 'x') + "\r\n\r\n", "header is too large"},
  };
  for (const auto& [text, why] : cases) {
    parser_.Reset();
    Feed(text);
    EXPECT_EQ(parser_.state(), State::kRefused) << text.substr(0, 60);
    EXPECT_THAT(std::string(parser_.refusal()), HasSubstr(why)) << text.substr(0, 60);
  }
}

}  // namespace
}  // namespace signet::http
