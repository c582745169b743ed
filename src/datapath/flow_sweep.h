// FlowSweep: removes expired rows from the table of established flows, a part at a time.
// The timeouts are those of bpf/abi/flows.h, which the programs apply on lookup too (bpf/lib/flow.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "abi/flows.h"
#include "base/result.h"
#include "sys/fd.h"

namespace fairway::datapath {

std::uint32_t flow_timeout_s(std::uint8_t protocol, std::uint32_t flags);

class FlowSweep {
 public:
  explicit FlowSweep(sys::Fd map) : map_(std::move(map)) {}
  Result<std::size_t> run(std::size_t budget);

 private:
  sys::Fd map_;
  bool at_start_ = true;
  std::uint64_t token_ = 0;  // the kernel's place in the table
};

}  // namespace fairway::datapath
