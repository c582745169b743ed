// The policy tables of a test cluster's node, written row by row and bank by bank, as the sink does.
#pragma once

#include <string>

#include "cluster.h"

namespace fairway::test {

class PolicyRows {
 public:
  PolicyRows(Cluster& cluster, int node) : dp_(cluster.datapath(node)) {}

  void bank(unsigned bank) { bank_ = bank; }
  void generation(std::uint32_t generation) { dp_.set_policy_generation(generation); }
  // Pods behind `ifindex` are judged from now on.
  void subject(std::uint32_t ifindex, std::uint32_t id, fw_subject_default ingress, fw_subject_default egress, std::uint32_t rule = 900);
  void peer(const net::IpAddr& addr, std::uint32_t peer_class);
  void cidr(const std::string& prefix, std::uint32_t peer_class);
  void ports(net::Protocol protocol, std::uint16_t first, std::uint16_t last, std::uint16_t port_class);
  void verdict(std::uint32_t subject, fw_policy_direction direction, std::uint32_t peer, std::uint16_t port, fw_verdict verdict,
               std::uint32_t rule);
  // The content of one bank goes to the other: what a sink does after a flip.
  void copy_bank(unsigned from);

 private:
  datapath::Datapath& dp_;
  unsigned bank_ = 1;  // that of generation 1
};

}  // namespace fairway::test
