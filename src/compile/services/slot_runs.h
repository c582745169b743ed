// SlotRuns: which runs of the array `svc_slots` are in use. A buddy allocator: a run's length is a power of two and its
// start a multiple of it, so that runs found in a pinned array can be taken over knowing only start and count.
#pragma once

#include <bit>
#include <cstdint>
#include <optional>
#include <set>
#include <vector>

namespace fairway::compile::services {

struct Run {
  std::uint32_t base = 0;
  std::uint32_t capacity = 0;  // 0: no run; else a power of two
  bool operator==(const Run&) const = default;
};

class SlotRuns {
 public:
  static constexpr std::uint32_t kSmallest = 4;

  explicit SlotRuns(std::uint32_t slots) : size_(std::bit_floor(slots)), free_(33) {
    if (size_ >= kSmallest) free_[order(size_)].insert(0);
  }
  static std::uint32_t capacity_for(std::uint32_t count) { return std::bit_ceil(std::max(count, kSmallest)); }

  // More slots behind those there are: as many again, until there are `slots`.
  void grow(std::uint32_t slots) {
    while (size_ < slots && size_ >= kSmallest && size_ < (1U << 31)) {
      const Run added{size_, size_};
      size_ *= 2;
      free(added);
    }
  }
  std::uint32_t size() const { return size_; }

  // The lowest that fits; nothing if there is none.
  std::optional<Run> allocate(std::uint32_t count) {
    if (count > size_) return std::nullopt;
    const std::uint32_t capacity = capacity_for(count);
    for (unsigned at = order(capacity); at < free_.size(); ++at) {
      if (free_[at].empty()) continue;
      const std::uint32_t base = *free_[at].begin();
      free_[at].erase(free_[at].begin());
      split(base, at, order(capacity), base);
      return Run{base, capacity};
    }
    return std::nullopt;
  }
  // Takes a run that is known to be in use; false if it overlaps another or is none of ours.
  bool reserve(Run run) {
    if (run.capacity < kSmallest || !std::has_single_bit(run.capacity) || run.base % run.capacity != 0) return false;
    for (unsigned at = order(run.capacity); at < free_.size() && (1ULL << at) <= size_; ++at) {
      const std::uint32_t base = run.base & ~static_cast<std::uint32_t>((1ULL << at) - 1);
      const auto it = free_[at].find(base);
      if (it == free_[at].end()) continue;
      free_[at].erase(it);
      split(base, at, order(run.capacity), run.base);
      return true;
    }
    return false;
  }
  void free(Run run) {
    unsigned at = order(run.capacity);
    for (; (2ULL << at) <= size_; ++at) {
      const auto buddy = free_[at].find(run.base ^ (1U << at));
      if (buddy == free_[at].end()) break;
      free_[at].erase(buddy);
      run.base &= ~(1U << at);
    }
    free_[at].insert(run.base);
  }

 private:
  static unsigned order(std::uint32_t capacity) { return static_cast<unsigned>(std::countr_zero(capacity)); }
  // Halves the block until it has order `to`, keeping the half that holds `keep`.
  void split(std::uint32_t base, unsigned from, unsigned to, std::uint32_t keep) {
    while (from > to) {
      --from;
      const std::uint32_t upper = base + (1U << from);
      if (keep >= upper) {
        free_[from].insert(base);
        base = upper;
      } else {
        free_[from].insert(upper);
      }
    }
  }

  std::uint32_t size_;
  std::vector<std::set<std::uint32_t>> free_;  // by order: starts of free blocks
};

}  // namespace fairway::compile::services
