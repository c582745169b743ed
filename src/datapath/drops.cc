#include "datapath/drops.h"

#include <array>

namespace fairway::datapath {
namespace {

constexpr auto kReasons = std::to_array<Reason>({
#define FW_X(id, number, name, text) {id, name, text, true},
    FW_DROP_LIST(FW_X)
#undef FW_X
#define FW_X(id, number, name, text) {id, name, text, false},
        FW_EVENT_LIST(FW_X)
#undef FW_X
});

constexpr bool numbers_are_unique_and_fit() {
  for (std::size_t i = 0; i < kReasons.size(); ++i) {
    if (kReasons[i].id >= FW_METRICS_SIZE || kReasons[i].name.empty() || kReasons[i].text.empty()) return false;
    for (std::size_t j = 0; j < i; ++j)
      if (kReasons[i].id == kReasons[j].id || kReasons[i].name == kReasons[j].name) return false;
  }
  return true;
}
static_assert(numbers_are_unique_and_fit());
// Drops are dense from 0, so that a new one cannot take an event's number.
static_assert(FW_DROP_COUNT <= 64 && FW_EVENT_END <= FW_METRICS_SIZE);

}  // namespace

std::span<const Reason> reasons() { return kReasons; }

const Reason* find_reason(std::uint32_t id) {
  for (const Reason& reason : kReasons)
    if (static_cast<std::uint32_t>(reason.id) == id) return &reason;
  return nullptr;
}

}  // namespace fairway::datapath
