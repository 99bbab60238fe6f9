// frontend/simple_json.hpp - the bodies that nearly all callers send, without a DOM.
//
// Knows only objects of strings without escapes, in ASCII, with the members of a sign body. What it
// accepts, encoding::ParseJson accepts with the same meaning (a test compares them); everything else,
// errors included, is left to it. Saves 2 to 5 µs of a signature's 60.
//
// Ownership:     the views point into the text.
// Thread-safety: pure functions.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

namespace signet::frontend {

/// The members of one item; nothing: absent.
struct RawItem {
  std::optional<std::string_view> policy, digest, message, algorithm, encoding;
  bool artifact = false;
  std::optional<std::string_view> artifact_name, artifact_media_type;
};
struct RawBatch {
  std::optional<std::string_view> policy;
  std::vector<RawItem> items;
};

/// Nothing: not one of the simple forms; ask the real parser.
std::optional<RawItem> ScanSignBody(std::string_view text);
std::optional<RawBatch> ScanBatchBody(std::string_view text, std::size_t most_items);

}  // namespace signet::frontend
