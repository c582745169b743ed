// Assertions, why, the difference of two clusters against the naive evaluator's, recorded flows, pictures.
#include "policycheck/check.h"

#include "compile/policy/random_cluster.h"
#include "policycheck/assertions.h"
#include "policycheck/compare.h"
#include "policycheck/render.h"
#include "policycheck/testing.h"

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

std::vector<std::string> failures(const std::string& text) {
  const auto check = check_of(kShop);
  const auto assertions = parse_assertions("a", text, "default");
  std::vector<std::string> out;
  for (const auto& fault : assertions.faults) out.push_back(fault.to_string());
  for (const auto& one : assertions.list)
    if (const auto outcome = judge(*check, one); !outcome.holds) out.push_back(outcome.at.to_string() + ": " + outcome.reason);
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

TEST(Assertions, FaultsHaveTheirLine) {
  EXPECT_EQ(failures("\nallow web db\n"), Texts{"a:2: is not \"allow SOURCE -> DESTINATION[:PORT]\" or \"deny …\""});
  EXPECT_EQ(failures("allow web -> db:http"), Texts{"a:1: \"http\" is no port from 1 to 65535"});
  EXPECT_EQ(failures("allow web -> db:80/icmp"), Texts{"a:1: \"ICMP\" is no protocol: tcp, udp or sctp"});
  EXPECT_EQ(failures("allow web -> db:9-8"), Texts{"a:1: \"9-8\" ends before it begins"});
  EXPECT_EQ(failures("allow {=a} -> db"), Texts{"a:1: a label has no key"});
  EXPECT_EQ(failures("allow WEB -> db").size(), 1U);
}

// One workload a pod, as the naive evaluator knows pods alone.
std::unique_ptr<Check> check_of_rows(const ClusterState& state) {
  Inventory inventory;
  inventory.state = state;
  inventory.policy_sources.resize(state.policies.size());
  for (std::size_t i = 0; i < state.pods.size(); ++i) inventory.workloads.push_back({"Pod", state.pods[i].id, {i}, false});
  return std::make_unique<Check>(std::move(inventory), *net::Prefix::parse("10.0.0.0/8"));
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
    const auto difference = compare(*old_check, *new_check);
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

TEST(Compare, FlowsThatWouldBeCut) {
  const auto before = check_of(kShop),
             after = check_of(kShop + policy("web", "{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress]}"));
  const auto flows = parse_flows("f", R"({"src":"web","dst":"default/db","port":5432,"count":7}
{"src":"job","dst":"db","port":5432}

{"src":"db","dst":"8.8.8.8","port":53,"protocol":"UDP"}
{"src":"gone","dst":"db","port":1}
)");
  ASSERT_TRUE(flows.faults.empty());
  const auto replayed = replay(*before, *after, flows.list, "default");
  ASSERT_EQ(replayed.size(), 4U);
  EXPECT_TRUE(replayed[0].cut());
  EXPECT_EQ(replayed[0].flow.count, 7U);
  EXPECT_EQ(replayed[0].reason, "egress: denied, default deny of NetworkPolicy default/web (egress) (m.yaml:28)");
  EXPECT_EQ(replayed[1].result, Replayed::Result::kDeniedBefore);
  EXPECT_EQ(replayed[2].result, Replayed::Result::kPasses);
  EXPECT_EQ(replayed[3].result, Replayed::Result::kUnknown);
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
