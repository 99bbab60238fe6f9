// store/manifest.hpp - YAML and JSON text becomes nlohmann::json, strictly and bounded.
//
// A manifest means what it means to kubectl: YAML 1.1 booleans (yes, on, true and their opposites)
// are booleans, quoted scalars are strings, times stay strings. Forms that YAML readers disagree
// about are refused instead of guessed: octal, hexadecimal and binary numbers, leading zeros,
// underscores in numbers, infinities. Refused as well: duplicate keys, keys that are not scalars, merge keys,
// anchors, aliases and tags, NUL, text that is not UTF-8, depth over 32, size over 1 MiB.
//
// Thread-safety: pure functions.
// Blocking:      never.
// Errors:        kInvalidArgument, reason "Malformed", message "NAME:LINE: what".
// Sources:       YAML 1.2.2 chapter 10 (schemas); sigs.k8s.io/yaml for the typing of plain scalars.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace signet::store {

inline constexpr std::size_t kMaxManifestBytes = 1U << 20;
inline constexpr std::size_t kMaxManifestDepth = 32;

struct Document {
  nlohmann::json value;
  int line = 1;  ///< where it starts, counted from 1
};

/// All documents of `text`; empty ones are left out. `name` is for messages only.
base::Result<std::vector<Document>> ParseYaml(std::string_view text, std::string_view name,
                                              std::size_t max_bytes = kMaxManifestBytes);

/// By the extension of `name`: .json is one JSON value, everything else YAML.
base::Result<std::vector<Document>> ParseManifest(std::string_view text, std::string_view name,
                                                  std::size_t max_bytes = kMaxManifestBytes);

/// A manifest of which parts may be wrong: its documents one by one.
struct Documents {
  std::vector<Document> good;
  std::vector<base::Error> broken;        ///< empty: `good` is all that the text says
  std::vector<std::string> broken_texts;  ///< of the documents that cannot be read; part of them may be cut off
};
/// As ParseManifest, but a document that cannot be read hides no other: YAML allows a line that begins with --- only
/// between documents, so what is wrong in one cannot reach into the next.
Documents ParseEachDocument(std::string_view text, std::string_view name, std::size_t max_bytes = kMaxManifestBytes);

/// The value a plain (unquoted) scalar has: null, bool, number or string.
/// @return kInvalidArgument for the number forms that readers disagree about.
base::Result<nlohmann::json> ResolvePlainScalar(std::string_view text);

/// Block style YAML that ParseYaml reads back to the same value; texts of several lines (PEM) are
/// literal blocks. Octets that are not UTF-8 become U+FFFD.
std::string WriteYaml(const nlohmann::json& value);

}  // namespace signet::store
