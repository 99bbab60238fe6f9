#include "kube/impersonation.hpp"

#include <array>
#include <string_view>

namespace signet::kube {
namespace {

/// As client-go's headerKeyEscape: what is not a token character (RFC 9110 section 5.6.2), and "%", is percent-encoded.
std::string EscapeKey(std::string_view key) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  constexpr std::string_view kMarks = "!#$&'*+-.^_`|~";
  std::string out;
  for (const char c : key) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                       kMarks.find(c) != std::string_view::npos;
    if (plain) {
      out += c;
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    out += {'%', kHex[byte >> 4U], kHex[byte & 15U]};
  }
  return out;
}

std::string Repeat(const std::string& name, const std::vector<std::string>& values) {
  std::string out;
  for (const auto& value : values) out += (&value == values.data() ? "" : "\r\n" + name + ": ") + value;
  return out;
}

}  // namespace

std::vector<std::pair<std::string, std::string>> ImpersonationHeaders(const Impersonation& wanted) {
  std::vector<std::pair<std::string, std::string>> out;
  if (wanted.user.empty()) return out;
  out.emplace_back("Impersonate-User", wanted.user);
  if (!wanted.uid.empty()) out.emplace_back("Impersonate-Uid", wanted.uid);
  if (!wanted.groups.empty()) out.emplace_back("Impersonate-Group", Repeat("Impersonate-Group", wanted.groups));
  for (const auto& [key, values] : wanted.extra) {
    if (values.empty()) continue;
    const std::string name = "Impersonate-Extra-" + EscapeKey(key);
    out.emplace_back(name, Repeat(name, values));
  }
  return out;
}

}  // namespace signet::kube
