// Kernel == compiled == oracle: random clusters and policies, compiled by the engine, written by the sink, and judged by the loaded
// programs packet by packet (BPF_PROG_TEST_RUN). What each rule denied is counted, and compared in the end.
//
// Exceptions, as the kernel makes them: a pod and itself, a pod and its own node (Judgement::own). What never is judged is not asked
// about: broadcast, loopback, a packet from outside with a local pod's address (martian).
#include <gtest/gtest.h>

#include <map>

#include "compile/policy/random_cluster.h"
#include "packet.h"
#include "sinks/policy_sink.h"

namespace fairway::test {
namespace {

using namespace compile::policy;

constexpr std::uint32_t kFirstLocal = 10, kLocals = 12;  // as RandomCluster numbers them
constexpr std::uint8_t kTcp = 6, kIcmp4 = 1, kIcmp6 = 58;

// Tracks at once; no packet is under way while a step is.
class Host final : public sinks::PolicyHost {
 public:
  explicit Host(datapath::Datapath& dp) : dp_(dp) {}
  void wait_for_readers(std::function<void()> done) override { done(); }
  void begin_tracking(std::vector<std::uint32_t> ifindexes, std::function<void(Status)> done) override {
    Status status;
    for (const auto ifindex : ifindexes)
      if (status.ok()) status = dp_.set_tracked(ifindex, true);
    done(std::move(status));
  }
  Status make_room(const datapath::Room& rows) override { return dp_.reserve(rows); }
  Result<std::vector<std::uint32_t>> tracked() override {
    std::vector<std::uint32_t> out;
    FW_ASSIGN(const auto rows, dp_.local_ifs().dump());
    for (const auto& [ifindex, row] : rows)
      if ((row.flags & FW_IF_TRACK) != 0) out.push_back(ifindex);
    return out;
  }

 private:
  datapath::Datapath& dp_;
};

template <typename T>
void empty(datapath::Map<typename T::Key, typename T::Value>& map) {
  std::vector<typename T::Key> keys;
  const auto rows = map.dump();
  for (const auto& [key, row] : *rows) keys.push_back(key);
  ASSERT_TRUE(map.remove_batch(keys).ok());
}
template <typename K, typename V>
void empty_map(datapath::Map<K, V>& map) {
  empty<datapath::Map<K, V>>(map);
}

// One agent's life on the node: an engine, and a sink that adopts what the one before left.
class World {
 public:
  World(Cluster& cluster, const std::vector<Pod>& devices, std::uint64_t seed, bool with_tiers)
      : cluster_(cluster), devices_(devices), dp_(cluster.datapath(1)), host_(dp_), sink_(dp_, host_, [] {}), random(seed, with_tiers) {
    empty_map(dp_.endpoints());
    empty_map(dp_.pol_denied());
    EXPECT_TRUE(sink_.adopt().ok());
  }

  // What the engine has to say, into the maps; and the rows of this node's pods as CNI writes them.
  void apply() {
    put_pods();
    auto delta = engine.compile();
    for (auto& [ifindex, row] : delta.subjects) ifindex = device(ifindex);
    const auto ticket = sink_.add(std::move(delta));
    sink_.run({});
    ASSERT_TRUE(sink_.idle() && sink_.in_force() == ticket) << (sink_.failure() ? sink_.failure()->error.message : "");
    empty_map(dp_.track_new());
  }

  // Some packets of every local pod, both ways. Returns how many.
  std::size_t probe(unsigned one_in) {
    std::size_t packets = 0;
    for (const auto& local : random.locals) {
      own_the_node(local);
      for (const auto& addr : RandomCluster::addresses()) {
        if (addr.is_loopback() || addr.is_unset() || addr == ip("0.0.0.0") || addr == ip("255.255.255.255")) continue;
        const auto self = address_of(local, addr.is_v4());
        if (!self || *self == addr) continue;
        for (const Probe p : RandomCluster::probes()) {
          if (p.protocol == (addr.is_v4() ? kIcmp6 : kIcmp4) || !random.random.one_in(one_in)) continue;
          leaves(local, *self, addr, p);
          arrives(local, *self, addr, p);
          packets += 2;
          if (::testing::Test::HasFailure()) return packets;
        }
      }
    }
    return packets;
  }

  // pol_denied has what was expected, no more and no less.
  void compare_counts() {
    std::map<std::tuple<std::uint32_t, std::uint32_t, std::uint32_t>, std::uint64_t> counted;
    const auto rows = dp_.pol_denied().dump();
    for (const auto& [key, hit] : *rows) counted[{key.rule, key.ifindex, key.direction}] = hit.packets;
    EXPECT_EQ(counted, denied_);
    denied_.clear();
    empty_map(dp_.pol_denied());
  }

 private:
  using Local = RandomCluster::Local;
  std::uint32_t device(std::uint32_t ifindex) const { return devices_.at(ifindex - kFirstLocal).ifindex; }
  const model::Pod* known(const Local& local) const {
    const auto* pod = random.find_pod(local.pod);
    return pod != nullptr && !pod->terminated && !pod->host_network ? pod : nullptr;
  }
  // Nobody knows the addresses of a pod that is not known, but it has some.
  std::optional<net::IpAddr> address_of(const Local& local, bool v4) const {
    const auto* pod = known(local);
    if (pod == nullptr) return ip((v4 ? "10.9.0." : "fd00:9::") + std::to_string(local.ifindex));
    for (const auto& addr : pod->ips)
      if (addr.is_v4() == v4) return addr;
    return std::nullopt;
  }
  void put_endpoint(const Local& local) {
    for (const bool v4 : {true, false})
      if (const auto addr = address_of(local, v4)) {
        const auto there = dp_.local_ifs().lookup(device(local.ifindex));
        const bool track = there.ok() && (there->flags & FW_IF_TRACK) != 0;
        fw_endpoint row{device(local.ifindex), 0, FW_EP_LOCAL | (track ? unsigned{FW_EP_TRACK} : 0u), 1, {}, {}};
        ASSERT_TRUE(dp_.endpoints().update(datapath::to_abi(*addr), row).ok());
        owners_[*addr] = &local;
      }
  }
  void put_pods() {
    empty_map(dp_.endpoints());
    owners_.clear();
    for (const auto& local : random.locals) {
      fw_local_if row{};
      if (const auto addr = address_of(local, true)) row.v4 = datapath::to_abi(*addr);
      if (const auto addr = address_of(local, false)) row.v6 = datapath::to_abi(*addr);
      const Pod& device = devices_.at(local.ifindex - kFirstLocal);
      std::copy(device.mac.bytes.begin(), device.mac.bytes.end(), row.mac);
      std::copy(device.host_mac.bytes.begin(), device.host_mac.bytes.end(), row.host_mac);
      ASSERT_TRUE(dp_.put_local_if(device.ifindex, row).ok());
      put_endpoint(local);
    }
  }
  // Two pods may have one address, for a moment: it is this one's. And the nodes' addresses, of which its own node's are this node's.
  void own_the_node(const Local& local) {
    put_endpoint(local);
    const auto* pod = known(local);
    std::map<net::IpAddr, bool> nodes;
    for (const auto& node : random.state.nodes)
      for (const auto& addr : node.addresses) nodes[addr] |= pod != nullptr && node.name == pod->node;
    for (const auto& [addr, own] : nodes)
      ASSERT_TRUE(dp_.endpoints().update(datapath::to_abi(addr), fw_endpoint{0, own ? 0u : 1u, FW_EP_NODE, 1, {}, {}}).ok());
  }

  Engine::Judgement judge(const Local& local, Direction direction, const net::IpAddr& peer, Probe p) {
    const auto mine = engine.judge(local.ifindex, direction, peer, p.protocol, p.port);
    bool truth = local.unknown == Engine::Unknown::kOpen;
    if (const auto* pod = known(local)) truth = judge_naively(random.state, *pod, direction, peer, p.protocol, p.port).allowed;
    EXPECT_EQ(mine.allowed, truth) << "engine and oracle";
    return mine;
  }
  std::uint32_t number(RuleId rule) const {
    const bool turned = rule != 0 && sink_.rule_of(rule | FW_RULE_TURN).has_value();
    return turned ? rule | FW_RULE_TURN : rule;
  }
  void expect_denied(const Local& local, Direction direction, RuleId rule) {
    ++denied_[{number(rule), device(local.ifindex), static_cast<std::uint32_t>(direction)}];
  }
  PacketSpec packet(const net::IpAddr& from, const net::IpAddr& to, Probe p) {
    PacketSpec spec;
    spec.saddr = from, spec.daddr = to;
    spec.protocol = p.protocol;
    spec.icmp_type = p.protocol == kIcmp4 ? 8 : 128;
    spec.sport = ++sport_ == 0 ? ++sport_ : sport_;
    spec.dport = p.port;
    return spec;
  }
  static std::string text(const net::IpAddr& from, const net::IpAddr& to, Probe p) {
    return from.to_string() + " -> " + to.to_string() + " " + std::to_string(p.protocol) + ":" + std::to_string(p.port);
  }

  // The pod begins: its egress, and the ingress of the other if that is a pod of the node.
  void leaves(const Local& local, const net::IpAddr& self, const net::IpAddr& to, Probe p) {
    const auto egress = judge(local, Direction::kEgress, to, p);
    bool allowed = egress.allowed;
    if (!allowed) expect_denied(local, Direction::kEgress, egress.rule);
    const auto other = owners_.find(to);
    if (allowed && !egress.own && other != owners_.end()) {
      const auto ingress = judge(*other->second, Direction::kIngress, self, p);
      allowed = ingress.allowed;
      if (!allowed) expect_denied(*other->second, Direction::kIngress, ingress.rule);
    }
    const Pod& from = devices_.at(local.ifindex - kFirstLocal);
    PacketSpec spec = packet(self, to, p);
    spec.smac = from.mac, spec.dmac = from.host_mac;
    EXPECT_EQ(run(cluster_, 1, "pod_in", from.ifindex, build(spec)).code != kShot, allowed) << text(self, to, p) << " leaves";
  }
  // It comes from elsewhere: what the stack forwards to it, or, from its own node, what the node itself sends.
  void arrives(const Local& local, const net::IpAddr& self, const net::IpAddr& from, Probe p) {
    const auto ingress = judge(local, Direction::kIngress, from, p);
    if (!ingress.allowed) expect_denied(local, Direction::kIngress, ingress.rule);
    const auto code =
        run(cluster_, 1, "pod_out", device(local.ifindex), build(packet(from, self, p)), ingress.own ? 0 : devices_[0].ifindex).code;
    EXPECT_EQ(code != kShot, ingress.allowed) << text(from, self, p) << " arrives";
  }

  Cluster& cluster_;
  const std::vector<Pod>& devices_;
  datapath::Datapath& dp_;
  Host host_;
  sinks::PolicySink sink_;
  std::map<net::IpAddr, const Local*> owners_;
  std::map<std::tuple<std::uint32_t, std::uint32_t, std::uint32_t>, std::uint64_t> denied_;
  std::uint16_t sport_ = 0;

 public:
  Engine engine{1, RandomCluster::pod_ranges()};
  RandomCluster random;
};

TEST(PolicyProperty, KernelIsCompiledIsOracle) {
  FW_CLUSTER(cluster, {});
  std::vector<Pod> devices;
  for (std::uint32_t i = 0; i < kLocals; ++i) devices.push_back(cluster.add_pod(1, "p" + std::to_string(i)));
  std::size_t packets = 0;
  for (std::uint64_t seed = 1; seed <= 40 && !HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    World world(cluster, devices, seed, seed % 2 == 0);
    world.random.fill(world.engine);
    for (int round = 0; round < 3 && !HasFailure(); ++round) {
      SCOPED_TRACE("round " + std::to_string(round));
      world.apply();
      packets += world.probe(8);
      world.compare_counts();
      for (int i = 0; i < 6; ++i) world.random.step(world.engine);
    }
  }
  RecordProperty("packets", static_cast<int>(packets));
  std::printf("    %zu packets\n", packets);
  EXPECT_GT(packets, 5000u);
}

}  // namespace
}  // namespace fairway::test
