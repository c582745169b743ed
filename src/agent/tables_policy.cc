#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstring>

#include "agent/tables_parts.h"
#include "datapath/addr.h"

namespace fairway::agent {
namespace {

using compile::policy::RuleId;
using k8s::Kind;

unsigned bank_of(const View& view) { return view.datapath.policy_generation() & 1; }

std::string rule_name(const View& view, RuleId id) { return id == 0 ? "-" : rule_text(rule_behind(view, id)); }

std::string peer_name(std::uint32_t peer) { return peer == FW_PEER_ANY ? "any" : peer == FW_PEER_NONE ? "unnamed" : std::to_string(peer); }
std::string port_name(std::uint16_t port) { return port == FW_PORT_ANY ? "any" : port == FW_PORT_NONE ? "unnamed" : std::to_string(port); }

const char* fallback_name(std::uint8_t fallback) {
  return fallback == FW_SUBJECT_OPEN ? "open" : fallback == FW_SUBJECT_ALLOW ? "allow" : "deny";
}

std::string judged(std::uint32_t generation, std::uint32_t now) {
  return generation == now ? "allowed" : generation == 0 ? "not yet" : "before the last change";
}

}  // namespace

std::string protocol_name(std::uint8_t protocol) {
  switch (protocol) {
    case IPPROTO_TCP:
      return "TCP";
    case IPPROTO_UDP:
      return "UDP";
    case IPPROTO_SCTP:
      return "SCTP";
    case IPPROTO_ICMP:
    case IPPROTO_ICMPV6:
      return "ICMP";
    default:
      return std::to_string(protocol);
  }
}

std::string in_force(const View& view, const model::Policy& policy) {
  const auto& flow = view.flow.policy();
  const std::string key = policy.id.to_string();
  if (!flow.open()) return "as pinned, not all sources have synced";
  if (flow.awaits(key)) {
    const auto why = problems_of(view.problems, "Policies");
    return why.empty() ? "not yet" : "no: " + why.front().field + ": " + why.front().reason;
  }
  const auto held = flow.held();
  return std::find(held.begin(), held.end(), key) != held.end() ? "yes, deleted but held for its pods" : "yes";
}

Result<Table> policies(const View& view) {
  Table t{{"policy", "tier", "priority", "pods", "inForce"}, {}};
  const auto& flow = view.flow.policy();
  for (const Kind kind : {Kind::kNetworkPolicy, Kind::kClusterNetworkPolicy})
    view.cluster.table(kind).for_each([&](std::string_view key, std::string_view bytes) {
      const auto row = model::PolicyCodec::decode(key, bytes);
      if (!row) return;
      const bool network = row->tier == model::PolicyTier::kNetworkPolicy;
      t.add({std::string(key),
             network                                  ? "NetworkPolicy"
             : row->tier == model::PolicyTier::kAdmin ? "Admin"
                                                      : "Baseline",
             row->priority, flow.engine().subjects_of(key), in_force(view, *row)});
    });
  return t;
}

Result<Table> subjects(const View& view) {
  Table t{{"pod", "ifindex", "subject", "ingress", "ingressRule", "egress", "egressRule", "tracked"}, {}};
  FW_ASSIGN(const auto rows, view.datapath.pol_subjects().dump());
  for (const auto& [ifindex, row] : rows) {
    const std::string pod = view.local_pods.pod_of(ifindex);
    const auto device = view.datapath.local_ifs().lookup(ifindex);
    const fw_subject_version& v = row.v[bank_of(view)];
    t.add({pod.empty() ? "-" : pod, ifindex, v.id, fallback_name(v.fallback[FW_POL_INGRESS]), rule_name(view, v.rule[FW_POL_INGRESS]),
           fallback_name(v.fallback[FW_POL_EGRESS]), rule_name(view, v.rule[FW_POL_EGRESS]),
           device.ok() && (device->flags & FW_IF_TRACK) != 0});
  }
  return t;
}

Result<Table> peers(const View& view) {
  Table t{{"address", "class"}, {}};
  FW_ASSIGN(const auto addresses, view.datapath.pol_peers().dump());
  FW_ASSIGN(const auto prefixes, view.datapath.pol_cidrs().dump());
  for (const auto& [addr, row] : addresses)
    if (row.v[bank_of(view)] != FW_PEER_ANY) t.add({datapath::from_abi(addr).to_string(), peer_name(row.v[bank_of(view)])});
  for (const auto& [key, row] : prefixes) t.add({datapath::prefix_of(key).to_string(), peer_name(row.v[bank_of(view)])});
  return t;
}

Result<Table> port_classes(const View& view) {
  Table t{{"protocol", "first", "last", "class"}, {}};
  FW_ASSIGN(auto rows, view.datapath.pol_ports().dump());
  std::sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  constexpr const char* kNames[] = {"TCP", "UDP", "SCTP"};
  struct Run {
    std::uint32_t protocol = 0, first = 0, last = 0;
    std::uint16_t port_class = FW_PORT_NONE;
  } run;
  const auto flush = [&] {
    if (run.port_class != FW_PORT_NONE) t.add({kNames[run.protocol % FW_PORT_PROTOCOLS], run.first, run.last, run.port_class});
  };
  for (const auto& [index, row] : rows)
    for (std::uint32_t i = 0; i < FW_PORT_CHUNK; ++i) {
      const std::uint32_t protocol = index / FW_PORT_CHUNKS, port = index % FW_PORT_CHUNKS * FW_PORT_CHUNK + i;
      const std::uint16_t port_class = row.v[bank_of(view)][i];
      if (port_class == run.port_class && protocol == run.protocol && port == run.last + 1) {
        run.last = port;
        continue;
      }
      flush();
      run = {protocol, port, port, port_class};
    }
  flush();
  return t;
}

Result<Table> verdicts(const View& view) {
  Table t{{"subject", "direction", "peer", "port", "verdict", "rule"}, {}};
  FW_ASSIGN(const auto rows, view.datapath.pol_verdicts().dump());
  const unsigned bank = bank_of(view);
  for (const auto& [key, row] : rows)
    if (row.verdict[bank] != FW_VERDICT_NONE)
      t.add({key.subject, key.direction == FW_POL_INGRESS ? "ingress" : "egress", peer_name(key.peer), port_name(key.port),
             row.verdict[bank] == FW_VERDICT_ALLOW ? "allow" : "deny", rule_name(view, row.rule[bank])});
  return t;
}

Result<Table> track(const View& view) {
  Table t{{"from", "to", "protocol", "state", "egress", "egressRule", "ingress", "ingressRule"}, {}};
  const std::uint32_t now = view.datapath.policy_generation();
  for (auto* map : {&view.datapath.track(), &view.datapath.track_new()}) {
    FW_ASSIGN(const auto rows, map->dump());
    for (const auto& [key, row] : rows) {
      const net::SocketAddr low{datapath::from_abi(key.low), ntohs(key.low_port_be)},
          high{datapath::from_abi(key.high), ntohs(key.high_port_be)};
      const bool low_began = (row.flags & FW_TRACK_LOW_BEGAN) != 0;
      const bool closed = (row.flags & FW_TRACK_RST) != 0 || ((row.flags & FW_TRACK_LOW_FIN) != 0 && (row.flags & FW_TRACK_HIGH_FIN) != 0);
      const char* state = closed                                    ? "closed"
                          : (row.flags & FW_TRACK_ESTABLISHED) != 0 ? "established"
                          : (row.flags & FW_TRACK_REPLIED) != 0     ? "replied"
                                                                    : "new";
      t.add({(low_began ? low : high).to_string(), (low_began ? high : low).to_string(), protocol_name(key.protocol),
             std::string(state) + ((row.flags & FW_TRACK_SEEDED) != 0 ? ", from its socket" : ""), judged(row.egress_generation, now),
             rule_name(view, row.egress_rule), judged(row.ingress_generation, now), rule_name(view, row.ingress_rule)});
    }
  }
  return t;
}

boost::json::object policy_status(const View& view) {
  const auto& flow = view.flow.policy();
  const auto sizes = flow.engine().sizes();
  return {{"generation", view.datapath.policy_generation()},
          {"changes", flow.sink().flips()},
          {"inForce", flow.in_force()},
          {"policies", sizes.policies},
          {"subjects", sizes.subjects},
          {"peers", sizes.peers},
          {"peerClasses", sizes.peer_classes},
          {"cidrs", sizes.cidrs},
          {"portClasses", sizes.port_classes},
          {"verdicts", sizes.verdicts},
          {"heldForPods", flow.held().size()},
          {"events", view.policy_status != nullptr ? view.policy_status->show() : boost::json::object()}};
}

}  // namespace fairway::agent
