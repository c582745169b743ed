// test-deps: fw_runtime
// The node runtime with real containers: images of the catalogue, runc, fairway-shim, and its socket.
#include "runtime_fixture.h"

namespace fairway::runtimetest {
namespace {

using runtime::text;

constexpr char kSleeper[] =
    R"({"containers":[{"name":"c","image":"busybox","command":["sleep","1000"]}],"terminationGracePeriodSeconds":1})";

TEST_F(RuntimeTest, NginxServesItsDefaultPage) {
  start_runtime();
  create_pod(
      "web",
      R"({"containers":[{"name":"web","image":"nginx","readinessProbe":{"exec":{"command":["curl","-sf","localhost"]},"periodSeconds":1}}]})");
  ASSERT_TRUE(eventually([&] { return runtime::flag(container("web"), "ready"); })) << boost::json::serialize(pod("web"));
  EXPECT_NE(exec("web", "curl -s localhost").out().find("Welcome to nginx!"), std::string::npos);
  EXPECT_EQ(text(pod("web"), "status.phase"), "Running");
  const Json status = container("web");
  EXPECT_TRUE(text(status, "imageID").starts_with("catalogue://library/nginx@sha256:")) << text(status, "imageID");
  EXPECT_EQ(text(status, "image"), "docker.io/library/nginx:latest");
  auto seen = events("web");
  for (const char* reason : {"Pulling", "Pulled", "Created", "Started"}) EXPECT_TRUE(seen.contains(reason)) << reason;
  EXPECT_NE(seen["Pulled"].find("catalogue"), std::string::npos) << "which source served must be shown";
  const auto log = stream("web", {{"op", "logs"}, {"tailLines", 1}}).finish();
  EXPECT_NE(log.out().find("GET / HTTP/1.1\" 200"), std::string::npos) << log.out();

  auto forward = stream("web", {{"op", "portforward"}, {"port", 80}});
  ASSERT_TRUE(forward.ok());
  forward.send(0, "GET / HTTP/1.0\r\n\r\n");
  EXPECT_NE(forward.finish().out().find("Welcome to nginx!"), std::string::npos);
  const auto refused = stream("web", {{"op", "portforward"}, {"port", 81}}).finish();
  EXPECT_FALSE(runtime::flag(refused.head, "ok"));
  EXPECT_NE(text(refused.head, "message").find("81"), std::string::npos);
}

TEST_F(RuntimeTest, ContainersAreInTheNodesCgroup) {
  start_runtime();
  create_pod(
      "p",
      R"({"containers":[{"name":"c","image":"busybox","command":["sleep","1000"],"resources":{"limits":{"memory":"48Mi","cpu":"250m"}}}],"terminationGracePeriodSeconds":1})");
  ASSERT_TRUE(eventually([&] { return running("p"); }));
  const std::string path = cgroup_ + "/" + tag_ + "-p/c";
  EXPECT_NE(exec("p", "cat /proc/1/cgroup").out().find("0::" + path), std::string::npos) << "socket programs attach by cgroup2";
  if (fs::exists("/sys/fs/cgroup/memory")) {
    auto limit = sys::read_file("/sys/fs/cgroup/memory" + path + "/memory.limit_in_bytes");
    ASSERT_TRUE(limit.ok());
    EXPECT_EQ(*limit, std::to_string(48 << 20) + "\n");
  }
  if (fs::exists("/sys/fs/cgroup/pids")) {
    auto limit = sys::read_file("/sys/fs/cgroup/pids" + path + "/pids.max");
    ASSERT_TRUE(limit.ok());
    EXPECT_EQ(*limit, "1024\n");
  }
}

TEST_F(RuntimeTest, ExecPassesStreamsAndExitCodes) {
  start_runtime();
  create_pod("p", kSleeper);
  ASSERT_TRUE(eventually([&] { return running("p"); }));
  const auto mixed = exec("p", "echo out; echo err >&2; exit 7");
  EXPECT_EQ(mixed.out(), "out\n");
  EXPECT_EQ(mixed.err(), "err\n");
  EXPECT_NE(mixed.status().find(R"("causes":[{"reason":"ExitCode","message":"7"}])"), std::string::npos) << mixed.status();

  auto count = stream("p", {{"op", "exec"}, {"command", boost::json::array{"wc", "-c"}}, {"stdin", true}});
  count.send(0, std::string(700'000, 'x'));
  count.end_input();
  EXPECT_EQ(count.finish().out(), "700000\n");

  EXPECT_EQ(exec("p", "head -c 3000000 /dev/zero").out().size(), 3'000'000u);
  const auto missing = stream("p", {{"op", "exec"}, {"command", boost::json::array{"no-such-program"}}}).finish();
  EXPECT_NE(missing.status().find("executable file not found in $PATH"), std::string::npos) << missing.status();
  EXPECT_EQ(missing.err(), "");
}

TEST_F(RuntimeTest, ExecWithATerminal) {
  start_runtime();
  create_pod("p", kSleeper);
  ASSERT_TRUE(eventually([&] { return running("p"); }));
  auto shell = stream("p", {{"op", "exec"},
                            {"command", boost::json::array{"sh", "-c", "read a; stty size; read b; stty size; exit 3"}},
                            {"stdin", true},
                            {"tty", true}});
  shell.send(4, "{\"Width\":90,\"Height\":30}\n");
  shell.send(0, "\n");
  while (shell.so_far().out().find("30 90") == std::string::npos) ASSERT_TRUE(shell.next());
  shell.send(4, R"({"Width":120,"Height":40})");
  shell.send(0, "\n");
  const auto done = shell.finish();
  EXPECT_NE(done.out().find("40 120"), std::string::npos) << done.out();
  EXPECT_NE(done.status().find(R"("message":"3")"), std::string::npos);
}

TEST_F(RuntimeTest, AClientThatLeavesEndsItsCommand) {
  start_runtime();
  create_pod("p", kSleeper);
  ASSERT_TRUE(eventually([&] { return running("p"); }));
  {
    auto left = stream("p", {{"op", "exec"}, {"command", boost::json::array{"sleep", "4321"}}});
    ASSERT_TRUE(eventually([&] { return exec("p", "ps | grep -c '[s]leep 4321'").out() == "1\n"; }));
  }
  EXPECT_TRUE(eventually([&] { return exec("p", "ps | grep -c '[s]leep 4321'").out() == "0\n"; }));
}

TEST_F(RuntimeTest, BadRequestsAreRefusedWithTheirReason) {
  start_runtime();
  create_pod("p", kSleeper);
  ASSERT_TRUE(eventually([&] { return running("p"); }));
  const auto refused = [&](const std::string& pod_name, boost::json::object request) {
    return text(stream(pod_name, std::move(request)).finish().head, "message");
  };
  EXPECT_EQ(refused("other", {{"op", "exec"}}), "pods \"other\" not found");
  EXPECT_EQ(refused("p", {{"op", "dance"}}), "unknown op \"dance\"");
  EXPECT_EQ(refused("p", {{"op", "logs"}, {"container", "x"}}), "container x is not valid for pod p");
  EXPECT_EQ(refused("p", {{"op", "exec"}}), "you must specify at least one command for the container");
  EXPECT_EQ(refused("p", {{"op", "portforward"}, {"port", 70000}}), "port must be between 1 and 65535, inclusive");
  EXPECT_EQ(refused("p", {{"op", "logs"}, {"previous", true}}), "previous terminated container \"c\" in pod \"p\" not found");
  EXPECT_TRUE(running("p"));
}

TEST_F(RuntimeTest, PodsOutliveTheRuntime) {
  start_runtime();
  create_pod(
      "p",
      R"({"containers":[{"name":"c","image":"busybox","command":["sh","-c","trap 'exit 5' TERM; i=0; while true; do echo line $i; i=$((i+1)); sleep 0.1; done"]}],"terminationGracePeriodSeconds":1})");
  ASSERT_TRUE(eventually([&] { return running("p"); }));
  const std::string id = text(container("p"), "containerID"), started = text(container("p"), "state.running.startedAt");
  kill_runtime();
  start_runtime();
  ASSERT_TRUE(eventually([&] { return exec("p", "echo alive").out() == "alive\n"; }));
  EXPECT_EQ(text(container("p"), "containerID"), id);
  EXPECT_EQ(text(container("p"), "state.running.startedAt"), started);
  EXPECT_EQ(runtime::number(container("p"), "restartCount"), 0);

  // Its log went on, without a gap.
  auto follow = stream("p", {{"op", "logs"}, {"follow", true}});
  ASSERT_TRUE(follow.ok());
  while (follow.so_far().out().find("line 20\n") == std::string::npos) ASSERT_TRUE(follow.next());
  std::istringstream lines(follow.so_far().out());
  int expected = 0;
  for (std::string line; std::getline(lines, line) && expected < 20; ++expected) EXPECT_EQ(line, "line " + std::to_string(expected));

  // And its exit is seen by a runtime that did not start it.
  exec("p", "kill 1");
  ASSERT_TRUE(eventually([&] { return runtime::number(container("p"), "restartCount") == 1; }));
  EXPECT_EQ(runtime::number(container("p"), "lastState.terminated.exitCode"), 5);
  remove_pod("p", 1);
  EXPECT_TRUE(eventually([&] { return gone("p"); }));
}

TEST_F(RuntimeTest, APodDeletedWhileTheRuntimeWasAwayIsRemoved) {
  start_runtime();
  create_pod("p", kSleeper);
  ASSERT_TRUE(eventually([&] { return running("p"); }));
  kill_runtime();
  fs::remove(object_path("pods", "p"));
  start_runtime();
  EXPECT_TRUE(eventually([&] { return gone("p"); }));
}

TEST_F(RuntimeTest, FailuresHaveTheirNames) {
  start_runtime();
  create_pod("no-image", R"({"containers":[{"name":"c","image":"no.such/thing:1"}]})");
  create_pod("bad-name", R"({"containers":[{"name":"c","image":"Bad Name"}]})");
  create_pod("no-program", R"({"containers":[{"name":"c","image":"busybox","command":["/nope"]}]})");
  create_pod(
      "no-config",
      R"({"containers":[{"name":"c","image":"busybox","env":[{"name":"X","valueFrom":{"configMapKeyRef":{"name":"none","key":"k"}}}]}]})");
  create_pod("no-volume", R"({"containers":[{"name":"c","image":"busybox"}],"volumes":[{"name":"v","secret":{"secretName":"none"}}]})");
  create_pod(
      "crash",
      R"({"containers":[{"name":"c","image":"busybox","command":["sh","-c","echo died; echo why >/dev/termination-log; exit 3"]}]})");
  const auto waiting = [&](const std::string& name, const std::string& reason) {
    Json now;
    EXPECT_TRUE(eventually([&] { return text(now = container(name), "state.waiting.reason") == reason; })) << name << " " << reason;
    return now;
  };
  // First what is started again in ten seconds.
  const Json crash = waiting("crash", "CrashLoopBackOff"), no_program = waiting("no-program", "CrashLoopBackOff");
  EXPECT_EQ(runtime::number(crash, "lastState.terminated.exitCode"), 3);
  EXPECT_EQ(text(crash, "lastState.terminated.message"), "why\n");
  EXPECT_GE(runtime::number(crash, "restartCount"), 1);
  EXPECT_EQ(stream("crash", {{"op", "logs"}, {"previous", true}}).finish().out(), "died\n");
  EXPECT_EQ(text(no_program, "lastState.terminated.reason"), "StartError");
  EXPECT_EQ(runtime::number(no_program, "lastState.terminated.exitCode"), 128);
  EXPECT_LT(runtime::number(no_program, "restartCount"), 3);

  EXPECT_NE(text(waiting("no-image", "ImagePullBackOff"), "state.waiting.message").find("not in the catalogue"), std::string::npos);
  EXPECT_TRUE(eventually([&] { return events("no-image").contains("Failed"); }));
  waiting("bad-name", "InvalidImageName");
  EXPECT_EQ(text(waiting("no-config", "CreateContainerConfigError"), "state.waiting.message"), "configmap \"none\" not found");
  EXPECT_TRUE(eventually([&] { return events("no-volume").contains("FailedMount"); }));
  EXPECT_EQ(text(pod("no-volume"), "status.phase"), "Pending");
}

TEST_F(RuntimeTest, InitContainersVolumesAndEnvironment) {
  put("configmaps", "cm", {{"data", boost::json::object{{"a", "1"}, {"file.txt", "hello"}}}});
  put("secrets", "sec", {{"data", boost::json::object{{"pw", "c2VjcmV0"}}}});
  start_runtime();
  create_pod(
      "job",
      R"J({"restartPolicy":"Never","initContainers":[{"name":"i","image":"busybox","command":["sh","-c","echo from-init > /shared/x"],"volumeMounts":[{"name":"s","mountPath":"/shared"}]}],
    "containers":[{"name":"c","image":"busybox","command":["sh","-c"],"args":["cat /shared/x /cm/file.txt /sec/pw /one; echo; echo '$(A)-$(B)-$(NONE)-$$(A)'; id -u; touch /cm/w || echo read-only"],
      "env":[{"name":"A","valueFrom":{"configMapKeyRef":{"name":"cm","key":"a"}}},{"name":"B","value":"b$(A)"}],"securityContext":{"runAsUser":1234},
      "volumeMounts":[{"name":"s","mountPath":"/shared"},{"name":"cm","mountPath":"/cm","readOnly":true},{"name":"sec","mountPath":"/sec"},{"name":"cm","mountPath":"/one","subPath":"a"}]}],
    "volumes":[{"name":"s","emptyDir":{"medium":"Memory"}},{"name":"cm","configMap":{"name":"cm"}},{"name":"sec","secret":{"secretName":"sec"}}]})J");
  ASSERT_TRUE(eventually([&] { return text(pod("job"), "status.phase") == "Succeeded"; })) << boost::json::serialize(pod("job"));
  const std::string log = stream("job", {{"op", "logs"}}).finish().out();
  EXPECT_NE(log.find("from-init\nhellosecret1\n1-b1-$(NONE)-$(A)\n1234\n"), std::string::npos) << log;
  EXPECT_NE(log.find("read-only"), std::string::npos) << log;
  EXPECT_EQ(text(container("job"), "state.terminated.reason"), "Completed");
}

TEST_F(RuntimeTest, ProbesAndHooks) {
  start_cni();
  start_runtime();
  create_pod(
      "p",
      R"({"terminationGracePeriodSeconds":30,"containers":[{"name":"c","image":"busybox","command":["sh","-c","trap 'echo term; exit 0' TERM; while true; do sleep 0.1; done"],
    "livenessProbe":{"exec":{"command":["test","!","-e","/tmp/sick"]},"periodSeconds":1,"failureThreshold":1},
    "readinessProbe":{"httpGet":{"port":8080,"path":"/x"},"periodSeconds":1},
    "lifecycle":{"postStart":{"exec":{"command":["touch","/tmp/started"]}},"preStop":{"exec":{"command":["sh","-c","echo stopping > /proc/1/fd/1"]}}}}]})");
  ASSERT_TRUE(eventually([&] { return running("p"); }));
  EXPECT_TRUE(eventually([&] { return exec("p", "ls /tmp/started").out() == "/tmp/started\n"; }));
  EXPECT_FALSE(runtime::flag(container("p"), "ready"));
  exec("p", "mkdir /www; echo ok > /www/x; httpd -p 8080 -h /www");
  EXPECT_TRUE(eventually([&] { return runtime::flag(container("p"), "ready"); }));
  exec("p", "touch /tmp/sick");
  ASSERT_TRUE(eventually([&] { return runtime::number(container("p"), "restartCount") == 1; }));
  auto seen = events("p");
  EXPECT_TRUE(seen.contains("Unhealthy"));
  EXPECT_EQ(seen["Killing"], "Container c failed liveness probe, will be restarted");
  const std::string log = stream("p", {{"op", "logs"}, {"previous", true}}).finish().out();
  EXPECT_EQ(log, "stopping\nterm\n");
}

TEST_F(RuntimeTest, TheCniPluginGivesThePodItsAddress) {
  start_cni();
  start_runtime();
  auto node = runtime::parse_json_file(dir_ + "/api/nodes/_/n1.json");
  ASSERT_TRUE(node.ok());
  EXPECT_FALSE(runtime::array(*node, "status.addresses").empty());
  create_pod("web", R"({"containers":[{"name":"web","image":"nginx","readinessProbe":{"httpGet":{"port":80},"periodSeconds":1}}]})");
  ASSERT_TRUE(eventually([&] { return runtime::flag(container("web"), "ready"); })) << boost::json::serialize(pod("web"));
  const std::string ip = text(pod("web"), "status.podIP");
  EXPECT_TRUE(ip.starts_with("10.244.7.")) << ip;
  EXPECT_NE(exec("web", "cat /etc/hosts").out().find(ip + "\tweb"), std::string::npos);
  remove_pod("web", 0);
  EXPECT_TRUE(eventually([&] { return gone("web"); }));
  EXPECT_TRUE(fs::is_empty(dir_ + "/rows")) << "DEL must have reached the plugin";

  // With the agent away a pod waits with a reason, and comes up once it is back.
  ::kill(cni_, SIGKILL);
  ::waitpid(cni_, nullptr, 0);
  create_pod("late", kSleeper);
  EXPECT_TRUE(eventually([&] { return events("late").contains("FailedCreatePodSandBox"); }));
  EXPECT_EQ(text(container("late"), "state.waiting.reason"), "ContainerCreating");
  cni_ = spawn({CNI_FIXTURE, node_, dir_, "cidr=10.244.7.0/24", "mtu=1450"});
  EXPECT_TRUE(eventually([&] { return running("late"); }));
}

}  // namespace
}  // namespace fairway::runtimetest
