#include "io/http_client.h"

#include <gtest/gtest.h>

#include "io/http_server.h"
#include "io/io_test_support.h"
#include "io/pki.h"

namespace fairway::io {
namespace {

using test::run_until;

HttpRequest make_request(std::string method, std::string target, std::string body = "") {
  HttpRequest request;
  request.method = std::move(method);
  request.target = std::move(target);
  request.body = std::move(body);
  return request;
}

// Answers with what it understood, and counts.
struct EchoServer {
  explicit EchoServer(Loop& loop, HttpServerConfig config = {}) : loop_(loop) {
    auto made = HttpServer::create(loop, std::move(config), [this](ServerRequest request, std::unique_ptr<Responder> responder) {
      ++requests;
      last = request;
      HttpResponse response;
      response.headers.set("X-Peer", request.peer.common_name);
      response.body = request.method + " " + request.path + " " + request.body;
      responder->respond(std::move(response));
    });
    EXPECT_TRUE(made.ok()) << made.error().message;
    server = std::move(*made);
    auto listener = listen_tcp("127.0.0.1", 0);
    EXPECT_TRUE(listener.ok());
    port = *local_port(*listener);
    EXPECT_TRUE(server->serve(std::move(*listener)).ok());
  }
  Loop& loop_;
  int requests = 0;
  ServerRequest last;
  std::unique_ptr<HttpServer> server;
  std::uint16_t port = 0;
};

Result<HttpResponse> fetch(Loop& loop, HttpClient& client, HttpRequest request) {
  std::optional<Result<HttpResponse>> answer;
  auto pending = client.request(std::move(request), [&](Result<HttpResponse> got) { answer = std::move(got); });
  EXPECT_FALSE(answer) << "the callback ran inside the call";
  EXPECT_TRUE(run_until(loop, [&] { return answer.has_value(); }));
  return answer ? std::move(*answer) : Result<HttpResponse>(make_error(Code::kTimeout, "test"));
}

TEST(HttpClient, RequestsOverOneKeptConnection) {
  Loop loop;
  EchoServer server(loop);
  auto client = HttpClient::create(loop, Origin{.host = "127.0.0.1", .port = server.port});
  ASSERT_TRUE(client.ok());
  for (int i = 0; i < 3; ++i) {
    auto answer = fetch(loop, **client, make_request("POST", "/a%20b?x=1+2&y=%26", "body"));
    ASSERT_TRUE(answer.ok()) << answer.error().message;
    EXPECT_EQ(answer->body, "POST /a b body");
  }
  EXPECT_EQ(server.requests, 3);
  EXPECT_EQ(server.last.query_value("x"), "1 2");
  EXPECT_EQ(server.last.query_value("y"), "&");
  EXPECT_FALSE(server.last.has_query("z"));
}

TEST(HttpClient, ResolvesNames) {
  Loop loop;
  EchoServer server(loop);
  auto client = HttpClient::create(loop, Origin{.host = "localhost", .port = server.port});
  ASSERT_TRUE(client.ok());
  auto answer = fetch(loop, **client, make_request("GET", "/"));
  ASSERT_TRUE(answer.ok()) << answer.error().message;
}

TEST(HttpClient, UnixSocketTellsWhoIsThere) {
  Loop loop;
  test::TempDir dir;
  EchoServer server(loop);
  auto listener = listen_unix(dir / "s.sock");
  ASSERT_TRUE(listener.ok()) << listener.error().message;
  ASSERT_TRUE(server.server->serve(std::move(*listener)).ok());
  auto client = HttpClient::create(loop, Origin{.unix_path = dir / "s.sock"});
  ASSERT_TRUE(client.ok());
  auto answer = fetch(loop, **client, make_request("GET", "/x"));
  ASSERT_TRUE(answer.ok()) << answer.error().message;
  EXPECT_EQ(server.last.peer.unix_uid, ::getuid());
}

TEST(HttpClient, TlsWithClientCertificate) {
  Loop loop;
  const KeyPair ca = *make_ca("test CA");
  const KeyPair own =
      *issue_certificate(ca, {.common_name = "server", .dns_names = {"api.test"}, .addresses = {"127.0.0.1", "::1"}, .server = true});
  const KeyPair user = *issue_certificate(ca, {.common_name = "alice", .organizations = {"dev", "system:masters"}, .client = true});
  HttpServerConfig config;
  config.tls = ServerTls{own.certificate_pem, own.key_pem, ca.certificate_pem};
  EchoServer server(loop, config);
  const ClientTls good{.ca_pem = ca.certificate_pem, .certificate_pem = user.certificate_pem, .key_pem = user.key_pem};
  auto client = HttpClient::create(loop, Origin{.host = "127.0.0.1", .port = server.port, .tls = good});
  ASSERT_TRUE(client.ok()) << client.error().message;
  auto answer = fetch(loop, **client, make_request("PUT", "/", std::string(300'000, 'z')));
  ASSERT_TRUE(answer.ok()) << answer.error().message;
  EXPECT_EQ(answer->headers.get("x-peer"), "alice");
  EXPECT_EQ(answer->body.size(), 300'000u + 6);
  EXPECT_EQ(server.last.peer.organizations, (std::vector<std::string>{"dev", "system:masters"}));

  // Without a certificate: anonymous. With the wrong name, or the wrong authority: refused.
  ClientTls anonymous{.ca_pem = ca.certificate_pem, .server_name = "api.test"};
  client = HttpClient::create(loop, Origin{.host = "127.0.0.1", .port = server.port, .tls = anonymous});
  answer = fetch(loop, **client, make_request("GET", "/"));
  ASSERT_TRUE(answer.ok()) << answer.error().message;
  EXPECT_EQ(answer->headers.get("x-peer"), "");
  anonymous.server_name = "other.test";
  client = HttpClient::create(loop, Origin{.host = "127.0.0.1", .port = server.port, .tls = anonymous});
  answer = fetch(loop, **client, make_request("GET", "/"));
  ASSERT_FALSE(answer.ok());
  EXPECT_NE(answer.error().message.find("certificate verify failed"), std::string::npos) << answer.error().message;
  const KeyPair stranger = *make_ca("stranger");
  const KeyPair forged = *issue_certificate(stranger, {.common_name = "alice", .client = true});
  client = HttpClient::create(
      loop, Origin{.host = "127.0.0.1",
                   .port = server.port,
                   .tls = ClientTls{.ca_pem = ca.certificate_pem, .certificate_pem = forged.certificate_pem, .key_pem = forged.key_pem}});
  const int before = server.requests;
  EXPECT_FALSE(fetch(loop, **client, make_request("GET", "/")).ok());
  EXPECT_EQ(server.requests, before);
}

TEST(HttpClient, RefusesToVerifyNothing) {
  Loop loop;
  auto client = HttpClient::create(loop, Origin{.host = "127.0.0.1", .port = 1, .tls = ClientTls{}});
  ASSERT_FALSE(client.ok());
  EXPECT_EQ(client.error().code, Code::kInvalid);
}

TEST(HttpClient, NobodyListens) {
  Loop loop;
  std::uint16_t port = 0;
  {
    auto listener = listen_tcp("127.0.0.1", 0);
    port = *local_port(*listener);
  }
  auto client = HttpClient::create(loop, Origin{.host = "127.0.0.1", .port = port});
  auto answer = fetch(loop, **client, make_request("GET", "/"));
  ASSERT_FALSE(answer.ok());
  EXPECT_EQ(answer.error().code, Code::kUnavailable);
  EXPECT_NE(answer.error().message.find(std::to_string(port)), std::string::npos);
}

TEST(HttpClient, HeaderInjectionIsRefused) {
  Loop loop;
  EchoServer server(loop);
  auto client = HttpClient::create(loop, Origin{.host = "127.0.0.1", .port = server.port});
  HttpRequest request = make_request("GET", "/");
  request.headers.set("X-Name", "a\r\nX-Other: b");
  EXPECT_EQ(fetch(loop, **client, request).error().code, Code::kInvalid);
  EXPECT_EQ(fetch(loop, **client, make_request("GET", "/a b")).error().code, Code::kInvalid);
  EXPECT_EQ(server.requests, 0);
}

// A scripted server: answers each connection with the given bytes, after a request has come.
Result<HttpResponse> fetch_scripted(const std::string& script, std::chrono::milliseconds timeout = std::chrono::seconds(10),
                                    const std::string& method = "GET") {
  Loop loop;
  auto listener = listen_tcp("127.0.0.1", 0);
  const std::uint16_t port = *local_port(*listener);
  std::optional<Result<HttpResponse>> answer;
  auto client = HttpClient::create(loop, Origin{.host = "127.0.0.1", .port = port});
  auto pending = (*client)->request(
      make_request(method, "/"), [&](Result<HttpResponse> got) { answer = std::move(got); }, timeout);
  test::run_beside(loop, [&] {
    pollfd ready{listener->get(), POLLIN, 0};
    ::poll(&ready, 1, 10'000);
    sys::Fd fd(::accept(listener->get(), nullptr, nullptr));
    test::receive_until(fd, [](const std::string& got) { return got.find("\r\n\r\n") != std::string::npos; });
    test::send_all(fd, script);
    if (script.empty()) test::receive_all(fd);  // says nothing until the client gives up
  });
  test::run_until(loop, [&] { return answer.has_value(); });
  return answer ? std::move(*answer) : Result<HttpResponse>(make_error(Code::kInternal, "no answer"));
}

TEST(HttpClient, UnderstandsAnswersOfAllKinds) {
  EXPECT_EQ(fetch_scripted("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: v\r\n\r\n")->body,
            "abcde");
  EXPECT_EQ(fetch_scripted("HTTP/1.0 200 OK\r\n\r\nuntil the end")->body, "until the end");
  EXPECT_EQ(fetch_scripted(
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno")
                ->status,
            404);
  EXPECT_EQ(fetch_scripted("HTTP/1.1 204 No Content\r\n\r\n")->status, 204);
  EXPECT_EQ(fetch_scripted("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", std::chrono::seconds(10), "HEAD")->status, 200);
}

TEST(HttpClient, BrokenAnswersAreErrors) {
  for (const char* script :
       {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "garbage\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", "HTTP/1.1 200 OK\r\nX: "}) {
    EXPECT_FALSE(fetch_scripted(script).ok()) << script;
  }
  EXPECT_FALSE(fetch_scripted("HTTP/1.1 200 OK\r\nX: " + std::string(600'000, 'x') + "\r\n\r\n").ok());
}

TEST(HttpClient, SilentServerTimesOut) {
  auto answer = fetch_scripted("", std::chrono::milliseconds(50));
  ASSERT_FALSE(answer.ok());
  EXPECT_EQ(answer.error().code, Code::kTimeout);
}

TEST(HttpClient, ServerThatClosedAKeptConnectionIsAskedAgain) {
  Loop loop;
  HttpServerConfig config;
  config.idle_timeout = std::chrono::milliseconds(100);
  EchoServer server(loop, config);
  auto client = HttpClient::create(loop, Origin{.host = "127.0.0.1", .port = server.port});
  for (int i = 0; i < 5; ++i) {
    auto answer = fetch(loop, **client, make_request("GET", "/"));
    ASSERT_TRUE(answer.ok()) << answer.error().message;
    bool waited = false;
    auto timer = loop.after(std::chrono::milliseconds(40 * i), [&] { waited = true; });
    run_until(loop, [&] { return waited; });
  }
}

TEST(HttpClient, DestroyedPendingNeverCallsBack) {
  Loop loop;
  EchoServer server(loop);
  auto client = HttpClient::create(loop, Origin{.host = "127.0.0.1", .port = server.port});
  int calls = 0;
  for (int turns = 0; turns < 30; ++turns) {
    auto pending = (*client)->request(make_request("GET", "/"), [&](Result<HttpResponse>) { ++calls; });
    int left = turns;  // cancelled at each step of the way
    run_until(loop, [&] { return left-- <= 0 || calls > 0; });
    pending.reset();
    const int before = calls;
    bool waited = false;
    auto timer = loop.after(std::chrono::milliseconds(2), [&] { waited = true; });
    run_until(loop, [&] { return waited; });
    ASSERT_EQ(calls, before);
    calls = 0;
  }
}

}  // namespace
}  // namespace fairway::io
