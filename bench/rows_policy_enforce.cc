// policy_enforce: a policy's change from the bytes of its event to the flip that brings it into force, in the kernel's maps.
// All of it is the agent's own code and its own wait for RCU readers; what is missing of the agent is the socket.
#include <fmt/format.h>

#include <deque>

#include "agent/policy_host.h"
#include "core/cluster_data.h"
#include "core/cpu.h"
#include "core/harness.h"
#include "core/sandbox.h"
#include "core/stats.h"
#include "fairway_flow.h"
#include "io/loop.h"

namespace fairway::bench {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr unsigned kPolicies = 20, kPods = 100, kPageItems = 500;  // of a namespace

// The agent's host, but that the tables grow in the node's namespace, where the agent lives.
class Host : public sinks::PolicyHost {
 public:
  Host(io::Loop& loop, Node& node, std::function<void()> wake) : inner_(loop, node.datapath()), node_(node), wake_(std::move(wake)) {}
  void wait_for_readers(std::function<void()> done) override {
    inner_.wait_for_readers([this, done = std::move(done)] {
      done();
      wake_();
    });
  }
  void begin_tracking(std::vector<std::uint32_t> ifindexes, std::function<void(Status)> done) override {
    inner_.begin_tracking(std::move(ifindexes), std::move(done));
  }
  Status make_room(const datapath::Room& rows) override { return node_.reserve(rows); }
  Result<std::vector<std::uint32_t>> tracked() override { return inner_.tracked(); }

 private:
  agent::KernelPolicyHost inner_;
  Node& node_;
  std::function<void()> wake_;
};

// Policy `p` of namespace `n`: from an app of its own namespace, and from a team on a port that each version changes.
std::string policy_json(unsigned n, unsigned p, unsigned version) {
  return fmt::format(
      R"({{"kind":"NetworkPolicy","apiVersion":"networking.k8s.io/v1","metadata":{{"name":"p-{0}","namespace":"ns-{1}",)"
      R"("uid":"6f1c1c3e-0000-4000-8000-{2:012x}","resourceVersion":"{3}","generation":{4}}},"spec":{{"podSelector":{{"matchLabels":{{"app":"app-{0}"}}}},)"
      R"("policyTypes":["Ingress"],"ingress":[{{"from":[{{"podSelector":{{"matchLabels":{{"app":"app-{5}"}}}}}}]}},)"
      R"({{"from":[{{"namespaceSelector":{{"matchLabels":{{"team":"team-{6}"}}}},"podSelector":{{"matchLabels":{{"app":"app-0"}}}}}}],)"
      R"("ports":[{{"protocol":"TCP","port":{7}}}]}}]}}}})",
      p, n, n * kPolicies + p, 1000 + version, 1 + version, (p + 1) % kPolicies, (n + p) % 10, 8000 + (p + version) % 1000);
}
std::string namespace_json(unsigned n) {
  return fmt::format(R"({{"metadata":{{"name":"ns-{0}","labels":{{"kubernetes.io/metadata.name":"ns-{0}","team":"team-{1}"}}}}}})", n,
                     n % 10);
}
net::IpAddr pod_addr(unsigned number) { return net::IpAddr::v4(0x0a000001U + number); }
std::string pod_json(unsigned n, unsigned i) {
  return fmt::format(
      R"({{"metadata":{{"name":"pod-{0}","namespace":"ns-{1}","uid":"0d3f6f8e-0000-4000-8000-{2:012x}","resourceVersion":"7","labels":{{"app":"app-{3}"}}}},)"
      R"("spec":{{"nodeName":"bench-node"}},"status":{{"phase":"Running","podIPs":[{{"ip":"{4}"}}]}}}})",
      i, n, n * kPods + i, i % kPolicies, pod_addr(n * kPods + i).to_string());
}

void add_pages(FairwayFlow::Pages& pages, k8s::Kind kind, const std::string& list, const std::string& version, unsigned count,
               const std::function<std::string(unsigned)>& item) {
  for (unsigned begin = 0; begin < count; begin += kPageItems) {
    std::vector<std::string> items;
    for (unsigned i = begin; i < std::min(begin + kPageItems, count); ++i) items.push_back(item(i));
    pages[kind].push_back(list_json(list, version, items));
  }
}

// A node with a hundred of the cluster's pods, one in each of as many namespaces, judged by the kernel's maps.
class Judged {
 public:
  explicit Judged(Node& node) : host_(loop_, node, [this] { on_readers_gone(); }), flow_(node, host_) {}

  Status fill(unsigned namespaces) {
    locals_ = std::min(namespaces, 100U);
    FairwayFlow::Pages pages;
    add_pages(pages, k8s::Kind::kNamespace, "NamespaceList", "v1", namespaces, namespace_json);
    add_pages(pages, k8s::Kind::kPod, "PodList", "v1", namespaces * kPods, [](unsigned i) { return pod_json(i / kPods, i % kPods); });
    add_pages(pages, k8s::Kind::kNetworkPolicy, "NetworkPolicyList", "networking.k8s.io/v1", namespaces * kPolicies,
              [](unsigned i) { return policy_json(i / kPolicies, i % kPolicies, 0); });
    for (unsigned n = 0; n < locals_; ++n) {
      model::LocalEndpoint pod;
      pod.pod = {fmt::format("ns-{}", n), fmt::format("pod-{}", n % kPods)};
      pod.host_ifindex = 100'000 + n;
      pod.ips = {pod_addr(n * kPods + n % kPods)};
      flow_.policy().add_local(pod);
    }
    FW_TRY(flow_.list(pages));
    return settled();
  }

  // A change of the policy that selects a pod of this node. By milliseconds: how long until it was in force.
  Status change(unsigned number) {
    const unsigned n = number * 7919 % locals_;
    const std::string line = event_json("MODIFIED", policy_json(n, n % kPods % kPolicies, number));
    waiting_.push_back(Clock::now());
    FW_TRY(flow_.policy_event(line));
    note();
    return {};
  }
  // Until nothing is owed: both banks say the same.
  Status settled() {
    const auto deadline = Clock::now() + std::chrono::seconds(60);
    while (!flow_.policy().idle()) {
      if (Clock::now() > deadline) return make_error(Code::kTimeout, "policy_enforce: the tables do not come to rest");
      run_for(milliseconds(200));
    }
    return {};
  }
  // A change every `distance`, whether or not the last one is in force.
  Status stream(unsigned count, milliseconds distance, unsigned first) {
    Status status;
    unsigned done = 0;
    auto ticks = loop_.every(distance, [&] {
      if (status.ok() && done < count) status = change(first + done++);
      if (!status.ok() || done == count) loop_.stop();
    });
    loop_.run();
    ticks.cancel();
    FW_TRY(std::move(status));
    return settled();
  }
  std::vector<double> take() { return std::exchange(took_, {}); }
  std::uint64_t flips() { return flow_.policy().sink().flips(); }

 private:
  void note() {
    if (!flow_.policy().in_force()) return;
    for (const auto& since : waiting_) took_.push_back(std::chrono::duration<double, std::milli>(Clock::now() - since).count());
    waiting_.clear();
  }
  void on_readers_gone() {
    loop_.post([this] {
      flow_.settle();
      note();
      if (flow_.policy().idle() && quiet_) loop_.stop();
    });
  }
  void run_for(milliseconds most) {
    quiet_ = true;
    auto end = loop_.after(most, [this] { loop_.stop(); });
    loop_.run();
    quiet_ = false;
  }

  io::Loop loop_;
  Host host_;
  FairwayFlow flow_;
  unsigned locals_ = 0;
  bool quiet_ = false;
  std::deque<Clock::time_point> waiting_;
  std::vector<double> took_;
};

Status run(Context& context, std::vector<Row>& rows) {
  const bool quick = context.options.quick;
  const unsigned namespaces = quick ? 20 : 500, alone = quick ? 20 : 1000, streamed = quick ? 50 : 2000;
  Pinned pinned(context.options.one_cpu);
  FW_ASSIGN(auto node, Node::create(context, "judged", 1));
  Judged judged(*node);
  context.progress("policy_enforce: filling");
  FW_TRY(judged.fill(namespaces));
  context.progress("policy_enforce: alone");
  for (unsigned i = 1; i <= alone; ++i) {
    FW_TRY(judged.change(i));
    FW_TRY(judged.settled());
  }
  const auto each = judged.take();
  if (each.size() != alone) return make_error(Code::kInternal, "policy_enforce: a change came into force twice, or never");
  context.progress("policy_enforce: 100 a second");
  const auto flips = judged.flips();
  FW_TRY(judged.stream(streamed, milliseconds(10), alone + 1));
  const auto many = judged.take();
  if (many.size() != streamed) return make_error(Code::kInternal, "policy_enforce: a change of many came into force twice, or never");
  Row one{.name = "policy_enforce", .ours = percentile(each, 99), .unit = "ms", .goal = Goal::at_most_value(5)};
  one.note = fmt::format("p99 of {} changes, each alone, at {} policies and {} pods, 100 of them local; p50 {:.2f} ms", alone,
                         namespaces * kPolicies, namespaces * kPods, median(each));
  Row rate{.name = "policy_enforce_100_a_second", .ours = percentile(many, 99), .unit = "ms"};
  rate.note = fmt::format("p99; p50 {:.2f} ms; {} changes in {} steps, each of which waits for RCU readers", median(many), streamed,
                          judged.flips() - flips);
  rows.insert(rows.end(), {one, rate});
  return {};
}

}  // namespace

std::vector<Family> policy_enforce_rows() { return {{{"policy_enforce"}, run}}; }

}  // namespace fairway::bench
