#include "sidecar/probe_command.hpp"

#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/printable.hpp"
#include "encoding/json.hpp"
#include "http/client.hpp"

namespace signet::app {
namespace {

constexpr std::chrono::seconds kPatience{5};

/// The detail of the problem, which names the check that fails.
std::string Why(const http::ClientResponse& response) {
  const auto problem = encoding::ParseJson(response.body);
  if (problem && problem->is_object() && problem->contains("detail") && problem->at("detail").is_string()) {
    return problem->at("detail").get<std::string>();
  }
  return "status " + std::to_string(response.status);
}

}  // namespace

Ending RunProbe(const std::string& socket_path) {
  http::ClientRequest request;
  request.target = "/readyz";
  const auto response = http::UnixClient(socket_path).Send(request, kPatience);
  if (response && response->status == 200) return {};
  const std::string why = response ? Why(*response) : base::Describe(response.error());
  std::printf("not ready: %s\n", base::PrintableLine(why).c_str());
  return {ExitCode::kOther, {}};
}

}  // namespace signet::app
