// Connections through a ClusterIP: svc_crr_30k against the same pods direct; svc_flat, 30,000 Services against one; and
// beside them the same among rules of kube-proxy's shape.
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/cluster_data.h"
#include "core/harness.h"
#include "core/sandbox.h"
#include "core/traffic.h"
#include "fairway_flow.h"
#include "hostnet/sysctl.h"
#include "sys/process.h"

namespace fairway::bench {

namespace {

constexpr std::uint16_t kPort = 7000;

// A node with a client, whose sockets are translated, and a server behind the last of `services` Services.
struct World {
  std::unique_ptr<Node> node;
  std::unique_ptr<FairwayFlow> flow;
  const Netns* client = nullptr;
  const Netns* server = nullptr;
  std::string cgroup;
  unsigned services = 0;

  World() = default;
  World(World&&) = default;
  World& operator=(World&&) = delete;
  ~World() {
    flow.reset();
    node.reset();
    if (!cgroup.empty()) rmdir(cgroup.c_str());
  }
  net::SocketAddr vip() const { return {service_addr(services - 1), kServicePort}; }
  net::SocketAddr direct() const { return {node->pod_addr(3), kPort}; }
};

Result<World> make_world(Context& context, unsigned services) {
  World out;
  out.services = services;
  FW_ASSIGN(out.node, Node::create(context, "svc" + std::to_string(services), 1));
  FW_ASSIGN(out.client, out.node->add_pod(2));
  FW_ASSIGN(out.server, out.node->add_pod(3));
  std::string cgroup = context.cgroup + "/svc" + std::to_string(services);
  if (mkdir(cgroup.c_str(), 0755) != 0) return errno_error(errno, "make " + cgroup);
  out.cgroup = cgroup;
  FW_TRY(out.node->attach_cgroup(cgroup));
  std::vector<std::string> service_items, slice_items;
  for (unsigned i = 0; i < services; ++i) {
    bool last = i + 1 == services;
    service_items.push_back(service_json(i));
    slice_items.push_back(slice_json(i, last ? std::vector{out.node->pod_addr(3)} : usual_endpoints(i, 4), last ? kPort : 8080, 1));
  }
  out.flow = std::make_unique<FairwayFlow>(*out.node);
  FW_TRY(out.flow->list({{k8s::Kind::kService, {list_json("ServiceList", "v1", service_items)}},
                         {k8s::Kind::kEndpointSlice, {list_json("EndpointSliceList", "discovery.k8s.io/v1", slice_items)}}}));
  return out;
}

Measurement client(const Options& o, const Netns& netns, const std::string& cgroup, Kind kind, net::SocketAddr to) {
  return [&o, &netns, cgroup, kind, to]() -> Result<double> {
    FW_ASSIGN(Measured m, run_client({.netns = netns.path(), .cpu = o.one_cpu, .cgroup = cgroup}, kind, to, o.length));
    return kind == Kind::kTcpCrr ? m.median_per_second() * 1e-3 : m.p50_us;
  };
}

// Two pods that the kernel routes through their node, where kube-proxy's rules are. The last Service leads to `server`.
struct Legacy {
  Netns node, client, server;
};

Result<Legacy> make_legacy(const std::string& tag) {
  FW_ASSIGN(Netns node, Netns::create(tag + "n"));
  FW_ASSIGN(Netns client, Netns::create(tag + "c"));
  FW_ASSIGN(Netns server, Netns::create(tag + "s"));
  FW_TRY(link(node, "c0", "10.245.1.1/24", client, "eth0", "10.245.1.2/24"));
  FW_TRY(link(node, "s0", "10.245.2.1/24", server, "eth0", "10.245.2.2/24"));
  FW_TRY(client.ip({"route", "add", "default", "via", "10.245.1.1"}));
  FW_TRY(server.ip({"route", "add", "default", "via", "10.245.2.1"}));
  FW_TRY(node.run([] { return hostnet::ensure_sysctl("net/ipv4/ip_forward", "1"); }));
  return Legacy{std::move(node), std::move(client), std::move(server)};
}

std::string target_of(unsigned service, unsigned n, bool last) {
  return last ? "10.245.2.2:" + std::to_string(kPort) : endpoint_addr(service, n).to_string() + ":8080";
}

// As kube-proxy --proxy-mode=iptables writes them: a rule for each Service, a chain for each, one for each endpoint.
std::string iptables_rules(unsigned services) {
  std::string chains = "*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-MARK-MASQ - [0:0]\n",
              rules = "-A PREROUTING -j KUBE-SERVICES\n-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000\n";
  for (unsigned i = 0; i < services; ++i) {
    bool last = i + 1 == services;
    unsigned count = last ? 1 : 4;
    chains += fmt::format(":KUBE-SVC-{:08} - [0:0]\n", i);
    rules +=
        fmt::format("-A KUBE-SERVICES -d {}/32 -p tcp -m tcp --dport {} -j KUBE-SVC-{:08}\n", service_addr(i).to_string(), kServicePort, i);
    for (unsigned n = 0; n < count; ++n) {
      chains += fmt::format(":KUBE-SEP-{:08}{} - [0:0]\n", i, n);
      std::string chance = n + 1 < count ? fmt::format("-m statistic --mode random --probability {:.10f} ", 1.0 / (count - n)) : "";
      std::string target = target_of(i, n, last);
      rules += fmt::format("-A KUBE-SVC-{:08} {}-j KUBE-SEP-{:08}{}\n", i, chance, i, n);
      rules += fmt::format("-A KUBE-SEP-{:08}{} -s {}/32 -j KUBE-MARK-MASQ\n", i, n, target.substr(0, target.find(':')));
      rules += fmt::format("-A KUBE-SEP-{:08}{} -p tcp -m tcp -j DNAT --to-destination {}\n", i, n, target);
    }
  }
  return chains + rules + "COMMIT\n";
}

// As kube-proxy --proxy-mode=nftables: one verdict map, a chain for each Service and for each endpoint.
std::string nft_rules(unsigned services) {
  std::string elements, chains;
  for (unsigned i = 0; i < services; ++i) {
    bool last = i + 1 == services;
    unsigned count = last ? 1 : 4;
    elements += fmt::format("{}{} . tcp . {} : goto service-{}", i == 0 ? "" : ",\n", service_addr(i).to_string(), kServicePort, i);
    std::string choice;
    for (unsigned n = 0; n < count; ++n) {
      choice += fmt::format("{}{} : goto endpoint-{}-{}", n == 0 ? "" : ", ", n, i, n);
      chains += fmt::format("chain endpoint-{}-{} {{\n meta l4proto tcp dnat to {}\n}}\n", i, n, target_of(i, n, last));
    }
    chains += fmt::format("chain service-{} {{\n numgen random mod {} vmap {{ {} }}\n}}\n", i, count, choice);
  }
  return "table ip kube-proxy {\n" + chains + "map service-ips { type ipv4_addr . inet_proto . inet_service : verdict\nelements = {\n" +
         elements +
         "\n}\n}\nchain nat-prerouting { type nat hook prerouting priority -100;\n ip daddr . meta l4proto . th dport vmap "
         "@service-ips\n}\n}\n";
}

Status load_rules(const Netns& node, const std::vector<std::string>& program, const std::string& rules) {
  std::vector<std::string> argv{"nsenter", "--net=" + node.path()};
  argv.insert(argv.end(), program.begin(), program.end());
  FW_TRY(sys::run_ok(argv, rules, std::chrono::minutes(5)));
  return {};
}

Result<Row> beside(Context& context, const World& world, const std::string& name, unsigned services, bool nft) {
  context.progress(fmt::format("{}: loading the rules of {} Services", name, services));
  const Options& o = context.options;
  FW_ASSIGN(Legacy legacy, make_legacy(nft ? "nft" : "ipt"));
  if (nft) FW_TRY(load_rules(legacy.node, {"nft", "-f", "-"}, nft_rules(services)));
  else FW_TRY(load_rules(legacy.node, {"iptables-legacy-restore", "-w", "5"}, iptables_rules(services)));
  context.progress(name);
  FW_ASSIGN(Servers s1, Servers::start({.netns = world.server->path(), .cpu = o.one_cpu}, net::Family::kV4, kPort));
  FW_ASSIGN(Servers s2, Servers::start({.netns = legacy.server.path(), .cpu = o.one_cpu}, net::Family::kV4, kPort));
  net::SocketAddr vip{service_addr(services - 1), kServicePort};
  FW_ASSIGN(Compared c, compare(o, {o.one_cpu}, client(o, *world.client, world.cgroup, Kind::kTcpCrr, world.vip()),
                                client(o, legacy.client, "", Kind::kTcpCrr, vip)));
  return row_of(
      name, "k/s", c,
      fmt::format("{} rules of {} Services in the node, pods routed by the kernel", nft ? "nftables" : "iptables-legacy", services));
}

Status run_many(Context& context, const World& many, std::vector<Row>& rows) {
  const Options& o = context.options;
  for (bool across : {false, true}) {
    context.progress(across ? "svc_crr_30k across cores" : "svc_crr_30k");
    std::vector<unsigned> cpus = across ? std::vector{o.one_cpu, o.other_cpu} : std::vector{o.one_cpu};
    FW_ASSIGN(Servers servers,
              Servers::start({.netns = many.server->path(), .cpu = across ? o.other_cpu : o.one_cpu}, net::Family::kV4, kPort));
    auto through = [&](Kind kind, net::SocketAddr to) { return client(o, *many.client, many.cgroup, kind, to); };
    FW_ASSIGN(Compared c, compare(o, cpus, through(Kind::kTcpCrr, many.vip()), through(Kind::kTcpCrr, many.direct())));
    rows.push_back(row_of(across ? "svc_crr_30k_across_cores" : "svc_crr_30k", "k/s", c, "the same pods, direct",
                          across ? Goal{} : Goal::ratio_at_least(0.98)));
  }
  return {};
}

Status run(Context& context, std::vector<Row>& rows) {
  const Options& o = context.options;
  unsigned count = o.quick ? 300 : 30'000, nft_count = o.quick ? 100 : 5'000;
  context.progress(fmt::format("Services: {} through the agent's flow into the maps", count));
  FW_ASSIGN(World many, make_world(context, count));
  if (context.wants("svc_crr_30k")) {
    FW_TRY(run_many(context, many, rows));
    FW_ASSIGN(Row iptables, beside(context, many, "svc_crr_30k_vs_iptables", count, false));
    rows.push_back(iptables);
    FW_ASSIGN(Row nftables, beside(context, many, "svc_crr_30k_vs_nftables", nft_count, true));
    nftables.note = "nft 1.0.6 takes minutes to load 30,000; its map is flat";
    rows.push_back(nftables);
  }
  if (context.wants("svc_flat")) {
    context.progress("svc_flat");
    FW_ASSIGN(World one, make_world(context, 1));
    FW_ASSIGN(Servers s1, Servers::start({.netns = many.server->path(), .cpu = o.one_cpu}, net::Family::kV4, kPort));
    FW_ASSIGN(Servers s2, Servers::start({.netns = one.server->path(), .cpu = o.one_cpu}, net::Family::kV4, kPort));
    auto through = [&](const World& w) { return client(o, *w.client, w.cgroup, Kind::kTcpCrr, w.vip()); };
    FW_ASSIGN(Compared c, compare(o, {o.one_cpu}, through(many), through(one)));
    rows.push_back(row_of("svc_flat", "k/s", c, "1 Service", Goal::ratio_at_least(0.98)));
  }
  return {};
}

}  // namespace

std::vector<Family> service_rows() { return {{{"svc_crr_30k", "svc_flat"}, run}}; }

}  // namespace fairway::bench
