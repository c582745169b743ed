#include "world.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

#include <set>

#include "datapath/faulty_policy_tables.h"
#include "datapath/memory_policy_tables.h"

namespace fairway::script {
namespace {

// YAML's core schema to JSON: enough for manifests.
void to_json(const YAML::Node& node, std::string& out) {
  const auto quote = [&](const std::string& text) {
    out += '"';
    for (const char c : text) {
      if (c == '"' || c == '\\') out += '\\';
      out += c;
    }
    out += '"';
  };
  if (node.IsNull()) {
    out += "null";
  } else if (node.IsSequence()) {
    out += '[';
    for (std::size_t i = 0; i < node.size(); ++i) {
      if (i > 0) out += ',';
      to_json(node[i], out);
    }
    out += ']';
  } else if (node.IsMap()) {
    out += '{';
    bool first = true;
    for (const auto& entry : node) {
      if (!std::exchange(first, false)) out += ',';
      quote(entry.first.as<std::string>());
      out += ':';
      to_json(entry.second, out);
    }
    out += '}';
  } else {
    const auto text = node.Scalar();
    long long number = 0;
    const bool plain = node.Tag() != "!";
    if (plain && (text == "true" || text == "false" || YAML::convert<long long>::decode(node, number))) out += text;
    else quote(text);
  }
}

// By value: a range-for over the Result's own would outlive it.
template <typename K, typename V>
std::vector<std::pair<K, V>> rows(const datapath::Map<K, V>& map) {
  return map.dump().value();
}

std::optional<k8s::Kind> kind_of(const std::string& text) {
  for (const auto kind : reflect::Cluster::kKinds)
    if (text == k8s::to_string(kind)) return kind;
  return std::nullopt;
}

struct MemoryMaps final : Maps {
  explicit MemoryMaps(const MapLimits& l)
      : frontends_("frontends", l.frontends),
        slots_("svc_slots", l.slots, datapath::MapKind::kArray),
        backends_("backends", l.backends),
        endpoints_("endpoints", l.endpoints),
        nodes_("nodes", l.nodes) {}
  datapath::Map<fw_frontend_key, fw_frontend>& frontends() override { return frontends_; }
  datapath::Map<std::uint32_t, std::uint32_t>& slots() override { return slots_; }
  datapath::Map<std::uint32_t, fw_backend>& backends() override { return backends_; }
  datapath::Map<fw_addr, fw_endpoint>& endpoints() override { return endpoints_; }
  datapath::Map<std::uint32_t, fw_node>& nodes() override { return nodes_; }
  datapath::MemoryMap<fw_frontend_key, fw_frontend> frontends_;
  datapath::MemoryMap<std::uint32_t, std::uint32_t> slots_;
  datapath::MemoryMap<std::uint32_t, fw_backend> backends_;
  datapath::MemoryMap<fw_addr, fw_endpoint> endpoints_;
  datapath::PolicyTables& policy() override { return policy_; }
  datapath::MemoryMap<std::uint32_t, fw_node> nodes_;
  datapath::MemoryPolicyTables policy_;
};

}  // namespace

std::unique_ptr<Maps> memory_maps(const MapLimits& limits) { return std::make_unique<MemoryMaps>(limits); }

// Stands for the kernel's routes.
struct World::Routes final : reconcile::Target<net::Prefix, compile::routing::Route> {
  using Route = compile::routing::Route;
  std::map<net::Prefix, Route> rows;
  double share = 0;
  std::size_t faults = 0;
  std::mt19937 random{1};
  Status fail() {
    if (std::uniform_real_distribution<double>(0, 1)(random) >= share) return {};
    ++faults;
    return make_error(Code::kIo, "a fault that the test asked for");
  }
  Status update(const net::Prefix& pods, const Route& route) override {
    FW_TRY(fail());
    rows[pods] = route;
    return {};
  }
  Status remove(const net::Prefix& pods) override {
    FW_TRY(fail());
    rows.erase(pods);
    return {};
  }
  Result<std::vector<std::pair<net::Prefix, Route>>> dump() override {
    FW_TRY(fail());
    return std::vector<std::pair<net::Prefix, Route>>(rows.begin(), rows.end());
  }
  bool in_force(const Route& a, const Route& b) const override { return a == b; }
};

struct World::Faulty {
  Faulty(Maps& m, double share, unsigned seed)
      : frontends(m.frontends(), share, seed),
        slots(m.slots(), share, seed + 1),
        backends(m.backends(), share, seed + 2),
        endpoints(m.endpoints(), share, seed + 3),
        nodes(m.nodes(), share, seed + 4),
        policy(m.policy(), share, seed + 5) {}
  datapath::FaultyMap<fw_frontend_key, fw_frontend> frontends;
  datapath::FaultyMap<std::uint32_t, std::uint32_t> slots;
  datapath::FaultyMap<std::uint32_t, fw_backend> backends;
  datapath::FaultyMap<fw_addr, fw_endpoint> endpoints;
  datapath::FaultyMap<std::uint32_t, fw_node> nodes;
  datapath::FaultyPolicyTables policy;
  sinks::EndpointTarget endpoint_target{endpoints};
  sinks::NodeTarget node_target{nodes};
};

// No packets, so no readers to wait for; no sockets either.
struct World::Host final : sinks::PolicyHost {
  std::set<std::uint32_t> tracked_pods;
  void wait_for_readers(std::function<void()> done) override { done(); }
  void begin_tracking(std::vector<std::uint32_t> ifindexes, std::function<void(Status)> done) override {
    tracked_pods.insert(ifindexes.begin(), ifindexes.end());
    done({});
  }
  Status make_room(const datapath::Room&) override { return {}; }
  Result<std::vector<std::uint32_t>> tracked() override { return std::vector<std::uint32_t>(tracked_pods.begin(), tracked_pods.end()); }
};

World::World(Maps& maps, double fault_share, unsigned seed)
    : maps_(maps), share_(fault_share), seed_(seed), routes_(std::make_unique<Routes>()), host_(std::make_unique<Host>()) {
  now_ += std::chrono::hours(1);
  start();
}
World::~World() = default;

void World::start() {
  faulty_ = std::make_unique<Faulty>(maps_, 0, seed_);
  routes_->random.seed(seed_);
  problems_ = {};
  synced_ = false;
  cluster_ = std::make_unique<reflect::Cluster>(problems_);
  agent::FlowConfig config;
  config.generation = seed_ * 1000 + 1;
  config.services.node = "node-1";
  config.services.service_ranges = {*net::Prefix::parse("10.96.0.0/16"), *net::Prefix::parse("fd00:10:96::/112")};
  config.local.name = "node-1";
  config.local.addresses = {*net::IpAddr::parse("172.30.0.11"), *net::IpAddr::parse("fd00:172:30::11")};
  config.local.subnets = {*net::Prefix::parse("172.30.0.0/24"), *net::Prefix::parse("fd00:172:30::/64")};
  config.local.uplink_ifindex = 2;
  config.local.vxlan_ifindex = 3;
  config.local.cluster_ranges = {*net::Prefix::parse("10.244.0.0/16"), *net::Prefix::parse("fd00:10:244::/56")};
  flow_ = std::make_unique<agent::Flow>(*cluster_, problems_,
                                        agent::FlowTargets{{faulty_->frontends, faulty_->slots, faulty_->backends},
                                                           faulty_->endpoint_target,
                                                           faulty_->node_target,
                                                           *routes_,
                                                           {},
                                                           {faulty_->policy, *host_, [] {}, [] { return true; }}},
                                        config);
  ASSERT_TRUE(flow_->adopt().ok());  // an agent that cannot read its maps does not start
  for (const auto& [pod, endpoint] : local_) flow_->policy().add_local(endpoint);
  set_faults(share_);
}

void World::set_faults(double share) {
  share_ = share;
  faulty_->frontends.set_share(share), faulty_->slots.set_share(share), faulty_->backends.set_share(share);
  faulty_->endpoints.set_share(share), faulty_->nodes.set_share(share);
  faulty_->policy.set_share(share / 20);  // its many operations are one step, which fails if one of them does
  routes_->share = share;
}

void World::restart() { start(); }

bool World::decode(const std::string& yaml, const std::function<void(const k8s::SlimObject&)>& use) {
  for (const YAML::Node& document : YAML::LoadAll(yaml)) {
    if (!document.IsMap()) continue;
    const auto kind = kind_of(document["kind"].as<std::string>());
    if (!kind) return false;
    std::string json;
    to_json(document, json);
    json.reserve(json.size() + k8s::Decoder::kPadding);
    k8s::Decoder decoder(*kind);
    const Status decoded = decoder.decode_object(json);
    EXPECT_TRUE(decoded.ok()) << json;
    if (decoded.ok()) use(decoder.object());
  }
  return true;
}

void World::put_yaml(const std::string& yaml) {
  EXPECT_TRUE(decode(yaml, [&](const k8s::SlimObject& object) { cluster_->put(object); }));
  if (synced_) step();
}

void World::remove(const std::string& kind, const std::string& key) {
  const auto name = model::name_of(key);
  const std::string yaml = "kind: " + kind + "\nmetadata: {name: " + name.name + ", namespace: \"" + name.ns + "\"}\n";
  EXPECT_TRUE(decode(yaml, [&](const k8s::SlimObject& object) { cluster_->remove(object); }));
  if (synced_) step();
}

void World::add_local(const std::string& pod, unsigned number) {
  model::LocalEndpoint& e = local_[pod];
  e.pod = model::name_of(pod);
  e.host_ifindex = 1000 + number;
  e.ips = {*net::IpAddr::parse("10.244.1." + std::to_string(number)), *net::IpAddr::parse("fd00:10:244:1::" + std::to_string(number))};
  flow_->policy().add_local(e);
  if (synced_) step();
}

void World::remove_local(const std::string& pod) {
  const auto it = local_.find(pod);
  ASSERT_NE(it, local_.end()) << pod;
  const model::LocalEndpoint e = it->second;
  local_.erase(it);
  flow_->policy().remove_local(e);
  if (synced_) step();
}

// How the tables judge what each pod of this node that a policy looks at may receive and send, by the rules' names.
std::string World::dump_policy() const {
  using compile::policy::Direction;
  std::string out;
  auto& tables = maps_.policy();
  const unsigned bank = tables.policy_generation() & 1;
  std::set<net::IpAddr> peers{*net::IpAddr::parse("192.0.2.1"), *net::IpAddr::parse("2001:db8::1")};
  for (const auto& [addr, row] : rows(tables.pol_peers())) peers.insert(datapath::from_abi(addr));
  const auto name = [&](compile::policy::RuleId id) {
    const auto& policy = flow_->policy();
    const auto number = policy.sink().rule_of(id);
    const auto* rule = number ? policy.engine().find_rule(*number) : nullptr;
    return rule == nullptr ? std::string("nothing") : rule->to_string();
  };
  const auto verdict = [&](const fw_subject_version& s, std::uint32_t peer, std::uint16_t port, Direction d) {
    const auto dir = static_cast<__u8>(d);
    for (const fw_verdict_key key : {fw_verdict_key{s.id, peer, port, dir, 0}, fw_verdict_key{s.id, peer, FW_PORT_ANY, dir, 0},
                                     fw_verdict_key{s.id, FW_PEER_ANY, port, dir, 0}})
      if (const auto row = tables.pol_verdicts().lookup(key); row.ok() && row->verdict[bank] != FW_VERDICT_NONE)
        return (row->verdict[bank] == FW_VERDICT_ALLOW ? "allow: " : "deny: ") + name(row->rule[bank]);
    return (s.fallback[dir] == FW_SUBJECT_DENY ? "deny: " : "allow: ") + name(s.rule[dir]);
  };
  for (const auto& [pod, endpoint] : local_) {
    const auto subject = tables.pol_subjects().lookup(endpoint.host_ifindex);
    if (!subject.ok()) continue;
    for (const auto direction : {Direction::kIngress, Direction::kEgress}) {
      if (subject->v[bank].fallback[static_cast<int>(direction)] == FW_SUBJECT_OPEN) continue;
      for (const auto& addr : peers) {
        std::uint32_t peer = FW_PEER_ANY;
        if (const auto row = tables.pol_peers().lookup(datapath::to_abi(addr)); row.ok()) peer = row->v[bank];
        for (unsigned length = addr.is_v4() ? 32 : 128; peer == FW_PEER_ANY; --length) {
          if (const auto row = tables.pol_cidrs().lookup(datapath::cidr_key({addr, length})); row.ok()) peer = row->v[bank];
          else if (length == 0) peer = FW_PEER_NONE;
        }
        for (const std::uint16_t port : {80, 443}) {
          const auto cls = tables.port_class(bank, net::Protocol::kTcp, port);
          out += "  " + pod + (direction == Direction::kIngress ? " <- " : " -> ") + addr.to_string() + " TCP/" + std::to_string(port) +
                 " " + verdict(subject->v[bank], peer, *cls, direction) + "\n";
        }
      }
    }
  }
  return out;
}

void World::relist_yaml(const std::string& yaml) {
  for (const auto kind : reflect::Cluster::kKinds) cluster_->begin_relist(kind);
  EXPECT_TRUE(decode(yaml, [&](const k8s::SlimObject& object) { cluster_->put(object); }));
  for (const auto kind : reflect::Cluster::kKinds) cluster_->end_relist(kind);
  synced_ = true;
  step();
}

void World::step() {
  flow_->run(now_);
  EXPECT_EQ(broken(), "");
}

void World::settle() {
  if (!synced_) {
    // What was put so far is what the sources' first lists held.
    for (const auto kind : reflect::Cluster::kKinds) {
      auto& table = cluster_->table(kind);
      table.begin_relist();
      std::vector<std::string> keys;
      table.for_each([&](std::string_view key, std::string_view) { keys.emplace_back(key); });
      for (const auto& key : keys) table.touch(key);
      cluster_->end_relist(kind);
    }
    synced_ = true;
  }
  bool pruned = false;
  for (int round = 0; round < 2000; ++round) {
    now_ += std::chrono::milliseconds(500);
    step();
    flow_->cool_down(now_);
    if (!pruned) pruned = flow_->prune(now_).ok();
    EXPECT_EQ(broken(), "");
    if (pruned && (flow_->idle() || (share_ == 0 && round > 100))) return;  // what is owed without faults stays owed: a full map
  }
  ADD_FAILURE() << "not settled after 2000 rounds: " << dump();
}

std::size_t World::faults() const {
  return faulty_->frontends.faults() + faulty_->slots.faults() + faulty_->backends.faults() + faulty_->endpoints.faults() +
         faulty_->nodes.faults() + faulty_->policy.faults() + routes_->faults;
}

std::string World::broken() {
  std::set<std::uint32_t> used;
  for (const auto& [key, row] : rows(maps_.frontends())) {
    for (std::uint32_t i = 0; i < row.count; ++i) {
      const auto name = compile::services::from_abi(key).to_string();
      if (!used.insert(row.slot_base + i).second) return name + ": its slots are another's too";
      const auto id = maps_.slots().lookup(row.slot_base + i);
      if (!id.ok() || !maps_.backends().lookup(*id).ok()) return name + ": slot " + std::to_string(i) + " leads nowhere";
    }
  }
  return "";
}

std::string World::dump() {
  std::multiset<std::string> frontends, endpoints, nodes, routes, errors;
  std::map<std::uint32_t, std::string> node_names{{0, "-"}};
  for (const auto& [id, row] : rows(maps_.nodes())) {
    const auto v4 = datapath::from_abi(row.underlay_v4), v6 = datapath::from_abi(row.underlay_v6);
    node_names[id] = v4.is_unset() ? v6.to_string() : v4.to_string();
    nodes.insert((v4.is_unset() ? "" : v4.to_string() + " ") + (v6.is_unset() ? "" : v6.to_string() + " ") +
                 (row.mode == FW_NODE_VXLAN ? "vxlan" : "native") + " mtu=" + std::to_string(row.mtu));
  }
  std::set<std::uint32_t> referenced;
  for (const auto& [key, row] : rows(maps_.frontends())) {
    std::multiset<std::string> backends;
    for (std::uint32_t i = 0; i < row.count; ++i) {
      const std::uint32_t id = *maps_.slots().lookup(row.slot_base + i);
      const auto b = maps_.backends().lookup(id);
      referenced.insert(id);
      backends.insert(!b.ok() ? "missing"
                              : net::SocketAddr{datapath::from_abi(b->addr), ntohs(b->port_be)}.to_string() +
                                    (b->state == FW_BE_ACTIVE ? "" : "(terminating)"));
    }
    std::string line = compile::services::from_abi(key).to_string() + " flags=" + std::to_string(row.flags);
    if (row.affinity_seconds > 0) line += " affinity=" + std::to_string(row.affinity_seconds) + "s";
    line += " ->";
    for (const auto& b : backends) line += " " + b;
    frontends.insert(line);
  }
  for (const auto& [id, b] : rows(maps_.backends()))
    if (!referenced.contains(id))
      frontends.insert("draining " + net::SocketAddr{datapath::from_abi(b.addr), ntohs(b.port_be)}.to_string() +
                       (b.state == FW_BE_ACTIVE ? " active" : ""));
  for (const auto& [addr, row] : rows(maps_.endpoints()))
    endpoints.insert(datapath::from_abi(addr).to_string() + " node=" + node_names[row.node] +
                     ((row.flags & FW_EP_NODE) != 0 ? " is-node" : ""));
  for (const auto& [pods, r] : routes_->rows)
    routes.insert(pods.to_string() + " via " + r.underlay.to_string() + (r.overlay ? " vxlan" : "") + " mtu=" + std::to_string(r.mtu));
  problems_.for_each([&](const std::string& object, const model::Problem& p) { errors.insert(object + ": " + p.field + ": " + p.reason); });
  std::string out;
  const auto section = [&](const char* name, const std::multiset<std::string>& lines) {
    if (lines.empty()) return;
    out += std::string(name) + "\n";
    for (const auto& line : lines) out += "  " + line + "\n";
  };
  section("services", frontends);
  section("endpoints", endpoints);
  section("nodes", nodes);
  section("routes", routes);
  if (const std::string policy = dump_policy(); !policy.empty()) out += "policy\n" + policy;
  section("errors", errors);
  return out;
}

}  // namespace fairway::script
