// cni_add: a pod's interface by the CNI plugin, from before the plugin's start to after its end, one at a time and a
// hundred at once; beside it Debian's bridge and host-local plugins. The pods' namespaces exist before the clock starts.
#include <fmt/format.h>

#include <filesystem>

#include "core/harness.h"
#include "core/program.h"
#include "core/stats.h"
#include "real_agent.h"

namespace fairway::bench {

namespace {

constexpr unsigned kAlone = 20, kAtOnce = 100;

// One way of adding pods.
struct Plugin {
  std::vector<Netns>* pods;  // all, until the end: the kernel takes namespaces apart behind our back, under the rtnl lock
  const Netns* node;         // where the runtime runs
  std::string path, config;
  std::function<std::vector<std::string>(const std::string& command, const std::string& id, const std::string& netns)> env;
};

// ADDs `count` pods, one by one or all at once, and takes them away again. Milliseconds of each ADD.
Result<std::vector<double>> add_pods(const Plugin& plugin, unsigned count, bool at_once, const std::string& tag) {
  std::vector<Call> adds, dels;
  for (unsigned i = 0; i < count; ++i) {
    std::string id = fmt::format("{}-{}", tag, i);
    FW_ASSIGN(Netns pod, Netns::create(id));
    adds.push_back({.argv = {plugin.path}, .env = plugin.env("ADD", id, pod.path()), .input = plugin.config});
    dels.push_back({.argv = {plugin.path}, .env = plugin.env("DEL", id, pod.path()), .input = plugin.config});
    plugin.pods->push_back(std::move(pod));
  }
  auto body = [&]() -> Result<Child::Numbers> {
    Child::Numbers out;
    std::vector<std::vector<Call>> groups;
    if (at_once) groups.push_back(adds);
    else
      for (const Call& add : adds) groups.push_back({add});
    for (const auto& group : groups) {
      FW_ASSIGN(auto called, call_programs(group));
      for (const Called& c : called) {
        if (c.exit_code != 0)
          return make_error(Code::kInternal, plugin.path + " ADD ended with " + std::to_string(c.exit_code) + ": " + c.out);
        out.push_back(c.milliseconds);
      }
    }
    for (const Call& del : dels) FW_TRY(call_programs({del}));
    return out;
  };
  FW_ASSIGN(Child child, Child::start({.netns = plugin.node->path()}, body));
  return child.wait();
}

Result<Compared> compare_plugins(Context& context, const Plugin& ours, const Plugin& base, unsigned count, bool at_once, double p) {
  Options options = context.options;
  options.rounds = std::min(options.rounds, at_once ? 5u : options.rounds);
  unsigned round = 0;
  auto measured = [&](const Plugin& plugin, const char* tag) -> Measurement {
    return [&plugin, tag, count, at_once, p, &round]() -> Result<double> {
      FW_ASSIGN(auto ms, add_pods(plugin, count, at_once, fmt::format("{}{}{}", tag, at_once ? "p" : "a", round++)));
      return percentile(ms, p);
    };
  };
  return compare(options, {options.one_cpu}, measured(ours, "o"), measured(base, "b"));
}

Status run(Context& context, std::vector<Row>& rows) {
  const Options& o = context.options;
  context.progress("cni_add: starting an agent");
  FW_ASSIGN(auto agent, RealAgent::start(context, "cni", {}));
  FW_ASSIGN(Netns bridge_node, Netns::create("bridge"));
  std::vector<Netns> pods;
  Plugin ours{.pods = &pods,
              .node = &agent->netns(),
              .path = agent->plugin(),
              .config = agent->plugin_config(),
              .env = [&](const std::string& command, const std::string& id, const std::string& netns) {
                return agent->plugin_env(command, id, netns);
              }};
  const std::string kCniPath = "/usr/lib/cni";
  if (!std::filesystem::exists(kCniPath + "/bridge"))
    return make_error(Code::kNotFound, "Debian's containernetworking-plugins are not installed");
  Plugin base{
      .pods = &pods,
      .node = &bridge_node,
      .path = kCniPath + "/bridge",
      .config = fmt::format(
          R"({{"cniVersion":"1.0.0","name":"bench","type":"bridge","bridge":"cni0","isGateway":true,"ipMasq":false,)"
          R"("ipam":{{"type":"host-local","dataDir":"{}/host-local","ranges":[[{{"subnet":"10.247.0.0/16"}}]],"routes":[{{"dst":"0.0.0.0/0"}}]}}}})",
          context.work_dir),
      .env = [&](const std::string& command, const std::string& id, const std::string& netns) -> std::vector<std::string> {
        return {"CNI_COMMAND=" + command, "CNI_CONTAINERID=" + id, "CNI_NETNS=" + netns,
                "CNI_IFNAME=eth0",        "CNI_PATH=" + kCniPath,  "PATH=/usr/sbin:/usr/bin:/sbin:/bin"};
      }};
  context.progress("cni_add, one at a time");
  FW_ASSIGN(Compared alone, compare_plugins(context, ours, base, o.quick ? 3 : kAlone, false, 50));
  rows.push_back(row_of("cni_add", "ms", alone, "bridge and host-local (Debian)", Goal::at_most_value(4)));
  context.progress("cni_add, a hundred at once");
  FW_ASSIGN(Compared many, compare_plugins(context, ours, base, o.quick ? 5 : kAtOnce, true, 99));
  rows.push_back(row_of("cni_add_100", "ms", many, "bridge and host-local (Debian)", Goal::at_most_value(60)));
  rows[rows.size() - 2].note = "p50";
  rows.back().note = "p99 of 100 at once";
  return {};
}

}  // namespace

std::vector<Family> cni_rows() { return {{{"cni_add"}, run}}; }

}  // namespace fairway::bench
