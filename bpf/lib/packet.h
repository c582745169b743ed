/* SPDX-License-Identifier: GPL-2.0 */
/* Parsing. Two steps, as the direct path between pods needs no ports: fw_parse_l3 reads the addresses, fw_parse_l4 the
 * rest. Ports are read only where the packet holds them: not from a later fragment. */
#ifndef FAIRWAY_LIB_PACKET_H
#define FAIRWAY_LIB_PACKET_H

#include <linux/tcp.h>
#include <linux/udp.h>

#include "lib/count.h"
#include "lib/icmp.h"

enum fw_fragment_kind { FW_FRAG_NONE = 0, FW_FRAG_FIRST = 1, FW_FRAG_LATER = 2 };

struct fw_pkt {
	struct fw_addr saddr;
	struct fw_addr daddr;
	__be16 sport_be; /* ICMP echo: as struct fw_flow_key says */
	__be16 dport_be;
	__u8 protocol; /* of the transport, past IPv6's extension headers; valid after fw_parse_l4 for IPv6 */
	__u8 v6;
	__u8 fragment;	 /* enum fw_fragment_kind */
	__u8 icmp_error; /* an ICMP message about another packet, which lies at l4_off + 8 */
	__u8 tcp_flags;	 /* byte 13 of the TCP header */
	__u8 hops;	 /* TTL or hop limit */
	__u16 l4_off;	 /* from the start of the frame */
	__u32 fragment_id;
	__u16 frag_off_be;  /* IPv4's word with DF, MF and the offset */
	__u8 l4_header_len; /* TCP and UDP */
	__u8 next_header;   /* IPv6: what follows the fixed header, where the walk through extensions begins */
	__u8 l4_parsed;	    /* fw_parse_l4 has succeeded */
	__u8 zero_echo;	    /* enum fw_zero_echo */
};

/* An echo with the identifier 0, whose ports do not tell which of the two it is. */
enum fw_zero_echo { FW_ZERO_ECHO_NONE = 0, FW_ZERO_ECHO_REQUEST = 1, FW_ZERO_ECHO_REPLY = 2 };

#define FW_TCP_FIN 0x01
#define FW_TCP_SYN 0x02
#define FW_TCP_RST 0x04
#define FW_TCP_ACK 0x10

#define FW_IP_DF 0x4000
#define FW_IP_MF 0x2000
#define FW_IP_OFFSET 0x1fff

/* Checks that `bytes` of the frame can be read directly, pulling them into the linear part where they are not. */
static __always_inline bool fw_pull(struct __sk_buff *skb, __u32 bytes)
{
	if ((void *)(long)skb->data + bytes <= (void *)(long)skb->data_end)
		return true;
	return bpf_skb_pull_data(skb, bytes) == 0;
}

/* Addresses, family and hop count. The caller has seen that skb->protocol is IP or IPv6. 0, or a drop reason. */
static __always_inline int fw_parse_l3(struct __sk_buff *skb, struct fw_pkt *pkt)
{
	void *data, *end;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip;

		if (!fw_pull(skb, FW_ETH_HLEN + sizeof(*ip)))
			return FW_DROP_MALFORMED;
		data = (void *)(long)skb->data;
		end = (void *)(long)skb->data_end;
		ip = data + FW_ETH_HLEN;
		if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl < 5)
			return FW_DROP_MALFORMED;
		fw_addr_set_v4(&pkt->saddr, ip->saddr);
		fw_addr_set_v4(&pkt->daddr, ip->daddr);
		pkt->v6 = 0;
		pkt->protocol = ip->protocol;
		pkt->hops = ip->ttl;
		pkt->l4_off = FW_ETH_HLEN + ip->ihl * 4;
		pkt->frag_off_be = ip->frag_off;
		pkt->fragment_id = ip->id;
		return 0;
	} else {
		struct ipv6hdr *ip;

		if (!fw_pull(skb, FW_ETH_HLEN + sizeof(*ip)))
			return FW_DROP_MALFORMED;
		data = (void *)(long)skb->data;
		end = (void *)(long)skb->data_end;
		ip = data + FW_ETH_HLEN;
		if ((void *)(ip + 1) > end || ip->version != 6)
			return FW_DROP_MALFORMED;
		__builtin_memcpy(&pkt->saddr, &ip->saddr, sizeof(pkt->saddr));
		__builtin_memcpy(&pkt->daddr, &ip->daddr, sizeof(pkt->daddr));
		pkt->v6 = 1;
		pkt->protocol = pkt->next_header = ip->nexthdr;
		pkt->hops = ip->hop_limit;
		pkt->l4_off = FW_ETH_HLEN + sizeof(*ip);
		pkt->frag_off_be = 0;
		pkt->fragment_id = 0;
		return 0;
	}
}

#define FW_EXT_HOP 0
#define FW_EXT_ROUTING 43
#define FW_EXT_FRAGMENT 44
#define FW_EXT_DEST 60
#define FW_EXT_MAX 4

/* Walks IPv6's extension headers to the transport. 0, or a drop reason. */
static __always_inline int fw_skip_extensions(struct __sk_buff *skb, struct fw_pkt *pkt)
{
	__u8 header[8];
	int i;

	pkt->protocol = pkt->next_header;
	pkt->l4_off = FW_ETH_HLEN + sizeof(struct ipv6hdr);
	pkt->fragment = FW_FRAG_NONE;
	for (i = 0; i < FW_EXT_MAX; i++) {
		if (pkt->protocol != FW_EXT_HOP && pkt->protocol != FW_EXT_ROUTING && pkt->protocol != FW_EXT_DEST &&
		    pkt->protocol != FW_EXT_FRAGMENT)
			return 0;
		if (bpf_skb_load_bytes(skb, pkt->l4_off, header, sizeof(header)))
			return FW_DROP_MALFORMED;
		if (pkt->protocol == FW_EXT_FRAGMENT) {
			__u16 word = (__u16)(header[2] << 8 | header[3]);

			__builtin_memcpy(&pkt->fragment_id, header + 4, 4);
			if (word & 0xfff8)
				pkt->fragment = FW_FRAG_LATER;
			else if (word & 1)
				pkt->fragment = FW_FRAG_FIRST;
			pkt->l4_off += 8;
		} else {
			pkt->l4_off += 8 + header[1] * 8;
		}
		pkt->protocol = header[0];
		if (pkt->fragment == FW_FRAG_LATER)
			return 0;
	}
	return FW_DROP_MALFORMED;
}

static __always_inline bool fw_icmp_is_error(const struct fw_pkt *pkt, __u8 type)
{
	if (pkt->v6)
		return type >= FW_ICMP6_UNREACHABLE && type <= FW_ICMP6_LAST_ERROR;
	return type == FW_ICMP4_UNREACHABLE || type == FW_ICMP4_TIME_EXCEEDED || type == FW_ICMP4_PARAMETER;
}

/* Reads what identifies a flow from a transport header at `off`. 0, or a drop reason. */
static __always_inline int fw_read_ports(struct __sk_buff *skb, struct fw_pkt *pkt)
{
	__u8 h[16] = {};

	pkt->sport_be = pkt->dport_be = 0;
	if (pkt->protocol == IPPROTO_TCP) {
		if (bpf_skb_load_bytes(skb, pkt->l4_off, h, 16))
			return FW_DROP_MALFORMED;
		pkt->tcp_flags = h[13];
		pkt->l4_header_len = (h[12] >> 4) * 4;
	} else if (pkt->protocol == IPPROTO_UDP || pkt->protocol == IPPROTO_SCTP || pkt->protocol == IPPROTO_ICMP ||
		   pkt->protocol == IPPROTO_ICMPV6) {
		if (bpf_skb_load_bytes(skb, pkt->l4_off, h, 8))
			return FW_DROP_MALFORMED;
		pkt->l4_header_len = 8;
	} else {
		return 0;
	}
	if (pkt->protocol == IPPROTO_ICMP || pkt->protocol == IPPROTO_ICMPV6) {
		bool request = h[0] == (pkt->v6 ? FW_ICMP6_ECHO : FW_ICMP4_ECHO);
		bool reply = h[0] == (pkt->v6 ? FW_ICMP6_ECHO_REPLY : FW_ICMP4_ECHO_REPLY);

		if (request)
			__builtin_memcpy(&pkt->sport_be, h + 4, 2);
		if (reply)
			__builtin_memcpy(&pkt->dport_be, h + 4, 2);
		if (!pkt->sport_be && !pkt->dport_be)
			pkt->zero_echo = request ? FW_ZERO_ECHO_REQUEST : reply ? FW_ZERO_ECHO_REPLY : 0;
		pkt->icmp_error = fw_icmp_is_error(pkt, h[0]);
		return 0;
	}
	__builtin_memcpy(&pkt->sport_be, h, 2);
	__builtin_memcpy(&pkt->dport_be, h + 2, 2);
	return 0;
}

/* Does the packet, by its own length, hold a whole header at `l4_off`? What lies behind its end, the receiver cuts off:
 * it is not the header (RFC 1858). A length of 0 is a GSO frame's of more than 64 KB. */
static __always_inline bool fw_l4_is_whole(struct __sk_buff *skb, const struct fw_pkt *pkt)
{
	__u32 least = 8, end;
	__be16 length;

	if (pkt->protocol == IPPROTO_TCP)
		least = sizeof(struct tcphdr);
	else if (pkt->protocol != IPPROTO_UDP && pkt->protocol != IPPROTO_SCTP && pkt->protocol != IPPROTO_ICMP &&
		 pkt->protocol != IPPROTO_ICMPV6)
		return true;
	if (bpf_skb_load_bytes(skb, FW_ETH_HLEN + (pkt->v6 ? 4 : 2), &length, 2))
		return false;
	end = FW_ETH_HLEN + (pkt->v6 ? sizeof(struct ipv6hdr) : 0) + bpf_ntohs(length);
	return length == 0 ? skb->gso_size != 0 : pkt->l4_off + least <= end;
}

/* The transport: protocol, ports, flags; may be asked again after a rewrite. A later fragment gets its ports from the
 * row its first fragment left. */
FW_GLOBAL int fw_parse_l4(struct __sk_buff *skb, struct fw_pkt *pkt)
{
	struct fw_fragment_key key = {};
	struct fw_fragment *row;
	int why;

	if (!pkt)
		return FW_DROP_MALFORMED;
	pkt->fragment = FW_FRAG_NONE;
	pkt->icmp_error = 0;
	pkt->tcp_flags = 0;
	pkt->l4_header_len = 0;
	pkt->zero_echo = 0;
	if (pkt->v6) {
		why = fw_skip_extensions(skb, pkt);
		if (why)
			return why;
	} else if (pkt->frag_off_be & bpf_htons(FW_IP_OFFSET)) {
		pkt->fragment = FW_FRAG_LATER;
	} else if (pkt->frag_off_be & bpf_htons(FW_IP_MF)) {
		pkt->fragment = FW_FRAG_FIRST;
	}
	if (pkt->fragment != FW_FRAG_LATER) {
		why = fw_l4_is_whole(skb, pkt) ? fw_read_ports(skb, pkt) : FW_DROP_MALFORMED;
		pkt->l4_parsed = !why;
		if (why || pkt->fragment == FW_FRAG_NONE)
			return why;
	}
	key.saddr = pkt->saddr;
	key.daddr = pkt->daddr;
	key.id = pkt->fragment_id;
	key.protocol = pkt->protocol;
	if (pkt->fragment == FW_FRAG_FIRST) {
		struct fw_fragment fresh = {.sport_be = pkt->sport_be, .dport_be = pkt->dport_be, .seen_s = fw_now_s()};

		if (pkt->zero_echo)
			fresh.sport_be = fresh.dport_be = pkt->zero_echo; /* no other echo has both */
		bpf_map_update_elem(&fragments, &key, &fresh, BPF_ANY);
		return 0;
	}
	row = bpf_map_lookup_elem(&fragments, &key);
	if (!row || (__s32)(fw_now_s() - row->seen_s) > FW_TIMEOUT_FRAGMENT_S)
		return FW_DROP_FRAGMENT;
	pkt->sport_be = row->sport_be;
	pkt->dport_be = row->dport_be;
	if ((pkt->protocol == IPPROTO_ICMP || pkt->protocol == IPPROTO_ICMPV6) && pkt->sport_be && pkt->dport_be) {
		pkt->zero_echo = (__u8)pkt->sport_be;
		pkt->sport_be = pkt->dport_be = 0;
	}
	pkt->l4_parsed = 1;
	return 0;
}

/* Bytes of the largest IP packet that this frame will be on the wire: a GSO frame is cut into segments first. */
static __always_inline __u32 fw_wire_size(struct __sk_buff *skb, struct fw_pkt *pkt)
{
	__u8 tcp_offset = 0;

	if (!skb->gso_size)
		return skb->len - FW_ETH_HLEN;
	if (pkt->protocol == IPPROTO_TCP && !bpf_skb_load_bytes(skb, pkt->l4_off + 12, &tcp_offset, 1))
		return pkt->l4_off - FW_ETH_HLEN + (tcp_offset >> 4) * 4 + skb->gso_size;
	return pkt->l4_off - FW_ETH_HLEN + sizeof(struct udphdr) + skb->gso_size;
}

#endif
