// test-deps: fw_sys fw_io fw_net fw_k8s
// The agent's own process against a static API: promises 1 and 3 of the design, alone on one node.
//
//   [fake_api.py] --127.0.0.1--> [fairway-agent] --> maps in a bpffs of this test's mount namespace
//                                      ^ agent.sock, DNS on 10.96.0.10
//
// Everything lies in a network and a mount namespace of the test's own, and in one temporary folder.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>

#include "io/http_client.h"
#include "io/loop.h"
#include "sys/file.h"
#include "sys/netns.h"
#include "sys/process.h"

namespace fairway {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using std::chrono::milliseconds;

constexpr const char* kObjects = R"(
kind: Node
metadata: {name: n1}
spec: {podCIDRs: [10.244.0.0/24]}
status: {addresses: [{type: InternalIP, address: 172.30.9.10}]}
---
kind: Node
metadata: {name: n2}
spec: {podCIDRs: [10.244.1.0/24]}
status: {addresses: [{type: InternalIP, address: 172.30.9.11}]}
---
kind: Pod
metadata: {name: web-1, namespace: default, uid: u1}
spec: {nodeName: n2}
status: {phase: Running, podIPs: [{ip: 10.244.1.5}]}
---
kind: Service
metadata: {name: web, namespace: default}
spec: {clusterIPs: [10.96.0.50], ports: [{name: http, port: 80}]}
---
kind: EndpointSlice
metadata: {name: web-1, namespace: default, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.244.1.5]}]
)";

// A child that ends with this process.
class Process {
 public:
  explicit Process(const std::vector<std::string>& argv, const std::string& out) {
    std::vector<char*> args;
    for (const auto& a : argv) args.push_back(const_cast<char*>(a.c_str()));
    args.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    const int fd = ::open(out.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    ::dup2(fd, 1), ::dup2(fd, 2);
    ::execvp(args[0], args.data());
    ::_exit(127);
  }
  ~Process() { end(SIGKILL); }
  void signal(int number) const { ::kill(pid_, number); }
  void end(int number) {
    if (pid_ <= 0) return;
    ::kill(pid_, number);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }

 private:
  pid_t pid_ = -1;
};

class AgentTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root for network namespaces and BPF";
    if (::unshare(CLONE_NEWNS | CLONE_NEWNET) != 0) GTEST_SKIP() << "needs to make namespaces";
    ASSERT_EQ(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
    dir_ = fs::temp_directory_path() / ("fw-agent-" + std::to_string(::getpid()));
    fs::create_directories(dir_ / "bpf");
    mount_bpffs();
    for (const auto& words : std::vector<std::vector<std::string>>{{"ip", "link", "set", "lo", "up"},
                                                                   {"ip", "link", "add", "eth0", "type", "veth", "peer", "name", "peer0"},
                                                                   {"ip", "link", "set", "eth0", "up"},
                                                                   {"ip", "link", "set", "peer0", "up"},
                                                                   {"ip", "addr", "add", "172.30.9.10/24", "dev", "eth0"}})
      ASSERT_TRUE(sys::run_ok(words).ok()) << words[2];
    cgroup_ = make_cgroup();
    ASSERT_TRUE(sys::write_file_atomic(dir_ / "objects.yaml", kObjects).ok());
    ASSERT_TRUE(sys::write_file_atomic(dir_ / "kubeconfig", R"({"clusters":[{"name":"c","cluster":{"server":"http://127.0.0.1:18080"}}],
      "contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}],"current-context":"c","users":[{"name":"u","user":{}}]})")
                    .ok());
    api_ = std::make_unique<Process>(std::vector<std::string>{"python3", FAKE_API, "--port", "18080", dir_ / "objects.yaml"},
                                     dir_ / "api.log");
    start_agent();
    until("sync", [&] { return status("pruned"); });
  }
  void TearDown() override {
    agent_.reset(), api_.reset();
    if (!dir_.empty()) ::umount((dir_ / "bpf").c_str());
    if (!cgroup_.empty()) ::rmdir(cgroup_.c_str());
    if (HasFailure() && !dir_.empty()) std::cerr << sys::read_file(dir_ / "agent.log").value_or("no log") << "\n";
    if (!dir_.empty()) fs::remove_all(dir_);
  }
  static std::string make_cgroup() {
    std::ifstream mounts("/proc/self/mounts");
    for (std::string line; std::getline(mounts, line);) {
      std::istringstream words(line);
      std::string device, folder, type;
      words >> device >> folder >> type;
      if (type != "cgroup2") continue;
      const std::string out = folder + "/fw-agent-test-" + std::to_string(::getpid());
      return ::mkdir(out.c_str(), 0755) == 0 || errno == EEXIST ? out : "";
    }
    return "";
  }
  void mount_bpffs() { ASSERT_EQ(::mount("bpf", (dir_ / "bpf").c_str(), "bpf", 0, nullptr), 0) << std::strerror(errno); }
  void start_agent() {
    agent_ = std::make_unique<Process>(
        std::vector<std::string>{
            AGENT,           "--node-name",    "n1",           "--kubeconfig",       dir_ / "kubeconfig", "--run-dir",  dir_ / "run",
            "--state-dir",   dir_ / "state",   "--bpf-dir",    dir_ / "bpf/fairway", "--cgroup",          cgroup_,      "--cluster-cidr",
            "10.244.0.0/16", "--service-cidr", "10.96.0.0/16", "--dns-ip",           "10.96.0.10",        "--upstream", "172.30.9.11"},
        dir_ / "agent.log");
  }
  std::optional<json::value> request(const std::string& unix_path, const std::string& method, const std::string& target,
                                     std::string body = "") {
    io::Loop loop;
    io::Origin origin;
    origin.unix_path = unix_path;
    if (unix_path.empty()) origin.host = "127.0.0.1", origin.port = 18080;
    auto client = io::HttpClient::create(loop, origin);
    std::optional<json::value> out;
    io::HttpRequest r;
    r.method = method, r.target = target, r.body = std::move(body);
    const auto call = (*client)->request(
        std::move(r),
        [&](Result<io::HttpResponse> answer) {
          boost::system::error_code ec;
          if (answer.ok()) out = json::parse(answer->body, ec);
          loop.stop();
        },
        std::chrono::seconds(30));
    loop.run();
    return out;
  }
  std::optional<json::value> ask(const std::string& target) { return request(dir_ / "run/agent.sock", "GET", target); }
  // The host side of the only pod's veth, or empty.
  std::string host_link() {
    const std::string links = sys::run({"ip", "-o", "link", "show", "group", "26231"}).value_or(sys::RunResult{}).out;
    const auto begin = links.find(": ") + 2, end = links.find_first_of("@:", begin);
    return links.empty() ? "" : links.substr(begin, end - begin);
  }
  void api(const std::string& target, std::string body = "") { ASSERT_TRUE(request("", "POST", target, std::move(body)).has_value()); }
  bool status(const char* field) {
    const auto s = ask("/v1/status");
    return s && s->as_object().contains(field) && s->at(field).is_bool() && s->at(field).as_bool();
  }
  std::string table(const std::string& name) {
    const auto t = ask("/v1/tables/" + name);
    return t && t->as_object().contains("rows") ? json::serialize(t->at("rows")) : "";
  }
  std::string dig(const std::string& name) {
    return sys::run({"dig", "+short", "+tries=1", "+time=10", "@10.96.0.10", name + ".svc.cluster.local"}).value_or(sys::RunResult{}).out;
  }
  void until(const char* what, const std::function<bool()>& condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!condition()) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << what;
      std::this_thread::sleep_for(milliseconds(20));
    }
  }

  fs::path dir_;
  std::string cgroup_;
  std::unique_ptr<Process> api_, agent_;
};

constexpr const char* kWebRow = R"("10.96.0.50",80,"TCP","default/web","cluster-ip","0+1","10.244.1.5:8080")";

TEST_F(AgentTest, ProgramsAndAnswers) {
  EXPECT_NE(table("frontends").find(kWebRow), std::string::npos) << table("frontends");
  EXPECT_EQ(dig("web.default"), "10.96.0.50\n");
  EXPECT_NE(table("endpoints").find("\"10.244.1.5\",\"default/web-1\""), std::string::npos);
  api("/admin/put",
      R"({"kind":"EndpointSlice","metadata":{"name":"web-1","namespace":"default","labels":{"kubernetes.io/service-name":"web"}},
    "addressType":"IPv4","ports":[{"name":"http","port":8080}],"endpoints":[{"addresses":["10.244.1.5"]},{"addresses":["127.0.0.1"]}]})");
  until("a refusal", [&] { return table("errors").find("127.0.0.1 is a loopback address: refused") != std::string::npos; });
  EXPECT_NE(table("frontends").find(kWebRow), std::string::npos);
}

TEST_F(AgentTest, AKilledAgentsSuccessorNeedsNoApiServer) {
  const std::string before = table("backends");
  api_->signal(SIGSTOP);
  agent_->end(SIGKILL);
  start_agent();
  until("the socket", [&] { return !table("frontends").empty(); });
  EXPECT_NE(table("frontends").find("10.244.1.5:8080"), std::string::npos);
  EXPECT_EQ(table("backends"), before);
  EXPECT_EQ(dig("web.default"), "10.96.0.50\n");
  EXPECT_FALSE(status("pruned"));
  api_->signal(SIGCONT);
  until("sync", [&] { return status("pruned"); });
  EXPECT_EQ(table("backends"), before);  // the same ids and generations: nothing was written anew
}

TEST_F(AgentTest, AColdBootNeedsNoApiServer) {
  api_->signal(SIGSTOP);
  agent_->end(SIGKILL);
  ASSERT_EQ(::umount((dir_ / "bpf").c_str()), 0);
  mount_bpffs();
  start_agent();
  until("the last known state", [&] { return table("frontends").find(kWebRow) != std::string::npos; });
  EXPECT_EQ(dig("web.default"), "10.96.0.50\n");
  // A pod comes up, from the node's last known pod range.
  ASSERT_TRUE(sys::create_netns(dir_ / "pod").ok());
  const auto added = request(
      dir_ / "run/agent.sock", "POST", "/v1/cni",
      R"({"command":"ADD","containerId":"c1","netns":")" + (dir_ / "pod").string() +
          R"(","ifname":"eth0","args":"K8S_POD_NAMESPACE=default;K8S_POD_NAME=p","path":"/x","config":{"cniVersion":"1.1.0","name":"fairway","type":"fairway-cni"}})");
  ASSERT_TRUE(added.has_value());
  EXPECT_TRUE(added->as_object().contains("ips")) << json::serialize(*added);
  EXPECT_NE(table("endpoints").find("\"local\""), std::string::npos) << table("endpoints");
  // It outlives the agent's next restart too.
  agent_->end(SIGKILL);
  start_agent();
  until("adoption", [&] { return table("local-pods").find("\"default/p\"") != std::string::npos; });
  EXPECT_NE(table("endpoints").find("\"local\""), std::string::npos);
  EXPECT_TRUE(sys::remove_netns(dir_ / "pod").ok());
  api_->signal(SIGCONT);
}

// A pod's hostPort is in force when ADD answers; another's wish for it is refused and leaves nothing; it outlives the agent,
// also one that meets no API server, and goes with its pod.
TEST_F(AgentTest, HostPorts) {
  const auto call = [&](const std::string& command, const std::string& id, const std::string& runtime) {
    const fs::path netns = dir_ / id;
    if (!fs::exists(netns)) EXPECT_TRUE(sys::create_netns(netns).ok());
    const auto answer = request(
        dir_ / "run/agent.sock", "POST", "/v1/cni",
        R"({"command":")" + command + R"(","containerId":")" + id + R"(","netns":")" + netns.string() +
            R"(","ifname":"eth0","args":"K8S_POD_NAMESPACE=default;K8S_POD_NAME=)" + id +
            R"(","path":"/x","config":{"cniVersion":"1.1.0","name":"fairway","type":"fairway-cni","runtimeConfig":)" + runtime + "}}");
    return answer ? json::serialize(*answer) : "";
  };
  const std::string web = R"({"portMappings":[{"hostPort":8080,"containerPort":80,"protocol":"tcp"}],"bandwidth":{"ingressRate":8000000}})";
  const std::string port = R"("172.30.9.10",8080,"TCP",)", row = port + R"("default/c1","host-port",)";
  ASSERT_NE(call("ADD", "c1", web).find("\"ips\""), std::string::npos);
  EXPECT_NE(table("frontends").find(row), std::string::npos) << table("frontends");
  EXPECT_NE(table("endpoints").find("local,shaped"), std::string::npos) << table("endpoints");
  EXPECT_NE(table("attachments").find("loopback_out"), std::string::npos);
  const std::string clash = call("ADD", "c2", web);
  EXPECT_NE(clash.find("hostPort 172.30.9.10:8080/TCP belongs to pod default/c1"), std::string::npos) << clash;
  EXPECT_NE(clash.find("\"code\":11"), std::string::npos) << clash;
  EXPECT_EQ(table("local-pods").find("default/c2"), std::string::npos);
  const std::string masquerade = call("ADD", "c2", R"({"portMappings":[{"hostPort":61000,"containerPort":80}]})");
  EXPECT_NE(masquerade.find("masquerade ports"), std::string::npos) << masquerade;
  const std::string foreign = call("ADD", "c2", R"({"portMappings":[{"hostPort":81,"containerPort":80,"hostIP":"172.30.9.11"}]})");
  EXPECT_NE(foreign.find("hostIP 172.30.9.11 is not an address of this node"), std::string::npos) << foreign;
  EXPECT_NE(table("frontends").find(row), std::string::npos) << "what was refused took nothing with it";

  const std::string before = table("frontends");
  api_->signal(SIGSTOP);
  agent_->end(SIGKILL);
  start_agent();
  until("adoption", [&] { return table("local-pods").find("default/c1") != std::string::npos; });
  EXPECT_NE(table("frontends").find(row + R"("4+1","10.244.0.2:80")"), std::string::npos) << table("frontends");
  api_->signal(SIGCONT);
  until("sync", [&] { return status("pruned"); });
  EXPECT_EQ(table("frontends"), before) << "nothing of it was pruned or written anew";
  EXPECT_NE(table("attachments").find("loopback_out"), std::string::npos);

  call("DEL", "c1", "{}");
  EXPECT_EQ(table("frontends").find(port), std::string::npos) << table("frontends");
  EXPECT_EQ(table("attachments").find("loopback_out"), std::string::npos) << table("attachments");
  ASSERT_NE(call("ADD", "c2", web).find("\"ips\""), std::string::npos) << "the port is free again";
  // A pod that went while no agent was there: its port goes with the sync.
  agent_->end(SIGKILL);
  EXPECT_TRUE(sys::remove_netns(dir_ / "c2").ok());
  (void)sys::run({"ip", "link", "del", host_link()});
  start_agent();
  until("sync", [&] { return status("pruned"); });
  until("the port's end", [&] { return table("frontends").find(port) == std::string::npos; });
  EXPECT_EQ(table("attachments").find("loopback_out"), std::string::npos);
  EXPECT_TRUE(sys::remove_netns(dir_ / "c1").ok());
}

TEST_F(AgentTest, ARelistSweepsAndBrokenEventsHarmNothing) {
  api("/admin/raw?path=/api/v1/services",
      R"({"type":"MODIFIED","object":{"metadata":{"name":"web","namespace":"default","resourceVersion":"900"},"spec":{"ports":7}}})");
  until("the error", [&] { return table("errors").find("is not a list") != std::string::npos; });
  EXPECT_NE(table("frontends").find(kWebRow), std::string::npos);
  api("/admin/raw?path=/api/v1/services", "{{{{");
  until("the relist", [&] { return table("errors").find("is not a list") == std::string::npos; });
  EXPECT_NE(table("frontends").find(kWebRow), std::string::npos);
  api("/admin/compact");
  api("/admin/delete", R"({"kind":"Service","metadata":{"name":"web","namespace":"default"}})");
  until("the sweep", [&] { return table("frontends").find("default/web") == std::string::npos; });
  until("the name's end", [&] { return dig("web.default").empty(); });
}

}  // namespace
}  // namespace fairway
