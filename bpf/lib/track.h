/* SPDX-License-Identifier: GPL-2.0 */
/* Connections of isolated pods: one row for both directions and both ends, which remembers who began and in which
 * generation of the policy each end was found allowed. Born in `track_new` (LRU), moved to `track` (plain hash) once
 * both ends have spoken and it lives for a second, so that nothing half-open displaces it. Short ones, which are most,
 * never move: they would fill `track` (docs/decisions/0009). A full `track` costs nothing but that protection.
 *
 * Rows are recycled under their readers: what decides is read first and `check` last, and a generation is written by an
 * update of the whole row under its key, never into a row that may be another's by then. */
#ifndef FAIRWAY_LIB_TRACK_H
#define FAIRWAY_LIB_TRACK_H

#include "lib/flow.h"

/* As track_check() of src/datapath/policy_tables.cc. */
static __always_inline __u32 fw_track_hash(const struct fw_track_key *key)
{
	return fw_flow_hash((const struct fw_flow_key *)key);
}

/* Compared as bytes, address first: is a's end the lower one? */
static __always_inline bool fw_is_low(const struct fw_addr *a, __be16 a_port, const struct fw_addr *b, __be16 b_port)
{
	__u64 x = bpf_be64_to_cpu(a->halves[0]), y = bpf_be64_to_cpu(b->halves[0]);

	if (x != y)
		return x < y;
	x = bpf_be64_to_cpu(a->halves[1]);
	y = bpf_be64_to_cpu(b->halves[1]);
	if (x != y)
		return x < y;
	return bpf_ntohs(a_port) <= bpf_ntohs(b_port);
}

/* The row's key of a packet with this tuple; returns whether its sender is the lower end. */
static __always_inline bool fw_track_key_of(const struct fw_pkt *pkt, struct fw_track_key *key)
{
	bool low = fw_is_low(&pkt->saddr, pkt->sport_be, &pkt->daddr, pkt->dport_be);

	key->low = low ? pkt->saddr : pkt->daddr;
	key->high = low ? pkt->daddr : pkt->saddr;
	key->low_port_be = low ? pkt->sport_be : pkt->dport_be;
	key->high_port_be = low ? pkt->dport_be : pkt->sport_be;
	key->protocol = pkt->protocol;
	key->asks = !pkt->zero_echo				      ? 0
		    : low == (pkt->zero_echo == FW_ZERO_ECHO_REQUEST) ? FW_TRACK_LOW_ASKS
								      : FW_TRACK_HIGH_ASKS;
	key->pad[0] = key->pad[1] = 0;
	return low;
}

#define FW_READ(field) (*(const volatile __typeof__(field) *)&(field))

/* Copies a row, the check last. False where it is another's by now. */
static __always_inline bool fw_track_read(const struct fw_track *row, __u32 check, struct fw_track *copy)
{
	copy->egress_generation = FW_READ(row->egress_generation);
	copy->ingress_generation = FW_READ(row->ingress_generation);
	copy->flags = FW_READ(row->flags);
	copy->last_seen_s = FW_READ(row->last_seen_s);
	copy->egress_rule = FW_READ(row->egress_rule);
	copy->ingress_rule = FW_READ(row->ingress_rule);
	copy->pad = 0;
	copy->check = FW_READ(row->check);
	return copy->check == check;
}

static __always_inline bool fw_track_expired(__u8 protocol, const struct fw_track *copy, __u32 now_s)
{
	return (__s32)(now_s - copy->last_seen_s) > (__s32)fw_track_timeout_s(protocol, copy->flags);
}

/* The live row of a key that lies in a map, or null; its content as read in `copy`. `dry`: nothing is removed. */
static __always_inline struct fw_track *fw_track_find(const struct fw_track_key *key, struct fw_track *copy,
						      __u32 now_s, bool dry)
{
	__u32 check = fw_track_hash(key);
	struct fw_track *row = bpf_map_lookup_elem(&track, key);

	if (row && fw_track_read(row, check, copy)) {
		if (!fw_track_expired(key->protocol, copy, now_s))
			return row;
		if (!dry)
			bpf_map_delete_elem(&track, key);
	}
	row = bpf_map_lookup_elem(&track_new, key);
	if (row && fw_track_read(row, check, copy)) {
		if (!fw_track_expired(key->protocol, copy, now_s))
			return row;
		if (!dry)
			bpf_map_delete_elem(&track_new, key);
	}
	return NULL;
}

/* What a packet says about its connection's state. */
static __always_inline __u32 fw_track_says(__u8 tcp_flags, bool low_sends, bool began)
{
	__u32 flags = began ? 0 : FW_TRACK_REPLIED;

	if (tcp_flags & FW_TCP_FIN)
		flags |= low_sends ? FW_TRACK_LOW_FIN : FW_TRACK_HIGH_FIN;
	if (tcp_flags & FW_TCP_RST)
		flags |= FW_TRACK_RST;
	return flags;
}

/* Writes a row whole, where its flags say that it lies. */
static __always_inline void fw_track_write(const struct fw_track_key *key, const struct fw_track *row, __u64 how)
{
	if (row->flags & FW_TRACK_ESTABLISHED)
		bpf_map_update_elem(&track, key, row, how);
	else
		bpf_map_update_elem(&track_new, key, row, how);
}

/* Both ends have spoken, and not yet said goodbye. */
static __always_inline bool fw_track_is_open(__u32 flags)
{
	return (flags & FW_TRACK_REPLIED) && !(flags & FW_TRACK_RST) &&
	       (flags & FW_TRACK_BOTH_FIN) != FW_TRACK_BOTH_FIN;
}

/* A packet of the one who began, in a later second than the last that was noted. For its sake the other end notes
 * itself in a row that is not promoted yet only every two seconds (fw_track_is_due). */
static __always_inline bool fw_track_may_promote(const struct fw_track *row, bool syn, __u32 now_s)
{
	return !syn && row->last_seen_s != now_s && fw_track_is_open(row->flags) &&
	       !(row->flags & FW_TRACK_ESTABLISHED);
}

static __always_inline bool fw_track_is_due(const struct fw_track *row, bool began, __u32 now_s)
{
	return now_s - row->last_seen_s > (began || (row->flags & FW_TRACK_ESTABLISHED) ? 0 : 1);
}

/* Moves a row, of which `copy` has the content, to the established table. */
static __always_inline void fw_track_promote(const struct fw_track_key *key, struct fw_track *copy)
{
	copy->flags |= FW_TRACK_ESTABLISHED;
	if (bpf_map_update_elem(&track, key, copy, BPF_ANY)) {
		copy->flags &= ~FW_TRACK_ESTABLISHED;
		fw_count(FW_EVENT_TRACK_FULL, 0);
		return;
	}
	bpf_map_delete_elem(&track_new, key);
	fw_count(FW_EVENT_TRACK_PROMOTED, 0);
}

#endif
