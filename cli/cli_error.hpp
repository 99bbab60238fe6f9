// cli/cli_error.hpp - for this program's own .cpp files: errors of what the user has given.
#pragma once

#include <string>
#include <utility>

#include "base/result.hpp"

namespace signet::cli {

/// An option is wrong; the message names it.
inline base::Error UsageError(std::string message) {
  return base::MakeError(base::Code::kInvalidArgument, "Usage", std::move(message));
}

/// A file that the user named is wrong.
inline base::Error FileInvalid(std::string message) {
  return base::MakeError(base::Code::kInvalidArgument, "ConfigInvalid", std::move(message));
}

}  // namespace signet::cli
