// cli/requests.hpp - `signet requests` and `signet show`.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "api/types.hpp"
#include "base/clock.hpp"
#include "cli/context.hpp"

namespace signet::cli {

void AddRequests(CLI::App& parent, Context& context);
void AddShow(CLI::App& parent, Context& context);

/// Aligned lines, the oldest first; `namespaces`: with the column of -A.
std::string RequestsTable(const std::vector<api::SigningRequest>& requests, bool namespaces, base::TimePoint now,
                          int columns);
/// Everything a person wants to know of one request. `policy`: nullptr where it cannot be read.
std::string ShowText(const api::SigningRequest& request, const api::SigningPolicy* policy, std::string_view program,
                     base::TimePoint now);

}  // namespace signet::cli
