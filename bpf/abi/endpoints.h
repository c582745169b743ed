/* Endpoints: who has which address. One row per pod address in the cluster and per node address. */
#ifndef FAIRWAY_ABI_ENDPOINTS_H
#define FAIRWAY_ABI_ENDPOINTS_H

#include "abi/types.h"

enum fw_endpoint_flags {
	FW_EP_LOCAL = 1 << 0, /* a pod of this node: `ifindex` and `mac` are valid */
	FW_EP_NODE = 1 << 1,  /* a node's own address, this node's or another's: its stack gets the packet */
	FW_EP_NAT = 1 << 2,   /* the pod has (had) flows translated per packet: replies to it need the reverse lookup.
			       * Set by the datapath itself on first use, never cleared while the pod lives: a writer
			       * keeps it (Datapath::put_endpoint does) */
	FW_EP_TRACK =
		1 << 3, /* isolated, or about to be: its flows need conntrack (policy). PolicyTables::set_tracked() */
	FW_EP_SHAPED = 1 << 4, /* a pod of this node with a limit to what it receives: the queue of its veth's host
				* side holds it, so packets go there and never by redirect_peer */
};
#define FW_EP_KEPT (FW_EP_NAT | FW_EP_TRACK) /* a writer of endpoints keeps them while the same pod has the address */

/* map `endpoints`: hash, struct fw_addr -> struct fw_endpoint. Written by the agent. */
struct fw_endpoint {
	__u32 ifindex;	  /* local pod: host side of its veth, in the node's namespace */
	__u32 node;	  /* key in `nodes`; 0 = this node */
	__u32 flags;	  /* enum fw_endpoint_flags */
	__u32 generation; /* differs for each pod that has had this address */
	__u8 mac[6];	  /* local pod: MAC of the pod's own interface */
	__u8 pad[2];
};

/* map `local_ifs`: hash, __u32 ifindex of a host veth -> what may come out of the pod behind it. */
struct fw_local_if {
	struct fw_addr v4; /* all zero: the pod has no IPv4 */
	struct fw_addr v6;
	__u8 mac[6];	  /* the pod's MAC: any other source MAC is dropped */
	__u8 host_mac[6]; /* the veth's host side: source MAC of what is sent to the pod */
	__u32 flags;	  /* enum fw_if_flags */
};

/* NAT and HAIRPIN are set by the datapath itself; a writer may write 0, the next translated packet sets them again. */
enum fw_if_flags {
	FW_IF_NAT = 1 << 0,	  /* has flows translated per packet: its direct flows may clash with them */
	FW_IF_HAIRPIN = 1 << 1,	  /* has spoken to itself through a Service: a packet to a VIP may be a reply */
	FW_IF_TRACK = 1 << 2,	  /* as FW_EP_TRACK, for what the pod sends */
	FW_IF_HOST_PORT = 1 << 3, /* written by the agent: a port of the node leads to this pod, so whatever it sends
				   * may be a reply that leaves with the node's address */
};

enum fw_node_mode { FW_NODE_NATIVE = 0, FW_NODE_VXLAN = 1 };

/* map `nodes`: hash, __u32 node id (> 0) -> how to reach that node. */
struct fw_node {
	struct fw_addr underlay_v4; /* unset: not reachable over this family */
	struct fw_addr underlay_v6;
	__u32 mode; /* enum fw_node_mode */
	__u32 mtu;  /* largest inner IP packet towards it, bytes */
};

/* map `config`: array of one row. */
struct fw_config {
	struct fw_addr node_v4; /* this node's addresses: masquerade source */
	struct fw_addr node_v6;
	__u32 uplink_ifindex;
	__u32 vxlan_ifindex; /* 0: no overlay device */
	__u32 vxlan_vni;
	__u32 uplink_mtu;
	struct fw_addr cluster_v4; /* pod range of the whole cluster: never masqueraded */
	struct fw_addr cluster_v6;
	__u8 cluster_v4_len; /* prefix lengths within the 128-bit form: IPv4 /16 is 112 */
	__u8 cluster_v6_len;
	__u8 service_v4_len;
	__u8 service_v6_len;
	__u32 flags;		   /* enum fw_config_flags */
	struct fw_addr service_v4; /* service ranges: unknown VIPs in them are rejected, never leaked */
	struct fw_addr service_v6;
	__u32 host_service_ifindex; /* the node's veth to which the service ranges are routed; 0: none */
	__u16 masq_port_min;	    /* masquerade ports, host order, both inclusive. Disjoint from the node's */
	__u16 masq_port_max; /* ip_local_port_range and the NodePort range, so that no socket of the node clashes */
	__u8 host_service_mac[6]; /* filled by Datapath */
	__u8 pad[2];
};
#define FW_MASQ_PORT_MIN 16384 /* what Datapath fills in where both are 0 */
#define FW_MASQ_PORT_MAX 29999

enum fw_config_flags {
	FW_CFG_MASQUERADE_V4 = 1 << 0,
	FW_CFG_MASQUERADE_V6 = 1 << 1,
	FW_CFG_SERVICES_SYNCED =
		1 << 2,			/* set once every Service source has synced; before, an unknown VIP passes on */
	FW_CFG_NODE_FRONTENDS = 1 << 3, /* `frontends` has rows of this node's own addresses: packets to the node are
					 * looked up. Kept by Datapath (set_node_frontends) */
};

#endif
