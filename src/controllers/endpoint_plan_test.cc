#include "controllers/endpoint_plan.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <random>

#include "controllers/endpoint_mirror.h"

namespace fairway::controllers {
namespace {

Json pod(int n, const char* ready = "True", const char* extra = "{}") {
  Json p = json::parse(fmt::format(
      R"({{"metadata":{{"name":"p{0}","namespace":"default","uid":"uid-{0:04}"}},
           "spec":{{"nodeName":"node-1","containers":[{{"name":"c","ports":[{{"name":"web","containerPort":{2},"protocol":"TCP"}}]}}]}},
           "status":{{"phase":"Running","podIP":"10.244.1.{1}","podIPs":[{{"ip":"10.244.1.{1}"}},{{"ip":"fd00:10:244::{1:x}"}}],
                      "conditions":[{{"type":"Ready","status":"{3}"}}]}}}})",
      n, n % 250 + 1, 8080 + n % 2, ready));
  const Json more = json::parse(extra);
  for (const auto& [key, value] : more.get_object()) {
    for (const auto& [k, v] : value.get_object()) p.get_object()[key].get_object()[k] = v;
  }
  return p;
}

Json service(const char* ports = R"([{"name":"http","port":80,"targetPort":80,"protocol":"TCP"}])", const char* families = R"(["IPv4"])") {
  return json::parse(fmt::format(
      R"({{"metadata":{{"name":"svc","namespace":"default","uid":"svc-uid","labels":{{"team":"a"}}}},
           "spec":{{"clusterIP":"10.96.0.5","ipFamilies":{},"ports":{},"selector":{{"app":"x"}}}}}})",
      families, ports));
}

struct World {
  std::vector<Json> pods, slices;
  int next = 0;
  SlicePlan step(const Json& svc) {
    std::vector<const Json*> p, s;
    for (const auto& x : pods) p.push_back(&x);
    for (const auto& x : slices) s.push_back(&x);
    return plan_slices(svc, p, s, [](std::string_view node) { return node == "node-1" ? "zone-a" : ""; });
  }
  void apply(SlicePlan plan) {
    for (auto& made : plan.create) {
      place(made, "metadata")["name"] = fmt::format("svc-{}", next++);
      slices.push_back(std::move(made));
    }
    for (auto& changed : plan.update) {
      for (auto& slice : slices) {
        if (name_of(slice) == name_of(changed)) slice = changed;
      }
    }
    for (auto& gone : plan.remove) std::erase_if(slices, [&](const Json& s) { return name_of(s) == name_of(gone); });
  }
  std::size_t endpoints() const {
    std::size_t n = 0;
    for (const auto& slice : slices) n += items(slice, "endpoints").size();
    return n;
  }
};

TEST(Slices, ConditionsTellReadyServingTerminating) {
  World w;
  w.pods = {pod(1), pod(2, "False"), pod(3, "True", R"({"metadata":{"deletionTimestamp":"2026-01-01T00:00:00Z"}})")};
  w.apply(w.step(service()));
  ASSERT_EQ(w.slices.size(), 1u);
  std::map<std::string, std::string> seen;
  for (const auto& e : items(w.slices[0], "endpoints")) {
    seen[std::string(text(e, "targetRef", "name"))] =
        fmt::format("{}{}{}", truth(e, "conditions", "ready"), truth(e, "conditions", "serving"), truth(e, "conditions", "terminating"));
    EXPECT_EQ(text(e, "zone"), "zone-a");
  }
  EXPECT_EQ(seen, (std::map<std::string, std::string>{{"p1", "truetruefalse"}, {"p2", "falsefalsefalse"}, {"p3", "falsetruetrue"}}));
  EXPECT_EQ(text(w.slices[0], "metadata", "labels", "kubernetes.io/service-name"), "svc");
  EXPECT_EQ(text(w.slices[0], "metadata", "labels", "team"), "a");
}

TEST(Slices, PublishNotReadyAddressesMakesAllReady) {
  World w;
  w.pods = {pod(2, "False")};
  Json svc = service();
  place(svc, "spec")["publishNotReadyAddresses"] = true;
  w.apply(w.step(svc));
  EXPECT_TRUE(truth(items(w.slices[0], "endpoints")[0], "conditions", "ready"));
  EXPECT_EQ(items(plan_endpoints(svc, {&w.pods[0]}), "subsets").size(), 1u);
}

TEST(Slices, NamedTargetPortsSplitBySlice) {
  World w;
  w.pods = {pod(1), pod(2), pod(3)};  // 8081, 8080, 8081
  w.apply(w.step(service(R"([{"name":"http","port":80,"targetPort":"web","protocol":"TCP"}])")));
  ASSERT_EQ(w.slices.size(), 2u);
  for (const auto& slice : w.slices) {
    EXPECT_EQ(items(slice, "endpoints").size(), count(items(slice, "ports")[0], "port") == 8081 ? 2u : 1u);
  }
  // A name that no pod has: the pod is there, without that port.
  w.slices.clear();
  w.apply(w.step(service(R"([{"name":"http","port":80,"targetPort":"nope","protocol":"TCP"}])")));
  ASSERT_EQ(w.slices.size(), 1u);
  EXPECT_TRUE(items(w.slices[0], "ports").empty());
}

TEST(Slices, DualStackHasASliceAFamily) {
  World w;
  w.pods = {pod(1)};
  w.apply(w.step(service(R"([{"port":80,"targetPort":80,"protocol":"TCP"}])", R"(["IPv4","IPv6"])")));
  ASSERT_EQ(w.slices.size(), 2u);
  std::map<std::string, std::string> addresses;
  for (const auto& s : w.slices) addresses[std::string(text(s, "addressType"))] = as_text(&items(items(s, "endpoints")[0], "addresses")[0]);
  EXPECT_EQ(addresses, (std::map<std::string, std::string>{{"IPv4", "10.244.1.2"}, {"IPv6", "fd00:10:244::2"}}));
}

TEST(Slices, AtMostAHundredAndOneChangeTouchesOneSlice) {
  World w;
  for (int i = 0; i < 250; ++i) w.pods.push_back(pod(i));
  w.apply(w.step(service()));
  EXPECT_EQ(w.slices.size(), 3u);
  EXPECT_EQ(w.endpoints(), 250u);
  EXPECT_TRUE(w.step(service()).empty());
  w.pods[120] = pod(120, "False");
  EXPECT_EQ(w.step(service()).update.size(), 1u);
  EXPECT_TRUE(w.step(service()).create.empty());
  w.pods.erase(w.pods.begin() + 10, w.pods.begin() + 13);
  w.apply(w.step(service()));
  w.pods.push_back(pod(400));
  const auto plan = w.step(service());
  EXPECT_TRUE(plan.create.empty());
  EXPECT_EQ(plan.update.size(), 1u);
  w.apply(plan);
  EXPECT_EQ(w.endpoints(), 248u);
  for (const auto& s : w.slices) EXPECT_LE(items(s, "endpoints").size(), kMaxEndpointsPerSlice);
}

// Whatever happens to the pods: each has exactly one endpoint a family, no slice is too long, and a second look at
// the same state writes nothing.
TEST(Slices, ConvergeUnderRandomChange) {
  std::minstd_rand random(7);
  World w;
  const Json svc = service(R"([{"name":"http","port":80,"targetPort":"web","protocol":"TCP"}])", R"(["IPv4","IPv6"])");
  int born = 0;
  for (int step = 0; step < 300; ++step) {
    const unsigned changes = 1 + random() % 40;
    for (unsigned i = 0; i < changes; ++i) {
      const unsigned dice = random() % 10;
      if (dice < 5 || w.pods.empty()) w.pods.push_back(pod(born++));
      else if (dice < 8) w.pods.erase(w.pods.begin() + static_cast<long>(random() % w.pods.size()));
      else place(w.pods[random() % w.pods.size()], "metadata")["deletionTimestamp"] = "2026-01-01T00:00:00Z";
    }
    if (random() % 20 == 0) w.pods.clear();
    w.apply(w.step(svc));
    ASSERT_EQ(w.endpoints(), 2 * w.pods.size());
    for (const auto& s : w.slices) ASSERT_LE(items(s, "endpoints").size(), kMaxEndpointsPerSlice);
    ASSERT_TRUE(w.step(svc).empty()) << "step " << step;
  }
}

TEST(Slices, NoEndpointsIsSaidByOneEmptySliceThatStays) {
  World w;
  w.apply(w.step(service()));
  ASSERT_EQ(w.slices.size(), 1u);
  EXPECT_TRUE(w.step(service()).empty());
  w.pods = {pod(1)};
  w.apply(w.step(service()));
  EXPECT_EQ(w.endpoints(), 1u);
  w.pods.clear();
  const auto plan = w.step(service());
  EXPECT_EQ(plan.update.size(), 1u);
  EXPECT_TRUE(plan.create.empty() && plan.remove.empty());
}

TEST(Slices, OthersSlicesAreLeftAlone) {
  World w;
  w.slices.push_back(json::parse(
      R"({"metadata":{"name":"mine","namespace":"default","labels":{"kubernetes.io/service-name":"svc"}},"addressType":"IPv4","endpoints":[],"ports":[]})"));
  const auto plan = w.step(service());
  EXPECT_TRUE(plan.update.empty() && plan.remove.empty());
}

TEST(Slices, FinishedPodsAndPodsWithoutAddressAreOut) {
  World w;
  w.pods = {pod(1, "True", R"({"status":{"phase":"Succeeded"}})"), pod(2, "False", R"({"status":{"podIP":"","podIPs":[]}})")};
  w.apply(w.step(service()));
  EXPECT_EQ(w.endpoints(), 0u);
}

TEST(Slices, HostnameOnlyInTheSubdomainsService) {
  World w;
  w.pods = {pod(1, "True", R"({"spec":{"hostname":"a","subdomain":"svc"}})"),
            pod(2, "True", R"({"spec":{"hostname":"b","subdomain":"other"}})")};
  w.apply(w.step(service()));
  std::map<std::string, std::string> names;
  for (const auto& e : items(w.slices[0], "endpoints")) names[std::string(text(e, "targetRef", "name"))] = text(e, "hostname");
  EXPECT_EQ(names, (std::map<std::string, std::string>{{"p1", "a"}, {"p2", ""}}));
}

TEST(Endpoints, NotReadyApartAndTerminatingOut) {
  const Json a = pod(1), b = pod(2, "False"), c = pod(3, "True", R"({"metadata":{"deletionTimestamp":"2026-01-01T00:00:00Z"}})");
  const Json endpoints = plan_endpoints(service(), {&a, &b, &c});
  ASSERT_EQ(items(endpoints, "subsets").size(), 1u);
  const auto& subset = items(endpoints, "subsets")[0];
  EXPECT_EQ(items(subset, "addresses").size(), 1u);
  EXPECT_EQ(items(subset, "notReadyAddresses").size(), 1u);
  EXPECT_EQ(count(items(subset, "ports")[0], "port"), 80);
}

TEST(Mirror, SubsetsAndFamiliesApartNotReadyMarked) {
  const Json endpoints = json::parse(R"({"metadata":{"name":"db","namespace":"default","uid":"u"},"subsets":[
      {"addresses":[{"ip":"192.0.2.1"},{"ip":"2001:db8::1"}],"notReadyAddresses":[{"ip":"192.0.2.2"}],"ports":[{"port":5432}]}]})");
  const auto slices = mirror_slices(endpoints);
  ASSERT_EQ(slices.size(), 2u);
  EXPECT_EQ(items(slices[0], "endpoints").size(), 2u);
  EXPECT_FALSE(truth(items(slices[0], "endpoints")[1], "conditions", "ready"));
  EXPECT_EQ(text(slices[1], "addressType"), "IPv6");
  EXPECT_EQ(text(items(slices[0], "ports")[0], "protocol"), "TCP");
}

}  // namespace
}  // namespace fairway::controllers
