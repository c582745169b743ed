/* SPDX-License-Identifier: GPL-2.0 */
/* ICMP of both families, and ARP. The kernel's own headers for these pull in the C library's, which BPF has not. */
#ifndef FAIRWAY_LIB_ICMP_H
#define FAIRWAY_LIB_ICMP_H

#include <linux/types.h>

struct fw_icmp {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	union {
		__be32 word; /* ICMPv6's MTU */
		struct {
			__be16 id;  /* echo */
			__be16 low; /* IPv4's next-hop MTU (RFC 1191) */
		};
	};
};

enum {
	FW_ICMP4_ECHO_REPLY = 0,
	FW_ICMP4_UNREACHABLE = 3,
	FW_ICMP4_ECHO = 8,
	FW_ICMP4_TIME_EXCEEDED = 11,
	FW_ICMP4_PARAMETER = 12,
	FW_ICMP4_CODE_PORT = 3,
	FW_ICMP4_CODE_FRAG_NEEDED = 4,

	FW_ICMP6_UNREACHABLE = 1,
	FW_ICMP6_TOO_BIG = 2,
	FW_ICMP6_TIME_EXCEEDED = 3,
	FW_ICMP6_LAST_ERROR = 4,
	FW_ICMP6_CODE_PORT = 4,
	FW_ICMP6_ECHO = 128,
	FW_ICMP6_ECHO_REPLY = 129,
	FW_MLD_FIRST = 130,
	FW_MLD_LAST = 132,
	FW_ND_ROUTER_SOLICIT = 133,
	FW_ND_ROUTER_ADVERT = 134,
	FW_ND_SOLICIT = 135,
	FW_ND_ADVERT = 136,
	FW_ND_REDIRECT = 137,
	FW_MLD2_REPORT = 143,
};

struct fw_arp {
	__be16 hardware; /* 1: Ethernet */
	__be16 protocol;
	__u8 hardware_len;
	__u8 protocol_len;
	__be16 operation; /* 1: request, 2: reply */
	__u8 sender_mac[6];
	__be32 sender_ip;
	__u8 target_mac[6];
	__be32 target_ip;
} __attribute__((packed));

#endif
