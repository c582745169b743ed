// The server side of WebSocket (RFC 6455), by Boost.Beast, on a Conn. Private to src/io; its .cc file is the only
// one that pays for Beast's templates, and for one stream type alone.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "io/conn.h"
#include "io/http.h"

namespace fairway::io {

// Answers the upgrade request (101, or 400/426 where it is none), then calls `ready`.
void accept_websocket_on(std::shared_ptr<Conn> conn, const HttpRequest& request, std::string subprotocol,
                         std::function<void(Result<std::unique_ptr<Duplex>>)> ready);

}  // namespace fairway::io
