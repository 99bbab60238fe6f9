#include "encoding/pkcs11_uri.hpp"
#include "fuzz/fuzz.hpp"

using signet::encoding::Pkcs11Uri;

namespace {
bool Same(const Pkcs11Uri& left, const Pkcs11Uri& right) {
  return left.token == right.token && left.serial == right.serial && left.manufacturer == right.manufacturer &&
         left.model == right.model && left.object == right.object && left.id == right.id && left.type == right.type;
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto text = signet::fuzz::AsInput(data, size);
  const auto uri = signet::encoding::ParsePkcs11Uri(text);
  if (!uri) return 0;
  // What surrounds it is no part of it.
  const auto begin = text.find_first_not_of(" \t\r\n");
  HOLDS(uri->text == text.substr(begin, text.find_last_not_of(" \t\r\n") + 1 - begin));
  for (const char* refused : {"pin-source", "pin-value", "module-path", "module-name", "slot-id", "library-"}) {
    HOLDS(text.find(std::string(";") + refused) == std::string_view::npos);
    HOLDS(text.find(std::string("?") + refused) == std::string_view::npos);
  }
  HOLDS(!uri->token || (uri->token->size() <= 32 && uri->token->find('\0') == std::string::npos));
  HOLDS(!uri->type || *uri->type == "private" || *uri->type == "public");
  const auto formatted = signet::encoding::FormatPkcs11Uri(*uri);
  // The canonical form escapes more, and may pass the length that is accepted.
  if (formatted.size() > 1024) return 0;
  const auto again = signet::encoding::ParsePkcs11Uri(formatted);
  HOLDS(again.has_value());
  HOLDS(Same(*uri, *again));
  HOLDS(signet::encoding::FormatPkcs11Uri(*again) == formatted);
  return 0;
}
