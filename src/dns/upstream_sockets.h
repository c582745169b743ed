// The sockets towards upstreams: one for each attempt, UDP or TCP. Thread: their worker's.
//
// The kernel picks each UDP socket's port from its own random source (get_random_u32), and a connected socket takes
// answers from that upstream's address alone; the id comes from getrandom(2). A forger has to hit 32 unknown bits.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <unordered_map>

#include "dns/forwarder.h"
#include "dns/poller.h"

namespace fairway::dns {

class UpstreamSockets : public Transport {
 public:
  explicit UpstreamSockets(Poller& poller);
  ~UpstreamSockets() override;
  // Whom to tell; set before the first send().
  void attach(Forwarder& forwarder) { forwarder_ = &forwarder; }

  bool send(std::uint64_t attempt, const net::SocketAddr& upstream, Bytes query, bool tcp) override;
  void cancel(std::uint64_t attempt) override;
  std::uint16_t random_id() override;

 private:
  class Socket;
  class UdpSocket;
  class TcpSocket;

  Poller& poller_;
  Forwarder* forwarder_ = nullptr;
  std::unordered_map<std::uint64_t, std::unique_ptr<Socket>> sockets_;
  std::array<std::uint16_t, 128> random_{};
  std::size_t random_left_ = 0;
};

}  // namespace fairway::dns
