// Programs that are measured from outside.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "core/child.h"

namespace fairway::bench {

// Runs on, its output in `log`, until the Child goes.
Result<Child> start_program(const Place& place, std::vector<std::string> argv, const std::string& log);

struct Called {
  double milliseconds = 0;  // from before its start to after its end
  int exit_code = -1;
  std::string out;
};
struct Call {
  std::vector<std::string> argv, env;
  std::string input;
};
// Starts all at once and waits for all. In the caller's namespaces: run it in a Child.
Result<std::vector<Called>> call_programs(const std::vector<Call>& calls);

// Resident memory and that of the BPF maps that it holds, in bytes; CPU time in seconds.
struct Memory {
  double resident = 0, maps = 0;
};
Result<Memory> memory_of(pid_t pid);
double cpu_seconds_of(pid_t pid);
// Waits until the process uses less than a twentieth of a core for a second.
Status wait_until_quiet(pid_t pid, std::chrono::seconds at_most);

}  // namespace fairway::bench
