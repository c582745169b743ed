// A dry run says what the loaded programs say, and leaves no trace in the node's tables.
#include "datapath/dry_run.h"
#include "datapath/policy_lookup.h"
#include "policy_fixture.h"

namespace fairway::test {
namespace {

class DryRunTest : public PolicyTest {
 protected:
  void SetUp() override {
    PolicyTest::SetUp();
    if (!cluster_) return;
    cluster_->in(cluster_->node_netns(1), [&] {
      auto loaded = datapath::DryRun::load(dp());
      ASSERT_TRUE(loaded.ok()) << loaded.error().message;
      dry_ = std::move(*loaded);
    });
  }
  void TearDown() override { dry_.reset(); }

  datapath::DryRun::Outcome dry(const std::string& program, std::uint32_t ifindex, const Pod& sender, const net::IpAddr& from,
                                const net::IpAddr& to, std::uint16_t port, std::uint8_t protocol = kTcp) {
    datapath::MadePacket packet{sender.mac, sender.host_mac, {from, 40000}, {to, port}, protocol};
    Result<datapath::DryRun::Outcome> out = make_error(Code::kInternal, "not run");
    cluster_->in(cluster_->node_netns(1), [&] { out = dry_->run(program, ifindex, packet); });
    EXPECT_TRUE(out.ok()) << out.error().message;
    return out.ok() ? *out : datapath::DryRun::Outcome{};
  }
  datapath::DryRun::Outcome leaves(const Pod& from, const net::IpAddr& to, std::uint16_t port, std::uint8_t protocol = kTcp) {
    return dry("pod_in", from.ifindex, from, of(from), to, port, protocol);
  }

  // All that the node's maps hold and count, as bytes.
  std::string everything() {
    std::string out;
    const auto add = [&](const auto& rows) {
      std::vector<std::string> sorted;
      for (const auto& [key, value] : *rows)
        sorted.push_back(std::string(reinterpret_cast<const char*>(&key), sizeof(key)) +
                         std::string(reinterpret_cast<const char*>(&value), sizeof(value)));
      std::sort(sorted.begin(), sorted.end());
      for (const auto& row : sorted) out += row;
      out += "|";
    };
    add(dp().endpoints().dump()), add(dp().local_ifs().dump()), add(dp().nodes().dump()), add(dp().frontends().dump());
    add(dp().svc_slots().dump()), add(dp().backends().dump()), add(dp().flows_new().dump()), add(dp().flows().dump());
    add(dp().pol_subjects().dump()), add(dp().pol_peers().dump()), add(dp().pol_cidrs().dump()), add(dp().pol_ports().dump());
    add(dp().pol_verdicts().dump()), add(dp().track_new().dump()), add(dp().track().dump()), add(dp().pol_hits().dump()),
        add(dp().pol_denied().dump());
    const auto stats = dp().stats();
    for (const auto& count : stats->counts) out += std::string(count.name) + std::to_string(count.packets) + ",";
    return out;
  }
  std::unique_ptr<datapath::DryRun> dry_;
};
INSTANTIATE_TEST_SUITE_P(Families, DryRunTest, ::testing::Bool(), [](const auto& family) { return family.param ? "v6" : "v4"; });

TEST_P(DryRunTest, SaysWhichRule) {
  rows_->subject(a_.ifindex, 6, FW_SUBJECT_OPEN, FW_SUBJECT_DENY, 61);
  rows_->subject(b_.ifindex, 5, FW_SUBJECT_DENY, FW_SUBJECT_OPEN, 51);
  rows_->ports(net::Protocol::kTcp, 80, 80, 3);
  auto out = leaves(a_, of(b_), 80);
  EXPECT_EQ(out.dropped, "policy-egress");
  EXPECT_EQ(out.egress_rule, 61u);
  rows_->verdict(6, FW_POL_EGRESS, FW_PEER_ANY, 3, FW_VERDICT_ALLOW, 62);
  out = leaves(a_, of(b_), 80);
  EXPECT_EQ(out.dropped, "policy-ingress");
  EXPECT_EQ(out.ingress_rule, 51u);
  rows_->verdict(5, FW_POL_INGRESS, FW_PEER_ANY, 3, FW_VERDICT_ALLOW, 52);
  out = leaves(a_, of(b_), 80);
  EXPECT_EQ(out.dropped, "");
  EXPECT_EQ(out.egress_rule, 62u);
  EXPECT_EQ(out.ingress_rule, 52u);
  EXPECT_EQ(out.next, b_.mac) << "straight to the other pod";
  EXPECT_EQ(leaves(a_, of(b_), 81).dropped, "policy-egress");
  EXPECT_EQ(leaves(a_, of(b_), 80, kUdp).dropped, "policy-egress");
  out = dry("uplink_in", uplink_, far_, of(far_), of(b_), 80);
  EXPECT_EQ(out.dropped, "");
  EXPECT_EQ(out.ingress_rule, 52u);
  EXPECT_EQ(dry("overlay_in", overlay_, far_, of(far_), of(b_), 81).dropped, "policy-ingress");
  EXPECT_EQ(dry("pod_in", a_.ifindex, b_, of(b_), of(a_), 80).dropped, "spoofed-mac") << "any other reason, too";
}

TEST_P(DryRunTest, LeavesNoTrace) {
  cluster_->set_service(1, {ip(v6() ? "fd00:10:96::10" : "10.96.0.10"), 53}, net::Protocol::kUdp, {{{of(b_), 5353}, 1}});
  rows_->subject(a_.ifindex, 6, FW_SUBJECT_OPEN, FW_SUBJECT_DENY, 61);
  rows_->cidr(v6() ? "2001:db8::/32" : "198.51.100.0/24", 11);
  rows_->verdict(6, FW_POL_EGRESS, 11, FW_PORT_ANY, FW_VERDICT_ALLOW, 62);
  EXPECT_FALSE(passes(a_, of(b_), 1000, 80));  // what the node has counted and follows stays, too
  EXPECT_TRUE(passes(a_, world(), 1000, 80));
  ASSERT_FALSE(dp().pol_denied().dump()->empty() || dp().pol_hits().dump()->empty() || dp().track_new().dump()->empty());
  const std::string before = everything();
  const net::IpAddr vip = ip(v6() ? "fd00:10:96::10" : "10.96.0.10");
  for (const auto& to : {of(b_), of(far_), world(), vip, node(1), node(2), of(a_)})
    for (const std::uint8_t protocol : {kTcp, kUdp, kSctp}) {
      leaves(a_, to, 53, protocol), leaves(b_, to, 53, protocol);
      dry("uplink_in", uplink_, far_, world(), to, 53, protocol);
    }
  EXPECT_EQ(everything(), before);
  EXPECT_FALSE(passes(a_, of(b_), 1000, 80));
  EXPECT_NE(everything(), before) << "what a packet leaves is seen here";
}

TEST_P(DryRunTest, TablesSayTheSame) {
  rows_->subject(a_.ifindex, 6, FW_SUBJECT_OPEN, FW_SUBJECT_DENY, 61);
  rows_->peer(of(b_), 10);
  rows_->cidr(v6() ? "2001:db8::/32" : "198.51.100.0/24", 11);
  rows_->ports(net::Protocol::kTcp, 80, 80, 3);
  rows_->verdict(6, FW_POL_EGRESS, 10, 3, FW_VERDICT_ALLOW, 62);
  rows_->verdict(6, FW_POL_EGRESS, 11, FW_PORT_ANY, FW_VERDICT_ALLOW, 63);
  for (const auto& to : {of(b_), of(far_), world(), node(2)})
    for (const std::uint16_t port : {80, 81}) {
      const auto told = datapath::look_up_verdict(dp(), a_.ifindex, FW_POL_EGRESS, to, kTcp, port);
      ASSERT_TRUE(told.ok()) << told.error().message;
      const auto out = leaves(a_, to, port);
      EXPECT_EQ(told->allowed, out.dropped.empty()) << to.to_string() << " " << port;
      EXPECT_EQ(told->rule, out.egress_rule) << to.to_string() << " " << port;
      EXPECT_TRUE(told->looked);
    }
  const auto open = datapath::look_up_verdict(dp(), a_.ifindex, FW_POL_INGRESS, of(b_), kTcp, 80);
  EXPECT_TRUE(open->allowed && !open->looked);
}

}  // namespace
}  // namespace fairway::test
