/* Every reason for which the datapath drops or rejects, and every event it counts: one list, from which come the enum,
 * and on the C++ side its names and texts (src/datapath/drops.cc). Append only: numbers are kept across upgrades. */
#ifndef FAIRWAY_ABI_DROPS_H
#define FAIRWAY_ABI_DROPS_H

#include "abi/types.h"

/* X(enumerator, number, "name", "what happened") */
#define FW_DROP_LIST(X)                                                                                                \
	X(FW_DROP_NONE, 0, "none", "not dropped")                                                                      \
	X(FW_DROP_SPOOFED_MAC, 1, "spoofed-mac", "a pod sent from a MAC address that is not its own")                  \
	X(FW_DROP_SPOOFED_IP, 2, "spoofed-ip", "a pod sent from an IP address that is not its own")                    \
	X(FW_DROP_ROGUE_ARP, 3, "rogue-arp", "a pod's ARP claimed an address that is not its own")                     \
	X(FW_DROP_ROGUE_ND, 4, "rogue-nd",                                                                             \
	  "a pod sent a router advertisement, redirect, or another's neighbour entry")                                 \
	X(FW_DROP_MALFORMED, 5, "malformed", "a header is cut short or contradicts itself")                            \
	X(FW_DROP_NOT_IP, 6, "not-ip", "a pod sent a protocol that is neither IP nor ARP")                             \
	X(FW_DROP_UNKNOWN_IF, 7, "unknown-interface", "from a pod's interface that has no row: it is being removed")   \
	X(FW_DROP_MARTIAN, 8, "martian", "from outside, with a loopback or this node's pod address as source")         \
	X(FW_DROP_NO_NODE, 9, "no-node", "the destination's node has no row, or no address of the needed family")      \
	X(FW_DROP_NO_ENDPOINT, 10, "no-endpoint", "an address of the pod range that no pod has")                       \
	X(FW_DROP_NO_BACKEND, 11, "no-backend", "the Service has no endpoint: rejected")                               \
	X(FW_DROP_UNKNOWN_SERVICE, 12, "unknown-service",                                                              \
	  "an address or port of the service range that no Service has: rejected")                                     \
	X(FW_DROP_MASQ_EXHAUSTED, 13, "masquerade-exhausted", "no free masquerade port towards this destination")      \
	X(FW_DROP_MASQ_PROTOCOL, 14, "masquerade-protocol", "beyond the cluster with a protocol that has no ports")    \
	X(FW_DROP_NAT_CLASH, 15, "nat-clash", "two live flows share a tuple and no other source port is free")         \
	X(FW_DROP_TABLE_FULL, 16, "table-full", "the flow table refused a row")                                        \
	X(FW_DROP_FRAGMENT, 17, "fragment", "a later fragment whose first one was not seen")                           \
	X(FW_DROP_REWRITE, 18, "rewrite", "the kernel refused to rewrite the packet")                                  \
	X(FW_DROP_STALE_REPLY, 19, "stale-reply", "an answer to a masquerade port that no flow holds")                 \
	X(FW_DROP_NO_CONFIG, 20, "no-config", "the agent has not configured the datapath")                             \
	X(FW_DROP_NO_LINK, 21, "no-link", "no uplink or overlay device of the needed kind is configured")              \
	X(FW_DROP_POLICY_INGRESS, 22, "policy-ingress", "a policy does not let the receiving pod have it")             \
	X(FW_DROP_POLICY_EGRESS, 23, "policy-egress", "a policy does not let the sending pod send it")                 \
	X(FW_DROP_SPOOFED_OVERLAY, 24, "spoofed-overlay",                                                              \
	  "out of the overlay, but sent by no node, or by another than its source's")

/* Events that are no drops. Numbered from 64 on in the same map. */
#define FW_EVENT_LIST(X)                                                                                               \
	X(FW_EVENT_FLOW_NEW, 64, "flow-new", "a translated flow began")                                                \
	X(FW_EVENT_FLOW_PROMOTED, 65, "flow-promoted", "a flow moved to the table of established ones")                \
	X(FW_EVENT_ESTABLISHED_FULL, 66, "established-full",                                                           \
	  "the established table is full: a flow stayed in the LRU")                                                   \
	X(FW_EVENT_BACKEND_GONE, 67, "backend-gone", "a flow's backend went away: another was picked")                 \
	X(FW_EVENT_STALE_ROW, 68, "stale-row", "a new connection replaced an old flow's row")                          \
	X(FW_EVENT_PORT_CLASH, 69, "port-clash", "a flow got another source port, as two shared a tuple")              \
	X(FW_EVENT_SLOW_PATH, 70, "slow-path", "too large or out of hops: left to the kernel, which answers by ICMP")  \
	X(FW_EVENT_SOCKET_LB, 71, "socket-lb", "a connection to a Service was translated at the socket")               \
	X(FW_EVENT_MASQUERADED, 72, "masqueraded", "a flow beyond the cluster began")                                  \
	X(FW_EVENT_TRACK_NEW, 73, "track-new", "a connection of an isolated pod began")                                \
	X(FW_EVENT_TRACK_PROMOTED, 74, "track-promoted", "a connection moved to the table of established ones")        \
	X(FW_EVENT_TRACK_FULL, 75, "track-full",                                                                       \
	  "the table of established connections is full: one stayed in the LRU")                                       \
	X(FW_EVENT_REJUDGED, 76, "rejudged", "a connection was judged anew after a change of policy")                  \
	X(FW_EVENT_HIT_SKIPPED, 77, "hit-skipped", "denied packets come too fast to note each one's addresses")        \
	X(FW_EVENT_RULE_UNCOUNTED, 78, "rule-uncounted",                                                               \
	  "a denied packet is not counted by its rule: the table is full")

enum fw_drop {
#define FW_X(id, number, name, text) id = number,
	FW_DROP_LIST(FW_X) FW_DROP_COUNT,
	FW_EVENT_LIST(FW_X) FW_EVENT_END,
#undef FW_X
};

#define FW_METRICS_SIZE 128

/* map `metrics`: per-CPU array, enum fw_drop -> struct fw_metric. Never reset. */
struct fw_metric {
	__u64 packets;
	__u64 bytes;
};

#endif
