// audit/inputs.hpp - which files a check of the record reads: told apart by what is in them, not by their names.
//
// A FILE stands for itself and for every file beside it that begins with its name and holds lines of its stream. What
// holds no lines of a record (compressed, an editor's or a lock file) is skipped, and the report says so.
//
// Ownership:     InputFile owns its descriptor, so a rotation does not move it away.
// Thread-safety: none. Blocking: reads the first and last lines of each file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "audit/segments.hpp"
#include "audit/verify.hpp"
#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace signet::audit {

struct InputFile {
  std::filesystem::path path;
  std::shared_ptr<base::UniqueFd> fd;
  bool asked_for = false;  ///< named, or in a folder that was named; not merely beside a named file
  std::string stream;
  std::uint64_t first_seq = 0;
  std::uint64_t last_seq = 0;  ///< of the last whole line when it was opened; 0: not known
};

struct NotedEnd {
  std::filesystem::path file;
  Note note;
};

struct Inputs {
  std::map<std::string, std::vector<InputFile>> streams;
  std::vector<NotedEnd> notes;    ///< read before the files, so that a writer cannot overtake them
  std::vector<Problem> skipped;   ///< no record, and nothing says that they should be one
  std::vector<Problem> problems;  ///< no record, though asked for
};

/// @return kNotFound / kUnavailable when a path cannot be read, kInvalidArgument when it is neither file nor folder
base::Result<Inputs> CollectInputs(const std::vector<std::filesystem::path>& paths);

}  // namespace signet::audit
