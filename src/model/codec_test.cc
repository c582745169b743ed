#include "model/codec.h"

#include <gtest/gtest.h>

#include <random>

namespace fairway::model {
namespace {

net::IpAddr ip(const char* text) { return *net::IpAddr::parse(text); }

template <typename Codec>
void round_trip(const typename Codec::Row& row) {
  std::string bytes;
  Codec::encode(row, bytes);
  const auto back = Codec::decode(Codec::key(row), bytes);
  ASSERT_TRUE(back.has_value());
  EXPECT_EQ(*back, row);
  // Cut anywhere, it is no row; and whatever the bytes, decoding ends.
  for (std::size_t cut = 0; cut < bytes.size(); ++cut) EXPECT_FALSE(Codec::decode("ns/n", bytes.substr(0, cut)).has_value()) << cut;
  EXPECT_FALSE(Codec::decode("ns/n", bytes + "x").has_value());
  std::mt19937 random(3);
  for (int i = 0; i < 20000; ++i) {
    std::string broken = bytes;
    for (int n = 0; n < 3; ++n) broken[random() % broken.size()] = static_cast<char>(random());
    (void)Codec::decode("ns/n", broken);
  }
}

TEST(Codec, RoundTrips) {
  round_trip<NamespaceCodec>({"kube-system", {{"a", "b"}, {"c", ""}}, true});
  round_trip<NodeCodec>({"n1",
                         {{"x", "y"}},
                         {ip("10.0.0.1"), ip("fd00::1")},
                         {*net::Prefix::parse("10.244.0.0/24"), *net::Prefix::parse("fd00:1::/64")},
                         "z1"});
  round_trip<NodeCodec>({.name = "n2", .addresses = {ip("10.0.0.2")}, .other_addresses = {ip("203.0.113.2"), ip("fd00::2")}});
  round_trip<NodeCodec>({.name = "n3", .unready = Node::Unready{"2026-01-02T03:04:05Z", "Kubelet stopped posting node status."}});
  Pod pod;
  pod.id = {"default", "web-1"};
  pod.uid = "0b8c1d2e";
  pod.node = "n1";
  pod.host_network = true;
  pod.ips = {ip("10.244.0.5"), ip("fd00:1::5")};
  pod.labels = {{"app", "web"}, {"tier", "front"}};
  pod.ports = {{"http", net::Protocol::kTcp, 80}, {"dns", net::Protocol::kUdp, 53}};
  round_trip<PodCodec>(pod);
  Service service;
  service.id = {"default", "web"};
  service.uid = "u";
  service.type = ServiceType::kLoadBalancer;
  service.cluster_ips = {ip("10.96.0.5")};
  service.ports = {{"http", net::Protocol::kSctp, 80, 30080}};
  service.affinity_seconds = 10800;
  service.internal_local = true;
  service.publish_not_ready = true;
  service.labels = {{"a", "b"}};
  round_trip<ServiceCodec>(service);
  EndpointSlice slice;
  slice.id = {"default", "web-abc"};
  slice.service = {"default", "web"};
  slice.family = net::Family::kV6;
  slice.ports = {{"http", net::Protocol::kTcp, 8080}};
  slice.endpoints = {{ip("fd00::7"), true, false, true, "h", "n1", "z", {"default", "p"}},
                     {ip("fd00::8"), false, true, false, "", "", "", {"other", "q"}}};
  round_trip<EndpointSliceCodec>(slice);
}

LabelSelector selector(std::string key, LabelRequirement::Op op, std::vector<std::string> values = {}) {
  return {{{std::move(key), op, std::move(values)}}};
}

TEST(Codec, PoliciesRoundTrip) {
  using Op = LabelRequirement::Op;
  Policy policy;
  policy.id = {"default", "db"};
  policy.uid = "u-1";
  policy.generation = 7;
  policy.subject.pods = selector("app", Op::kIn, {"db", "db2"});
  policy.isolates_ingress = true;
  PolicyPeer pods, network, nodes;
  pods.pods = {selector("team", Op::kExists), selector("app", Op::kNotIn, {"x"})};
  network.kind = PolicyPeer::Kind::kNetwork;
  network.network = *net::Prefix::parse("10.0.0.0/8");
  network.except = {*net::Prefix::parse("10.1.0.0/16"), *net::Prefix::parse("10.2.0.0/16")};
  nodes.kind = PolicyPeer::Kind::kNodes;
  nodes.nodes = selector("role", Op::kDoesNotExist);
  policy.ingress = {{"",
                     PolicyAction::kAllow,
                     false,
                     {pods, network},
                     false,
                     {{net::Protocol::kUdp, 53, 54, ""}, {net::Protocol::kTcp, 0, 65535, "http"}}},
                    {"", PolicyAction::kAllow, true, {}, true, {}}};
  round_trip<PolicyCodec>(policy);

  Policy admin;
  admin.tier = PolicyTier::kAdmin;
  admin.priority = 1000;
  admin.id = {"", "cluster-deny"};
  admin.subject = {LabelSelector{}, {}};
  admin.egress = {{"no metadata", PolicyAction::kDeny, false, {nodes, network}, false, {{std::nullopt, 0, 65535, "admin"}}},
                  {"", PolicyAction::kPass, false, {}, true, {}}};
  std::string bytes;
  PolicyCodec::encode(admin, bytes);
  EXPECT_EQ(PolicyCodec::decode("cluster-deny", bytes), admin);
  EXPECT_FALSE(PolicyCodec::decode("default/cluster-deny", bytes).has_value());  // no NetworkPolicy has a tier
  for (std::size_t cut = 0; cut < bytes.size(); ++cut) EXPECT_FALSE(PolicyCodec::decode("n", bytes.substr(0, cut)).has_value()) << cut;
}

}  // namespace
}  // namespace fairway::model
