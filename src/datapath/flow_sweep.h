// FlowSweep, TrackSweep: remove expired rows from the tables of established flows, a part at a time.
// The timeouts are those of bpf/abi/timeouts.h, which the programs apply on lookup too.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "abi/flows.h"
#include "abi/policy.h"
#include "base/result.h"
#include "sys/fd.h"

namespace fairway::datapath {

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
