#include "token/frame.hpp"

#include "pkcs11/rv.hpp"

namespace signet::token {

FrameWriter& FrameWriter::Err(const base::Error& error) {
  const bool native = error.native.source == pkcs11::kNativeSource;
  return U8(static_cast<std::uint8_t>(error.code))
      .U64(native ? static_cast<std::uint64_t>(error.native.number) : 0)
      .Text(error.reason)
      .Text(error.message);
}

base::Error FrameReader::Err() {
  base::Error error;
  const std::uint8_t code = U8();
  error.code =
      code <= static_cast<std::uint8_t>(base::Code::kInternal) ? static_cast<base::Code>(code) : base::Code::kInternal;
  const std::uint64_t native = U64();
  if (native != 0) error.native = {pkcs11::kNativeSource, static_cast<std::int64_t>(native)};
  error.reason = Text();
  error.message = Text();
  return error;
}

}  // namespace signet::token
