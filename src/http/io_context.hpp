// http/io_context.hpp - for this module's own .cpp files: the Asio loop behind a Reactor.
#pragma once

#include <boost/asio/io_context.hpp>

#include "base/reactor.hpp"

namespace signet::http {

/// `reactor` must be an AsioReactor.
boost::asio::io_context& IoContextOf(base::Reactor& reactor);

}  // namespace signet::http
