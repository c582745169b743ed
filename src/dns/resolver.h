// Resolver: from a query's bytes to an answer's bytes, whatever brought the query. One a worker.
//
// Order: limits, parse, what is refused by form, our own names, then the forwarder.
#pragma once

#include <functional>
#include <memory>
#include <span>

#include "compile/dns/zone.h"
#include "dns/cluster_answer.h"
#include "dns/forwarder.h"

namespace fairway::dns {

class Resolver {
 public:
  // Gets the answer; called at once or later, once or, where no answer is due, never.
  using Reply = std::function<void(std::vector<std::uint8_t>)>;

  Resolver(const DnsLimits& limits, std::size_t cache_bytes, std::vector<net::SocketAddr> upstreams, Transport& transport)
      : limits_(limits), forwarder_(limits, cache_bytes, std::move(upstreams), transport) {}

  enum class Via { kUdp, kTcp };
  void handle(const compile::dns::Zone& zone, Bytes message, Via via, Time now, const Reply& reply);

  Forwarder& forwarder() { return forwarder_; }
  DnsStats stats() const;

 private:
  void forward(const compile::dns::Zone& zone, const Query& query, OwnAnswer own, std::size_t limit, Time now, const Reply& reply);

  DnsLimits limits_;
  Forwarder forwarder_;
  DnsStats stats_;
  std::uint32_t turn_ = 0;
};

}  // namespace fairway::dns
