// Assertions, why, the difference of two clusters against the naive evaluator's, recorded flows, pictures.
#include "policycheck/check.h"

#include <boost/json.hpp>

#include "compile/policy/random_cluster.h"
#include "policycheck/assertions.h"
#include "policycheck/compare.h"
#include "policycheck/render.h"
#include "policycheck/testing.h"
#include "policycheck/why.h"

namespace fairway::policycheck {
namespace {

using compile::policy::Direction;
using compile::policy::Engine;
using compile::policy::RandomCluster;

const std::string kShop = pod("web", "{app: web}") + pod("db", "{app: db}") + pod("job", "{app: job}") +
                          policy("db",
                                 "\n  podSelector: {matchLabels: {app: db}}\n  ingress:\n  - from: [{podSelector: {matchLabels: {app: "
                                 "web}}}]\n    ports: [{port: 5432}]\n"
                                 "  - from: [{ipBlock: {cidr: 192.0.2.0/24}}]\n");

TEST(Check, Cells) {
  const auto check = check_of(kShop);
  EXPECT_EQ(cell(*check, "default/web", "default/db"), "5432");
  EXPECT_EQ(cell(*check, "default/job", "default/db"), "none");
  EXPECT_EQ(cell(*check, "outside", "default/db"), "none");
  EXPECT_EQ(cell(*check, "192.0.2.0/24", "default/db"), "all");
  EXPECT_EQ(cell(*check, "default/db", "default/web"), "all");
}

const std::string kService =
    "---\nkind: Service\napiVersion: v1\nmetadata: {name: db}\nspec: {selector: {app: db}, ports: [{port: 80, targetPort: 5432}]}\n";

std::vector<std::string> failures(const std::string& text) {
  const auto check = check_of(kShop + kService);
  const auto assertions = parse_assertions("a", text, "default");
  std::vector<std::string> out;
  for (const auto& fault : assertions.faults) out.push_back(fault.to_string());
  for (const auto& one : assertions.list)
    if (const auto outcome = judge(*check, one); !outcome.ok()) out.push_back(one.at.to_string() + ": " + outcome.error().message);
    else if (!outcome->holds) out.push_back(outcome->at.to_string() + ": " + outcome->reason);
  return out;
}
using Texts = std::vector<std::string>;

TEST(Assertions, ThoseThatHold) {
  EXPECT_EQ(
      failures("allow web -> db:5432   # a comment\n\nallow web -> db\ndeny job -> db\ndeny web -> db:80\ndeny job -> db:1-65535/udp\n"
               "allow 192.0.2.7 -> db:80/tcp\nallow 192.0.2.0/24 -> db\nallow * -> web\nallow {app!=web} -> default/{app=web}\n"
               "allow */* -> we*:80\nallow db -> [2001:db8::1]\n"),
      Texts{"a:12: \"[2001:db8::1]\" is nobody here"});
}

TEST(Assertions, ThoseThatDoNotAreToldWithTheRule) {
  EXPECT_EQ(
      failures("deny * -> db"),
      Texts{
          "a:1: default/web -> default/db:5432 passes: egress: allowed, no policy looks at it; ingress: allowed, NetworkPolicy default/db "
          "ingress[0] (m.yaml:23)"});
  EXPECT_EQ(failures("allow job -> db:80"), Texts{"a:1: default/job -> default/db:80 does not pass: ingress: denied, default deny of "
                                                  "NetworkPolicy default/db (ingress) (m.yaml:17)"});
  EXPECT_EQ(failures("deny nobody -> db"), Texts{"a:1: \"nobody\" is nobody here"});
}

TEST(Assertions, ByAService) {
  EXPECT_EQ(failures("allow web -> svc/db:80\nallow web -> svc/default/db\ndeny job -> svc/db:80\ndeny web -> db:80\n"), Texts{});
  EXPECT_EQ(failures("deny web -> svc/db:80").size(), 1U) << "the same words without svc/ ask the pods on port 80 itself";
  EXPECT_EQ(failures("allow web -> svc/nobody:80"), Texts{"a:1: there is no Service default/nobody"});
  EXPECT_EQ(failures("allow web -> svc/db:81"), Texts{"a:1: Service default/db has no such port: 81"});
}

TEST(Assertions, FaultsHaveTheirLine) {
  EXPECT_EQ(failures("\nallow web db\n"), Texts{"a:2: is not \"allow SOURCE -> DESTINATION[:PORT]\" or \"deny …\""});
  EXPECT_EQ(failures("allow web -> db:http"), Texts{"a:1: \"http\" is no port from 1 to 65535"});
  EXPECT_EQ(failures("allow web -> db:80/icmp"), Texts{"a:1: \"ICMP\" is no protocol: tcp, udp or sctp"});
  EXPECT_EQ(failures("allow web -> db:9-8"), Texts{"a:1: \"9-8\" ends before it begins"});
  EXPECT_EQ(failures("allow {=a} -> db"), Texts{"a:1: a label has no key"});
  EXPECT_EQ(failures("allow WEB -> db").size(), 1U);
  EXPECT_EQ(failures("# none\n"), Texts{"a: has no assertion"});
}

// --- what an address is as an end

const std::string kAddressed =
    kShop +
    "---\napiVersion: v1\nkind: Pod\nmetadata: {name: api, labels: {app: db}}\nspec: {containers: []}\nstatus: {podIP: 10.244.7.7}\n"
    "---\napiVersion: v1\nkind: Node\nmetadata: {name: node-a}\nspec: {podCIDRs: [10.50.0.0/24]}\n"
    "status: {addresses: [{type: InternalIP, address: 192.168.9.1}]}\n"
    "---\napiVersion: v1\nkind: Service\nmetadata: {name: s}\n"
    "spec: {clusterIP: 10.96.0.7, selector: {app: db}, ports: [{port: 80, targetPort: 5432}]}\n";

std::string ends_at(const std::string& text) {
  const auto check = check_of(kAddressed);
  const auto ends = Pattern::parse(text, "default")->ends(*check);
  if (!ends.ok()) return ends.error().message;
  std::string out;
  for (const End* end : *ends) out += (out.empty() ? "" : " ") + end->name;
  return out;
}

TEST(Addresses, AreWhoseTheyAre) {
  EXPECT_EQ(ends_at("10.244.7.7"), "default/api");
  EXPECT_EQ(ends_at("192.168.9.1"), "nodes");
  EXPECT_EQ(ends_at("192.0.2.9"), "192.0.2.0/24");
  EXPECT_EQ(ends_at("8.8.8.0/24"), "outside");
}

TEST(Addresses, ThatAreNotTheOutsidesAreRefused) {
  EXPECT_EQ(
      ends_at("10.96.0.7"),
      "10.96.0.7 is Service default/s: policies look at its pods, not at it; ask for default/{app=db} on the pods' port: 5432 (80/TCP)");
  const std::string instead =
      ": a network or address here means one outside the cluster; name NAMESPACE/NAME or {label=value} for pods, nodes, or outside";
  EXPECT_EQ(ends_at("10.244.9.9"), "10.244.9.9 is no known one, in the range of pods (10.244.0.0/16)" + instead);
  EXPECT_EQ(ends_at("10.50.0.9"), "10.50.0.9 is no known one, in the range of pods (10.50.0.0/24)" + instead);
  EXPECT_EQ(ends_at("10.244.0.1"), "10.244.0.1 is no known one, in the range of pods (10.244.0.0/16)" + instead);  // invented
  EXPECT_EQ(ends_at("10.96.1.0/24"), "10.96.1.0/24 overlaps the range of Services (10.96.0.0/16)" + instead);
  EXPECT_EQ(ends_at("10.244.200.0/24"), "10.244.200.0/24 overlaps the range of pods (10.244.0.0/16)" + instead);
  EXPECT_EQ(ends_at("192.168.0.0/16"), "192.168.0.0/16 has 192.168.9.1 of nodes" + instead);
  EXPECT_EQ(failures("deny 10.0.0.0/8 -> db").size(), 1U);
  EXPECT_EQ(failures("deny 10.244.0.200 -> db").size(), 1U);
}

// --- why

std::vector<std::string> answers(const Check& check, const std::string& from, const std::string& to, const PortSet& ports) {
  std::vector<std::string> out;
  for (const Answer& one : why(check, end_named(check, from), end_named(check, to), ports))
    out.push_back(std::string(one.v4 ? "4" : "") + (one.v6 ? "6" : "") + " " + one.ports.to_string() +
                  (one.reason.allowed() ? " passes" : " denied"));
  return out;
}

TEST(Why, EachPortOfARangeAndEachFamily) {
  const auto check = check_of(kShop);
  EXPECT_EQ(answers(*check, "default/web", "default/db", PortSet::range(net::Protocol::kTcp, 5431, 5432)),
            (Texts{"4 5432 passes", "4 5431 denied"}));
  const std::string status = "status: {podIPs: [{ip: 10.1.0.1}, {ip: 'fd00::1'}]}\n",
                    other = "status: {podIPs: [{ip: 10.1.0.2}, {ip: 'fd00::2'}]}\n";
  const auto dual = check_of(pod("web", "{app: web}") + status + pod("db", "{app: db}") + other +
                             policy("p", "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{ipBlock: {cidr: 'fd00::/64'}}]}]}"));
  EXPECT_EQ(answers(*dual, "default/web", "default/db", PortSet::port(net::Protocol::kTcp, 80)), (Texts{"6 80 passes", "4 80 denied"}));
}

TEST(Why, AsJson) {
  const auto check = check_of(kShop);
  const auto range =
      why(*check, end_named(*check, "default/web"), end_named(*check, "default/db"), PortSet::range(net::Protocol::kTcp, 5432, 5433));
  EXPECT_EQ(boost::json::serialize(render_json(range)),
            R"({"from":"default/web","to":"default/db","ports":"5432-5433","passes":"partly","answers":[)"
            R"({"families":["IPv4"],"ports":"5432","passes":true,"egress":{"allowed":true,"by":"no policy looks at it"},)"
            R"("ingress":{"allowed":true,"by":"NetworkPolicy default/db ingress[0]","file":"m.yaml","line":23}},)"
            R"({"families":["IPv4"],"ports":"5433","passes":false,"egress":{"allowed":true,"by":"no policy looks at it"},)"
            R"j("ingress":{"allowed":false,"by":"default deny of NetworkPolicy default/db (ingress)","file":"m.yaml","line":17}}]})j");
}

TEST(Why, APodAlwaysReachesItself) {
  const auto check = check_of(kShop);
  EXPECT_EQ(answers(*check, "default/db", "default/db", PortSet::port(net::Protocol::kTcp, 81)), Texts{"4 81 passes"});
  EXPECT_EQ(failures("allow db -> db:81\n"), Texts{});
  EXPECT_EQ(failures("deny db -> db:81\n").size(), 1U);
}

// One workload a pod, as the naive evaluator knows pods alone.
std::unique_ptr<Check> check_of_rows(const ClusterState& state) {
  Inventory inventory;
  inventory.state = state;
  inventory.policy_sources.resize(state.policies.size());
  for (std::size_t i = 0; i < state.pods.size(); ++i) inventory.workloads.push_back({"Pod", state.pods[i].id, {i}, false});
  inventory.pod_ranges = {*net::Prefix::parse("10.0.0.0/8")};
  return std::make_unique<Check>(std::move(inventory));
}

std::optional<std::pair<bool, bool>> some_and_every(const ClusterState& state, const std::string& from, const std::string& to,
                                                    const compile::policy::Probe& probe) {
  bool some = false, every = true, any = false;
  for (const auto& source : state.pods)
    for (const auto& destination : state.pods) {
      if (source.id.to_string() != from || destination.id.to_string() != to || !counts(source) || !counts(destination)) continue;
      for (const auto& a : source.ips)
        for (const auto& b : destination.ips) {
          if (a.family() != b.family()) continue;
          const auto allowed = [&](model::Pod subject, Direction direction, const net::IpAddr& peer) {
            subject.ips.clear(), subject.node.clear();
            return compile::policy::judge_naively(state, subject, direction, peer, probe.protocol, probe.port).allowed;
          };
          const bool passes = allowed(source, Direction::kEgress, b) && allowed(destination, Direction::kIngress, a);
          any = true, some |= passes, every &= passes;
        }
    }
  if (!any) return std::nullopt;
  return std::pair{some, every};
}

TEST(Compare, IsTheDifferenceOfWhatTheNaiveEvaluatorSays) {
  std::size_t opened = 0, closed = 0;
  for (std::uint64_t seed = 1; seed <= 60 && !HasFailure(); ++seed) {
    Engine unused;
    RandomCluster cluster(seed, seed % 2 == 0);
    cluster.fill(unused);
    const ClusterState before = cluster.state;
    for (int step = 0; step < 4; ++step) cluster.step(unused);
    const auto old_check = check_of_rows(before), new_check = check_of_rows(cluster.state);
    const auto difference = *compare(*old_check, *new_check);
    const auto change_of = [&](const std::string& from, const std::string& to) -> Change {
      for (const Change& change : difference.changes)
        if (change.from == from && change.to == to) return change;
      return {};
    };
    for (const auto& a : before.pods)
      for (const auto& b : before.pods) {
        const std::string from = a.id.to_string(), to = b.id.to_string();
        const Change change = change_of(from, to);
        for (const auto& probe : RandomCluster::probes()) {
          if (probe.protocol != 6 && probe.protocol != 17) continue;
          const auto was = some_and_every(before, from, to, probe), is = some_and_every(cluster.state, from, to, probe);
          if (!was || !is) continue;
          const auto protocol = static_cast<net::Protocol>(probe.protocol);
          const bool opens = (is->first && !was->first) || (is->second && !was->second);
          const bool closes = (was->first && !is->first) || (was->second && !is->second);
          EXPECT_EQ(change.opened.has(protocol, probe.port), opens) << "seed " << seed << " " << from << " " << to << " " << probe.port;
          EXPECT_EQ(change.closed.has(protocol, probe.port), closes) << "seed " << seed << " " << from << " " << to << " " << probe.port;
          opened += opens ? 1 : 0, closed += closes ? 1 : 0;
        }
      }
  }
  EXPECT_GT(opened, 1000U);
  EXPECT_GT(closed, 1000U);
}

TEST(Compare, OnlyTheEndsThatAreChosen) {
  const std::string next =
      kShop + pod("new", "{app: new}") +
      policy("web", "{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{ipBlock: {cidr: 198.51.100.0/24}}]}]}");
  const auto before = check_of(kShop), after = check_of(next);
  const auto changed = [&](const std::string& from, const std::string& to) {
    const auto selection = [&](const Check& check) {
      return Selection{*Pattern::parse(from, "default")->ends(check), *Pattern::parse(to, "default")->ends(check)};
    };
    const auto difference = *compare(*before, *after, {selection(*before), selection(*after)});
    Texts out;
    for (const Change& change : difference.changes) out.push_back(change.from + " " + change.to);
    for (const auto& name : difference.added) out.push_back("+" + name);
    return out;
  };
  EXPECT_EQ(changed("*", "*").size(), 6U);  // four that asked web, web itself, and the new one
  EXPECT_EQ(changed("db", "*"), (Texts{"default/db default/web", "+default/new"}));
  EXPECT_EQ(changed("job", "web"), Texts{"default/job default/web"});
  EXPECT_EQ(changed("*", "db"), Texts{"+default/new"});
  EXPECT_EQ(changed("outside", "web"), (Texts{"192.0.2.0/24 default/web", "outside default/web"}));
  EXPECT_EQ(changed("192.0.2.0/24", "web"), Texts{"192.0.2.0/24 default/web"});
  EXPECT_EQ(changed("198.51.100.0/24", "web"), Texts{});  // before, it was what lies around it, which changes
  EXPECT_EQ(changed("web", "new"), Texts{"+default/new"});
}

TEST(Compare, FlowsThatWouldBeCut) {
  const auto before = check_of(kShop),
             after = check_of(kShop + policy("web", "{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress]}"));
  const auto flows = parse_flows("f", R"({"src":"web","dst":"default/db","port":5432,"count":7}
{"src":"job","dst":"db","port":5432}

{"src":"db","dst":"8.8.8.8","port":53,"protocol":"UDP"}
{"src":"gone","dst":"db","port":1}
{"src":"10.244.9.9","dst":"db","port":1}
)");
  ASSERT_TRUE(flows.faults.empty());
  const auto replayed = replay(*before, *after, flows.list, "default");
  ASSERT_EQ(replayed.size(), 5U);
  EXPECT_TRUE(replayed[0].cut());
  EXPECT_EQ(replayed[0].flow.count, 7U);
  EXPECT_EQ(replayed[0].reason, "egress: denied, default deny of NetworkPolicy default/web (egress) (m.yaml:28)");
  EXPECT_EQ(replayed[1].result, Replayed::Result::kDeniedBefore);
  EXPECT_EQ(replayed[2].result, Replayed::Result::kPasses);
  EXPECT_EQ(replayed[3].result, Replayed::Result::kUnknown);
  EXPECT_EQ(replayed[4].result, Replayed::Result::kUnknown);  // an address of pods that is nobody's
}

TEST(Compare, FlowsThatAreBroken) {
  for (const auto& [line, reason] : {std::pair{"{", "is no JSON"},
                                     {"[]", "is no JSON object"},
                                     {R"({"src":1})", "src: is no name"},
                                     {R"({"src":"a","dst":"b"})", "port: is no number"},
                                     {R"({"src":"a","dst":"b","port":1,"protocol":"X"})", "protocol:"},
                                     {R"({"src":"a","dst":"b","port":1,"count":-1})", "count:"}}) {
    const auto flows = parse_flows("f", std::string("\n") + line);
    ASSERT_EQ(flows.faults.size(), 1U) << line;
    EXPECT_TRUE(flows.faults[0].to_string().starts_with(std::string("f:2: ") + reason)) << flows.faults[0].to_string();
  }
}

TEST(Render, PairsAreCountedAndBounded) {
  const auto check = check_of(kShop);
  Selection all;
  for (const End& end : check->ends()) all.from.push_back(&end), all.to.push_back(&end);
  EXPECT_EQ(cells(all), 21U);  // three workloads, the outside and a part of it
  EXPECT_TRUE(check_cells(21, 21, "").ok());
  EXPECT_EQ(check_cells(22, 21, "narrow them").error().message, "there are 22 pairs of ends, more than 21: narrow them");
}

TEST(Render, TextFromOutsideIsEscaped) {
  EXPECT_EQ(escaped_xml("<a href=\"x\">&\n"), "&lt;a href=&quot;x&quot;&gt;&amp; ");
  EXPECT_EQ(escaped_dot("a\"b\\c\n"), "a\\\"b\\\\c ");
  const auto check = check_of(kShop);
  Selection all;
  for (const End& end : check->ends()) all.from.push_back(&end), all.to.push_back(&end);
  const std::string svg = render_svg(*check, all, "</svg><script>");
  EXPECT_EQ(svg.find("<script>"), std::string::npos);
  EXPECT_NE(svg.find("<title>default/web to default/db: 5432</title>"), std::string::npos);
  EXPECT_NE(render_dot(*check, all).find("\"default/web\" -> \"default/db\" [label=\"5432\"];"), std::string::npos);
}

}  // namespace
}  // namespace fairway::policycheck
