// /etc/hosts, /etc/resolv.conf and the hostname, as kubelet writes them. Pure.
// pkg/kubelet/kubelet_pods.go (hosts), pkg/kubelet/network/dns (resolv.conf).
#pragma once

#include <string>
#include <vector>

#include "runtime/json.h"
#include "runtime/pod_env.h"

namespace fairway::runtime {

struct DnsFacts {
  std::vector<std::string> servers;  // the cluster's
  std::string domain;                // cluster.local
  std::string machine_resolv_conf;   // content, for dnsPolicy Default
};

std::string pod_hostname(const Json& pod, const std::string& node_name);
std::string render_hosts(const PodFacts& facts, const std::string& domain);
std::string render_resolv_conf(const Json& pod, const DnsFacts& dns);

}  // namespace fairway::runtime
