// api/scalars.hpp - the small languages inside the objects: names, globs, times of day.
//
// The patterns of crds/*.yaml say the same; a glob here is syntax only, the matcher is policy/glob.hpp.
//
// Thread-safety: pure functions.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace signet::api {

/// RFC 1123 label (namespaces) and subdomain (object names).
bool IsDnsLabel(std::string_view text);
bool IsDnsSubdomain(std::string_view text);
/// A Kubernetes label key, [prefix/]name, and a label value.
bool IsLabelKey(std::string_view text);
bool IsLabelValue(std::string_view text);

bool IsLowerHex(std::string_view text);

/// type/subtype by RFC 6838 section 4.2, without parameters.
bool IsMediaType(std::string_view text);
/// A name of the IANA time zone database, by its form only.
bool IsTimeZoneName(std::string_view text);

/// What keeps `glob` from being one; nothing when it is good.
std::optional<std::string> ArtifactGlobProblem(std::string_view glob);
std::optional<std::string> MediaTypeGlobProblem(std::string_view glob);
std::optional<std::string> AccountGlobProblem(std::string_view glob);  ///< ServiceAccount names
std::optional<std::string> UserGlobProblem(std::string_view glob);     ///< User and Group names

/// "HH:MM" in minutes since midnight; "24:00" only as an end.
std::optional<int> ParseTimeOfDay(std::string_view text, bool is_end);
/// "Sun" 0 ... "Sat" 6.
std::optional<int> ParseDay(std::string_view text);

}  // namespace signet::api
