// PolicyTables: the kernel's side of policy (bpf/abi/policy.h) as the policy sink sees it.
//
// Place: under sinks/policy_sink. Two implementations: Datapath (the kernel's maps) and MemoryPolicyTables (tests without a kernel).
// The order of a change is the sink's: the idle bank's rows, set_policy_generation(), the wait for readers, the same rows in the
// bank that became idle. The generation is one store, which a packet reads once; it ages every established verdict, also
// those that the programs remember (bpf/lib/straight.h).
// Thread: control thread.
#pragma once

#include <cstdint>

#include "abi/endpoints.h"
#include "abi/policy.h"
#include "datapath/map.h"
#include "net/ip.h"

namespace fairway::datapath {

class PolicyTables {
 public:
  virtual ~PolicyTables() = default;

  virtual Map<std::uint32_t, fw_subject>& pol_subjects() = 0;
  virtual Map<fw_addr, fw_peer_class>& pol_peers() = 0;
  // The kernel's lookup() of a prefix gives the longest row that contains it, which may be another prefix's: dump() to know.
  virtual Map<fw_cidr_key, fw_peer_class>& pol_cidrs() = 0;
  virtual Map<std::uint32_t, fw_port_chunk>& pol_ports() = 0;
  virtual Map<fw_verdict_key, fw_verdict_row>& pol_verdicts() = 0;
  virtual Map<fw_track_key, fw_track>& track_new() = 0;  // half-open
  virtual Map<fw_track_key, fw_track>& track() = 0;      // established, and what the agent seeds
  virtual Map<fw_hit_key, fw_hit>& pol_hits() = 0;
  virtual Map<fw_denied_key, fw_hit>& pol_denied() = 0;

  virtual std::uint32_t policy_generation() const = 0;
  virtual void set_policy_generation(std::uint32_t generation) = 0;  // 0: nothing is judged
  // Sets or clears FW_IF_TRACK of a pod's interface and FW_EP_TRACK of its addresses. kNotFound where it has no row in `local_ifs`.
  virtual Status set_tracked(std::uint32_t ifindex, bool tracked) = 0;

  // Ports first..last of a protocol get a class in one bank. kInvalid for a protocol without ports, or an empty range.
  Status set_port_classes(unsigned bank, net::Protocol protocol, std::uint16_t first, std::uint16_t last, std::uint16_t port_class);
  Result<std::uint16_t> port_class(unsigned bank, net::Protocol protocol, std::uint16_t port);
};

// The key of a prefix in `pol_cidrs`.
fw_cidr_key cidr_key(const net::Prefix& prefix);
net::Prefix prefix_of(const fw_cidr_key& key);

// The row's key of a connection, in `track` and `track_new`. `low_began`: FW_TRACK_LOW_BEGAN or 0, where `from` sent its first packet.
struct TrackKey {
  fw_track_key key{};
  std::uint32_t low_began = 0;
};
TrackKey track_key(const net::SocketAddr& from, const net::SocketAddr& to, std::uint8_t protocol);
// A row as the agent seeds it: established, in its true direction, judged in no generation yet. It goes into track().
fw_track seeded_row(const TrackKey& of, std::uint32_t now_s);

}  // namespace fairway::datapath
