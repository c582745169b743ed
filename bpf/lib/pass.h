/* SPDX-License-Identifier: GPL-2.0 */
/* Passes: a tracked connection that policy let through a moment ago. Its next packets pass by one array row instead of
 * two hash lookups, and only those that change nothing in its row of `track`: TCP without SYN, FIN, RST, or UDP, whole.
 *
 * A pass holds in the one generation of policy in which it was given, for the ends that were judged then, on one CPU,
 * for a few jiffies; both directions get theirs at once. So a change of policy ends it at once, and the connection's
 * row still sees that it lives, goes on being swept, promoted and closed as lib/track.h says. */
#ifndef FAIRWAY_LIB_PASS_H
#define FAIRWAY_LIB_PASS_H

#include "lib/packet.h"

#define FW_PASSES 1024	    /* a power of two */
#define FW_MOMENT_JIFFIES 8 /* 8 to 80 ms, by the kernel's HZ */

struct fw_pass {
	struct fw_addr saddr;
	struct fw_addr daddr;
	__be16 sport_be;
	__be16 dport_be;
	__u32 generation; /* 0: never given */
	__u32 src_if;	  /* the isolated ends, as fw_judge() was asked */
	__u32 dst_if;
	__u32 protocol;
	__u64 given; /* jiffies */
};
FW_MAP_SIZED(passes, BPF_MAP_TYPE_PERCPU_ARRAY, struct fw_pass, FW_PASSES);

static __always_inline bool fw_within_a_moment(__u64 then) { return bpf_jiffies64() - then < FW_MOMENT_JIFFIES; }

static __always_inline struct fw_pass *fw_pass_row(const struct fw_addr *saddr, const struct fw_addr *daddr,
						   __be16 sport_be, __be16 dport_be)
{
	__u64 mix = ((__u64)saddr->words[3] << 32 | daddr->words[3]) ^
		    ((__u32)sport_be << 16 | dport_be) * 0xff51afd7ed558ccdULL;
	__u32 index;

	mix *= 0x9e3779b97f4a7c15ULL;
	mix = (mix ^ mix >> 32) * 0xc4ceb9fe1a85ec53ULL;
	index = (mix >> 48) & (FW_PASSES - 1);
	return bpf_map_lookup_elem(&passes, &index);
}

/* May this packet, with `l4` the offset of its transport header and no fragment, pass without being judged? */
static __always_inline bool fw_has_pass(struct __sk_buff *skb, const struct fw_addr *saddr, const struct fw_addr *daddr,
					__u8 protocol, __u32 l4, __u32 src_if, __u32 dst_if)
{
	const struct tcphdr *tcp = (void *)(long)skb->data + l4; /* UDP has its ports there too */
	const struct fw_policy_state *state;
	const struct fw_pass *pass;
	__u32 zero = 0;

	if (protocol == IPPROTO_TCP) {
		if ((void *)(tcp + 1) > (void *)(long)skb->data_end || tcp->syn || tcp->fin || tcp->rst)
			return false;
	} else if (protocol != IPPROTO_UDP || (void *)tcp + sizeof(struct udphdr) > (void *)(long)skb->data_end) {
		return false;
	}
	state = bpf_map_lookup_elem(&pol_state, &zero);
	pass = fw_pass_row(saddr, daddr, tcp->source, tcp->dest);
	return state && pass && pass->generation == *(const volatile __u32 *)&state->generation &&
	       pass->generation != 0 && fw_addr_eq(&pass->saddr, saddr) && fw_addr_eq(&pass->daddr, daddr) &&
	       pass->sport_be == tcp->source && pass->dport_be == tcp->dest && pass->protocol == protocol &&
	       pass->src_if == src_if && pass->dst_if == dst_if && fw_within_a_moment(pass->given);
}

#endif
