// net::SocketAddr <-> sockaddr.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include "net/ip.h"

namespace fairway::dns {

struct RawAddr {
  sockaddr_storage storage{};
  socklen_t size = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

RawAddr to_raw(const net::SocketAddr& addr);
net::SocketAddr from_raw(const sockaddr_storage& storage);

}  // namespace fairway::dns
