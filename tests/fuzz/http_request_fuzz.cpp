// A connection's octets: however they are cut into pieces, the same requests come out, within their limits.
#include <algorithm>
#include <string>
#include <vector>

#include "fuzz/fuzz.hpp"
#include "http/request_parser.hpp"

using namespace signet;

namespace {

using Parser = http::RequestParser;
constexpr Parser::Limits kLimits{512, 256};  // small, so that inputs reach them
const std::vector<std::string> kWanted = {"accept", "idempotency-key"};

struct Seen {
  std::vector<std::string> requests;
  int refusal = 0;
};

std::string Describe(const Parser& parser) {
  http::Request request;
  parser.Fill(request);
  HOLDS(!request.method.empty());
  HOLDS(request.target.find('?') == std::string_view::npos && request.target.find(' ') == std::string_view::npos);
  HOLDS(request.body.size() <= kLimits.body_bytes);
  // A few bytes lie in the string itself and count as none.
  HOLDS(parser.body_capacity() >= request.body.size() || request.body.size() <= std::string().capacity());
  HOLDS(std::none_of(request.content_type.begin(), request.content_type.end(),
                     [](char c) { return (c >= 'A' && c <= 'Z') || c == ';' || c == '\r' || c == '\n'; }));
  std::string text;
  const auto add = [&text](std::string_view part) { text.append(part).push_back('\0'); };
  for (const auto part : {request.method, request.target, request.query, request.content_type, request.body}) add(part);
  for (const auto& [name, value] : request.headers) {
    HOLDS(std::find(kWanted.begin(), kWanted.end(), name) != kWanted.end());
    HOLDS(value.find_first_of("\r\n") == std::string_view::npos);
    add(name);
    add(value);
  }
  add(parser.host());
  for (const bool flag : {parser.keep_alive(), parser.http10(), parser.head(), parser.expects_continue(),
                          http::NamesLoopback(parser.host())}) {
    text.push_back(flag ? '1' : '0');
  }
  return text;
}

/// What a connection hears that reads `step` octets at a time.
Seen Read(std::string_view input, std::size_t step) {
  Seen seen;
  Parser parser(kLimits, kWanted);
  std::string pending;
  for (std::size_t at = 0; at < input.size(); at += step) {
    pending.append(input.substr(at, step));
    for (;;) {
      const auto before = parser.state();
      const std::size_t consumed = parser.Feed(pending);
      HOLDS(consumed <= pending.size());
      pending.erase(0, consumed);
      if (parser.state() == Parser::State::kRefused) {
        seen.refusal = parser.refusal().status;
        HOLDS(seen.refusal >= 400 && !parser.refusal().code.empty());
        return seen;
      }
      if (parser.state() == Parser::State::kComplete) {
        seen.requests.push_back(Describe(parser));
        parser.Reset();
        HOLDS(parser.state() == Parser::State::kHeader && !parser.started());
      } else if (consumed == 0 && parser.state() == before) {
        break;
      }
      if (pending.empty()) break;
    }
  }
  return seen;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto input = fuzz::AsInput(data, size);
  const Seen whole = Read(input, std::max<std::size_t>(size, 1));
  for (const std::size_t step : {std::size_t{1}, std::size_t{7}, size / 2 + 1}) {
    const Seen pieces = Read(input, step);
    // Refusals need not agree: what will never be a request is refused when that shows, or at the end of its time.
    HOLDS(pieces.requests == whole.requests);
  }
  return 0;
}
