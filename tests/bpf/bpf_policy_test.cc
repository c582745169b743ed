// Policy by BPF_PROG_TEST_RUN: which rows decide, for which packets they are asked, and when a change of them holds.
#include "policy_fixture.h"

namespace fairway::test {
namespace {

class Policy : public PolicyTest {};
INSTANTIATE_TEST_SUITE_P(Families, Policy, ::testing::Bool(), [](const auto& family) { return family.param ? "v6" : "v4"; });

// {peer, port}, then {peer, any}, then {any, port}, then the subject's default
TEST_P(Policy, FromTheParticularToTheGeneral) {
  rows_->subject(b_.ifindex, 5, FW_SUBJECT_DENY, FW_SUBJECT_OPEN, 77);
  rows_->peer(of(a_), 10);
  rows_->ports(net::Protocol::kTcp, 80, 90, 3);
  rows_->ports(net::Protocol::kUdp, 80, 80, 4);
  std::uint16_t sport = 1000;
  const auto from_a = [&](std::uint16_t port) { return passes(a_, of(b_), ++sport, port); };
  EXPECT_FALSE(from_a(80)) << "default deny";
  EXPECT_EQ(count("policy-ingress"), 1u);
  rows_->verdict(5, FW_POL_INGRESS, FW_PEER_ANY, 3, FW_VERDICT_ALLOW, 1);
  EXPECT_TRUE(from_a(80));
  EXPECT_TRUE(from_a(90));
  EXPECT_FALSE(from_a(91)) << "a port of no range";
  EXPECT_FALSE(passes(a_, of(b_), 1000, 80, 0, kUdp)) << "a class belongs to its protocol";
  rows_->verdict(5, FW_POL_INGRESS, 10, FW_PORT_ANY, FW_VERDICT_DENY, 2);
  EXPECT_FALSE(from_a(80)) << "{peer, any} comes before {any, port}";
  rows_->verdict(5, FW_POL_INGRESS, 10, 3, FW_VERDICT_ALLOW, 3);
  EXPECT_TRUE(from_a(80)) << "{peer, port} comes first";
  EXPECT_FALSE(from_a(91));
  EXPECT_TRUE(arrives(of(far_), b_, 1000, 85)) << "another peer: {any, port}";
  EXPECT_FALSE(arrives(of(far_), b_, 1000, 91));
  EXPECT_TRUE(passes(b_, of(a_), 1000, 91)) << "egress: no policy looks at it";
  EXPECT_TRUE(passes(a_, of(far_), 1000, 91)) << "a pod of no policy";
}

TEST_P(Policy, DeniedPacketsAreNotedByRule) {
  rows_->subject(b_.ifindex, 5, FW_SUBJECT_DENY, FW_SUBJECT_OPEN, 77);
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(passes(a_, of(b_), 1000, 80));
  const auto hits = dp().pol_hits().dump();
  ASSERT_EQ(hits->size(), 1u);
  const auto& [key, hit] = hits->front();
  EXPECT_EQ(key.rule, 77u);
  EXPECT_EQ(key.direction, FW_POL_INGRESS);
  EXPECT_EQ(datapath::from_abi(key.saddr), of(a_));
  EXPECT_EQ(datapath::from_abi(key.daddr), of(b_));
  EXPECT_EQ(key.protocol, kTcp);
  EXPECT_EQ(hit.packets, 3u);
  EXPECT_FALSE(row({of(a_), 1000}, {of(b_), 80})) << "what never passed leaves no row";
  // a flood: the drops are all counted, and the notes are not all written
  for (std::uint16_t port = 2000; port < 3000; ++port) EXPECT_FALSE(passes(a_, of(b_), 1000, port));
  EXPECT_EQ(count("policy-ingress"), 1003u);
  EXPECT_GT(count("hit-skipped"), 0u);
  EXPECT_LE(dp().pol_hits().dump()->size(), dp().pol_hits().capacity());
}

TEST_P(Policy, EgressToEverywhere) {
  rows_->subject(a_.ifindex, 6, FW_SUBJECT_OPEN, FW_SUBJECT_DENY);
  const net::IpAddr unknown_pod = ip(v6() ? "fd00:10:244:1::ffff" : "10.244.1.250");
  for (const net::IpAddr& to : {of(b_), of(far_), world(), node(2), unknown_pod}) EXPECT_FALSE(passes(a_, to, 1000, 80)) << to.to_string();
  EXPECT_EQ(count("policy-egress"), 5u);
  EXPECT_TRUE(passes(a_, node(1), 1000, 80)) << "its own node";
  EXPECT_TRUE(passes(a_, of(a_), 1000, 80)) << "itself";
  EXPECT_TRUE(passes(a_, ip(v6() ? "ff02::fb" : "224.0.0.251"), 1000, 80)) << "of its link";
  if (!v6()) { EXPECT_FALSE(passes(a_, ip("169.254.169.254"), 1000, 80)) << "a cloud's metadata server"; }
  EXPECT_TRUE(arrives(world(), a_, 1000, 80));
  EXPECT_TRUE(passes(a_, world(), 80, 1000, kSynAck)) << "an answer";
}

// The Service that the node's own stack serves: judged by the Service's address, as what is no endpoint.
TEST_P(Policy, TheNodesResolverIsJudged) {
  const net::IpAddr vip = ip(v6() ? "fd00:10:96::a" : "10.96.0.10");
  cluster_->set_service(1, {vip, 53}, net::Protocol::kUdp, {}, FW_FE_CLUSTER_IP | FW_FE_NODE_LOCAL);
  EXPECT_TRUE(passes(a_, vip, 1000, 53, 0, kUdp)) << "of a pod that no policy selects";
  rows_->subject(a_.ifindex, 6, FW_SUBJECT_OPEN, FW_SUBJECT_DENY);
  EXPECT_FALSE(passes(a_, vip, 1001, 53, 0, kUdp));
  EXPECT_EQ(count("policy-egress"), 1u);
  rows_->peer(vip, 10);
  rows_->verdict(6, FW_POL_EGRESS, 10, FW_PORT_ANY, FW_VERDICT_ALLOW, 1);
  EXPECT_TRUE(passes(a_, vip, 1002, 53, 0, kUdp));
}

// egress of A and ingress of B, in one go and with one row
TEST_P(Policy, BothEndsOfANode) {
  rows_->subject(a_.ifindex, 6, FW_SUBJECT_OPEN, FW_SUBJECT_DENY);
  rows_->subject(b_.ifindex, 5, FW_SUBJECT_DENY, FW_SUBJECT_OPEN);
  rows_->ports(net::Protocol::kTcp, 80, 80, 3);
  EXPECT_FALSE(passes(a_, of(b_), 1000, 80));
  rows_->verdict(5, FW_POL_INGRESS, FW_PEER_ANY, 3, FW_VERDICT_ALLOW, 1);
  EXPECT_FALSE(passes(a_, of(b_), 1000, 80));
  EXPECT_EQ(count("policy-egress"), 2u);
  EXPECT_EQ(count("policy-ingress"), 0u);
  rows_->verdict(6, FW_POL_EGRESS, FW_PEER_ANY, 3, FW_VERDICT_ALLOW, 2);
  EXPECT_TRUE(passes(a_, of(b_), 1000, 80));
  const auto track = row({of(a_), 1000}, {of(b_), 80});
  ASSERT_TRUE(track);
  EXPECT_EQ(track->egress_generation, 1u);
  EXPECT_EQ(track->ingress_generation, 1u);
  EXPECT_EQ(track->egress_rule, 2u);
  EXPECT_EQ(track->ingress_rule, 1u);
  EXPECT_EQ(dp().track_new().dump()->size(), 1u);
  EXPECT_TRUE(passes(b_, of(a_), 80, 1000, kSynAck));
}

TEST_P(Policy, ArrivalByEveryDevice) {
  rows_->subject(a_.ifindex, 6, FW_SUBJECT_DENY, FW_SUBJECT_OPEN);
  rows_->peer(of(far_), 10);
  rows_->verdict(6, FW_POL_INGRESS, 10, FW_PORT_ANY, FW_VERDICT_ALLOW, 1);
  for (const bool overlay : {false, true}) {
    const std::uint16_t sport = overlay ? 2000 : 1000;
    EXPECT_TRUE(arrives(of(far_), a_, sport, 80, kSyn, kTcp, overlay));
    EXPECT_FALSE(arrives(world(), a_, sport, 80, kSyn, kTcp, overlay));
    EXPECT_FALSE(arrives(node(2), a_, sport, 80, kSyn, kTcp, overlay)) << "another node";
  }
  const auto by_stack = [&](const net::IpAddr& from, std::uint32_t came_in_by) {
    return run(*cluster_, 1, "pod_out", a_.ifindex, build(packet(from, of(a_), kTcp, 3000, 80)), came_in_by).code != kShot;
  };
  EXPECT_FALSE(by_stack(world(), uplink_)) << "forwarded";
  EXPECT_TRUE(by_stack(of(far_), uplink_));
  EXPECT_TRUE(by_stack(node(1), 0)) << "the kubelet";
  EXPECT_TRUE(by_stack(ip(v6() ? "fd00:10:96::10" : "10.96.0.10"), 0)) << "DNS of the node";
}

TEST_P(Policy, WhoBeganIsRemembered) {
  rows_->subject(a_.ifindex, 6, FW_SUBJECT_DENY, FW_SUBJECT_OPEN);
  EXPECT_FALSE(arrives(of(far_), a_, 80, 1000, kSynAck)) << "an answer to nothing";
  EXPECT_TRUE(passes(a_, of(far_), 1000, 80));
  EXPECT_TRUE(arrives(of(far_), a_, 80, 1000, kSynAck));
  EXPECT_TRUE(arrives(of(far_), a_, 80, 1000, kAck));
  EXPECT_FALSE(arrives(of(far_), a_, 80, 1000, kSyn)) << "a connection of its own, on the same tuple";
  EXPECT_TRUE(arrives(of(far_), a_, 80, 1000, kAck)) << "which does not harm the first";
  EXPECT_FALSE(arrives(of(far_), a_, 81, 1000, kAck));
  EXPECT_FALSE(arrives(world(), a_, 53, 2000, 0, kUdp));
  EXPECT_TRUE(passes(a_, world(), 2000, 53, 0, kUdp));
  EXPECT_TRUE(arrives(world(), a_, 53, 2000, 0, kUdp));
  EXPECT_TRUE(passes(a_, world(), 2000, 9, kSyn, kSctp));
  EXPECT_TRUE(arrives(world(), a_, 9, 2000, kSyn, kSctp));
  EXPECT_FALSE(arrives(world(), a_, 9, 2001, kSyn, kSctp)) << "SCTP has ports";
}

// a change ages every verdict; the connection is judged in its true direction, and is not forgotten when it is refused
TEST_P(Policy, AChangeRejudges) {
  rows_->subject(a_.ifindex, 6, FW_SUBJECT_DENY, FW_SUBJECT_OPEN);
  rows_->subject(b_.ifindex, 5, FW_SUBJECT_OPEN, FW_SUBJECT_DENY);
  rows_->verdict(5, FW_POL_EGRESS, FW_PEER_NONE, FW_PORT_ANY, FW_VERDICT_ALLOW, 1);
  rows_->copy_bank(1);
  EXPECT_TRUE(passes(a_, of(far_), 1000, 80));
  EXPECT_TRUE(arrives(of(far_), a_, 80, 1000, kSynAck));
  EXPECT_TRUE(passes(b_, of(far_), 1000, 80));
  EXPECT_TRUE(arrives(of(far_), b_, 80, 1000, kSynAck));
  rows_->bank(0);
  rows_->verdict(5, FW_POL_EGRESS, FW_PEER_NONE, FW_PORT_ANY, FW_VERDICT_DENY, 2);
  rows_->generation(2);
  EXPECT_TRUE(arrives(of(far_), a_, 80, 1000, kAck)) << "a reply, though A takes no beginnings";
  EXPECT_EQ(row({of(a_), 1000}, {of(far_), 80})->egress_generation, 2u);
  EXPECT_FALSE(arrives(of(far_), b_, 80, 1000, kAck)) << "the reply to what is forbidden by now";
  EXPECT_EQ(count("policy-egress"), 1u) << "named by the connection's direction";
  EXPECT_FALSE(passes(b_, of(far_), 1000, 80, kAck));
  const auto refused = row({of(b_), 1000}, {of(far_), 80});
  ASSERT_TRUE(refused) << "it remembers who began";
  EXPECT_EQ(refused->egress_generation, 0u);
  rows_->copy_bank(0);
  rows_->bank(1);
  rows_->verdict(5, FW_POL_EGRESS, FW_PEER_NONE, FW_PORT_ANY, FW_VERDICT_ALLOW, 3);
  rows_->generation(3);
  EXPECT_TRUE(arrives(of(far_), b_, 80, 1000, kAck)) << "allowed again, from where it stood";
  EXPECT_EQ(row({of(b_), 1000}, {of(far_), 80})->egress_rule, 3u);
  EXPECT_GE(count("rejudged"), 4u);
}

// all tables at once, by one store: a packet is judged by one state or the other
TEST_P(Policy, OneStoreSwitchesAllTables) {
  rows_->subject(a_.ifindex, 6, FW_SUBJECT_OPEN, FW_SUBJECT_DENY);
  rows_->peer(of(b_), 10);
  rows_->cidr(v6() ? "2001:db8::/32" : "198.51.100.0/24", 11);
  rows_->ports(net::Protocol::kTcp, 80, 80, 3);
  rows_->verdict(6, FW_POL_EGRESS, 10, 3, FW_VERDICT_ALLOW, 1);
  rows_->verdict(6, FW_POL_EGRESS, 11, 3, FW_VERDICT_ALLOW, 1);
  rows_->bank(0);  // the other state: other numbers for everything, and other verdicts
  rows_->subject(a_.ifindex, 7, FW_SUBJECT_OPEN, FW_SUBJECT_ALLOW);
  rows_->peer(of(b_), 20);
  rows_->cidr(v6() ? "2001:db8::/32" : "198.51.100.0/24", 21);
  rows_->ports(net::Protocol::kTcp, 80, 80, 9);
  rows_->verdict(7, FW_POL_EGRESS, 20, 9, FW_VERDICT_DENY, 2);
  rows_->verdict(7, FW_POL_EGRESS, 21, 9, FW_VERDICT_DENY, 2);
  std::uint16_t sport = 1000;
  for (const std::uint32_t generation : {1u, 2u, 3u, 4u}) {
    rows_->generation(generation);
    const bool first = (generation & 1) != 0;
    for (const net::IpAddr& to : {of(b_), world()}) {
      EXPECT_EQ(passes(a_, to, ++sport, 80), first) << generation;
      EXPECT_EQ(passes(a_, to, ++sport, 81), !first) << generation;
    }
    EXPECT_EQ(passes(a_, of(far_), ++sport, 80), !first) << "an address of no class";
  }
  rows_->generation(0);
  EXPECT_TRUE(passes(a_, of(far_), ++sport, 80)) << "no agent yet: nothing is judged";
}

TEST_P(Policy, PrefixesAndWhatTheyExcept) {
  rows_->subject(a_.ifindex, 6, FW_SUBJECT_OPEN, FW_SUBJECT_DENY);
  rows_->cidr("0.0.0.0/0", v6() ? 40 : 10);
  rows_->cidr("::/0", v6() ? 10 : 40);
  rows_->cidr(v6() ? "2001:db8::/32" : "198.51.0.0/16", 11);    // excepted
  rows_->cidr(v6() ? "2001:db8:1::/48" : "198.51.9.0/24", 12);  // named within it
  rows_->verdict(6, FW_POL_EGRESS, 10, FW_PORT_ANY, FW_VERDICT_ALLOW, 1);
  rows_->verdict(6, FW_POL_EGRESS, 12, FW_PORT_ANY, FW_VERDICT_ALLOW, 1);
  std::uint16_t sport = 1000;
  EXPECT_TRUE(passes(a_, ip(v6() ? "2001:dead::1" : "203.0.113.1"), ++sport, 80));
  EXPECT_FALSE(passes(a_, world(), ++sport, 80));
  EXPECT_TRUE(passes(a_, ip(v6() ? "2001:db8:1::1" : "198.51.9.1"), ++sport, 80));
  EXPECT_TRUE(passes(a_, of(b_), ++sport, 80)) << "an ipBlock holds for pods too";
  rows_->peer(of(b_), 30);
  EXPECT_FALSE(passes(a_, of(b_), ++sport, 80)) << "the address's own class comes first";
  rows_->bank(0);  // does not have the /48: there it holds what the next wider one has
  rows_->subject(a_.ifindex, 6, FW_SUBJECT_OPEN, FW_SUBJECT_DENY);
  rows_->cidr(v6() ? "2001:db8::/32" : "198.51.0.0/16", 15);
  rows_->cidr(v6() ? "2001:db8:1::/48" : "198.51.9.0/24", 15);
  rows_->verdict(6, FW_POL_EGRESS, 15, FW_PORT_ANY, FW_VERDICT_ALLOW, 1);
  rows_->generation(2);
  EXPECT_TRUE(passes(a_, ip(v6() ? "2001:db8:1::1" : "198.51.9.1"), ++sport, 80));
  EXPECT_TRUE(passes(a_, world(), ++sport, 80));
  EXPECT_FALSE(passes(a_, ip(v6() ? "2001:dead::1" : "203.0.113.1"), ++sport, 80)) << "a bank without /0: an address of no class";
}

// a Service: judged by the backend, with the true client; the answer by the row, before it is translated back
TEST_P(Policy, ThroughAService) {
  const net::IpAddr vip = ip(v6() ? "fd00:10:96::10" : "10.96.0.10");
  for (const auto protocol : {net::Protocol::kTcp, net::Protocol::kUdp})
    cluster_->set_service(1, {vip, 53}, protocol, {{{of(b_), 5353}, 1}});
  cluster_->set_service(1, {vip, 54}, net::Protocol::kUdp, {{{of(a_), 5353}, 1}});
  rows_->subject(a_.ifindex, 6, FW_SUBJECT_DENY, FW_SUBJECT_DENY);
  rows_->subject(b_.ifindex, 5, FW_SUBJECT_DENY, FW_SUBJECT_DENY);
  rows_->peer(of(a_), 10);
  rows_->peer(of(b_), 11);
  for (const auto protocol : {net::Protocol::kTcp, net::Protocol::kUdp}) {
    const std::uint16_t port_class = protocol == net::Protocol::kTcp ? 3 : 4;
    const auto number = static_cast<std::uint8_t>(protocol);
    rows_->ports(protocol, 5353, 5353, port_class);
    EXPECT_FALSE(passes(a_, vip, 1000, 53, kSyn, number));
    rows_->verdict(6, FW_POL_EGRESS, 11, port_class, FW_VERDICT_ALLOW, 1);
    EXPECT_FALSE(passes(a_, vip, 1000, 53, kSyn, number));
    rows_->verdict(5, FW_POL_INGRESS, 10, port_class, FW_VERDICT_ALLOW, 2);
    EXPECT_TRUE(passes(a_, vip, 1000, 53, kSyn, number));
    const Verdict back = send(b_, packet(of(b_), of(a_), number, 5353, 1000, kSynAck));
    EXPECT_EQ(back.code, kRedirect);
    EXPECT_EQ(parse(back.frame)->saddr, vip);
    EXPECT_FALSE(passes(b_, of(a_), 5354, 1000, kSynAck, number));
    // a direct connection on the tuple that the translated one has: it leaves from another port, and is judged by that
    const Verdict direct = send(a_, packet(of(a_), of(b_), number, 1000, 5353));
    EXPECT_EQ(direct.code, kRedirect);
    const std::uint16_t port = parse(direct.frame)->sport;
    EXPECT_NE(port, 1000);
    const Verdict answer = send(b_, packet(of(b_), of(a_), number, 5353, port, kSynAck));
    EXPECT_EQ(answer.code, kRedirect);
    EXPECT_EQ(parse(answer.frame)->dport, 1000);
  }
  EXPECT_TRUE(passes(a_, vip, 1000, 54, 0, kUdp)) << "itself, through a Service";
  EXPECT_TRUE(passes(a_, vip, 5353, 1000, 0, kUdp)) << "and its answer";
}

// a shaped pod's packets pass by pod_out too, translated by then, and perhaps in another generation: judged once all the same
TEST_P(Policy, AShapedPodIsJudgedOnce) {
  rows_->subject(b_.ifindex, 5, FW_SUBJECT_ALLOW, FW_SUBJECT_OPEN);
  const fw_addr addr = datapath::to_abi(of(b_));
  fw_endpoint endpoint = *dp().endpoints().lookup(addr);
  endpoint.flags |= FW_EP_SHAPED;
  ASSERT_TRUE(dp().put_endpoint(addr, endpoint).ok());
  const Verdict sent = send(a_, packet(of(a_), of(b_), kTcp, 1000, 80));
  ASSERT_EQ(sent.code, kRedirect);
  rows_->bank(0);
  rows_->subject(b_.ifindex, 5, FW_SUBJECT_DENY, FW_SUBJECT_OPEN);
  rows_->generation(2);
  const Verdict out = run(*cluster_, 1, "pod_out", b_.ifindex, sent.frame, a_.ifindex, sent.mark);
  EXPECT_EQ(out.code, kPass);
  EXPECT_EQ(out.mark, 0u);
  EXPECT_EQ(run(*cluster_, 1, "pod_out", b_.ifindex, sent.frame, a_.ifindex).code, kShot) << "what was not judged before";
}

TEST_P(Policy, WhoIsNotIsolatedPaysNothing) {
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(passes(a_, of(b_), 1000, 80, kAck));
  EXPECT_TRUE(dp().track_new().dump()->empty());
  // isolation arrives: what was remembered of the straight way does not pass it
  rows_->subject(b_.ifindex, 5, FW_SUBJECT_DENY, FW_SUBJECT_OPEN);
  EXPECT_FALSE(passes(a_, of(b_), 1000, 80, kAck));
  EXPECT_FALSE(arrives(of(far_), b_, 1000, 80, kAck));
  ASSERT_TRUE(dp().set_tracked(b_.ifindex, false).ok());
  EXPECT_TRUE(passes(a_, of(b_), 1000, 80, kAck));
  EXPECT_TRUE(dp().track_new().dump()->empty());
}

}  // namespace
}  // namespace fairway::test
