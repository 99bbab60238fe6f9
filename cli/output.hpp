// cli/output.hpp - the -o flag: a table for people, json, yaml, name and others for programs.
//
// Thread-safety: pure functions.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.hpp"
#include "cli/context.hpp"

namespace signet::cli {

enum class Format : std::uint8_t { kTable, kJson, kYaml, kName, kPem, kJsonl, kCsv };

/// Adds -o,--output with these formats; `format` keeps its value when the flag is not given.
void AddOutputFlag(CLI::App& command, Format& format, std::initializer_list<Format> formats);

/// kJson (two spaces deep, a newline at the end) or kYaml.
std::string Render(const nlohmann::json& value, Format format);
/// A Kubernetes List of `items`, without metadata.managedFields.
nlohmann::json ListOf(std::vector<nlohmann::json> items);
nlohmann::json WithoutManagedFields(nlohmann::json object);

/// "5m", "3h", "2d" since `time`, as kubectl writes ages; "" for a time that is not known.
std::string Age(base::TimePoint time, base::TimePoint now);

}  // namespace signet::cli
