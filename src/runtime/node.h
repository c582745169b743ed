// Node: what all pods of a node share. Owned by NodeRuntime; all on the loop.
#pragma once

#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "runtime/cni.h"
#include "runtime/images.h"
#include "runtime/node_runtime.h"
#include "runtime/pod_env.h"
#include "runtime/worker.h"

namespace fairway::runtime {

// Bounds how much is started at one time; the rest waits in turn.
class StartLimiter {
 public:
  explicit StartLimiter(unsigned limit) : free_(limit) {}
  // A slot: given back when the last copy goes.
  using Slot = std::shared_ptr<void>;
  void acquire(std::function<void(Slot)> ready);

 private:
  void release();
  unsigned free_;
  std::deque<std::function<void(Slot)>> waiting_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

// Calls to the API server that nobody needs to hold.
class ApiCalls {
 public:
  explicit ApiCalls(io::Loop& loop) : loop_(loop) {}
  void start(const std::function<k8s::CallPtr(k8s::Done)>& begin, k8s::Done done);

 private:
  io::Loop& loop_;
  std::list<k8s::CallPtr> calls_;
};

// Events as kubelet records them; the same one again raises its count.
class EventRecorder {
 public:
  EventRecorder(k8s::ApiClient& api, ApiCalls& calls, std::string node) : api_(api), calls_(calls), node_(std::move(node)) {}
  // `field_path`: "spec.containers{web}", or empty.
  void record(const Json& involved, const std::string& field_path, const std::string& type, const std::string& reason,
              const std::string& message);

 private:
  struct Known {
    std::string name;
    std::int64_t count = 0, first_ns = 0;
  };
  k8s::ApiClient& api_;
  ApiCalls& calls_;
  std::string node_;
  std::map<std::string, Known> known_;  // bounded
  std::int64_t last_name_ns_ = 0;
};

struct Node {
  Node(io::Loop& loop, k8s::ApiClient& api, NodeRuntimeConfig config);

  io::Loop& loop;
  k8s::ApiClient& api;
  NodeRuntimeConfig config;
  ImageStore images;
  Worker image_worker;  // in the machine's network namespace
  Worker file_worker;
  Cni cni;
  ApiCalls calls;
  EventRecorder events;
  StartLimiter starts;
  std::function<std::vector<const Json*>()> services;
  std::string machine_resolv_conf;
  std::uint64_t capabilities = 0;  // of this process: more cannot be given
  std::int64_t memory_bytes = 0;
  std::string runc_version;     // "1.1.5+ds1"
  std::int64_t pids_limit = 0;  // of a container; 0 where the machine has no pids controller

  std::string pods_dir() const { return config.node_dir + "/pods"; }
  std::string run_dir() const { return config.node_dir + "/run"; }
  std::string runc_root() const { return run_dir() + "/runc"; }
  // Short, since a socket's name has 107 bytes.
  std::string shim_socket(const std::string& container_id) const { return run_dir() + "/c/" + container_id.substr(0, 16); }

  // Fetches ConfigMaps and Secrets ("configmaps/NAME"); a missing one is null.
  void fetch(const std::string& ns, const std::vector<std::string>& names, std::function<void(Result<ConfigObjects>)> done);
};

std::string random_hex(std::size_t digits);

}  // namespace fairway::runtime
