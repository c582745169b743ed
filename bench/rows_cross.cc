// Pod to pod across nodes: pod_rr_cross_native and pod_rr_cross_vxlan, against pods that the kernel routes over the same
// kind of link, plainly and over its own VXLAN; and node to node beside them.
//
//   pod ── node ══ eth0, a veth pair ══ node ── pod          ours: programs on the pods' veths, the uplink, the overlay device
//   pod ── router ══ eth0 (and vx0) ══ router ── pod          base: routes and forwarding alone
#include "core/harness.h"
#include "core/sandbox.h"
#include "core/traffic.h"
#include "hostnet/sysctl.h"

namespace fairway::bench {

namespace {

constexpr std::uint16_t kPort = 7000;

struct Pair {
  std::unique_ptr<Node> a, b;
  const Netns* client = nullptr;
  const Netns* server = nullptr;
};

Result<Pair> our_pair(Context& context, fw_node_mode mode) {
  std::string tag = mode == FW_NODE_VXLAN ? "v" : "n";
  std::uint32_t mtu = mode == FW_NODE_VXLAN ? 1450 : 1500;
  Pair out;
  FW_ASSIGN(out.a, Node::create(context, tag + "1", 1));
  FW_ASSIGN(out.b, Node::create(context, tag + "2", 2));
  FW_TRY(link(out.a->netns(), "eth0", "172.30.0.1/24", out.b->netns(), "eth0", "172.30.0.2/24"));
  FW_TRY(out.a->use_uplink());
  FW_TRY(out.b->use_uplink());
  FW_ASSIGN(out.client, out.a->add_pod(2, mtu));
  FW_ASSIGN(out.server, out.b->add_pod(2, mtu));
  FW_TRY(out.a->add_remote(*out.b, {2}, mode));
  FW_TRY(out.b->add_remote(*out.a, {2}, mode));
  return out;
}

// The kernel's: router, pod behind it with 10.245.i.2.
struct Routed {
  Netns router1, router2, client, server;
};

Status route_one(const Netns& router, const Netns& pod, unsigned own, unsigned other, bool vxlan) {
  std::string i = std::to_string(own), j = std::to_string(other);
  FW_TRY(link(router, "pod", "10.245." + i + ".1/24", pod, "eth0", "10.245." + i + ".2/24"));
  FW_TRY(pod.ip({"route", "add", "default", "via", "10.245." + i + ".1"}));
  FW_TRY(router.run([] { return hostnet::ensure_sysctl("net/ipv4/ip_forward", "1"); }));
  if (!vxlan) return router.ip({"route", "add", "10.245." + j + ".0/24", "via", "172.30.1." + j});
  FW_TRY(router.ip({"link", "add", "vx0", "type", "vxlan", "id", "9", "local", "172.30.1." + i, "remote", "172.30.1." + j, "dstport",
                    "8472", "dev", "eth0"}));
  FW_TRY(router.ip({"addr", "add", "10.246.0." + i + "/24", "dev", "vx0"}));
  FW_TRY(router.ip({"link", "set", "vx0", "up"}));
  return router.ip({"route", "add", "10.245." + j + ".0/24", "via", "10.246.0." + j, "mtu", "1450"});
}

Result<Routed> kernel_pair(bool vxlan) {
  std::string tag = vxlan ? "kv" : "kn";
  FW_ASSIGN(Netns r1, Netns::create(tag + "r1"));
  FW_ASSIGN(Netns r2, Netns::create(tag + "r2"));
  FW_ASSIGN(Netns c, Netns::create(tag + "c"));
  FW_ASSIGN(Netns s, Netns::create(tag + "s"));
  FW_TRY(link(r1, "eth0", "172.30.1.1/24", r2, "eth0", "172.30.1.2/24"));
  FW_TRY(route_one(r1, c, 1, 2, vxlan));
  FW_TRY(route_one(r2, s, 2, 1, vxlan));
  return Routed{std::move(r1), std::move(r2), std::move(c), std::move(s)};
}

Measurement rr(const Options& o, const Netns& client, net::IpAddr to) {
  return [&o, &client, to]() -> Result<double> {
    FW_ASSIGN(Measured m, run_client({.netns = client.path(), .cpu = o.one_cpu}, Kind::kTcpRr, {to, kPort}, o.length));
    return m.p50_us;
  };
}

Status run_mode(Context& context, fw_node_mode mode, std::vector<Row>& rows) {
  const Options& o = context.options;
  bool vxlan = mode == FW_NODE_VXLAN;
  std::string name = vxlan ? "pod_rr_cross_vxlan" : "pod_rr_cross_native";
  FW_ASSIGN(Pair ours, our_pair(context, mode));
  FW_ASSIGN(Routed base, kernel_pair(vxlan));
  net::IpAddr our_server = ours.b->pod_addr(2), base_server = net::IpAddr::v4(0x0af50202), node_server = ours.b->underlay();
  for (bool across : {false, true}) {
    context.progress(name + (across ? " across cores" : ""));
    unsigned cpu = across ? o.other_cpu : o.one_cpu;
    std::vector<unsigned> cpus = across ? std::vector{o.one_cpu, o.other_cpu} : std::vector{o.one_cpu};
    FW_ASSIGN(Servers s1, Servers::start({.netns = ours.server->path(), .cpu = cpu}, net::Family::kV4, kPort));
    FW_ASSIGN(Servers s2, Servers::start({.netns = base.server.path(), .cpu = cpu}, net::Family::kV4, kPort));
    FW_ASSIGN(Servers s3, Servers::start({.netns = ours.b->netns().path(), .cpu = cpu}, net::Family::kV4, kPort));
    FW_ASSIGN(Compared c, compare(o, cpus, rr(o, *ours.client, our_server), rr(o, base.client, base_server)));
    Goal goal = across ? Goal{} : Goal::ratio_at_most(vxlan ? 0.86 : 0.90);
    rows.push_back(row_of(name + (across ? "_across_cores" : ""), "µs", c,
                          vxlan ? "pods over the kernel's VXLAN" : "pods routed by the kernel", goal));
    if (across) continue;
    FW_ASSIGN(Compared beside, compare(o, cpus, rr(o, *ours.client, our_server), rr(o, ours.a->netns(), node_server)));
    rows.push_back(row_of(name + "_vs_node", "µs", beside, "node to node over the same link"));
  }
  return {};
}

Status run(Context& context, std::vector<Row>& rows) {
  for (auto [name, mode] : {std::pair{"pod_rr_cross_native", FW_NODE_NATIVE}, {"pod_rr_cross_vxlan", FW_NODE_VXLAN}}) {
    if (!context.wants(name)) continue;
    FW_TRY(run_mode(context, mode, rows));
  }
  return {};
}

}  // namespace

std::vector<Family> cross_rows() { return {{{"pod_rr_cross_native", "pod_rr_cross_vxlan"}, run}}; }

}  // namespace fairway::bench
