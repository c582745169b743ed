// The sink against maps in memory, watched by a reader who judges packets between any two writes.
#include "sinks/policy_sink.h"

#include <gtest/gtest.h>

#include <functional>
#include <random>

#include "datapath/addr.h"
#include "datapath/faulty_policy_tables.h"
#include "datapath/memory_map.h"

namespace fairway::sinks {
namespace {

using namespace compile::policy;
using datapath::MemoryMap;

net::IpAddr ip(const char* text) { return *net::IpAddr::parse(text); }
net::Prefix prefix(const char* text) { return *net::Prefix::parse(text); }

struct Killed {};

// Calls a hook before and after every row that is written or removed: a packet may come at any of these moments.
template <typename K, typename V>
class WatchedMap final : public datapath::Map<K, V> {
 public:
  using Row = typename datapath::Map<K, V>::Row;
  WatchedMap(std::string name, std::size_t capacity, std::function<void()>& hook) : inner(std::move(name), capacity), hook_(hook) {}
  std::string_view name() const override { return inner.name(); }
  std::size_t capacity() const override { return inner.capacity(); }
  Status update(const K& key, const V& value) override {
    hook_();
    Status status = inner.update(key, value);
    hook_();
    return status;
  }
  Status update_batch(std::span<const K> keys, std::span<const V> values) override {
    for (std::size_t i = 0; i < keys.size(); ++i) FW_TRY(update(keys[i], values[i]));
    return {};
  }
  Result<V> lookup(const K& key) const override { return inner.lookup(key); }
  Status remove(const K& key) override {
    hook_();
    Status status = inner.remove(key);
    hook_();
    return status;
  }
  Status remove_batch(std::span<const K> keys) override {
    for (const K& key : keys) FW_TRY(remove(key));
    return {};
  }
  Result<std::vector<Row>> dump() const override { return inner.dump(); }
  MemoryMap<K, V> inner;

 private:
  std::function<void()>& hook_;
};

struct Kernel final : datapath::PolicyTables {
  explicit Kernel(std::size_t capacity = 1000)
      : subjects("pol_subjects", capacity, hook),
        peers("pol_peers", capacity, hook),
        cidrs("pol_cidrs", capacity, hook),
        verdicts("pol_verdicts", capacity, hook),
        ports("pol_ports", FW_PORT_PROTOCOLS * FW_PORT_CHUNKS, hook) {}
  std::function<void()> hook = [] {};
  WatchedMap<std::uint32_t, fw_subject> subjects;
  WatchedMap<fw_addr, fw_peer_class> peers;
  WatchedMap<fw_cidr_key, fw_peer_class> cidrs;
  WatchedMap<fw_verdict_key, fw_verdict_row> verdicts;
  WatchedMap<std::uint32_t, fw_port_chunk> ports;
  MemoryMap<fw_track_key, fw_track> tracks{"track"};
  MemoryMap<fw_hit_key, fw_hit> hits{"pol_hits"};
  MemoryMap<fw_denied_key, fw_hit> denied{"pol_denied"};
  std::uint32_t generation = 0;
  std::set<std::uint32_t> flags;
  std::vector<std::string>* log = nullptr;
  datapath::Map<std::uint32_t, fw_subject>& pol_subjects() override { return subjects; }
  datapath::Map<fw_addr, fw_peer_class>& pol_peers() override { return peers; }
  datapath::Map<fw_cidr_key, fw_peer_class>& pol_cidrs() override { return cidrs; }
  datapath::Map<std::uint32_t, fw_port_chunk>& pol_ports() override { return ports; }
  datapath::Map<fw_verdict_key, fw_verdict_row>& pol_verdicts() override { return verdicts; }
  datapath::Map<fw_track_key, fw_track>& track_new() override { return tracks; }
  datapath::Map<fw_track_key, fw_track>& track() override { return tracks; }
  datapath::Map<fw_hit_key, fw_hit>& pol_hits() override { return hits; }
  datapath::Map<fw_denied_key, fw_hit>& pol_denied() override { return denied; }
  std::uint32_t policy_generation() const override { return generation; }
  void set_policy_generation(std::uint32_t next) override { generation = next; }
  Status set_tracked(std::uint32_t ifindex, bool tracked) override {
    if (log != nullptr) log->push_back((tracked ? "track " : "end ") + std::to_string(ifindex));
    if (tracked) flags.insert(ifindex);
    else flags.erase(ifindex);
    return {};
  }

  // What a packet finds that read `bank`, as the programs look it up.
  fw_subject_version subject(unsigned bank, std::uint32_t ifindex) const {
    const auto row = subjects.lookup(ifindex);
    return row.ok() ? row->v[bank] : fw_subject_version{};
  }
  std::uint32_t peer(unsigned bank, const net::IpAddr& addr) const {
    if (const auto row = peers.lookup(datapath::to_abi(addr)); row.ok() && row->v[bank] != FW_PEER_ANY) return row->v[bank];
    for (unsigned length = addr.bits();; --length) {
      if (const auto row = cidrs.lookup(datapath::cidr_key({addr, length})); row.ok()) return row->v[bank];  // the longest alone
      if (length == 0) break;
    }
    return FW_PEER_NONE;
  }
  unsigned port(unsigned bank, unsigned protocol, unsigned p) const {
    const auto row = ports.lookup(protocol * FW_PORT_CHUNKS + p / FW_PORT_CHUNK);
    return row.ok() ? row->v[bank][p % FW_PORT_CHUNK] : FW_PORT_NONE;
  }
  std::pair<int, std::uint32_t> verdict(unsigned bank, const fw_verdict_key& key) const {
    const auto row = verdicts.lookup(key);
    return row.ok() ? std::pair<int, std::uint32_t>(row->verdict[bank], row->rule[bank] & ~FW_RULE_TURN)
                    : std::pair<int, std::uint32_t>(0, 0);
  }
  std::size_t rows() const { return subjects.inner.size() + peers.inner.size() + cidrs.inner.size() + verdicts.inner.size(); }
};

struct Host final : PolicyHost {
  explicit Host(Kernel& k) : kernel(k) { k.log = &log; }
  Kernel& kernel;
  std::vector<std::function<void()>> readers;  // wait for their end
  std::vector<std::function<void(Status)>> seeds;
  std::vector<std::string> log;
  bool at_once = true, seed_at_once = true, refuse = false;
  void wait_for_readers(std::function<void()> done) override {
    log.push_back("readers");
    if (at_once) done();
    else readers.push_back(std::move(done));
  }
  void begin_tracking(std::vector<std::uint32_t> ifindexes, std::function<void(Status)> done) override {
    if (refuse) return done(make_error(Code::kIo, "no sockets"));
    for (const auto i : ifindexes) (void)kernel.set_tracked(i, true);
    if (seed_at_once) done({});
    else seeds.push_back(std::move(done));
  }
  std::function<Status(const datapath::Room&)> room = [](const datapath::Room&) { return Status{}; };
  Status make_room(const datapath::Room& rows) override { return room(rows); }
  Result<std::vector<std::uint32_t>> tracked() override { return std::vector<std::uint32_t>(kernel.flags.begin(), kernel.flags.end()); }
  void readers_gone() {
    auto all = std::exchange(readers, {});
    for (auto& done : all) done();
  }
};

// The state that a chain of Deltas means, and what a packet finds in it.
struct State {
  std::map<std::uint32_t, SubjectRow> subjects;
  std::map<net::IpAddr, PeerClass> peers;
  std::map<net::Prefix, PeerClass> cidrs;
  std::map<std::pair<unsigned, unsigned>, PortClass> ports;
  std::map<VerdictKey, VerdictRow> verdicts;

  template <typename K, typename V>
  static void put(std::map<K, V>& map, const std::vector<std::pair<K, std::optional<V>>>& rows) {
    for (const auto& [key, row] : rows) {
      if (row) map[key] = *row;
      else map.erase(key);
    }
  }
  void apply(const Delta& d) {
    put(subjects, d.subjects), put(peers, d.peers), put(cidrs, d.cidrs), put(verdicts, d.verdicts);
    for (const auto& r : d.ports)
      for (unsigned p = r.first; p <= r.last; ++p) ports[{r.protocol == net::Protocol::kTcp ? FW_PORT_TCP : FW_PORT_UDP, p}] = r.port_class;
  }
  Delta whole() const {
    Delta d;
    for (const auto& [k, v] : subjects) d.subjects.emplace_back(k, v);
    for (const auto& [k, v] : peers) d.peers.emplace_back(k, v);
    for (const auto& [k, v] : cidrs) d.cidrs.emplace_back(k, v);
    for (const auto& [k, v] : verdicts) d.verdicts.emplace_back(k, v);
    for (const auto& [k, v] : ports)
      if (v != FW_PORT_NONE)
        d.ports.push_back({k.first == FW_PORT_TCP ? net::Protocol::kTcp : net::Protocol::kUdp, static_cast<std::uint16_t>(k.second),
                           static_cast<std::uint16_t>(k.second), v});
    return d;
  }
  std::uint32_t peer(const net::IpAddr& addr) const {
    if (const auto it = peers.find(addr); it != peers.end()) return it->second;
    std::uint32_t best = FW_PEER_NONE;
    int length = -1;
    for (const auto& [p, c] : cidrs)
      if (p.contains(addr) && static_cast<int>(p.length()) > length) best = c, length = static_cast<int>(p.length());
    return best;
  }
};

// All keys that the tests use.
const std::vector<std::uint32_t> kPods{7, 8, 9};
const std::vector<net::IpAddr>& addresses() {
  static const std::vector<net::IpAddr> all{ip("10.0.0.1"),  ip("10.0.1.1"), ip("10.1.0.1"),
                                            ip("192.0.2.1"), ip("fd00::1"),  ip("fd00:1::1")};
  return all;
}
const std::vector<net::Prefix>& prefixes() {
  static const std::vector<net::Prefix> all{prefix("0.0.0.0/0"), prefix("10.0.0.0/8"), prefix("10.0.0.0/16"), prefix("10.0.0.0/24"),
                                            prefix("::/0"),      prefix("fd00::/16"),  prefix("fd00::/32")};
  return all;
}
constexpr unsigned kPorts[] = {79, 80, 81, 300, 65535};
std::vector<VerdictKey> verdict_keys() {
  std::vector<VerdictKey> out;
  for (SubjectId s = 1; s <= 2; ++s)
    for (PeerClass p : {0U, 2U, 3U})
      for (PortClass c : {PortClass{1}, PortClass{FW_PORT_ANY}})
        for (const auto d : {Direction::kIngress, Direction::kEgress}) out.push_back({s, p, c, d});
  return out;
}

// Empty, or the first thing that a packet of this bank finds otherwise than the state says.
std::string differs(const Kernel& k, unsigned bank, const State& s) {
  for (const auto pod : kPods) {
    const auto there = k.subject(bank, pod);
    const auto it = s.subjects.find(pod);
    const SubjectRow want = it == s.subjects.end() ? SubjectRow{} : it->second;
    if (there.id != want.id || there.fallback[0] != static_cast<int>(want.ingress) || there.fallback[1] != static_cast<int>(want.egress) ||
        (there.rule[0] & ~FW_RULE_TURN) != want.ingress_rule || (there.rule[1] & ~FW_RULE_TURN) != want.egress_rule)
      return "subject of " + std::to_string(pod);
  }
  for (const auto& addr : addresses())
    if (k.peer(bank, addr) != s.peer(addr))
      return "peer " + addr.to_string() + ": " + std::to_string(k.peer(bank, addr)) + ", not " + std::to_string(s.peer(addr));
  for (const unsigned protocol : {FW_PORT_TCP, FW_PORT_UDP})
    for (const unsigned p : kPorts) {
      const auto it = s.ports.find({protocol, p});
      if (k.port(bank, protocol, p) != (it == s.ports.end() ? FW_PORT_NONE : it->second)) return "port " + std::to_string(p);
    }
  for (const auto& key : verdict_keys()) {
    const auto it = s.verdicts.find(key);
    const auto want = it == s.verdicts.end() ? std::pair<int, std::uint32_t>(0, 0)
                                             : std::pair<int, std::uint32_t>(static_cast<int>(it->second.verdict), it->second.rule);
    if (k.verdict(bank, {key.subject, key.peer, key.port, static_cast<__u8>(key.direction), 0}) != want) return "a verdict";
  }
  return "";
}

Delta random_delta(std::mt19937& random) {
  const auto one_in = [&](unsigned n) { return random() % n == 0; };
  Delta d;
  for (const auto pod : kPods)
    if (one_in(2)) {
      if (one_in(3)) d.subjects.emplace_back(pod, std::nullopt);
      else
        d.subjects.emplace_back(pod, SubjectRow{1 + static_cast<SubjectId>(random() % 3), static_cast<Fallback>(random() % 3),
                                                static_cast<Fallback>(random() % 3), 5, 6});
    }
  for (const auto& addr : addresses())
    if (one_in(2)) d.peers.emplace_back(addr, one_in(2) ? std::nullopt : std::optional<PeerClass>(2 + random() % 2));
  for (const auto& p : prefixes())
    if (one_in(2)) d.cidrs.emplace_back(p, one_in(2) ? std::nullopt : std::optional<PeerClass>(1 + random() % 3));
  for (const auto& key : verdict_keys())
    if (one_in(4)) {
      if (one_in(2)) d.verdicts.emplace_back(key, std::nullopt);
      else d.verdicts.emplace_back(key, VerdictRow{static_cast<Verdict>(1 + random() % 2), static_cast<RuleId>(random() % 9)});
    }
  if (one_in(2))
    d.ports.push_back({net::Protocol::kTcp, 80, static_cast<std::uint16_t>(one_in(2) ? 80 : 300), static_cast<PortClass>(random() % 2)});
  if (one_in(2)) d.ports.push_back({net::Protocol::kUdp, 1, 300, static_cast<PortClass>(random() % 2)});
  return d;
}

class PolicySinkTest : public ::testing::Test {
 protected:
  reconcile::TimePoint now = reconcile::TimePoint{} + std::chrono::hours(1);
  Kernel kernel;
  Host host{kernel};
  std::unique_ptr<PolicySink> sink;
  bool start() {
    sink = std::make_unique<PolicySink>(kernel, host, [this] { sink->run(now); });
    return sink->adopt().value();
  }
  void apply(const Delta& delta) {
    sink->add(delta);
    sink->run(now);
  }
};

// --- the counter-example of the design, as packets

// A packet from pod `from` to pod `to`: both directions, by one bank.
bool passes(const Kernel& k, unsigned bank, std::uint32_t from, const net::IpAddr& from_addr, std::uint32_t to,
            const net::IpAddr& to_addr) {
  const auto allowed = [&](std::uint32_t pod, const net::IpAddr& other, __u8 direction) {
    const auto subject = k.subject(bank, pod);
    if (subject.fallback[direction] == FW_SUBJECT_OPEN) return true;
    for (const auto peer : {k.peer(bank, other), std::uint32_t{FW_PEER_ANY}})
      if (const int v = k.verdict(bank, {subject.id, peer, FW_PORT_ANY, direction, 0}).first; v != 0) return v == FW_VERDICT_ALLOW;
    return subject.fallback[direction] == FW_SUBJECT_ALLOW;
  };
  return allowed(from, to_addr, FW_POL_EGRESS) && allowed(to, from_addr, FW_POL_INGRESS);
}

TEST_F(PolicySinkTest, ALabelFlipThatBothStatesForbidIsNeverLetThrough) {
  start();
  const auto a = ip("10.0.0.1"), b = ip("10.0.1.1");
  // Before: A (pod 7) may send, B (pod 8) does not take it from A's class 2. After: A may not send, B would take class 3.
  Delta before;
  before.subjects = {{7, SubjectRow{1, Fallback::kOpen, Fallback::kOpen}}, {8, SubjectRow{2, Fallback::kDeny, Fallback::kOpen}}};
  before.peers = {{a, PeerClass{2}}};
  before.verdicts = {{VerdictKey{2, 3, FW_PORT_ANY, Direction::kIngress}, VerdictRow{Verdict::kAllow, 1}}};
  apply(before);
  Delta flip;
  flip.subjects = {{7, SubjectRow{3, Fallback::kOpen, Fallback::kDeny}}};
  flip.peers = {{a, PeerClass{3}}};
  int moments = 0;
  kernel.hook = [&] {
    ++moments;
    EXPECT_FALSE(passes(kernel, kernel.generation & 1, 7, a, 8, b));
  };
  apply(flip);
  EXPECT_GE(moments, 8);
  EXPECT_EQ(kernel.generation, 2U);
  EXPECT_FALSE(passes(kernel, 0, 7, a, 8, b));
  // The states are what they should be: each half is seen.
  EXPECT_EQ(kernel.peer(0, a), 3U);
  EXPECT_EQ(kernel.subject(0, 7).fallback[1], FW_SUBJECT_DENY);
}

// --- at every moment each reader sees one whole state

TEST_F(PolicySinkTest, AtEveryMomentAReaderSeesOneWholeState) {
  std::mt19937 random(1);
  start();
  host.at_once = false;
  State in_force;
  std::size_t moments = 0;
  for (int round = 0; round < 60; ++round) {
    const Delta delta = random_delta(random);
    State next = in_force;
    next.apply(delta);
    const std::uint32_t generation = kernel.generation;
    kernel.hook = [&] {
      ++moments;
      const std::string wrong = differs(kernel, kernel.generation & 1, kernel.generation == generation ? in_force : next);
      ASSERT_EQ(wrong, "") << "round " << round;
    };
    apply(delta);
    ASSERT_EQ(kernel.generation, generation + 1);
    // A packet that began before the flip is still there.
    ASSERT_EQ(differs(kernel, generation & 1, in_force), "") << "round " << round;
    host.readers_gone();
    ASSERT_TRUE(sink->idle());
    ASSERT_EQ(differs(kernel, 0, next), "") << "round " << round;
    ASSERT_EQ(differs(kernel, 1, next), "") << "round " << round;
    // Nothing stays that no bank needs.
    const std::size_t most = next.subjects.size() + next.peers.size() + next.cidrs.size() + next.verdicts.size();
    ASSERT_LE(kernel.rows(), most) << "round " << round;
    in_force = std::move(next);
  }
  EXPECT_GT(moments, 1000U);
}

TEST_F(PolicySinkTest, WhatComesMeanwhileIsOneStepLater) {
  start();
  host.at_once = false;
  Delta one, two, three;
  one.peers = {{ip("10.0.0.1"), PeerClass{2}}};
  two.peers = {{ip("10.0.0.1"), PeerClass{3}}, {ip("10.0.1.1"), PeerClass{2}}};
  three.peers = {{ip("10.0.1.1"), std::nullopt}};
  apply(one);
  EXPECT_TRUE(sink->busy());
  apply(two);
  const auto ticket = sink->add(three);
  sink->run(now);
  EXPECT_EQ(kernel.generation, 1U) << "the readers of before are not gone";
  EXPECT_LT(sink->in_force(), ticket);
  host.readers_gone();
  EXPECT_EQ(kernel.generation, 2U);
  EXPECT_EQ(sink->in_force(), ticket);
  EXPECT_EQ(kernel.peer(0, ip("10.0.0.1")), 3U);
  EXPECT_EQ(kernel.peer(0, ip("10.0.1.1")), FW_PEER_NONE);
  host.readers_gone();
  EXPECT_TRUE(sink->idle());
}

TEST_F(PolicySinkTest, GenerationZeroIsLeftOut) {
  start();
  kernel.generation = UINT32_MAX;
  Delta one;
  one.peers = {{ip("10.0.0.1"), PeerClass{2}}};
  apply(one);
  EXPECT_EQ(kernel.generation, 2U);
  EXPECT_EQ(kernel.peer(0, ip("10.0.0.1")), 2U);
}

// --- what becomes isolated is tracked before, and until after

TEST_F(PolicySinkTest, TrackedFromBeforeTheFlipUntilAfterTheReaders) {
  start();
  host.seed_at_once = false;
  host.at_once = false;
  Delta isolate, open;
  isolate.subjects = {{7, SubjectRow{1, Fallback::kDeny, Fallback::kOpen}}, {8, SubjectRow{2, Fallback::kOpen, Fallback::kOpen}}};
  open.subjects = {{7, std::nullopt}};
  apply(isolate);
  EXPECT_EQ(kernel.generation, 0U) << "its sockets are still being read";
  std::exchange(host.seeds, {}).front()({});
  EXPECT_EQ(kernel.generation, 1U);
  host.readers_gone();
  apply(open);
  EXPECT_EQ(kernel.flags.count(7), 1U) << "readers of the isolating generation may be there";
  host.readers_gone();
  EXPECT_EQ(host.log, (std::vector<std::string>{"track 7", "readers", "readers", "end 7"}));
}

TEST_F(PolicySinkTest, WherePodsCannotBeTrackedTheOldStateStays) {
  start();
  host.refuse = true;
  Delta isolate;
  isolate.subjects = {{7, SubjectRow{1, Fallback::kDeny, Fallback::kDeny}}};
  apply(isolate);
  EXPECT_EQ(kernel.generation, 0U);
  ASSERT_TRUE(sink->failure().has_value());
  EXPECT_EQ(sink->failure()->table, "track");
  ASSERT_TRUE(sink->next_due().has_value());
  host.refuse = false;
  now = *sink->next_due();
  sink->run(now);
  EXPECT_EQ(kernel.generation, 1U);
  EXPECT_FALSE(sink->failure().has_value());
}

// --- tables that are full

TEST_F(PolicySinkTest, AChangeThatDoesNotFitLeavesTheOldStateInForceAndSaysSo) {
  Kernel small(3);
  Host small_host(small);
  PolicySink tight(small, small_host, [] {});
  ASSERT_TRUE(tight.adopt().ok());
  State old;
  Delta first, large, smaller;
  first.peers = {{ip("10.0.0.1"), PeerClass{2}}};
  first.subjects = {{7, SubjectRow{1, Fallback::kDeny, Fallback::kOpen}}};
  old.apply(first);
  tight.add(first);
  tight.run(now);
  large.subjects = {{8, SubjectRow{2, Fallback::kDeny, Fallback::kOpen}}};
  for (const auto& addr : addresses()) large.peers.emplace_back(addr, PeerClass{3});
  tight.add(large);
  tight.run(now);
  EXPECT_EQ(small.generation, 1U);
  EXPECT_EQ(differs(small, 1, old), "");
  EXPECT_EQ(small.rows(), 2U) << "nothing was written";
  ASSERT_TRUE(tight.failure().has_value());
  EXPECT_EQ(tight.failure()->table, "pol_peers");
  EXPECT_EQ(tight.failure()->error.message, "map pol_peers: this change needs 6 rows, and there is room for 3");
  // What came since makes it fit: at once, not when the retry is due.
  for (const auto& addr : addresses()) smaller.peers.emplace_back(addr, std::nullopt);
  tight.add(smaller);
  tight.run(now);
  EXPECT_FALSE(tight.failure().has_value());
  EXPECT_EQ(small.generation, 2U);
  EXPECT_EQ(small.peer(0, ip("10.0.0.1")), FW_PEER_NONE);
  EXPECT_EQ(small.subject(0, 8).id, 2U);
}

TEST_F(PolicySinkTest, TablesThatCanGrowDoSoBeforeAnythingIsWritten) {
  Kernel small(3);
  Host growing(small);
  std::size_t asked = 0;
  growing.room = [&](const datapath::Room& rows) {
    asked = rows.pol_peers;
    EXPECT_EQ(small.rows(), 0U);
    return Status(make_error(Code::kUnavailable, "the tables grow once the new programs are in force"));
  };
  PolicySink sink_of_small(small, growing, [] {});
  ASSERT_TRUE(sink_of_small.adopt().ok());
  Delta large;
  for (const auto& addr : addresses()) large.peers.emplace_back(addr, PeerClass{3});
  sink_of_small.add(large);
  sink_of_small.run(now);
  EXPECT_EQ(asked, addresses().size());
  EXPECT_EQ(small.generation, 0U);
  ASSERT_TRUE(sink_of_small.failure().has_value());
  EXPECT_EQ(sink_of_small.failure()->table, "tables");
}

// --- maps that fail

TEST_F(PolicySinkTest, WhateverFailsTheBankInForceIsWholeAndTheLastStateComes) {
  std::size_t faults = 0;
  for (unsigned seed = 1; seed <= 30; ++seed) {
    Kernel k;
    Host h(k);
    datapath::FaultyPolicyTables failing(k, 0, seed);
    PolicySink faulty(failing, h, [] {});
    ASSERT_TRUE(faulty.adopt().ok());
    failing.set_share(0.02);
    std::mt19937 random(seed);
    std::map<std::uint64_t, State> states{{0, {}}};
    for (int round = 0; round < 12; ++round) {
      const Delta delta = random_delta(random);
      State next = states.rbegin()->second;
      next.apply(delta);
      states[faulty.add(delta)] = next;
      k.hook = [&] { ASSERT_EQ(differs(k, k.generation & 1, states[faulty.in_force()]), "") << seed; };
      const int tries = static_cast<int>(random() % 3);
      for (int i = 0; i < tries; ++i) {
        faulty.run(now);
        now += std::chrono::seconds(31);
      }
    }
    for (int i = 0; i < 300 && !faulty.idle(); ++i, now += std::chrono::seconds(31)) faulty.run(now);
    ASSERT_TRUE(faulty.idle()) << seed;
    for (const unsigned bank : {0U, 1U}) ASSERT_EQ(differs(k, bank, states.rbegin()->second), "") << seed;
    faults += failing.faults();
    const State& last = states.rbegin()->second;
    ASSERT_LE(k.rows(), last.subjects.size() + last.peers.size() + last.cidrs.size() + last.verdicts.size()) << seed;
  }
  EXPECT_GT(faults, 30U);
}

// --- an agent that is killed at any moment, and the next one

TEST_F(PolicySinkTest, KilledAtAnyMomentTheNextOneKeepsWhatIsInForceAndThenReplacesIt) {
  std::mt19937 random(3);
  State first;
  first.apply(random_delta(random));
  const Delta change = random_delta(random);
  State second = first;
  second.apply(change);
  std::size_t kills = 0;
  for (std::size_t at = 1;; ++at) {
    Kernel k;
    Host h(k);
    auto one = std::make_unique<PolicySink>(k, h, [] {});
    ASSERT_FALSE(one->adopt().value());
    one->add(first.whole());
    one->run(now);
    std::size_t moment = 0;
    k.hook = [&] {
      if (++moment == at) throw Killed{};
    };
    bool killed = false;
    try {
      one->add(change);
      one->run(now);
    } catch (const Killed&) { killed = true; }
    one.reset();
    k.hook = [] {};
    const unsigned bank = k.generation & 1;
    const State& found = k.generation == 1 ? first : second;
    ASSERT_EQ(differs(k, bank, found), "") << at;
    PolicySink two(k, h, [] {});
    ASSERT_TRUE(two.adopt().value());
    two.run(now);
    ASSERT_EQ(differs(k, bank, found), "") << "nothing is done before the whole state is known; " << at;
    // The new agent's numbers are its own: another state in the same tables.
    State third;
    third.apply(random_delta(random));
    k.hook = [&] { ASSERT_EQ(differs(k, k.generation & 1, (k.generation & 1) == bank ? found : third), "") << at; };
    two.add(third.whole());
    two.run(now);
    ASSERT_TRUE(two.idle());
    for (const unsigned b : {0U, 1U}) ASSERT_EQ(differs(k, b, third), "") << at;
    std::set<std::uint32_t> isolated;
    for (const auto& [pod, row] : third.subjects)
      if (row.ingress != Fallback::kOpen || row.egress != Fallback::kOpen) isolated.insert(pod);
    ASSERT_EQ(k.flags, isolated) << at;
    ASSERT_LE(k.rows(), third.subjects.size() + third.peers.size() + third.cidrs.size() + third.verdicts.size());
    if (!killed) break;
    ++kills;
  }
  EXPECT_GT(kills, 50U);
}

}  // namespace
}  // namespace fairway::sinks
