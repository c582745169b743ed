// DryRun: the node's programs over a made packet, without a trace in the node's tables.
//
// Method (docs/decisions/0010): the BPF object is loaded once more. What the programs read only (kShared) is the node's own, in
// force; everything else is its own, small and empty but for the rows of the ends. So whatever a program does is seen by nobody,
// a packet on the wire pays nothing for it, and what the program would have written tells why it decided so. The tags of the
// programs (the kernel's hash of their instructions) are compared with those in force.
// A load verifies the programs: see kPrograms for how many. Made for a question, and given up with it: a table that grows is
// another one then. Used by one thread, in the node's network namespace.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "datapath/datapath.h"
#include "net/ip.h"

namespace fairway::datapath {

// A connection's first packet: TCP with SYN, UDP, SCTP, an ICMP echo request of the family.
struct MadePacket {
  net::MacAddr smac, dmac;
  net::SocketAddr from, to;
  std::uint8_t protocol = 6;
  std::optional<net::IpAddr> behind = {};  // `to` is a port of the node that leads to this pod: its row is needed, too
};
std::vector<std::uint8_t> build_frame(const MadePacket& packet);

class DryRun {
 public:
  static constexpr std::string_view kPrograms[] = {"pod_in", "uplink_in", "overlay_in"};
  // kUnsupported where the programs in force are not this object's.
  static Result<std::unique_ptr<DryRun>> load(Datapath& datapath);
  ~DryRun();
  DryRun(const DryRun&) = delete;
  DryRun& operator=(const DryRun&) = delete;

  struct Outcome {
    int code = 0;              // TC_ACT_*: the program's answer
    std::string_view dropped;  // drop reason, or empty
    // Rules as the kernel numbers them, of the directions that were judged.
    std::optional<std::uint32_t> egress_rule, ingress_rule;
    net::MacAddr next;  // of the frame as it leaves
  };
  // As if the packet came on the device.
  Result<Outcome> run(std::string_view program, std::uint32_t ifindex, const MadePacket& packet);

 private:
  struct Impl;
  explicit DryRun(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace fairway::datapath
