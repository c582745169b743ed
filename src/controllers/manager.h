// ControllerManager: what kube-controller-manager and kube-scheduler do, as far as a lab needs it.
//
// Each controller is level-triggered: informers put keys on its queue, and reconcile(key) compares what is with
// what should be, as if it had never run before. All on one loop, over any ApiClient (in the lab, in process).
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "io/loop.h"
#include "k8s/api_client.h"
#include "net/ip.h"

namespace fairway::controllers {

struct PodRange {
  net::Prefix cluster;        // 10.244.0.0/16
  unsigned node_length = 24;  // a node's share of it
};

struct ControllerConfig {
  std::vector<PodRange> pod_ranges;               // the first is spec.podCIDR
  std::vector<net::Prefix> service_ranges;        // the first address is "kubernetes", the tenth "kube-dns"
  std::vector<net::IpAddr> api_server_addresses;  // behind the Service default/kubernetes
  std::uint16_t api_server_port = 6443;
  std::string cluster_ca_pem;  // for the ConfigMaps kube-root-ca.crt
  std::string cluster_domain = "cluster.local";
  // A node whose Lease and status have not moved for so long is Unknown. Kubernetes: 40 s.
  std::chrono::milliseconds node_grace_period{40'000};
  std::chrono::milliseconds node_monitor_period{2'000};
  // Pods whose node is gone are removed after so long. Kubernetes: 40 s.
  std::chrono::milliseconds pod_gc_quarantine{5'000};
};

class ControllerManager {
 public:
  ControllerManager(io::Loop& loop, k8s::ApiClient& client, ControllerConfig config);
  ~ControllerManager();  // on the loop's thread; cancels all that is under way
  ControllerManager(const ControllerManager&) = delete;
  ControllerManager& operator=(const ControllerManager&) = delete;

  void start();         // once, on the loop's thread
  bool synced() const;  // every informer has its first complete list

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fairway::controllers
