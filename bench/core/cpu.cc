#include "core/cpu.h"

#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>

#include "sys/file.h"

namespace fairway::bench {

Status pin_to(unsigned cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  if (sched_setaffinity(0, sizeof set, &set) != 0) return errno_error(errno, "pin to core " + std::to_string(cpu));
  return {};
}

Pinned::Pinned(unsigned cpu) {
  sched_getaffinity(0, sizeof before_, &before_);
  (void)pin_to(cpu);
}

Pinned::~Pinned() { sched_setaffinity(0, sizeof before_, &before_); }

CpuTicks cpu_ticks(const std::vector<unsigned>& cpus) {
  CpuTicks out;
  std::ifstream stat("/proc/stat");
  for (std::string line; std::getline(stat, line);) {
    std::istringstream in(line);
    std::string name;
    double user, nice, system, idle, iowait, irq, softirq, steal;
    if (!(in >> name >> user >> nice >> system >> idle >> iowait >> irq >> softirq >> steal)) continue;
    bool wanted = std::any_of(cpus.begin(), cpus.end(), [&](unsigned c) { return name == "cpu" + std::to_string(c); });
    if (!wanted) continue;
    out.steal += steal;
    out.busy += user + nice + system + irq + softirq;
  }
  return out;
}

double ticks_per_second() { return static_cast<double>(sysconf(_SC_CLK_TCK)); }

double own_cpu_seconds() {
  double out = 0;
  for (int who : {RUSAGE_SELF, RUSAGE_CHILDREN}) {
    rusage usage{};
    getrusage(who, &usage);
    for (const timeval& t : {usage.ru_utime, usage.ru_stime}) out += static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  }
  return out;
}

double memory_bytes(const char* key) {
  const auto text = sys::read_file("/proc/self/status");
  const auto at = text.ok() ? text->find(key) : std::string::npos;
  return at == std::string::npos ? 0 : std::strtod(text->c_str() + at + std::strlen(key), nullptr) * 1024;
}

}  // namespace fairway::bench
