#include "agent/explain.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>

#include <algorithm>
#include <set>

#include "agent/explain_ends.h"
#include "agent/explain_program.h"
#include "agent/tables_parts.h"
#include "datapath/addr.h"

namespace fairway::agent {
namespace {

namespace json = boost::json;

constexpr std::size_t kMostText = 320, kMostPaths = 16;

bool is_plain(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](unsigned char c) { return std::isalnum(c) || c == '.' || c == '-' || c == '/' || c == ':' || c == '_'; });
}

json::object step(std::string_view name, std::string_view result, std::string text) {
  return {{"step", name}, {"result", result}, {"text", std::move(text)}};
}

json::object end_json(const End& end, const net::IpAddr& addr) {
  return {{"name", end.kind == End::Kind::kNode && !end.pod ? "node/" + end.name : end.name},
          {"address", addr.to_string()},
          {"node", end.node},
          {"kind", end.kind == End::Kind::kPod       ? "pod"
                   : end.kind == End::Kind::kNode    ? "node"
                   : end.kind == End::Kind::kService ? "service"
                                                     : "address"}};
}

// A verdict as a step. `who`: the pod that it is about.
json::object verdict_step(const View& view, const ExplainedVerdict& v, Direction direction, const std::string& who) {
  const bool ingress = direction == Direction::kIngress;
  json::object out = step(ingress ? "ingress" : "egress", v.allowed() ? "allowed" : "DENIED", "");
  const auto& policy = view.flow.policy();
  if (!v.own.empty()) {
    out["text"] = v.own;
  } else if (!v.table.looked) {
    out["text"] = "no policy looks at what " + who + (ingress ? " receives" : " sends");
  } else if (v.table.rule == 0) {
    out["text"] = v.allowed() ? "no rule of any policy matches" : "the policies of " + who + " are not known yet";
  } else {
    const auto* rule = rule_behind(view, v.table.rule);
    out["rule"] = rule_json(rule);
    out["text"] = rule_text(rule);
  }
  if (policy.open() && !policy.idle()) out["pending"] = true;
  return out;
}

struct Target {
  End end;
  net::SocketAddr at;
  bool resolver = false;                     // the sender's own node answers at the Service's address
  std::optional<net::SocketAddr> port = {};  // of this node, which leads here
};

// Where a Service's frontend leads, by its slots, each endpoint once.
Result<std::vector<Target>> targets_of(const View& view, const fw_frontend& row) {
  std::vector<Target> out;
  std::set<net::SocketAddr> seen;
  for (std::uint32_t i = 0; i < row.count && out.size() < kMostPaths; ++i) {
    const auto id = view.datapath.svc_slots().lookup(row.slot_base + i);
    if (!id.ok() || *id == 0) continue;
    const auto backend = view.datapath.backends().lookup(*id);
    if (!backend.ok()) continue;
    const net::SocketAddr at{datapath::from_abi(backend->addr), ntohs(backend->port_be)};
    if (!seen.insert(at).second) continue;
    Question none;
    FW_ASSIGN(End end, find_end(view, at.addr.to_string(), none));
    out.push_back({std::move(end), at});
  }
  return out;
}

// The Service step, and what it leads to; no target where it is refused.
Result<std::vector<Target>> service_step(const View& view, const End& to, const net::SocketAddr& vip, std::uint8_t protocol,
                                         json::array& steps) {
  const compile::services::FrontendKey key{vip.addr, vip.port, static_cast<net::Protocol>(protocol), FW_SCOPE_EXTERNAL};
  const auto row = view.datapath.frontends().lookup(compile::services::to_abi(key));
  const std::string at = fmt::format("{} {}/{}", to.name, vip.to_string(), protocol_name(protocol));
  if (!row.ok()) {
    steps.push_back(step("service", "REFUSED", at + ": the kernel has no such address and port"));
    return std::vector<Target>{};
  }
  if ((row->flags & FW_FE_NODE_LOCAL) != 0) {
    steps.push_back(step("service", "this node", at + ": answered by the agent on the sender's own node"));
    return std::vector<Target>{{to, vip, true}};
  }
  FW_ASSIGN(auto targets, targets_of(view, *row));
  const bool socket = protocol == IPPROTO_TCP && (row->flags & FW_FE_NO_SOCKET_LB) == 0;
  steps.push_back(targets.empty() ? step("service", "REFUSED", at + ": it has no ready endpoint")
                                  : step("service", fmt::format("{} endpoint{}", row->count, row->count == 1 ? "" : "s"),
                                         at + (socket ? ", translated at the socket" : ", translated by packet") +
                                             (row->count > kMostPaths ? fmt::format("; the first {} are explained", kMostPaths) : "")));
  return targets;
}

// Whichever address of a name's answer a client takes: a headless Service's has one for each endpoint.
Result<std::vector<Target>> name_step(const View& view, const End& to, std::uint16_t port, json::array& steps) {
  std::vector<Target> out;
  for (std::size_t i = 0; i < std::min(to.named.size(), kMostPaths); ++i) {
    FW_ASSIGN(End end, find_end(view, to.named[i].to_string(), Question{}));
    out.push_back({std::move(end), {to.named[i], port}});
  }
  const bool some = to.named.size() > kMostPaths;
  steps.push_back(step("name", to.named.size() == 1 ? to.named.front().to_string() : fmt::format("{} addresses", to.named.size()),
                       to.by_name + (some ? fmt::format("; the first {} are explained", kMostPaths) : "")));
  return out;
}

bool in_range(const net::IpAddr& addr, const fw_addr& range, unsigned length) {
  if (length == 0 || datapath::from_abi(range).is_v4() != addr.is_v4()) return false;
  return net::Prefix(datapath::from_abi(range), addr.is_v4() ? length - 96 : length).contains(addr);
}

json::object other_node_step(const View& view, std::uint32_t id, bool v4, const std::string& node) {
  const auto row = view.datapath.nodes().lookup(id);
  if (!row.ok()) return step("route", "DROPPED", "no-node: the kernel knows no way to " + node);
  const auto underlay_v4 = datapath::from_abi(row->underlay_v4), underlay_v6 = datapath::from_abi(row->underlay_v6);
  const bool by_v6 = underlay_v4.is_unset() || (row->mode == FW_NODE_NATIVE && !v4);
  const auto& at = by_v6 ? underlay_v6 : underlay_v4;
  return row->mode == FW_NODE_VXLAN ? step("route", "vxlan", fmt::format("in a tunnel to {} {}", node, at.to_string()))
                                    : step("route", "native", fmt::format("by the uplink to {} {}", node, at.to_string()));
}

// From a pod of this node to an address.
Result<json::object> route_step(const View& view, const Target& to) {
  if (to.resolver) return step("route", "this node", "to the node's own stack, where the agent answers");
  if (to.at.addr.is_loopback()) return step("route", "DROPPED", "martian: a loopback address is of the pod itself, and leaves no pod");
  FW_ASSIGN(const fw_config config, view.datapath.config());
  const auto row = view.datapath.endpoints().lookup(datapath::to_abi(to.at.addr));
  const bool v4 = to.at.addr.is_v4();
  if (row.ok() && (row->flags & FW_EP_LOCAL) != 0)
    return step("route", "same node", fmt::format("straight into {}, interface {}", to.end.name, row->ifindex));
  if (row.ok() && (row->flags & FW_EP_NODE) != 0)
    return row->node == 0 ? step("route", "this node", "to the node's own stack")
                          : step("route", "node", "by the kernel's routes to " + to.end.name);
  if (row.ok()) return other_node_step(view, row->node, v4, to.end.node);
  if (in_range(to.at.addr, v4 ? config.service_v4 : config.service_v6, v4 ? config.service_v4_len : config.service_v6_len))
    return step("route", "REFUSED", "an address of the Service range that no Service has");
  if (in_range(to.at.addr, v4 ? config.cluster_v4 : config.cluster_v6, v4 ? config.cluster_v4_len : config.cluster_v6_len))
    return step("route", "unreachable", "an address of the pod range that no pod has");
  const bool masquerade = (config.flags & (v4 ? FW_CFG_MASQUERADE_V4 : FW_CFG_MASQUERADE_V6)) != 0;
  const auto node = datapath::from_abi(v4 ? config.node_v4 : config.node_v6);
  return masquerade ? step("route", "masquerade", "beyond the cluster, with the node's address " + node.to_string())
                    : step("route", "beyond", "beyond the cluster, with its own address");
}

bool is_end_of_way(const json::object& route) {
  const auto& result = route.at("result").as_string();
  return result == "DROPPED" || result == "REFUSED" || result == "unreachable";
}

// The pod to which a port of this node leads. Other nodes' ports are known to their agents alone.
std::optional<Target> pod_behind(const View& view, const net::SocketAddr& port, std::uint8_t protocol) {
  const compile::services::FrontendKey key{port.addr, port.port, static_cast<net::Protocol>(protocol), FW_SCOPE_EXTERNAL};
  const auto row = view.datapath.frontends().lookup(compile::services::to_abi(key));
  auto pods = row.ok() ? targets_of(view, *row) : Result<std::vector<Target>>(std::vector<Target>{});
  if (!pods.ok() || pods->empty()) return std::nullopt;
  pods->front().port = port;
  return pods->front();
}

json::object host_port_step(const Target& pod) {
  return step("node", "hostPort", fmt::format("{} leads to {} port {}", pod.port->to_string(), pod.end.name, pod.at.port));
}

json::object not_judged_step() {
  return step("node", "not judged", "policies do not stand before a node's own address, but before a pod behind a hostPort of it");
}

// Whether its pods run on and are reached nobody here can tell: so it is said, and no verdict.
std::optional<json::object> unready_step(const View& view, const std::string& name) {
  const auto node = view.cluster.find_node(name);
  if (!node || !node->unready) return std::nullopt;
  json::object out = step("node", "NOT READY", unready_text(*node));
  out["node"] = name;
  return out;
}

// The tables in force are as old as the last word.
std::optional<json::object> away_step(const View& view) {
  const std::string silence = api_silence(view);
  if (silence.empty()) return std::nullopt;
  return step("api", "AWAY", silence + ": what " + view.options.node_name + " knows may be old");
}

json::object path_json(const View& view, const End& from, const net::IpAddr& source, const Target& asked, std::uint8_t protocol,
                       ProgramRunner* programs) {
  const bool to_node = asked.end.kind == End::Kind::kNode;
  const auto pod = to_node ? pod_behind(view, asked.at, protocol) : std::nullopt;
  const Target& to = pod ? *pod : asked;
  json::object out{{"to", end_json(to.end, to.at.addr)}, {"port", to.at.port}};
  json::array steps;
  bool allowed = true;
  if (pod) steps.push_back(host_port_step(*pod));
  const auto fail = [&](const Error& error) { steps.push_back(step("error", "UNKNOWN", error.message)), allowed = false; };
  if (programs != nullptr) {
    const auto egress = programs->verdict(Direction::kEgress, source, to.at, protocol);
    if (!egress.ok()) fail(egress.error());
    else {
      allowed = egress->allowed();
      steps.push_back(verdict_step(view, *egress, Direction::kEgress, from.name));
    }
    auto route = route_step(view, to);
    if (!route.ok()) fail(route.error());
    else {
      allowed = allowed && !is_end_of_way(*route);
      steps.push_back(std::move(*route));
    }
    out["program"] = programs->departure(source, to.at, protocol, to.port);
  }
  out["allowed"] = allowed;
  if (auto unready = to.end.node == from.node ? std::nullopt : unready_step(view, to.end.node)) {
    steps.push_back(std::move(*unready));
    out["doubt"] = true;
  }
  const bool elsewhere = to_node && to.at.port != 0 && to.end.node != view.options.node_name;
  if (to_node && !pod && !elsewhere) steps.push_back(not_judged_step());
  if (to.end.kind == End::Kind::kPod || elsewhere) out["arrival"] = to.end.node;
  out["steps"] = std::move(steps);
  return out;
}

}  // namespace

Result<Question> parse_question(const io::ServerRequest& request) {
  Question out;
  const std::pair<const char*, std::string*> texts[] = {{"from", &out.from}, {"to", &out.to}, {"namespace", &out.ns}, {"port", &out.port}};
  for (const auto& [name, text] : texts) {
    const auto value = request.query_value(name);
    if (value.size() > kMostText || !is_plain(value))
      return make_error(Code::kInvalid, std::string(name) + ": is no name, address or port");
    if (!value.empty()) *text = value;
  }
  if (out.from.empty() || out.to.empty()) return make_error(Code::kInvalid, "from and to: both are needed");
  const std::string protocol(request.query_value("protocol"));
  out.v6 = request.query_value("family") == "6";
  if (protocol == "ICMP") out.protocol = IPPROTO_ICMP;
  else if (const auto known = net::parse_protocol(protocol)) out.protocol = static_cast<std::uint8_t>(*known);
  else if (!protocol.empty()) return make_error(Code::kInvalid, "protocol: is none of TCP, UDP, SCTP, ICMP");
  return out;
}

Result<std::string> explain_departure(const View& view, const Question& question) {
  FW_ASSIGN(const End from, find_end(view, question.from, question));
  if (from.kind == End::Kind::kService) return make_error(Code::kInvalid, from.name + " is a Service: nothing is sent from it; name a pod");
  const bool from_pod = from.kind == End::Kind::kPod;
  if (from_pod && from.node.empty()) return make_error(Code::kInvalid, from.name + " is on no node yet: wait until it runs");
  if (from_pod && from.node != view.options.node_name) return json::serialize(json::object{{"askNode", from.node}});
  FW_ASSIGN(const End to, find_end(view, question.to, question));
  FW_ASSIGN(Port port, find_port(to, question));
  FW_ASSIGN(const auto ends, common_family(from, to, question.v6));
  const auto& [source, destination] = ends;
  if (port.protocol == IPPROTO_ICMP && !source.is_v4()) port.protocol = IPPROTO_ICMPV6;
  json::array steps;
  bool doubt = false;
  auto away = away_step(view);
  if (away) steps.push_back(*away);
  if (auto unready = unready_step(view, from.node)) steps.push_back(std::move(*unready)), doubt = true;
  const net::SocketAddr at{destination, port.number};
  std::vector<Target> targets{{to, at}};
  if (!to.by_name.empty()) { FW_ASSIGN(targets, name_step(view, to, at.port, steps)); }
  if (to.kind == End::Kind::kService) {
    if (from.kind == End::Kind::kAddress)
      return make_error(Code::kInvalid,
                        to.name + " is a Service inside the cluster, and " + source.to_string() + " is outside: name one of its pods");
    FW_ASSIGN(targets, service_step(view, to, at, port.protocol, steps));
  }
  std::optional<ProgramRunner> programs;
  if (from_pod) { FW_ASSIGN(programs, ProgramRunner::of_pod(view, source)); }
  json::object named = end_json(to, destination);
  if (to.named.size() > 1) named = {{"name", to.by_name}, {"address", destination.to_string()}, {"node", ""}, {"kind", "name"}};
  json::array paths;
  for (const Target& target : targets)
    paths.push_back(path_json(view, from, source, target, port.protocol, programs ? &*programs : nullptr));
  return json::serialize(json::object{{"node", view.options.node_name},
                                      {"from", end_json(from, source)},
                                      {"to", std::move(named)},
                                      {"port", port.number},
                                      {"protocol", protocol_name(port.protocol)},
                                      {"away", away.has_value()},
                                      {"doubt", doubt},
                                      {"steps", std::move(steps)},
                                      {"paths", std::move(paths)}});
}

namespace {

// What this node's own address and port lead to, asked from another node.
Result<json::object> node_arrival(const View& view, const net::IpAddr& from, const net::SocketAddr& at, std::uint8_t protocol) {
  const auto pod = pod_behind(view, at, protocol);
  if (!pod) return json::object{{"allowed", true}, {"steps", json::array{not_judged_step()}}, {"program", json::object{}}};
  FW_ASSIGN(ProgramRunner programs, ProgramRunner::of_pod(view, pod->at.addr));
  FW_ASSIGN(const auto ingress, programs.verdict(Direction::kIngress, pod->at.addr, {from, pod->at.port}, protocol));
  return json::object{{"allowed", ingress.allowed()},
                      {"steps", json::array{host_port_step(*pod), verdict_step(view, ingress, Direction::kIngress, pod->end.name)}},
                      {"program", programs.arrival(from, pod->at, protocol, pod->port)}};
}

Result<json::object> pod_arrival(const View& view, const net::IpAddr& from, const End& end, const net::SocketAddr& at,
                                 std::uint8_t protocol) {
  FW_ASSIGN(ProgramRunner programs, ProgramRunner::of_pod(view, at.addr));
  FW_ASSIGN(const auto ingress, programs.verdict(Direction::kIngress, at.addr, {from, at.port}, protocol));
  return json::object{{"allowed", ingress.allowed()},
                      {"steps", json::array{verdict_step(view, ingress, Direction::kIngress, end.name)}},
                      {"program", programs.arrival(from, at, protocol)}};
}

}  // namespace

Result<std::string> explain_arrival(const View& view, const Question& question) {
  FW_ASSIGN(const auto from, net::IpAddr::parse(question.from));
  FW_ASSIGN(const auto to, net::IpAddr::parse(question.to));
  FW_ASSIGN(const End end, find_end(view, question.to, question));
  FW_ASSIGN(Port port, find_port(end, question));
  if (port.protocol == IPPROTO_ICMP && !from.is_v4()) port.protocol = IPPROTO_ICMPV6;
  const net::SocketAddr at{to, port.number};
  FW_ASSIGN(json::object out,
            end.kind == End::Kind::kNode ? node_arrival(view, from, at, port.protocol) : pod_arrival(view, from, end, at, port.protocol));
  out["node"] = view.options.node_name;
  // The source's agent may be the one that is cut off, and not know it.
  FW_ASSIGN(const End source, find_end(view, question.from, question));
  auto& steps = out["steps"].as_array();
  if (auto unready = unready_step(view, source.node)) steps.insert(steps.begin(), std::move(*unready)), out["doubt"] = true;
  if (auto away = away_step(view)) steps.insert(steps.begin(), std::move(*away));
  return json::serialize(out);
}

}  // namespace fairway::agent
