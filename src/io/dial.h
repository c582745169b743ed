// Opens connections: a unix socket, an address, or a name with each of its addresses in turn. Private to src/io.
#pragma once

#include <chrono>
#include <functional>
#include <memory>

#include "base/result.h"
#include "io/http_client.h"
#include "io/loop.h"
#include "sys/fd.h"

namespace fairway::io {

struct Endpoint {
  std::string host;
  std::uint16_t port = 0;
  std::string unix_path;  // where set, the others are ignored
};

// `done` never runs inside this call; destroying the result cancels.
[[nodiscard]] std::unique_ptr<Pending> dial(Loop& loop, const Endpoint& endpoint, std::chrono::milliseconds timeout,
                                            std::function<void(Result<sys::Fd>)> done);

}  // namespace fairway::io
