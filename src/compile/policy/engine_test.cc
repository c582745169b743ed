// The engine against the oracle, and step by step against all at once: FAIRWAY_POLICY_CASES multiplies how many clusters (default 1).
#include "compile/policy/engine.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <set>
#include <sstream>

#include "abi/policy.h"
#include "compile/policy/random_cluster.h"

namespace fairway::compile::policy {
namespace {

constexpr Direction kBoth[] = {Direction::kIngress, Direction::kEgress};

std::uint64_t scaled(std::uint64_t cases) {
  const char* times = std::getenv("FAIRWAY_POLICY_CASES");
  return cases * (times != nullptr ? std::strtoull(times, nullptr, 10) : 1);
}

// The tables of one bank as the kernel holds them, by Deltas alone.
struct Tables {
  std::map<std::uint32_t, SubjectRow> subjects;
  std::map<net::IpAddr, PeerClass> peers;
  std::map<net::Prefix, PeerClass> cidrs;
  std::map<net::Protocol, std::vector<PortClass>> ports;
  std::map<VerdictKey, VerdictRow> verdicts;
  bool operator==(const Tables&) const = default;

  Tables() {
    for (const auto p : {net::Protocol::kTcp, net::Protocol::kUdp, net::Protocol::kSctp}) ports[p].resize(65536);
  }
  template <typename Map, typename Changes>
  static void play(Map& map, const Changes& changes, const char* what) {
    std::set<typename Map::key_type> seen;
    for (const auto& [key, row] : changes) {
      EXPECT_TRUE(seen.insert(key).second) << what << ": one row, told twice in a Delta";
      if (row) {
        EXPECT_FALSE(map.contains(key) && map.at(key) == *row) << what << ": told without a change";
        map[key] = *row;
      } else {
        EXPECT_EQ(map.erase(key), 1U) << what << ": removed, but not there";
      }
    }
  }
  void apply(const Delta& d) {
    play(subjects, d.subjects, "subjects");
    play(peers, d.peers, "peers");
    play(cidrs, d.cidrs, "cidrs");
    play(verdicts, d.verdicts, "verdicts");
    for (const auto& r : d.ports) std::fill(ports[r.protocol].begin() + r.first, ports[r.protocol].begin() + r.last + 1, r.port_class);
  }

  // The trie knows 128 bits, of no families.
  static bool holds(const net::Prefix& p, const net::IpAddr& addr) {
    const unsigned length = p.length() + (p.family() == net::Family::kV4 ? 96 : 0);
    for (unsigned i = 0; i < length; ++i)
      if (((p.addr().bytes()[i / 8] ^ addr.bytes()[i / 8]) >> (7 - i % 8) & 1) != 0) return false;
    return true;
  }
  PeerClass class_of(const net::IpAddr& addr) const {
    if (const auto at = peers.find(addr); at != peers.end()) return at->second;
    PeerClass out = FW_PEER_NONE;
    unsigned best = 0;
    for (const auto& [prefix, peer] : cidrs) {
      const unsigned length = 1 + prefix.length() + (prefix.family() == net::Family::kV4 ? 96 : 0);
      if (length > best && holds(prefix, addr)) best = length, out = peer;
    }
    return out;
  }
  VerdictRow judge(std::uint32_t ifindex, Direction direction, const net::IpAddr& peer, Probe probe) const {
    const auto subject = subjects.find(ifindex);
    if (subject == subjects.end()) return {Verdict::kAllow, 0};
    const bool in = direction == Direction::kIngress;
    const Fallback fallback = in ? subject->second.ingress : subject->second.egress;
    if (fallback == Fallback::kOpen) return {Verdict::kAllow, 0};
    const auto table = ports.find(static_cast<net::Protocol>(probe.protocol));
    const PortClass port = table == ports.end() ? PortClass{FW_PORT_NONE} : table->second[probe.port];
    const PeerClass peer_class = class_of(peer);
    for (const auto& [c, p] : {std::pair<PeerClass, PortClass>{peer_class, port}, {peer_class, FW_PORT_ANY}, {FW_PEER_ANY, port}})
      if (const auto row = verdicts.find({subject->second.id, c, p, direction}); row != verdicts.end()) return row->second;
    return {fallback == Fallback::kAllow ? Verdict::kAllow : Verdict::kDeny,
            in ? subject->second.ingress_rule : subject->second.egress_rule};
  }

  // What it means, whatever the numbers: each is called by those who have it.
  std::string meaning(const Engine& engine) const {
    std::map<SubjectId, std::string> subject_names;
    std::map<PeerClass, std::string> peer_names{{FW_PEER_ANY, "any peer"}, {FW_PEER_NONE, "unnamed"}};
    std::map<PortClass, std::string> port_names{{FW_PORT_ANY, "any port"}};
    for (const auto& [ifindex, row] : subjects) subject_names[row.id] += " " + std::to_string(ifindex);
    for (const auto& [addr, peer] : peers) peer_names[peer] += " " + addr.to_string();
    for (const auto& [prefix, peer] : cidrs) peer_names[peer] += " " + prefix.to_string();
    for (const auto& [protocol, table] : ports)
      for (std::uint32_t i = 0; i < 65536; ++i)
        if (i == 0 || table[i] != table[i - 1])
          port_names[table[i]] += " " + std::to_string(static_cast<int>(protocol)) + ":" + std::to_string(i);
    const auto rule = [&](RuleId id) {
      const auto* name = engine.find_rule(id);
      return id == 0 ? std::string("-") : name == nullptr ? std::string("unknown rule") : name->to_string();
    };
    std::set<std::string> lines;
    const auto add = [&](auto... parts) {
      std::ostringstream line;
      ((line << parts << "|"), ...);
      lines.insert(line.str());
    };
    for (const auto& [ifindex, row] : subjects)
      add("subject", subject_names[row.id], static_cast<int>(row.ingress), static_cast<int>(row.egress), rule(row.ingress_rule),
          rule(row.egress_rule));
    for (const auto& [addr, peer] : peers) add("peer", addr.to_string(), peer_names[peer]);
    for (const auto& [prefix, peer] : cidrs) add("cidr", prefix.to_string(), peer_names[peer]);
    for (const auto& [port, name] : port_names) add("port", port == FW_PORT_NONE ? "none" : "some", name);
    for (const auto& [key, row] : verdicts) {
      EXPECT_TRUE(subject_names.contains(key.subject) && peer_names.contains(key.peer) && port_names.contains(key.port))
          << "a row that no packet can find";
      add("verdict", subject_names[key.subject], peer_names[key.peer], port_names[key.port], static_cast<int>(key.direction),
          static_cast<int>(row.verdict), rule(row.rule));
    }
    std::string out;
    for (const auto& l : lines) out += l + "\n";
    return out;
  }
};

// Where several NetworkPolicy rules allow, any of them may be named.
bool rule_allows(const ClusterState& state, const RuleName& name, const model::Pod& subject, Direction direction, const net::IpAddr& peer,
                 Probe probe) {
  if (name.policies.size() != 1 || name.policies[0].tier != model::PolicyTier::kNetworkPolicy || name.rule < 0) return false;
  ClusterState alone = state;
  std::erase_if(alone.policies, [&](const auto& p) { return p.id != name.policies[0].policy; });
  if (alone.policies.size() != 1) return false;
  auto& p = alone.policies[0];
  auto& rules = direction == Direction::kIngress ? p.ingress : p.egress;
  if (!(direction == Direction::kIngress ? p.isolates_ingress : p.isolates_egress)) return false;
  rules = {rules.at(static_cast<std::size_t>(name.rule))};
  return judge_naively(alone, subject, direction, peer, probe.protocol, probe.port).allowed;
}

// Every local pod, direction, address and port.
std::size_t compare_all(const RandomCluster& cluster, const Engine& engine, const Tables* tables) {
  static const auto addresses = RandomCluster::addresses();
  static const auto probes = RandomCluster::probes();
  std::size_t cases = 0;
  for (const auto& local : cluster.locals) {
    const model::Pod* pod = cluster.find_pod(local.pod);
    const bool known = pod != nullptr && !pod->terminated && !pod->host_network;
    for (const Direction direction : kBoth) {
      for (const auto& addr : addresses) {
        const auto own_node = [&](const auto& n) {
          return n.name == pod->node && std::find(n.addresses.begin(), n.addresses.end(), addr) != n.addresses.end();
        };
        const bool own = known && (std::find(pod->ips.begin(), pod->ips.end(), addr) != pod->ips.end() ||
                                   std::any_of(cluster.state.nodes.begin(), cluster.state.nodes.end(), own_node));
        for (const Probe probe : probes) {
          ++cases;
          const auto mine = engine.judge(local.ifindex, direction, addr, probe.protocol, probe.port);
          OracleVerdict truth{local.unknown == Engine::Unknown::kOpen, {}};
          if (known) truth = judge_naively(cluster.state, *pod, direction, addr, probe.protocol, probe.port);
          const RuleName* name = engine.find_rule(mine.rule);
          const auto where = [&] {
            return pod->id.to_string() + (direction == Direction::kIngress ? " from " : " to ") + addr.to_string() + " " +
                   std::to_string(probe.protocol) + ":" + std::to_string(probe.port) + " by " +
                   (name != nullptr ? name->to_string() : "none") + ", truth by " + truth.rule.to_string();
          };
          EXPECT_EQ(mine.allowed, truth.allowed) << where();
          if (known) EXPECT_EQ(mine.own, own) << where();
          if (known && !own) {
            const bool right = name == nullptr ? truth.rule.policies.empty()
                                               : *name == truth.rule || (truth.allowed && truth.rule.policies.size() == 1 &&
                                                                         truth.rule.policies[0].tier == model::PolicyTier::kNetworkPolicy &&
                                                                         rule_allows(cluster.state, *name, *pod, direction, addr, probe));
            EXPECT_TRUE(right) << where();
          }
          if (tables != nullptr && !own) {
            const auto row = tables->judge(local.ifindex, direction, addr, probe);
            EXPECT_EQ(row.verdict == Verdict::kAllow, mine.allowed) << where();
            EXPECT_EQ(row.rule, mine.rule) << where();
          }
          if (::testing::Test::HasFailure()) return cases;
        }
      }
    }
  }
  return cases;
}

TEST(Engine, CompiledIsAsTheOracleSays) {
  std::size_t cases = 0;
  for (std::uint64_t seed = 1; seed <= scaled(250); ++seed) {
    RandomCluster cluster(seed, seed % 2 == 0);
    Engine engine(1, cluster.state.pod_ranges);
    cluster.fill(engine);
    Tables tables;
    tables.apply(engine.compile());
    cases += compare_all(cluster, engine, &tables);
    if (HasFailure()) FAIL() << "seed " << seed;
  }
  RecordProperty("cases", std::to_string(cases));
  EXPECT_GT(cases, 100'000U);
}

// Where each property's failure would be hard to read: what one object does.
class EngineRows : public ::testing::Test {
 protected:
  EngineRows() {
    engine.set_namespace({"x", {{"ns", "x"}}, false});
    for (std::uint32_t i = 1; i <= 4; ++i) set_pod(i, {{"pod", std::to_string(i)}});
  }
  void set_pod(std::uint32_t i, model::Labels labels) {
    model::Pod p;
    p.id = {"x", "p" + std::to_string(i)};
    p.ips = {net::IpAddr::v4(0x0a000000U + i)};
    p.labels = std::move(labels);
    engine.set_pod(p);
  }
  static model::LabelSelector pod_is(const std::string& value) { return {{{"pod", model::LabelRequirement::Op::kIn, {value}}}}; }
  static model::Policy policy(const std::string& name, const std::string& subject, const std::string& peer, std::uint16_t port) {
    model::Policy p;
    p.id = {"x", name};
    p.subject.pods = pod_is(subject);
    p.isolates_ingress = true;
    model::PolicyRule r;
    r.peers = {{.pods = {std::nullopt, pod_is(peer)}}};
    r.ports = {{net::Protocol::kTcp, port, port, ""}};
    p.ingress = {r};
    return p;
  }
  static std::size_t rows(const Delta& d) {
    return d.subjects.size() + d.peers.size() + d.cidrs.size() + d.ports.size() + d.verdicts.size();
  }
  Engine engine;
};

TEST(EngineUnknown, ADenialOfPodsHoldsForAddressesThatNobodyHasYet) {
  Engine engine(1, {*net::Prefix::parse("10.0.0.0/24")});
  engine.set_namespace({"x", {{"ns", "x"}}, false});
  const auto set_pod = [&](std::uint8_t i, const char* labels) {
    model::Pod p;
    p.id = {"x", "p" + std::to_string(i)}, p.ips = {net::IpAddr::v4(0x0a000000U + i)}, p.labels = {{"pod", labels}};
    engine.set_pod(p);
  };
  set_pod(1, "1"), set_pod(2, "2");
  engine.add_local(7, {"x", "p1"}, Engine::Unknown::kClosed);
  model::Policy deny;
  deny.tier = model::PolicyTier::kAdmin, deny.id = {"", "deny"}, deny.priority = 1;
  model::PolicyRule rule;
  rule.action = model::PolicyAction::kDeny, rule.all_ports = true;
  rule.peers = {{.pods = {model::LabelSelector{}, {{{"pod", model::LabelRequirement::Op::kIn, {"3"}}}}}}};
  deny.subject = {model::LabelSelector{}, {}}, deny.ingress = {rule};
  const auto from = [&](std::uint32_t addr) {
    engine.compile();
    return engine.judge(7, Direction::kIngress, net::IpAddr::v4(addr), 6, 80).allowed;
  };
  EXPECT_TRUE(from(0x0a000003)) << "no policy";
  engine.set_policy(deny);
  EXPECT_TRUE(from(0x0a000002)) << "a pod that it does not deny";
  EXPECT_FALSE(from(0x0a000003)) << "it might be pod 3";
  EXPECT_TRUE(from(0x0b000003)) << "no pod's address";
  set_pod(3, "3");
  EXPECT_FALSE(from(0x0a000003)) << "it is";
  set_pod(4, "4");
  EXPECT_TRUE(from(0x0a000004)) << "known, and another";
  engine.remove_pod("x/p4");
  EXPECT_FALSE(from(0x0a000004));
  engine.remove_policy(model::PolicyTier::kAdmin, "deny");
  EXPECT_TRUE(from(0x0a000004));
}

TEST_F(EngineRows, APolicyOfNoLocalPodCostsNothing) {
  engine.set_policy(policy("a", "1", "2", 80));
  EXPECT_TRUE(engine.compile().empty());
  engine.add_local(7, {"x", "p1"}, Engine::Unknown::kClosed);
  EXPECT_EQ(rows(engine.compile()), 4U);  // subject, peer, port, verdict
  EXPECT_EQ(engine.subjects_of("x/a"), 1U);
  engine.set_policy(policy("b", "3", "4", 81));
  EXPECT_TRUE(engine.compile().empty());
  EXPECT_EQ(engine.subjects_of("x/b"), 0U);
}

TEST_F(EngineRows, AChangeIsAFewRows) {
  for (int i = 0; i < 100; ++i)
    engine.set_policy(policy("p" + std::to_string(i), std::to_string(1 + i % 4), std::to_string(i), static_cast<std::uint16_t>(1000 + i)));
  for (std::uint32_t i = 1; i <= 4; ++i) engine.add_local(i, {"x", "p" + std::to_string(i)}, Engine::Unknown::kClosed);
  engine.compile();
  set_pod(4, {{"pod", "4"}, {"more", "labels"}});
  EXPECT_TRUE(engine.compile().empty());  // which nobody asks for
  engine.set_policy(policy("p99", "4", "1", 2000));
  EXPECT_LE(rows(engine.compile()), 6U);
  engine.set_policy(policy("p99", "4", "1", 2000));
  EXPECT_TRUE(engine.compile().empty());
}

TEST_F(EngineRows, APodThatIsNotKnownIsJudgedAsSaid) {
  engine.set_policy(policy("a", "5", "2", 80));
  engine.add_local(5, {"x", "p5"}, Engine::Unknown::kClosed);
  engine.add_local(6, {"x", "p6"}, Engine::Unknown::kOpen);
  engine.compile();
  const auto peer = net::IpAddr::v4(0x0a000002);
  EXPECT_FALSE(engine.judge(5, Direction::kEgress, peer, 6, 80).allowed);
  EXPECT_TRUE(engine.judge(6, Direction::kEgress, peer, 6, 80).allowed);
  set_pod(5, {{"pod", "5"}});
  engine.compile();
  EXPECT_TRUE(engine.judge(5, Direction::kEgress, peer, 6, 80).allowed);
  EXPECT_TRUE(engine.judge(5, Direction::kIngress, peer, 6, 80).allowed);
  EXPECT_FALSE(engine.judge(5, Direction::kIngress, peer, 6, 81).allowed);
  engine.remove_pod("x/p5");
  engine.compile();
  EXPECT_FALSE(engine.judge(5, Direction::kIngress, peer, 6, 80).allowed);
}

TEST_F(EngineRows, ManyThatSayTheSameCostLikeOne) {
  engine.add_local(1, {"x", "p1"}, Engine::Unknown::kClosed);
  for (int i = 0; i < 50; ++i) engine.set_policy(policy("p" + std::to_string(i), "1", "2", 80));
  engine.compile();
  EXPECT_EQ(engine.sizes().verdicts, 1U);
  EXPECT_EQ(engine.find_rule(engine.judge(1, Direction::kIngress, net::IpAddr::v4(0x0a000002), 6, 80).rule)->to_string(),
            "NetworkPolicy x/p0 ingress[0]");
  EXPECT_EQ(engine.find_rule(engine.judge(1, Direction::kIngress, net::IpAddr::v4(0x0a000003), 6, 80).rule)->policies.size(), 50U);
}

TEST_F(EngineRows, TheSameIsHeardAgainInAnotherTier) {
  engine.add_local(1, {"x", "p1"}, Engine::Unknown::kClosed);
  auto admin = policy("", "1", "2", 80);
  admin.tier = model::PolicyTier::kAdmin;
  admin.id = {"", "pass"};
  admin.subject.namespaces = model::LabelSelector{};
  admin.ingress[0].peers = {{.pods = {model::LabelSelector{}, pod_is("2")}}};
  admin.ingress[0].action = model::PolicyAction::kPass;
  auto second = policy("a", "1", "2", 80);
  second.ingress[0].peers = admin.ingress[0].peers;
  engine.set_policy(admin);
  engine.set_policy(second);
  engine.compile();
  EXPECT_TRUE(engine.judge(1, Direction::kIngress, net::IpAddr::v4(0x0a000002), 6, 80).allowed);
  EXPECT_FALSE(engine.judge(1, Direction::kIngress, net::IpAddr::v4(0x0a000003), 6, 80).allowed);
}

TEST_F(EngineRows, MorePortClassesThanNumbersIsSaid) {
  engine.add_local(1, {"x", "p1"}, Engine::Unknown::kClosed);
  auto p = policy("a", "1", "2", 80);
  const auto fill = [&](net::Protocol protocol, unsigned ports) {
    for (unsigned i = 0; i < ports; ++i)
      p.ingress[0].ports.push_back({protocol, static_cast<std::uint16_t>(i), static_cast<std::uint16_t>(i), ""});
  };
  fill(net::Protocol::kUdp, 65'534);
  engine.set_policy(p);
  EXPECT_TRUE(engine.compile().overflow);
  EXPECT_TRUE(engine.whole().overflow);
  engine.set_policy(policy("a", "1", "2", 80));
  EXPECT_FALSE(engine.compile().overflow);
}

TEST(Engine, WhatIsTakenAwayLeavesNothing) {
  for (std::uint64_t seed = 1; seed <= scaled(20); ++seed) {
    RandomCluster cluster(5000 + seed, true);
    Engine engine(1, cluster.state.pod_ranges);
    cluster.fill(engine);
    for (int step = 0; step < 30; ++step) cluster.step(engine), engine.compile();
    for (const auto& p : cluster.state.policies) engine.remove_policy(p.tier, p.id.to_string());
    engine.compile();
    const auto sizes = engine.sizes();
    EXPECT_EQ(sizes.policies + sizes.subjects + sizes.peer_classes + sizes.peers + sizes.cidrs + sizes.port_classes + sizes.verdicts +
                  sizes.rules,
              0U)
        << "seed " << seed;
  }
}

// A number that is given up keeps its meaning for one Delta more. (A subject may be silent meanwhile: its rules name no direction.)
class Quarantine {
 public:
  void look(const Tables& now) {
    std::set<std::uint64_t> used;
    for (const auto& [a, c] : now.peers) used.insert(std::uint64_t{2} << 40 | c);
    for (const auto& [p, c] : now.cidrs) used.insert(std::uint64_t{2} << 40 | c);
    for (const auto& [p, table] : now.ports)
      for (std::size_t i = 0; i < table.size(); ++i)
        if (i == 0 || table[i] != table[i - 1]) used.insert(std::uint64_t{3} << 40 | table[i]);
    for (const auto id : used)
      EXPECT_FALSE(gone_.contains(id) && id % (1ULL << 40) > FW_PEER_NONE) << (id >> 40) << ": " << id % (1ULL << 40) << " again at once";
    gone_.clear();
    for (const auto id : before_)
      if (!used.contains(id)) gone_.insert(id);
    before_ = std::move(used);
  }

 private:
  std::set<std::uint64_t> before_, gone_;
};

TEST(Engine, StepByStepIsAsAllAtOnce) {
  for (std::uint64_t seed = 1; seed <= scaled(40); ++seed) {
    RandomCluster cluster(1000 + seed, seed % 2 == 0);
    Engine engine(1, cluster.state.pod_ranges);
    Tables tables;
    Quarantine quarantine;
    cluster.fill(engine);
    for (int step = 0; step < 60; ++step) {
      for (std::uint32_t n = 1 + cluster.random.below(3); n > 0; --n) cluster.step(engine);
      const Delta delta = engine.compile();
      tables.apply(delta);
      if (!delta.empty()) quarantine.look(tables);
      EXPECT_TRUE(engine.compile().empty()) << "nothing has changed since";
      Tables whole;
      whole.apply(engine.whole());
      EXPECT_TRUE(whole == tables) << "what Deltas made is not the whole";
      Engine fresh(1, cluster.state.pod_ranges);
      cluster.feed(fresh);
      fresh.compile();
      Tables again;
      again.apply(fresh.whole());
      EXPECT_EQ(tables.meaning(engine), again.meaning(fresh));
      if (step % 10 == 0) compare_all(cluster, engine, &tables);
      if (HasFailure()) FAIL() << "seed " << seed << " step " << step;
    }
  }
}

}  // namespace
}  // namespace fairway::compile::policy
