// The shim's two modes. Both return the process's exit status.
#pragma once

#include "shim/runc.h"

namespace fairway::shim {

// One container's life: starts it, writes its log, serves attach and signals, records how it ended.
//   fd 3 (from the runtime, may be gone): one line, "started PID" or "failed".
//   BUNDLE/started: "PID unix_ns".   BUNDLE/exit: JSON {"code","signal","oom","startedAt","finishedAt","error"} (ns).
// Socket (SOCK_SEQPACKET): 'K' and a signal's number as one byte; 'A' with a connection's fd (SCM_RIGHTS): attach.
int run_container(const Options& options);

// One exec: fd 3 is the client's connection, after the runtime's {"ok":true}; the shim speaks frames on it to the end.
int run_exec(const Options& options);

}  // namespace fairway::shim
