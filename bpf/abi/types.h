/* Types that the BPF programs and the C++ side share. Plain C, no libc, all fields explicit, no padding left
 * to the compiler: static_asserts on the C++ side (src/datapath/abi_check.cc) pin every size.
 *
 * Byte order: *_be fields are in network order, all else in host order. */
#ifndef FAIRWAY_ABI_TYPES_H
#define FAIRWAY_ABI_TYPES_H

#include <linux/types.h>

/* An address of either family: IPv6 as it is, IPv4 as ::ffff:a.b.c.d (design section 4). */
struct fw_addr {
	union {
		__u8 bytes[16];
		__u32 words[4];
		__u64 halves[2];
	};
};

#endif
