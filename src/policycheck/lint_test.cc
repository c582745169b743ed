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

TEST(Lint, ShadowedByTheAdminTier) {
  const std::string deny = "ingress: [{action: Deny, from: [{namespaces: {}}]}]",
                    pass = "ingress: [{action: Pass, from: [{namespaces: {}}]}]";
  EXPECT_EQ(ids(kPods + policy("p", kWebToDb) + admin_policy("a", deny)), Ids{"shadowed"});
  EXPECT_EQ(ids(kPods + policy("p", kWebToDb) + admin_policy("a", pass)), Ids{});
  const std::string one_port = "ingress: [{action: Deny, from: [{namespaces: {}}], protocols: [{tcp: {destinationPort: {number: 1}}}]}]";
  EXPECT_EQ(ids(kPods + policy("p", kWebToDb) + admin_policy("a", one_port)), Ids{});
}

TEST(Lint, Services) {
  EXPECT_EQ(ids(kPods + service("db", "http")), Ids{});
  EXPECT_EQ(ids(kPods + service("nobody", "80")), Ids{"service-selects-nothing"});
  EXPECT_EQ(ids(kPods + service("db", "nobody")), Ids{"unknown-port-name"});
  EXPECT_EQ(ids(kPods + service("db", "http") + policy("p", "{podSelector: {matchLabels: {app: db}}}")), Ids{"service-unreachable"});
  EXPECT_EQ(ids(kPods + service("db", "9999") + policy("p", kWebToDb)), Ids{"service-unreachable"});
}

TEST(Lint, NoNames) {
  const std::string dns =
      "---\napiVersion: v1\nkind: Pod\nmetadata: {name: dns, namespace: kube-system, labels: {k8s-app: kube-dns}}\nspec: {containers: "
      "[]}\n";
  const std::string closed =
      "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: kube-system}\nspec: {podSelector: {}, "
      "policyTypes: [Egress]}\n";
  EXPECT_EQ(ids(kPods + dns + closed), Ids{});
  EXPECT_EQ(ids(kPods + policy("p", "{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{ports: [{port: 443}]}]}")),
            Ids{"dns-denied"});
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
