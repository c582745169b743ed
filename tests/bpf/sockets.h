// Sockets inside the test cluster's namespaces, all of one process: a socket stays in the namespace it was made in.
#pragma once

#include <string>

#include "cluster.h"
#include "net/ip.h"
#include "sys/fd.h"

namespace fairway::test {

enum class Kind { kTcp, kUdp };

// A bound (TCP: listening) socket; port 0 lets the kernel choose. Throws on failure.
sys::Fd listen_in(const Cluster& cluster, const std::string& netns, Kind kind, net::SocketAddr at);
// An unconnected client socket with timeouts, bound to `from` where that has a port.
sys::Fd client_in(const Cluster& cluster, const std::string& netns, Kind kind, bool v6, std::uint16_t from_port = 0);
// 0, or errno.
int connect_to(const sys::Fd& socket, net::SocketAddr to);
sys::Fd accept_one(const sys::Fd& listener, net::SocketAddr* peer = nullptr);
bool send_text(const sys::Fd& socket, const std::string& text);
int send_to(const sys::Fd& socket, net::SocketAddr to, const std::string& text);  // 0, or errno
// Empty on timeout; *from is the sender.
std::string receive(const sys::Fd& socket, net::SocketAddr* from = nullptr);
// The same, impatient: for what should not come.
std::string receive_soon(const sys::Fd& socket);
std::uint16_t port_of(const sys::Fd& socket);
net::SocketAddr peer_of(const sys::Fd& socket);
constexpr int kPatienceMs = 20'000;                                // only a failure waits so long; an emulated guest is slow
constexpr int kImpatienceMs = 1000;                                // only a success does
int wait_error(const sys::Fd& socket, int timeout = kPatienceMs);  // the pending error (ICMP, RST)

// One TCP connection, a line each way. Empty on success, else what went wrong. *seen: the client as the server saw it.
std::string tcp_echo(const Cluster& cluster, const std::string& client, net::SocketAddr to, const std::string& server, net::SocketAddr at,
                     net::SocketAddr* seen = nullptr);
// One UDP question and its answer; the answer has to come from `to`.
std::string udp_echo(const Cluster& cluster, const std::string& client, net::SocketAddr to, const std::string& server, net::SocketAddr at,
                     net::SocketAddr* seen = nullptr);

}  // namespace fairway::test
