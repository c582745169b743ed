// FlowSweep, TrackSweep: remove expired rows from the tables of established flows, a part at a time.
// The timeouts are those of bpf/abi, which the programs apply on lookup too (bpf/lib/flow.h, track.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "abi/flows.h"
#include "abi/policy.h"
#include "base/result.h"
#include "sys/fd.h"

namespace fairway::datapath {

std::uint32_t flow_timeout_s(std::uint8_t protocol, std::uint32_t flags);
std::uint32_t track_timeout_s(std::uint8_t protocol, std::uint32_t flags);

// Key and Row have `protocol`, and `last_seen_s` and `flags`.
template <typename Key, typename Row>
class Sweep {
 public:
  explicit Sweep(sys::Fd map) : map_(std::move(map)) {}
  Result<std::size_t> run(std::size_t budget);

 private:
  sys::Fd map_;
  bool at_start_ = true;
  std::uint64_t token_ = 0;  // the kernel's place in the table
};

using FlowSweep = Sweep<fw_flow_key, fw_flow>;
using TrackSweep = Sweep<fw_track_key, fw_track>;

}  // namespace fairway::datapath
