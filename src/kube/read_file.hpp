// kube/read_file.hpp - the whole of a small file of credentials.
//
// Thread-safety: no shared state.
// Errors:        kNotFound, kPermissionDenied or kUnavailable, naming the file; an empty file is an error.
#pragma once

#include <string>

#include "base/result.hpp"

namespace signet::kube {

base::Result<std::string> ReadFile(const std::string& path);

}  // namespace signet::kube
