// Layout: where everything of a lab is (docs/architecture.md). Pure: names from names.
#pragma once

#include <string>
#include <string_view>

namespace fairway::lab {

inline constexpr char kFabricNetns[] = "/run/netns/fw-fabric";
inline constexpr char kOutsideNetns[] = "/run/netns/fw-outside";
inline constexpr char kNetnsPrefix[] = "fw-";      // nodes, fabric, outside
inline constexpr char kPodNetnsPrefix[] = "fwp-";  // pods, made by the node runtime
inline constexpr char kCgroupName[] = "fairway-lab";
inline constexpr char kApiListener[] = "api";                 // the API server's socket on 127.0.0.1, by sys/listen_fds.h
inline constexpr char kLockPath[] = "/run/fairway-lab.lock";  // one lab a machine: its names are the machine's

struct Layout {
  std::string dir;  // FAIRWAY_LAB_DIR, absolute

  std::string spec() const { return dir + "/lab.json"; }
  std::string kubeconfig() const { return dir + "/kubeconfig"; }
  std::string pki() const { return dir + "/pki"; }
  std::string api_database() const { return dir + "/api.db"; }
  std::string log(const std::string& process) const { return dir + "/logs/" + process + ".log"; }
  std::string supervisor_socket() const { return dir + "/supervisor.sock"; }
  std::string node(const std::string& name) const { return dir + "/nodes/" + name; }
  std::string node_run(const std::string& name) const { return node(name) + "/run"; }
  std::string node_state(const std::string& name) const { return node(name) + "/state"; }
  std::string node_bpf(const std::string& name) const { return node(name) + "/bpf"; }
  std::string node_cni(const std::string& name) const { return node(name) + "/cni"; }
  std::string node_kubeconfig(const std::string& name) const { return node(name) + "/kubeconfig"; }
  std::string agent_socket(const std::string& name) const { return node_run(name) + "/agent.sock"; }
  std::string runtime_socket(const std::string& name) const { return node_run(name) + "/runtime.sock"; }
  static std::string netns(const std::string& node) { return std::string("/run/netns/fw-") + node; }
};

// FAIRWAY_LAB_DIR, or the standard place; without links, as the kernel names it among its mounts.
Layout default_layout();
// Whether a lab makes a file or folder of that name in its folder, lab.json apart.
bool is_lab_file(std::string_view name);
// The mount point of cgroup2 (hybrid or pure), or empty.
std::string cgroup2_mount();

}  // namespace fairway::lab
