// Socket addresses from text. Private to src/io.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>

#include "base/result.h"

namespace fairway::io {

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;
};

Result<SocketAddress> unix_address(const std::string& path);
Result<SocketAddress> ip_address(const std::string& ip, std::uint16_t port);

}  // namespace fairway::io
