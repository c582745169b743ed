// Which addresses pods without one are taken to have, and that what manifests say of IPv6 is judged.
#include "policycheck/placement.h"

#include "policycheck/testing.h"

namespace fairway::policycheck {
namespace {

std::string allow(const std::string& blocks) { return policy("p", "{podSelector: {}, ingress: [{from: [" + blocks + "]}]}"); }
std::string addresses_of(const Inventory& inventory, std::size_t pod = 0) {
  std::string out;
  for (const auto& addr : inventory.state.pods.at(pod).ips) out += (out.empty() ? "" : " ") + addr.to_string();
  return out;
}
std::string placed(const std::string& text, const InventoryOptions& options = {}) {
  const auto taken = take_inventory(read_manifests(text), options);
  for (const auto& fault : taken.faults) ADD_FAILURE() << fault.to_string();
  return addresses_of(taken);
}

TEST(Placement, OutsideOfNarrowerBlocks) {
  const auto taken = take_inventory(read_manifests(pod("a") + pod("b") +
                                                   allow("{ipBlock: {cidr: 10.244.0.0/24}}, {ipBlock: {cidr: 10.244.0.7/32}}, "
                                                         "{ipBlock: {cidr: 10.244.1.0/32}}, {ipBlock: {cidr: 10.244.1.2/32}}")),
                                    {});
  EXPECT_EQ(addresses_of(taken), "10.244.1.1");
  EXPECT_EQ(addresses_of(taken, 1), "10.244.1.3");
  EXPECT_EQ(taken.notes.size(), 2U);
}

TEST(Placement, TooManyPodsForTheRange) {
  const auto taken = take_inventory(read_manifests(pod("a") + pod("b") + pod("c")), {{*net::Prefix::parse("10.0.0.0/31")}});
  ASSERT_EQ(taken.faults.size(), 1U);
  EXPECT_NE(taken.faults[0].reason.find("--pod-range"), std::string::npos);
}

const std::string kV6Rule = allow("{ipBlock: {cidr: 'fd01::/64'}}");
const std::string kDual = "10.244.0.1 fd00:10:244::1";

TEST(Placement, BothFamiliesWhereManifestsSpeakOfIPv6) {
  const auto service = [](const std::string& field) {
    return "---\napiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {" + field + "}\n";
  };
  EXPECT_EQ(placed(pod("a")), "10.244.0.1");
  EXPECT_EQ(placed(pod("a") + kV6Rule), kDual);
  EXPECT_EQ(placed(pod("a") + service("ipFamilyPolicy: SingleStack")), "10.244.0.1");
  EXPECT_EQ(placed(pod("a") + service("ipFamilyPolicy: PreferDualStack")), kDual);
  EXPECT_EQ(placed(pod("a") + service("ipFamilies: [IPv4, IPv6]")), kDual);
  EXPECT_EQ(placed(pod("a") + service("clusterIP: 'fd00:10:96::7'")), kDual);
  const auto taken = take_inventory(read_manifests(pod("a") + kV6Rule), {});
  EXPECT_EQ(
      taken.notes.back(),
      "m.yaml:10: policy default/p spec.ingress[0] is of IPv6: pods without an address are taken to have one of each family; --pod-range "
      "10.244.0.0/16 gives them IPv4 alone");
}

TEST(Placement, TheFamiliesOfTheClusterWhereTheyAreKnown) {
  const auto with_address = [](const std::string& addr) { return pod("z") + "status: {podIP: '" + addr + "'}\n"; };
  EXPECT_EQ(placed(pod("a") + with_address("10.1.0.1") + kV6Rule), "10.244.0.1");
  EXPECT_EQ(placed(pod("a") + with_address("fd02::1") + kV6Rule), "fd00:10:244::1");
  const std::string node = "---\napiVersion: v1\nkind: Node\nmetadata: {name: node-a}\nspec: {podCIDRs: [10.50.0.0/24, 'fd03::/80']}\n";
  EXPECT_EQ(placed(pod("a") + node), kDual);
}

TEST(Placement, TheRangesThatAreGiven) {
  const net::Prefix v4 = *net::Prefix::parse("10.9.0.0/16"), v6 = *net::Prefix::parse("fd09::/64");
  EXPECT_EQ(placed(pod("a") + kV6Rule, {{v4}}), "10.9.0.1");
  EXPECT_EQ(placed(pod("a"), {{v4, v6}}), "10.9.0.1 fd09::1");
}

TEST(Placement, BothSidesOfADiffAlike) {
  const auto families = [](const std::string& before, const std::string& after) {
    Inventory a = take_rows(read_manifests(before)), b = take_rows(read_manifests(after));
    place_pods_alike(a, b, {});
    EXPECT_EQ(addresses_of(a), addresses_of(b));
    return addresses_of(a);
  };
  EXPECT_EQ(families(pod("a"), pod("a")), "10.244.0.1");
  EXPECT_EQ(families(pod("a"), pod("a") + kV6Rule), kDual);
  EXPECT_EQ(families(pod("a") + kV6Rule, pod("a")), kDual);
}

TEST(Placement, ABlockOfAFamilyThatNoPodHasIsNoted) {
  const auto taken = take_inventory(read_manifests(pod("a") + kV6Rule), {{*net::Prefix::parse("10.244.0.0/16")}});
  EXPECT_EQ(taken.notes.back(), "m.yaml:10: policy default/p spec.ingress[0]: fd01::/64 is not judged: no pod here has an IPv6 address");
}

TEST(Placement, ARuleOfIPv6IsJudged) {
  const auto check = check_of(pod("a") + kV6Rule);
  EXPECT_EQ(cell(*check, "fd01::/64", "default/a"), "all");
  EXPECT_EQ(cell(*check, "outside (IPv6)", "default/a"), "none");
  EXPECT_EQ(cell(*check, "outside", "default/a"), "none");
}

}  // namespace
}  // namespace fairway::policycheck
