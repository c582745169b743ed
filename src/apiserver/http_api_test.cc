#include "apiserver/http_api.h"

#include "apiserver/api_server.h"
#include "apiserver/test_support.h"

namespace fairway::apiserver {
namespace {

using test::Answer;
using test::parse;
using test::request;
using testing::HasSubstr;

struct Server {
  Server() {
    ApiServerConfig config;
    config.service_ranges = test::Rig::prefixes({"10.96.0.0/16"});
    config.bearer_tokens["secret"] = "admin";
    config.fault_injector = "admin";
    config.watch_history = 5;
    server = ApiServer::create(loop, config).value();
  }
  std::shared_ptr<Answer> send(io::ServerRequest message) {
    auto answer = std::make_shared<Answer>();
    server->handle(std::move(message), std::make_unique<test::FakeResponder>(answer));
    return answer;
  }
  std::shared_ptr<Answer> send(const std::string& method, const std::string& target, const std::string& body = "") {
    return send(request(method, target, body));
  }
  void settle() {
    loop.post([this] { loop.post([this] { loop.stop(); }); });
    loop.run();
  }
  io::Loop loop;
  std::unique_ptr<ApiServer> server;
};

constexpr const char* kMaps = "/api/v1/namespaces/default/configmaps";

TEST(HttpApi, WantsToKnowWhoAsks) {
  Server server;
  auto anonymous = request("GET", "/api/v1/pods");
  anonymous.headers.set("Authorization", "Bearer wrong");
  EXPECT_EQ(server.send(anonymous)->status, 401);
  anonymous.peer.common_name = "someone";
  EXPECT_EQ(server.send(anonymous)->status, 200);
  auto health = request("GET", "/healthz");
  health.headers.set("Authorization", "");
  EXPECT_EQ(server.send(health)->body, "ok");
}

TEST(HttpApi, RoutesAndStatusCodes) {
  Server server;
  const std::tuple<const char*, const char*, const char*, int> cases[] = {
      {"GET", "/api/v1/namespaces/default", "", 200},
      {"GET", "/api/v1/namespaces/nope", "", 404},
      {"GET", "/api/v1/foos", "", 404},
      {"GET", "/apis/apps/v2/deployments", "", 404},
      {"POST", kMaps, "{\"metadata\":{\"name\":\"c\"}}", 201},
      {"POST", kMaps, "{\"metadata\":{\"name\":\"c\"}}", 409},
      {"POST", kMaps, "{", 400},
      {"POST", kMaps, "[]", 400},
      {"POST", "/api/v1/configmaps", "{}", 405},
      {"PUT", "/api/v1/namespaces/default/configmaps/c", "{\"metadata\":{\"name\":\"d\"}}", 400},
      {"PATCH", "/api/v1/namespaces/default/configmaps/c", "{}", 415},
      {"GET", "/api/v1/namespaces/default/configmaps/c/status", "", 404},
      {"GET", "/api/v1/namespaces/default/configmaps/c/x/y", "", 404},
      {"DELETE", "/api/v1/namespaces/default/configmaps/c", "", 200},
      {"DELETE", "/api/v1/namespaces/default", "", 403},
      {"GET", "/api/v1/pods?limit=x", "", 400},
      {"GET", "/api/v1/pods?labelSelector=a%20b", "", 400},
      {"GET", "/api/v1/pods?resourceVersion=999999", "", 504},
      {"GET", "/", "", 404},
      {"POST", "/version", "", 405},
      {"GET", "/apis/nope", "", 404},
      {"GET", "/openapi/v3/apis/apps/v1", "", 200},
      {"GET", "/openapi/v2", "", 200}};
  for (const auto& [method, target, body, status] : cases) {
    auto message = request(method, target, body);
    EXPECT_EQ(server.send(message)->status, status) << method << " " << target;
  }
}

TEST(HttpApi, DiscoveryInBothForms) {
  Server server;
  auto aggregated = request("GET", "/apis");
  aggregated.headers.set("Accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json");
  auto answer = server.send(aggregated);
  EXPECT_THAT(std::string(answer->headers.get("Content-Type")), HasSubstr("as=APIGroupDiscoveryList"));
  EXPECT_THAT(answer->body, HasSubstr("\"resource\":\"deployments\""));
  EXPECT_THAT(server.send("GET", "/api/v1")->body, HasSubstr("\"name\":\"pods/eviction\""));
  EXPECT_THAT(server.send("GET", "/apis")->body, HasSubstr("APIGroupList"));
}

TEST(HttpApi, WarnsOfUnknownAndDuplicateFields) {
  Server server;
  auto warned = server.send("POST", kMaps, R"({"metadata":{"name":"c"},"dat":{},"data":{"a":"1","a":"2"}})");
  EXPECT_EQ(warned->status, 201);
  std::vector<std::string> warnings;
  for (const auto& [name, value] : warned->headers.items()) {
    if (name == "Warning") warnings.push_back(value);
  }
  EXPECT_THAT(warnings, testing::ElementsAre("299 - \"unknown field \\\"dat\\\"\"", "299 - \"duplicate field \\\"data.a\\\"\""));
  auto strict =
      server.send("POST", std::string(kMaps) + "?fieldValidation=Strict", R"({"metadata":{"name":"d"},"dat":{},"data":{"a":"1","a":"2"}})");
  EXPECT_EQ(strict->status, 400);
  EXPECT_THAT(strict->body, HasSubstr(R"(strict decoding error: unknown field \"dat\", duplicate field \"data.a\")"));
}

TEST(HttpApi, Tables) {
  Server server;
  (void)server.send("POST", kMaps, R"({"metadata":{"name":"c"},"data":{"a":"1"}})");
  auto table = request("GET", kMaps);
  table.headers.set("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json");
  const Json answer = parse(server.send(table)->body);
  EXPECT_EQ(text_at(answer, "kind"), "Table");
  EXPECT_EQ(to_text(array_at(answer, "rows")[0].at("cells")), R"(["c","1","0s"])");
  table.headers.set("Accept", "application/yaml");
  EXPECT_EQ(server.send(table)->status, 406);
}

TEST(HttpApi, WatchesUntilTheClientGoes) {
  Server server;
  auto watch = server.send(
      "GET", std::string(kMaps) + "?watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan");
  EXPECT_THAT(watch->body, HasSubstr("k8s.io/initial-events-end"));
  watch->body.clear();
  (void)server.send("POST", kMaps, R"({"metadata":{"name":"c"}})");
  EXPECT_THAT(watch->body, HasSubstr(R"({"type":"ADDED","object":{"kind":"ConfigMap")"));
  EXPECT_EQ(parse(server.send("POST", "/debug/faults", "{}")->body).at("watchers").as_int64(), 1);
  watch->closed();
  server.settle();
  EXPECT_TRUE(watch->ended);
  EXPECT_EQ(parse(server.send("POST", "/debug/faults", "{}")->body).at("watchers").as_int64(), 0);
}

TEST(HttpApi, TooOldIsSaid) {
  Server server;
  const std::string first = std::string(text_at(parse(server.send("GET", kMaps)->body), "metadata.resourceVersion"));
  for (int i = 0; i < 9; ++i) (void)server.send("POST", kMaps, "{\"metadata\":{\"name\":\"c" + std::to_string(i) + "\"}}");
  auto watch = server.send("GET", std::string(kMaps) + "?watch=1&resourceVersion=" + first);
  EXPECT_THAT(watch->body, HasSubstr(R"("reason":"Expired","code":410)"));
  EXPECT_TRUE(watch->ended);
}

TEST(HttpApi, FaultsAreInjected) {
  Server server;
  (void)server.send("POST", "/debug/faults", R"({"refuse":1,"expire":1})");
  EXPECT_EQ(server.send("GET", kMaps)->status, 503);
  EXPECT_EQ(server.send("GET", std::string(kMaps) + "?watch=1")->status, 410);
  auto watch = server.send("GET", std::string(kMaps) + "?watch=1");
  (void)server.send("POST", "/debug/faults", R"({"cutWatches":true})");
  server.settle();
  EXPECT_TRUE(watch->ended);
  auto pod = request("POST", "/debug/faults", R"({"refuse":1})");
  pod.peer.common_name = "system:node:node-1";
  EXPECT_EQ(server.send(pod)->status, 403);
  EXPECT_EQ(server.send("GET", kMaps)->status, 200);
}

TEST(LocalClient, SpeaksAsHttpDoes) {
  Server server;
  k8s::ApiClient& client = server.server->local_client();
  std::vector<std::string> seen;
  k8s::ResourceRef ref{"", "v1", "configmaps", "default", "", ""};
  auto watch = client.watch(ref, {},
                            {[&](k8s::EventType, Json object) { seen.push_back("event " + std::string(text_at(object, "metadata.name"))); },
                             [&](Result<void>) { seen.emplace_back("end"); }});
  auto made = client.create(ref, parse("{'metadata':{'name':'a'}}"),
                            [&](Result<Json> result) { seen.push_back(result.ok() ? "made" : result.error().message); });
  EXPECT_TRUE(seen.empty());  // never inside the call
  server.settle();
  EXPECT_THAT(seen, testing::UnorderedElementsAre("event a", "made"));
  seen.clear();
  ref.name = "a";
  auto again = client.create(ref, parse("{'metadata':{'name':'a'}}"), [&](Result<Json> result) { seen.push_back(result.error().reason); });
  auto cancelled = client.get(ref, [&](Result<Json>) { seen.emplace_back("never"); });
  cancelled.reset();
  server.settle();
  EXPECT_THAT(seen, testing::ElementsAre("AlreadyExists"));
  seen.clear();
  (void)server.send("POST", "/debug/faults", R"({"errorWatches":true})");
  server.settle();
  EXPECT_THAT(seen, testing::ElementsAre("end"));
}

}  // namespace
}  // namespace fairway::apiserver
