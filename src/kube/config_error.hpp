// kube/config_error.hpp - for this module's own .cpp files.
#pragma once

#include <string>
#include <utility>

#include "base/result.hpp"

namespace signet::kube {

/// kInvalidArgument, reason "ConfigInvalid": what a kubeconfig or an option says cannot be used.
inline base::Error ConfigInvalid(std::string message) {
  return base::MakeError(base::Code::kInvalidArgument, "ConfigInvalid", std::move(message));
}

}  // namespace signet::kube
