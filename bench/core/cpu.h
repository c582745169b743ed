// What this process and the machine use: cores (pinning, and who else was on them) and memory.
#pragma once

#include <sched.h>

#include <vector>

#include "base/result.h"

namespace fairway::bench {

Status pin_to(unsigned cpu);

// Pins for its scope: what is started later must not inherit it.
class Pinned {
 public:
  explicit Pinned(unsigned cpu);
  ~Pinned();
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;

 private:
  cpu_set_t before_;
};

// Clock ticks of /proc/stat, of some cores together.
struct CpuTicks {
  double steal = 0, busy = 0;  // busy: all but idle, iowait and steal
};
CpuTicks cpu_ticks(const std::vector<unsigned>& cpus);
double ticks_per_second();

// CPU seconds that this process and its children that ended have used.
double own_cpu_seconds();

// A line of /proc/self/status in bytes, "VmRSS:" or "VmHWM:".
double memory_bytes(const char* key);

}  // namespace fairway::bench
