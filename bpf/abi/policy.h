/* Policy: classes, not lists (design section 5, docs/decisions/0006).
 *
 *   packet of a tracked pod -- row in `track`, judged in this generation? --> passes
 *          | no
 *   subject of the pod, direction      `pol_subjects`  by the pod's interface
 *   peer class of the other address    `pol_peers` by address, else `pol_cidrs` by prefix, else FW_PEER_NONE
 *   port class of the protocol's port  `pol_ports`
 *   `pol_verdicts`: {subject, direction, peer, port}, then {peer, any port}, then {any peer, port}, then the subject's
 * default
 *
 * Everything holds two versions, `v[2]`: a packet reads `generation` once, and the bank generation & 1 answers all its
 * lookups. The writer fills the other bank, raises `generation` by one store, waits for RCU readers, and repeats the
 * change in what has become the idle bank. Where a bank has nothing, 0 says so: absence is a value. */
#ifndef FAIRWAY_ABI_POLICY_H
#define FAIRWAY_ABI_POLICY_H

#include "abi/types.h"

/* map `pol_state`: array of one row, mmapable. Written by the agent. Never 0 once an agent has run: 0 means that
 * nothing is judged. */
struct fw_policy_state {
	__u32 generation;
	__u32 pad;
};

enum fw_policy_direction { FW_POL_INGRESS = 0, FW_POL_EGRESS = 1 };

/* What holds for a direction where no verdict row does. */
enum fw_subject_default {
	FW_SUBJECT_OPEN = 0, /* no policy looks at this direction: nothing is looked up */
	FW_SUBJECT_ALLOW = 1,
	FW_SUBJECT_DENY = 2,
};

struct fw_subject_version {
	__u32 id;	  /* local pods with the same rules share it; > 0 */
	__u8 fallback[2]; /* by direction: enum fw_subject_default */
	__u8 pad[2];
	__u32 rule[2]; /* by direction: the rule, or set of isolating policies, behind the fallback; 0: none */
};

/* map `pol_subjects`: hash, __u32 ifindex of a local pod's host veth -> struct fw_subject. Read only where the pod has
 * FW_EP_TRACK / FW_IF_TRACK, which the writer sets before a pod is first judged, and clears after it is last. */
struct fw_subject {
	struct fw_subject_version v[2];
};

#define FW_PEER_ANY 0  /* in a verdict's key; in a class row: this bank knows nothing, ask the next table */
#define FW_PEER_NONE 1 /* an address that no rule in force names */
#define FW_PEER_FIRST 2

/* maps `pol_peers`: hash, struct fw_addr -> struct fw_peer_class;
 *      `pol_cidrs`: LPM trie, struct fw_cidr_key -> struct fw_peer_class. A prefix that a bank does not have holds
 * there the class of the next wider one that it has (FW_PEER_NONE if none), as the trie finds the longest alone. */
struct fw_peer_class {
	__u32 v[2];
};

/* The family comes first, so that ::/0 is no prefix of an IPv4 address: its length counts too (FW_CIDR_FAMILY_BITS +
 * that within the 128 bits: IPv4 /16 is 32 + 112). C++ writes it by datapath::cidr_key(). */
struct fw_cidr_key {
	__u32 prefixlen;
	__u32 family; /* 4 or 6 */
	struct fw_addr addr;
};
#define FW_CIDR_FAMILY_BITS 32

#define FW_PORT_NONE 0	   /* in no range in force, or a protocol without ports */
#define FW_PORT_ANY 0xffff /* in a verdict's key alone */

/* map `pol_ports`: hash, protocol * FW_PORT_CHUNKS + port / FW_PORT_CHUNK -> the classes of a run of ports; no row:
 * FW_PORT_NONE for all of them. A class number belongs to one protocol alone, but for FW_PORT_NONE. Written by
 * PolicyTables::set_port_classes(). */
enum fw_port_protocol { FW_PORT_TCP = 0, FW_PORT_UDP = 1, FW_PORT_SCTP = 2, FW_PORT_PROTOCOLS = 3 };
#define FW_PORT_CHUNK 128
#define FW_PORT_CHUNKS (65536 / FW_PORT_CHUNK)
struct fw_port_chunk {
	__u16 v[2][FW_PORT_CHUNK]; /* [bank][port % FW_PORT_CHUNK] */
};

enum fw_verdict { FW_VERDICT_NONE = 0, FW_VERDICT_ALLOW = 1, FW_VERDICT_DENY = 2 };

/* map `pol_verdicts`: hash, struct fw_verdict_key -> struct fw_verdict_row. */
struct fw_verdict_key {
	__u32 subject;
	__u32 peer;
	__u16 port;
	__u8 direction; /* enum fw_policy_direction */
	__u8 pad;
};
struct fw_verdict_row {
	__u32 rule[2];	 /* what decided: the agent knows its name; 0: none */
	__u8 verdict[2]; /* enum fw_verdict */
	__u8 pad[2];
};

/* maps `track_new` (LRU), `track` (hash): a connection of a tracked pod, one row for both directions and both ends: the
 * lower of the two (address, port) first, compared as bytes. ICMP echo as struct fw_flow_key says; no ports: 0 and 0.
 * The tuple is the one between client and backend: after a Service is translated, before it is translated back. C++
 * makes it by datapath::track_key(). */
struct fw_track_key {
	struct fw_addr low;
	struct fw_addr high;
	__be16 low_port_be;
	__be16 high_port_be;
	__u8 protocol;
	__u8 asks; /* enum fw_track_asks */
	__u8 pad[2];
};

/* Of echoes with the identifier 0, whose ports do not tell whose request it is; of all else 0. */
enum fw_track_asks { FW_TRACK_LOW_ASKS = 1, FW_TRACK_HIGH_ASKS = 2 };

enum fw_track_flags {
	FW_TRACK_LOW_BEGAN =
		1 << 0, /* the lower end sent the first packet: its egress and the other's ingress are judged */
	FW_TRACK_REPLIED = 1 << 1,
	FW_TRACK_ESTABLISHED = 1 << 2, /* lies in `track` */
	FW_TRACK_LOW_FIN = 1 << 3, /* closed once both have said so: a half-closed connection may be quiet for long */
	FW_TRACK_RST = 1 << 4,
	FW_TRACK_SEEDED = 1 << 5, /* by the agent, as the pod became isolated: who began is known from its sockets */
	FW_TRACK_HIGH_FIN = 1 << 6,
};

#define FW_TIMEOUT_SCTP_S 600 /* its heartbeats come every 30 s; the other timeouts are those of abi/flows.h */

/* A generation is that of `pol_state` in which the beginner's egress, the other's ingress, was found allowed: 0: not
 * judged, or refused since. A row is never removed for a refusal: it remembers who began. */
struct fw_track {
	__u32 check;	   /* hash of the key: a row recycled under its reader is seen by it */
	__u32 last_seen_s; /* CLOCK_MONOTONIC */
	__u32 egress_generation;
	__u32 ingress_generation;
	__u32 egress_rule; /* what allowed it */
	__u32 ingress_rule;
	__u32 flags; /* enum fw_track_flags */
	__u32 pad;
};

/* map `pol_hits`: LRU hash, struct fw_hit_key -> struct fw_hit: denied packets by rule and peer, bounded by the LRU. */
struct fw_hit_key {
	struct fw_addr saddr;
	struct fw_addr daddr;
	__be16 dport_be;
	__u8 protocol;
	__u8 direction;
	__u32 rule;
};
struct fw_hit {
	__u64 packets;
	__u64 last_ns; /* CLOCK_MONOTONIC */
};

/* map `pol_denied`: hash, struct fw_denied_key -> struct fw_hit: every denied packet, by the rule and the pod whose
 * policy it is. The programs add rows; the agent removes those of rules and pods that are gone. */
struct fw_denied_key {
	__u32 rule;
	__u32 ifindex;	 /* of the pod */
	__u32 direction; /* enum fw_policy_direction */
};

/* In a rule's number: set and clear by turns, from one agent to the next, so that no number of one is read as
 * another's.
 */
#define FW_RULE_TURN 0x80000000u

#endif
