// cli/io.hpp - reading what is signed or verified: a file, or stdin for "-".
//
// Thread-safety: none. Blocking: as the file does.
// Errors:        kNotFound, reason "FileUnreadable", with the system's words: exit 3.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "encoding/algorithm.hpp"

namespace signet::cli {

/// All of it. kResourceExhausted, reason "TooLarge", beyond `limit` octets.
base::Result<base::Bytes> ReadAll(const std::string& path, std::size_t limit);
/// One pass, whatever its size.
base::Result<std::map<encoding::HashAlgorithm, base::Bytes>> HashFile(
    const std::string& path, const std::vector<encoding::HashAlgorithm>& hashes);
/// Replaces the file.
base::Status WriteFile(const std::string& path, base::ByteView data);

}  // namespace signet::cli
