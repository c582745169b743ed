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

}  // namespace
}  // namespace fairway::model
