/* SPDX-License-Identifier: GPL-2.0 */
/* All maps. Sizes here are placeholders: the loader sets them (DatapathConfig). Large hashes allocate rows on demand.
 */
#ifndef FAIRWAY_LIB_MAPS_H
#define FAIRWAY_LIB_MAPS_H

#include "lib/base.h"

#define FW_MAP(map_name, map_type, key_type, value_type, create_flags)                                                 \
	struct {                                                                                                       \
		__uint(type, map_type);                                                                                \
		__type(key, key_type);                                                                                 \
		__type(value, value_type);                                                                             \
		__uint(max_entries, 1);                                                                                \
		__uint(map_flags, create_flags);                                                                       \
	} map_name SEC(".maps")

/* What only programs use, and so has its size here. */
#define FW_MAP_SIZED(map_name, map_type, value_type, rows)                                                             \
	struct {                                                                                                       \
		__uint(type, map_type);                                                                                \
		__type(key, __u32);                                                                                    \
		__type(value, value_type);                                                                             \
		__uint(max_entries, rows);                                                                             \
	} map_name SEC(".maps")

FW_MAP(config, BPF_MAP_TYPE_ARRAY, __u32, struct fw_config, 0);
FW_MAP(endpoints, BPF_MAP_TYPE_HASH, struct fw_addr, struct fw_endpoint, BPF_F_NO_PREALLOC);
FW_MAP(local_ifs, BPF_MAP_TYPE_HASH, __u32, struct fw_local_if, BPF_F_NO_PREALLOC);
FW_MAP(nodes, BPF_MAP_TYPE_HASH, __u32, struct fw_node, BPF_F_NO_PREALLOC);
FW_MAP(frontends, BPF_MAP_TYPE_HASH, struct fw_frontend_key, struct fw_frontend, BPF_F_NO_PREALLOC);
FW_MAP(svc_slots, BPF_MAP_TYPE_ARRAY, __u32, __u32, 0);
FW_MAP(backends, BPF_MAP_TYPE_HASH, __u32, struct fw_backend, BPF_F_NO_PREALLOC);
FW_MAP(flows_new, BPF_MAP_TYPE_LRU_HASH, struct fw_flow_key, struct fw_flow, 0);
FW_MAP(flows, BPF_MAP_TYPE_HASH, struct fw_flow_key, struct fw_flow, BPF_F_NO_PREALLOC);
FW_MAP(fragments, BPF_MAP_TYPE_LRU_HASH, struct fw_fragment_key, struct fw_fragment, 0);
FW_MAP(sock_origin, BPF_MAP_TYPE_LRU_HASH, __u64, struct fw_sock_origin, 0);
FW_MAP(epoch, BPF_MAP_TYPE_ARRAY, __u32, __u32, BPF_F_MMAPABLE);
FW_MAP(pol_state, BPF_MAP_TYPE_ARRAY, __u32, struct fw_policy_state, BPF_F_MMAPABLE);
FW_MAP(pol_subjects, BPF_MAP_TYPE_HASH, __u32, struct fw_subject, BPF_F_NO_PREALLOC);
FW_MAP(pol_peers, BPF_MAP_TYPE_HASH, struct fw_addr, struct fw_peer_class, BPF_F_NO_PREALLOC);
FW_MAP(pol_cidrs, BPF_MAP_TYPE_LPM_TRIE, struct fw_cidr_key, struct fw_peer_class, BPF_F_NO_PREALLOC);
FW_MAP(pol_ports, BPF_MAP_TYPE_HASH, __u32, struct fw_port_chunk, BPF_F_NO_PREALLOC);
FW_MAP(pol_verdicts, BPF_MAP_TYPE_HASH, struct fw_verdict_key, struct fw_verdict_row, BPF_F_NO_PREALLOC);
FW_MAP(pol_hits, BPF_MAP_TYPE_LRU_HASH, struct fw_hit_key, struct fw_hit, 0);
FW_MAP(pol_denied, BPF_MAP_TYPE_HASH, struct fw_denied_key, struct fw_hit, BPF_F_NO_PREALLOC);
FW_MAP(track_new, BPF_MAP_TYPE_LRU_HASH, struct fw_track_key, struct fw_track, 0);
FW_MAP(track, BPF_MAP_TYPE_HASH, struct fw_track_key, struct fw_track, BPF_F_NO_PREALLOC);
FW_MAP(metrics, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, struct fw_metric, 0);

static __always_inline const struct fw_config *fw_get_config(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&config, &zero);
}

/* The epoch of what was remembered (lib/straight.h); never 0 while there is an agent's map. */
static __always_inline __u32 *fw_get_epoch(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&epoch, &zero);
}

/* The endpoint of an address, from wherever the address lies (FW_GLOBAL). */
static __always_inline struct fw_endpoint *fw_find_endpoint(const struct fw_addr *addr)
{
	struct fw_addr key = *addr;

	return bpf_map_lookup_elem(&endpoints, &key);
}

#endif
