// encoding/pkcs11_uri.hpp - RFC 7512 "pkcs11:" URIs, as far as Signet lets them go.
//
// Allowed attributes: token, serial, manufacturer, model, object, id, type. All
// others are refused by name, above all those that carry a PIN or choose a module.
//
// As tools print them: a token's fields with their padding (%20, %00) or empty, attributes in any order, hex digits in
// either case, blanks around the URI.
//
// Sources: RFC 7512 section 2.3 (grammar), 2.4 (matching).
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.hpp"
#include "base/result.hpp"

namespace signet::encoding {

struct Pkcs11Uri {
  std::optional<std::string> token;         ///< at most 32 bytes (CK_TOKEN_INFO.label), without padding, as all four
  std::optional<std::string> serial;        ///< at most 16 bytes
  std::optional<std::string> manufacturer;  ///< at most 32 bytes
  std::optional<std::string> model;         ///< at most 16 bytes
  std::optional<std::string> object;        ///< CKA_LABEL
  std::optional<base::Bytes> id;            ///< CKA_ID, percent-decoded
  std::optional<std::string> type;          ///< "private" or "public"
  std::string text;                         ///< as written, without blanks around it

  /// True when no token attribute contradicts `other`'s (RFC 7512 section 2.4).
  [[nodiscard]] bool TokenMatches(std::string_view label, std::string_view serial_number,
                                  std::string_view manufacturer_id, std::string_view token_model) const;
};

/// A text of CK_TOKEN_INFO without the blanks or NULs that fill it up.
std::string_view TrimTokenField(std::string_view field);

/// @return kInvalidArgument: not a pkcs11 URI, a refused or repeated attribute, an over-long value.
base::Result<Pkcs11Uri> ParsePkcs11Uri(std::string_view text);
/// The canonical text of the attributes that are set (ignores `text`).
std::string FormatPkcs11Uri(const Pkcs11Uri& uri);

}  // namespace signet::encoding
