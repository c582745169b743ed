#include "policycheck/check.h"

#include <algorithm>
#include <set>

namespace fairway::policycheck {

using compile::policy::Direction;

std::string Cell::to_string() const { return (uniform() ? "" : "~") + some.to_string(); }

Check::Check(Inventory inventory)
    : inventory_(std::move(inventory)), parties_(inventory_.state, inventory_.pod_ranges), reachability_(inventory_.state, parties_) {
  name_ends();
  index_addresses();
}

void Check::name_ends() {
  std::set<model::Name> twice, seen;
  for (const auto& workload : inventory_.workloads)
    if (!seen.insert(workload.id).second) twice.insert(workload.id);
  for (std::size_t i = 0; i < inventory_.workloads.size(); ++i) {
    const Workload& workload = inventory_.workloads[i];
    End end{.name = workload.id.to_string(), .workload = i};
    if (twice.contains(workload.id)) end.name += " (" + workload.kind + ")";
    for (const std::size_t pod : workload.pods)
      for (const PartyId id : parties_.of_pod(pod))
        if (id != kNobody) end.parties.push_back(id);
    std::sort(end.parties.begin(), end.parties.end());
    end.parties.erase(std::unique(end.parties.begin(), end.parties.end()), end.parties.end());
    if (!end.parties.empty()) ends_.push_back(std::move(end));
  }
  for (const PartyId id : parties_.outside()) ends_.push_back({End::Kind::kOutside, parties_[id].name, 0, {id}});
  End nodes{End::Kind::kNodes, "nodes", 0, {}};
  for (const PartyId id : parties_.nodes())
    if (parties_[id].kind == Party::Kind::kNode) nodes.parties.push_back(id);
  if (!nodes.parties.empty()) ends_.push_back(std::move(nodes));
}

Cell Check::between(const End& from, const End& to) const {
  Cell out;
  bool first = true;
  for (const PartyId source : from.parties)
    for (const PartyId destination : to.parties) {
      if (parties_[source].addr.family() != parties_[destination].addr.family()) continue;
      const PortSet ports = reachability_.between(source, destination);
      out.some = first ? ports : out.some | ports;
      out.every = first ? ports : out.every & ports;
      first = false;
    }
  return out;
}

Place Check::place_of(const model::Name& policy, std::string_view field) const {
  for (std::size_t i = 0; i < inventory_.state.policies.size(); ++i)
    if (inventory_.state.policies[i].id == policy) return inventory_.policy_sources[i].place(field);
  return {};
}

Side Check::side(PartyId subject, Direction direction, PartyId peer, Port port) const {
  const Party& party = parties_[subject];
  if (party.kind != Party::Kind::kPod) return {true, "no policy applies to it", {}};
  model::Pod pod = inventory_.state.pods[party.pod];
  pod.ips.clear();   // another pod of the same workload, where it asks about itself
  pod.node.clear();  // and one of another node
  const auto verdict = compile::policy::judge_naively(inventory_.state, pod, direction, parties_[peer].addr, port.protocol, port.number);
  Side out{verdict.allowed, verdict.rule.to_string(), {}};
  const std::string rules = direction == Direction::kIngress ? "spec.ingress[" : "spec.egress[";
  if (!verdict.rule.policies.empty())
    out.at = place_of(verdict.rule.policies.front().policy, verdict.rule.rule < 0 ? "" : rules + std::to_string(verdict.rule.rule) + "]");
  else if (reachability_.judged(subject, direction)) out.decided_by = "no policy denies it";
  else out.decided_by = "no policy looks at it";
  return out;
}

PortSet Check::passing(const Connection& connection) const {
  if (is_itself(*connection.from, *connection.to)) return PortSet::all();
  return reachability_.between(connection.source, connection.destination);
}

Reason Check::why(const Connection& connection) const {
  if (is_itself(*connection.from, *connection.to))
    return {{true, "a pod always reaches itself", {}}, {true, "a pod always reaches itself", {}}};
  return {side(connection.source, Direction::kEgress, connection.destination, connection.port),
          side(connection.destination, Direction::kIngress, connection.source, connection.port)};
}

std::string Port::to_string() const {
  switch (protocol) {
    case 6:
      return std::to_string(number);
    case 17:
      return std::to_string(number) + "/udp";
    case 132:
      return std::to_string(number) + "/sctp";
    default:
      return "icmp";
  }
}

Port some_port(const PortSet& ports) {
  for (const std::uint16_t number : {80, 443, 8080, 22})
    if (ports.has(net::Protocol::kTcp, number)) return {6, number};
  if (ports.ranges().empty()) return {1, 0};
  const auto [begin, end] = ports.ranges().front();
  const PortSet::Key key = begin % 65536 == 0 && end - begin > 1 ? begin + 1 : begin;  // nobody listens on port 0
  constexpr std::uint8_t kSpaces[] = {6, 17, 132};
  return {kSpaces[key >> 16], static_cast<std::uint16_t>(key)};
}

std::string Connection::to_string() const { return from->name + " -> " + to->name + ":" + port.to_string(); }

std::string Reason::to_string() const {
  const auto told = [](const char* direction, const Side& side) {
    return std::string(direction) + (side.allowed ? ": allowed, " : ": denied, ") + side.decided_by +
           (side.at.file.empty() ? "" : " (" + side.at.to_string() + ")");
  };
  if (!egress.allowed) return told("egress", egress);
  if (!ingress.allowed) return told("ingress", ingress);
  return told("egress", egress) + "; " + told("ingress", ingress);
}

}  // namespace fairway::policycheck
