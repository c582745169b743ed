// Small random clusters in which much coincides: few labels, few addresses, all of the API's features. For property tests here and
// of the kernel; in no library.
//
// The same seed gives the same cluster on every machine.
#pragma once

#include <functional>

#include "compile/policy/engine.h"
#include "compile/policy/oracle.h"

namespace fairway::compile::policy {

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15ULL + 1) {}
  std::uint64_t next() {
    std::uint64_t x = state_ += 0x9e3779b97f4a7c15ULL;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
    return x ^ x >> 31;
  }
  std::uint32_t below(std::uint32_t n) { return static_cast<std::uint32_t>(next() % n); }
  bool one_in(std::uint32_t n) { return below(n) == 0; }
  template <typename T>
  const T& of(const std::vector<T>& values) {
    return values[below(static_cast<std::uint32_t>(values.size()))];
  }

 private:
  std::uint64_t state_;
};

struct Probe {
  std::uint8_t protocol;
  std::uint16_t port;
};

// A cluster and who of it is local, changed step by step; an engine is told of each.
class RandomCluster {
 public:
  struct Local {
    std::uint32_t ifindex;
    model::Name pod;
    Engine::Unknown unknown;
  };

  RandomCluster(std::uint64_t seed, bool with_tiers) : random(seed), with_tiers_(with_tiers) { state.pod_ranges = pod_ranges(); }

  // Of some of the addresses that pods have.
  static std::vector<net::Prefix> pod_ranges() { return {*net::Prefix::parse("10.0.0.0/23"), *net::Prefix::parse("fd00::/112")}; }

  ClusterState state;
  std::vector<Local> locals;
  Random random;

  void fill(Engine& engine) {
    for (const auto& name : {"x", "y"}) set_namespace(engine, name);
    for (const auto& name : {"n1", "n2", "n3"}) set_node(engine, name);
    for (int i = 0; i < 9; ++i) set_pod(engine);
    for (const auto& pod : state.pods)
      if (!random.one_in(4)) add_local(engine, pod.id);
    for (std::uint32_t n = 1 + random.below(7); n > 0; --n) set_policy(engine);
  }

  // One change, whatever it be.
  void step(Engine& engine) {
    switch (random.below(16)) {
      case 0:
        set_namespace(engine, random.of(namespaces()));
        break;
      case 1:
        remove(state.namespaces, [&](const auto& n) { engine.remove_namespace(n.name); });
        break;
      case 2:
        set_node(engine, random.of(std::vector<std::string>{"n1", "n2", "n3"}));
        break;
      case 3:
        if (random.one_in(3)) remove(state.nodes, [&](const auto& n) { engine.remove_node(n.name); });
        break;
      case 4:
      case 5:
        set_pod(engine);
        break;
      case 6:
        remove(state.pods, [&](const auto& p) { engine.remove_pod(p.id.to_string()); });
        break;
      case 7:
      case 8:
        flip_label(engine);
        break;
      case 9:
      case 10:
        set_policy(engine);
        break;
      case 11:
        edit_policy(engine);
        break;
      case 12:
        remove(state.policies, [&](const auto& p) { engine.remove_policy(p.tier, p.id.to_string()); });
        break;
      case 13:
        add_local(engine, pod_name());
        break;
      case 14:
        remove(locals, [&](const auto& l) { engine.remove_local(l.ifindex); });
        break;
      case 15:
        again_with_the_address(engine);
        break;
    }
  }

  // All of it into another engine, in an order of its own.
  void feed(Engine& engine) {
    std::vector<std::function<void()>> all;
    for (const auto& row : state.namespaces) all.emplace_back([&] { engine.set_namespace(row); });
    for (const auto& row : state.nodes) all.emplace_back([&] { engine.set_node(row); });
    for (const auto& row : state.pods) all.emplace_back([&] { engine.set_pod(row); });
    for (const auto& row : state.policies) all.emplace_back([&] { engine.set_policy(row); });
    for (const auto& l : locals) all.emplace_back([&] { engine.add_local(l.ifindex, l.pod, l.unknown); });
    for (std::size_t i = all.size(); i > 1; --i) std::swap(all[i - 1], all[random.below(static_cast<std::uint32_t>(i))]);
    for (const auto& set : all) set();
  }

  const model::Pod* find_pod(const model::Name& id) const {
    for (const auto& p : state.pods)
      if (p.id == id) return &p;
    return nullptr;
  }

  // Addresses and ports at the edges of what policies here can name.
  static std::vector<net::IpAddr> addresses() {
    std::vector<net::IpAddr> out;
    for (const auto* text :
         {"10.0.0.1",    "10.0.0.2",    "10.0.0.3",    "10.0.1.1",    "10.0.1.2",    "10.0.1.3",        "10.0.1.128", "10.1.0.1",
          "172.30.0.11", "172.30.0.12", "172.30.0.13", "192.0.2.1",   "203.0.113.1", "255.255.255.255", "0.0.0.0",    "fd00::1",
          "fd00::2",     "fd00::1:1",   "fd00::1:2",   "2001:db8::1", "::1",         "::fffe:a00:1"})
      out.push_back(*net::IpAddr::parse(text));
    return out;
  }
  static std::vector<Probe> probes() {
    std::vector<Probe> out{{1, 0}, {58, 0}};
    for (const std::uint16_t port : {0, 1, 52, 53, 79, 80, 81, 82, 442, 443, 8080, 8081, 65535}) out.push_back({6, port});
    for (const std::uint16_t port : {0, 53, 80, 81, 8080}) out.push_back({17, port});
    for (const std::uint16_t port : {53, 80}) out.push_back({132, port});
    return out;
  }

 private:
  static std::vector<std::string> namespaces() { return {"x", "y", "z"}; }
  static std::vector<std::string> values() { return {"a", "b", "c"}; }
  static std::vector<std::string> keys() { return {"pod", "app"}; }
  static std::vector<std::string> port_names() { return {"web", "dns"}; }
  model::Name pod_name() { return {random.of(namespaces()), random.of(values())}; }

  template <typename Rows, typename Tell>
  void remove(Rows& rows, Tell tell) {
    if (rows.empty()) return;
    const auto at = rows.begin() + random.below(static_cast<std::uint32_t>(rows.size()));
    tell(*at);
    rows.erase(at);
  }
  template <typename Row, typename Same>
  static void put(std::vector<Row>& rows, const Row& row, Same same) {
    for (auto& r : rows)
      if (same(r)) {
        r = row;
        return;
      }
    rows.push_back(row);
  }

  model::Labels random_labels() {
    model::Labels out;
    for (const auto& key : keys())
      if (!random.one_in(3)) out[key] = random.of(values());
    return out;
  }
  void set_namespace(Engine& engine, const std::string& name) {
    model::Namespace row{name, random_labels(), false};
    row.labels["ns"] = name;
    put(state.namespaces, row, [&](const auto& r) { return r.name == name; });
    engine.set_namespace(row);
  }
  void set_node(Engine& engine, const std::string& name) {
    model::Node row;
    row.name = name, row.labels = random_labels();
    row.addresses = {
        *net::IpAddr::parse("172.30.0.1" + std::string(1, random.one_in(5) ? random.of(std::vector<char>{'1', '2', '3'}) : name[1]))};
    if (random.one_in(3)) row.other_addresses = {*net::IpAddr::parse(random.one_in(2) ? "203.0.113.1" : "172.30.0.12")};
    put(state.nodes, row, [&](const auto& r) { return r.name == name; });
    engine.set_node(row);
  }
  void store(Engine& engine, const model::Pod& row) {
    put(state.pods, row, [&](const auto& r) { return r.id == row.id; });
    engine.set_pod(row);
  }
  // Mostly at an address of its own; now and then at another's.
  void set_pod(Engine& engine) {
    model::Pod row;
    row.id = pod_name();
    row.uid = "u" + std::to_string(random.below(100));
    row.node = random.of(std::vector<std::string>{"n1", "n2"});
    row.labels = random_labels();
    row.host_network = random.one_in(12);
    row.terminated = random.one_in(10);
    const auto other = random.one_in(6) ? pod_name() : row.id;
    const std::string third = other.ns == "x" ? "0" : "1", last = std::to_string(other.name[0] - 'a' + 1);
    if (row.host_network) row.ips = {*net::IpAddr::parse("172.30.0.1" + row.node.substr(1))};
    else if (other.ns != "z")
      row.ips = {*net::IpAddr::parse("10.0." + third + "." + last), *net::IpAddr::parse("fd00::" + third + ":" + last)};
    else row.ips = {*net::IpAddr::parse("10.1.0." + last)};
    for (const auto& name : port_names())
      if (random.one_in(2))
        row.ports.push_back(
            {name, random.one_in(4) ? net::Protocol::kUdp : net::Protocol::kTcp, random.of(std::vector<std::uint16_t>{53, 80, 81, 8080})});
    if (random.one_in(5)) row.ports.push_back({"web", net::Protocol::kUdp, 81});
    if (random.one_in(8)) row.ports.push_back({"", net::Protocol::kTcp, 443});
    store(engine, row);
  }
  void flip_label(Engine& engine) {
    if (state.pods.empty()) return;
    model::Pod row = random.of(state.pods);
    row.labels[random.of(keys())] = random.of(values());
    store(engine, row);
  }
  // A pod goes, another comes to its address.
  void again_with_the_address(Engine& engine) {
    if (state.pods.empty()) return;
    model::Pod row = random.of(state.pods);
    if (random.one_in(2)) {
      std::erase_if(state.pods, [&](const auto& p) { return p.id == row.id; });
      engine.remove_pod(row.id.to_string());
    }
    row.id = pod_name();
    row.labels = random_labels();
    store(engine, row);
  }
  void add_local(Engine& engine, const model::Name& pod) {
    const std::uint32_t ifindex = 10 + random.below(12);
    const auto unknown = random.one_in(2) ? Engine::Unknown::kOpen : Engine::Unknown::kClosed;
    std::erase_if(locals, [&](const Local& l) { return l.ifindex == ifindex; });
    locals.push_back({ifindex, pod, unknown});
    engine.add_local(ifindex, pod, unknown);
  }

  model::LabelSelector random_selector(bool of_namespaces) {
    using Op = model::LabelRequirement::Op;
    model::LabelSelector out;
    for (std::uint32_t n = random.below(3); n > 0; --n) {
      model::LabelRequirement r;
      r.op = random.one_in(2) ? Op::kIn : static_cast<Op>(random.below(4));
      const bool by_name = of_namespaces && random.one_in(2);
      r.key = by_name ? "ns" : random.of(keys());
      if (r.op == Op::kIn || r.op == Op::kNotIn)
        for (std::uint32_t v = 1 + random.below(2); v > 0; --v) r.values.push_back(by_name ? random.of(namespaces()) : random.of(values()));
      if (random.one_in(20)) r.values.clear();
      std::sort(r.values.begin(), r.values.end());
      r.values.erase(std::unique(r.values.begin(), r.values.end()), r.values.end());
      out.requirements.push_back(r);
    }
    std::sort(out.requirements.begin(), out.requirements.end());
    return out;
  }
  model::PodSelector random_pods(bool of_cluster) {
    model::PodSelector out;
    if (of_cluster || random.one_in(2)) out.namespaces = random_selector(true);
    out.pods = random_selector(false);
    return out;
  }
  net::Prefix random_prefix() {
    return *net::Prefix::parse(
        random.of(std::vector<std::string>{"0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/16", "10.0.0.0/24", "10.0.1.0/24", "10.0.1.128/25",
                                           "10.0.0.1/32", "10.0.1.2/32", "172.30.0.0/24", "172.30.0.12/32", "192.0.2.0/24", "::/0",
                                           "fd00::/64", "fd00::1:0/112", "fd00::1:1/128", "::/64", "2001:db8::/32"}));
  }
  // Often one that another rule has too.
  model::PolicyPeer some_peer(bool of_cluster, Direction direction) {
    const bool nodes_too = of_cluster && direction == Direction::kEgress;
    if (!peers_.empty() && random.one_in(3)) {
      const auto& again = random.of(peers_);
      if ((!of_cluster || again.pods.namespaces) && (nodes_too || again.kind != model::PolicyPeer::Kind::kNodes)) return again;
    }
    peers_.push_back(random_peer(of_cluster, direction));
    if (peers_.size() > 8) peers_.erase(peers_.begin());
    return peers_.back();
  }
  model::PolicyPeer random_peer(bool of_cluster, Direction direction) {
    model::PolicyPeer out;
    const auto kind = random.below(5);
    if (kind < 3) {
      out.pods = random_pods(of_cluster);
    } else if (kind == 3 || !of_cluster || direction == Direction::kIngress) {
      out.kind = model::PolicyPeer::Kind::kNetwork;
      out.network = random_prefix();
      for (std::uint32_t n = random.below(3); n > 0; --n) out.except.push_back(random_prefix());
      std::sort(out.except.begin(), out.except.end());
    } else {
      out.kind = model::PolicyPeer::Kind::kNodes;
      out.nodes = random_selector(false);
    }
    return out;
  }
  model::PolicyPort random_port() {
    model::PolicyPort out;
    if (!random.one_in(6))
      out.protocol = random.of(std::vector<net::Protocol>{net::Protocol::kTcp, net::Protocol::kTcp, net::Protocol::kTcp,
                                                          net::Protocol::kUdp, net::Protocol::kSctp});
    const auto kind = random.below(5);
    const auto port = [&] { return random.of(std::vector<std::uint16_t>{53, 80, 81, 443, 8080}); };
    if (kind < 2) out.first = out.last = port();
    else if (kind == 2) out.first = port(), out.last = random.one_in(3) ? 65535 : port();
    else if (kind == 3) out.name = random.of(port_names());
    return out;
  }
  model::PolicyRule random_rule(bool of_cluster, Direction direction, std::uint32_t number) {
    model::PolicyRule out;
    if (of_cluster) {
      out.action = static_cast<model::PolicyAction>(random.below(3));
      out.name = "rule" + std::to_string(number);
    }
    out.all_peers = random.one_in(5), out.all_ports = random.one_in(2);
    if (!out.all_peers)
      for (std::uint32_t n = random.one_in(10) ? 0 : 1 + random.below(2); n > 0; --n) out.peers.push_back(some_peer(of_cluster, direction));
    if (!out.all_ports)
      for (std::uint32_t n = random.one_in(10) ? 0 : 1 + random.below(2); n > 0; --n) out.ports.push_back(random_port());
    return out;
  }
  model::Policy random_policy(const model::Name& id) {
    model::Policy out;
    out.id = id;
    out.uid = "p" + std::to_string(random.below(50));
    out.generation = random.below(5);
    const bool of_cluster = id.ns.empty();
    if (of_cluster) {
      out.tier = random.one_in(2) ? model::PolicyTier::kAdmin : model::PolicyTier::kBaseline;
      out.priority = static_cast<std::int32_t>(random.below(3));
      out.subject = random_pods(true);
    } else {
      out.subject.pods = random_selector(false);
      out.isolates_ingress = !random.one_in(4), out.isolates_egress = random.one_in(2);
    }
    for (std::uint32_t i = 0, n = random.below(4); i < n; ++i) out.ingress.push_back(random_rule(of_cluster, Direction::kIngress, i));
    for (std::uint32_t i = 0, n = random.below(4); i < n; ++i) out.egress.push_back(random_rule(of_cluster, Direction::kEgress, i));
    return out;
  }
  void store(Engine& engine, const model::Policy& row) {
    put(state.policies, row, [&](const auto& r) { return r.id == row.id; });
    engine.set_policy(row);
  }
  void set_policy(Engine& engine) {
    const std::string name = "p" + std::to_string(random.below(4));
    store(engine, random_policy(with_tiers_ && random.one_in(3) ? model::Name{"", name} : model::Name{random.of(namespaces()), name}));
  }
  // Only a part of it.
  void edit_policy(Engine& engine) {
    if (state.policies.empty()) return;
    model::Policy row = random.of(state.policies);
    const auto other = random_policy(row.id);
    switch (random.below(5)) {
      case 0:
        row.subject = other.subject;
        break;
      case 1:
        row.ingress = other.ingress;
        break;
      case 2:
        row.egress = other.egress;
        break;
      case 3:
        row.isolates_ingress = !row.isolates_ingress;
        break;
      case 4:
        row.priority = other.priority;
        break;
    }
    if (row.id.ns.empty()) row.isolates_ingress = false;
    store(engine, row);
  }

  bool with_tiers_;
  std::vector<model::PolicyPeer> peers_;
};

}  // namespace fairway::compile::policy
