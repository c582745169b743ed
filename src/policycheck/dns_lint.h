// DNS lint: whether a workload's policies let it ask the cluster's DNS. Internal to policycheck/.
//
// The DNS pods are those of the manifests; where they have none, ones as kubeadm, CoreDNS's chart and OpenShift make them are asked for,
// and a node's own resolver, which to policies is such a pod.
#pragma once

#include <optional>

#include "policycheck/check.h"

namespace fairway::policycheck {

class DnsLint {
 public:
  explicit DnsLint(const Check& check);
  // dns-denied, of a workload.
  std::optional<Finding> find(const End& end) const;
  // Whether DNS pods that no manifest has match the peer of an egress rule; and have a port of the name.
  bool expects(const model::Policy& policy, const model::PolicyPeer& peer) const;
  bool expects_port(const std::string& name) const;

 private:
  struct Server {
    model::Pod pod;
    std::uint16_t port = 53;
  };
  using Verdict = compile::policy::OracleVerdict;
  void find_servers();
  void expect_servers();
  compile::policy::ClusterState state_for(GroupId group) const;
  bool asks_elsewhere(PartyId own, GroupId group) const;
  bool allows_dns(PartyId own, const model::Policy& policy, const model::PolicyRule& rule) const;
  Finding finding(const End& end, const Verdict& verdict, bool by_tcp) const;

  const Check& check_;
  std::vector<Server> servers_;
  bool expected_ = false;                             // no manifest has them
  std::vector<model::Namespace> namespaces_;          // the servers'
  std::vector<std::vector<std::uint32_t>> policies_;  // by group
};

}  // namespace fairway::policycheck
