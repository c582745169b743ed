/* SPDX-License-Identifier: GPL-2.0 */
/* Answers made in the program: a packet becomes the TCP RST or the ICMP error that its sender is to get.
 *
 *   pod --SYN--> [pod_in] no endpoint
 *   pod <--RST-- [pod_in] the same buffer, turned round
 *
 * Checksums are written in full. A buffer marked CHECKSUM_PARTIAL stays so, and its receiver, which is on this machine,
 * does not look at them: answers never leave it. */
#ifndef FAIRWAY_LIB_ANSWER_H
#define FAIRWAY_LIB_ANSWER_H

#include "lib/packet.h"

enum fw_answer { FW_ANSWER_PORT_UNREACHABLE = 0, FW_ANSWER_TOO_BIG = 1, FW_ANSWER_EXPIRED = 2 };

/* Where the sender is: behind the device the packet came from, or the node itself, which sent into this device; into
 * lo, which takes nothing back (FW_SENDER_SELF); or beyond the uplink, where no answer of ours goes. */
enum fw_sender { FW_SENDER_POD = 0, FW_SENDER_HOST = 1, FW_SENDER_SELF = 2, FW_SENDER_WORLD = 3 };

static __always_inline __u16 fw_csum_fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)~sum;
}

/* Sum of the pseudo header. IPv4's mapped form adds 0xffff twice, which is zero in this arithmetic. */
static __always_inline __u32 fw_pseudo_sum(const struct fw_addr *saddr, const struct fw_addr *daddr, __u8 protocol,
					   __u16 bytes)
{
	struct fw_addr pair[2] = {*saddr, *daddr};

	return bpf_csum_diff(NULL, 0, (__be32 *)pair, sizeof(pair), (__u32)bpf_htons(protocol) + bpf_htons(bytes));
}

/* MACs swapped and a fresh IP header: the frame is cut or grown to `payload` bytes behind it. */
static __always_inline int fw_answer_headers(struct __sk_buff *skb, const struct fw_addr *from,
					     const struct fw_addr *to, bool v6, __u8 protocol, __u16 payload)
{
	__u32 l3 = v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
	__u8 macs[12], swapped[12];

	if (bpf_skb_change_tail(skb, FW_ETH_HLEN + l3 + payload, 0) || bpf_skb_load_bytes(skb, 0, macs, 12))
		return FW_DROP_REWRITE;
	__builtin_memcpy(swapped, macs + 6, 6);
	__builtin_memcpy(swapped + 6, macs, 6);
	if (bpf_skb_store_bytes(skb, 0, swapped, 12, 0))
		return FW_DROP_REWRITE;
	if (v6) {
		struct ipv6hdr ip = {
			.version = 6, .payload_len = bpf_htons(payload), .nexthdr = protocol, .hop_limit = 64};

		__builtin_memcpy(&ip.saddr, from, 16);
		__builtin_memcpy(&ip.daddr, to, 16);
		return bpf_skb_store_bytes(skb, FW_ETH_HLEN, &ip, sizeof(ip), 0) ? FW_DROP_REWRITE : 0;
	}
	struct iphdr ip = {
		.version = 4, .ihl = 5, .tot_len = bpf_htons(sizeof(ip) + payload), .ttl = 64, .protocol = protocol};

	ip.saddr = from->words[3];
	ip.daddr = to->words[3];
	ip.check = fw_csum_fold(bpf_csum_diff(NULL, 0, (__be32 *)&ip, sizeof(ip), 0));
	return bpf_skb_store_bytes(skb, FW_ETH_HLEN, &ip, sizeof(ip), 0) ? FW_DROP_REWRITE : 0;
}

/* To a process of the node, at the device whose ingress takes sources that the node itself owns: elsewhere rp_filter
 * would eat it. */
static __always_inline int fw_to_host_process(struct __sk_buff *skb, const struct fw_config *cfg)
{
	if (bpf_skb_store_bytes(skb, 0, cfg->host_service_mac, 6, 0))
		return fw_drop(skb, FW_DROP_REWRITE);
	return bpf_redirect(cfg->host_service_ifindex, BPF_F_INGRESS);
}

static __always_inline int fw_send_back(struct __sk_buff *skb, __u32 sender)
{
	const struct fw_config *cfg;

	switch (sender) {
	case FW_SENDER_HOST:
		return bpf_redirect(skb->ifindex, BPF_F_INGRESS);
	case FW_SENDER_SELF:
		cfg = fw_get_config();
		return cfg ? fw_to_host_process(skb, cfg) : TC_ACT_SHOT;
	case FW_SENDER_WORLD:
		return TC_ACT_SHOT;
	default:
		return bpf_redirect_peer(skb->ifindex, 0);
	}
}

/* RFC 9293 3.10.7.1: the answer of a closed port. */
FW_GLOBAL int fw_answer_rst(struct __sk_buff *skb, const struct fw_pkt *pkt, __u32 sender)
{
	struct fw_addr from, to;
	struct tcphdr in, out = {};
	__u32 off, why;
	bool v6;

	if (!pkt)
		return fw_drop(skb, FW_DROP_MALFORMED);
	from = pkt->daddr;
	to = pkt->saddr;
	v6 = pkt->v6;
	off = FW_ETH_HLEN + (v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr));
	if (pkt->tcp_flags & FW_TCP_RST || pkt->fragment == FW_FRAG_LATER)
		return TC_ACT_SHOT; /* no RST answers a RST; the reject itself is counted by the caller */
	if (bpf_skb_load_bytes(skb, pkt->l4_off, &in, sizeof(in)))
		return fw_drop(skb, FW_DROP_MALFORMED);
	out.source = in.dest;
	out.dest = in.source;
	out.doff = 5;
	out.rst = 1;
	if (in.ack) {
		out.seq = in.ack_seq;
	} else {
		out.ack = 1;
		out.ack_seq = bpf_htonl(bpf_ntohl(in.seq) + in.syn);
	}
	why = fw_answer_headers(skb, &from, &to, v6, IPPROTO_TCP, sizeof(out));
	if (why)
		return fw_drop(skb, why);
	out.check = fw_csum_fold(bpf_csum_diff(NULL, 0, (__be32 *)&out, sizeof(out),
					       fw_pseudo_sum(&from, &to, IPPROTO_TCP, sizeof(out))));
	if (bpf_skb_store_bytes(skb, off, &out, sizeof(out), 0))
		return fw_drop(skb, FW_DROP_REWRITE);
	return fw_send_back(skb, sender);
}

#define FW_EMBED_V4 28 /* IP header and the eight bytes that hold the ports (RFC 792) */
#define FW_EMBED_V6 48

static __always_inline int fw_answer_icmp4(struct __sk_buff *skb, const struct fw_addr *from, const struct fw_addr *to,
					   __u32 kind, __u32 mtu)
{
	struct {
		struct fw_icmp icmp;
		__u8 embedded[FW_EMBED_V4];
	} out = {};
	int why;

	if (bpf_skb_load_bytes(skb, FW_ETH_HLEN, out.embedded, FW_EMBED_V4))
		return FW_DROP_MALFORMED;
	out.icmp.type = kind == FW_ANSWER_EXPIRED ? FW_ICMP4_TIME_EXCEEDED : FW_ICMP4_UNREACHABLE;
	out.icmp.code = kind == FW_ANSWER_EXPIRED   ? 0
			: kind == FW_ANSWER_TOO_BIG ? FW_ICMP4_CODE_FRAG_NEEDED
						    : FW_ICMP4_CODE_PORT;
	if (kind == FW_ANSWER_TOO_BIG)
		out.icmp.low = bpf_htons(mtu);
	why = fw_answer_headers(skb, from, to, false, IPPROTO_ICMP, sizeof(out));
	if (why)
		return why;
	out.icmp.checksum = fw_csum_fold(bpf_csum_diff(NULL, 0, (__be32 *)&out, sizeof(out), 0));
	return bpf_skb_store_bytes(skb, FW_ETH_HLEN + sizeof(struct iphdr), &out, sizeof(out), 0) ? FW_DROP_REWRITE : 0;
}

static __always_inline int fw_answer_icmp6(struct __sk_buff *skb, const struct fw_addr *from, const struct fw_addr *to,
					   __u32 kind, __u32 mtu)
{
	struct {
		struct fw_icmp icmp;
		__u8 embedded[FW_EMBED_V6];
	} out = {};
	int why;

	if (bpf_skb_load_bytes(skb, FW_ETH_HLEN, out.embedded, FW_EMBED_V6))
		return FW_DROP_MALFORMED;
	out.icmp.type = kind == FW_ANSWER_EXPIRED   ? FW_ICMP6_TIME_EXCEEDED
			: kind == FW_ANSWER_TOO_BIG ? FW_ICMP6_TOO_BIG
						    : FW_ICMP6_UNREACHABLE;
	out.icmp.code = kind == FW_ANSWER_PORT_UNREACHABLE ? FW_ICMP6_CODE_PORT : 0;
	if (kind == FW_ANSWER_TOO_BIG)
		out.icmp.word = bpf_htonl(mtu);
	why = fw_answer_headers(skb, from, to, true, IPPROTO_ICMPV6, sizeof(out));
	if (why)
		return why;
	out.icmp.checksum = fw_csum_fold(bpf_csum_diff(NULL, 0, (__be32 *)&out, sizeof(out),
						       fw_pseudo_sum(from, to, IPPROTO_ICMPV6, sizeof(out))));
	return bpf_skb_store_bytes(skb, FW_ETH_HLEN + sizeof(struct ipv6hdr), &out, sizeof(out), 0) ? FW_DROP_REWRITE
												    : 0;
}

/* The ICMP error of `kind` to the packet's sender. A refusal comes from the refused address, the others from the node.
 */
FW_GLOBAL int fw_answer_icmp(struct __sk_buff *skb, const struct fw_pkt *pkt, __u32 kind, __u32 mtu, __u32 sender)
{
	const struct fw_config *cfg = fw_get_config();
	struct fw_addr from, to;
	int why;

	if (!pkt || !cfg)
		return fw_drop(skb, FW_DROP_NO_CONFIG);
	if (pkt->icmp_error || pkt->fragment == FW_FRAG_LATER)
		return TC_ACT_SHOT; /* RFC 1122 3.2.2: no error about an error, nor about a later fragment */
	from = pkt->daddr;
	to = pkt->saddr;
	if (kind != FW_ANSWER_PORT_UNREACHABLE) {
		const struct fw_addr *node = pkt->v6 ? &cfg->node_v6 : &cfg->node_v4;

		if (!fw_addr_is_zero(node))
			from = *node;
	}
	if (pkt->v6)
		why = fw_answer_icmp6(skb, &from, &to, kind, mtu);
	else
		why = fw_answer_icmp4(skb, &from, &to, kind, mtu);
	if (why)
		return fw_drop(skb, why);
	return fw_send_back(skb, sender);
}

/* Refuses a packet to a Service at once, as the host of a closed port would. */
static __always_inline int fw_refuse(struct __sk_buff *skb, const struct fw_pkt *pkt, __u32 why, __u32 sender)
{
	fw_count(why, skb->len);
	if (pkt->protocol == IPPROTO_TCP)
		return fw_answer_rst(skb, pkt, sender);
	return fw_answer_icmp(skb, pkt, FW_ANSWER_PORT_UNREACHABLE, 0, sender);
}

#endif
