// Frames for BPF_PROG_TEST_RUN: built field by field, with right checksums, and read back.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cluster.h"
#include "net/ip.h"

namespace fairway::test {

using Bytes = std::vector<std::uint8_t>;

struct PacketSpec {
  net::MacAddr smac, dmac;
  net::IpAddr saddr, daddr;  // decide the family
  std::uint8_t protocol = 17;
  std::uint16_t sport = 1000, dport = 2000;
  std::uint8_t hops = 64;
  std::uint8_t tcp_flags = 0x02;
  std::uint32_t tcp_seq = 1, tcp_ack = 0;
  Bytes payload{'f', 'a', 'i', 'r', 'w', 'a', 'y', '!'};
  std::uint8_t icmp_type = 0, icmp_code = 0;  // ICMP of the family: `sport` is the first, `dport` the second half of its word
  std::uint16_t fragment_word = 0;            // IPv4: flags and offset; IPv6: a fragment header if not 0 (offset << 3 | more)
  std::vector<Bytes> extensions;              // IPv6, each with its next-header byte left to the builder
  std::vector<std::uint8_t> extension_types;
  bool udp_zero_checksum = false;
};

Bytes build(const PacketSpec& spec);
// Ethernet and ARP.
Bytes build_arp(net::MacAddr smac, std::uint16_t operation, net::MacAddr sender_mac, net::IpAddr sender, net::IpAddr target);

// What a frame says, for comparison.
struct Seen {
  net::MacAddr smac, dmac;
  net::IpAddr saddr, daddr;
  std::uint8_t protocol = 0, hops = 0, tcp_flags = 0, icmp_type = 0, icmp_code = 0;
  std::uint16_t sport = 0, dport = 0, icmp_low = 0;
  std::uint32_t tcp_seq = 0, tcp_ack = 0;
  std::size_t l4_offset = 0;
  bool checksums_right = false;  // IPv4's header and the transport's
};
std::optional<Seen> parse(const Bytes& frame);

struct Verdict {
  int code = 0;
  Bytes frame;
  std::uint32_t mark = 0;
};
constexpr int kPass = -1;  // TC_ACT_UNSPEC
constexpr int kShot = 2;
constexpr int kRedirect = 7;

// Runs the node's loaded program on a frame as if it came on the device. `came_in_by`: the device by which the node received what
// it now sends, 0 for what it sends itself. `mark`: the packet's.
Verdict run(Cluster& cluster, int node, const std::string& program, std::uint32_t ifindex, const Bytes& frame, std::uint32_t came_in_by = 0,
            std::uint32_t mark = 0);

}  // namespace fairway::test
