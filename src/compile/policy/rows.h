// What the policy compiler makes: rows of bpf/abi/policy.h without their versions, which are the sink's business
// (sinks/policy_sink.h), and the names behind the numbers.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "model/policy.h"
#include "net/ip.h"

namespace fairway::compile::policy {

enum class Direction : std::uint8_t { kIngress = 0, kEgress = 1 };
enum class Fallback : std::uint8_t { kOpen = 0, kAllow = 1, kDeny = 2 };
enum class Verdict : std::uint8_t { kAllow = 1, kDeny = 2 };

using SubjectId = std::uint32_t;  // > 0
using PeerClass = std::uint32_t;  // FW_PEER_*
using PortClass = std::uint16_t;  // FW_PORT_*
using RuleId = std::uint32_t;     // 0: none

struct SubjectRow {
  SubjectId id = 0;
  Fallback ingress = Fallback::kOpen, egress = Fallback::kOpen;
  RuleId ingress_rule = 0, egress_rule = 0;
  bool operator==(const SubjectRow&) const = default;
};

struct VerdictKey {
  SubjectId subject = 0;
  PeerClass peer = 0;
  PortClass port = 0;
  Direction direction = Direction::kIngress;
  auto operator<=>(const VerdictKey&) const = default;
};
struct VerdictRow {
  Verdict verdict = Verdict::kAllow;
  RuleId rule = 0;
  bool operator==(const VerdictRow&) const = default;
};

// Ports first..last of a protocol are of this class now.
struct PortRange {
  net::Protocol protocol = net::Protocol::kTcp;
  std::uint16_t first = 0, last = 0;
  PortClass port_class = 0;
  bool operator==(const PortRange&) const = default;
};

// What changed since the last one; nothing as a row means that it is gone. Applied as one step.
struct Delta {
  std::vector<std::pair<std::uint32_t, std::optional<SubjectRow>>> subjects;  // by host ifindex
  std::vector<std::pair<net::IpAddr, std::optional<PeerClass>>> peers;
  std::vector<std::pair<net::Prefix, std::optional<PeerClass>>> cidrs;
  std::vector<PortRange> ports;
  std::vector<std::pair<VerdictKey, std::optional<VerdictRow>>> verdicts;
  // More port classes than numbers: ports have FW_PORT_NONE where a rule names them. Not to be applied; when it fits again, take whole().
  bool overflow = false;
  bool empty() const { return subjects.empty() && peers.empty() && cidrs.empty() && ports.empty() && verdicts.empty(); }
};

// The name behind a RuleId: one rule of one policy, or the policies whose isolation denies what none of their rules allows.
struct RuleName {
  struct Of {
    model::PolicyTier tier = model::PolicyTier::kNetworkPolicy;
    model::Name policy;
    std::string uid;
    bool operator==(const Of&) const = default;
  };
  std::vector<Of> policies;  // one, or several for a default deny, sorted
  Direction direction = Direction::kIngress;
  int rule = -1;  // index within spec.ingress / spec.egress; -1: the default deny
  std::string rule_name;
  std::string to_string()
      const;  // "NetworkPolicy default/allow-frontend ingress[0]", "default deny of NetworkPolicy default/x, default/y (ingress)"
  bool operator==(const RuleName&) const = default;
};

}  // namespace fairway::compile::policy
