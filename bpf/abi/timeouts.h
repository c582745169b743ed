/* Seconds without a packet after which a row of a flow or of a tracked connection counts for nothing: the programs look
 * when they find a row, the agent's sweep in between. Who includes this has IPPROTO_* already. */
#ifndef FAIRWAY_ABI_TIMEOUTS_H
#define FAIRWAY_ABI_TIMEOUTS_H

#include "abi/flows.h"
#include "abi/policy.h"

static inline __attribute__((always_inline, unused)) __u32 fw_flow_timeout_s(__u8 protocol, __u32 flags)
{
	if (protocol == IPPROTO_TCP) {
		if (flags & (FW_FLOW_FIN | FW_FLOW_RST))
			return FW_TIMEOUT_TCP_CLOSING_S;
		return flags & FW_FLOW_REPLIED ? FW_TIMEOUT_TCP_S : FW_TIMEOUT_TCP_NEW_S;
	}
	if (protocol == IPPROTO_UDP)
		return flags & FW_FLOW_REPLIED ? FW_TIMEOUT_UDP_S : FW_TIMEOUT_UDP_NEW_S;
	return FW_TIMEOUT_ICMP_S;
}

#define FW_TRACK_BOTH_FIN (FW_TRACK_LOW_FIN | FW_TRACK_HIGH_FIN)

static inline __attribute__((always_inline, unused)) __u32 fw_track_timeout_s(__u8 protocol, __u32 flags)
{
	switch (protocol) {
	case IPPROTO_TCP:
		if ((flags & FW_TRACK_RST) || (flags & FW_TRACK_BOTH_FIN) == FW_TRACK_BOTH_FIN)
			return FW_TIMEOUT_TCP_CLOSING_S;
		return flags & FW_TRACK_REPLIED ? FW_TIMEOUT_TCP_S : FW_TIMEOUT_TCP_NEW_S;
	case IPPROTO_SCTP:
		return flags & FW_TRACK_REPLIED ? FW_TIMEOUT_SCTP_S : FW_TIMEOUT_TCP_NEW_S;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return FW_TIMEOUT_ICMP_S;
	}
	return flags & FW_TRACK_REPLIED ? FW_TIMEOUT_UDP_S : FW_TIMEOUT_UDP_NEW_S;
}

#endif
