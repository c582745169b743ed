// The live connections of a pod, as its sockets in a namespace of our own show them.
// test-deps: fw_hostnet
#include "hostnet/pod_sockets.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "io/netlink.h"
#include "sys/netns.h"

namespace fairway::hostnet {
namespace {

sockaddr_in6 at(const char* addr, std::uint16_t port) {
  sockaddr_in6 out{};
  out.sin6_family = AF_INET6;
  out.sin6_port = htons(port);
  const auto bytes = net::IpAddr::parse(addr)->bytes();  // IPv4 as mapped: the sockets are dual-stack
  std::copy(bytes.begin(), bytes.end(), out.sin6_addr.s6_addr);
  return out;
}

sys::Fd bound(int type, const sockaddr_in6& addr) {
  sys::Fd fd(::socket(AF_INET6, type | SOCK_CLOEXEC, 0));
  EXPECT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&addr), sizeof(addr)), 0) << std::strerror(errno);
  return fd;
}

void connect_to(const sys::Fd& fd, const sockaddr_in6& addr) {
  EXPECT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&addr), sizeof(addr)), 0) << std::strerror(errno);
}

class PodSockets : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root for network namespaces";
    path_ = "/run/netns/fw-sockets-" + std::to_string(::getpid());
    ASSERT_TRUE(sys::create_netns(path_).ok());
    auto opened = sys::open_netns(path_);
    ASSERT_TRUE(opened.ok());
    netns = std::move(*opened);
    auto socket = io::Netlink::open_in(netns);
    ASSERT_TRUE(socket.ok());
    const auto lo = socket->link("lo");
    ASSERT_TRUE(lo.ok());
    io::NetlinkBatch batch;
    batch.change_link({.index = lo->index, .up = true});
    for (const char* addr : {"10.9.0.1", "10.9.0.2"}) batch.replace_address({lo->index, *net::IpAddr::parse(addr), 32});
    for (const char* addr : {"fd00:9::1", "fd00:9::2"}) batch.replace_address({lo->index, *net::IpAddr::parse(addr), 64});
    ASSERT_TRUE(socket->run(batch).ok());
    for (const char* addr : {"fd00:9::1", "fd00:9::2"}) wait_for_address(*socket, *net::IpAddr::parse(addr));
  }
  void TearDown() override {
    netns = {};
    if (!path_.empty()) (void)sys::remove_netns(path_);
  }
  // An IPv6 address has its route a moment later (hostnet/pod_link.cc).
  static void wait_for_address(io::Netlink& socket, const net::IpAddr& addr) {
    const auto has_route = [&] {
      const auto routes = socket.routes(RT_TABLE_LOCAL);
      return routes.ok() && std::any_of(routes->begin(), routes->end(), [&](const auto& route) { return route.dst == net::Prefix(addr); });
    };
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!has_route()) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << addr.to_string();
      ::usleep(1000);
    }
  }
  std::vector<LiveConnection> read() {
    auto all = read_live_connections(netns);
    EXPECT_TRUE(all.ok()) << all.error().message;
    return all.ok() ? *all : std::vector<LiveConnection>{};
  }
  static LiveConnection connection(const char* local, const char* remote, std::uint8_t protocol, bool began_here) {
    return {*net::SocketAddr::parse(local), *net::SocketAddr::parse(remote), protocol, began_here};
  }
  static bool has(const std::vector<LiveConnection>& all, const LiveConnection& one) {
    return std::find(all.begin(), all.end(), one) != all.end();
  }

  sys::Fd netns;

 private:
  std::string path_;
};

TEST_F(PodSockets, TellWhoBeganAndLeaveOutWhatHasNoOtherEnd) {
  std::vector<sys::Fd> open;
  ASSERT_TRUE(sys::in_netns(netns, [&]() -> Status {
                // A dual-stack server on every address, as most are, with one client of each family; and a client that waits.
                open.push_back(bound(SOCK_STREAM, at("::", 8080)));
                EXPECT_EQ(::listen(open.back().get(), 8), 0);
                open.push_back(bound(SOCK_STREAM, at("10.9.0.2", 40000)));
                connect_to(open.back(), at("10.9.0.1", 8080));
                open.push_back(bound(SOCK_STREAM, at("fd00:9::2", 40001)));
                connect_to(open.back(), at("fd00:9::1", 8080));
                open.push_back(bound(SOCK_DGRAM, at("10.9.0.2", 40002)));
                connect_to(open.back(), at("10.9.0.1", 53));
                open.push_back(bound(SOCK_DGRAM, at("10.9.0.2", 5353)));
                open.push_back(bound(SOCK_STREAM, at("::1", 40003)));
                connect_to(open.back(), at("::1", 8080));
                return {};
              }).ok());
  const auto all = read();
  EXPECT_TRUE(has(all, connection("10.9.0.2:40000", "10.9.0.1:8080", IPPROTO_TCP, true)));
  EXPECT_TRUE(has(all, connection("10.9.0.1:8080", "10.9.0.2:40000", IPPROTO_TCP, false)));
  EXPECT_TRUE(has(all, connection("[fd00:9::2]:40001", "[fd00:9::1]:8080", IPPROTO_TCP, true)));
  EXPECT_TRUE(has(all, connection("[fd00:9::1]:8080", "[fd00:9::2]:40001", IPPROTO_TCP, false)));
  EXPECT_TRUE(has(all, connection("10.9.0.2:40002", "10.9.0.1:53", IPPROTO_UDP, true)));
  EXPECT_EQ(all.size(), 5U) << "listeners, unconnected sockets and the pod's own loopback are no connections";
}

TEST_F(PodSockets, ManyMoreThanOnePartOfTheDumpHolds) {
  constexpr int kMany = 500;
  std::vector<sys::Fd> open;
  ASSERT_TRUE(sys::in_netns(netns, [&]() -> Status {
                for (int i = 0; i < kMany; ++i) {
                  open.push_back(bound(SOCK_DGRAM, at("10.9.0.2", 0)));
                  connect_to(open.back(), at("10.9.0.1", 53));
                }
                return {};
              }).ok());
  EXPECT_EQ(read().size(), static_cast<std::size_t>(kMany));
}

}  // namespace
}  // namespace fairway::hostnet
