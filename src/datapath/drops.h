// The names and texts of bpf/abi/drops.h: drop reasons and counted events.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "abi/drops.h"

namespace fairway::datapath {

struct Reason {
  fw_drop id;
  std::string_view name;  // "spoofed-ip"
  std::string_view text;  // one sentence
  bool drop;              // false: an event that is counted, and no drop
};

std::span<const Reason> reasons();
// Null where this program does not know the number (a newer one wrote it).
const Reason* find_reason(std::uint32_t id);

}  // namespace fairway::datapath
