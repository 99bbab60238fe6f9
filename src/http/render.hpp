// http/render.hpp - a Response as octets on the wire: header and body in one buffer, for one send.
#pragma once

#include <string>
#include <string_view>

#include "http/server.hpp"

namespace signet::http {

struct RenderOptions {
  bool keep_alive = true;
  bool http10 = false;         ///< the request's version: 1.0 clients want keep-alive said
  bool head = false;           ///< the header of the answer, not its body
  std::string_view date_line;  ///< "Date: ...\r\n", may be empty
};

/// Appends to `out`. Field values with control characters are a bug of ours: they are left out.
void RenderResponse(const Response& response, const RenderOptions& options, std::string& out);

/// The standard reason phrase (RFC 9110 section 15).
std::string_view ReasonPhrase(int status);

}  // namespace signet::http
