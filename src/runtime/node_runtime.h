// NodeRuntime: what kubelet and the container runtime are to a node, for the lab. It registers the Node, runs the pods
// that are bound to it as real containers (runc, overlayfs, the real CNI plugin), reports their status, and serves
// exec, attach, logs and port-forward on the runtime's socket (docs/architecture.md).
//
// Place: the process `fairway lab-node`, inside the node's network namespace and the machine's mount namespace.
// Thread: all on one loop; images are made by threads of their own. Pods outlive this process: each container is held
// by a fairway-shim, and a new NodeRuntime adopts what it finds on disk (docs/runtime.md).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "io/loop.h"
#include "k8s/api_client.h"

namespace fairway::runtime {

struct NodeRuntimeConfig {
  std::string node_name;
  std::vector<std::string> node_ips;             // primary family first
  std::string node_dir;                          // the lab's nodes/NAME: run/, pods/ are ours
  std::string netns;                             // path of the node's own network namespace: hostNetwork pods
  std::string machine_netns = "/proc/1/ns/net";  // where the machine's network is: image downloads alone
  std::string cni_conf_dir;                      // *.conflist, first by name. Empty: pods have loopback only (tests)
  std::vector<std::string> cni_bin_dirs;         // where plugins are, by their `type`
  std::string runc = "/usr/sbin/runc";
  std::string shim;                                  // path of fairway-shim
  std::string agnhost;                               // path of fairway-agnhost, copied into the agnhost and pause images
  std::string pod_netns_prefix = "/run/netns/fwp-";  // of the pods' network namespaces
  std::string cgroup_parent;                         // "/fairway-lab/NODE/pods": below cgroup2's mount and each v1 controller's
  std::string image_dir = "/var/cache/fairway/images";
  std::vector<std::string> dns_servers;  // the cluster DNS Service's addresses
  std::string cluster_domain = "cluster.local";
  std::string service_account_token;  // mounted into pods as any cluster's; empty: no token volume
  std::string api_ca_pem;             // ca.crt beside it
  std::map<std::string, std::string> node_labels;
  unsigned max_pods = 110;
  std::int64_t pids_limit = 1024;  // processes and threads of one container; a pod's own are kubelet's podPidsLimit
  unsigned parallel_starts = 4;    // sandboxes and containers being started at one time
};

class NodeRuntime {
 public:
  NodeRuntime(io::Loop& loop, k8s::ApiClient& api, NodeRuntimeConfig config);
  ~NodeRuntime();  // pods go on running
  NodeRuntime(const NodeRuntime&) = delete;
  NodeRuntime& operator=(const NodeRuntime&) = delete;

  // Checks the machine (runc, shim, cgroups), adopts pods from disk, listens on node_dir/run/runtime.sock, and begins.
  // An error here is final: something is missing, and says what.
  Status start();
  // No pod is touched: only this process's part ends.
  void stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fairway::runtime
