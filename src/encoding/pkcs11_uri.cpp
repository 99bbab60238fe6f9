#include "encoding/pkcs11_uri.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

#include "encoding/text.hpp"

namespace signet::encoding {
namespace {

using base::Bytes;
using base::Code;
using base::MakeError;
using base::Result;

constexpr std::string_view kScheme = "pkcs11:";

struct TextAttribute {
  std::string_view name;
  std::optional<std::string> Pkcs11Uri::*member;
  std::size_t limit;  ///< bytes
  bool padded;        ///< of a token: its field has a fixed size, and may be empty
};
constexpr std::array<TextAttribute, 6> kTextAttributes = {{
    {"token", &Pkcs11Uri::token, 32, true},
    {"serial", &Pkcs11Uri::serial, 16, true},
    {"manufacturer", &Pkcs11Uri::manufacturer, 32, true},
    {"model", &Pkcs11Uri::model, 16, true},
    {"object", &Pkcs11Uri::object, 255, false},
    {"type", &Pkcs11Uri::type, 16, false},
}};
constexpr std::size_t kMaxIdBytes = 64;

base::Error Bad(std::string message) { return MakeError(Code::kInvalidArgument, "Invalid", std::move(message)); }

/// pk11-res-avail / unreserved of RFC 7512 section 2.3, for attribute values of the path.
bool IsPlain(char c) {
  if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) return true;
  return std::string_view("-._~:[]@!$'()*+,=&").find(c) != std::string_view::npos;
}

Result<Bytes> Decode(std::string_view name, std::string_view value) {
  Bytes out;
  for (std::size_t i = 0; i < value.size(); ++i) {
    if (value[i] != '%') {
      if (!IsPlain(value[i]))
        return Bad(fmt::format("the value of '{}' has a character that must be written as %XX", name));
      out.push_back(static_cast<std::uint8_t>(value[i]));
      continue;
    }
    const auto octet = FromHex(value.substr(i + 1, 2));
    if (!octet || octet->size() != 1) return Bad(fmt::format("the value of '{}' has a bad %XX escape", name));
    out.push_back(octet->front());
    i += 2;
  }
  return out;
}

/// A name that may come back in a message: a PIN pasted into the wrong place must not.
bool IsAttributeName(std::string_view name) {
  return !name.empty() && name.size() <= 32 &&
         std::all_of(name.begin(), name.end(), [](char c) { return (c >= 'a' && c <= 'z') || c == '-'; });
}

base::Error Refused(std::string_view name) {
  if (name == "pin-source" || name == "pin-value") {
    return Bad(fmt::format("'{}' is refused: PINs come from files named in the process configuration", name));
  }
  const bool chooses_slot = name.starts_with("slot-") || name.starts_with("library-");
  if (chooses_slot || name == "module-path" || name == "module-name") {
    return Bad(fmt::format("'{}' is refused: module and slot are chosen by the process configuration", name));
  }
  static constexpr std::string_view kUse = "use token, serial, manufacturer, model, object, id or type";
  if (!IsAttributeName(name)) return Bad(fmt::format("unknown attribute: {}", kUse));
  return Bad(fmt::format("unknown attribute '{}': {}", name, kUse));
}

base::Error RefusedQuery(std::string_view query) {
  const auto name = query.substr(0, query.find_first_of("=&"));
  if (name.starts_with("pin-") || name.starts_with("module-")) return Refused(name);
  return Bad("a query part (after ?) is refused: it can only choose a module or a PIN");
}

base::Status SetId(Pkcs11Uri& uri, Bytes value) {
  if (uri.id) return Bad("attribute 'id' appears twice");
  if (value.empty() || value.size() > kMaxIdBytes) return Bad(fmt::format("'id' has 1 to {} bytes", kMaxIdBytes));
  uri.id = std::move(value);
  return {};
}

base::Status SetAttribute(Pkcs11Uri& uri, std::string_view name, std::string_view raw) {
  if (name != "id") {
    bool known = false;
    for (const auto& attribute : kTextAttributes) known = known || attribute.name == name;
    if (!known) return Refused(name);
  }
  TRY(Bytes value, Decode(name, raw));
  if (name == "id") return SetId(uri, std::move(value));
  for (const auto& attribute : kTextAttributes) {
    if (attribute.name != name) continue;
    auto& member = uri.*attribute.member;
    if (member) return Bad(fmt::format("attribute '{}' appears twice", name));
    std::string text(base::AsText(value));
    if (attribute.padded) text = std::string(TrimTokenField(text));
    if ((text.empty() && !attribute.padded) || text.size() > attribute.limit) {
      return Bad(fmt::format("'{}' has {}{} bytes", name, attribute.padded ? "at most " : "1 to ", attribute.limit));
    }
    if (text.find('\0') != std::string::npos) return Bad(fmt::format("'{}' holds a NUL", name));
    if (name == "type" && text != "private" && text != "public") return Bad("'type' is private or public");
    member = std::move(text);
  }
  return {};
}

void AppendEncoded(std::string& out, std::string_view name, base::ByteView value, bool all) {
  if (out.size() > kScheme.size()) out += ';';
  out += name;
  out += '=';
  for (const std::uint8_t octet : value) {
    const char c = static_cast<char>(octet);
    if (!all && IsPlain(c)) {
      out += c;
    } else {
      out += fmt::format("%{:02X}", octet);
    }
  }
}

}  // namespace

std::string_view TrimTokenField(std::string_view field) {
  return field.substr(0, field.find_last_not_of(std::string_view(" \0", 2)) + 1);
}

bool Pkcs11Uri::TokenMatches(std::string_view label, std::string_view serial_number, std::string_view manufacturer_id,
                             std::string_view token_model) const {
  return (!token || *token == label) && (!serial || *serial == serial_number) &&
         (!manufacturer || *manufacturer == manufacturer_id) && (!model || *model == token_model);
}

Result<Pkcs11Uri> ParsePkcs11Uri(std::string_view text) {
  // What surrounds it was copied along with it.
  text.remove_prefix(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
  text = text.substr(0, text.find_last_not_of(" \t\r\n") + 1);
  if (!text.starts_with(kScheme)) return Bad("a key URI starts with pkcs11: (RFC 7512)");
  if (text.size() > 1024) return Bad("a key URI has at most 1024 bytes");
  Pkcs11Uri uri;
  uri.text = std::string(text);
  text.remove_prefix(kScheme.size());
  if (const auto query = text.find('?'); query != std::string_view::npos) {
    return RefusedQuery(text.substr(query + 1));
  }
  while (!text.empty()) {
    const auto end = text.find(';');
    const auto attribute = text.substr(0, end);
    const auto equals = attribute.find('=');
    if (equals == std::string_view::npos || equals == 0)
      return Bad("attributes are written name=value, separated by ;");
    TRY_VOID(SetAttribute(uri, attribute.substr(0, equals), attribute.substr(equals + 1)));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
    if (text.empty()) return Bad("a key URI does not end with ;");
  }
  return uri;
}

std::string FormatPkcs11Uri(const Pkcs11Uri& uri) {
  std::string out(kScheme);
  for (const auto& attribute : kTextAttributes) {
    if (const auto& value = uri.*attribute.member; value && attribute.name != "type") {
      AppendEncoded(out, attribute.name, base::AsBytes(*value), false);
    }
  }
  if (uri.id) AppendEncoded(out, "id", *uri.id, true);
  if (uri.type) AppendEncoded(out, "type", base::AsBytes(*uri.type), false);
  return out;
}

}  // namespace signet::encoding
