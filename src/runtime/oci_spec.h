// A container's OCI runtime config (config.json), from the pod's spec and the image's config. Pure but for resolve_user.
// Defaults are containerd's: capabilities, masked paths, devices.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "runtime/images.h"
#include "runtime/pod_env.h"

namespace fairway::runtime {

struct ResolvedUser {
  unsigned uid = 0, gid = 0;
  std::vector<unsigned> groups;
  std::string home = "/";
};

struct BindMount {
  std::string source, destination;
  bool read_only = false;
  std::string propagation = "rprivate";
};

struct ContainerSetup {
  const Json* pod = nullptr;
  const Json* container = nullptr;
  const Image* image = nullptr;
  std::vector<std::string> env;  // NAME=value, complete
  std::vector<BindMount> mounts;
  ResolvedUser user;
  std::string netns, hostname, cgroup;
  std::string pid_namespace;                   // of the container that a debugger looks into; empty: one of its own
  std::uint64_t machine_capabilities = ~0ull;  // bits that this machine's root has at all
  std::int64_t machine_memory = 0;
  std::int64_t pids_limit = 0;  // 0: the machine cannot limit them
};

// runAsUser, else the image's user by the passwd and group files of its layers.
Result<ResolvedUser> resolve_user(const Json& pod, const Json& container, const Image& image, const std::string& layers_dir);

// command and args over the image's entrypoint and command, with $(VAR) expanded.
std::vector<std::string> container_argv(const ContainerSetup& setup);

Json oci_config(const ContainerSetup& setup);
// The process part of a config, changed for `kubectl exec`.
Json exec_process(const Json& config, const std::vector<std::string>& command, bool tty);

// "SIGTERM", "15" ... to a number; 15 where it is none.
int signal_number(const std::string& name);

}  // namespace fairway::runtime
