/* SPDX-License-Identifier: GPL-2.0 */
/* What every topic stands on: kernel headers, the ABI, addresses. */
#ifndef FAIRWAY_LIB_BASE_H
#define FAIRWAY_LIB_BASE_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <stdbool.h>
#include <stddef.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "abi/drops.h"
#include "abi/endpoints.h"
#include "abi/flows.h"
#include "abi/policy.h"
#include "abi/services.h"
#include "abi/types.h"
#include "abi/version.h"

/* "Not ours": other tools' programs and the kernel's stack go on with the packet. */
#define FW_PASS TC_ACT_UNSPEC

#define FW_ETH_HLEN 14
#define FW_AF_INET 2
#define FW_AF_INET6 10

/* A topic's entry: verified once by itself, not once per caller. Its pointers may be null for the verifier, and 6.1
 * takes them for a map's key or value only once they are copied to the stack or lie in a map. */
#define FW_GLOBAL __attribute__((noinline))
/* A function that is not inlined, but verified with each caller: it may pass on the caller's keys. */
#define FW_LOCAL static __attribute__((noinline))

static __always_inline bool fw_addr_eq(const struct fw_addr *a, const struct fw_addr *b)
{
	return a->halves[0] == b->halves[0] && a->halves[1] == b->halves[1];
}

static __always_inline bool fw_addr_is_zero(const struct fw_addr *a) { return !(a->halves[0] | a->halves[1]); }

static __always_inline bool fw_addr_is_v4(const struct fw_addr *a)
{
	return a->halves[0] == 0 && a->words[2] == bpf_htonl(0xffff);
}

static __always_inline void fw_addr_set_v4(struct fw_addr *a, __be32 v4)
{
	a->halves[0] = 0;
	a->words[2] = bpf_htonl(0xffff);
	a->words[3] = v4;
}

/* `length` counts within 128 bits; 0 means that there is no such range. */
static __always_inline bool fw_in_range(const struct fw_addr *a, const struct fw_addr *range, __u32 length)
{
	__u64 high = bpf_be64_to_cpu(a->halves[0] ^ range->halves[0]);
	__u64 low = bpf_be64_to_cpu(a->halves[1] ^ range->halves[1]);

	if (length == 0 || length > 128)
		return false;
	if (length <= 64)
		return (high >> (64 - length)) == 0;
	return high == 0 && (low >> ((128 - length) & 63)) == 0;
}

static __always_inline __u32 fw_now_s(void) { return (__u32)(bpf_ktime_get_ns() / 1000000000ULL); }

#endif
