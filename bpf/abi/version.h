/* Version of the whole ABI of bpf/abi. Raised with each change of a layout or of a meaning that an older program or
 * agent would misread; a field added in what was padding does not raise it. Adoption compares it (src/datapath). */
#ifndef FAIRWAY_ABI_VERSION_H
#define FAIRWAY_ABI_VERSION_H

#define FW_ABI_VERSION 2

#endif
