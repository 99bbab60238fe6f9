#include "base/result.hpp"

#include <fmt/format.h>

#include <array>
#include <cstring>

namespace signet::base {

std::string_view Name(Code code) {
  static constexpr std::array<std::string_view, 12> kNames = {
      "InvalidArgument",   "Unauthenticated",  "PermissionDenied", "NotFound",    "AlreadyExists", "FailedPrecondition",
      "ResourceExhausted", "DeadlineExceeded", "Aborted",          "Unavailable", "Unimplemented", "Internal"};
  return kNames.at(static_cast<std::size_t>(code));
}

std::string Describe(const Error& error) {
  if (error.native.source.empty()) return error.message;
  if (error.native.source == "pkcs11") return fmt::format("{} (pkcs11 {:#x})", error.message, error.native.number);
  return fmt::format("{} ({} {})", error.message, error.native.source, error.native.number);
}

Error ErrnoError(Code code, std::string message, int err) {
  std::array<char, 128> text{};
  const char* what = ::strerror_r(err, text.data(), text.size());
  return {code, {}, fmt::format("{}: {}", message, what), {"errno", err}};
}

}  // namespace signet::base
