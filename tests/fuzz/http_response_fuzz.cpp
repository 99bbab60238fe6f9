// What a gateway says: however it is cut into pieces, the same answers come out, within their limits.
#include <algorithm>
#include <string>
#include <vector>

#include "fuzz/fuzz.hpp"
#include "http/response_parser.hpp"

using namespace signet;

namespace {

using Parser = http::ResponseParser;
constexpr Parser::Limits kLimits{512, 256};  // small, so that inputs reach them
const std::vector<std::string> kWanted = {"Retry-After", "Allow"};

std::string Describe(Parser& parser) {
  const bool keep = parser.keep_alive();
  const http::Response response = parser.Take();
  HOLDS(response.status >= 200 && response.status <= 999);
  HOLDS(response.body.size() <= kLimits.body_bytes);
  std::string text = std::to_string(response.status) + (keep ? "k" : "c") + response.content_type;
  text.push_back('\0');
  for (const auto& [name, value] : response.headers) {
    HOLDS(std::find(kWanted.begin(), kWanted.end(), name) != kWanted.end());
    HOLDS(value.find_first_of("\r\n") == std::string::npos);
    text += name + "=" + value;
    text.push_back('\0');
  }
  return text + response.body;
}

/// What a connection hears that reads `step` octets at a time.
std::vector<std::string> Read(std::string_view input, std::size_t step) {
  std::vector<std::string> seen;
  Parser parser(kLimits, kWanted);
  std::string pending;
  for (std::size_t at = 0; at < input.size(); at += step) {
    pending.append(input.substr(at, step));
    while (!pending.empty()) {
      const auto before = parser.state();
      const std::size_t consumed = parser.Feed(pending);
      HOLDS(consumed <= pending.size());
      pending.erase(0, consumed);
      if (parser.state() == Parser::State::kRefused) {
        HOLDS(!parser.refusal().empty());
        return seen;
      }
      if (parser.state() == Parser::State::kComplete) {
        seen.push_back(Describe(parser));
        parser.Reset();
        HOLDS(parser.state() == Parser::State::kHeader && !parser.started());
      } else if (consumed == 0 && parser.state() == before) {
        break;
      }
    }
  }
  return seen;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto input = fuzz::AsInput(data, size);
  const auto whole = Read(input, std::max<std::size_t>(size, 1));
  for (const std::size_t step : {std::size_t{1}, std::size_t{7}, size / 2 + 1}) HOLDS(Read(input, step) == whole);
  return 0;
}
