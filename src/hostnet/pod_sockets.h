// The live connections of a pod, read from its sockets, and who began each: what conntrack would know, had it been there.
//
// Kernel: net/ipv4/inet_diag.c (sock_diag(7)); uapi linux/inet_diag.h. Blocks for as long as the dump takes: not on the
// control thread. A socket behind the socket load balancer shows the backend, as the wire does.
#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"
#include "net/ip.h"
#include "sys/fd.h"

namespace fairway::hostnet {

struct LiveConnection {
  net::SocketAddr local, remote;
  std::uint8_t protocol = 0;  // IPPROTO_TCP, IPPROTO_UDP
  bool began_here = true;     // else by the remote end: a socket listens on the local port (UDP: is bound to it, unconnected)
  bool operator==(const LiveConnection&) const = default;
};

// TCP connections past their handshake and connected UDP sockets, but for those to itself.
Result<std::vector<LiveConnection>> read_live_connections(const sys::Fd& netns);

}  // namespace fairway::hostnet
