// The properties that the flow stands on: which endpoints a frontend has, step by step ≡ all at once, few writes a
// change, all or nothing, and adoption.
#include <arpa/inet.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <random>
#include <set>

#include "compile/services/assign.h"
#include "compile/services/compile.h"

namespace fairway::compile::services {
namespace {

net::IpAddr ip(const std::string& text) { return *net::IpAddr::parse(text); }
model::Endpoint endpoint(const std::string& addr, bool ready = true, bool serving = true, bool terminating = false) {
  model::Endpoint e;
  e.addr = ip(addr);
  e.ready = ready, e.serving = serving, e.terminating = terminating;
  return e;
}
model::Service service(const std::string& vip = "10.96.0.1") {
  model::Service s;
  s.id = {"default", "web"};
  s.cluster_ips = {ip(vip)};
  s.ports = {{"http", net::Protocol::kTcp, 80, 0}};
  return s;
}
model::EndpointSlice slice(std::vector<model::Endpoint> endpoints, std::uint16_t port = 8080) {
  model::EndpointSlice s;
  s.id = {"default", "web-1"};
  s.service = {"default", "web"};
  s.ports = {{"http", net::Protocol::kTcp, port}};
  s.endpoints = std::move(endpoints);
  return s;
}
std::vector<std::string> texts(const std::vector<BackendKey>& keys) {
  std::vector<std::string> out;
  for (const auto& k : keys) out.push_back(net::SocketAddr{k.addr, k.port}.to_string());
  return out;
}
using Texts = std::vector<std::string>;

TEST(CompileService, ReadyElseServingTerminating) {
  const Config config;
  auto out = compile_service(
      service(), std::vector{slice({endpoint("10.0.0.1"), endpoint("10.0.0.2", false, true, true), endpoint("10.0.0.3", false, false)})},
      config);
  ASSERT_EQ(out.frontends.size(), 1U);
  EXPECT_EQ(texts(out.frontends[0].backends), Texts{"10.0.0.1:8080"});
  EXPECT_EQ(texts(out.frontends[0].draining), (Texts{"10.0.0.2:8080", "10.0.0.3:8080"}));
  out = compile_service(service(), std::vector{slice({endpoint("10.0.0.2", false, true, true), endpoint("10.0.0.3", false, false, true)})},
                        config);
  EXPECT_EQ(texts(out.frontends[0].backends), Texts{"10.0.0.2:8080"});
  out = compile_service(service(), std::vector{slice({endpoint("10.0.0.3", false, false)})}, config);
  EXPECT_TRUE(out.frontends[0].backends.empty());
}

TEST(CompileService, NamedTargetPortsDifferPerSlice) {
  auto second = slice({endpoint("10.0.0.2")}, 9090);
  second.id.name = "web-2";
  const auto out = compile_service(service(), std::vector{slice({endpoint("10.0.0.1")}), second}, {});
  EXPECT_EQ(texts(out.frontends[0].backends), (Texts{"10.0.0.1:8080", "10.0.0.2:9090"}));
}

TEST(CompileService, DualStackAndFlags) {
  auto s = service();
  s.id = {"kube-system", "kube-dns"};
  s.cluster_ips.push_back(ip("fd00::a"));
  auto v6 = slice({endpoint("fd00:1::1")});
  v6.family = net::Family::kV6;
  const auto out = compile_service(s, std::vector{slice({endpoint("10.0.0.1")}), v6}, {});
  ASSERT_EQ(out.frontends.size(), 2U);
  for (const auto& f : out.frontends) {
    EXPECT_EQ(f.backends.size(), 1U);
    EXPECT_EQ(f.flags, FW_FE_CLUSTER_IP | FW_FE_NO_SOCKET_LB | FW_FE_NODE_LOCAL);
  }
}

TEST(CompileService, NothingForHeadlessAndForeignRanges) {
  auto s = service();
  s.headless = true;
  EXPECT_TRUE(compile_service(s, {}, {}).frontends.empty());
  Config config;
  config.service_ranges = {*net::Prefix::parse("10.97.0.0/16")};
  const auto out = compile_service(service(), {}, config);
  EXPECT_TRUE(out.frontends.empty());
  ASSERT_EQ(out.problems.size(), 1U);
  EXPECT_EQ(out.problems[0].field, "spec.clusterIPs[0]");
}

// The maps as the kernel would hold them, by playing changes in order.
struct Maps {
  std::map<std::uint32_t, fw_backend> backends;
  std::map<std::uint32_t, std::uint32_t> slots;
  std::map<FrontendKey, fw_frontend> frontends;

  void play(const Change& c) {
    for (const auto& [id, row] : c.backends) backends[id] = row;
    for (const auto& [index, id] : c.slots) slots[index] = id;
    for (const auto& [key, row] : c.frontends) frontends[from_abi(key)] = row;
    check_whole();  // make-before-break: never a slot without its backend
    for (const auto& key : c.frontends_gone) frontends.erase(from_abi(key));
    for (const auto& [id, row] : c.backends_after) backends[id] = row;
    for (const auto id : c.backends_gone) backends.erase(id);
    check_whole();
  }
  void check_whole() const {
    for (const auto& [key, row] : frontends)
      for (std::uint32_t i = 0; i < row.count; ++i) {
        ASSERT_TRUE(slots.contains(row.slot_base + i)) << key.to_string();
        ASSERT_TRUE(backends.contains(slots.at(row.slot_base + i))) << key.to_string() << " slot " << i;
      }
  }
  // What it means, without ids.
  std::map<FrontendKey, std::multiset<std::string>> meaning() const {
    std::map<FrontendKey, std::multiset<std::string>> out;
    for (const auto& [key, row] : frontends) {
      auto& set = out[key];
      set.insert("flags " + std::to_string(row.flags));
      for (std::uint32_t i = 0; i < row.count; ++i) {
        const auto& b = backends.at(slots.at(row.slot_base + i));
        EXPECT_EQ(b.state, FW_BE_ACTIVE);
        set.insert(net::SocketAddr{net::IpAddr::from_bytes(std::span<const std::uint8_t, 16>(b.addr.bytes)), ntohs(b.port_be)}.to_string());
      }
    }
    return out;
  }
};

Frontend frontend(std::uint32_t number, const std::set<int>& hosts, const std::set<int>& draining = {}) {
  Frontend f;
  f.key = {net::IpAddr::v4(0x0a600000U + number), 80, net::Protocol::kTcp, 0};
  f.flags = FW_FE_CLUSTER_IP;
  for (const int h : hosts) f.backends.push_back({net::IpAddr::v4(0x0af40000U + static_cast<unsigned>(h)), 8080, net::Protocol::kTcp});
  for (const int h : draining)
    if (!hosts.contains(h)) f.draining.push_back({net::IpAddr::v4(0x0af40000U + static_cast<unsigned>(h)), 8080, net::Protocol::kTcp});
  return f;
}
std::set<int> random_hosts(std::mt19937& random, unsigned most) {
  std::set<int> out;
  for (unsigned n = random() % (most + 1); n > 0; --n) out.insert(static_cast<int>(random() % 40));
  return out;
}

TEST(Assignment, StepByStepMeansTheSameAsAllAtOnce) {
  for (unsigned seed = 1; seed <= 30; ++seed) {
    std::mt19937 random(seed);
    Assignment assignment(4096, 1);
    Maps maps;
    std::map<std::uint32_t, std::vector<Frontend>> truth;
    for (int step = 0; step < 300; ++step) {
      const std::uint32_t number = random() % 12;
      std::vector<Frontend> wanted;
      if (random() % 5 != 0)
        for (std::uint32_t port = 0; port <= random() % 2; ++port)
          wanted.push_back(frontend(number * 2 + port, random_hosts(random, 20), random_hosts(random, 3)));
      auto change = assignment.set(number, wanted);
      ASSERT_TRUE(change.ok());
      maps.play(*change);
      if (::testing::Test::HasFatalFailure()) return;
      assignment.released(*change);
      if (random() % 4 == 0) assignment.cool_down();
      truth[number] = std::move(wanted);
    }
    Assignment whole(4096, 1);
    Maps at_once;
    for (const auto& [number, wanted] : truth) at_once.play(*whole.set(number, wanted));
    EXPECT_EQ(maps.meaning(), at_once.meaning()) << "seed " << seed;
    EXPECT_EQ(assignment.backends(), whole.backends());
    EXPECT_EQ(maps.backends.size(), at_once.backends.size());
    // diff ∘ apply = identity: the same again changes nothing.
    for (const auto& [number, wanted] : truth) EXPECT_TRUE(assignment.set(number, wanted)->empty());
  }
}

TEST(Assignment, AnEndpointMoreOrLessIsAFewWrites) {
  Assignment assignment(1 << 16, 1);
  std::set<int> hosts;
  for (int h = 0; h < 1000; ++h) hosts.insert(h);
  (void)assignment.set(1, {frontend(1, hosts)});
  hosts.insert(5000);
  auto change = assignment.set(1, {frontend(1, hosts)});
  EXPECT_EQ(change->backends.size() + change->slots.size() + change->frontends.size(), 3U);
  hosts.erase(17);
  change = assignment.set(1, {frontend(1, hosts)});
  EXPECT_EQ(change->slots.size(), 1U);  // the last moves into the hole
  EXPECT_EQ(change->frontends.size(), 1U);
  EXPECT_EQ(change->backends_gone.size(), 1U);
  hosts.erase(18), hosts.insert(6000);
  change = assignment.set(1, {frontend(1, hosts)});
  EXPECT_EQ(change->slots.size(), 1U);  // the newcomer takes the place
  EXPECT_EQ(change->frontends.size(), 0U);
}

TEST(Assignment, AllOrNothingWhereSlotsRunOut) {
  Assignment assignment(64, 1);
  ASSERT_TRUE(assignment.set(1, {frontend(1, {1, 2, 3})}).ok());
  std::set<int> many;
  for (int h = 0; h < 60; ++h) many.insert(h);
  EXPECT_FALSE(assignment.set(2, {frontend(2, {1}), frontend(3, many)}).ok());
  EXPECT_EQ(assignment.frontends(), 1U);
  EXPECT_EQ(assignment.backends(), 3U);
  // Room comes back only after the removal was applied and has cooled down.
  auto gone = assignment.set(1, {});
  EXPECT_FALSE(assignment.set(3, {frontend(3, many)}).ok());
  assignment.released(*gone);
  assignment.cool_down();
  EXPECT_FALSE(assignment.set(3, {frontend(3, many)}).ok());
  assignment.cool_down();
  EXPECT_TRUE(assignment.set(3, {frontend(3, many)}).ok());
}

TEST(Assignment, AnIdGivenAgainHasAnotherGeneration) {
  Assignment assignment(64, 7);
  auto first = assignment.set(1, {frontend(1, {1})});
  auto gone = assignment.set(1, {});
  assignment.released(*gone);
  assignment.cool_down(), assignment.cool_down();
  auto second = assignment.set(1, {frontend(1, {2})});
  ASSERT_EQ(first->backends[0].first, second->backends[0].first);
  EXPECT_NE(first->backends[0].second.generation, second->backends[0].second.generation);
}

TEST(Assignment, AFrontendBelongsToTheFirst) {
  Assignment assignment(64, 1);
  (void)assignment.set(1, {frontend(1, {1})});
  auto change = assignment.set(2, {frontend(1, {2})});
  ASSERT_EQ(change->problems.size(), 1U);
  EXPECT_TRUE(change->frontends.empty());
  EXPECT_EQ(assignment.owner(to_abi(frontend(1, {}).key)), 1U);
}

TEST(Assignment, ADrainingBackendKeepsItsRow) {
  Assignment assignment(64, 1);
  Maps maps;
  maps.play(*assignment.set(1, {frontend(1, {1, 2})}));
  auto change = assignment.set(1, {frontend(1, {1}, {2})});
  EXPECT_TRUE(change->backends_gone.empty());
  ASSERT_EQ(change->backends_after.size(), 1U);
  EXPECT_EQ(change->backends_after[0].second.state, FW_BE_TERMINATING);
  maps.play(*change);
  change = assignment.set(1, {frontend(1, {1, 2})});
  ASSERT_EQ(change->backends.size(), 1U);
  EXPECT_EQ(change->backends[0].second.state, FW_BE_ACTIVE);
}

// A restart: ids are fed back, so the same Services need no write; what nobody claims goes only when asked for.
TEST(Assignment, AdoptionKeepsIds) {
  std::mt19937 random(11);
  Maps maps;
  std::map<std::uint32_t, std::vector<Frontend>> truth;
  {
    Assignment before(4096, 1);
    for (std::uint32_t n = 0; n < 40; ++n) {
      truth[n] = {frontend(n, random_hosts(random, 12))};
      maps.play(*before.set(n, truth[n]));
    }
  }
  Assignment after(4096, 1000);
  for (const auto& [id, row] : maps.backends) EXPECT_TRUE(after.adopt_backend(id, row));
  for (const auto& [key, row] : maps.frontends) {
    std::vector<std::uint32_t> slots;
    for (std::uint32_t i = 0; i < row.count; ++i) slots.push_back(maps.slots.at(row.slot_base + i));
    EXPECT_TRUE(after.adopt_frontend(to_abi(key), row, slots));
  }
  for (std::uint32_t n = 0; n < 39; ++n) EXPECT_TRUE(after.set(n, truth[n])->empty()) << n;
  const Change rest = after.release_unclaimed();
  EXPECT_EQ(rest.frontends_gone.size(), 1U);
  maps.play(rest);
  EXPECT_EQ(maps.frontends.size(), 39U);
}

TEST(Assignment, NonsenseInPinnedMapsIsNotAdopted) {
  Assignment assignment(64, 1);
  fw_backend backend{};
  backend.addr.bytes[15] = 1;
  backend.protocol = 6;
  EXPECT_FALSE(assignment.adopt_backend(0, backend));
  EXPECT_TRUE(assignment.adopt_backend(3, backend));
  EXPECT_FALSE(assignment.adopt_backend(4, backend));  // the same address again
  const auto key = to_abi(frontend(1, {}).key);
  fw_frontend row{};
  row.count = 1, row.service = 1;
  EXPECT_FALSE(assignment.adopt_frontend(key, row, {}));  // count and slots differ
  row.slot_base = 61;
  EXPECT_FALSE(assignment.adopt_frontend(key, row, {3}));  // no run starts there
  row.slot_base = 60;
  EXPECT_TRUE(assignment.adopt_frontend(key, row, {3}));
  EXPECT_FALSE(assignment.adopt_frontend(to_abi(frontend(2, {}).key), row, {3}));  // overlaps
}

// Killed between the slots and the frontend: a backend may be there twice, or a slot lead nowhere.
TEST(Assignment, AHalfAppliedChangeIsMended) {
  Assignment assignment(64, 50);
  for (std::uint32_t id = 1; id <= 3; ++id) {
    Assignment other(64, 1);
    auto row = other.set(1, {frontend(1, {static_cast<int>(id)})})->backends[0].second;
    ASSERT_TRUE(assignment.adopt_backend(id, row));
  }
  fw_frontend row{};
  row.count = 4, row.service = 1, row.flags = FW_FE_CLUSTER_IP;
  ASSERT_TRUE(assignment.adopt_frontend(to_abi(frontend(1, {}).key), row, {1, 3, 3, 77}));
  auto change = assignment.set(1, {frontend(1, {1, 3})});
  ASSERT_EQ(change->frontends.size(), 1U);
  EXPECT_EQ(change->frontends[0].second.count, 2U);
  EXPECT_EQ(assignment.set(1, {})->backends_gone.size(), 2U);
}

TEST(SlotRuns, GrowBehindWhatThereIs) {
  SlotRuns runs(8);
  const auto first = runs.allocate(8);
  ASSERT_TRUE(first);
  EXPECT_FALSE(runs.allocate(4));
  runs.grow(32);
  EXPECT_EQ(runs.size(), 32u);
  const auto half = runs.allocate(16);
  ASSERT_TRUE(half);
  EXPECT_EQ(half->base, 16u);
  EXPECT_EQ(runs.allocate(8)->base, 8u);
  EXPECT_FALSE(runs.allocate(4));
  runs.free(*first), runs.free(*half), runs.free({8, 8});
  EXPECT_EQ(runs.allocate(32)->base, 0u) << "old and new slots come together again";
}

TEST(SlotRuns, NeverOverlapAndComeTogetherAgain) {
  std::mt19937 random(5);
  SlotRuns runs(1024);
  std::vector<services::Run> held;
  std::set<std::uint32_t> used;
  for (int step = 0; step < 20000; ++step) {
    if (random() % 2 == 0 || held.empty()) {
      const auto run = runs.allocate(1 + random() % 100);
      if (!run) continue;
      for (std::uint32_t i = 0; i < run->capacity; ++i) ASSERT_TRUE(used.insert(run->base + i).second);
      held.push_back(*run);
    } else {
      std::swap(held[random() % held.size()], held.back());
      for (std::uint32_t i = 0; i < held.back().capacity; ++i) used.erase(held.back().base + i);
      runs.free(held.back());
      held.pop_back();
    }
  }
  for (const services::Run& run : held) runs.free(run);
  EXPECT_EQ(runs.allocate(1024), (services::Run{0, 1024}));
}

}  // namespace
}  // namespace fairway::compile::services
