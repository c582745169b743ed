#include "k8s/http_api_client.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <fstream>

#include "io/http_server.h"
#include "io/io_test_support.h"

namespace fairway::k8s {
namespace {

using io::test::run_until;
namespace json = boost::json;

struct ClientFixture {
  explicit ClientFixture(const std::string& prefix = "", const std::string& token_file = "") {
    server = std::move(*io::HttpServer::create(loop, {}, [this](io::ServerRequest request, std::unique_ptr<io::Responder> responder) {
      last = request;
      if (request.has_query("watch")) {
        if (watch_status == 200) {
          body = responder->start_body(200, {});
          body->on_closed([this] {
            closed = true;
            body.reset();
          });
          return;
        }
        status = watch_status;
      }
      responder->respond({status, {}, answer});
    }));
    auto listener = io::listen_tcp("127.0.0.1", 0);
    KubeConfig config;
    config.origin.host = "127.0.0.1";
    config.origin.port = *io::local_port(*listener);
    config.path_prefix = prefix;
    config.token_file = token_file;
    EXPECT_TRUE(server->serve(std::move(*listener)).ok());
    client = std::move(*HttpApiClient::create(loop, config));
  }
  Result<Json> wait(const std::function<CallPtr(Done)>& begin) {
    std::optional<Result<Json>> got;
    const CallPtr call = begin([&](Result<Json> result) { got = std::move(result); });
    EXPECT_TRUE(run_until(loop, [&] { return got.has_value(); }));
    return std::move(*got);
  }
  io::Loop loop;
  std::unique_ptr<io::HttpServer> server;
  std::unique_ptr<HttpApiClient> client;
  io::ServerRequest last;
  std::unique_ptr<io::BodyStream> body;
  int status = 200, watch_status = 200;
  std::string answer = "{}";
  bool closed = false;
};

const ResourceRef kPod{.resource = "pods", .ns = "a b", .name = "p"};

TEST(HttpApiClient, Requests) {
  ClientFixture f;
  f.answer = R"({"kind":"Pod"})";
  EXPECT_TRUE(f.wait([&](Done d) { return f.client->get(kPod, d); }).ok());
  EXPECT_EQ(f.last.path, "/api/v1/namespaces/a b/pods/p");
  EXPECT_TRUE(
      f.wait([&](Done d) { return f.client->list({.group = "apps", .resource = "deployments"}, {.label_selector = "a=b,c!=d"}, d); }).ok());
  EXPECT_EQ(f.last.path, "/apis/apps/v1/deployments");
  EXPECT_EQ(f.last.query_value("labelSelector"), "a=b,c!=d");
  EXPECT_TRUE(f.wait([&](Done d) { return f.client->patch(kPod, PatchType::kApply, Json(json::object{{"x", 1}}), d); }).ok());
  EXPECT_EQ(f.last.method + std::string(f.last.headers.get("content-type")), "PATCHapplication/apply-patch+yaml");
  EXPECT_EQ(f.last.query_value("force"), "true");
  EXPECT_EQ(f.last.body, R"({"x":1})");
  EXPECT_TRUE(f.wait([&](Done d) { return f.client->create(kPod, Json(json::object{}), d); }).ok());
  EXPECT_EQ(f.last.path, "/api/v1/namespaces/a b/pods");
  EXPECT_TRUE(f.wait([&](Done d) {
                 return f.client->remove(kPod, {.grace_period_seconds = 0, .propagation_policy = "Orphan", .precondition_uid = "u"}, d);
               }).ok());
  EXPECT_EQ(json::parse(f.last.body).at("preconditions").at("uid").as_string(), "u");
}

TEST(HttpApiClient, ErrorsKeepTheServersWords) {
  ClientFixture f;
  f.status = 409;
  f.answer = R"({"kind":"Status","status":"Failure","message":"pods \"p\" already exists","reason":"AlreadyExists","code":409})";
  auto got = f.wait([&](Done d) { return f.client->get(kPod, d); });
  ASSERT_FALSE(got.ok());
  EXPECT_EQ(got.error().code, Code::kAlreadyExists);
  EXPECT_EQ(got.error().reason, "AlreadyExists");
  EXPECT_EQ(got.error().message, "pods \"p\" already exists");
  f.status = 503;
  f.answer = "<html>";
  EXPECT_EQ(f.wait([&](Done d) { return f.client->get(kPod, d); }).error().code, Code::kUnavailable);
  f.status = 200;
  f.answer = "no JSON";
  EXPECT_EQ(f.wait([&](Done d) { return f.client->get(kPod, d); }).error().code, Code::kInvalid);
  f.answer = std::string(10'000, '[');
  EXPECT_FALSE(f.wait([&](Done d) { return f.client->get(kPod, d); }).ok());
}

struct Watched {
  WatchCallbacks callbacks() {
    return {.on_event =
                [this](EventType type, Json object) {
                  names.push_back(std::to_string(static_cast<int>(type)) + std::string(object.at("n").as_string()));
                  if (names.size() == end_after) call.reset();
                },
            .on_end = [this](Result<void> result) { ends.push_back(std::move(result)); }};
  }
  std::vector<std::string> names;
  std::vector<Result<void>> ends;
  std::size_t end_after = 0;
  CallPtr call;
};

TEST(HttpApiClient, WatchCutAnywhere) {
  const std::string text =
      "{\"type\":\"ADDED\",\"object\":{\"n\":\"a\"}}\n{\"type\":\"MODIFIED\",\"object\":{\"n\":\"b\\n\"}}\r\n\n"
      "{\"type\":\"BOOKMARK\",\"object\":{\"n\":\"c\"}}\n{\"type\":\"DELETED\",\"object\":{\"n\":\"d\"}}\n";
  for (const std::size_t cut : {std::size_t{1}, std::size_t{7}, text.size()}) {
    ClientFixture f;
    Watched w;
    w.call = f.client->watch(kPod, {.resource_version = "5"}, w.callbacks());
    ASSERT_TRUE(run_until(f.loop, [&] { return f.body != nullptr; }));
    EXPECT_EQ(f.last.query_value("resourceVersion"), "5");
    for (std::size_t at = 0; at < text.size(); at += cut) f.body->write(text.substr(at, cut));
    f.body.reset();
    ASSERT_TRUE(run_until(f.loop, [&] { return !w.ends.empty(); }));
    EXPECT_TRUE(w.ends[0].ok());
    EXPECT_EQ(w.names, (std::vector<std::string>{"0a", "1b\n", "3c", "2d"}));
  }
}

TEST(HttpApiClient, WatchEndsWithTheReason) {
  const std::vector<std::pair<std::string, Code>> cases = {
      {R"x({"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old resource version: 1 (100)"}})x"
       "\n",
       Code::kGone},
      {"{\"type\":\"ADDED\"}\n", Code::kInvalid},
      {"{\"type\":\"NEWS\",\"object\":{}}\n", Code::kInvalid},
      {"nonsense\n", Code::kInvalid},
      {R"({"type":"ADDED","object":{)", Code::kUnavailable},
      {std::string(17 << 20, ' '), Code::kExhausted}};
  for (const auto& [text, code] : cases) {
    ClientFixture f;
    Watched w;
    w.call = f.client->watch(kPod, {}, w.callbacks());
    ASSERT_TRUE(run_until(f.loop, [&] { return f.body != nullptr; }));
    f.body->write(text);
    f.loop.post([&] { f.body.reset(); });
    ASSERT_TRUE(run_until(f.loop, [&] { return !w.ends.empty(); }));
    ASSERT_FALSE(w.ends[0].ok()) << text.substr(0, 50);
    EXPECT_EQ(w.ends[0].error().code, code) << text.substr(0, 50);
  }
  ClientFixture f;
  f.watch_status = 410;
  f.answer = R"({"kind":"Status","code":410,"reason":"Expired","message":"old"})";
  Watched w;
  w.call = f.client->watch(kPod, {}, w.callbacks());
  ASSERT_TRUE(run_until(f.loop, [&] { return !w.ends.empty(); }));
  EXPECT_EQ(w.ends[0].error().code, Code::kGone);
}

TEST(HttpApiClient, WatchDestroyedInItsOwnCallback) {
  ClientFixture f;
  Watched w;
  w.end_after = 2;
  w.call = f.client->watch(kPod, {}, w.callbacks());
  ASSERT_TRUE(run_until(f.loop, [&] { return f.body != nullptr; }));
  std::string text;
  for (int i = 0; i < 5; ++i) text += "{\"type\":\"ADDED\",\"object\":{\"n\":\"x\"}}\n";
  f.body->write(text);
  ASSERT_TRUE(run_until(f.loop, [&] { return f.closed; }));
  EXPECT_EQ(w.names.size(), 2u);
  EXPECT_TRUE(w.ends.empty());
}

TEST(HttpApiClient, PrefixAndTokenFile) {
  io::test::TempDir dir;
  std::ofstream(dir / "token") << "secret\n";
  ClientFixture f("/clusters/x", dir / "token");
  EXPECT_TRUE(f.wait([&](Done d) { return f.client->get(kPod, d); }).ok());
  EXPECT_EQ(f.last.path, "/clusters/x/api/v1/namespaces/a b/pods/p");
  EXPECT_EQ(f.last.headers.get("authorization"), "Bearer secret");
}

}  // namespace
}  // namespace fairway::k8s
