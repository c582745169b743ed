// Traffic: the benchmark's own clients and servers. Blocking sockets, one process a side, nothing between them and the
// kernel. TCP_RR: one byte there and back on one connection. TCP_CRR: the same with a connection for each, closed by RST,
// so that no TIME_WAIT piles up. UDP_RR. TCP_STREAM: one way, as fast as it goes.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "core/child.h"
#include "net/ip.h"

namespace fairway::bench {

// Serves all kinds, in three processes that share a core: TCP echo on `port`, UDP echo on `port`, a TCP sink on `port + 1`.
class Servers {
 public:
  static Result<Servers> start(const Place& place, net::Family family, std::uint16_t port);

 private:
  std::vector<Child> children_;
};

enum class Kind { kTcpRr, kTcpCrr, kUdpRr, kTcpStream };

struct Measured {
  double p50_us = 0, p99_us = 0;  // of a round trip; of connect to close for CRR
  double per_second = 0;          // round trips, or bytes
  double cpu_seconds = 0;         // of the client
  // The rate of the median round trip: what others on the machine take for a while does not move it.
  double median_per_second() const { return 1e6 / p50_us; }
};

// Runs a client in `place` for so long.
Result<Measured> run_client(const Place& place, Kind kind, const net::SocketAddr& to, std::chrono::milliseconds length);

}  // namespace fairway::bench
