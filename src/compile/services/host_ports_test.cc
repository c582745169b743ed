// Which frontends a pod's hostPorts become, and what is refused.
#include "compile/services/host_ports.h"

#include <gtest/gtest.h>

namespace fairway::compile::services {
namespace {

net::IpAddr addr(const std::string& text) { return *net::IpAddr::parse(text); }

const NodePorts kNode{{*net::IpAddr::parse("172.30.0.11"), *net::IpAddr::parse("fd00:172:30::11")}, 61000, 65535, 4789};

model::LocalEndpoint pod(std::vector<model::PortMapping> mappings,
                         std::vector<net::IpAddr> ips = {addr("10.244.1.5"), addr("fd00:10:244::5")}) {
  model::LocalEndpoint e;
  e.ips = std::move(ips);
  e.port_mappings = std::move(mappings);
  return e;
}
model::PortMapping mapping(std::uint16_t host_port, const char* host_ip = nullptr, net::Protocol protocol = net::Protocol::kTcp) {
  model::PortMapping m{host_port, 80, protocol, {}};
  if (host_ip != nullptr) m.host_ip = addr(host_ip);
  return m;
}
// "172.30.0.11:8080/TCP>10.244.1.5:80", or the refusal
std::vector<std::string> compiled(const model::LocalEndpoint& e, const NodePorts& node = kNode) {
  const auto ports = compile_host_ports(e, node);
  if (!ports.ok()) return {ports.error().message};
  std::vector<std::string> out;
  for (const auto& f : *ports) {
    EXPECT_EQ(f.flags, FW_FE_HOST_PORT);
    EXPECT_EQ(f.backends.size(), 1u);
    out.push_back(f.key.to_string() + ">" + net::SocketAddr{f.backends[0].addr, f.backends[0].port}.to_string());
  }
  return out;
}
using Texts = std::vector<std::string>;
const std::string kV4 = "172.30.0.11:8080/TCP>10.244.1.5:80", kV6 = "[fd00:172:30::11]:8080/TCP>[fd00:10:244::5]:80";

TEST(HostPorts, OnTheNodesOwnAddresses) {
  EXPECT_EQ(compiled(pod({mapping(8080)})), (Texts{kV4, kV6}));
  EXPECT_EQ(compiled(pod({mapping(8080)}, {addr("10.244.1.5")})), Texts{kV4}) << "families that both have";
  EXPECT_EQ(compiled(pod({mapping(8080, "0.0.0.0")})), Texts{kV4});
  EXPECT_EQ(compiled(pod({mapping(8080, "::")})), Texts{kV6});
  EXPECT_EQ(compiled(pod({mapping(8080, "172.30.0.11")})), Texts{kV4});
  EXPECT_EQ(compiled(pod({mapping(8080, "fd00:172:30::11")})), Texts{kV6});
  EXPECT_EQ(compiled(pod({mapping(53, nullptr, net::Protocol::kUdp), mapping(8080, "0.0.0.0")})).size(), 3u);
  EXPECT_EQ(compiled(pod({mapping(8080), mapping(8080, "172.30.0.11")})), (Texts{kV4, kV6})) << "the same said twice";
  EXPECT_EQ(compiled(pod({mapping(8080)}), NodePorts{}), Texts{}) << "not before the node's addresses are known";
}

TEST(HostPorts, Refusals) {
  const auto refused = [](const model::LocalEndpoint& e, const std::string& why) {
    const Texts texts = compiled(e);
    EXPECT_TRUE(texts.size() == 1 && texts[0].find(why) != std::string::npos) << why << ": " << texts.at(0);
  };
  refused(pod({mapping(8080, "127.0.0.1")}), "hostPort 8080/TCP: hostIP 127.0.0.1 is a loopback address");
  refused(pod({mapping(8080, "::1")}), "loopback");
  refused(pod({mapping(8080, "172.30.0.12")}), "is not an address of this node");
  refused(pod({mapping(61000)}), "masquerade ports, 61000-65535");
  refused(pod({mapping(65535)}), "masquerade ports");
  refused(pod({mapping(4789, nullptr, net::Protocol::kUdp)}), "overlay");
  EXPECT_EQ(compiled(pod({mapping(4789)})).size(), 2u) << "over TCP it is free";
  refused(pod({mapping(8080, nullptr, net::Protocol::kSctp)}), "SCTP");
  refused(pod({mapping(8080, "fd00:172:30::11")}, {addr("10.244.1.5")}), "no address of the same family");
  model::PortMapping other = mapping(8080);
  other.container_port = 81;
  refused(pod({mapping(8080), other}), "twice");
}

TEST(HostPorts, FirstClash) {
  const auto a = *compile_host_ports(pod({mapping(8080), mapping(9090)}), kNode);
  const auto b = *compile_host_ports(pod({mapping(9090, "::")}), kNode);
  const auto c = *compile_host_ports(pod({mapping(9090, "172.30.0.11", net::Protocol::kUdp), mapping(8081)}), kNode);
  ASSERT_TRUE(first_clash(a, b));
  EXPECT_EQ(first_clash(a, b)->to_string(), "[fd00:172:30::11]:9090/TCP");
  EXPECT_FALSE(first_clash(a, c));
  EXPECT_FALSE(first_clash(a, {}));
}

}  // namespace
}  // namespace fairway::compile::services
