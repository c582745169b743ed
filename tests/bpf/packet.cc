#include "packet.h"

#include <bpf/bpf.h>
#include <linux/bpf.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace fairway::test {
namespace {

constexpr std::uint8_t kTcp = 6, kUdp = 17, kIcmp4 = 1, kIcmp6 = 58, kFragment = 44;

void put16(Bytes& out, std::uint16_t value) {
  out.push_back(static_cast<std::uint8_t>(value >> 8));
  out.push_back(static_cast<std::uint8_t>(value));
}
void put32(Bytes& out, std::uint32_t value) {
  put16(out, static_cast<std::uint16_t>(value >> 16));
  put16(out, static_cast<std::uint16_t>(value));
}
template <typename Range>
void put(Bytes& out, const Range& bytes) {
  out.insert(out.end(), bytes.begin(), bytes.end());
}
std::uint16_t get16(const Bytes& in, std::size_t at) { return static_cast<std::uint16_t>(in.at(at) << 8 | in.at(at + 1)); }
std::uint32_t get32(const Bytes& in, std::size_t at) { return static_cast<std::uint32_t>(get16(in, at)) << 16 | get16(in, at + 2); }

std::uint32_t sum(const std::uint8_t* data, std::size_t size, std::uint32_t start = 0) {
  for (std::size_t i = 0; i + 1 < size; i += 2) start += static_cast<std::uint32_t>(data[i] << 8 | data[i + 1]);
  if (size % 2 == 1) start += static_cast<std::uint32_t>(data[size - 1] << 8);
  return start;
}
std::uint16_t fold(std::uint32_t value) {
  while (value >> 16) value = (value & 0xffff) + (value >> 16);
  return static_cast<std::uint16_t>(~value);
}
std::uint32_t pseudo(const net::IpAddr& saddr, const net::IpAddr& daddr, std::uint8_t protocol, std::size_t size) {
  std::uint32_t total = protocol + static_cast<std::uint32_t>(size);
  for (const net::IpAddr& addr : {saddr, daddr})
    total = addr.is_v4() ? sum(addr.v4_bytes().data(), 4, total) : sum(addr.bytes().data(), 16, total);
  return total;
}
bool has_pseudo(std::uint8_t protocol) { return protocol != kIcmp4; }

// Offset of the checksum in the transport's header; none for other protocols.
std::optional<std::size_t> checksum_offset(std::uint8_t protocol) {
  if (protocol == kTcp) return 16;
  if (protocol == kUdp) return 6;
  if (protocol == kIcmp4 || protocol == kIcmp6) return 2;
  return std::nullopt;
}

Bytes build_transport(const PacketSpec& spec) {
  Bytes l4;
  if (spec.protocol == kIcmp4 || spec.protocol == kIcmp6) {
    l4 = {spec.icmp_type, spec.icmp_code, 0, 0};
    put16(l4, spec.sport);
    put16(l4, spec.dport);
  } else {
    put16(l4, spec.sport);
    put16(l4, spec.dport);
  }
  if (spec.protocol == kUdp) {
    put16(l4, static_cast<std::uint16_t>(8 + spec.payload.size()));
    put16(l4, 0);
  } else if (spec.protocol == kTcp) {
    put32(l4, spec.tcp_seq);
    put32(l4, spec.tcp_ack);
    put16(l4, static_cast<std::uint16_t>(0x5000 | spec.tcp_flags));
    put16(l4, 65535);
    put32(l4, 0);
  }
  put(l4, spec.payload);
  if (const auto at = checksum_offset(spec.protocol); at && !(spec.protocol == kUdp && spec.udp_zero_checksum)) {
    const std::uint32_t start = has_pseudo(spec.protocol) ? pseudo(spec.saddr, spec.daddr, spec.protocol, l4.size()) : 0;
    std::uint16_t value = fold(sum(l4.data(), l4.size(), start));
    if (value == 0 && spec.protocol == kUdp) value = 0xffff;
    l4[*at] = static_cast<std::uint8_t>(value >> 8);
    l4[*at + 1] = static_cast<std::uint8_t>(value);
  }
  return l4;
}

Bytes build_ipv4(const PacketSpec& spec, const Bytes& l4) {
  Bytes ip{0x45, 0};
  put16(ip, static_cast<std::uint16_t>(20 + l4.size()));
  put16(ip, 0x1234);
  put16(ip, spec.fragment_word);
  ip.push_back(spec.hops);
  ip.push_back(spec.protocol);
  put16(ip, 0);
  put(ip, spec.saddr.v4_bytes());
  put(ip, spec.daddr.v4_bytes());
  const std::uint16_t value = fold(sum(ip.data(), ip.size()));
  ip[10] = static_cast<std::uint8_t>(value >> 8);
  ip[11] = static_cast<std::uint8_t>(value);
  return ip;
}

Bytes build_ipv6(const PacketSpec& spec, const Bytes& l4) {
  std::vector<Bytes> headers = spec.extensions;
  std::vector<std::uint8_t> types = spec.extension_types;
  if (spec.fragment_word != 0) {
    Bytes fragment{0, 0};
    put16(fragment, spec.fragment_word);
    put32(fragment, 0x5678);
    headers.push_back(fragment);
    types.push_back(kFragment);
  }
  Bytes chain;
  for (std::size_t i = 0; i < headers.size(); ++i) {
    headers[i][0] = i + 1 < types.size() ? types[i + 1] : spec.protocol;
    put(chain, headers[i]);
  }
  Bytes ip{0x60, 0, 0, 0};
  put16(ip, static_cast<std::uint16_t>(chain.size() + l4.size()));
  ip.push_back(types.empty() ? spec.protocol : types[0]);
  ip.push_back(spec.hops);
  put(ip, spec.saddr.bytes());
  put(ip, spec.daddr.bytes());
  put(ip, chain);
  return ip;
}

}  // namespace

Bytes build(const PacketSpec& spec) {
  const bool v4 = spec.saddr.is_v4();
  const bool later = v4 ? (spec.fragment_word & 0x1fff) != 0 : (spec.fragment_word & 0xfff8) != 0;
  const Bytes l4 = later ? spec.payload : build_transport(spec);
  Bytes frame;
  put(frame, spec.dmac.bytes);
  put(frame, spec.smac.bytes);
  put16(frame, v4 ? 0x0800 : 0x86dd);
  put(frame, v4 ? build_ipv4(spec, l4) : build_ipv6(spec, l4));
  put(frame, l4);
  return frame;
}

Bytes build_arp(net::MacAddr smac, std::uint16_t operation, net::MacAddr sender_mac, net::IpAddr sender, net::IpAddr target) {
  Bytes frame(6, 0xff);
  put(frame, smac.bytes);
  put16(frame, 0x0806);
  put16(frame, 1);
  put16(frame, 0x0800);
  frame.push_back(6);
  frame.push_back(4);
  put16(frame, operation);
  put(frame, sender_mac.bytes);
  put(frame, sender.v4_bytes());
  put(frame, net::MacAddr{}.bytes);
  put(frame, target.v4_bytes());
  return frame;
}

std::optional<Seen> parse(const Bytes& frame) {
  try {
    Seen seen;
    std::copy_n(frame.begin(), 6, seen.dmac.bytes.begin());
    std::copy_n(frame.begin() + 6, 6, seen.smac.bytes.begin());
    std::size_t size = 0;
    bool header_right = true;
    if (get16(frame, 12) == 0x0800) {
      const std::size_t header = (frame.at(14) & 0xf) * 4u;
      seen.hops = frame.at(22);
      seen.protocol = frame.at(23);
      seen.saddr = net::IpAddr::v4(get32(frame, 26));
      seen.daddr = net::IpAddr::v4(get32(frame, 30));
      seen.l4_offset = 14 + header;
      size = get16(frame, 16) - header;
      header_right = fold(sum(frame.data() + 14, header)) == 0;
    } else if (get16(frame, 12) == 0x86dd) {
      seen.hops = frame.at(21);
      seen.protocol = frame.at(20);
      seen.saddr = net::IpAddr::from_bytes(std::span<const std::uint8_t, 16>(frame.data() + 22, 16));
      seen.daddr = net::IpAddr::from_bytes(std::span<const std::uint8_t, 16>(frame.data() + 38, 16));
      seen.l4_offset = 54;
      size = get16(frame, 18);
    } else {
      return std::nullopt;
    }
    const std::size_t l4 = seen.l4_offset;
    if (frame.size() < l4 + size || size < 4) return std::nullopt;
    const auto at = checksum_offset(seen.protocol);
    const std::uint32_t start = has_pseudo(seen.protocol) ? pseudo(seen.saddr, seen.daddr, seen.protocol, size) : 0;
    seen.checksums_right = header_right && (!at || fold(sum(frame.data() + l4, size, start)) == 0);
    if (seen.protocol == kIcmp4 || seen.protocol == kIcmp6) {
      seen.icmp_type = frame.at(l4);
      seen.icmp_code = frame.at(l4 + 1);
      seen.sport = get16(frame, l4 + 4);
      seen.icmp_low = get16(frame, l4 + 6);
      return seen;
    }
    seen.sport = get16(frame, l4);
    seen.dport = get16(frame, l4 + 2);
    if (seen.protocol == kTcp) {
      seen.tcp_seq = get32(frame, l4 + 4);
      seen.tcp_ack = get32(frame, l4 + 8);
      seen.tcp_flags = frame.at(l4 + 13);
    }
    return seen;
  } catch (const std::out_of_range&) { return std::nullopt; }
}

Verdict run(Cluster& cluster, int node, const std::string& program, std::uint32_t ifindex, const Bytes& frame, std::uint32_t came_in_by,
            std::uint32_t mark) {
  const auto fd = cluster.datapath(node).program_fd(program);
  if (!fd.ok()) throw std::runtime_error(fd.error().message);
  Verdict verdict;
  verdict.frame.resize(frame.size() + 256);
  __sk_buff ctx{};
  ctx.ifindex = ifindex;
  ctx.ingress_ifindex = came_in_by;
  ctx.mark = mark;
  __sk_buff after{};
  LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame.data(), .data_out = verdict.frame.data(),
              .data_size_in = static_cast<__u32>(frame.size()), .data_size_out = static_cast<__u32>(verdict.frame.size()), .ctx_in = &ctx,
              .ctx_out = &after, .ctx_size_in = sizeof(ctx), .ctx_size_out = sizeof(after));
  int rc = 0;
  cluster.in(cluster.node_netns(node), [&] { rc = bpf_prog_test_run_opts(*fd, &opts); });
  if (rc < 0) throw std::runtime_error("BPF_PROG_TEST_RUN of " + program + ": " + std::strerror(-rc));
  verdict.code = static_cast<int>(opts.retval);
  verdict.mark = after.mark;
  verdict.frame.resize(opts.data_size_out);
  return verdict;
}

}  // namespace fairway::test
