#include "kube/read_file.hpp"

#include <cerrno>
#include <fstream>
#include <sstream>

namespace signet::kube {

base::Result<std::string> ReadFile(const std::string& path) {
  using base::Code;
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  if (file) content << file.rdbuf();
  if (!file || content.str().empty()) {
    const int err = errno;
    const Code code = err == EACCES ? Code::kPermissionDenied : err == ENOENT ? Code::kNotFound : Code::kUnavailable;
    return base::ErrnoError(code, "cannot read " + path, err);
  }
  return content.str();
}

}  // namespace signet::kube
