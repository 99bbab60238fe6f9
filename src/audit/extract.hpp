// audit/extract.hpp - tells a file that holds some lines of a record, or a converted copy, from a file of the record.
//
// Thread-safety: pure function. Blocking: reads the file up to the first line that decides.
#pragma once

#include "audit/inputs.hpp"

namespace signet::audit {

/// True if `file` cannot have been written as a file of a record: it does not begin with the first line of a file, it
/// leaves out or repeats a seq, or its JSON, its line ends or a byte order mark are another program's.
/// A file that has FILE.head beside it, or beside the FILE that its number belongs to, is never an extract.
bool IsExtract(const InputFile& file);

}  // namespace signet::audit
