// policy_rr, policy_crr: what policy costs a packet: two pods of a node, both isolated in both directions by policies of which the
// last allows the flow, against the same two pods where there is no policy.
#include <fmt/format.h>

#include "compile/policy/engine.h"
#include "core/harness.h"
#include "core/sandbox.h"
#include "core/traffic.h"
#include "datapath/addr.h"
#include "policy_objects.h"
#include "sinks/policy_sink.h"

namespace fairway::bench {

namespace {

using compile::policy::Engine;

constexpr std::uint16_t kPort = 7000;
constexpr unsigned kClient = 2, kServer = 3;

// No packet is under way while rows are written, and no connection is older than they are.
class QuietHost final : public sinks::PolicyHost {
 public:
  explicit QuietHost(Node& node) : node_(node) {}
  void wait_for_readers(std::function<void()> done) override { done(); }
  void begin_tracking(std::vector<std::uint32_t> ifindexes, std::function<void(Status)> done) override {
    Status status;
    for (std::uint32_t ifindex : ifindexes)
      if (status.ok()) status = node_.datapath().set_tracked(ifindex, true);
    done(std::move(status));
  }
  Status make_room(const datapath::Room& rows) override { return node_.reserve(rows); }
  Result<std::vector<std::uint32_t>> tracked() override { return std::vector<std::uint32_t>{}; }

 private:
  Node& node_;
};

// Policy `number` lets both pods speak with one pod of the cluster, which is another one for each but for the last.
model::Policy one_policy(unsigned number, unsigned last) {
  model::Policy out = policy("path", fmt::format("policy-{}", number), with_label("app", "path"));
  out.isolates_egress = true;
  const auto peer = number == last ? with_label("app", "path") : with_label("own", fmt::format("pod-{}", number));
  out.ingress = out.egress = {from_pods({std::nullopt, peer}, kPort)};
  return out;
}

struct Policed {
  std::unique_ptr<Node> node;
  const Netns* client = nullptr;
  const Netns* server = nullptr;
};

Result<Policed> make_node(Context& context, const std::string& name) {
  Policed out;
  FW_ASSIGN(out.node, Node::create(context, name, 1));
  FW_ASSIGN(out.client, out.node->add_pod(kClient));
  FW_ASSIGN(out.server, out.node->add_pod(kServer));
  return out;
}

Status police(Node& node, unsigned policies) {
  Engine engine;
  engine.set_namespace({"path", {{"kubernetes.io/metadata.name", "path"}}, false});
  for (unsigned n : {kClient, kServer}) {
    model::Pod row = pod("path", policies + n, {{"app", "path"}});
    row.ips = {node.pod_addr(n)};
    engine.set_pod(row);
    FW_ASSIGN(const fw_endpoint endpoint, node.datapath().endpoints().lookup(datapath::to_abi(node.pod_addr(n))));
    engine.add_local(endpoint.ifindex, row.id, Engine::Unknown::kClosed);
  }
  for (unsigned i = 0; i < policies; ++i) {
    engine.set_pod(pod("path", i, {{"own", fmt::format("pod-{}", i)}}));
    engine.set_policy(one_policy(i, policies - 1));
  }
  QuietHost host(node);
  sinks::PolicySink sink(node.datapath(), host, [] {});
  FW_TRY(sink.adopt());
  const std::uint64_t ticket = sink.add(engine.compile());
  sink.run(std::chrono::steady_clock::now());
  if (sink.failure()) return sink.failure()->error;
  if (sink.in_force() < ticket) return make_error(Code::kInternal, "the policies are not in force");
  return {};
}

Measurement measure(const Options& o, Kind kind, const Policed& at) {
  return [&o, kind, &at]() -> Result<double> {
    const net::SocketAddr to{at.node->pod_addr(kServer), kPort};
    FW_ASSIGN(Measured m, run_client({.netns = at.client->path(), .cpu = o.one_cpu}, kind, to, o.length));
    return m.median_per_second() * 1e-3;
  };
}

Status run(Context& context, std::vector<Row>& rows) {
  const Options& o = context.options;
  FW_ASSIGN(const Policed open, make_node(context, "open"));
  FW_ASSIGN(Servers base, Servers::start({.netns = open.server->path(), .cpu = o.one_cpu}, net::Family::kV4, kPort));
  for (unsigned policies : {1U, o.quick ? 100U : 10'000U}) {
    FW_ASSIGN(const Policed policed, make_node(context, fmt::format("policed{}", policies)));
    FW_TRY(police(*policed.node, policies));
    FW_ASSIGN(Servers ours, Servers::start({.netns = policed.server->path(), .cpu = o.one_cpu}, net::Family::kV4, kPort));
    for (auto [name, kind, goal] : {std::tuple{"policy_rr", Kind::kTcpRr, 0.98}, {"policy_crr", Kind::kTcpCrr, 0.94}}) {
      if (!context.wants(name)) continue;
      const std::string row = fmt::format("{}_{}", name, policies == 1 ? "1" : "10k");
      context.progress(row);
      FW_ASSIGN(Compared c, compare(o, {o.one_cpu}, measure(o, kind, policed), measure(o, kind, open)));
      rows.push_back(row_of(row, "k/s", c, "the same without a policy", Goal::ratio_at_least(goal)));
    }
  }
  return {};
}

}  // namespace

std::vector<Family> policy_path_rows() { return {{{"policy_rr", "policy_crr"}, run}}; }

}  // namespace fairway::bench
