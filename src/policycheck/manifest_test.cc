// What is read of manifests, and how what is broken is told: file, line, object, field, reason.
#include "policycheck/manifest.h"

#include <filesystem>
#include <fstream>

#include "policycheck/testing.h"

namespace fairway::policycheck {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> faults_of(const std::string& text) {
  std::vector<std::string> out;
  for (const auto& fault : take_inventory(read_manifests(text), {}).faults) out.push_back(fault.to_string());
  return out;
}
using Texts = std::vector<std::string>;

TEST(Manifest, DocumentsListsAndJson) {
  const auto yaml =
      read_manifests("# a comment\n---\n" + pod("a") +
                     "---\n\n---\nkind: List\napiVersion: v1\nitems:\n- {kind: Service, metadata: {name: s, namespace: x}}\n");
  ASSERT_TRUE(yaml.faults.empty()) << yaml.faults[0].to_string();
  ASSERT_EQ(yaml.objects.size(), 2U);
  EXPECT_EQ(yaml.objects[0].name(), "Pod default/a");
  EXPECT_EQ(yaml.objects[1].name(), "Service x/s");
  const auto json = read_manifests(R"({"kind":"NetworkPolicyList","items":[{"metadata":{"name":"p","namespace":"x"}}]})");
  ASSERT_EQ(json.objects.size(), 1U);
  EXPECT_EQ(json.objects[0].name(), "NetworkPolicy x/p");
  EXPECT_TRUE(read_manifests("").objects.empty());
}

TEST(Manifest, WhatIsBrokenIsToldWithItsLine) {
  EXPECT_EQ(faults_of("a: [\n"), Texts{"m.yaml:2: end of sequence flow not found"});
  EXPECT_EQ(faults_of("kind: Pod\nmetadata: {name: a}\n---\nkind: Pod\nmetadata:\n  name: b\n  name: c\n"),
            Texts{"m.yaml:4: duplicate field \"metadata.name\""});
  EXPECT_EQ(faults_of("metadata: {name: a}\n"), Texts{"m.yaml:1: kind: is missing: this is no Kubernetes object"});
  EXPECT_EQ(faults_of("- 1\n"), Texts{"m.yaml:1: is no object"});
  EXPECT_EQ(faults_of("kind: Pod\n"), Texts{"m.yaml:1: Pod default/: metadata.name: is missing"});
  EXPECT_EQ(faults_of("{\"kind\":\n\"Pod\",]"), Texts{"m.yaml:2: syntax error"});
  EXPECT_EQ(
      faults_of(policy("p", "\n  podSelector:\n    matchExpressions: [{key: a, operator: Maybe}]")),
      Texts{"m.yaml:7: NetworkPolicy default/p: spec.podSelector.matchExpressions[0].operator: \"Maybe\" is not a selector's operator"});
  EXPECT_EQ(faults_of(pod("UPPER")), Texts{"m.yaml:4: Pod default/UPPER: metadata.name: \"UPPER\" is not a name"});
  EXPECT_EQ(faults_of("kind: List\nitems:\n- kind: Service\n  metadata: {name: s}\n  spec:\n    ports:\n    - {port: 99999}\n"),
            Texts{"m.yaml:7: Service default/s: spec.ports[0].port: is not a number from 1 to 65535"});
}

TEST(Manifest, MergeKeys) {
  const std::string text =
      "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\nspec:\n  podSelector: {}\n  ingress:\n"
      "  - &base\n    from: [{podSelector: {matchLabels: {app: web}}}]\n    ports: [{port: 80}]\n"
      "  - <<: *base\n    ports:\n    - port: 443\n";
  const auto taken = take_inventory(read_manifests(text), {});
  ASSERT_EQ(taken.state.policies.size(), 1U);
  const auto& rules = taken.state.policies[0].ingress;
  ASSERT_EQ(rules.size(), 2U);
  EXPECT_EQ(rules[1].peers, rules[0].peers);
  EXPECT_EQ(rules[1].ports.at(0).first, 443);
  EXPECT_EQ(taken.policy_sources[0].place("spec.ingress[1].from[0]").to_string(), "m.yaml:8");
  EXPECT_EQ(taken.policy_sources[0].place("spec.ingress[1].ports[0]").to_string(), "m.yaml:12");
  EXPECT_EQ(faults_of("kind: Pod\nmetadata:\n  <<: 1\n"), Texts{"m.yaml:3: map merge requires map or sequence of maps as the value"});
}

// A folder of its own for what is read of files.
class ManifestFiles : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/fw-manifest-XXXXXX";
    folder_ = ::mkdtemp(name);
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name) << text;
    return folder_ / name;
  }
  std::string read(const std::string& path) {
    const auto status = reader_.read(path);
    return status.ok() ? "" : status.error().message;
  }
  fs::path folder_;
  ManifestReader reader_{"default"};
};

TEST_F(ManifestFiles, NoObjectIsAnError) {
  EXPECT_EQ(read(write("a.yaml", "# nothing\n---\n")), (folder_ / "a.yaml").string() + ": has no Kubernetes object");
  EXPECT_EQ(read(folder_), folder_.string() + ": has no Kubernetes object");
  EXPECT_EQ(read(write("b.yaml", pod("a"))), "");
}

TEST_F(ManifestFiles, WhatCannotBeReadInAFolderIsNamed) {
  write("a.yaml", pod("a"));
  fs::create_directory(folder_ / "below");
  fs::create_directory_symlink(folder_ / "below", folder_ / "link");
  EXPECT_EQ(read(folder_), "");
  EXPECT_EQ(reader_.take().notes, Texts{(folder_ / "link").string() + ": is a link to a folder, passed over; name it to have it read"});
  fs::create_symlink(folder_ / "gone", folder_ / "below" / "b.yaml");
  EXPECT_EQ(read(folder_), (folder_ / "below" / "b.yaml").string() + ": is a link to nothing");
}

TEST(Manifest, BombsAndDepthsEnd) {
  std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 12; ++i) {
    const std::string last = "*a" + std::to_string(i - 1);
    bomb +=
        "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + last + ", " + last + ", " + last + ", " + last + ", " + last + "]\n";
  }
  EXPECT_EQ(faults_of(bomb).size(), 1U);
  EXPECT_EQ(faults_of(std::string(100'000, '[')).size(), 1U);
  EXPECT_EQ(faults_of("&a [*a]").size(), 1U);
}

TEST(Inventory, AWorkloadsTemplateStandsForItsPods) {
  const std::string deployment =
      "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  replicas: 3\n  template:\n    metadata: {labels: {app: "
      "web}}\n    spec: "
      "{containers: [{name: c, image: i}]}\n";
  const std::string owned =
      "---\napiVersion: v1\nkind: Pod\nmetadata: {name: web-5d-1, labels: {app: old, pod-template-hash: 5d}, ownerReferences: [{kind: "
      "ReplicaSet, "
      "name: web-5d, controller: true}]}\nspec: {}\nstatus: {podIP: 10.1.2.3}\n";
  const auto both = take_inventory(read_manifests(owned + deployment), {});
  ASSERT_EQ(both.workloads.size(), 1U);
  EXPECT_EQ(both.workloads[0].kind, "Deployment");
  ASSERT_EQ(both.state.pods.size(), 1U);
  EXPECT_EQ(both.state.pods[0].labels.at("app"), "web");
  EXPECT_EQ(both.state.pods[0].ips[0].to_string(), "10.1.2.3");
  const auto alone = take_inventory(read_manifests(owned), {});
  ASSERT_EQ(alone.workloads.size(), 1U);
  EXPECT_EQ(alone.workloads[0].kind + " " + alone.workloads[0].id.to_string(), "Deployment default/web");
  EXPECT_EQ(alone.state.pods[0].labels.at("app"), "old");
  const auto nominal = take_inventory(read_manifests(deployment), {});
  EXPECT_TRUE(pod_range().contains(nominal.state.pods.at(0).ips.at(0)));
}

TEST(Manifest, AChangeReplacesWhatItNames) {
  auto merged = applied_over(read_manifests(pod("a", "{v: old}") + pod("b")), read_manifests(pod("a", "{v: new}") + pod("c")));
  const auto taken = take_inventory(std::move(merged), {});
  ASSERT_EQ(taken.state.pods.size(), 3U);
  EXPECT_EQ(taken.state.pods[0].labels.at("v"), "new");
}

}  // namespace
}  // namespace fairway::policycheck
