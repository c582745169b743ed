#include "lab/up.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cerrno>
#include <filesystem>
#include <thread>

#include "io/http_server.h"
#include "lab/access.h"
#include "lab/calls.h"
#include "lab/lock.h"
#include "lab/teardown.h"
#include "net/ip.h"
#include "runtime/node_runtime.h"
#include "sys/fd.h"
#include "sys/listen_fds.h"

namespace fairway::lab {
namespace fs = std::filesystem;
namespace {

using Clock = std::chrono::steady_clock;

Status check_machine() {
  if (::geteuid() != 0)
    return make_error(Code::kForbidden, "a lab needs root: it makes network namespaces, cgroups and loads BPF programs. Run it with sudo");
  if (cgroup2_mount().empty())
    return make_error(
        Code::kUnsupported,
        "no cgroup2 is mounted; Fairway's socket programs attach there. Mount it: mount -t cgroup2 none /sys/fs/cgroup/unified");
  if (::access("/sys/kernel/btf/vmlinux", R_OK) != 0)
    return make_error(
        Code::kUnsupported,
        "this kernel has no BTF (/sys/kernel/btf/vmlinux); Fairway needs Linux 6.1 or later built with CONFIG_DEBUG_INFO_BTF");
  if (const std::string runc = runtime::NodeRuntimeConfig{}.runc; ::access(runc.c_str(), X_OK) != 0)
    return make_error(Code::kUnsupported, "there is no " + runc + ", which runs the pods' containers. Install it: apt-get install runc");
  return {};
}

Status check_options(const UpOptions& options) {
  const auto one_of = [](const std::string& value, std::initializer_list<const char*> all) {
    return std::any_of(all.begin(), all.end(), [&](const char* item) { return value == item; });
  };
  if (options.nodes < 1 || options.nodes > 200) return make_error(Code::kInvalid, "--nodes is from 1 to 200");
  if (options.subnets < 1 || options.subnets > 16) return make_error(Code::kInvalid, "--subnets is from 1 to 16");
  if (!one_of(options.datapath, {"auto", "native", "vxlan"})) return make_error(Code::kInvalid, "--datapath is auto, native or vxlan");
  if (!one_of(options.family, {"ipv4", "ipv6", "dual"})) return make_error(Code::kInvalid, "--family is ipv4, ipv6 or dual");
  for (const auto& upstream : options.dns_upstreams)
    if (!net::IpAddr::parse(upstream).ok() && !net::SocketAddr::parse(upstream).ok())
      return make_error(Code::kInvalid, "--dns-upstream \"" + upstream + "\" is no ADDRESS or ADDRESS:PORT");
  return {};
}

// Open from here on, over the supervisor's life: a port that is only looked for may be somebody else's a moment later.
Result<sys::Fd> listen_for_api(std::uint16_t wanted) {
  constexpr std::uint16_t kFirst = 16443, kLast = 16543;
  for (std::uint16_t port = wanted ? wanted : kFirst; port <= (wanted ? wanted : kLast); ++port)
    if (auto listener = io::listen_tcp("127.0.0.1", port); listener.ok()) return listener;
  return make_error(Code::kExhausted,
                    wanted ? "127.0.0.1:" + std::to_string(wanted) + " is in use" : "no free port on 127.0.0.1 from 16443 to 16543");
}

// Starts the supervisor in a session of its own, its output in its log. The lock of those who change labs is its input: should this
// process be stopped, `lab down` still waits until there is a supervisor to end.
Result<pid_t> spawn_supervisor(const Layout& layout, const sys::Fd& changing, const sys::Fd& api_listener) {
  const std::string self = fs::read_symlink("/proc/self/exe").string();
  sys::Fd log(::open(layout.log("supervisor").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!log) return errno_error(errno, "open " + layout.log("supervisor"));
  const sys::Fd above(::fcntl(api_listener.get(), F_DUPFD_CLOEXEC, sys::kFirstListenFd + 1));  // so that dup2() makes one that exec keeps
  if (!above) return errno_error(errno, "hand over the API's socket");
  const pid_t pid = ::fork();
  if (pid < 0) return errno_error(errno, "fork");
  if (pid > 0) return pid;
  ::setsid();
  ::dup2(changing.get(), 0);
  ::dup2(log.get(), 1);
  ::dup2(log.get(), 2);
  ::dup2(above.get(), sys::kFirstListenFd);
  ::unsetenv("LISTEN_PID");  // of a service manager's own
  ::setenv("LISTEN_FDS", "1", 1);
  ::setenv("LISTEN_FDNAMES", kApiListener, 1);
  ::execl(self.c_str(), self.c_str(), "lab-supervisor", "--lab-dir", layout.dir.c_str(), nullptr);
  ::_exit(127);
}

Error another_lab(const Layout& layout, const std::string& other) {
  return make_error(Code::kAlreadyExists, "a lab is already up in " + other +
                                              "; one machine holds one. Take it down first: fairway lab down" +
                                              (other == layout.dir ? "" : " (with FAIRWAY_LAB_DIR=" + other + ")"));
}

Result<sys::Fd> change_lock(const Progress& progress) {
  return take_change_lock([&] { progress("waiting for another fairway lab up or down"); });
}

// Until it holds the lab lock.
Status wait_for_supervisor(const Layout& layout, pid_t pid, std::chrono::seconds timeout) {
  const auto deadline = Clock::now() + timeout;
  while (running_lab_dir() != layout.dir) {
    if (::waitpid(pid, nullptr, WNOHANG) == pid) return supervisor_ended(layout);
    if (Clock::now() > deadline)
      return make_error(Code::kTimeout, "the lab's supervisor has not started; its log is " + layout.log("supervisor"));
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return {};
}

// An empty folder, as `lab down` takes it away: made, or what an earlier lab left of its own is removed from it.
Status take_folder(const Layout& layout, const Progress& progress) {
  std::error_code ec;
  if (fs::exists(layout.spec(), ec)) {
    if (auto earlier = read_spec(layout.spec()); !earlier.ok()) return std::move(earlier).error();
    progress("removing what an earlier lab left in " + layout.dir);
    FW_ASSIGN(const auto removed, teardown(layout));
  }
  fs::create_directories(layout.dir, ec);
  if (ec) return make_error(Code::kIo, "create " + layout.dir + ": " + ec.message());
  for (const auto& entry : fs::directory_iterator(layout.dir, ec))
    if (entry.path().filename() != "lost+found")
      return make_error(Code::kAlreadyExists, layout.dir + " is not empty, and no lab's: " + entry.path().filename().string() +
                                                  " is there. Name an empty folder, or one that is not there yet, by FAIRWAY_LAB_DIR");
  if (ec) return make_error(Code::kIo, "read " + layout.dir + ": " + ec.message());
  fs::permissions(layout.dir, fs::perms::owner_all, ec);
  return {};
}

}  // namespace

Status up(const Layout& layout, const UpOptions& options, const Progress& progress) {
  FW_TRY(check_machine());
  FW_TRY(check_options(options));
  FW_ASSIGN(sys::Fd changing, change_lock(progress));
  if (const std::string other = running_lab_dir(); !other.empty()) return another_lab(layout, other);
  FW_TRY(take_folder(layout, progress));

  LabSpec spec;
  spec.subnets = options.subnets;
  spec.datapath = options.datapath;
  spec.family = options.family;
  spec.most_rows = options.most_rows;
  spec.dns_upstreams = options.dns_upstreams;
  FW_ASSIGN(sys::Fd api_listener, listen_for_api(options.api_port));
  FW_ASSIGN(spec.api_port, io::local_port(api_listener));
  for (unsigned i = 0; i < options.nodes; ++i) spec.add_node("");
  FW_TRY(write_spec(spec, layout.spec()));  // first: `lab down` takes files away only where it is
  std::error_code ec;
  fs::create_directories(layout.dir + "/logs", ec);
  fs::create_directories(layout.dir + "/nodes", ec);
  if (ec) return make_error(Code::kIo, "create folders in " + layout.dir + ": " + ec.message());
  progress("certificates and kubeconfig");
  FW_TRY(create_access(layout, spec));
  progress("fabric, API server and " + std::to_string(options.nodes) + " nodes");
  FW_ASSIGN(const pid_t supervisor, spawn_supervisor(layout, changing, api_listener));
  FW_TRY(wait_for_supervisor(layout, supervisor, options.timeout));
  api_listener.reset();
  changing.reset();  // from here on the lab lock tells that this one is up
  return wait_until_ready(layout, options.nodes, options.timeout, progress);
}

Status down(const Layout& layout, const Progress& progress) {
  if (::geteuid() != 0) return make_error(Code::kForbidden, "taking a lab down needs root");
  FW_ASSIGN(const sys::Fd changing, change_lock(progress));
  if (const std::string other = running_lab_dir(); !other.empty() && other != layout.dir)
    return make_error(Code::kInvalid,
                      "the lab that is up lies in " + other + ", not in " + layout.dir + "; take it down with FAIRWAY_LAB_DIR=" + other);
  FW_ASSIGN(const auto removed, teardown(layout));
  std::string words;
  for (const auto& item : removed) words += (words.empty() ? "" : ", ") + item;
  progress(words.empty() ? "no lab is up, and nothing is left of one" : "removed " + words);
  return {};
}

Result<std::string> add_node(const Layout& layout, const std::string& wanted) {
  FW_ASSIGN(const std::string answer,
            ask_supervisor(layout, "POST", "/v1/nodes", boost::json::serialize(boost::json::object{{"name", wanted}})));
  const std::string name(boost::json::parse(answer).at("name").as_string());
  constexpr auto kPatience = std::chrono::seconds(30);
  for (const auto deadline = Clock::now() + kPatience; Clock::now() < deadline;
       std::this_thread::sleep_for(std::chrono::milliseconds(50))) {
    const auto node = call_api(
        layout, [&](k8s::ApiClient& client, k8s::Done done) { return client.get({.resource = "nodes", .name = name}, std::move(done)); });
    if (node.ok()) return name;
  }
  return make_error(Code::kTimeout,
                    "node \"" + name + "\" runs, but has not registered after 30 s; its log is " + layout.log("runtime-" + name));
}

Status remove_node(const Layout& layout, const std::string& name) {
  FW_TRY(ask_supervisor(layout, "DELETE", "/v1/nodes/" + name));
  // As an operator does: the machine is gone, so its Node is deleted, and its pods with it.
  const auto answer = call_api(layout, [&](k8s::ApiClient& client, k8s::Done done) {
    return client.remove({.resource = "nodes", .name = name}, {}, std::move(done));
  });
  if (!answer.ok() && answer.error().code != Code::kNotFound)
    return Error(answer.error()).with_context("the node is gone, but its Node object is not");
  return {};
}

}  // namespace fairway::lab
