#include "base/environment.hpp"

#include <unistd.h>

#include <cstdlib>
#include <map>
#include <optional>

namespace signet::base {
namespace {

/// The values before SetForThisProcess; nullopt: was not set.
std::map<std::string, std::optional<std::string>, std::less<>>& Replaced() {
  static std::map<std::string, std::optional<std::string>, std::less<>> replaced;
  return replaced;
}

}  // namespace

void SetForThisProcess(const std::string& name, const std::string& value) {
  const char* before = std::getenv(name.c_str());  // NOLINT(concurrency-mt-unsafe): before other threads
  Replaced().try_emplace(name, before == nullptr ? std::nullopt : std::optional<std::string>(before));
  ::setenv(name.c_str(), value.c_str(), 1);  // NOLINT(concurrency-mt-unsafe): before other threads
}

std::vector<std::string> ChildEnvironment() {
  std::vector<std::string> entries;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    if (Replaced().find(text.substr(0, text.find('='))) == Replaced().end()) entries.emplace_back(text);
  }
  for (const auto& [name, value] : Replaced()) {
    if (value) entries.push_back(name + "=" + *value);
  }
  return entries;
}

std::vector<char*> EntryPointers(std::vector<std::string>& entries) {
  std::vector<char*> pointers;
  pointers.reserve(entries.size() + 1);
  for (auto& entry : entries) pointers.push_back(entry.data());
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace signet::base
