// RealAgent: the agent's own program on a node of its own, with an API that the benchmark makes up.
#pragma once

#include <memory>
#include <string>

#include "core/api_stub.h"
#include "core/harness.h"
#include "core/sandbox.h"

namespace fairway::bench {

class RealAgent {
 public:
  // `listings`: besides the Node object, which is made here. Waits until the agent would take pods.
  static Result<std::unique_ptr<RealAgent>> start(Context& context, const std::string& name, std::map<std::string, Listing> listings);
  ~RealAgent();

  const Netns& netns() const { return netns_; }
  pid_t pid() const { return agent_->pid(); }
  // The plugin's call: command "ADD", for a container in that namespace.
  std::vector<std::string> plugin_env(const std::string& command, const std::string& id, const std::string& pod_netns) const;
  std::string plugin() const { return plugin_; }
  std::string plugin_config() const;
  std::string log() const { return dir_ + "/agent.log"; }

 private:
  RealAgent(Netns netns, Netns fabric, std::string dir) : netns_(std::move(netns)), fabric_(std::move(fabric)), dir_(std::move(dir)) {}
  Status wait_ready();

  Netns netns_, fabric_;
  std::string dir_, plugin_, bpf_dir_, cgroup_;
  std::unique_ptr<Child> api_, agent_;
};

}  // namespace fairway::bench
