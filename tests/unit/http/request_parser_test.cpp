#include "http/request_parser.hpp"

#include <gmock/gmock.h>

namespace signet::http {
namespace {

using State = RequestParser::State;

const std::vector<std::string> kNoHeaders;

/// Offers `input` in pieces of `step` octets, together with what was left over, as a connection does.
State FeedInPieces(RequestParser& parser, std::string_view input, std::size_t step) {
  std::string pending;
  for (std::size_t at = 0; at < input.size(); at += step) {
    pending.append(input.substr(at, step));
    std::size_t consumed = 0;
    do {
      consumed = parser.Feed(pending);
      pending.erase(0, consumed);
    } while (consumed > 0 && !pending.empty());
  }
  return parser.state();
}

class RequestParserTest : public ::testing::TestWithParam<std::size_t> {};

// The fuzzer found that the library below aborts on a lone last chunk whose end comes octet by octet.
TEST_P(RequestParserTest, TakesChunkedBodiesHoweverTheyAreCut) {
  const std::pair<std::string, std::string> table[] = {
      {"0\r\n\r\n", ""},
      {"000\r\n\r\n", ""},
      {"0;a=b\r\nTrailer: t\r\n\r\n", ""},
      {"1\r\na\r\n0\r\n\r\n", "a"},
      {"5\r\nhello\r\n3;x\r\n, w\r\n0\r\n\r\n", "hello, w"},
  };
  for (const auto& [chunks, body] : table) {
    SCOPED_TRACE(chunks);
    RequestParser parser({}, kNoHeaders);
    const std::string head = "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    ASSERT_EQ(FeedInPieces(parser, head + chunks, GetParam()), State::kComplete);
    Request request;
    parser.Fill(request);
    EXPECT_EQ(request.body, body);
  }
}

TEST_P(RequestParserTest, RefusesWhatIsNoChunkHoweverItIsCut) {
  for (const std::string chunks : {"x\r\n\r\n\r\n", "-1\r\n\r\n", "1\r\nab\r\n0\r\n\r\n", "\r\n0\r\n\r\n"}) {
    SCOPED_TRACE(chunks);
    RequestParser parser({}, kNoHeaders);
    const std::string head = "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    ASSERT_EQ(FeedInPieces(parser, head + chunks, GetParam()), State::kRefused);
    EXPECT_EQ(parser.refusal().status, 400);
  }
}

INSTANTIATE_TEST_SUITE_P(Octets, RequestParserTest, ::testing::Values(1, 2, 3, 4, 5, 1000));

}  // namespace
}  // namespace signet::http
