// Cni: runs the plugins of the node's network configuration list, as a container runtime does (CNI spec 1.1.0).
// https://github.com/containernetworking/cni/blob/main/SPEC.md
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "io/loop.h"
#include "runtime/json.h"

namespace fairway::runtime {

struct Attachment {
  std::string container_id;  // the sandbox
  std::string netns;         // may be empty on DEL
  std::string pod_namespace, pod_name, pod_uid;
  Json capability_args;  // runtimeConfig: portMappings, bandwidth ...
  Json result;           // of ADD; prevResult of DEL and CHECK
};

class Cni {
 public:
  Cni(io::Loop& loop, std::string conf_dir, std::vector<std::string> bin_dirs);
  ~Cni();

  // Without a configuration folder, pods have loopback alone.
  bool enabled() const { return !conf_dir_.empty(); }
  void add(Attachment attachment, std::function<void(Result<Json>)> done);
  void del(Attachment attachment, std::function<void(Status)> done);
  void status(std::function<void(Status)> done);
  void gc(const std::vector<std::string>& valid_container_ids, std::function<void(Status)> done);

 private:
  struct Network;
  struct Chain;
  Result<Network> load() const;
  void run(const std::string& command, bool reverse, Attachment attachment, Json extra, std::function<void(Result<Json>)> done);
  void step(std::shared_ptr<Chain> chain);

  io::Loop& loop_;
  std::string conf_dir_;
  std::vector<std::string> bin_dirs_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

// "10.1.2.3" ... of a CNI result's ips.
std::vector<std::string> cni_addresses(const Json& result);

}  // namespace fairway::runtime
