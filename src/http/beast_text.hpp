// http/beast_text.hpp - for this module's own .cpp files: text as Beast gives it, and how header names compare.
#pragma once

#include <algorithm>
#include <boost/beast/core/string.hpp>
#include <string_view>

namespace signet::http {

inline constexpr std::string_view kEmptyChunked = "0\r\n\r\n";  ///< a chunked body without a chunk

inline std::string_view View(boost::beast::string_view text) { return {text.data(), text.size()}; }

inline char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

}  // namespace signet::http
