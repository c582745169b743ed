// A node in a namespace with the CNI fixture in it, pods as namespaces, and the real plugin, as a runtime calls it.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <chrono>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "io/netlink.h"
#include "sys/file.h"
#include "sys/netns.h"
#include "sys/process.h"

namespace fairway::cnitest {

namespace fs = std::filesystem;
namespace json = boost::json;

struct Answer {
  int exit_code = -1;
  std::string out;
  json::object parsed() const {
    json::error_code failed;
    const json::value value = json::parse(out, failed);
    return !failed && value.is_object() ? value.get_object() : json::object{};
  }
  std::int64_t code() const {
    const json::object object = parsed();
    const json::value* value = object.if_contains("code");
    return value != nullptr && value->is_int64() ? value->get_int64() : 0;
  }
  std::string message() const {
    const json::object object = parsed();
    const json::value* value = object.if_contains("msg");
    return value != nullptr && value->is_string() ? std::string(value->get_string()) : "";
  }
  std::vector<std::string> ips() const {  // without their lengths
    std::vector<std::string> texts;
    const json::object object = parsed();
    if (const json::value* list = object.if_contains("ips")) {
      for (const auto& item : list->as_array()) {
        const std::string address(item.as_object().at("address").as_string());
        texts.push_back(address.substr(0, address.find('/')));
      }
    }
    return texts;
  }
};

// A plugin process that runs.
struct PluginRun {
  pid_t pid = -1;
  int out_fd = -1;

  Answer wait() {
    Answer answer;
    char chunk[4096];
    for (ssize_t n; (n = ::read(out_fd, chunk, sizeof chunk)) > 0;) answer.out.append(chunk, static_cast<std::size_t>(n));
    ::close(out_fd);
    int status = 0;
    ::waitpid(pid, &status, 0);
    answer.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return answer;
  }
};

inline PluginRun start_plugin(const std::map<std::string, std::string>& environment, const std::string& input) {
  int in[2], out[2];
  EXPECT_EQ(::pipe2(in, O_CLOEXEC), 0);
  EXPECT_EQ(::pipe2(out, O_CLOEXEC), 0);
  std::vector<std::string> pairs;
  for (const auto& [key, value] : environment) pairs.push_back(key + "=" + value);
  std::vector<char*> envp;
  for (auto& pair : pairs) envp.push_back(pair.data());
  envp.push_back(nullptr);
  char name[] = "fairway-cni";
  char* argv[] = {name, nullptr};
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, in[0], 0);
  ::posix_spawn_file_actions_adddup2(&actions, out[1], 1);
  PluginRun run;
  EXPECT_EQ(::posix_spawn(&run.pid, CNI_PLUGIN, &actions, nullptr, argv, envp.data()), 0);
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(in[0]);
  ::close(out[1]);
  ::signal(SIGPIPE, SIG_IGN);
  for (std::string_view left = input; !left.empty();) {
    const ssize_t n = ::write(in[1], left.data(), left.size());
    if (n <= 0) break;
    left.remove_prefix(static_cast<std::size_t>(n));
  }
  ::close(in[1]);
  run.out_fd = out[0];
  return run;
}

class CniTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root, to make network namespaces";
    const std::string tag = std::to_string(::getpid());
    dir_ = "/tmp/cnitest-" + tag;
    node_ = "/run/netns/cnitest-" + tag + "-node";
    remove_all();
    fs::create_directories(dir_);
    const Status made = sys::create_netns(node_);
    if (!made.ok()) GTEST_SKIP() << "cannot make network namespaces: " << made.error().message;
    // A node has an address, from which its own packets to pods come.
    for (const char* address : {"192.0.2.1/32", "2001:db8::1/128"})
      ASSERT_TRUE(in(node_, {"ip", "addr", "add", address, "dev", "lo"}).ok());
  }
  void TearDown() override {
    stop();
    remove_all();
  }
  void remove_all() {
    for (const auto& pod : pods_) (void)sys::remove_netns(pod);
    pods_.clear();
    if (!node_.empty()) (void)sys::remove_netns(node_);
    std::error_code ignored;
    if (!dir_.empty()) fs::remove_all(dir_, ignored);
  }

  std::string pod(const std::string& name) {
    const std::string path = "/run/netns/cnitest-" + std::to_string(::getpid()) + "-" + name;
    const Status made = sys::create_netns(path);
    EXPECT_TRUE(made.ok()) << path;
    pods_.push_back(path);
    return path;
  }
  void remove_pod(const std::string& path) { EXPECT_TRUE(sys::remove_netns(path).ok()); }

  // Starts the fixture and waits until it serves; false if it ended before (a failpoint in its start-up).
  bool start(std::vector<std::string> options = {}) {
    std::vector<std::string> args = {CNI_FIXTURE, node_, dir_, "cidr=10.244.7.0/24", "cidr=fd00:10:244:7::/64", "mtu=1450"};
    args.insert(args.end(), options.begin(), options.end());
    return start_exactly(std::move(args));
  }
  bool start_exactly(std::vector<std::string> args) {
    int out[2];
    EXPECT_EQ(::pipe2(out, O_CLOEXEC), 0);
    std::vector<char*> argv;
    for (auto& arg : args) argv.push_back(arg.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    EXPECT_EQ(::posix_spawn(&server_, CNI_FIXTURE, &actions, nullptr, argv.data(), environ), 0);
    ::posix_spawn_file_actions_destroy(&actions);
    ::close(out[1]);
    char word[16] = {};
    const bool ready = ::read(out[0], word, sizeof word) > 0;
    ::close(out[0]);
    if (!ready) reap_server();
    return ready;
  }
  void reap_server() {
    if (server_ <= 0) return;
    ::waitpid(server_, nullptr, 0);
    server_ = -1;
  }
  void kill_server() {
    if (server_ > 0) ::kill(server_, SIGKILL);
    reap_server();
  }
  void stop() {
    if (server_ > 0) ::kill(server_, SIGTERM);
    reap_server();
  }

  json::object config(const std::string& version = "1.1.0") const {
    return {{"cniVersion", version},
            {"name", "fairway"},
            {"type", "fairway-cni"},
            {"agentSocket", dir_ + "/agent.sock"},
            {"spoolDir", dir_ + "/spool"}};
  }
  static std::map<std::string, std::string> environment(const std::string& command, const std::string& id, const std::string& netns) {
    return {
        {"CNI_COMMAND", command},     {"CNI_CONTAINERID", id},
        {"CNI_NETNS", netns},         {"CNI_IFNAME", "eth0"},
        {"CNI_PATH", "/opt/cni/bin"}, {"CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=" + id + ";K8S_POD_UID=u-1"}};
  }
  Answer call(const std::string& command, const std::string& id, const std::string& netns, const json::object& conf) {
    return start_plugin(environment(command, id, netns), json::serialize(conf)).wait();
  }
  Answer add(const std::string& id, const std::string& netns) { return call("ADD", id, netns, config()); }
  Answer del(const std::string& id, const std::string& netns) { return call("DEL", id, netns, config()); }
  Answer check(const std::string& id, const std::string& netns, const Answer& previous) {
    json::object conf = config();
    conf["prevResult"] = previous.parsed();
    return call("CHECK", id, netns, conf);
  }

  // Runs a program inside a namespace (setns, not `ip netns exec`).
  static Result<std::string> in(const std::string& netns, const std::vector<std::string>& argv) {
    FW_ASSIGN(const sys::Fd fd, sys::open_netns(netns));
    Result<std::string> out = make_error(Code::kInternal, "did not run");
    FW_TRY(sys::in_netns(fd, [&]() -> Status {
      out = sys::run_ok(argv);
      return {};
    }));
    return out;
  }
  static void expect_ping(const std::string& netns, const std::string& ip) {
    const auto outcome = in(netns, {"ping", "-c1", "-W10", ip});
    EXPECT_TRUE(outcome.ok()) << ip << ": " << (outcome.ok() ? "" : outcome.error().message);
  }

  std::vector<std::string> host_links() const {
    std::vector<std::string> names;
    const auto fd = sys::open_netns(node_);
    auto netlink = io::Netlink::open_in(*fd);
    const auto links = netlink->links();
    for (const auto& link : *links)
      if (link.kind == "veth") names.push_back(link.name);
    return names;
  }
  std::vector<std::string> rows() const {
    std::vector<std::string> names;
    std::error_code failed;
    for (const auto& entry : fs::directory_iterator(dir_ + "/rows", failed))
      if (!entry.path().has_extension()) names.push_back(entry.path().filename());  // else a killed server's unfinished file
    return names;
  }
  std::size_t spooled() const {
    std::size_t count = 0;
    std::error_code failed;
    for (const auto& entry : fs::directory_iterator(dir_ + "/spool", failed)) count += entry.path().extension() == ".del" ? 1 : 0;
    return count;
  }
  std::string warnings() const {
    const auto out = sys::run_ok({"curl", "-s", "--unix-socket", dir_ + "/agent.sock", "http://fairway/warnings"});
    return out.ok() ? *out : out.error().message;
  }
  // The reaper works behind the answer: waits for what must come.
  template <typename Condition>
  static bool eventually(Condition condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!condition()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      ::usleep(10'000);
    }
    return true;
  }

  std::string dir_, node_;
  std::vector<std::string> pods_;
  pid_t server_ = -1;
};

}  // namespace fairway::cnitest
