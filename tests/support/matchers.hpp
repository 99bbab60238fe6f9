// tests/support/matchers.hpp - IsOk(), IsErr(code), IsErr(code, reason) for Result<T>.
#pragma once

#include <gmock/gmock.h>

#include "base/result.hpp"

namespace signet::testing {

MATCHER(IsOk, "is ok") {
  if (arg.has_value()) return true;
  *result_listener << "error: " << base::Describe(arg.error()) << " [" << arg.error().reason << "]";
  return false;
}

MATCHER_P(IsErr, code, "is error " + std::string(base::Name(code))) {
  if (arg.has_value()) {
    *result_listener << "is ok";
    return false;
  }
  *result_listener << base::Name(arg.error().code) << ": " << base::Describe(arg.error());
  return arg.error().code == code;
}

MATCHER_P2(IsErr, code, reason, "is error " + std::string(base::Name(code)) + "/" + std::string(reason)) {
  if (arg.has_value()) {
    *result_listener << "is ok";
    return false;
  }
  *result_listener << base::Name(arg.error().code) << "/" << arg.error().reason << ": " << base::Describe(arg.error());
  return arg.error().code == code && arg.error().reason == reason;
}

}  // namespace signet::testing
