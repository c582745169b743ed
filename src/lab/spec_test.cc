#include "lab/spec.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>

#include "lab/access.h"
#include "sys/file.h"

namespace fairway::lab {
namespace {

std::string temporary_path() { return "/tmp/fairway-spec-test-" + std::to_string(::getpid()) + ".json"; }

TEST(LabSpec, SurvivesTheDisk) {
  LabSpec spec;
  spec.subnets = 2;
  spec.family = "ipv6";
  spec.api_port = 16443;
  spec.dns_upstreams = {"172.31.0.2:53"};
  spec.add_node("");
  spec.add_node("edge");
  const std::string path = temporary_path();
  ASSERT_TRUE(write_spec(spec, path).ok());
  const auto read = read_spec(path);
  std::remove(path.c_str());
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_EQ(read->nodes, spec.nodes);
  EXPECT_EQ(read->next_index, 3U);
  EXPECT_EQ(read->family, "ipv6");
  EXPECT_EQ(read->dns_upstreams, spec.dns_upstreams);
}

TEST(LabSpec, RefusesAFileThatIsNone) {
  const std::string path = temporary_path();
  for (const char* text : {"", "[]", "{\"nodes\": 3}", "{\"nextIndex\": \"one\"}"}) {
    ASSERT_TRUE(sys::write_file_atomic(path, text).ok());
    const auto read = read_spec(path);
    ASSERT_FALSE(read.ok()) << text;
    EXPECT_NE(read.error().message.find(path), std::string::npos);
  }
  std::remove(path.c_str());
}

TEST(LabSpec, ARemovedNodesAddressIsNotGivenAgain) {
  LabSpec spec;
  spec.add_node("");
  const auto second = spec.add_node("");
  std::erase_if(spec.nodes, [](const NodeSpec& node) { return node.name == "node-2"; });
  EXPECT_NE(node_address(spec.add_node(""), net::Family::kV4), node_address(second, net::Family::kV4));
}

TEST(LabSpec, NodesAreSpreadOverSubnets) {
  LabSpec spec;
  spec.subnets = 2;
  EXPECT_EQ(node_address(spec.add_node(""), net::Family::kV4).to_string(), "172.30.0.11");
  EXPECT_EQ(node_address(spec.add_node(""), net::Family::kV4).to_string(), "172.30.1.12");
  EXPECT_EQ(node_address(spec.nodes[1], net::Family::kV6).to_string(), "fd00:172:30:1::c");
}

TEST(LabSpec, RangesDoNotOverlap) {
  for (const auto family : {net::Family::kV4, net::Family::kV6}) {
    const net::Prefix all[] = {pod_range(family), service_range(family), outside_prefix(family), fabric_prefix(0, family),
                               fabric_prefix(15, family)};
    for (const auto& a : all)
      for (const auto& b : all)
        if (&a != &b) { EXPECT_FALSE(a.overlaps(b)) << a.to_string() << " " << b.to_string(); }
    EXPECT_TRUE(service_range(family).contains(dns_address(family)));
  }
}

TEST(NodeName, IsADnsLabelThatFitsADeviceName) {
  EXPECT_TRUE(check_node_name("edge-1").ok());
  for (const char* bad : {"Edge", "a_b", "-a", "a-", "../x", "much-too-long-a-name", "fabric", "outside"})
    EXPECT_FALSE(check_node_name(bad).ok()) << bad;
}

}  // namespace
}  // namespace fairway::lab
