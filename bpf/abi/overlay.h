/* VXLAN, as all nodes of a cluster speak it. */
#ifndef FAIRWAY_ABI_OVERLAY_H
#define FAIRWAY_ABI_OVERLAY_H

#define FW_VXLAN_PORT 4789 /* of the overlay device too: hostnet::kVxlanPort */

#endif
