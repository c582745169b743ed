#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>

#include "agent/tables_parts.h"

namespace fairway::agent {
namespace {

namespace json = boost::json;
using k8s::Kind;

struct Entry {
  const char* name;
  const char* text;
  Result<Table> (*render)(const View&);
};

template <typename Range, typename ToText>
std::string joined(const Range& range, ToText to_text) {
  std::string out;
  for (const auto& item : range) out += (out.empty() ? "" : ",") + to_text(item);
  return out;
}
std::string text_of(const net::IpAddr& addr) { return addr.to_string(); }
std::string text_of(const net::Prefix& prefix) { return prefix.to_string(); }
template <typename T>
std::string joined(const std::vector<T>& list) {
  return joined(list, [](const T& item) { return text_of(item); });
}

template <typename Codec, typename Visit>
void each(const View& view, Kind kind, Visit visit) {
  view.cluster.table(kind).for_each([&](std::string_view key, std::string_view bytes) {
    if (const auto row = Codec::decode(key, bytes)) visit(*row);
  });
}

Result<Table> namespaces(const View& view) {
  Table t{{"name", "terminating"}, {}};
  each<model::NamespaceCodec>(view, Kind::kNamespace, [&](const model::Namespace& n) { t.add({n.name, n.terminating}); });
  return t;
}

Result<Table> nodes(const View& view) {
  Table t{{"name", "id", "addresses", "podCidrs", "reached", "ready"}, {}};
  const auto routes = view.flow.routes();
  each<model::NodeCodec>(view, Kind::kNode, [&](const model::Node& n) {
    const auto route = std::find_if(routes.begin(), routes.end(), [&](const auto& r) { return r.first == n.name; });
    const bool self = n.name == view.options.node_name;
    const auto id = view.flow.node_ids().find(n.name);
    t.add({n.name, self || !id ? 0 : *id, joined(n.addresses), joined(n.pod_cidrs),
           self                    ? "this node"
           : route == routes.end() ? "-"
           : route->second.overlay ? "vxlan"
                                   : "native",
           n.unready ? "no, " + unready_text(n) : "yes"});
  });
  return t;
}

Result<Table> pods(const View& view) {
  Table t{{"namespace", "name", "ips", "node", "hostNetwork", "terminated"}, {}};
  each<model::PodCodec>(view, Kind::kPod, [&](const model::Pod& p) {
    t.add({p.id.ns, p.id.name, joined(p.ips), p.node, p.host_network, p.terminated});
  });
  return t;
}

Result<Table> services(const View& view) {
  Table t{{"namespace", "name", "clusterIps", "ports", "flags"}, {}};
  each<model::ServiceCodec>(view, Kind::kService, [&](const model::Service& s) {
    const auto port = [](const model::ServicePort& p) {
      return fmt::format("{}{}/{}", p.name.empty() ? "" : p.name + ":", p.port, net::to_string(p.protocol));
    };
    std::string flags = s.headless ? "headless " : "";
    if (s.affinity_seconds) flags += fmt::format("affinity={}s ", *s.affinity_seconds);
    if (s.internal_local) flags += "internal-local ";
    if (!flags.empty()) flags.pop_back();
    t.add({s.id.ns, s.id.name, joined(s.cluster_ips), joined(s.ports, port), flags});
  });
  return t;
}

Result<Table> slices(const View& view) {
  Table t{{"namespace", "name", "service", "address", "ports", "ready", "serving", "terminating", "node"}, {}};
  each<model::EndpointSliceCodec>(view, Kind::kEndpointSlice, [&](const model::EndpointSlice& s) {
    const auto ports = joined(s.ports, [](const model::NamedPort& p) {
      return fmt::format("{}{}/{}", p.name.empty() ? "" : p.name + ":", p.port, net::to_string(p.protocol));
    });
    for (const auto& e : s.endpoints)
      t.add({s.id.ns, s.id.name, s.service.name, e.addr.to_string(), ports, e.ready, e.serving, e.terminating, e.node});
  });
  return t;
}

std::string text_of(const model::LabelSelector& selector) {
  using Op = model::LabelRequirement::Op;
  if (selector.requirements.empty()) return "all";
  return joined(selector.requirements, [](const model::LabelRequirement& r) {
    std::string values;
    for (const auto& value : r.values) values += (values.empty() ? "" : "|") + value;
    return r.op == Op::kIn ? r.key + "=" + values : r.op == Op::kNotIn ? r.key + "!=" + values : (r.op == Op::kExists ? "" : "!") + r.key;
  });
}
// "in:2 out:0": the directions that a policy isolates, or has rules for, with the number of its rules.
std::string rules_of(const model::Policy& p) {
  const bool cluster = p.tier != model::PolicyTier::kNetworkPolicy;
  std::string out;
  if (cluster ? !p.ingress.empty() : p.isolates_ingress) out += fmt::format("in:{}", p.ingress.size());
  if (cluster ? !p.egress.empty() : p.isolates_egress) out += fmt::format("{}out:{}", out.empty() ? "" : " ", p.egress.size());
  return out;
}

Result<Table> network_policies(const View& view) {
  Table t{{"namespace", "name", "pods", "rules", "generation", "inForce"}, {}};
  each<model::PolicyCodec>(view, Kind::kNetworkPolicy, [&](const model::Policy& p) {
    t.add({p.id.ns, p.id.name, text_of(p.subject.pods), rules_of(p), p.generation, in_force(view, p)});
  });
  return t;
}

Result<Table> cluster_network_policies(const View& view) {
  Table t{{"name", "tier", "priority", "namespaces", "pods", "rules", "generation", "inForce"}, {}};
  each<model::PolicyCodec>(view, Kind::kClusterNetworkPolicy, [&](const model::Policy& p) {
    t.add({p.id.name, p.tier == model::PolicyTier::kAdmin ? "Admin" : "Baseline", p.priority,
           p.subject.namespaces ? text_of(*p.subject.namespaces) : "-", text_of(p.subject.pods), rules_of(p), p.generation,
           in_force(view, p)});
  });
  return t;
}

std::string frontend_flags(std::uint32_t flags) {
  static constexpr std::pair<std::uint32_t, const char*> kNames[] = {{FW_FE_CLUSTER_IP, "cluster-ip"},
                                                                     {FW_FE_NODE_PORT, "node-port"},
                                                                     {FW_FE_EXTERNAL_IP, "external-ip"},
                                                                     {FW_FE_LOAD_BALANCER, "load-balancer"},
                                                                     {FW_FE_AFFINITY, "affinity"},
                                                                     {FW_FE_NO_SOCKET_LB, "no-socket-lb"},
                                                                     {FW_FE_LOCAL_INTERNAL, "internal-local"},
                                                                     {FW_FE_LOCAL_EXTERNAL, "external-local"},
                                                                     {FW_FE_NODE_LOCAL, "node-local"},
                                                                     {FW_FE_HOST_PORT, "host-port"}};
  std::string out;
  for (const auto& [bit, name] : kNames)
    if ((flags & bit) != 0) out += (out.empty() ? "" : ",") + std::string(name);
  return out;
}

// From the maps, and by following them as the datapath does.
Result<Table> frontends(const View& view) {
  Table t{{"address", "port", "protocol", "service", "flags", "slots", "backends"}, {}};
  FW_ASSIGN(const auto rows, view.datapath.frontends().dump());
  for (const auto& [key, row] : rows) {
    std::string backends;
    for (std::uint32_t i = 0; i < row.count && i < 64; ++i) {
      const auto id = view.datapath.svc_slots().lookup(row.slot_base + i);
      const auto backend = id.ok() ? view.datapath.backends().lookup(*id) : Result<fw_backend>(id.error());
      backends += (backends.empty() ? "" : ",");
      backends += backend.ok() ? net::SocketAddr{datapath::from_abi(backend->addr), ntohs(backend->port_be)}.to_string() : "missing";
    }
    if (row.count > 64) backends += fmt::format(",… {} in all", row.count);
    const auto owner = view.flow.assignment().owner(key);
    const bool host_port = (row.flags & FW_FE_HOST_PORT) != 0;
    const std::string name = host_port ? view.local_pods.host_port_owner(compile::services::from_abi(key))
                             : owner   ? view.cluster.service_key(*owner)
                                       : "";
    t.add({datapath::from_abi(key.addr).to_string(), ntohs(key.port_be), net::to_string(static_cast<net::Protocol>(key.protocol)),
           name.empty() ? "-" : name, frontend_flags(row.flags), fmt::format("{}+{}", row.slot_base, row.count), backends});
  }
  return t;
}

Result<Table> backends(const View& view) {
  Table t{{"id", "address", "port", "protocol", "state", "generation"}, {}};
  FW_ASSIGN(const auto rows, view.datapath.backends().dump());
  for (const auto& [id, row] : rows)
    t.add({id, datapath::from_abi(row.addr).to_string(), ntohs(row.port_be), net::to_string(static_cast<net::Protocol>(row.protocol)),
           row.state == FW_BE_ACTIVE ? "active" : "terminating", row.generation});
  return t;
}

Result<Table> endpoints(const View& view) {
  Table t{{"address", "owner", "node", "ifindex", "mac", "flags", "generation"}, {}};
  FW_ASSIGN(const auto rows, view.datapath.endpoints().dump());
  for (const auto& [addr, row] : rows) {
    const auto ip = datapath::from_abi(addr);
    const auto node = view.cluster.node_of(ip);
    std::string flags;
    for (const auto& [bit, name] : {std::pair<unsigned, const char*>{FW_EP_LOCAL, "local"},
                                    {FW_EP_NODE, "node"},
                                    {FW_EP_NAT, "nat"},
                                    {FW_EP_TRACK, "track"},
                                    {FW_EP_SHAPED, "shaped"}})
      if ((row.flags & bit) != 0) flags += (flags.empty() ? "" : ",") + std::string(name);
    net::MacAddr mac;
    std::copy(std::begin(row.mac), std::end(row.mac), mac.bytes.begin());
    const auto pods_there = view.cluster.pods_of(ip);
    t.add({ip.to_string(), node ? "node " + *node : joined(pods_there, [](const std::string& p) { return p; }), row.node, row.ifindex,
           row.ifindex != 0 ? mac.to_string() : "", flags, row.generation});
  }
  return t;
}

Result<Table> local_pods(const View& view) {
  Table t{{"pod", "sandbox", "interface", "ifindex", "ips", "mac"}, {}};
  if (view.cni == nullptr) return t;
  for (const auto& e : view.cni->endpoints())
    t.add({e.pod.to_string(), e.sandbox_id.substr(0, 13), e.host_ifname, e.host_ifindex, joined(e.ips), e.pod_mac.to_string()});
  return t;
}

Result<Table> routes(const View& view) {
  Table t{{"pods", "node", "underlay", "mode", "mtu"}, {}};
  for (const auto& [node, r] : view.flow.routes())
    t.add({r.pods.to_string(), node, r.underlay.to_string(), r.overlay ? "vxlan" : "native", r.mtu});
  return t;
}

Result<Table> errors(const View& view) {
  Table t{{"object", "field", "reason"}, {}};
  view.problems.for_each([&](const std::string& object, const model::Problem& p) { t.add({object, p.field, p.reason}); });
  return t;
}

Result<Table> dns_records(const View& view) {
  Table t{{"name", "type", "value"}, {}};
  if (view.zone == nullptr) return t;
  using compile::dns::RecordType;
  for (const auto& r : view.zone->dump()) {
    const bool address = r.type == RecordType::kA || r.type == RecordType::kAaaa;
    const char* type = r.type == RecordType::kA       ? "A"
                       : r.type == RecordType::kAaaa  ? "AAAA"
                       : r.type == RecordType::kSrv   ? "SRV"
                       : r.type == RecordType::kPtr   ? "PTR"
                       : r.type == RecordType::kCname ? "CNAME"
                       : r.type == RecordType::kNs    ? "NS"
                       : r.type == RecordType::kSoa   ? "SOA"
                                                      : "TXT";
    t.add({r.owner, type,
           address                      ? r.addr.to_string()
           : r.type == RecordType::kSrv ? fmt::format("{} {} {} {}", r.priority, r.weight, r.port, r.target)
                                        : r.target});
  }
  return t;
}

Result<Table> dns_upstreams(const View& view) {
  Table t{{"address", "srttUs", "queries", "timeouts"}, {}};
  if (view.dns == nullptr) return t;
  for (const auto& u : view.dns->upstreams()) t.add({u.addr.to_string(), u.srtt_us, u.queries, u.timeouts});
  return t;
}

Result<Table> maps(const View& view) {
  Table t{{"name", "rows", "capacity", "bytes", "adopted"}, {}};
  FW_ASSIGN(const auto stats, view.datapath.stats());
  for (const auto& m : stats.maps) t.add({m.name, m.rows, m.capacity, m.bytes, m.adopted});
  return t;
}

Result<Table> counters(const View& view) {
  Table t{{"name", "drop", "packets", "bytes", "meaning"}, {}};
  FW_ASSIGN(const auto stats, view.datapath.stats());
  for (const auto& c : stats.counts) t.add({std::string_view(c.name), c.drop, c.packets, c.bytes, std::string_view(c.text)});
  return t;
}

Result<Table> programs(const View& view) {
  Table t{{"name", "id", "verifiedInsns", "tag"}, {}};
  FW_ASSIGN(const auto versions, view.datapath.versions());
  for (const auto& p : versions.programs) t.add({p.name, p.id, p.verified_insns, p.tag});
  return t;
}

Result<Table> attachments(const View& view) {
  Table t{{"kind", "ifindex"}, {}};
  FW_ASSIGN(const auto stats, view.datapath.stats());
  for (const auto& a : stats.attachments) t.add({a.kind, a.ifindex});
  return t;
}

constexpr Entry kTables[] = {
    {"attachments", "where the programs hang", attachments},
    {"backends", "map: endpoints of Services, by id", backends},
    {"clusternetworkpolicies", "ClusterNetworkPolicies as they were understood", cluster_network_policies},
    {"counters", "drops and events, counted by the datapath", counters},
    {"dns", "records served", dns_records},
    {"dns-upstreams", "servers for names beyond the cluster", dns_upstreams},
    {"endpoints", "map: who has which address", endpoints},
    {"endpointslices", "endpoints as the API has them", slices},
    {"errors", "what could not be honoured", errors},
    {"frontends", "map: Services' addresses and where they lead", frontends},
    {"local-pods", "this node's pods, as CNI made them", local_pods},
    {"maps", "the kernel's tables and how full they are", maps},
    {"namespaces", "namespaces", namespaces},
    {"networkpolicies", "NetworkPolicies as they were understood", network_policies},
    {"nodes", "nodes and how they are reached", nodes},
    {"peers", "map: the peer class of addresses and prefixes", peers},
    {"pods", "pods as the API has them", pods},
    {"policies", "policies, and how many pods of this node each selects", policies},
    {"port-classes", "map: the class of ports", port_classes},
    {"programs", "loaded BPF programs", programs},
    {"routes", "other nodes' pod ranges", routes},
    {"services", "Services as the API has them", services},
    {"subjects", "map: pods of this node that policies look at, and their default", subjects},
    {"track", "map: connections of pods that are isolated, who began them, and what let them", track},
    {"verdicts", "map: what is decided for a subject, peer class and port class, and by which rule", verdicts},
};

}  // namespace

std::string render_table_list(const View&) {
  json::array rows;
  for (const Entry& entry : kTables) rows.push_back(json::array{entry.name, entry.text});
  return json::serialize(json::object{{"table", "tables"}, {"columns", json::array{"name", "what"}}, {"rows", std::move(rows)}});
}

Result<std::string> render_table(const View& view, std::string_view name) {
  const auto entry = std::find_if(std::begin(kTables), std::end(kTables), [&](const Entry& e) { return name == e.name; });
  if (entry == std::end(kTables)) {
    std::string names;
    for (const Entry& e : kTables) names += (names.empty() ? "" : ", ") + std::string(e.name);
    return make_error(Code::kNotFound, "no table \"" + std::string(name.substr(0, 64)) + "\"; there are: " + names);
  }
  FW_ASSIGN(Table table, entry->render(view));
  json::array rows;
  std::vector<std::pair<std::string, json::array>> sorted;
  for (auto& cells : table.rows) {
    std::string key = json::serialize(cells);
    sorted.emplace_back(std::move(key), std::move(cells));
  }
  std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  for (auto& [key, cells] : sorted) rows.push_back(std::move(cells));
  json::array columns(table.columns.begin(), table.columns.end());
  return json::serialize(json::object{{"table", name}, {"columns", std::move(columns)}, {"rows", std::move(rows)}});
}

}  // namespace fairway::agent
