// Golden files: cases/*.txt, each a script of objects and what the maps must hold then.
//
//   put                    objects in YAML follow, up to a line "."
//   relist                 likewise; all else is gone
//   delete KIND NS/NAME
//   local NS/NAME N        CNI adds a pod of this node, with 10.244.1.N and fd00:10:244:1::N
//   unlocal NS/NAME        and removes it
//   restart                the agent is killed and started again on the same maps
//   expect                 the dump follows, up to a line "."
//
// Every script runs on maps in memory; with every tenth operation failing, for several seeds; and as root on the kernel's
// own maps. The dump has no ids, so all of them must agree. SCRIPT_UPDATE=1 writes the dumps into the files;
// SCRIPT_SEEDS=1000 runs the random log for longer.
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "datapath/datapath.h"
#include "world.h"

namespace fairway::script {
namespace {

namespace fs = std::filesystem;

struct Step {
  std::string verb;
  std::string args;
  std::string text;
  std::string comment;  // lines before it, kept for the update
};

std::vector<Step> parse_script(const fs::path& path) {
  std::ifstream file(path);
  std::vector<Step> steps;
  std::string comment;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') {
      comment += line + "\n";
      continue;
    }
    Step step;
    std::istringstream words(line);
    words >> step.verb;
    std::getline(words >> std::ws, step.args);
    step.comment = std::exchange(comment, "");
    if (step.verb == "put" || step.verb == "expect" || step.verb == "relist")
      for (std::string more; std::getline(file, more) && more != ".";) step.text += more + "\n";
    steps.push_back(step);
  }
  return steps;
}

void run_script(World& world, std::vector<Step>& steps, bool update, bool errors_too) {
  const auto without_errors = [&](const std::string& dump) { return errors_too ? dump : dump.substr(0, dump.find("errors\n")); };
  for (Step& step : steps) {
    if (step.verb == "put") world.put_yaml(step.text);
    else if (step.verb == "relist") world.relist_yaml(step.text);
    else if (step.verb == "restart") world.restart();
    else if (step.verb == "delete") world.remove(step.args.substr(0, step.args.find(' ')), step.args.substr(step.args.find(' ') + 1));
    else if (step.verb == "local")
      world.add_local(step.args.substr(0, step.args.find(' ')),
                      static_cast<unsigned>(std::stoul(step.args.substr(step.args.find(' ') + 1))));
    else if (step.verb == "unlocal") world.remove_local(step.args);
    else if (step.verb == "expect") {
      world.settle();
      if (update) step.text = world.dump();
      EXPECT_EQ(without_errors(world.dump()), without_errors(step.text));
    } else {
      FAIL() << "unknown verb " << step.verb;
    }
    if (::testing::Test::HasFailure()) return;
  }
}

void write_script(const fs::path& path, const std::vector<Step>& steps) {
  std::ofstream file(path);
  for (const Step& step : steps) {
    file << step.comment << step.verb << (step.args.empty() ? "" : " ") << step.args << "\n";
    if (step.verb == "put" || step.verb == "expect" || step.verb == "relist") file << step.text << ".\n";
  }
}

std::vector<fs::path> cases() {
  std::vector<fs::path> out;
  for (const auto& entry : fs::directory_iterator(SCRIPT_CASES))
    if (entry.path().extension() == ".txt") out.push_back(entry.path());
  std::sort(out.begin(), out.end());
  return out;
}

class Script : public ::testing::TestWithParam<fs::path> {};

TEST_P(Script, InMemory) {
  auto steps = parse_script(GetParam());
  const auto maps = memory_maps({});
  World world(*maps, 0, 1);
  const bool update = std::getenv("SCRIPT_UPDATE") != nullptr;
  run_script(world, steps, update, true);
  if (update) write_script(GetParam(), steps);
}

TEST_P(Script, EveryTenthOperationFails) {
  for (unsigned seed = 1; seed <= 20 && !HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    auto steps = parse_script(GetParam());
    const auto maps = memory_maps({});
    World world(*maps, 0.1, seed);
    run_script(world, steps, false, true);
  }
}

struct KernelMaps final : Maps {
  std::unique_ptr<datapath::Datapath> datapath;
  datapath::Map<fw_frontend_key, fw_frontend>& frontends() override { return datapath->frontends(); }
  datapath::Map<std::uint32_t, std::uint32_t>& slots() override { return datapath->svc_slots(); }
  datapath::Map<std::uint32_t, fw_backend>& backends() override { return datapath->backends(); }
  datapath::Map<fw_addr, fw_endpoint>& endpoints() override { return datapath->endpoints(); }
  datapath::Map<std::uint32_t, fw_node>& nodes() override { return datapath->nodes(); }
  datapath::PolicyTables& policy() override { return *datapath; }
};

// In a mount and network namespace of its own, so that nothing is left whatever happens.
TEST_P(Script, OnTheKernelsMaps) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root for BPF maps";
  static const bool apart = ::unshare(CLONE_NEWNS | CLONE_NEWNET) == 0 && ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
  if (!apart) GTEST_SKIP() << "needs to make namespaces";
  const std::string dir = fs::temp_directory_path() / ("fw-script-" + std::to_string(::getpid()));
  fs::create_directories(dir);
  ASSERT_EQ(::mount("bpf", dir.c_str(), "bpf", 0, nullptr), 0) << "mount bpffs: " << std::strerror(errno);
  {
    datapath::DatapathConfig config;
    config.bpf_dir = dir + "/fairway";
    config.sizes = {.endpoints = 256,
                    .local_ifs = 16,
                    .nodes = 32,
                    .frontends = 64,
                    .svc_slots = 256,
                    .backends = 128,
                    .flows_new = 64,
                    .flows = 64,
                    .fragments = 16,
                    .sock_origin = 64,
                    .pol_peers = 64,
                    .pol_cidrs = 64,
                    .pol_verdicts = 256,
                    .pol_hits = 16,
                    .pol_denied = 16,
                    .track_new = 16,
                    .track = 16};
    auto opened = datapath::Datapath::open(config);
    EXPECT_TRUE(opened.ok()) << opened.error().message;
    if (opened.ok()) {
      KernelMaps maps;
      maps.datapath = std::move(*opened);
      auto steps = parse_script(GetParam());
      World world(maps, 0, 1);
      // The words of a refusal are the kernel's here.
      run_script(world, steps, false, false);
    }
    (void)datapath::Datapath::remove_all(config.bpf_dir);
  }
  ::umount(dir.c_str());
  fs::remove(dir);
}

INSTANTIATE_TEST_SUITE_P(Cases, Script, ::testing::ValuesIn(cases()), [](const auto& test_case) {
  std::string name = test_case.param.stem().string();
  std::replace_if(
      name.begin(), name.end(), [](unsigned char c) { return !std::isalnum(c); }, '_');
  return name;
});

struct Object {
  std::string kind, key, yaml;
};
Object random_object(std::mt19937& random) {
  const unsigned n = random() % 6;
  const std::string i = std::to_string(n), ns = n % 2 == 0 ? "red" : "blue";
  Object out{"", ns + "/x" + i, ""};
  auto& [kind, key, yaml] = out;
  switch (random() % 4) {
    case 0:
      kind = "Service";
      yaml = "kind: Service\nmetadata: {name: x" + i + ", namespace: " + ns + "}\nspec: {clusterIPs: [10.96.0." + std::to_string(1 + n) +
             "], ports: [{name: a, port: " + std::to_string(80 + random() % 2) + "}]}\n";
      break;
    case 1: {
      kind = "EndpointSlice";
      std::string list;
      for (unsigned e = random() % 5; e > 0; --e)
        list += "- {addresses: [10.244." + std::to_string(random() % 3) + "." + std::to_string(random() % 8) +
                "], conditions: {ready: " + (random() % 3 != 0 ? "true" : "false") +
                ", serving: true, terminating: " + (random() % 2 != 0 ? "true" : "false") + "}}\n";
      yaml = "kind: EndpointSlice\nmetadata: {name: x" + i + ", namespace: " + ns + ", labels: {kubernetes.io/service-name: x" + i +
             "}}\naddressType: IPv4\nports: [{name: a, port: 8080}]\nendpoints:\n" + list;
      break;
    }
    case 2:
      kind = "Pod";
      yaml = "kind: Pod\nmetadata: {name: x" + i + ", namespace: " + ns + ", uid: u" + std::to_string(random() % 100) +
             "}\nspec: {nodeName: node-" + std::to_string(1 + random() % 3) + "}\nstatus: {phase: Running, podIPs: [{ip: 10.244." +
             std::to_string(random() % 3) + "." + std::to_string(random() % 8) + "}]}\n";
      break;
    default:
      kind = "Node";
      key = "node-" + std::to_string(1 + n % 3);
      yaml = "kind: Node\nmetadata: {name: " + key + "}\nspec: {podCIDRs: [10.244." + std::to_string(n % 3) +
             ".0/24]}\nstatus: {addresses: [{type: InternalIP, address: 172.30.0.1" + std::to_string(1 + n % 3) + "}]}\n";
  }
  return out;
}

// A random log of operations with faults, relists and restarts in it ends where a world without any of that ends.
unsigned seeds() {
  const char* text = std::getenv("SCRIPT_SEEDS");
  return text != nullptr ? static_cast<unsigned>(std::atoi(text)) : 15;
}

TEST(RandomLog, ConvergesWithFaultyMaps) {
  std::size_t faults = 0;
  for (unsigned seed = 1; seed <= seeds() && !::testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const auto maps = memory_maps({}), clean_maps = memory_maps({});
    World world(*maps, 0.1, seed);
    std::map<std::pair<std::string, std::string>, std::string> truth;  // kind, key -> YAML
    const auto all = [&] {
      std::string out;
      for (const auto& [key, yaml] : truth) out += "---\n" + yaml;
      return out;
    };
    world.settle();
    for (int step = 0; step < 150; ++step) {
      const auto [kind, key, yaml] = random_object(random);
      const unsigned what = random() % 20;
      if (what == 0) {
        world.restart();
        world.relist_yaml(all());
      } else if (what == 1) {
        world.relist_yaml(all());
      } else if (what < 6) {
        truth.erase({kind, key});
        world.remove(kind, key);
      } else {
        truth[{kind, key}] = yaml;
        world.put_yaml(yaml);
      }
      if (random() % 10 == 0) world.settle();
      if (::testing::Test::HasFailure()) return;
    }
    world.settle();
    World clean(*clean_maps, 0, 99);
    clean.relist_yaml(all());
    clean.settle();
    EXPECT_EQ(world.dump(), clean.dump());
    faults += world.faults();
  }
  EXPECT_GT(faults, 0U);
}

// A full map: what fits is in force, what does not is said, and room is used as soon as there is some.
TEST(FullMap, TheOldStateStaysInForce) {
  MapLimits limits;
  limits.frontends = 1;
  const auto maps = memory_maps(limits);
  World world(*maps, 0, 1);
  const auto service = [](const std::string& i) {
    return "kind: Service\nmetadata: {name: s" + i + ", namespace: d}\nspec: {clusterIPs: [10.96.0." + i + "], ports: [{port: 80}]}\n";
  };
  world.put_yaml(service("1"));
  world.settle();
  world.put_yaml(service("2"));
  world.settle();
  EXPECT_NE(world.dump().find("10.96.0.1:80/TCP"), std::string::npos);
  EXPECT_EQ(world.dump().find("10.96.0.2:80/TCP"), std::string::npos);
  EXPECT_NE(world.dump().find("Service d/s2: maps: map frontends: full at 1 rows: the old state stays in force"), std::string::npos)
      << world.dump();
  world.remove("Service", "d/s1");
  world.settle();
  EXPECT_NE(world.dump().find("10.96.0.2:80/TCP"), std::string::npos) << world.dump();
  EXPECT_EQ(world.dump().find("errors"), std::string::npos) << world.dump();
}

}  // namespace
}  // namespace fairway::script
