// Starting processes through runc, and holding their stdio.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace fairway::shim {

struct Options {
  std::string runc, root, id;    // program, its state folder, container
  std::string bundle;            // run: folder of config.json and rootfs/
  std::string lower_dir, lower;  // run: overlay's layers, relative to lower_dir, joined by ':', upmost first
  std::string log, socket;       // run: log file, socket for attach and signals
  std::string memory_cgroup;     // run: to tell an OOM kill; or empty
  std::string process;           // exec: process.json; removed by the shim
  bool tty = false, want_stdin = false, stdin_once = false;
};

// The standard streams as the shim sees them: ends of pipes, or the pty's master in both in and out.
struct Stdio {
  int in = -1, out = -1, err = -1;
  bool tty = false;
};

struct Started {
  pid_t pid = -1;  // of the container's process, a child of ours (subreaper)
  Stdio stdio;
  std::string error;  // JSON-escaped, where pid < 0
};

// Runs `runc run -d` or `runc exec -d` with new stdio and waits for it. The overlay is mounted in a mount
// namespace that lives as long as runc: afterwards only the container's own namespace holds it, so that
// nothing is left on the machine whatever dies.
Started start_with_runc(const Options& options, bool exec);
void runc_delete(const Options& options);
void resize(const Stdio& stdio, unsigned columns, unsigned rows);

}  // namespace fairway::shim
