#include "runtime/pod_files.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "runtime/log_file.h"
#include "runtime/oci_spec.h"
#include "runtime/pod.h"
#include "runtime/volumes.h"
#include "sys/file.h"

namespace fairway::runtime {
namespace {

Json json_of(const char* in) { return boost::json::parse(in); }

TEST(ResolvConf, FollowsTheDnsPolicy) {
  const DnsFacts dns{.servers = {"10.96.0.10"},
                     .domain = "cluster.local",
                     .machine_resolv_conf = "nameserver 9.9.9.9\nsearch example.org\noptions rotate\n"};
  EXPECT_EQ(render_resolv_conf(json_of(R"({"metadata":{"namespace":"ns"},"spec":{}})"), dns),
            "search ns.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n");
  const std::string machine = "search example.org\nnameserver 9.9.9.9\noptions rotate\n";
  EXPECT_EQ(render_resolv_conf(json_of(R"({"metadata":{"namespace":"ns"},"spec":{"dnsPolicy":"Default"}})"), dns), machine);
  EXPECT_EQ(render_resolv_conf(json_of(R"({"metadata":{"namespace":"ns"},"spec":{"hostNetwork":true}})"), dns), machine);
  EXPECT_EQ(
      render_resolv_conf(
          json_of(
              R"({"metadata":{"namespace":"ns"},"spec":{"dnsPolicy":"None","dnsConfig":{"nameservers":["1.2.3.4"],"searches":["a"],"options":[{"name":"ndots","value":"2"}]}}})"),
          dns),
      "search a\nnameserver 1.2.3.4\noptions ndots:2\n");
  const std::string merged = render_resolv_conf(
      json_of(R"({"metadata":{"namespace":"ns"},"spec":{"dnsConfig":{"options":[{"name":"ndots","value":"1"},{"name":"edns0"}]}}})"), dns);
  EXPECT_NE(merged.find("options ndots:1 edns0\n"), std::string::npos) << merged;
}

TEST(Hosts, NameThePod) {
  const Json pod = json_of(
      R"({"metadata":{"name":"web","namespace":"ns"},"spec":{"subdomain":"sub","hostAliases":[{"ip":"1.2.3.4","hostnames":["a","b"]}]}})");
  const PodFacts facts{.pod = &pod, .node_name = "node", .pod_ips = {"10.0.0.1"}, .host_ips = {"172.30.0.11"}, .allocatable = {}};
  const std::string hosts = render_hosts(facts, "cluster.local");
  EXPECT_NE(hosts.find("10.0.0.1\tweb.sub.ns.svc.cluster.local\tweb\n"), std::string::npos) << hosts;
  EXPECT_NE(hosts.find("\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n"), std::string::npos) << hosts;
}

TEST(Argv, CommandAndArgsOverTheImages) {
  Image image;
  image.config.entrypoint = {"/entry"};
  image.config.command = {"default"};
  const Json pod = json_of("{}");
  const auto argv = [&](const char* spec) {
    const Json container = json_of(spec);
    const ContainerSetup setup{.pod = &pod, .container = &container, .image = &image, .env = {"X=1"}};
    return container_argv(setup);
  };
  using List = std::vector<std::string>;
  EXPECT_EQ(argv("{}"), (List{"/entry", "default"}));
  EXPECT_EQ(argv(R"J({"args":["a$(X)"]})J"), (List{"/entry", "a1"}));
  EXPECT_EQ(argv(R"({"command":["c"]})"), (List{"c"}));
  EXPECT_EQ(argv(R"({"command":["c"],"args":["a"]})"), (List{"c", "a"}));
}

TEST(OciConfig, Capabilities) {
  Image image;
  image.config.command = {"x"};
  const Json pod = json_of("{}");
  const auto caps = [&](const char* spec) {
    const Json container = json_of(spec);
    const ContainerSetup setup{.pod = &pod, .container = &container, .image = &image};
    return boost::json::serialize(*find(oci_config(setup), "process.capabilities.bounding"));
  };
  EXPECT_NE(caps("{}").find("CAP_NET_RAW"), std::string::npos);
  EXPECT_EQ(caps("{}").find("CAP_NET_ADMIN"), std::string::npos);
  EXPECT_NE(caps(R"({"securityContext":{"capabilities":{"add":["NET_ADMIN"]}}})").find("CAP_NET_ADMIN"), std::string::npos);
  EXPECT_EQ(caps(R"({"securityContext":{"capabilities":{"drop":["ALL"],"add":["NET_BIND_SERVICE"]}}})"), "[\"CAP_NET_BIND_SERVICE\"]");
  EXPECT_NE(caps(R"({"securityContext":{"privileged":true}})").find("CAP_SYS_ADMIN"), std::string::npos);
}

TEST(OciConfig, PidsAreLimitedWhereTheMachineCan) {
  Image image;
  image.config.command = {"x"};
  const Json pod = json_of("{}"), container = json_of("{}");
  ContainerSetup setup{.pod = &pod, .container = &container, .image = &image};
  EXPECT_EQ(find(oci_config(setup), "linux.resources.pids"), nullptr) << "runc refuses to start what it cannot limit";
  setup.pids_limit = 77;
  EXPECT_EQ(boost::json::serialize(*find(oci_config(setup), "linux.resources.pids")), R"({"limit":77})");
}

TEST(User, NonRootIsEnforced) {
  const Image image;
  const Json pod =
      json_of(R"({"metadata":{"name":"p","namespace":"n","uid":"u"},"spec":{"securityContext":{"runAsNonRoot":true,"fsGroup":7}}})");
  EXPECT_FALSE(resolve_user(pod, json_of(R"({"name":"c"})"), image, "/nonexistent").ok());
  auto user = resolve_user(pod, json_of(R"({"name":"c","securityContext":{"runAsUser":5,"runAsGroup":6}})"), image, "/nonexistent");
  ASSERT_TRUE(user.ok());
  EXPECT_EQ(user->uid, 5u);
  EXPECT_EQ(user->gid, 6u);
  EXPECT_EQ(user->groups, std::vector<unsigned>{7});
}

TEST(Volumes, NoPathLeadsOut) {
  const Json pod = json_of("{}");
  const PodFacts facts{.pod = &pod, .node_name = "", .pod_ips = {}, .host_ips = {}, .allocatable = {}};
  ConfigObjects objects;
  objects["configmaps/cm"] = json_of(R"({"data":{"k":"v"}})");
  for (const char* path : {"../x", "/x", "a/../../x", "."}) {
    const Json volume = boost::json::object{
        {"name", "v"},
        {"configMap",
         boost::json::object{{"name", "cm"}, {"items", boost::json::array{boost::json::object{{"key", "k"}, {"path", path}}}}}}};
    EXPECT_FALSE(volume_files(facts, volume, objects, {}).ok()) << path;
  }
}

TEST(Volumes, UpdateAtOnceAndSubPathsStayInside) {
  const std::string dir = "/tmp/fairway-volume-test-" + std::to_string(::getpid());
  ASSERT_TRUE(write_volume_files(dir + "/v", {{"a", "1"}, {"b/c", "2"}}, -1).ok());
  EXPECT_EQ(*sys::read_file(dir + "/v/b/c"), "2");
  ASSERT_TRUE(write_volume_files(dir + "/v", {{"a", "new"}}, -1).ok());
  EXPECT_EQ(*sys::read_file(dir + "/v/a"), "new");
  EXPECT_FALSE(std::filesystem::exists(std::filesystem::symlink_status(dir + "/v/b")));
  std::filesystem::create_symlink("/etc", dir + "/v/out");
  EXPECT_FALSE(resolve_sub_path(dir + "/v", "out/passwd").ok());
  EXPECT_FALSE(resolve_sub_path(dir + "/v", "../x").ok());
  auto made = resolve_sub_path(dir + "/v", "new/deep");
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(*made, dir + "/v/new/deep");
  std::filesystem::remove_all(dir);
}

TEST(LogLine, IsRenderedAsAsked) {
  const std::string line = "2026-01-02T03:04:05.123456789Z stdout F hello  world";
  EXPECT_EQ(render_log_line(line, {}), "hello  world\n");
  EXPECT_EQ(render_log_line(line, {.timestamps = true}), "2026-01-02T03:04:05.123456789Z hello  world\n");
  EXPECT_EQ(render_log_line("2026-01-02T03:04:05Z stderr P part", {}), "part");
  EXPECT_EQ(render_log_line(line, {.since_ns = parse_rfc3339("2026-01-02T03:04:06Z")}), "");
  EXPECT_EQ(render_log_line("garbage", {}), "");
}

TEST(LogReader, TailsAndSurvivesRotation) {
  const std::string path = "/tmp/fairway-log-test-" + std::to_string(::getpid());
  const auto line = [](int i) { return "2026-01-02T03:04:05Z stdout F " + std::to_string(i) + "\n"; };
  ASSERT_TRUE(sys::write_file_atomic(path, line(1) + line(2) + line(3)).ok());
  auto reader = LogReader::open(path, {.tail_lines = 2});
  ASSERT_TRUE(reader.ok());
  EXPECT_EQ(reader->next(), "2\n3\n");
  EXPECT_EQ(reader->next(), "");
  std::filesystem::rename(path, path + ".1");
  ASSERT_TRUE(sys::write_file_atomic(path, line(4)).ok());
  EXPECT_EQ(reader->next(), "4\n");
  auto all = LogReader::open(path, {.limit_bytes = 5});
  EXPECT_EQ(all->next(), "1\n2\n3");
  EXPECT_TRUE(all->limit_reached());
  auto none = LogReader::open(path, {.tail_lines = 0});
  EXPECT_EQ(none->next(), "");
  std::filesystem::remove(path);
  std::filesystem::remove(path + ".1");
}

TEST(PodStatus, ConditionsKeepTheirTime) {
  const Json pod = json_of(
      R"({"spec":{"readinessGates":[{"conditionType":"x/y"}],"containers":[{"name":"c"}]},"status":{"conditions":[{"type":"x/y","status":"False"}]}})");
  StatusFacts facts{.phase = "Running", .sandbox_ready = true, .initialized = true};
  const Json first = pod_status(pod, facts, json_of("{}"), 1'000'000'000'000'000'000);
  const auto ready = [](const Json& status, const char* type) {
    for (const auto& c : array(status, "conditions"))
      if (text(c, "type") == type) return c;
    return Json();
  };
  EXPECT_EQ(text(ready(first, "ContainersReady"), "status"), "True");
  EXPECT_EQ(text(ready(first, "Ready"), "reason"), "ReadinessGatesNotReady");
  const Json later = pod_status(pod, facts, first, 2'000'000'000'000'000'000);
  EXPECT_EQ(text(ready(later, "Ready"), "lastTransitionTime"), text(ready(first, "Ready"), "lastTransitionTime"));
  facts.unready = {"c"};
  const Json unready = pod_status(pod, facts, later, 2'000'000'000'000'000'000);
  EXPECT_EQ(text(ready(unready, "Ready"), "message"), "containers with unready status: [c]");
  facts.unready = {};
  const Json again = pod_status(pod, facts, unready, 3'000'000'000'000'000'000);
  const Json containers_ready = ready(again, "ContainersReady");
  const Json* reason = containers_ready.get_object().if_contains("reason");
  EXPECT_TRUE(reason && reason->is_null()) << "a patch that leaves a reason out keeps the old one";
  EXPECT_NE(text(ready(unready, "ContainersReady"), "lastTransitionTime"), text(ready(first, "ContainersReady"), "lastTransitionTime"));
  EXPECT_EQ(qos_class(pod), "BestEffort");
}

}  // namespace
}  // namespace fairway::runtime
