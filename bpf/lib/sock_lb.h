/* SPDX-License-Identifier: GPL-2.0 */
/* Service translation at the socket: TCP's connect() gets the backend's address once, and the flow costs nothing more.
 * UDP is never translated here: a backend that goes away under a connected UDP socket would take the socket with it. */
#ifndef FAIRWAY_LIB_SOCK_LB_H
#define FAIRWAY_LIB_SOCK_LB_H

#include "lib/service.h"

#define FW_ECONNREFUSED 111
#define FW_SOCK_GO 1
#define FW_SOCK_REFUSE 0

static __always_inline int fw_sock_refuse(__u32 why)
{
	fw_count(why, 0);
	bpf_set_retval(-FW_ECONNREFUSED);
	return FW_SOCK_REFUSE;
}

/* connect(): `addr` and `port` are the destination, rewritten in place. `cookie` names the socket.
 * FW_SOCK_GO or FW_SOCK_REFUSE; *changed tells whether the destination is another now. */
static __always_inline int fw_sock_connect(__u64 cookie, struct fw_addr *addr, __be16 *port, bool *changed)
{
	const struct fw_config *cfg = fw_get_config();
	const struct fw_frontend *fe = fw_find_frontend(addr, *port, IPPROTO_TCP);
	struct fw_sock_origin origin = {};
	struct fw_backend be = {};

	if (!fe) {
		if (cfg && (cfg->flags & FW_CFG_SERVICES_SYNCED) && fw_in_service_range(cfg, addr))
			return fw_sock_refuse(FW_DROP_UNKNOWN_SERVICE);
		return FW_SOCK_GO;
	}
	if (fe->flags & (FW_FE_NO_SOCKET_LB | FW_FE_NODE_LOCAL))
		return FW_SOCK_GO;
	if (!fw_pick_backend(fe, &be))
		return fw_sock_refuse(FW_DROP_NO_BACKEND);
	origin.service = *addr;
	origin.service_port_be = *port;
	origin.peer = be.addr;
	origin.peer_port_be = be.port_be;
	bpf_map_update_elem(&sock_origin, &cookie, &origin, BPF_ANY);
	*addr = be.addr;
	*port = be.port_be;
	*changed = true;
	fw_count(FW_EVENT_SOCKET_LB, 0);
	return FW_SOCK_GO;
}

/* getpeername(): the process sees the address it asked for. */
static __always_inline bool fw_sock_peername(__u64 cookie, struct fw_addr *addr, __be16 *port)
{
	struct fw_sock_origin *origin = bpf_map_lookup_elem(&sock_origin, &cookie);

	if (!origin || !fw_addr_eq(&origin->peer, addr) || origin->peer_port_be != *port)
		return false;
	*addr = origin->service;
	*port = origin->service_port_be;
	return true;
}

static __always_inline void fw_sock_read6(const struct bpf_sock_addr *ctx, struct fw_addr *addr)
{
	addr->words[0] = ctx->user_ip6[0];
	addr->words[1] = ctx->user_ip6[1];
	addr->words[2] = ctx->user_ip6[2];
	addr->words[3] = ctx->user_ip6[3];
}

static __always_inline void fw_sock_write6(struct bpf_sock_addr *ctx, const struct fw_addr *addr)
{
	ctx->user_ip6[0] = addr->words[0];
	ctx->user_ip6[1] = addr->words[1];
	ctx->user_ip6[2] = addr->words[2];
	ctx->user_ip6[3] = addr->words[3];
}

#endif
