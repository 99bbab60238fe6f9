#include "cli/output.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <array>
#include <map>

#include "base/printable.hpp"
#include "store/manifest.hpp"

namespace signet::cli {
namespace {

constexpr std::array<const char*, 7> kNames = {"table", "json", "yaml", "name", "pem", "jsonl", "csv"};

}  // namespace

void AddOutputFlag(CLI::App& command, Format& format, std::initializer_list<Format> formats) {
  std::map<std::string, Format> names;
  std::string help;
  for (const auto one : formats) {
    const char* name = kNames.at(static_cast<std::size_t>(one));
    names.emplace(name, one);
    help += help.empty() ? std::string(name) + " (default)" : std::string(", ") + name;
  }
  command.add_option("-o,--output", format, help)
      ->type_name("FORMAT")
      ->transform(CLI::CheckedTransformer(names).description(""));
}

std::string Render(const nlohmann::json& value, Format format) {
  if (format == Format::kYaml) return store::WriteYaml(value);
  return base::PrintableJson(value.dump(2, ' ', false, nlohmann::json::error_handler_t::replace)) + "\n";
}

nlohmann::json WithoutManagedFields(nlohmann::json object) {
  if (object.is_object() && object.contains("metadata") && object["metadata"].is_object()) {
    object["metadata"].erase("managedFields");
  }
  return object;
}

nlohmann::json ListOf(std::vector<nlohmann::json> items) {
  nlohmann::json out = {{"apiVersion", "v1"}, {"kind", "List"}, {"items", nlohmann::json::array()}};
  for (auto& item : items) out["items"].push_back(WithoutManagedFields(std::move(item)));
  return out;
}

std::string Age(base::TimePoint time, base::TimePoint now) {
  using namespace std::chrono;
  if (time == base::TimePoint{}) return "";
  const auto age = std::max<seconds::rep>(duration_cast<seconds>(now - time).count(), 0);
  if (age < 120) return fmt::format("{}s", age);
  if (age < 7200) return fmt::format("{}m", age / 60);
  if (age < 172800) return fmt::format("{}h", age / 3600);
  return fmt::format("{}d", age / 86400);
}

}  // namespace signet::cli
