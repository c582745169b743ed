/* SPDX-License-Identifier: GPL-2.0 */
/* Counting: every drop and every event worth knowing has a name (abi/drops.h). */
#ifndef FAIRWAY_LIB_COUNT_H
#define FAIRWAY_LIB_COUNT_H

#include "lib/maps.h"

static __always_inline void fw_count(__u32 what, __u32 bytes)
{
	struct fw_metric *row = bpf_map_lookup_elem(&metrics, &what);

	if (row) {
		row->packets++;
		row->bytes += bytes;
	}
}

static __always_inline int fw_drop(struct __sk_buff *skb, __u32 why)
{
	fw_count(why, skb->len);
	return TC_ACT_SHOT;
}

#endif
