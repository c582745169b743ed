// The verdict of the tables in force, looked up row by row as the programs do (fw_verdict_of in bpf/lib/policy.h).
//
// Place: what `fairway explain` tells, and what the programs' own answer is compared with. It does not know that a pod's own
// address and its node's are never judged: that is decided before a verdict is asked for.
#pragma once

#include <cstdint>
#include <optional>

#include "datapath/policy_tables.h"

namespace fairway::datapath {

struct TableVerdict {
  bool allowed = true;
  bool looked = false;     // some policy looks at this direction of the pod
  std::uint32_t rule = 0;  // as the kernel numbers it; 0: none
  std::uint32_t subject = 0;
  std::uint32_t peer = FW_PEER_NONE;
  std::uint16_t port_class = FW_PORT_NONE;
  bool by_default = false;  // no row decided, but the subject's default
};

// `ifindex`: of the pod's host veth. `peer`: the other end; `port` is the receiver's. On the control thread, which alone
// writes the tables: they are of one state.
Result<TableVerdict> look_up_verdict(PolicyTables& tables, std::uint32_t ifindex, fw_policy_direction direction, const net::IpAddr& peer,
                                     std::uint8_t protocol, std::uint16_t port);

}  // namespace fairway::datapath
