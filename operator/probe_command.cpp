#include "operator/probe_command.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/printable.hpp"
#include "encoding/json.hpp"

namespace signet::app {
namespace {

using encoding::TextAt;
using nlohmann::json;

constexpr std::chrono::milliseconds kDeadline{3'000};

/// One line whatever is in it.
std::string OneLine(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7F; }, ' ');
  return text;
}

}  // namespace

std::vector<std::string> FailingChecks(const http::ClientResponse& readyz) {
  if (readyz.status == 200) return {};
  std::vector<std::string> lines;
  const auto body = encoding::ParseJson(readyz.body);
  const json none = json::array();
  const auto found = body && body->is_object() ? body->find("checks") : none.end();
  const bool listed = body && body->is_object() && found != body->end() && found->is_array();
  for (const json& check : listed ? *found : none) {
    if (!check.is_object() || check.value("ok", json()) == true) continue;
    std::string line = TextAt(check, "name");
    for (const char* member : {"reason", "message"}) {
      const auto text = TextAt(check, member);
      if (!text.empty()) line += ": " + text;
    }
    lines.push_back(OneLine(std::move(line)));
  }
  if (lines.empty()) lines.push_back(fmt::format("not ready: HTTP status {}", readyz.status));
  return lines;
}

Ending RunProbe(const std::string& address, bool live) {
  const http::TcpClient client(address);
  const auto answer = client.Send({"GET", live ? "/healthz" : "/readyz", {}, ""}, kDeadline);
  const auto lines = answer ? FailingChecks(*answer) : std::vector{OneLine("not ready: " + answer.error().message)};
  for (const auto& line : lines) std::printf("%s\n", base::PrintableLine(line).c_str());
  return {lines.empty() ? ExitCode::kDone : ExitCode::kOther, ""};
}

}  // namespace signet::app
