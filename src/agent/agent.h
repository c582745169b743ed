// Agent: the node's process, wired: sources -> Cluster -> Flow -> kernel, beside them CNI, DNS and agent.sock.
//
// One control thread, one loop. Order at start (promises 1 and 3): pinned datapath adopted, last known objects restored,
// DNS and CNI served, and only then an API server dialed. Nothing of what was found is removed before every source has
// synced. At the end nothing is undone: the datapath goes on.
#pragma once

#include <memory>

#include "agent/options.h"
#include "base/result.h"
#include "io/loop.h"

namespace fairway::agent {

class Agent {
 public:
  static Result<std::unique_ptr<Agent>> create(io::Loop& loop, const Options& options);
  ~Agent();
  Agent(const Agent&) = delete;
  Agent& operator=(const Agent&) = delete;

 private:
  struct Impl;
  explicit Agent(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// main() without the process: parses, runs until SIGTERM or SIGINT. The exit code.
int run(int argc, char** argv);

}  // namespace fairway::agent
