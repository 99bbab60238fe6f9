// base/environment.hpp - variables that this process sets for itself alone, and the environment for its children.
//
// Some libraries can only be steered through the environment. A child process (an HSM worker with the vendor's module,
// a program that the user named) gets the environment as its administrator made it.
//
// Thread-safety: SetForThisProcess before other threads start; ChildEnvironment from any thread afterwards.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace signet::base {

/// Sets `name` in this process and remembers what it was before.
void SetForThisProcess(const std::string& name, const std::string& value);

/// "NAME=value" entries: the environment as it is, with the variables above as they were before.
std::vector<std::string> ChildEnvironment();

/// The entries as posix_spawn and exec want them; `entries` must outlive the result.
std::vector<char*> EntryPointers(std::vector<std::string>& entries);

}  // namespace signet::base
