// runtime_serve: a NodeRuntime over a FileApi, as a process that a test can kill and start again.
//   runtime_serve DIR NODE NETNS CGROUP_PARENT [CNI_CONF_DIR CNI_BIN_DIR]
// DIR holds api/ (the store), node/ (the runtime's folder), images/.
#include <sched.h>
#include <sys/prctl.h>

#include <csignal>
#include <cstdio>
#include <string>

#include "runtime/node_runtime.h"
#include "runtime_file_api.h"
#include "sys/netns.h"

int main(int argc, char** argv) {
  using namespace fairway;
  if (argc < 5) return 2;
  const std::string dir = argv[1];
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  auto netns = sys::open_netns(argv[3]);
  if (!netns.ok() || ::setns(netns->get(), CLONE_NEWNET) < 0) {
    std::perror("setns");
    return 1;
  }
  io::Loop loop;
  test::FileApi api(loop, dir + "/api");
  runtime::NodeRuntimeConfig config{.node_name = argv[2],
                                    .node_ips = {"127.0.0.1"},
                                    .node_dir = dir + "/node",
                                    .netns = argv[3],
                                    .shim = FAIRWAY_SHIM,
                                    .agnhost = FAIRWAY_AGNHOST,
                                    .pod_netns_prefix = std::string(argv[3]) + "-p-",
                                    .cgroup_parent = argv[4],
                                    .image_dir = dir + "/images",
                                    .dns_servers = {"10.96.0.10"}};
  if (argc > 6) {
    config.cni_conf_dir = argv[5];
    config.cni_bin_dirs = {argv[6]};
  }
  runtime::NodeRuntime runtime(loop, api, config);
  if (auto status = runtime.start(); !status.ok()) {
    std::fprintf(stderr, "%s\n", status.error().message.c_str());
    return 1;
  }
  auto term = loop.on_signal(SIGTERM, [&] { loop.stop(); });
  std::puts("ready");
  std::fflush(stdout);
  loop.run();
  return 0;
}
