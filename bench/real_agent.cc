#include "real_agent.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "core/cluster_data.h"
#include "core/program.h"
#include "datapath/datapath.h"
#include "sys/file.h"

namespace fairway::bench {

namespace {
constexpr std::uint16_t kApiPort = 8001;
}

Result<std::unique_ptr<RealAgent>> RealAgent::start(Context& context, const std::string& name, std::map<std::string, Listing> listings) {
  FW_ASSIGN(Netns netns, Netns::create(name));
  FW_ASSIGN(Netns fabric, Netns::create(name + "-f"));
  FW_TRY(link(netns, "eth0", "172.30.0.1/24", fabric, "eth0", "172.30.0.254/24"));
  FW_TRY(netns.ip({"route", "add", "default", "via", "172.30.0.254"}));
  std::unique_ptr<RealAgent> out(new RealAgent(std::move(netns), std::move(fabric), context.work_dir + "/" + name));
  std::filesystem::create_directories(out->dir_ + "/run");
  std::filesystem::create_directories(out->dir_ + "/state");
  out->plugin_ = context.bin_dir + "/fairway-cni";
  out->bpf_dir_ = context.bpf_dir + "/" + name;
  out->cgroup_ = context.cgroup + "/" + name;
  mkdir(out->bpf_dir_.c_str(), 0755);
  if (mkdir(out->cgroup_.c_str(), 0755) != 0) return errno_error(errno, "make " + out->cgroup_);
  std::string node = node_json("bench-node", net::IpAddr::v4(0xac1e0001), "10.244.0.0/20");
  if (!listings.contains("/api/v1/nodes")) listings["/api/v1/nodes"] = {1, [node](unsigned) { return node; }};
  FW_ASSIGN(Child api, ApiStub::start({.netns = out->netns_.path()}, kApiPort, std::move(listings)));
  out->api_ = std::make_unique<Child>(std::move(api));
  FW_TRY(sys::write_file_atomic(out->dir_ + "/kubeconfig", ApiStub::kubeconfig(kApiPort), 0600));
  FW_ASSIGN(Child agent,
            start_program({.netns = out->netns_.path()},
                          {context.bin_dir + "/fairway-agent", "--node-name", "bench-node", "--kubeconfig", out->dir_ + "/kubeconfig",
                           "--run-dir", out->dir_ + "/run", "--state-dir", out->dir_ + "/state", "--bpf-dir", out->bpf_dir_, "--cgroup",
                           out->cgroup_, "--cluster-cidr", "10.244.0.0/16", "--service-cidr", "10.96.0.0/12", "--upstream", "172.30.0.254"},
                          out->log()));
  out->agent_ = std::make_unique<Child>(std::move(agent));
  FW_TRY(out->wait_ready());
  return out;
}

RealAgent::~RealAgent() {
  agent_.reset();
  api_.reset();
  if (!bpf_dir_.empty()) (void)netns_.run([&] { return datapath::Datapath::remove_all(bpf_dir_); });
  if (!cgroup_.empty()) rmdir(cgroup_.c_str());
}

std::string RealAgent::plugin_config() const {
  return fmt::format(
      R"({{"cniVersion":"1.1.0","name":"fairway","type":"fairway-cni","agentSocket":"{0}/run/agent.sock","spoolDir":"{0}/state/cni-spool"}})",
      dir_);
}

std::vector<std::string> RealAgent::plugin_env(const std::string& command, const std::string& id, const std::string& pod_netns) const {
  return {"CNI_COMMAND=" + command,
          "CNI_CONTAINERID=" + id,
          "CNI_NETNS=" + pod_netns,
          "CNI_IFNAME=eth0",
          "CNI_PATH=" + plugin_.substr(0, plugin_.rfind('/')),
          "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=" + id + ";K8S_POD_UID=" + id};
}

Status RealAgent::wait_ready() {
  std::string last;
  for (int i = 0; i < 300; ++i) {
    FW_ASSIGN(auto called, call_programs({{.argv = {plugin_}, .env = {"CNI_COMMAND=STATUS"}, .input = plugin_config()}}));
    if (called[0].exit_code == 0) return {};
    last = called[0].out;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  auto log_text = sys::read_file(log());
  std::string tail = log_text.ok() ? log_text->substr(log_text->size() > 1500 ? log_text->size() - 1500 : 0) : "";
  return make_error(Code::kTimeout, "the agent did not become ready: " + last + "\n" + tail);
}

}  // namespace fairway::bench
