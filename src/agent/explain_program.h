// What the tables say of one pod of this node, and what the programs say of the same packet.
#pragma once

#include <boost/json/object.hpp>
#include <memory>
#include <optional>
#include <string>

#include "agent/tables.h"
#include "compile/policy/rows.h"
#include "datapath/dry_run.h"
#include "datapath/policy_lookup.h"

namespace fairway::agent {

using compile::policy::Direction;

struct ExplainedVerdict {
  datapath::TableVerdict table;
  std::string own;  // why nothing is asked, or empty
  bool allowed() const { return !own.empty() || table.allowed; }
};

class ProgramRunner {
 public:
  // kNotFound: the address is not one of this node's pods.
  static Result<ProgramRunner> of_pod(const View& view, const net::IpAddr& addr);

  // By the tables in force. `peer` is the other end, its port the receiver's in either direction.
  Result<ExplainedVerdict> verdict(Direction direction, const net::IpAddr& self, const net::SocketAddr& peer, std::uint8_t protocol) const;

  // By the programs: {"ran","result","text","agrees"}; "agrees" is false where they do not say what verdict() says.
  // `port`: that of the node to which the packet is sent, and that leads to the pod.
  using NodePort = std::optional<net::SocketAddr>;
  boost::json::object departure(const net::IpAddr& self, const net::SocketAddr& to, std::uint8_t protocol, const NodePort& port = {});
  boost::json::object arrival(const net::IpAddr& from, const net::SocketAddr& self, std::uint8_t protocol, const NodePort& port = {});

 private:
  struct Expected {
    std::optional<ExplainedVerdict> egress, ingress;
  };
  ProgramRunner(const View& view, std::uint32_t ifindex, fw_local_if device) : view_(&view), ifindex_(ifindex), device_(device) {}
  boost::json::object run(std::string_view program, std::uint32_t ifindex, const datapath::MadePacket& packet, const Expected& expected);

  const View* view_;
  std::uint32_t ifindex_;
  fw_local_if device_;
  std::unique_ptr<datapath::DryRun> dry_run_;
  std::string why_not_;
};

}  // namespace fairway::agent
