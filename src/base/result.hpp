// base/result.hpp - errors as values: Error, Result<T>, TRY.
//
// Every fallible function of Signet returns Result<T>. A dropped Result is a
// compiler error. Exceptions of a library stop in the .cpp that owns the library.
//
// Thread-safety: values; no shared state.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace signet::base {

/// Chosen by what the caller does next, not by where it went wrong.
enum class Code : std::uint8_t {
  kInvalidArgument,     ///< the input is wrong: fix it
  kUnauthenticated,     ///< no identity
  kPermissionDenied,    ///< not allowed; asking again changes nothing
  kNotFound,            ///< no such thing
  kAlreadyExists,       ///< create lost a race, or a name is taken
  kFailedPrecondition,  ///< the system's state must change first
  kResourceExhausted,   ///< a limit; later may work
  kDeadlineExceeded,    ///< took too long; the effect is unknown
  kAborted,             ///< read again, then redo (a conflict)
  kUnavailable,         ///< the same call may work later
  kUnimplemented,       ///< not supported here
  kInternal,            ///< a bug or an unknown error code: final, never retried blindly
};

/// "InvalidArgument" and so on: for logs.
std::string_view Name(Code code);

/// True for kUnavailable only: the same call may be repeated as it is.
constexpr bool IsRetryable(Code code) { return code == Code::kUnavailable; }

/// The number of a lower layer ({"pkcs11", 0xA0}, {"http", 409}, {"errno", 2}). Logged, never sent to callers.
struct Native {
  std::string_view source{};  ///< a string literal
  std::int64_t number = 0;
};

struct Error {
  Code code = Code::kInternal;
  std::string reason;   ///< CamelCase, stable: a condition reason or a problem code; may be empty
  std::string message;  ///< lower case, no final period, says what and what to do; never a secret
  Native native{};
};

/// "message (source 0xA0)" for logs and the one line on stderr.
std::string Describe(const Error& error);

inline Error MakeError(Code code, std::string message) { return {code, {}, std::move(message), {}}; }
inline Error MakeError(Code code, std::string reason, std::string message) {
  return {code, std::move(reason), std::move(message), {}};
}
/// Error with errno as its native number; call directly after the failing call.
Error ErrnoError(Code code, std::string message, int err);

template <class T>
class [[nodiscard]] Result : public tl::expected<T, Error> {
 public:
  using tl::expected<T, Error>::expected;
  Result(Error error)
      : tl::expected<T, Error>(tl::unexpect, std::move(error)) {}  // NOLINT(google-explicit-constructor)
};

template <>
class [[nodiscard]] Result<void> : public tl::expected<void, Error> {
 public:
  using tl::expected<void, Error>::expected;
  Result(Error error)
      : tl::expected<void, Error>(tl::unexpect, std::move(error)) {}  // NOLINT(google-explicit-constructor)
};

using Status = Result<void>;

}  // namespace signet::base

#define SIGNET_CONCAT_INNER(a, b) a##b
#define SIGNET_CONCAT(a, b) SIGNET_CONCAT_INNER(a, b)
#define SIGNET_TRY_IMPL(tmp, decl, expr)                          \
  auto tmp = (expr);                                              \
  if (!tmp) return ::signet::base::Error(std::move(tmp).error()); \
  decl = std::move(*tmp)
/// TRY(auto key, FindKey(uri)): declares `key` or returns the error.
#define TRY(decl, expr) SIGNET_TRY_IMPL(SIGNET_CONCAT(try_result_, __LINE__), decl, expr)
/// TRY_VOID(Check(x)): returns the error, if any.
#define TRY_VOID(expr)                                                            \
  do {                                                                            \
    auto try_status = (expr);                                                     \
    if (!try_status) return ::signet::base::Error(std::move(try_status).error()); \
  } while (false)
