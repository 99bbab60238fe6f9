// config/empty_values.hpp - no flag takes an empty value: `--key "$UNSET"` must not mean "no key was given".
//
// A template, so that CLI11's headers stay where command lines are declared.
// Thread-safety: none.
#pragma once

#include <string>

namespace signet::config {

/// Refuses an empty value of each option of `app`, a CLI::App, and of its subcommands. After they are declared.
template <class App>
void RefuseEmptyValues(App& app) {
  for (auto* option : app.get_options([](const auto*) { return true; })) {
    if (option->get_expected_min() == 0) continue;
    option->check(
        [](const std::string& value) {
          return std::string(value.empty() ? "the value is empty: give one, or leave the flag out" : "");
        },
        "");
  }
  for (auto* command : app.get_subcommands([](const auto*) { return true; })) RefuseEmptyValues(*command);
}

}  // namespace signet::config
