/* Services: frontend -> slot -> backend. A change of one endpoint is a constant number of writes:
 * the slots of a frontend are a contiguous run in one array, with room to grow; a removal moves the last slot
 * into the hole and lowers `count`. Order of writes: backends, slots, frontend; the reverse on removal. */
#ifndef FAIRWAY_ABI_SERVICES_H
#define FAIRWAY_ABI_SERVICES_H

#include "abi/types.h"

enum fw_frontend_scope { FW_SCOPE_EXTERNAL = 0, FW_SCOPE_INTERNAL = 1 };

/* map `frontends`: hash, struct fw_frontend_key -> struct fw_frontend. */
struct fw_frontend_key {
	struct fw_addr addr;
	__be16 port_be;
	__u8 protocol; /* IPPROTO_* */
	__u8 scope;    /* 0 but for addresses whose traffic policies differ by side (later) */
	__u32 pad;
};

enum fw_frontend_flags {
	FW_FE_CLUSTER_IP = 1 << 0,
	FW_FE_NODE_PORT = 1 << 1,
	FW_FE_EXTERNAL_IP = 1 << 2,
	FW_FE_LOAD_BALANCER = 1 << 3,
	FW_FE_AFFINITY = 1 << 4,     /* sessionAffinity ClientIP */
	FW_FE_NO_SOCKET_LB = 1 << 5, /* never translated at the socket: the DNS Service (design section 6) */
	FW_FE_LOCAL_INTERNAL = 1 << 6,
	FW_FE_LOCAL_EXTERNAL = 1 << 7,
	FW_FE_NODE_LOCAL =
		1 << 8, /* the address is on the node's lo and its own stack serves it (DNS): no translation */
	FW_FE_HOST_PORT = 1 << 9, /* a hostPort: the address is the node's own, the one backend a pod of this node. The
				   * node's own connections have ports there too: TCP is taken from its SYN on alone */
};

struct fw_frontend {
	__u32 slot_base; /* first slot in `svc_slots` */
	__u32 count;	 /* slots in use; 0: reject at once (RST or ICMP port unreachable) */
	__u32 flags;	 /* enum fw_frontend_flags */
	__u32 service;	 /* id of the Service port, for counters and affinity */
	__u32 affinity_seconds;
	__u32 maglev_base; /* first row in the Maglev table, 0: none (later) */
};

/* map `svc_slots`: array, index -> __u32 backend id (0: hole, skip to the next). */

enum fw_backend_state { FW_BE_ACTIVE = 0, FW_BE_TERMINATING = 1 };

/* map `backends`: hash, __u32 id (> 0) -> struct fw_backend. A flow's row carries id and generation: an id that is
 * gone, or another generation, means the backend is gone, and the next packet picks another. */
struct fw_backend {
	struct fw_addr addr;
	__be16 port_be;
	__u8 protocol;
	__u8 state; /* enum fw_backend_state */
	__u32 generation;
	__u32 node; /* key in `nodes`; 0 = this node or unknown */
	__u32 flags;
};

#endif
