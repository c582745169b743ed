// Options of fairway-agent: parsed once, checked before anything is touched (docs/agent.md).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "compile/routing/compile.h"
#include "datapath/datapath.h"
#include "net/ip.h"

namespace fairway::agent {

struct Options {
  std::string node_name;
  std::string kubeconfig;  // empty: KUBECONFIG, else the pod's service account
  std::string run_dir = "/run/fairway";
  std::string state_dir = "/var/lib/fairway";
  std::string bpf_dir = "/sys/fs/bpf/fairway";
  std::string cgroup;  // cgroup2 folder for the socket programs; empty: found by itself
  compile::routing::Mode datapath = compile::routing::Mode::kAuto;
  std::vector<net::Prefix> cluster_ranges;
  std::vector<net::Prefix> service_ranges;
  std::vector<net::IpAddr> dns_ips;
  std::string cluster_domain = "cluster.local";
  std::vector<net::SocketAddr> upstreams;  // empty: /etc/resolv.conf
  bool no_upstreams = false;               // names beyond the cluster are refused at once
  std::uint32_t most_rows = datapath::kMostRows;
  std::uint32_t vni = 1;
  bool verbose = false;
};

// Parses and checks. When the answer is already given (--help, --version, a wrong flag) `exit_code` is set.
struct Parsed {
  Options options;
  int exit_code = -1;
};
Parsed parse_options(int argc, char** argv);

}  // namespace fairway::agent
