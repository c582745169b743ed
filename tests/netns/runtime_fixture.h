// A node runtime as a process (runtime_serve) over a folder of objects, with real runc and, where asked for, the real
// CNI plugin and server. Everything is named from the process id and removed at the end.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "runtime/json.h"
#include "sys/fd.h"
#include "sys/file.h"
#include "sys/netns.h"
#include "sys/process.h"

namespace fairway::runtimetest {

namespace fs = std::filesystem;
using runtime::Json;

// The machine's memory of images: made once for all tests of a run.
inline std::string image_dir() { return "/tmp/fairway-runtime-test-images-" + std::to_string(::getpid()); }

struct Streamed {
  Json head;
  std::map<int, std::string> channels;  // by number
  std::string status() const {
    auto it = channels.find(3);
    return it == channels.end() ? "" : it->second;
  }
  std::string out() const {
    auto it = channels.find(1);
    return it == channels.end() ? "" : it->second;
  }
  std::string err() const {
    auto it = channels.find(2);
    return it == channels.end() ? "" : it->second;
  }
};

// A client of the runtime's socket.
class StreamClient {
 public:
  StreamClient(const std::string& path, const Json& request) : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un addr{};
    addr.sun_family = AF_UNIX;
    std::strncpy(addr.sun_path, path.c_str(), sizeof addr.sun_path - 1);
    EXPECT_EQ(::connect(fd_.get(), reinterpret_cast<sockaddr*>(&addr), sizeof addr), 0) << path;
    const timeval limit{60, 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    const std::string line = boost::json::serialize(request) + "\n";
    EXPECT_GT(::send(fd_.get(), line.data(), line.size(), MSG_NOSIGNAL), 0);
    std::string answer;
    for (char c; ::recv(fd_.get(), &c, 1, 0) == 1 && c != '\n';) answer += c;
    boost::system::error_code ec;
    result_.head = boost::json::parse(answer, ec);
  }
  bool ok() const { return runtime::flag(result_.head, "ok"); }
  const Json& head() const { return result_.head; }
  void send(int channel, const std::string& payload) {
    char head[5] = {static_cast<char>(channel)};
    const std::uint32_t length = htonl(static_cast<std::uint32_t>(payload.size()));
    std::memcpy(head + 1, &length, 4);
    const std::string frame = std::string(head, 5) + payload;
    for (std::size_t at = 0; at < frame.size();) {
      const ssize_t n = ::send(fd_.get(), frame.data() + at, frame.size() - at, MSG_NOSIGNAL);
      if (n <= 0) return;
      at += static_cast<std::size_t>(n);
    }
  }
  void end_input() { send(255, std::string(1, '\0')); }
  // One frame more; false at the end.
  bool next() {
    char head[5];
    if (::recv(fd_.get(), head, 5, MSG_WAITALL) != 5) return false;
    std::uint32_t length;
    std::memcpy(&length, head + 1, 4);
    std::string payload(ntohl(length), '\0');
    if (!payload.empty() && ::recv(fd_.get(), payload.data(), payload.size(), MSG_WAITALL) != static_cast<ssize_t>(payload.size()))
      return false;
    result_.channels[static_cast<unsigned char>(head[0])] += payload;
    return true;
  }
  Streamed finish() {
    while (ok() && next()) {}
    return result_;
  }
  const Streamed& so_far() const { return result_; }

 private:
  sys::Fd fd_;
  Streamed result_;
};

class RuntimeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root, to run containers";
    if (::access("/usr/sbin/runc", X_OK) != 0) GTEST_SKIP() << "needs runc";
    tag_ = "rt" + std::to_string(::getpid());
    dir_ = "/tmp/fairway-" + tag_;
    node_ = "/run/netns/" + tag_;
    cgroup_ = "/fairway-test-" + tag_ + "/n1/pods";
    fs::create_directories(dir_ + "/api/pods/default");
    fs::create_directories(dir_ + "/node");
    fs::create_directories(image_dir());
    fs::create_directory_symlink(image_dir(), dir_ + "/images");
    ASSERT_TRUE(sys::create_netns(node_).ok());
    ::setenv("FAIRWAY_REGISTRY", "off", 1);
  }

  void TearDown() override {
    if (tag_.empty()) return;
    if (server_ > 0) {
      std::error_code ec;
      for (const auto& entry : fs::directory_iterator(dir_ + "/api/pods/default", ec))
        if (entry.path().extension() == ".json") remove_pod(entry.path().stem(), 0);
      eventually([&] { return fs::is_empty(dir_ + "/node/pods"); });
    }
    kill_runtime();
    if (cni_ > 0) {
      ::kill(cni_, SIGTERM);
      ::waitpid(cni_, nullptr, 0);
    }
    std::error_code ec;
    EXPECT_TRUE(fs::is_empty(dir_ + "/node/pods", ec)) << "pods are left on disk";
    for (const auto& entry : fs::directory_iterator("/run/netns", ec))
      if (entry.path().filename().string().starts_with(tag_ + "-p-")) {
        ADD_FAILURE() << "a network namespace is left: " << entry.path();
        (void)sys::remove_netns(entry.path());
      }
    (void)sys::remove_netns(node_);
    for (const auto& hierarchy : fs::directory_iterator("/sys/fs/cgroup", ec))
      for (std::string path = hierarchy.path().string() + cgroup_; path.find("fairway-test-") != std::string::npos;
           path = fs::path(path).parent_path())
        ::rmdir(path.c_str());
    fs::remove_all(dir_, ec);
  }
  static void TearDownTestSuite() {
    std::error_code ec;
    fs::remove_all(image_dir(), ec);
  }

  void start_runtime() {
    std::vector<std::string> args{RUNTIME_SERVE, dir_, "n1", node_, cgroup_};
    if (cni_ > 0) {
      args.push_back(dir_ + "/conf");
      args.push_back(fs::path(CNI_PLUGIN).parent_path());
    }
    server_ = spawn(args);
    ASSERT_GT(server_, 0);
  }
  void start_cni() {
    fs::create_directories(dir_ + "/conf");
    const boost::json::object plugin{{"type", "fairway-cni"}, {"agentSocket", dir_ + "/agent.sock"}, {"spoolDir", dir_ + "/spool"}};
    ASSERT_TRUE(
        runtime::write_json_file(dir_ + "/conf/10-fairway.conflist",
                                 boost::json::object{{"cniVersion", "1.1.0"}, {"name", "fairway"}, {"plugins", boost::json::array{plugin}}})
            .ok());
    auto ns = sys::open_netns(node_);
    ASSERT_TRUE(sys::in_netns(*ns, [] {
                  auto out = sys::run_ok({"ip", "addr", "add", "192.0.2.1/32", "dev", "lo"});
                  return out.ok() ? Status() : Status(out.error());
                }).ok());
    cni_ = spawn({CNI_FIXTURE, node_, dir_, "cidr=10.244.7.0/24", "mtu=1450"});
    ASSERT_GT(cni_, 0);
  }
  void kill_runtime() {
    if (server_ <= 0) return;
    ::kill(server_, SIGKILL);
    ::waitpid(server_, nullptr, 0);
    server_ = -1;
  }
  // Starts a program and waits for the first line on its stdout.
  static pid_t spawn(const std::vector<std::string>& args) {
    int out[2];
    EXPECT_EQ(::pipe2(out, O_CLOEXEC), 0);
    std::vector<char*> argv;
    for (const auto& arg : args) argv.push_back(const_cast<char*>(arg.c_str()));
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    pid_t pid = -1;
    EXPECT_EQ(::posix_spawn(&pid, argv[0], &actions, nullptr, argv.data(), environ), 0);
    ::posix_spawn_file_actions_destroy(&actions);
    ::close(out[1]);
    char word[16];
    const bool ready = ::read(out[0], word, sizeof word) > 0;
    ::close(out[0]);
    if (!ready) {
      ::waitpid(pid, nullptr, 0);
      return -1;
    }
    return pid;
  }

  std::string object_path(const std::string& resource, const std::string& name) const {
    return dir_ + "/api/" + resource + "/default/" + name + ".json";
  }
  void put(const std::string& resource, const std::string& name, boost::json::object object) {
    object["metadata"].emplace_object();
    object["metadata"].as_object() = {{"name", name}, {"namespace", "default"}, {"uid", tag_ + "-" + name}};
    std::error_code ec;
    fs::create_directories(dir_ + "/api/" + resource + "/default", ec);
    ASSERT_TRUE(runtime::write_json_file(object_path(resource, name), object).ok());
  }
  // `spec` as JSON text.
  void create_pod(const std::string& name, const std::string& spec) {
    put("pods", name, {{"kind", "Pod"}, {"apiVersion", "v1"}, {"spec", boost::json::parse(spec)}});
  }
  // The runtime patches the same file: written again until the mark is there to stay.
  void remove_pod(const std::string& name, int grace) {
    eventually([&] {
      auto pod = runtime::parse_json_file(object_path("pods", name));
      if (!pod.ok() || runtime::find(*pod, "metadata.deletionTimestamp")) return true;
      auto& metadata = pod->as_object()["metadata"].as_object();
      metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z";
      metadata["deletionGracePeriodSeconds"] = grace;
      (void)runtime::write_json_file(object_path("pods", name), *pod).ok();
      ::usleep(50'000);
      return false;
    });
  }
  Json pod(const std::string& name) const {
    auto object = runtime::parse_json_file(object_path("pods", name));
    return object.ok() ? std::move(*object) : Json(boost::json::object{});
  }
  Json container(const std::string& name, std::size_t index = 0) const {
    const Json object = pod(name);
    const auto& list = runtime::array(object, "status.containerStatuses");
    return index < list.size() ? list[index] : Json(boost::json::object{});
  }
  bool gone(const std::string& name) const {
    return !fs::exists(object_path("pods", name)) && !fs::exists(dir_ + "/node/pods/" + tag_ + "-" + name);
  }
  // Reasons of the events about a pod.
  std::map<std::string, std::string> events(const std::string& name) const {
    std::map<std::string, std::string> out;
    std::error_code ec;
    for (const auto& entry : fs::directory_iterator(dir_ + "/api/events/default", ec)) {
      auto event = runtime::parse_json_file(entry.path());
      if (event.ok() && runtime::text(*event, "involvedObject.name") == name)
        out[runtime::text(*event, "reason")] = runtime::text(*event, "message");
    }
    return out;
  }
  static bool eventually(const std::function<bool()>& condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(90);  // images are built meanwhile
    while (!condition()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      ::usleep(20'000);
    }
    return true;
  }
  bool running(const std::string& name, std::size_t index = 0) const {
    return runtime::find(container(name, index), "state.running") != nullptr;
  }
  StreamClient stream(const std::string& pod_name, boost::json::object request) const {
    request["namespace"] = "default";
    request["pod"] = pod_name;
    return StreamClient(dir_ + "/node/run/runtime.sock", request);
  }
  Streamed exec(const std::string& pod_name, const std::string& script) const {
    return stream(pod_name, {{"op", "exec"}, {"command", boost::json::array{"sh", "-c", script}}}).finish();
  }

  std::string tag_, dir_, node_, cgroup_;
  pid_t server_ = -1, cni_ = -1;
};

}  // namespace fairway::runtimetest
