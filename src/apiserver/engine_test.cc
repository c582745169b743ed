#include "apiserver/engine.h"

#include <fmt/format.h>

#include "apiserver/test_support.h"

namespace fairway::apiserver {
namespace {

using test::parse;
using test::Rig;
using testing::HasSubstr;

constexpr const char* kPod = "{'metadata':{'name':'p'},'spec':{'containers':[{'name':'c','image':'nginx'}]}}";
constexpr const char* kDeployment =
    "{'metadata':{'name':'d'},'spec':{'selector':{'matchLabels':{'a':'b'}},'template':{'metadata':{'labels':{'a':'b'}},'spec':{'containers'"
    ":[{'name':'c','image':'nginx:1.25'}]}}}}";

TEST(Engine, DefaultsAPod) {
  Rig rig;
  ASSERT_EQ(rig.try_create("pods", kPod), "created");
  const Json pod = rig.object("pods", "p");
  EXPECT_EQ(text_at(pod, "spec.restartPolicy"), "Always");
  EXPECT_EQ(text_at(pod, "spec.dnsPolicy"), "ClusterFirst");
  EXPECT_EQ(text_at(pod, "spec.serviceAccountName"), "default");
  EXPECT_EQ(int_at(pod, "spec.terminationGracePeriodSeconds"), 30);
  EXPECT_EQ(text_at(array_at(pod, "spec.containers")[0], "imagePullPolicy"), "Always");
  EXPECT_EQ(text_at(pod, "status.phase"), "Pending");
  EXPECT_EQ(text_at(pod, "status.qosClass"), "BestEffort");
  EXPECT_FALSE(text_at(pod, "metadata.uid").empty());
  EXPECT_FALSE(text_at(pod, "metadata.creationTimestamp").empty());
}

TEST(Engine, DefaultsADeployment) {
  Rig rig;
  ASSERT_EQ(rig.try_create("apps/deployments", kDeployment), "created");
  const Json object = rig.object("apps/deployments", "d");
  EXPECT_EQ(int_at(object, "spec.replicas"), 1);
  EXPECT_EQ(text_at(object, "spec.strategy.rollingUpdate.maxSurge"), "25%");
  EXPECT_EQ(int_at(object, "spec.revisionHistoryLimit"), 10);
  EXPECT_EQ(int_at(object, "metadata.generation"), 1);
  EXPECT_EQ(rig.try_patch("apps/deployments", "d", "{'spec':{'replicas':0}}"), "patched");
  EXPECT_EQ(int_at(rig.object("apps/deployments", "d"), "spec.replicas", -1), 0);
  EXPECT_EQ(int_at(rig.object("apps/deployments", "d"), "metadata.generation"), 2);
  EXPECT_EQ(rig.try_patch("apps/deployments", "d", "{'metadata':{'labels':{'x':'y'}}}"), "patched");
  EXPECT_EQ(int_at(rig.object("apps/deployments", "d"), "metadata.generation"), 2);
}

// What is refused, with upstream's words.
TEST(Engine, RefusesWhatKubernetesRefuses) {
  Rig rig;
  const std::tuple<const char*, const char*, const char*> cases[] = {
      {"pods", "{'metadata':{'name':'A_B'},'spec':{'containers':[{'name':'c','image':'i'}]}}",
       "a lowercase RFC 1123 subdomain must consist of"},
      {"pods", "{'metadata':{'name':'p'},'spec':{}}", "spec.containers: Required value"},
      {"pods", "{'metadata':{},'spec':{}}", "metadata.name: Required value: name or generateName is required"},
      {"pods", "{'metadata':{'name':'p','namespace':'x'},'spec':{}}",
       "the namespace of the provided object does not match the namespace sent on the request"},
      {"pods", "{'metadata':{'name':'p','resourceVersion':'3'},'spec':{}}", "resourceVersion should not be set on objects to be created"},
      {"pods", "{'metadata':{'name':'p'},'spec':{'containers':[{'name':'c','image':'i'},{'name':'c','image':'i'}]}}",
       "spec.containers[1].name: Duplicate value: \"c\""},
      {"pods", "{'metadata':{'name':'p'},'spec':{'containers':[{'name':'c'}]}}", "spec.containers[0].image: Required value"},
      {"pods", "{'metadata':{'name':'p'},'spec':{'containers':[{'name':'c','image':'i','imagePullPolicy':'Now'}]}}",
       "Unsupported value: \"Now\": supported values: \"Always\", \"IfNotPresent\", \"Never\""},
      {"pods", "{'metadata':{'name':'p'},'spec':{'containers':[{'name':'c','image':'i','volumeMounts':[{'name':'v','mountPath':'/x'}]}]}}",
       "spec.containers[0].volumeMounts[0].name: Not found: \"v\""},
      {"pods", "{'metadata':{'name':'p'},'spec':{'containers':[{'name':'c','image':'i','ports':[{'containerPort':0}]}]}}",
       "containerPort: Required value"},
      {"pods",
       "{'metadata':{'name':'p'},'spec':{'volumes':[{'name':'v','hostPath':{'path':'/a/../b'}}],'containers':[{'name':'c','image':'i'}]}}",
       "spec.volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'"},
      {"pods", "{'metadata':{'name':'p'},'spec':{'dnsPolicy':'None','containers':[{'name':'c','image':'i'}]}}",
       "must provide at least one DNS nameserver when `dnsPolicy` is None"},
      {"pods", "{'metadata':{'name':'p'},'spec':{'containers':[{'name':'c','image':'i','resources':{'limits':{'cpu':'x'}}}]}}",
       "quantities must match the regular expression"},
      {"pods", "{'metadata':{'name':'p'},'spec':{'containers':'x'}}",
       "cannot be handled as a Pod: json: cannot unmarshal string into Go struct field PodSpec.spec.containers of type []v1.Container"},
      {"pods", "{'metadata':{'name':'p'},'spec':{'bogus':1,'containers':[{'name':'c','image':'i'}]}}",
       "strict decoding error: unknown field \"spec.bogus\""},
      {"pods", "{'kind':'Service','metadata':{'name':'p'}}", "the object provided is unrecognized"},
      {"services", "{'metadata':{'name':'s'},'spec':{}}", "spec.ports: Required value"},
      {"services", "{'metadata':{'name':'s'},'spec':{'ports':[{'port':70000}]}}",
       "spec.ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive"},
      {"services", "{'metadata':{'name':'1s'},'spec':{'ports':[{'port':70}]}}", "a DNS-1035 label must consist of"},
      {"services", "{'metadata':{'name':'s'},'spec':{'type':'ExternalName'}}", "spec.externalName: Required value"},
      {"services", "{'metadata':{'name':'s'},'spec':{'clusterIP':'x','ports':[{'port':70}]}}",
       "spec.clusterIPs[0]: Invalid value: \"x\": must be a valid IP address"},
      {"services", "{'metadata':{'name':'s'},'spec':{'ports':[{'port':70,'nodePort':30000}]}}",
       "may not be used when `type` is 'ClusterIP'"},
      {"services", "{'metadata':{'name':'s'},'spec':{'externalTrafficPolicy':'Local','ports':[{'port':70}]}}",
       "may only be set for externally-accessible services"},
      {"services", "{'metadata':{'name':'s'},'spec':{'clusterIP':'None','type':'NodePort','ports':[{'port':70}]}}",
       "may not be set to 'None' for NodePort services"},
      {"apps/deployments", "{'metadata':{'name':'d'},'spec':{'selector':{},'template':{'spec':{'containers':[{'name':'c','image':'i'}]}}}}",
       "empty selector is invalid for deployment"},
      {"apps/deployments",
       "{'metadata':{'name':'d'},'spec':{'selector':{'matchLabels':{'a':'b'}},'template':{'metadata':{'labels':{'a':'b'}},'spec':{'"
       "restartPolicy':'Never','containers':[{'name':'c','image':'i'}]}}}}",
       "Unsupported value: \"Never\": supported values: \"Always\""},
      {"configmaps", "{'metadata':{'name':'c'},'data':{'a/b':'x'}}", "a valid config key must consist of"},
      {"secrets", "{'metadata':{'name':'c'},'data':{'a':'*'}}", "illegal base64 data at input byte 0"},
      {"secrets", "{'metadata':{'name':'c'},'type':'kubernetes.io/tls'}", "data[tls.crt]: Required value"},
      {"discovery.k8s.io/endpointslices", "{'metadata':{'name':'e'},'addressType':'IPv4','endpoints':[{'addresses':['127.0.0.1']}]}",
       "may not be in the loopback range"},
      {"networking.k8s.io/ingresses",
       "{'metadata':{'name':'i'},'spec':{'rules':[{'http':{'paths':[{'path':'a','pathType':'Prefix','backend':{'service':{'name':'s','port'"
       ":{'number':1}}}}]}}]}}",
       "must be an absolute path"},
      {"namespaces", "{'metadata':{'name':'a.b'}}", "must not contain dots"},
      {"networking.k8s.io/ingressclasses", "{'metadata':{'name':'a'}}", "spec.controller: Required value"},
      {"apps/statefulsets", "{'metadata':{'name':'db'},'spec':{'serviceName':'db'}}",
       "statefulsets.apps \"db\" cannot be made: a lab runs no StatefulSets; use a Deployment"},
      {"rbac.authorization.k8s.io/roles", "{'metadata':{'name':'r'},'rules':[{'verbs':['get']}]}", "a lab has no roles"},
      {"pods",
       "{'metadata':{'name':'p'},'spec':{'volumes':[{'name':'v','emptyDir':{'sizeLimit':'-1Mi'}}],'containers':[{'name':'c','image':'i'}]}"
       "}",
       "spec.volumes[0].emptyDir.sizeLimit: Forbidden: SizeLimit field must be a valid resource quantity"},
  };
  for (const auto& [where, object, words] : cases) EXPECT_THAT(rig.try_create(where, object), HasSubstr(words)) << object;
}

TEST(Engine, NamespacesMustExistAndLive) {
  Rig rig;
  Target target = rig.target("configmaps");
  target.ns = "nope";
  auto lost = rig.engine.create(target, parse("{'metadata':{'name':'c'}}"), {});
  EXPECT_EQ(lost.error().message, "namespaces \"nope\" not found");
  ASSERT_EQ(rig.try_create("namespaces", "{'metadata':{'name':'dying'}}"), "created");
  ASSERT_TRUE(rig.engine.remove(rig.target("namespaces", "dying"), {}).ok());
  EXPECT_EQ(text_at(rig.object("namespaces", "dying"), "status.phase"), "Terminating");
  target.ns = "dying";
  auto late = rig.engine.create(target, parse("{'metadata':{'name':'c'}}"), {});
  EXPECT_EQ(late.error().code, 403);
  EXPECT_THAT(late.error().message, HasSubstr("unable to create new content in namespace dying because it is being terminated"));
  Json final_form = rig.object("namespaces", "dying");
  erase_at(final_form.get_object(), "spec.finalizers");
  ASSERT_TRUE(rig.engine.update(rig.target("namespaces", "dying", "finalize"), final_form, {}).ok());
  EXPECT_TRUE(rig.object("namespaces", "dying").is_null());
}

TEST(Engine, PodsNeedTheirServiceAccount) {
  Rig rig;
  const char* pod = "{'metadata':{'name':'p'},'spec':{'serviceAccountName':'robot','containers':[{'name':'c','image':'i'}]}}";
  EXPECT_EQ(rig.try_create("pods", pod),
            "pods \"p\" is forbidden: error looking up service account default/robot: serviceaccount \"robot\" not found");
  ASSERT_EQ(rig.try_create("serviceaccounts", "{'metadata':{'name':'robot'}}"), "created");
  EXPECT_EQ(rig.try_create("pods", pod), "created");
}

TEST(Engine, OptimisticConcurrency) {
  Rig rig;
  ASSERT_EQ(rig.try_create("configmaps", "{'metadata':{'name':'c'},'data':{'a':'1'}}"), "created");
  Json mine = rig.object("configmaps", "c");
  EXPECT_EQ(rig.try_patch("configmaps", "c", "{'data':{'b':'2'}}"), "patched");
  set_at(mine.get_object(), "data.a", "3");
  auto late = rig.engine.update(rig.target("configmaps", "c"), mine, {});
  ASSERT_FALSE(late.ok());
  EXPECT_EQ(late.error().code, 409);
  EXPECT_EQ(late.error().message,
            "Operation cannot be fulfilled on configmaps \"c\": the object has been modified; please apply your changes to the latest "
            "version and try again");
  const auto before = rig.store->revision();
  EXPECT_EQ(rig.try_patch("configmaps", "c", "{'data':{'b':'2'}}"), "patched");
  EXPECT_EQ(rig.store->revision(), before);  // nothing changed: no new revision
}

TEST(Engine, StatusAndSpecAreApart) {
  Rig rig;
  ASSERT_EQ(rig.try_create("apps/deployments", kDeployment), "created");
  auto status = rig.engine.patch(rig.target("apps/deployments", "d", "status"), k8s::PatchType::kMerge,
                                 parse("{'spec':{'replicas':9},'status':{'readyReplicas':1}}"), {});
  ASSERT_TRUE(status.ok());
  EXPECT_EQ(rig.try_patch("apps/deployments", "d", "{'spec':{'replicas':2},'status':{'readyReplicas':5}}"), "patched");
  const Json object = rig.object("apps/deployments", "d");
  EXPECT_EQ(int_at(object, "spec.replicas"), 2);
  EXPECT_EQ(int_at(object, "status.readyReplicas"), 1);
}

TEST(Engine, FinalizersHoldADeletion) {
  Rig rig;
  ASSERT_EQ(rig.try_create("configmaps", "{'metadata':{'name':'c','finalizers':['a.b/c']}}"), "created");
  auto deleted = rig.engine.remove(rig.target("configmaps", "c"), {});
  ASSERT_TRUE(deleted.ok());
  EXPECT_FALSE(deleted->removed);
  EXPECT_FALSE(text_at(rig.object("configmaps", "c"), "metadata.deletionTimestamp").empty());
  EXPECT_THAT(rig.try_patch("configmaps", "c", "{'metadata':{'finalizers':['a.b/c','d.e/f']}}"),
              HasSubstr("no new finalizers can be added if the object is being deleted"));
  EXPECT_EQ(rig.try_patch("configmaps", "c", "{'metadata':{'finalizers':null}}"), "patched");
  EXPECT_TRUE(rig.object("configmaps", "c").is_null());
}

TEST(Engine, PodsEndWithGrace) {
  Rig rig;
  ASSERT_EQ(rig.try_create("pods", kPod), "created");
  ASSERT_TRUE(rig.engine.create(rig.target("pods", "p", "binding"), parse("{'target':{'kind':'Node','name':'n1'}}"), {}).ok());
  EXPECT_FALSE(rig.engine.create(rig.target("pods", "p", "binding"), parse("{'target':{'kind':'Node','name':'n2'}}"), {}).ok());
  ASSERT_TRUE(rig.engine.remove(rig.target("pods", "p"), {}).ok());
  EXPECT_EQ(int_at(rig.object("pods", "p"), "metadata.deletionGracePeriodSeconds"), 30);
  DeleteRequest longer;
  longer.grace_period_seconds = 60;
  ASSERT_TRUE(rig.engine.remove(rig.target("pods", "p"), longer).ok());
  EXPECT_EQ(int_at(rig.object("pods", "p"), "metadata.deletionGracePeriodSeconds"), 30);
  DeleteRequest now;
  now.grace_period_seconds = 0;
  now.precondition_uid = "other";
  EXPECT_EQ(rig.engine.remove(rig.target("pods", "p"), now).error().code, 409);
  now.precondition_uid.clear();
  EXPECT_TRUE(rig.engine.remove(rig.target("pods", "p"), now)->removed);
  EXPECT_TRUE(rig.object("pods", "p").is_null());
}

TEST(Engine, AnEndlessGraceIsStillADate) {
  Rig rig;
  ASSERT_EQ(rig.try_create("pods",
                           "{'metadata':{'name':'p'},'spec':{'nodeName':'n','terminationGracePeriodSeconds':9223372036854775807,'"
                           "containers':[{'name':'c','image':'i'}]}}"),
            "created");
  ASSERT_TRUE(rig.engine.remove(rig.target("pods", "p"), {}).ok());
  EXPECT_THAT(std::string(text_at(rig.object("pods", "p"), "metadata.deletionTimestamp")), testing::StartsWith("21"));
}

TEST(Engine, ForegroundAndOrphanAreFinalizers) {
  Rig rig;
  ASSERT_EQ(rig.try_create("apps/deployments", kDeployment), "created");
  DeleteRequest request;
  request.propagation_policy = "Foreground";
  ASSERT_TRUE(rig.engine.remove(rig.target("apps/deployments", "d"), request).ok());
  EXPECT_EQ(array_at(rig.object("apps/deployments", "d"), "metadata.finalizers"), Array{"foregroundDeletion"});
  request.propagation_policy = "Sideways";
  EXPECT_FALSE(rig.engine.remove(rig.target("apps/deployments", "d"), request).ok());
}

TEST(Engine, PodSpecsStayAsTheyAre) {
  Rig rig;
  ASSERT_EQ(rig.try_create("pods", kPod), "created");
  EXPECT_THAT(rig.try_patch("pods", "p", "{'spec':{'hostNetwork':true}}"), HasSubstr("pod updates may not change fields other than"));
  EXPECT_EQ(rig.try_patch("pods", "p", "{'spec':{'containers':[{'name':'c','image':'nginx:2'}]}}", k8s::PatchType::kStrategic), "patched");
  EXPECT_EQ(rig.try_patch("apps/deployments", "none", "{}"), "deployments.apps \"none\" not found");
}

TEST(Engine, DryRunLeavesNothing) {
  Rig rig;
  WriteOptions options;
  options.dry_run = true;
  ASSERT_TRUE(rig.create("", "pods", kPod, options).ok());
  EXPECT_TRUE(rig.object("pods", "p").is_null());
}

TEST(Engine, ListsInPages) {
  Rig rig;
  for (int i = 0; i < 7; ++i) ASSERT_EQ(rig.try_create("configmaps", fmt::format("{{'metadata':{{'name':'c{}'}}}}", i)), "created");
  ListQuery query;
  query.limit = 3;
  std::vector<std::string> names;
  do {
    auto page = rig.engine.list(rig.target("configmaps"), query);
    ASSERT_TRUE(page.ok());
    for (const ObjectPtr& object : page->items) names.push_back(object->name);
    query.continue_token = std::string(text_at(page->metadata, "continue"));
  } while (!query.continue_token.empty());
  EXPECT_THAT(names, testing::ElementsAre("c0", "c1", "c2", "c3", "c4", "c5", "c6"));
  query.continue_token = "bm9wZQ==";
  EXPECT_EQ(rig.engine.list(rig.target("configmaps"), query).error().code, 400);
  query.continue_token.clear();
  query.limit = 1;
  query.continue_token = std::string(text_at(rig.engine.list(rig.target("configmaps"), query)->metadata, "continue"));
  rig.store->forget_history();
  (void)rig.try_create("configmaps", "{'metadata':{'name':'z'}}");
  rig.store->forget_history();
  EXPECT_EQ(rig.engine.list(rig.target("configmaps"), query).error().reason, "Expired");
}

TEST(Engine, GeneratesNames) {
  Rig rig;
  auto made = rig.create("", "configmaps", "{'metadata':{'generateName':'c-'}}");
  ASSERT_TRUE(made.ok());
  EXPECT_THAT(std::string(text_at(made->object, "metadata.name")), testing::MatchesRegex("c-[a-z0-9]+"));
}

TEST(Engine, SecretsTakePlainText) {
  Rig rig;
  ASSERT_EQ(rig.try_create("secrets", "{'metadata':{'name':'s'},'stringData':{'a':'b'}}"), "created");
  EXPECT_EQ(text_at(rig.object("secrets", "s"), "data.a"), "Yg==");
  EXPECT_EQ(find(rig.object("secrets", "s"), "stringData"), nullptr);
}

TEST(Engine, HugeObjectsAreRefused) {
  Rig rig;
  auto huge =
      rig.engine.create(rig.target("apps/controllerrevisions"),
                        Object{{"metadata", Object{{"name", "r"}}}, {"data", boost::json::string(2 << 20, 'x')}, {"revision", 1}}, {});
  EXPECT_EQ(huge.error().code, 413);
  EXPECT_THAT(rig.try_create("configmaps", "{'metadata':{'name':'c'},'data':{'a':'" + std::string(1 << 21, 'x') + "'}}"),
              HasSubstr("Too long"));
  EXPECT_THAT(rig.try_create("configmaps", "{'metadata':{'name':'c','annotations':{'a':'" + std::string(300 << 10, 'x') + "'}}}"),
              HasSubstr("metadata.annotations: Too long"));
}

TEST(Engine, OldEventsGo) {
  Rig rig;
  ASSERT_EQ(rig.try_create("events",
                           "{'metadata':{'name':'e'},'involvedObject':{'kind':'Pod','name':'p','namespace':'default'},'lastTimestamp':'"
                           "2001-01-01T00:00:00Z'}"),
            "created");
  rig.engine.expire_events(3600);
  EXPECT_TRUE(rig.object("events", "e").is_null());
}

}  // namespace
}  // namespace fairway::apiserver
