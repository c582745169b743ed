#include <gtest/gtest.h>

#include <cstring>

#include "compile/routing/compile.h"

namespace fairway::compile::routing {
namespace {

net::IpAddr ip(const char* text) { return *net::IpAddr::parse(text); }
net::Prefix prefix(const char* text) { return *net::Prefix::parse(text); }
Local local(Mode mode = Mode::kAuto) {
  Local out;
  out.name = "node-1";
  out.mode = mode;
  out.addresses = {ip("172.30.0.11"), ip("fd00:172:30::11")};
  out.subnets = {prefix("172.30.0.0/24"), prefix("fd00:172:30::/64")};
  out.uplink_ifindex = 2;
  out.uplink_mtu = 1500;
  out.cluster_ranges = {prefix("10.244.0.0/16")};
  out.service_ranges = {prefix("10.96.0.0/16"), prefix("fd00:10:96::/112")};
  return out;
}
model::Node node(std::vector<net::IpAddr> addresses) {
  model::Node out;
  out.name = "node-2";
  out.addresses = std::move(addresses);
  out.pod_cidrs = {prefix("10.244.1.0/24"), prefix("fd00:10:244:1::/64")};
  return out;
}

TEST(CompileNode, NativeOnTheSameSubnetElseVxlan) {
  auto out = compile_node(node({ip("172.30.0.12"), ip("fd00:172:30::12")}), local());
  EXPECT_EQ(out.row.mode, FW_NODE_NATIVE);
  EXPECT_EQ(out.row.mtu, 1500U);
  EXPECT_EQ(out.routes, (std::vector<Route>{{prefix("10.244.1.0/24"), ip("172.30.0.12"), false, 1500},
                                            {prefix("fd00:10:244:1::/64"), ip("fd00:172:30::12"), false, 1500}}));
  out = compile_node(node({ip("172.30.9.12"), ip("fd00:172:31::12")}), local());
  EXPECT_EQ(out.row.mode, FW_NODE_VXLAN);
  EXPECT_EQ(out.row.mtu, 1450U);
  EXPECT_EQ(out.routes, (std::vector<Route>{{prefix("10.244.1.0/24"), ip("172.30.9.12"), true, 1450},
                                            {prefix("fd00:10:244:1::/64"), ip("172.30.9.12"), true, 1450}}));
  out = compile_node(node({ip("fd00:172:31::12")}), local());
  EXPECT_EQ(out.row.mtu, 1430U);  // the underlay is IPv6
}

TEST(CompileNode, TheModeIsForced) {
  EXPECT_EQ(compile_node(node({ip("172.30.0.12")}), local(Mode::kVxlan)).row.mode, FW_NODE_VXLAN);
  const auto out = compile_node(node({ip("172.30.9.12")}), local(Mode::kNative));
  EXPECT_EQ(out.row.mode, FW_NODE_NATIVE);
  EXPECT_EQ(out.problems.size(), 1U);
}

TEST(CompileNode, NoCommonFamily) {
  auto here = local();
  here.addresses = {ip("172.30.0.11")};
  const auto out = compile_node(node({ip("fd00:172:30::12")}), here);
  EXPECT_TRUE(out.routes.empty());
  EXPECT_EQ(out.problems.size(), 1U);
}

TEST(CompileEndpoint, Owners) {
  NodeIds ids;
  const std::uint32_t id = ids.get(node({ip("172.30.0.12")}));
  model::Pod pod;
  pod.uid = "u1";
  pod.node = "node-2";
  auto row = compile_endpoint({std::nullopt, {pod}}, local(), ids);
  ASSERT_TRUE(row.has_value());
  EXPECT_EQ(row->node, id);
  EXPECT_EQ(row->flags, 0U);
  auto other = pod;
  other.uid = "u2";
  EXPECT_NE(compile_endpoint({std::nullopt, {other}}, local(), ids)->generation, row->generation);
  pod.node = "node-1";
  EXPECT_FALSE(compile_endpoint({std::nullopt, {pod}}, local(), ids).has_value());  // CNI's
  pod.node = "unknown";
  EXPECT_FALSE(compile_endpoint({std::nullopt, {pod}}, local(), ids).has_value());
  EXPECT_FALSE(compile_endpoint({}, local(), ids).has_value());
  EXPECT_EQ(compile_endpoint({"node-1", {}}, local(), ids)->flags, FW_EP_NODE);
  EXPECT_EQ(compile_endpoint({"node-2", {}}, local(), ids)->node, id);
}

TEST(NodeIds, FedBackByAddress) {
  NodeIds ids;
  fw_node row = compile_node(node({ip("172.30.0.12"), ip("fd00:172:30::12")}), local()).row;
  ids.adopt(7, row);
  auto stranger = node({ip("172.30.0.99")});
  stranger.name = "node-9";
  EXPECT_EQ(ids.get(stranger), 8U);
  EXPECT_EQ(ids.get(node({ip("172.30.0.12")})), 7U);
  ids.forget("node-2");
  EXPECT_EQ(ids.get(node({ip("172.30.0.12")})), 9U);  // never an old number
}

TEST(CompileConfig, Row) {
  const fw_config row = compile_config(local(), true);
  EXPECT_EQ(row.cluster_v4_len, 112);
  EXPECT_EQ(row.cluster_v6_len, 0);
  EXPECT_EQ(row.service_v6_len, 112);
  EXPECT_EQ(row.flags, FW_CFG_MASQUERADE_V4 | FW_CFG_MASQUERADE_V6 | FW_CFG_SERVICES_SYNCED);
  EXPECT_LT(row.masq_port_min, row.masq_port_max);
  EXPECT_EQ(compile_config(local(), false).flags & FW_CFG_SERVICES_SYNCED, 0U);
}

}  // namespace
}  // namespace fairway::compile::routing
