// The sockets that clients come in by. Thread: their worker's.
#pragma once

#include <netinet/in.h>

#include <deque>
#include <list>
#include <memory>
#include <unordered_map>

#include "dns/poller.h"
#include "dns/resolver.h"
#include "dns/socket_address.h"

namespace fairway::dns {

// What listeners need of their worker.
class QuerySink {
 public:
  virtual ~QuerySink() = default;
  virtual void query(Bytes message, Resolver::Via via, const Resolver::Reply& reply) = 0;
};

class UdpListener : public Handler, public std::enable_shared_from_this<UdpListener> {
 public:
  UdpListener(sys::Fd fd, QuerySink& sink) : fd_(std::move(fd)), sink_(sink) {}
  int fd() const { return fd_.get(); }
  void on_ready(std::uint32_t events) override;

 private:
  // A client, and the address of ours that it asked: the answer must come from there.
  struct Peer {
    RawAddr from;
    in6_pktinfo to6{};
    in_pktinfo to4{};
    bool has4 = false, has6 = false;
  };
  void answer(const Peer& peer, Bytes message);

  sys::Fd fd_;
  QuerySink& sink_;
};

class TcpConnection;

// The TCP side: listening sockets, connections, and their limits.
class TcpServer {
 public:
  TcpServer(const DnsLimits& limits, Poller& poller, QuerySink& sink);
  ~TcpServer();
  Status listen(sys::Fd fd, bool shared);
  // Closes what was idle for too long; lets listeners that ran out of descriptors accept again.
  void sweep(Time now);
  bool idle() const { return connections_.empty() && paused_.empty(); }
  std::uint64_t refused() const { return refused_; }
  std::uint64_t expired() const { return expired_; }

 private:
  friend class TcpConnection;
  friend class TcpListener;
  void accept_all(class TcpListener& listener);
  void close(TcpConnection& connection);
  void touch(TcpConnection& connection, Time now);

  DnsLimits limits_;
  Poller& poller_;
  QuerySink& sink_;
  std::vector<std::unique_ptr<class TcpListener>> listeners_;
  std::vector<class TcpListener*> paused_;
  std::list<std::unique_ptr<TcpConnection>> connections_;  // least recently active first
  std::unordered_map<net::IpAddr, unsigned> per_client_;
  std::uint64_t refused_ = 0, expired_ = 0;
};

}  // namespace fairway::dns
