#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <random>
#include <set>

#include "cni/endpoint_store.h"
#include "sys/file.h"

namespace fairway::cni {
namespace {

WallTime at(int seconds) { return WallTime(std::chrono::seconds(1'700'000'000 + seconds)); }

net::Prefix prefix(const char* text) { return *net::Prefix::parse(text); }

class StoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ = std::filesystem::temp_directory_path() / ("fw-store-" + std::to_string(::getpid()));
    std::filesystem::remove(path_);
  }
  void TearDown() override {
    std::filesystem::remove(path_);
    std::filesystem::remove(path_ + ".damaged");
  }
  EndpointStore open(int now = 0, const std::string& boot = "boot-1", int cool_down = 30) {
    auto store = EndpointStore::open(path_, boot, std::chrono::seconds(cool_down), at(now));
    EXPECT_TRUE(store.ok());
    store->set_ranges({prefix("10.0.0.0/29"), prefix("fd00::/120")}, {});
    return *std::move(store);
  }
  static model::LocalEndpoint endpoint(const std::string& id) {
    model::LocalEndpoint out;
    out.sandbox_id = id;
    out.ifname = "eth0";
    out.netns_path = "/run/netns/" + id;
    out.netns_cookie = 7;
    out.port_mappings = {
        {.host_port = 80, .container_port = 8080, .protocol = net::Protocol::kUdp, .host_ip = *net::IpAddr::parse("fd00::1")}};
    out.bandwidth.egress_rate = 1 << 20;
    return out;
  }
  std::string path_;
};

TEST_F(StoreTest, AFinishedEndpointComesBackAsItWas) {
  model::LocalEndpoint made = endpoint("a");
  {
    EndpointStore store = open();
    ASSERT_TRUE(store.intend(made, {}, at(0)).ok());
    made.host_ifindex = 12;
    ASSERT_TRUE(store.finish(made).ok());
  }
  EndpointStore store = open(1);
  ASSERT_NE(store.find({"a", "eth0"}), nullptr);
  EXPECT_TRUE(store.find({"a", "eth0"})->finished);
  EXPECT_EQ(store.find({"a", "eth0"})->endpoint, made);
  EXPECT_TRUE(store.warnings().empty());
}

TEST_F(StoreTest, AnIntentionComesBackUnfinishedAndHoldsItsAddress) {
  model::LocalEndpoint made = endpoint("a");
  {
    EndpointStore store = open();
    ASSERT_TRUE(store.intend(made, {}, at(0)).ok());
  }
  EndpointStore store = open(1);
  ASSERT_NE(store.find({"a", "eth0"}), nullptr);
  EXPECT_FALSE(store.find({"a", "eth0"})->finished);
  model::LocalEndpoint other = endpoint("b");
  ASSERT_TRUE(store.intend(other, {}, at(1)).ok());
  EXPECT_NE(other.ips, made.ips);
}

TEST_F(StoreTest, CoolDownOutlivesTheProcess) {
  model::LocalEndpoint made = endpoint("a");
  {
    EndpointStore store = open();
    ASSERT_TRUE(store.intend(made, {}, at(0)).ok());
    ASSERT_TRUE(store.free({"a", "eth0"}, at(10), true).ok());
  }
  const auto given = [&](int now) {
    EndpointStore store = open(now);
    std::set<net::IpAddr> out;
    for (int i = 0;; ++i) {
      model::LocalEndpoint next = endpoint("n" + std::to_string(i));
      if (!store.intend(next, {}, at(now)).ok()) break;
      out.insert(next.ips.front());
    }
    for (const auto& [key, row] : std::map(store.all())) EXPECT_TRUE(store.free(key, at(now), false).ok());
    return out;
  };
  EXPECT_EQ(given(39).size(), 4U);
  EXPECT_FALSE(given(39).contains(made.ips.front()));
  EXPECT_EQ(given(40).size(), 5U);
  EXPECT_EQ(given(-1000).size(), 5U) << "a clock that was set back locks an address up";
}

TEST_F(StoreTest, AnotherBootFreesAll) {
  model::LocalEndpoint made = endpoint("a");
  {
    EndpointStore store = open();
    ASSERT_TRUE(store.intend(made, {}, at(0)).ok());
    ASSERT_TRUE(store.finish(made).ok());
  }
  EndpointStore store = open(1, "boot-2");
  EXPECT_TRUE(store.all().empty());
  EXPECT_EQ(store.ipam().in_use(), 0U);
  EXPECT_EQ(store.ipam().cooling(at(1)), 2U);
}

TEST_F(StoreTest, EveryCutOfTheJournalIsAConsistentState) {
  {
    EndpointStore store = open();
    for (const char* id : {"a", "b", "c"}) {
      model::LocalEndpoint made = endpoint(id);
      ASSERT_TRUE(store.intend(made, {}, at(0)).ok());
      ASSERT_TRUE(store.finish(made).ok());
    }
    ASSERT_TRUE(store.free({"b", "eth0"}, at(0), true).ok());
  }
  const std::string whole = *sys::read_file(path_);
  std::size_t last = 0;
  for (std::size_t cut = 0; cut <= whole.size(); cut += 7) {
    ASSERT_TRUE(sys::write_file_atomic(path_, whole.substr(0, cut)).ok());
    EndpointStore store = open(1);
    std::set<net::IpAddr> seen;
    for (const auto& [key, row] : store.all())
      for (const auto& ip : row.endpoint.ips) EXPECT_TRUE(seen.insert(ip).second) << "two owners, cut at " << cut;
    EXPECT_EQ(store.ipam().in_use(), seen.size()) << "an address without an owner, cut at " << cut;
    EXPECT_EQ(store.ipam().in_use(), 2 * store.all().size());
    last = store.all().size();
  }
  EXPECT_LE(last, 3U);
}

TEST_F(StoreTest, RandomHistoriesReplayToTheSameState) {
  std::mt19937 random(7);
  for (int history = 0; history < 20; ++history) {
    std::filesystem::remove(path_);
    EndpointStore store = open(0, "boot-1", 5);
    for (int now = 0; now < 200; ++now) {
      const std::string id = "s" + std::to_string(random() % 8);
      model::LocalEndpoint made = endpoint(id);
      switch (random() % 3) {
        case 0:
          (void)store.intend(made, {}, at(now));
          break;
        case 1:
          if (const auto* row = store.find({id, "eth0"})) (void)store.finish(row->endpoint);
          break;
        default:
          EXPECT_TRUE(store.free({id, "eth0"}, at(now), true).ok());
      }
      store.compact_if_worth(at(now));
    }
    EndpointStore again = open(199, "boot-1", 5);
    ASSERT_EQ(again.all().size(), store.all().size());
    for (const auto& [key, row] : store.all()) {
      ASSERT_NE(again.find(key), nullptr);
      EXPECT_EQ(again.find(key)->endpoint, row.endpoint);
      EXPECT_EQ(again.find(key)->finished, row.finished);
    }
    EXPECT_EQ(again.ipam().in_use(), store.ipam().in_use());
    EXPECT_EQ(again.ipam().cooling(at(199)), store.ipam().cooling(at(199)));
  }
}

TEST(IpamTest, GivesInTurnAndSparesWhatIsNotForPods) {
  Ipam ipam(std::chrono::seconds(0));
  ipam.set_ranges({prefix("10.0.0.0/29")}, {*net::IpAddr::parse("10.0.0.4")});
  std::vector<std::string> given;
  for (int i = 0; i < 4; ++i) given.push_back(ipam.allocate("o" + std::to_string(i), {}, at(0))->front().to_string());
  EXPECT_EQ(given, (std::vector<std::string>{"10.0.0.2", "10.0.0.3", "10.0.0.5", "10.0.0.6"}));
  const auto full = ipam.allocate("x", {}, at(0));
  ASSERT_FALSE(full.ok());
  EXPECT_EQ(full.error().code, Code::kExhausted);
  EXPECT_NE(full.error().message.find("10.0.0.0/29"), std::string::npos);
  ipam.release(*net::IpAddr::parse("10.0.0.2"), at(0), true);
  ipam.release(*net::IpAddr::parse("10.0.0.6"), at(0), true);
  EXPECT_EQ(ipam.allocate("y", {}, at(0))->front().to_string(), "10.0.0.2");
  EXPECT_EQ(ipam.allocate("z", {}, at(0))->front().to_string(), "10.0.0.6");
}

TEST(IpamTest, AWishIsGrantedOrNamed) {
  Ipam ipam(std::chrono::seconds(3600));
  ipam.set_ranges({prefix("10.0.0.0/24"), prefix("fd00::/64")}, {});
  const net::IpAddr wish = *net::IpAddr::parse("10.0.0.77");
  const auto first = ipam.allocate("a", {wish}, at(0));
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(first->front(), wish);
  EXPECT_EQ(first->size(), 2U);
  EXPECT_EQ(ipam.allocate("b", {wish}, at(0)).error().code, Code::kAlreadyExists);
  EXPECT_EQ(ipam.allocate("b", {*net::IpAddr::parse("10.9.0.1")}, at(0)).error().code, Code::kInvalid);
  EXPECT_EQ(ipam.in_use(), 2U) << "a refused request took something";
  ipam.release(wish, at(0), true);
  EXPECT_TRUE(ipam.allocate("c", {wish}, at(1)).ok()) << "a wish does not wait for the cool-down";
}

TEST(IpamTest, ALargeIpv6RangeIsQuick) {
  Ipam ipam(std::chrono::seconds(0));
  ipam.set_ranges({prefix("fd00::/64")}, {});
  EXPECT_EQ(ipam.allocate("a", {}, at(0))->front().to_string(), "fd00::2");
  EXPECT_TRUE(ipam.exhausted(at(0)).empty());
}

}  // namespace
}  // namespace fairway::cni
