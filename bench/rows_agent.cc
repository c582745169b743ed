// agent_rss: what an agent holds, its BPF maps included: idle, and in a cluster of 30,000 Services and 50,000 pods.
#include <fmt/format.h>

#include "core/cluster_data.h"
#include "core/harness.h"
#include "core/program.h"
#include "real_agent.h"

namespace fairway::bench {

namespace {

constexpr double kMebi = 1024 * 1024;
constexpr unsigned kEndpoints = 4, kNodes = 200;
constexpr std::size_t kPodBytes = 2'500;

net::IpAddr pod_addr(unsigned i) { return net::IpAddr::v4(0x0af41000u + i); }  // beyond this node's own range

std::map<std::string, Listing> cluster(unsigned services, unsigned pods) {
  auto endpoints = [pods](unsigned service) {
    std::vector<net::IpAddr> out;
    for (unsigned n = 0; n < kEndpoints; ++n) out.push_back(pod_addr((service * kEndpoints + n) % pods));
    return out;
  };
  auto node = [](unsigned i) {
    if (i == 0) return node_json("bench-node", net::IpAddr::v4(0xac1e0001), "10.244.0.0/20");
    return node_json(fmt::format("node-{}", i), net::IpAddr::v4(0xac1f0000 + i),
                     net::Prefix(net::IpAddr::v4(0x0af41000u + 256 * (i - 1)), 24).to_string());
  };
  return {
      {"/api/v1/nodes", {kNodes, node}},
      {"/api/v1/pods", {pods, [](unsigned i) { return remote_pod_json(i, fmt::format("node-{}", 1 + i / 256), pod_addr(i), kPodBytes); }}},
      {"/api/v1/services", {services, service_json}},
      {"/apis/discovery.k8s.io/v1/endpointslices", {services, [endpoints](unsigned i) { return slice_json(i, endpoints(i), 8080, 1); }}}};
}

Status measure(Context& context, const std::string& name, std::map<std::string, Listing> listings, double goal_mib,
               std::vector<Row>& rows) {
  context.progress(name);
  FW_ASSIGN(auto agent, RealAgent::start(context, name, std::move(listings)));
  FW_TRY(wait_until_quiet(agent->pid(), std::chrono::seconds(120)));
  FW_ASSIGN(Memory memory, memory_of(agent->pid()));
  Row row{.name = name, .ours = (memory.resident + memory.maps) / kMebi, .unit = "MiB", .goal = Goal::at_most_value(goal_mib)};
  row.note = fmt::format("process {:.1f}, maps {:.1f}; CPU until at rest {:.2f} s", memory.resident / kMebi, memory.maps / kMebi,
                         cpu_seconds_of(agent->pid()));
  rows.push_back(row);
  return {};
}

Status run(Context& context, std::vector<Row>& rows) {
  FW_TRY(measure(context, "agent_rss_idle", {}, 20, rows));
  bool quick = context.options.quick;
  return measure(context, "agent_rss_30k_50k", cluster(quick ? 300 : 30'000, quick ? 500 : 50'000), 120, rows);
}

}  // namespace

std::vector<Family> agent_rows() { return {{{"agent_rss"}, run}}; }

}  // namespace fairway::bench
