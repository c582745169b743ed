// Connections of isolated pods by BPF_PROG_TEST_RUN: rows born, promoted, expired and seeded; packets without ports.
#include <gtest/gtest.h>
#include <time.h>

#include <chrono>
#include <thread>

#include "policy_fixture.h"

namespace fairway::test {
namespace {

std::uint32_t now_s() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint32_t>(now.tv_sec);
}

class Track : public PolicyTest {
 protected:
  // A begins, and nobody may begin to it.
  void isolate_a() { rows_->subject(a_.ifindex, 6, FW_SUBJECT_DENY, FW_SUBJECT_OPEN); }
  static fw_track_key key(const net::SocketAddr& from, const net::SocketAddr& to, std::uint8_t protocol = kTcp) {
    return datapath::track_key(from, to, protocol).key;
  }
  PacketSpec icmp(const net::IpAddr& from, const net::IpAddr& to, std::uint8_t type, std::uint16_t word = 0, Bytes payload = {}) const {
    PacketSpec spec = packet(from, to, v6() ? 58 : 1, word, 0);
    spec.icmp_type = type;
    spec.payload = std::move(payload);
    return spec;
  }
  // The error of `from` about a packet that `to` sent.
  PacketSpec error(const net::IpAddr& from, const net::IpAddr& to, const PacketSpec& about) const {
    const Bytes frame = build(about);
    return icmp(from, to, v6() ? 1 : 3, 0, Bytes(frame.begin() + 14, frame.end()));
  }
  // As if the last packet that its row noted had come so much earlier.
  void age(const fw_track_key& of, std::uint32_t seconds) {
    fw_track row = *dp().track_new().lookup(of);
    row.last_seen_s -= seconds;
    ASSERT_TRUE(dp().track_new().update(of, row).ok());
  }
  bool comes(const PacketSpec& spec) { return run(*cluster_, 1, "uplink_in", uplink_, build(spec)).code != kShot; }
  bool goes(const Pod& from, const PacketSpec& spec) { return send(from, spec).code != kShot; }
};
INSTANTIATE_TEST_SUITE_P(Families, Track, ::testing::Bool(), [](const auto& family) { return family.param ? "v6" : "v4"; });

// Short ones live in the LRU; a later second's packet of the one who began moves the row to where nothing half-open displaces it
TEST_P(Track, PromotedOnceItHasLived) {
  isolate_a();
  const fw_track_key tcp = key({of(a_), 1000}, {world(), 80});
  EXPECT_TRUE(passes(a_, world(), 1000, 80));
  age(tcp, 1);
  EXPECT_TRUE(passes(a_, world(), 1000, 80, kAck));
  EXPECT_FALSE(dp().track().lookup(tcp).ok()) << "nobody has answered";
  EXPECT_TRUE(arrives(world(), a_, 80, 1000, kSynAck));
  EXPECT_EQ(count("track-new"), 1u);
  for (std::uint16_t port = 1100; port < 1200; ++port) {  // until a second does not end in between
    const fw_track_key young = key({of(a_), port}, {world(), 80});
    EXPECT_TRUE(passes(a_, world(), port, 80));
    EXPECT_TRUE(arrives(world(), a_, 80, port, kSynAck));
    fw_track row = *dp().track_new().lookup(young);
    row.last_seen_s = now_s();
    ASSERT_TRUE(dp().track_new().update(young, row).ok());
    EXPECT_TRUE(passes(a_, world(), port, 80, kAck));
    if (now_s() != row.last_seen_s) continue;
    EXPECT_FALSE(dp().track().lookup(young).ok()) << "too young";
    break;
  }
  age(tcp, 1);
  const std::uint32_t aged = dp().track_new().lookup(tcp)->last_seen_s;
  EXPECT_TRUE(arrives(world(), a_, 80, 1000, kAck));
  const std::uint32_t seen = dp().track_new().lookup(tcp)->last_seen_s;
  EXPECT_TRUE(seen == aged || seen >= aged + 2) << "left to the one who began, who has a second for it";
  EXPECT_FALSE(dp().track().lookup(tcp).ok());
  age(tcp, 1);
  EXPECT_TRUE(passes(a_, world(), 1000, 80, kAck));
  EXPECT_FALSE(dp().track_new().lookup(tcp).ok());
  ASSERT_TRUE(dp().track().lookup(tcp).ok());
  EXPECT_EQ(dp().track().lookup(tcp)->flags & (FW_TRACK_ESTABLISHED | FW_TRACK_REPLIED), FW_TRACK_ESTABLISHED | FW_TRACK_REPLIED);
  EXPECT_GE(count("track-promoted"), 1u);
  // a thousand half-open ones later it still knows who began
  for (std::uint16_t port = 2000; port < 4000; ++port) EXPECT_TRUE(passes(a_, world(), port, 80));
  EXPECT_TRUE(arrives(world(), a_, 80, 1000, kAck));
  // closed by one side, then by both, then by force; and opened anew
  const auto flags = [&] { return dp().track().lookup(tcp)->flags & (FW_TRACK_LOW_FIN | FW_TRACK_HIGH_FIN | FW_TRACK_RST); };
  EXPECT_TRUE(passes(a_, world(), 1000, 80, kFinAck));
  EXPECT_TRUE(flags() == FW_TRACK_LOW_FIN || flags() == FW_TRACK_HIGH_FIN);
  EXPECT_TRUE(arrives(world(), a_, 80, 1000, kFinAck));
  EXPECT_EQ(flags(), FW_TRACK_LOW_FIN | FW_TRACK_HIGH_FIN);
  EXPECT_TRUE(arrives(world(), a_, 80, 1000, kRst));
  EXPECT_EQ(flags(), FW_TRACK_LOW_FIN | FW_TRACK_HIGH_FIN | FW_TRACK_RST);
  EXPECT_TRUE(passes(a_, world(), 1000, 80));
  EXPECT_EQ(flags(), 0u);
}

// The packets of a connection pass for a moment without being judged, once both ends have spoken and while nothing changes.
// (A machine may be so busy that the moment is over between two packets: so it is tried again.)
TEST_P(Track, APassIsForAMoment) {
  isolate_a();
  const fw_track_key tcp = key({of(a_), 1000}, {of(far_), 80});
  EXPECT_TRUE(passes(a_, of(far_), 1000, 80));
  EXPECT_TRUE(arrives(of(far_), a_, 80, 1000, kSynAck));
  fw_track row = *dp().track_new().lookup(tcp);
  const auto after = [&](auto look) {  // of a packet that was judged, where the connection's row is gone
    EXPECT_TRUE(dp().track_new().update(tcp, row).ok());
    EXPECT_TRUE(arrives(of(far_), a_, 80, 1000, kAck));
    EXPECT_TRUE(dp().track_new().remove(tcp).ok());
    return look();
  };
  bool passed = false, unseen = false;
  for (int i = 0; i < 100 && !passed; ++i) passed = after([&] { return arrives(of(far_), a_, 80, 1000, kAck); });
  EXPECT_TRUE(passed);
  for (int i = 0; i < 300 && !unseen; ++i)
    unseen = after([&] {
      EXPECT_TRUE(passes(a_, of(far_), 1000, 80, kAck));  // the way is found again where that was long ago
      (void)dp().track_new().remove(tcp);
      return passes(a_, of(far_), 1000, 80, kAck) && !dp().track_new().lookup(tcp).ok();
    });
  EXPECT_TRUE(unseen) << "the other direction's too";
  for (int i = 0; i < 5; ++i) {
    EXPECT_FALSE(after([&] { return arrives(of(far_), a_, 80, 1000, kFinAck); })) << "what its row has to know is judged by it";
    EXPECT_FALSE(after([&] { return arrives(of(far_), a_, 80, 1000, kSyn); }));
    EXPECT_FALSE(after([&] { return arrives(of(far_), a_, 80, 1000, kRst); }));
    EXPECT_FALSE(after([&] { return arrives(of(far_), a_, 80, 1001, kAck); })) << "another connection";
    EXPECT_FALSE(after([&] { return arrives(of(far_), a_, 80, 1000, 0, kUdp); }));
    EXPECT_FALSE(after([&] { return arrives(of(b_), a_, 80, 1000, kAck); }));
    EXPECT_FALSE(after([&] {
      PacketSpec fragment = packet(of(far_), of(a_), kTcp, 80, 1000, kAck);
      fragment.fragment_word = v6() ? 1 : 0x2000;
      return comes(fragment);
    }));
  }
  EXPECT_FALSE(after([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(120));
    return arrives(of(far_), a_, 80, 1000, kAck);
  })) << "its moment is over";
  // a change of policy ends it at once
  rows_->copy_bank(1);
  rows_->bank(0);
  rows_->subject(a_.ifindex, 6, FW_SUBJECT_DENY, FW_SUBJECT_DENY);
  std::uint32_t generation = 1;
  bool held = false;
  for (int i = 0; i < 300 && !held; ++i) {
    rows_->generation(generation += 2);
    EXPECT_TRUE(dp().track_new().update(tcp, row).ok());
    EXPECT_TRUE(arrives(of(far_), a_, 80, 1000, kAck));  // judged anew
    row = *dp().track_new().lookup(tcp);
    EXPECT_FALSE(after([&] {
      held = arrives(of(far_), a_, 80, 1000, kAck);
      rows_->generation(generation + 1);
      return arrives(of(far_), a_, 80, 1000, kAck);
    }));
  }
  EXPECT_TRUE(held) << "a pass until then";
}

// ...and its row still learns, now and then, that it lives
TEST_P(Track, APassHidesNoLife) {
  isolate_a();
  const fw_track_key tcp = key({of(a_), 1000}, {of(far_), 80});
  EXPECT_TRUE(passes(a_, of(far_), 1000, 80));
  EXPECT_TRUE(arrives(of(far_), a_, 80, 1000, kSynAck));
  fw_track row = *dp().track_new().lookup(tcp);
  row.last_seen_s -= 5;
  ASSERT_TRUE(dp().track_new().update(tcp, row).ok());
  for (int i = 0; i < 30; ++i) {
    EXPECT_TRUE(arrives(of(far_), a_, 80, 1000, kAck));
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_GE(dp().track_new().lookup(tcp)->last_seen_s, now_s() - 1);
}

TEST_P(Track, AFullTableDropsNothing) {
  isolate_a();
  for (std::uint32_t i = 0; i < dp().track().capacity(); ++i) {
    fw_track_key filler{};
    filler.low.words[3] = i;
    ASSERT_TRUE(dp().track().update(filler, fw_track{}).ok());
  }
  EXPECT_TRUE(passes(a_, world(), 1000, 80));
  EXPECT_TRUE(arrives(world(), a_, 80, 1000, kSynAck));
  for (int i = 0; i < 3; ++i) {
    age(key({of(a_), 1000}, {world(), 80}), 1);
    EXPECT_TRUE(passes(a_, world(), 1000, 80, kAck));
    EXPECT_TRUE(arrives(world(), a_, 80, 1000, kAck));
    EXPECT_GE(dp().track_new().lookup(key({of(a_), 1000}, {world(), 80}))->last_seen_s + 1, now_s()) << "it lives all the same";
  }
  EXPECT_EQ(count("track-full"), 3u);
  EXPECT_TRUE(dp().track_new().lookup(key({of(a_), 1000}, {world(), 80})).ok()) << "it stays in the LRU";
}

TEST_P(Track, ExpiredOnLookup) {
  isolate_a();
  EXPECT_TRUE(passes(a_, world(), 1000, 53, 0, kUdp));
  const fw_track_key udp = key({of(a_), 1000}, {world(), 53}, kUdp);
  fw_track row = *dp().track_new().lookup(udp);
  row.last_seen_s = now_s() - FW_TIMEOUT_UDP_NEW_S - 2;
  ASSERT_TRUE(dp().track_new().update(udp, row).ok());
  EXPECT_FALSE(arrives(world(), a_, 53, 1000, 0, kUdp)) << "too late: a beginning of its own";
  EXPECT_FALSE(dp().track_new().lookup(udp).ok());
}

// running connections of a pod that becomes isolated, as the agent finds them in its namespace
TEST_P(Track, SeededRowsKnowWhoBegan) {
  isolate_a();
  const auto out = datapath::track_key({of(a_), 1000}, {world(), 80}, kTcp), in = datapath::track_key({world(), 2000}, {of(a_), 80}, kTcp);
  ASSERT_TRUE(dp().track().update(out.key, datapath::seeded_row(out, now_s())).ok());
  ASSERT_TRUE(dp().track().update(in.key, datapath::seeded_row(in, now_s())).ok());
  EXPECT_TRUE(arrives(world(), a_, 80, 1000, kAck));
  EXPECT_TRUE(passes(a_, world(), 1000, 80, kAck));
  EXPECT_FALSE(arrives(world(), a_, 2000, 80, kAck)) << "what A would not be asked for now";
  EXPECT_FALSE(passes(a_, world(), 80, 2000, kAck));
}

TEST_P(Track, EchoAndOtherMessages) {
  isolate_a();
  const std::uint8_t request = v6() ? 128 : 8, reply = v6() ? 129 : 0;
  EXPECT_FALSE(comes(icmp(world(), of(a_), request, 7)));
  EXPECT_FALSE(comes(icmp(world(), of(a_), reply, 7)));
  EXPECT_TRUE(goes(a_, icmp(of(a_), world(), request, 7)));
  EXPECT_TRUE(comes(icmp(world(), of(a_), reply, 7)));
  EXPECT_FALSE(comes(icmp(world(), of(a_), reply, 8))) << "another ping's";
  EXPECT_FALSE(comes(icmp(world(), of(a_), request, 7)));
}

// With the identifier 0 both ports are 0, of a request as of its reply, and of other messages.
TEST_P(Track, AnEchoWithTheIdentifierZero) {
  isolate_a();
  const std::uint8_t request = v6() ? 128 : 8, reply = v6() ? 129 : 0, other = v6() ? 200 : 13;
  EXPECT_FALSE(comes(icmp(world(), of(a_), reply)));
  EXPECT_TRUE(goes(a_, icmp(of(a_), world(), request)));
  EXPECT_TRUE(comes(icmp(world(), of(a_), reply)));
  EXPECT_FALSE(comes(icmp(world(), of(a_), request))) << "a request of the other side is no reply";
  EXPECT_FALSE(comes(icmp(world(), of(a_), other)));
  EXPECT_TRUE(comes(error(world(), of(a_), icmp(of(a_), world(), request))));
  const auto part = [&](std::uint8_t type, bool later) {
    PacketSpec spec = icmp(world(), of(a_), type, 0, Bytes(24));
    spec.fragment_word = later ? (v6() ? 8 : 1) : (v6() ? 1 : 0x2000);
    return spec;
  };
  for (const bool later : {false, true}) EXPECT_TRUE(comes(part(reply, later))) << later;
  for (const bool later : {false, true}) EXPECT_FALSE(comes(part(request, later))) << later;
}

// The receiver cuts off what lies behind the packet's own length: what is read there is not the header that it will see.
TEST_P(Track, AHeaderBehindThePacketsEndIsNone) {
  Bytes frame = build(packet(of(a_), world(), kTcp, 1000, 80));
  for (std::size_t i = 0; i < 6; ++i) frame[i] = a_.host_mac.bytes[i], frame[i + 6] = a_.mac.bytes[i];
  EXPECT_NE(run(*cluster_, 1, "pod_in", a_.ifindex, frame).code, kShot);
  const std::size_t length = v6() ? 18 : 16;
  frame[length] = 0;
  frame[length + 1] = v6() ? 8 : 28;
  const auto before = count("malformed");
  EXPECT_EQ(run(*cluster_, 1, "pod_in", a_.ifindex, frame).code, kShot);
  EXPECT_EQ(count("malformed"), before + 1);
}

TEST_P(Track, ErrorsPassWithTheirConnection) {
  isolate_a();
  const PacketSpec asked = packet(of(a_), world(), kUdp, 1000, 53), other = packet(of(a_), world(), kUdp, 1001, 53);
  const net::IpAddr router = ip(v6() ? "2001:db8:ffff::1" : "203.0.113.1");
  EXPECT_FALSE(comes(error(world(), of(a_), asked))) << "about nothing";
  EXPECT_TRUE(goes(a_, asked));
  EXPECT_TRUE(comes(error(world(), of(a_), asked)));
  EXPECT_TRUE(comes(error(router, of(a_), asked))) << "of a router between";
  EXPECT_FALSE(comes(error(of(far_), of(a_), asked))) << "of a pod that was not asked";
  EXPECT_FALSE(comes(error(world(), of(a_), other)));
  EXPECT_FALSE(comes(error(world(), of(a_), packet(of(b_), world(), kUdp, 1000, 53)))) << "about another's packet";
  EXPECT_TRUE(dp().track_new().dump()->size() == 1u) << "an error leaves no row";
  // A's own error about what it was let to receive, where A may begin nothing
  rows_->subject(a_.ifindex, 6, FW_SUBJECT_ALLOW, FW_SUBJECT_DENY);
  const PacketSpec received = packet(of(far_), of(a_), kUdp, 2000, 9);
  EXPECT_FALSE(goes(a_, error(of(a_), of(far_), received)));
  EXPECT_TRUE(comes(received));
  EXPECT_TRUE(goes(a_, error(of(a_), of(far_), received)));
  EXPECT_FALSE(goes(a_, error(of(a_), of(b_), received)));
  // refused by now: no error about it either
  rows_->copy_bank(1);
  rows_->bank(0);
  rows_->subject(a_.ifindex, 6, FW_SUBJECT_DENY, FW_SUBJECT_DENY);
  rows_->generation(2);
  EXPECT_FALSE(goes(a_, error(of(a_), of(far_), received)));
}

TEST_P(Track, FragmentsBelongToTheirHead) {
  isolate_a();
  rows_->ports(net::Protocol::kUdp, 53, 53, 4);
  rows_->verdict(6, FW_POL_INGRESS, FW_PEER_ANY, 4, FW_VERDICT_ALLOW, 1);
  const auto fragment = [&](std::uint16_t port, std::uint16_t word) {
    PacketSpec spec = packet(world(), of(a_), kUdp, 1000, port);
    spec.fragment_word = word;
    return spec;
  };
  const std::uint16_t first = v6() ? 1 : 0x2000, later = v6() ? 185 << 3 : 185;
  EXPECT_FALSE(comes(fragment(53, later)));
  EXPECT_EQ(count("fragment"), 1u) << "its head was not seen";
  EXPECT_FALSE(comes(fragment(54, first)));
  EXPECT_FALSE(comes(fragment(54, later)));
  EXPECT_TRUE(comes(fragment(53, first)));
  EXPECT_TRUE(comes(fragment(53, later)));
}

TEST_P(Track, ProtocolsWithoutPorts) {
  rows_->subject(a_.ifindex, 6, FW_SUBJECT_DENY, FW_SUBJECT_DENY);
  rows_->ports(net::Protocol::kTcp, 0, 65535, 3);
  rows_->verdict(6, FW_POL_EGRESS, FW_PEER_NONE, 3, FW_VERDICT_ALLOW, 1);
  EXPECT_TRUE(passes(a_, world(), 1000, 80));
  EXPECT_FALSE(goes(a_, packet(of(a_), world(), kGre, 0, 0))) << "all ports of TCP are no GRE";
  rows_->verdict(6, FW_POL_EGRESS, FW_PEER_NONE, FW_PORT_ANY, FW_VERDICT_ALLOW, 1);
  EXPECT_TRUE(goes(a_, packet(of(a_), world(), kGre, 0, 0)));
  EXPECT_TRUE(comes(packet(world(), of(a_), kGre, 0, 0))) << "an answer";
  EXPECT_FALSE(comes(packet(of(far_), of(a_), kGre, 0, 0)));
  if (!v6()) return;
  // a transport behind extension headers is found; what cannot be walked is dropped by name
  PacketSpec spec = packet(world(), of(a_), kTcp, 1000, 81);
  spec.extension_types = {60, 0};
  spec.extensions.assign(2, Bytes{0, 0, 1, 4, 0, 0, 0, 0});
  EXPECT_FALSE(comes(spec));
  rows_->ports(net::Protocol::kTcp, 81, 81, 5);
  rows_->verdict(6, FW_POL_INGRESS, FW_PEER_NONE, 5, FW_VERDICT_ALLOW, 1);
  EXPECT_TRUE(comes(spec));
  spec.extension_types.assign(6, 60);
  spec.extensions.assign(6, Bytes{0, 0, 1, 4, 0, 0, 0, 0});
  EXPECT_FALSE(comes(spec));
  EXPECT_EQ(count("malformed"), 1u);
}

}  // namespace
}  // namespace fairway::test
