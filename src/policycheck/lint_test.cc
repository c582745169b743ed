// Each rule of lint once where it must speak, and a sound cluster where none may.
#include "policycheck/lint.h"

#include <set>

#include "policycheck/testing.h"

namespace fairway::policycheck {
namespace {

std::set<std::string> ids(const std::string& text) {
  std::set<std::string> out;
  for (const Finding& finding : lint(*check_of(text))) out.insert(finding.id);
  return out;
}
using Ids = std::set<std::string>;

const std::string kPods = pod("web", "{app: web}") + pod("db", "{app: db}");
const std::string kWebToDb =
    "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: http}]}]}";
std::string service(const std::string& app, const std::string& target) {
  return "---\napiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {selector: {app: " + app +
         "}, ports: [{port: 80, targetPort: " + target + "}]}\n";
}

TEST(Lint, ASoundClusterHasNothing) {
  EXPECT_EQ(ids(kPods + policy("p", kWebToDb) + service("db", "http")), Ids{});
  EXPECT_EQ(
      ids(kPods +
          policy(
              "p",
              "{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {}}], ports: [{port: 53, "
              "protocol: UDP}]}]}")),
      Ids{});
}

TEST(Lint, PoliciesThatSelectNothing) {
  EXPECT_EQ(ids(kPods + policy("p", "{podSelector: {matchLabels: {app: nobody}}}")), Ids{"selects-nothing"});
  EXPECT_EQ(ids(kPods + policy("p", "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: nobody}}}]}]}")),
            Ids{"peer-selects-nothing"});
  EXPECT_EQ(ids(pod("h", "{app: h}", ", hostNetwork: true") + policy("p", "{podSelector: {matchLabels: {app: h}}}")), Ids{"host-network"});
  EXPECT_EQ(ids(kPods + policy("p", "{podSelector: {}, ingress: [{ports: [{port: nobody}]}]}")), Ids{"unknown-port-name"});
}

std::vector<std::string> told(const std::string& text, const std::string& id) {
  std::vector<std::string> out;
  for (const Finding& finding : lint(*check_of(text)))
    if (finding.id == id) out.push_back(finding.field + ": " + finding.message);
  return out;
}
using Texts = std::vector<std::string>;

TEST(Lint, ShadowedByTheAdminTier) {
  const auto admin = [](const std::string& action, const std::string& more = "") {
    return admin_policy("a", "ingress: [{action: " + action + ", from: [{namespaces: {}}]" + more + "}]");
  };
  const std::string rule = kPods + policy("p", kWebToDb), on_8080 = ", protocols: [{tcp: {destinationPort: {number: 8080}}}]";
  EXPECT_EQ(told(rule + admin("Deny"), "shadowed"),
            Texts{"spec.ingress[0]: allows nothing: the Admin tier denies all that it matches (ClusterNetworkPolicy a ingress[0])"});
  EXPECT_EQ(
      told(rule + admin("Accept"), "shadowed"),
      Texts{"spec.ingress[0]: changes nothing: the Admin tier allows all that it matches already (ClusterNetworkPolicy a ingress[0])"});
  EXPECT_EQ(ids(rule + admin("Pass")), Ids{});
  EXPECT_EQ(ids(rule + admin("Deny", ", protocols: [{tcp: {destinationPort: {number: 1}}}]")), Ids{});
  EXPECT_EQ(told(rule + admin("Deny", on_8080), "shadowed").size(), 1U);
}

TEST(Lint, PartsOfARuleThatTheAdminTierDenies) {
  const std::string deny_web = admin_policy("a",
                                            "ingress: [{action: Deny, from: [{pods: {namespaceSelector: {}, podSelector: {matchLabels: "
                                            "{app: web}}}}]}]"),
                    deny_443 = admin_policy("a",
                                            "ingress: [{action: Deny, from: [{namespaces: {}}], protocols: [{tcp: {destinationPort: "
                                            "{number: 443}}}]}]");
  const auto from = [](const std::string& peers, const std::string& ports) {
    return policy("p", "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [" + peers + "], ports: [" + ports + "]}]}");
  };
  const std::string web = "{podSelector: {matchLabels: {app: web}}}", job = "{podSelector: {matchLabels: {app: job}}}";
  const std::string
      pods = kPods + pod("job", "{app: job}"),
      part = ": allows nothing: the Admin tier denies all of it (ClusterNetworkPolicy a ingress[0]); the rest of the rule counts";
  EXPECT_EQ(told(pods + from(job + "," + web, "{port: 80}") + deny_web, "shadowed"), Texts{"spec.ingress[0].from[1]" + part});
  EXPECT_EQ(told(pods + from(job + "," + web, "{port: 80}, {port: 443}") + deny_443, "shadowed"), Texts{"spec.ingress[0].ports[1]" + part});
  EXPECT_EQ(told(pods + from(web + ", {podSelector: {}}", "{port: 80}, {port: 440, endPort: 445}") + deny_443, "shadowed"), Texts{});
}

TEST(Lint, Services) {
  EXPECT_EQ(ids(kPods + service("db", "http")), Ids{});
  EXPECT_EQ(ids(kPods + service("nobody", "80")), Ids{"service-selects-nothing"});
  EXPECT_EQ(ids(kPods + service("db", "nobody")), Ids{"unknown-port-name"});
  EXPECT_EQ(ids(kPods + service("db", "http") + policy("p", "{podSelector: {matchLabels: {app: db}}}")), Ids{"service-unreachable"});
  EXPECT_EQ(ids(kPods + service("db", "9999") + policy("p", kWebToDb)), Ids{"service-unreachable"});
}

// --- dns-denied

std::string egress(const std::string& rules) {
  return kPods + policy("p", "{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [" + rules + "]}");
}
std::string to_dns(const std::string& ports) {
  return "{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}, podSelector: {matchLabels: {k8s-app: "
         "kube-dns}}}], ports: [" +
         ports + "]}";
}
const std::string kByUdp = "{port: 53, protocol: UDP}";
const std::string kDnsPod =
    "---\napiVersion: v1\nkind: Pod\nmetadata: {name: dns, namespace: kube-system, labels: {k8s-app: kube-dns}}\nspec: {containers: "
    "[{name: c, image: i, ports: [{name: dns, containerPort: 53, protocol: UDP}]}]}\n";

TEST(Lint, RulesThatReachDns) {
  const std::string to_db = "{to: [{podSelector: {matchLabels: {app: db}}}], ports: [";
  for (const std::string& rules : {to_dns(kByUdp), to_dns("{port: 1, endPort: 1024, protocol: UDP}"), to_dns("{port: dns, protocol: UDP}"),
                                   std::string("{ports: [") + kByUdp + "]}", std::string("{to: [{namespaceSelector: {}}]}"),
                                   std::string("{to: [{ipBlock: {cidr: 169.254.20.10/32}}]}"),
                                   "{to: [{ipBlock: {cidr: 192.0.2.53/32}}], ports: [" + kByUdp + "]}", to_db + kByUdp + "]}"})
    for (const std::string& dns : {std::string(), kDnsPod}) EXPECT_EQ(ids(egress(rules) + dns), Ids{}) << rules << dns;
  EXPECT_EQ(ids(egress("{to: [{ipBlock: {cidr: 10.96.0.10/32}}]}")), Ids{});  // a node's own resolver
  EXPECT_EQ(ids(egress("{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: openshift-dns}}}], ports: [{port: 5353, "
                       "protocol: UDP}]}")),
            Ids{});
  const std::string closed =
      "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: kube-system}\nspec: {podSelector: {}, "
      "policyTypes: [Egress]}\n";
  EXPECT_EQ(ids(kPods + kDnsPod + closed), Ids{});
}

TEST(Lint, RulesThatDoNotReachDns) {
  const std::string closed = "spec.egress: may not ask the cluster's DNS: default deny of NetworkPolicy default/p (egress), and ",
                    no_rule = closed + "no rule allows port 53 of UDP", by_tcp = closed + "port 53 is allowed over TCP alone",
                    no_peer = closed + "the rule for port 53 has no peer that DNS's pods match";
  for (const auto& [rules, message] :
       {std::pair{std::string("{ports: [{port: 443}]}"), no_rule}, std::pair{std::string("{ports: [{port: 53}]}"), by_tcp},
        std::pair{to_dns("{port: 53}"), by_tcp}, std::pair{to_dns("{port: dns}"), no_rule},
        std::pair{to_dns("{port: dns-tcp, protocol: UDP}"), no_peer},
        std::pair{to_dns("{port: 54, endPort: 1024, protocol: UDP}"), no_rule},
        std::pair{std::string("{to: [{podSelector: {matchLabels: {app: db}}}]}"), no_rule},
        std::pair{std::string("{to: [{podSelector: {matchLabels: {app: db}}}], ports: [{port: 1, endPort: 1024, protocol: UDP}]}"),
                  no_rule},
        std::pair{std::string("{to: [{namespaceSelector: {matchLabels: {name: kube-system}}}], ports: [") + kByUdp + "]}", no_peer},
        std::pair{std::string("{to: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8]}}]}"), no_rule}})
    EXPECT_EQ(told(egress(rules), "dns-denied"), Texts{message}) << rules;
  EXPECT_EQ(told(egress("{ports: [{port: 53}]}") + kDnsPod, "dns-denied"), Texts{by_tcp});
  EXPECT_EQ(told(kPods + admin_policy(
                             "a", "egress: [{action: Deny, to: [{namespaces: {}}], protocols: [{udp: {destinationPort: {number: 53}}}]}]"),
                 "dns-denied"),
            (Texts{"spec.egress: may not ask the cluster's DNS: ClusterNetworkPolicy a egress[0] denies port 53 of UDP",
                   "spec.egress: may not ask the cluster's DNS: ClusterNetworkPolicy a egress[0] denies port 53 of UDP"}));
}

TEST(Lint, WhatCannotBeReadIsAnError) {
  const auto check = check_of(kPods + policy("p", "\n  podSelector: {}\n  ingress:\n  - from:\n    - ipBlock: {cidr: 10.0.0.0/99}"));
  const auto findings = lint(*check);
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].severity, Severity::kError);
  EXPECT_EQ(findings[0].id, "invalid-part");
  EXPECT_EQ(findings[0].field, "spec.ingress[0].from[0].ipBlock.cidr");
  EXPECT_EQ(findings[0].at.to_string(), "m.yaml:19");
  EXPECT_EQ(cell(*check, "default/web", "default/db"), "none");
  EXPECT_EQ(ids("apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: p}\n"), Ids{"foreign-policy"});
  EXPECT_EQ(ids(kPods + pod("web")), Ids{"duplicate-object"});
}

}  // namespace
}  // namespace fairway::policycheck
