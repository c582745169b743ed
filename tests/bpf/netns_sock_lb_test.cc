// Socket load balancing: connect() of processes in a cgroup, from a pod's namespace.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <sstream>

#include "cluster.h"
#include "sockets.h"

namespace fairway::test {
namespace {

// A cgroup of our own that this process joins, and leaves again.
class OwnCgroup {
 public:
  OwnCgroup() {
    std::ifstream mounts("/proc/mounts");
    for (std::string line; std::getline(mounts, line);) {
      std::istringstream words(line);
      std::string device, where, type;
      words >> device >> where >> type;
      if (type == "cgroup2") root_ = where;
    }
    std::ifstream self("/proc/self/cgroup");
    for (std::string line; std::getline(self, line);)
      if (line.starts_with("0::")) home_ = root_ + line.substr(3);
    if (root_.empty()) return;
    path_ = root_ + "/fwbpf" + std::to_string(::getpid());
    ok_ = ::mkdir(path_.c_str(), 0755) == 0 && join(path_);
  }
  ~OwnCgroup() {
    if (path_.empty()) return;
    join(home_);
    ::rmdir(path_.c_str());
  }
  bool ok() const { return ok_; }
  const std::string& path() const { return path_; }

 private:
  static bool join(const std::string& path) {
    std::ofstream procs(path + "/cgroup.procs");
    procs << ::getpid() << std::flush;
    return procs.good();
  }
  std::string root_, home_, path_;
  bool ok_ = false;
};

class SockLb : public ::testing::TestWithParam<bool> {
 protected:
  bool v6() const { return GetParam(); }
  net::IpAddr vip(int n = 10) const { return ip((v6() ? "fd00:10:96::" : "10.96.0.") + std::to_string(n)); }
};
INSTANTIATE_TEST_SUITE_P(Families, SockLb, ::testing::Bool(), [](const auto& family) { return family.param ? "v6" : "v4"; });

// connect(VIP:80) ──[sock_connect]──▶ connect(B:8080): the packets know no VIP, getpeername() knows nothing else
TEST_P(SockLb, ConnectIsTranslatedOnce) {
  FW_CLUSTER(cluster, {});
  OwnCgroup cgroup;
  ASSERT_TRUE(cgroup.ok()) << "no cgroup2 to attach to";
  ASSERT_TRUE(cluster.datapath(1).attach_cgroup(cgroup.path()).ok());
  const Pod a = cluster.add_pod(1, "a"), b = cluster.add_pod(1, "b");
  cluster.set_service(1, {vip(), 80}, net::Protocol::kTcp, {{{b.ip(v6()), 8080}, 1}});
  const sys::Fd listener = listen_in(cluster, b.netns, Kind::kTcp, {b.ip(v6()), 8080});
  const sys::Fd client = client_in(cluster, a.netns, Kind::kTcp, v6());
  ASSERT_EQ(connect_to(client, {vip(), 80}), 0);
  net::SocketAddr seen;
  const sys::Fd accepted = accept_one(listener, &seen);
  EXPECT_EQ(seen.addr, a.ip(v6()));
  EXPECT_EQ(peer_of(client).to_string(), (net::SocketAddr{vip(), 80}).to_string());
  EXPECT_EQ(cluster.count(1, "flow-new"), 0u);
  EXPECT_EQ(cluster.count(1, "socket-lb"), 1u);
}

TEST_P(SockLb, APodThatPicksItself) {
  FW_CLUSTER(cluster, {});
  OwnCgroup cgroup;
  ASSERT_TRUE(cgroup.ok());
  ASSERT_TRUE(cluster.datapath(1).attach_cgroup(cgroup.path()).ok());
  const Pod a = cluster.add_pod(1, "a");
  cluster.set_service(1, {vip(), 80}, net::Protocol::kTcp, {{{a.ip(v6()), 8080}, 1}});
  EXPECT_EQ(tcp_echo(cluster, a.netns, {vip(), 80}, a.netns, {a.ip(v6()), 8080}), "");
}

TEST_P(SockLb, RefusesAndLeavesAlone) {
  FW_CLUSTER(cluster, {});
  OwnCgroup cgroup;
  ASSERT_TRUE(cgroup.ok());
  ASSERT_TRUE(cluster.datapath(1).attach_cgroup(cgroup.path()).ok());
  const Pod a = cluster.add_pod(1, "a"), b = cluster.add_pod(1, "b");
  cluster.set_service(1, {vip(), 80}, net::Protocol::kTcp, {});
  for (const net::IpAddr& addr : {vip(), vip(77)})
    EXPECT_EQ(connect_to(client_in(cluster, a.netns, Kind::kTcp, v6()), {addr, 80}), ECONNREFUSED);
  // UDP is never translated at the socket: its peer stays the VIP, and the packets are translated at the veth
  cluster.set_service(1, {vip(), 53}, net::Protocol::kUdp, {{{b.ip(v6()), 53}, 1}});
  EXPECT_EQ(udp_echo(cluster, a.netns, {vip(), 53}, b.netns, {b.ip(v6()), 53}), "");
  EXPECT_EQ(cluster.count(1, "socket-lb"), 0u);
  // a frontend that must not be translated at the socket goes per packet
  cluster.set_service(1, {vip(11), 80}, net::Protocol::kTcp, {{{b.ip(v6()), 8080}, 1}}, FW_FE_CLUSTER_IP | FW_FE_NO_SOCKET_LB);
  EXPECT_EQ(tcp_echo(cluster, a.netns, {vip(11), 80}, b.netns, {b.ip(v6()), 8080}), "");
  EXPECT_EQ(cluster.count(1, "socket-lb"), 0u);
}

// an IPv6 socket that connects to ::ffff:VIP
TEST(SockLbMapped, V4MappedAddress) {
  FW_CLUSTER(cluster, {});
  OwnCgroup cgroup;
  ASSERT_TRUE(cgroup.ok());
  ASSERT_TRUE(cluster.datapath(1).attach_cgroup(cgroup.path()).ok());
  const Pod a = cluster.add_pod(1, "a"), b = cluster.add_pod(1, "b");
  cluster.set_service(1, {ip("10.96.0.10"), 80}, net::Protocol::kTcp, {{{b.v4, 8080}, 1}});
  const sys::Fd listener = listen_in(cluster, b.netns, Kind::kTcp, {b.v4, 8080});
  const sys::Fd client = client_in(cluster, a.netns, Kind::kTcp, true);
  ASSERT_EQ(connect_to(client, {ip("10.96.0.10"), 80}), 0);
  net::SocketAddr seen;
  const sys::Fd accepted = accept_one(listener, &seen);
  EXPECT_EQ(seen.addr, a.v4);
  EXPECT_EQ(peer_of(client).to_string(), "10.96.0.10:80");
}

}  // namespace
}  // namespace fairway::test
