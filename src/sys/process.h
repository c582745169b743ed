// Starting programs: argv only, never a shell. For runc, skopeo, tar and the like.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>
#include <vector>

#include "base/result.h"

namespace fairway::sys {

struct RunResult {
  int exit_code = -1;  // 128 + signal where one ended it
  std::string out;     // capped at 16 MiB each
  std::string err;
};

// Runs to the end and captures stdout and stderr; kills the process group at the deadline (kTimeout).
// Blocks: for the lab's own threads and tests, not for a loop thread that serves others.
Result<RunResult> run(const std::vector<std::string>& argv, const std::string& stdin_text = "",
                      std::chrono::milliseconds deadline = std::chrono::seconds(60));
// The same, and an exit code other than 0 is an Error that holds the program's last words.
Result<std::string> run_ok(const std::vector<std::string>& argv, const std::string& stdin_text = "",
                           std::chrono::milliseconds deadline = std::chrono::seconds(60));

}  // namespace fairway::sys
