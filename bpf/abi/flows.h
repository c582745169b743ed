/* Flows that are translated: Services per packet, masquerade, or both at once. A flow has two rows, one for each
 * direction, each keyed by the packet as it arrives and holding the whole tuple as it is to leave.
 * A flow is born in `flows_new` (LRU) and moves to `flows` (plain hash) once both sides have spoken. */
#ifndef FAIRWAY_ABI_FLOWS_H
#define FAIRWAY_ABI_FLOWS_H

#include "abi/types.h"

/* Masquerade has directions of its own, since a flow may be both: to a Service whose endpoint is beyond the cluster. */
enum fw_flow_dir { FW_FLOW_FORWARD = 0, FW_FLOW_REPLY = 1, FW_FLOW_MASQ_FORWARD = 2, FW_FLOW_MASQ_REPLY = 3 };

/* maps `flows_new`, `flows`: struct fw_flow_key -> struct fw_flow. ICMP echo: sport_be is the identifier, dport_be 0
 * in the request's direction and the reverse in the reply's. */
struct fw_flow_key {
	struct fw_addr saddr;
	struct fw_addr daddr;
	__be16 sport_be;
	__be16 dport_be;
	__u8 protocol;
	__u8 dir; /* enum fw_flow_dir */
	__u16 pad;
};

enum fw_flow_flags {
	FW_FLOW_SERVICE = 1 << 0,     /* destination translated: `backend` holds */
	FW_FLOW_MASQUERADE = 1 << 1,  /* source translated */
	FW_FLOW_REPLIED = 1 << 2,     /* the other side has spoken */
	FW_FLOW_ESTABLISHED = 1 << 3, /* lies in `flows` */
	FW_FLOW_FIN = 1 << 4,	      /* one side has closed: the short timeout holds */
	FW_FLOW_RST = 1 << 5,
	FW_FLOW_HOST = 1 << 6,	 /* the client is a process of the node: replies re-enter at the host service veth */
	FW_FLOW_DIRECT = 1 << 7, /* not translated but for its source port, which clashed */
};

struct fw_flow {
	struct fw_addr saddr; /* the packet as it is to leave */
	struct fw_addr daddr;
	__be16 sport_be;
	__be16 dport_be;
	__u32 check;   /* hash of the key: a row recycled under its reader is seen by it */
	__u32 backend; /* id in `backends`, 0: none */
	__u32 backend_generation;
	__u32 last_seen_s; /* bpf_ktime_get_ns() in seconds (CLOCK_MONOTONIC) */
	__u32 flags;	   /* enum fw_flow_flags */
	__u32 service;	   /* fw_frontend.service */
	__u32 pad;
};

/* Seconds without a packet after which a row counts for nothing. */
#define FW_TIMEOUT_TCP_NEW_S 60
#define FW_TIMEOUT_TCP_S 86400
#define FW_TIMEOUT_TCP_CLOSING_S 60
#define FW_TIMEOUT_UDP_NEW_S 30
#define FW_TIMEOUT_UDP_S 120
#define FW_TIMEOUT_ICMP_S 30
#define FW_TIMEOUT_FRAGMENT_S 30

/* map `fragments`: LRU, datagram -> its ports, known from the first fragment alone. */
struct fw_fragment_key {
	struct fw_addr saddr;
	struct fw_addr daddr;
	__u32 id;
	__u8 protocol;
	__u8 pad[3];
};

struct fw_fragment {
	__be16 sport_be;
	__be16 dport_be;
	__u32 seen_s;
};

/* map `sock_origin`: LRU, socket cookie -> the Service address the process connected to (getpeername). */
struct fw_sock_origin {
	struct fw_addr service;
	struct fw_addr peer; /* what the socket is really connected to: another peer means that the row is stale */
	__be16 service_port_be;
	__be16 peer_port_be;
	__u32 pad;
};

#endif
