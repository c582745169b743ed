// Issue 2, section B: every command that people type, with the real kubectl of three minors against the real server.
#include "apiserver_fixture.h"

namespace fairway::e2e {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class Kubectl : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    k.kubectl = kubectl_path(GetParam());
    if (k.kubectl.empty()) GTEST_SKIP() << "kubectl is not on this machine";
  }
  void expect(const std::string& line, const std::string& words, int code = 0) {
    auto done = k(line);
    EXPECT_EQ(done.code, code) << line << "\n" << done.all();
    EXPECT_THAT(done.all(), HasSubstr(words)) << line;
  }
  void scenario() {
    auto done = k.run({"apply", "-f", std::string(FW_SOURCE_DIR) + "/examples/scenario"});
    ASSERT_EQ(done.code, 0) << done.all();
  }
  Cluster k;
};

TEST_P(Kubectl, Scenario) {
  scenario();
  auto again = k.run({"apply", "-f", std::string(FW_SOURCE_DIR) + "/examples/scenario"});
  EXPECT_EQ(std::count(again.out.begin(), again.out.end(), '\n'), 4);
  EXPECT_THAT(again.out, Not(HasSubstr("configured")));
  expect("get pods -o wide", "NOMINATED NODE");
  expect("get svc backend-service", "10.96.");
  expect("get deploy,netpol", "networkpolicy.networking.k8s.io/allow-frontend");
  expect("get all -A", "pod/frontend");
  expect("describe pod frontend", "curlimages/curl");
  expect("describe svc backend-service", "app=backend");
  expect("describe deploy backend", "25% max unavailable, 25% max surge");
  expect("get svc backend-service -o jsonpath={.spec.ports[0].targetPort}", "80");
  expect("get pod frontend -o yaml", "restartPolicy: Always");
  expect("get pods -o name", "pod/frontend");
  expect("get pods --field-selector metadata.name=frontend -o name", "pod/frontend");
  expect("get pods -l app=none", "No resources found");
  expect("delete pod frontend --now", "deleted");
  expect("get pod frontend", "Error from server (NotFound): pods \"frontend\" not found", 1);
}

TEST_P(Kubectl, CreateOfEveryKind) {
  expect("create ns n1", "namespace/n1 created");
  expect("create cm c --from-literal=a=b", "configmap/c created");
  expect("create secret generic s --from-literal=a=b", "secret/s created");
  expect("get secret s -o jsonpath={.data.a}", "Yg==");
  expect("create sa a", "serviceaccount/a created");
  expect("create deployment web --image=nginx --port=80 --replicas=3", "deployment.apps/web created");
  expect("get deploy web -o jsonpath={.spec.replicas}/{.spec.template.spec.containers[0].ports[0].containerPort}", "3/80");
  expect("create svc clusterip cs --tcp=80:8080", "service/cs created");
  expect("get svc cs -o jsonpath={.spec.ports[0].targetPort}", "8080");
  expect("create ingress i --rule=foo.com/bar*=svc:8080", "ingress.networking.k8s.io/i created");
  expect("get ingress i -o jsonpath={.spec.rules[0].http.paths[0].pathType}", "Prefix");
  expect("run r --image=busybox", "pod/r created");
  expect("expose deploy web --port=80", "service/web exposed");
  expect("create deployment d --image=x --dry-run=server -o name", "deployment.apps/d");
  expect("get deploy d", "NotFound", 1);
  expect("create cm c", "already exists", 1);
}

TEST_P(Kubectl, Changes) {
  scenario();
  expect("label pod frontend a=b", "labeled");
  expect("label pod frontend a-", "unlabeled");
  expect("annotate deploy backend x=y", "annotated");
  expect("scale deploy backend --replicas=2", "scaled");
  expect("scale deploy backend --current-replicas=2 --replicas=4", "scaled");
  expect("scale deploy backend --current-replicas=2 --replicas=5", "Expected replicas to be 2, was 4", 1);
  expect("set image deploy/backend backend=nginx:1.25", "image updated");
  expect("rollout restart deploy backend", "restarted");
  expect("rollout pause deploy backend", "paused");
  auto strategic = k.run({"patch", "deploy", "backend", "-p",
                          R"({"spec":{"template":{"spec":{"containers":[{"name":"backend","env":[{"name":"A","value":"1"}]}]}}}})"});
  EXPECT_THAT(strategic.out, HasSubstr("patched"));
  expect("get deploy backend -o jsonpath={.spec.template.spec.containers[0].image}{.spec.template.spec.containers[0].env[0].name}",
         "nginx:1.25A");
  auto json = k.run({"patch", "deploy", "backend", "--type=json", "-p", R"([{"op":"replace","path":"/spec/replicas","value":1}])"});
  EXPECT_THAT(json.out, HasSubstr("patched"));
  auto merge = k.run({"patch", "deploy", "backend", "--type=merge", "-p", R"({"spec":{"replicas":1}})"});
  EXPECT_THAT(merge.out, HasSubstr("(no change)"));
  auto edit = k.run({"edit", "deploy", "backend"}, "", {"KUBE_EDITOR=sed -i s/replicas:.*/replicas:\\ 7/"});
  EXPECT_THAT(edit.out, HasSubstr("edited")) << edit.err;
  expect("get deploy backend -o jsonpath={.spec.replicas}", "7");
  auto replaced = k.run({"replace", "-f", std::string(FW_SOURCE_DIR) + "/examples/scenario/backend-service.yaml"});
  EXPECT_THAT(replaced.out, HasSubstr("replaced")) << replaced.err;
  auto diff = k.run({"diff", "-f", std::string(FW_SOURCE_DIR) + "/examples/scenario/backend-deployment.yaml"});
  EXPECT_EQ(diff.code, 1) << diff.all();
  EXPECT_THAT(diff.out, HasSubstr("replicas"));
}

TEST_P(Kubectl, ServerSideApply) {
  const std::string yaml =
      "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec:\n  replicas: 2\n  selector: {matchLabels: {a: b}}\n  template: "
      "{metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}\n";
  EXPECT_THAT(k.run({"apply", "--server-side", "-f", "-"}, yaml).out, HasSubstr("serverside-applied"));
  expect("scale deploy d --replicas=5", "scaled");
  auto refused = k.run({"apply", "--server-side", "-f", "-"}, yaml);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("Apply failed with 1 conflict: conflict with \"kubectl"),
                                 HasSubstr("with subresource \"scale\" using apps/v1: .spec.replicas")));
  EXPECT_EQ(k.run({"apply", "--server-side", "--force-conflicts", "-f", "-"}, yaml).code, 0);
  expect("get deploy d -o jsonpath={.spec.replicas}", "2");
  scenario();
  EXPECT_EQ(k.run({"apply", "--server-side", "-f", std::string(FW_SOURCE_DIR) + "/examples/scenario"}).code, 0);
}

TEST_P(Kubectl, RefusesInUpstreamsWords) {
  auto strict = k.apply("apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {foo: 1, containers: [{name: a, image: b}]}\n");
  EXPECT_THAT(strict.err, HasSubstr("Pod in version \"v1\" cannot be handled as a Pod: strict decoding error: unknown field \"spec.foo\""));
  auto warned = k.run({"apply", "--validate=warn", "-f", "-"}, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\nfoo: 1\n");
  EXPECT_EQ(warned.code, 0);
  EXPECT_THAT(warned.err, HasSubstr("Warning: unknown field \"foo\""));
  auto port = k.apply("apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {ports: [{port: 99999, targetPort: 80}]}\n");
  EXPECT_THAT(port.err,
              HasSubstr("The Service \"x\" is invalid: spec.ports[0].port: Invalid value: 99999: must be between 1 and 65535, inclusive"));
  EXPECT_THAT(k.apply("apiVersion: v1\nkind: Foo\nmetadata: {name: x}\n").err, HasSubstr("no matches for kind \"Foo\" in version \"v1\""));
  scenario();
  auto ip = k.run({"patch", "svc", "backend-service", "-p", R"({"spec":{"clusterIP":"10.96.0.77"}})"});
  EXPECT_THAT(ip.err, HasSubstr("may not change once set"));
  expect("get foo", "the server doesn't have a resource type \"foo\"", 1);
}

TEST_P(Kubectl, DeletionWaitsForFinalizers) {
  ASSERT_EQ(k.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: held, finalizers: [example.com/hold]}\n").code, 0);
  expect("delete cm held --wait=false", "deleted");
  expect("get cm held -o jsonpath={.metadata.deletionTimestamp}", "20");
  expect("wait --for=delete cm/held --timeout=1s", "timed out", 1);
  auto freed = k.run({"patch", "cm", "held", "--type=json", "-p", R"([{"op":"remove","path":"/metadata/finalizers"}])"});
  EXPECT_EQ(freed.code, 0) << freed.err;
  expect("get cm held", "NotFound", 1);
  expect("create deployment d --image=i", "created");
  expect("delete deploy d --cascade=foreground --wait=false", "deleted");
  expect("get deploy d -o jsonpath={.metadata.finalizers}", "foregroundDeletion");
}

// Runs a command until it prints a line that begins so.
constexpr const char* kUntilLine = R"(
import subprocess, sys
with subprocess.Popen(sys.argv[2:], stdout=subprocess.PIPE, text=True) as command:
    print(next(line for line in command.stdout if line.startswith(sys.argv[1])))
    command.kill()
)";

TEST_P(Kubectl, WatchAndWait) {
  scenario();
  auto watch = std::async(std::launch::async, [&] {
    return sys::run({"/usr/bin/env", "HOME=" + k.folder + "/home", "KUBECONFIG=" + k.folder + "/config", "python3", "-c", kUntilLine, "w2 ",
                     k.kubectl, "get", "cm", "-w"},
                    "", std::chrono::seconds(60));
  });
  // The watcher shows what comes later, whenever that is, and ends with the last of it.
  for (int i = 0; i < 3; ++i) {
    expect("create cm w" + std::to_string(i), "created");
    expect("label cm w" + std::to_string(i) + " a=b", "labeled");
  }
  auto seen = watch.get();
  ASSERT_TRUE(seen.ok());
  EXPECT_THAT(seen->out, HasSubstr("w2 "));
  auto phase = k.run({"wait", "pod/frontend", "--for=jsonpath={.status.phase}=Pending", "--timeout=60s"});
  EXPECT_THAT(phase.out, HasSubstr("condition met")) << phase.err;
  auto status = k.run({"patch", "deploy", "backend", "--subresource=status", "--type=merge", "-p",
                       R"({"status":{"observedGeneration":1,"replicas":1,"updatedReplicas":1,"readyReplicas":1,"availableReplicas":1}})"});
  EXPECT_EQ(status.code, 0) << status.err;
  expect("rollout status deploy backend --timeout=60s", "successfully rolled out");
}

TEST_P(Kubectl, CustomResources) {
  ASSERT_EQ(k.apply(R"(
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, kind: Widget, shortNames: [wd]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}, scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas}}
    additionalPrinterColumns: [{name: Size, type: string, jsonPath: .spec.size}]
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, required: [size], properties: {size: {type: string, enum: [s, m]}, replicas: {type: integer, default: 1}}}}}}
)")
                .code,
            0);
  expect("wait --for=condition=Established crd/widgets.example.com --timeout=60s", "condition met");
  EXPECT_THAT(k.apply("apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\nspec: {size: s}\n").out,
              HasSubstr("widget.example.com/w created"));
  EXPECT_THAT(k.apply("apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: x}\nspec: {size: xl}\n").err,
              HasSubstr("supported values: \"s\", \"m\""));
  EXPECT_THAT(k.apply("apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\nspec: {size: m}\n").out, HasSubstr("configured"));
  expect("get wd", "SIZE");
  expect("explain widget.spec", "replicas");
  expect("scale wd w --replicas=3", "scaled");
  expect("get wd w -o jsonpath={.spec.replicas}", "3");
  expect("delete crd widgets.example.com", "deleted");
}

TEST_P(Kubectl, ClusterNetworkPoliciesAreThereFromTheStart) {
  const std::string head = "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {name: no-metadata}\n";
  const std::string subject = "  priority: 10\n  subject: {namespaces: {}}\n";
  EXPECT_THAT(
      k.apply(head + "spec:\n  tier: Admin\n" + subject + "  egress: [{action: Deny, to: [{networks: [169.254.169.254/32]}]}]\n").out,
      HasSubstr("clusternetworkpolicy.policy.networking.k8s.io/no-metadata created"));
  EXPECT_THAT(k("get cnp").out, AllOf(HasSubstr("NAME          TIER    PRIORITY   AGE"), HasSubstr("no-metadata   Admin   10         ")));
  expect("describe cnp no-metadata", "169.254.169.254/32");
  expect("explain cnp.spec.egress.protocols.tcp", "destinationPort");
  auto status = k.run({"patch", "cnp", "no-metadata", "--subresource=status", "--type=merge", "-p",
                       R"({"status":{"conditions":[{"type":"InForce","status":"True","reason":"AllNodes","message":"on 3 nodes",)"
                       R"("lastTransitionTime":"2026-01-01T00:00:00Z"}]}})"});
  EXPECT_EQ(status.code, 0) << status.err;
  expect("wait cnp/no-metadata --for=condition=InForce --timeout=60s", "condition met");
  EXPECT_THAT(k.apply(head + "spec:\n  tier: Gold\n" + subject).err, HasSubstr("supported values: \"Admin\", \"Baseline\""));
  EXPECT_THAT(k.apply(head + "spec:\n  tier: Admin\n" + subject + "  egress: [{action: Deny, to: [{networks: [x]}]}]\n").err,
              HasSubstr("Invalid CIDR format provided"));
  expect("delete cnp no-metadata", "deleted");
}

TEST_P(Kubectl, TellsOfItself) {
  expect("version", "Server Version: v1.32");
  expect("api-resources", "networkpolicies");
  expect("api-versions", "discovery.k8s.io/v1");
  expect("auth can-i create pods", "yes");
  expect("auth can-i --list", "*.*");
  expect("cluster-info", "Kubernetes control plane");
  expect("get ns", "kube-system");
  expect("get --raw /readyz", "ok");
  expect("explain pod.spec.containers.livenessProbe", "initialDelaySeconds");
}

TEST_P(Kubectl, NothingIsLostOverARestart) {
  scenario();
  const std::string before = k("get svc backend-service -o jsonpath={.spec.clusterIP}/{.metadata.resourceVersion}/{.metadata.uid}").out;
  k.stop();
  k.start();
  EXPECT_EQ(k("get svc backend-service -o jsonpath={.spec.clusterIP}/{.metadata.resourceVersion}/{.metadata.uid}").out, before);
  expect("create svc clusterip other --tcp=80", "created");
}

INSTANTIATE_TEST_SUITE_P(Minors, Kubectl, testing::Values("1.30", "1.32", "1.33"),
                         [](const auto& param) { return "v1_" + std::string(param.param + 2); });

}  // namespace
}  // namespace fairway::e2e
