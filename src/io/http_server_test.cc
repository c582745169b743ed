#include "io/http_server.h"

#include <gtest/gtest.h>

#include <map>

#include "io/http_client.h"
#include "io/io_test_support.h"
#include "io/pki.h"

namespace fairway::io {
namespace {

using test::run_beside;
using test::run_until;
using namespace std::chrono_literals;

struct ServerFixture {
  explicit ServerFixture(HttpServerConfig config = {}) {
    auto made = HttpServer::create(loop, std::move(config), [this](ServerRequest request, std::unique_ptr<Responder> responder) {
      seen.push_back(request.method + " " + request.path + " " + std::to_string(request.body.size()));
      if (handler) return handler(std::move(request), std::move(responder));
      responder->respond(HttpResponse{200, {}, "ok:" + request.path});
    });
    EXPECT_TRUE(made.ok()) << made.error().message;
    server = std::move(*made);
    auto listener = listen_tcp("127.0.0.1", 0);
    EXPECT_TRUE(listener.ok());
    port = *local_port(*listener);
    EXPECT_TRUE(server->serve(std::move(*listener)).ok());
  }
  // What a client that sends this, and then waits, receives until the server closes.
  std::string talk(const std::string& text) {
    std::string got;
    run_beside(loop, [&] {
      const sys::Fd fd = test::connect_port(port);
      test::send_all(fd, text);
      got = test::receive_all(fd);
    });
    return got;
  }
  Loop loop;
  std::vector<std::string> seen;
  HttpServer::Handler handler;
  std::unique_ptr<HttpServer> server;
  std::uint16_t port = 0;
};

bool starts_with(const std::string& text, const std::string& with) { return text.rfind(with, 0) == 0; }

int count(const std::string& text, const std::string& what) {
  int n = 0;
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + what.size())) ++n;
  return n;
}

TEST(HttpServer, PipelinedRequestsAreAnsweredInOrder) {
  ServerFixture f;
  std::vector<std::pair<std::string, std::unique_ptr<Responder>>> owed;
  std::vector<Loop::Timer> timers;
  f.handler = [&](ServerRequest request, std::unique_ptr<Responder> responder) {
    auto shared = std::make_shared<std::unique_ptr<Responder>>(std::move(responder));
    const auto delay = request.path == "/1" ? 30ms : 1ms;  // the first is the slowest
    timers.push_back(f.loop.after(delay, [shared, path = request.path] { (*shared)->respond(HttpResponse{200, {}, "[" + path + "]"}); }));
  };
  const std::string got = f.talk(
      "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nPOST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
      "POST /3 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\nGET /4 HTTP/1.1\r\nHost: h\r\nConnection: "
      "close\r\n\r\nGET /5 HTTP/1.1\r\n\r\n");
  EXPECT_EQ(f.seen, (std::vector<std::string>{"GET /1 0", "POST /2 3", "POST /3 2", "GET /4 0"}));
  EXPECT_LT(got.find("[/1]"), got.find("[/2]"));
  EXPECT_LT(got.find("[/2]"), got.find("[/3]"));
  EXPECT_NE(got.find("[/4]"), std::string::npos);
  EXPECT_EQ(count(got, "HTTP/1.1 200"), 4);
}

TEST(HttpServer, MalformedInputIsRefusedWithAnAnswer) {
  ServerFixture f;
  const std::map<std::string, std::string> cases = {
      {"garbage\r\n\r\n", "400"},
      {"GET / HTTP/1.1\r\n\r\n", "400"},  // no Host
      {"GET /%zz HTTP/1.1\r\nHost: h\r\n\r\n", "400"},
      {"GET /a%00b HTTP/1.1\r\nHost: h\r\n\r\n", "400"},
      {"GET foo HTTP/1.1\r\nHost: h\r\n\r\n", "400"},
      {"GET / HTTP/3.0\r\nHost: h\r\n\r\n", "505"},
      {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"},
      {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", "400"},
      {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -5\r\n\r\n", "400"},
      {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "400"},
      {"GET / HTTP/1.1\r\nHost: h\r\nBad Header: x\r\n\r\n", "400"},
      {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999\r\n\r\n", "413"},
      {"GET /" + std::string(100'000, 'x') + " HTTP/1.1\r\nHost: h\r\n\r\n", "431"},
      {"GET / HTTP/1.1\r\nHost: h\r\nX: " + std::string(100'000, 'x') + "\r\n\r\n", "431"},
  };
  for (const auto& [text, status] : cases) {
    const std::string got = f.talk(text);
    EXPECT_TRUE(starts_with(got, "HTTP/1.1 " + status)) << text.substr(0, 80) << " -> " << got.substr(0, 200);
    EXPECT_NE(got.find("Connection: close"), std::string::npos);
  }
  EXPECT_TRUE(f.seen.empty());
}

TEST(HttpServer, ManySmallHeadersCannotPassTheLimit) {
  ServerFixture f;
  std::string got;
  run_beside(f.loop, [&] {
    const sys::Fd fd = test::connect_port(f.port);
    test::send_all(fd, "GET / HTTP/1.1\r\nHost: h\r\n");
    for (int i = 0; i < 400; ++i) test::send_all(fd, "X-" + std::to_string(i) + ": " + std::string(1000, 'x') + "\r\n");
    got = test::receive_all(fd);
  });
  EXPECT_TRUE(starts_with(got, "HTTP/1.1 431")) << got.substr(0, 200);
}

TEST(HttpServer, ChunkedBodyBeyondTheLimitIsRefused) {
  HttpServerConfig config;
  config.max_body_bytes = 1000;
  ServerFixture f(config);
  std::string body;
  for (int i = 0; i < 20; ++i) body += "64\r\n" + std::string(100, 'x') + "\r\n";
  const std::string got = f.talk("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + body);
  EXPECT_TRUE(starts_with(got, "HTTP/1.1 413")) << got;
  EXPECT_TRUE(f.seen.empty());
}

TEST(HttpServer, ExpectContinue) {
  ServerFixture f;
  std::string first, rest;
  run_beside(f.loop, [&] {
    const sys::Fd fd = test::connect_port(f.port);
    test::send_all(fd, "PUT /x HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\nConnection: close\r\n\r\n");
    first = test::receive_until(fd, [](const std::string& got) { return got.find("\r\n\r\n") != std::string::npos; });
    test::send_all(fd, "body");
    rest = test::receive_all(fd);
  });
  EXPECT_EQ(first, "HTTP/1.1 100 Continue\r\n\r\n");
  EXPECT_TRUE(starts_with(rest, "HTTP/1.1 200"));
  EXPECT_EQ(f.seen, (std::vector<std::string>{"PUT /x 4"}));
}

TEST(HttpServer, StalledClientsAreEndedAndHoldNobodyUp) {
  const KeyPair ca = *make_ca("CA");
  const KeyPair own = *issue_certificate(ca, {.common_name = "s", .addresses = {"127.0.0.1"}, .server = true});
  HttpServerConfig config;
  config.tls = ServerTls{own.certificate_pem, own.key_pem, ""};
  config.handshake_timeout = 3000ms;
  ServerFixture f(config);
  std::vector<sys::Fd> stalled;
  for (int i = 0; i < 50; ++i) stalled.push_back(test::connect_port(f.port));  // never begin their handshake
  auto client = HttpClient::create(f.loop, Origin{.host = "127.0.0.1", .port = f.port, .tls = ClientTls{.ca_pem = ca.certificate_pem}});
  std::optional<Result<HttpResponse>> answer;
  auto pending = (*client)->request({}, [&](Result<HttpResponse> got) { answer = std::move(got); });
  ASSERT_TRUE(run_until(f.loop, [&] { return answer.has_value(); }));
  ASSERT_TRUE(answer->ok()) << answer->error().message;
  for (const sys::Fd& fd : stalled) {
    std::string got = "none";
    run_beside(f.loop, [&] { got = test::receive_all(fd); });
    EXPECT_EQ(got, "");
  }
}

TEST(HttpServer, SlowRequestTimesOut) {
  HttpServerConfig config;
  config.request_timeout = 50ms;
  ServerFixture f(config);
  EXPECT_TRUE(starts_with(f.talk("GET / HTTP/1.1\r\nHo"), "HTTP/1.1 408"));
  EXPECT_TRUE(starts_with(f.talk("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc"), "HTTP/1.1 408"));
}

TEST(HttpServer, IdleConnectionIsClosed) {
  HttpServerConfig config;
  config.idle_timeout = 30ms;
  ServerFixture f(config);
  EXPECT_EQ(f.talk(""), "");
  // Its request is there before the server takes it: a client that gets no CPU must not seem idle.
  const sys::Fd fd = test::connect_port(f.port);
  test::send_all(fd, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  std::string got;
  run_beside(f.loop, [&] { got = test::receive_all(fd); });
  EXPECT_EQ(count(got, "HTTP/1.1 200"), 1);
}

TEST(HttpServer, ForgottenResponderAnswers500) {
  ServerFixture f;
  f.handler = [](ServerRequest, std::unique_ptr<Responder>) {};
  EXPECT_TRUE(starts_with(f.talk("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"), "HTTP/1.1 500"));
}

TEST(HttpServer, HeadAndHttp10) {
  ServerFixture f;
  const std::string head = f.talk("HEAD /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  EXPECT_NE(head.find("Content-Length: 5"), std::string::npos);
  EXPECT_EQ(head.find("ok:/x"), std::string::npos);
  f.handler = [](ServerRequest, std::unique_ptr<Responder> responder) {
    auto body = responder->start_body(200, {});
    body->write("streamed");
  };
  const std::string old = f.talk("GET / HTTP/1.0\r\n\r\n");
  EXPECT_EQ(old.find("chunked"), std::string::npos);
  EXPECT_TRUE(old.ends_with("\r\n\r\nstreamed")) << old;
}

TEST(HttpServer, ResponseHeadersCannotBeInjected) {
  ServerFixture f;
  f.handler = [](ServerRequest request, std::unique_ptr<Responder> responder) {
    HttpResponse response;
    response.headers.set("X-Echo", std::string(request.query_value("x")));
    responder->respond(std::move(response));
  };
  const std::string got = f.talk("GET /?x=a%0D%0ASet-Cookie:b HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  EXPECT_TRUE(starts_with(got, "HTTP/1.1 500")) << got;
  EXPECT_EQ(got.find("\nSet-Cookie"), std::string::npos);
}

TEST(HttpServer, ClientGoneIsToldWhileTheAnswerIsOwed) {
  ServerFixture f;
  std::unique_ptr<Responder> owed;
  bool gone = false;
  f.handler = [&](ServerRequest, std::unique_ptr<Responder> responder) {
    owed = std::move(responder);
    owed->on_client_gone([&] { gone = true; });
  };
  sys::Fd fd = test::connect_port(f.port);
  test::send_all(fd, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  ASSERT_TRUE(run_until(f.loop, [&] { return owed != nullptr; }));
  EXPECT_FALSE(gone);
  fd.reset();
  ASSERT_TRUE(run_until(f.loop, [&] { return gone; }));
  owed->respond(HttpResponse{200, {}, "too late"});
}

TEST(HttpServer, HalfClosedClientStillGetsItsAnswers) {
  ServerFixture f;
  std::string got;
  run_beside(f.loop, [&] {
    const sys::Fd fd = test::connect_port(f.port);
    test::send_all(fd, "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n");
    ::shutdown(fd.get(), SHUT_WR);
    got = test::receive_all(fd);
  });
  EXPECT_EQ(count(got, "ok:"), 2) << got;
}

TEST(HttpServer, StreamReachesTheClientAndSeesItGo) {
  ServerFixture f;
  std::unique_ptr<BodyStream> body;
  bool closed = false;
  f.handler = [&](ServerRequest, std::unique_ptr<Responder> responder) {
    body = responder->start_body(200, {});
    body->on_closed([&] {
      closed = true;
      body.reset();
    });
    body->write("event 1\n");
  };
  auto client = HttpClient::create(f.loop, Origin{.host = "127.0.0.1", .port = f.port});
  std::string got;
  bool ended = false;
  int status = 0;
  auto pending = (*client)->stream({}, {.on_head = [&](int code, const Headers&) { status = code; },
                                        .on_data = [&](std::string_view data) { got += data; },
                                        .on_end = [&](Status) { ended = true; }});
  ASSERT_TRUE(run_until(f.loop, [&] { return got == "event 1\n"; }));
  EXPECT_EQ(status, 200);
  body->write("event 2\n");
  ASSERT_TRUE(run_until(f.loop, [&] { return got == "event 1\nevent 2\n"; }));
  EXPECT_FALSE(closed);
  pending.reset();
  ASSERT_TRUE(run_until(f.loop, [&] { return closed; }));
  EXPECT_FALSE(ended);
  // The regular end of a body, and the connection's reuse.
  pending = (*client)->stream({}, {.on_end = [&](Status s) { ended = s.ok(); }});
  ASSERT_TRUE(run_until(f.loop, [&] { return body != nullptr; }));
  body.reset();
  ASSERT_TRUE(run_until(f.loop, [&] { return ended; }));
}

TEST(HttpServer, SlowReaderPushesBack) {
  for (const bool tls : {false, true}) {
    const KeyPair ca = *make_ca("CA");
    const KeyPair own = *issue_certificate(ca, {.common_name = "s", .addresses = {"127.0.0.1"}, .server = true});
    HttpServerConfig config;
    Origin origin{.host = "127.0.0.1"};
    if (tls) {
      config.tls = ServerTls{own.certificate_pem, own.key_pem, ""};
      origin.tls = ClientTls{.ca_pem = ca.certificate_pem};
    }
    ServerFixture f(config);
    constexpr std::size_t kTotal = 64 << 20;
    std::size_t made = 0, most = 0, got = 0;
    std::uint64_t sum_made = 0, sum_got = 0;
    bool ended = false;
    std::unique_ptr<BodyStream> body;
    std::function<void()> produce = [&] {
      while (made < kTotal && body->pending_bytes() < (1 << 20)) {
        std::string piece(1000 + made % 70'000, static_cast<char>(made));
        for (const unsigned char c : piece) sum_made += c;
        made += piece.size();
        body->write(std::move(piece));
        most = std::max(most, body->pending_bytes());
      }
      if (made >= kTotal) f.loop.post([&] { body.reset(); });
    };
    f.handler = [&](ServerRequest, std::unique_ptr<Responder> responder) {
      body = responder->start_body(200, {});
      body->on_drained(produce);
      produce();
    };
    origin.port = f.port;
    auto client = HttpClient::create(f.loop, origin);
    auto pending = (*client)->stream({}, {.on_data =
                                              [&](std::string_view data) {
                                                got += data.size();
                                                for (const unsigned char c : data) sum_got += c;
                                              },
                                          .on_end =
                                              [&](Status s) {
                                                EXPECT_TRUE(s.ok());
                                                ended = true;
                                              }});
    ASSERT_TRUE(run_until(
        f.loop, [&] { return ended; }, 60s));
    EXPECT_EQ(got, made);
    EXPECT_EQ(sum_got, sum_made);
    EXPECT_LT(most, 2u << 20);
  }
}

TEST(HttpServer, ReaderThatTakesNothingIsCutOffAfterTheAnswersDeadline) {
  HttpServerConfig config;
  config.request_timeout = 100ms;
  config.max_connections = 1;
  ServerFixture f(config);
  f.handler = [](ServerRequest request, std::unique_ptr<Responder> responder) {
    responder->respond(HttpResponse{200, {}, std::string(request.path == "/large" ? 32 << 20 : 1, 'x')});
  };
  std::string got, large;
  run_beside(f.loop, [&] {
    const sys::Fd stalled = test::connect_port(f.port);
    test::send_all(stalled, "GET /large HTTP/1.1\r\nHost: h\r\n\r\n");
    pollfd one{stalled.get(), POLLIN, 0};
    ::poll(&one, 1, 5000);
    // There is room for another client only once that one has been ended.
    for (int i = 0; i < 1000 && !starts_with(got, "HTTP/1.1 200"); ++i) {
      const sys::Fd fd = test::connect_port(f.port);
      test::send_all(fd, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
      got = test::receive_all(fd);
      std::this_thread::sleep_for(5ms);
    }
    large = test::receive_all(stalled);
  });
  EXPECT_TRUE(starts_with(got, "HTTP/1.1 200")) << got;
  EXPECT_LT(large.size(), 32u << 20);
}

TEST(HttpServer, ClientThatReadsNoAnswersIsNotServedOn) {
  ServerFixture f;
  f.handler = [](ServerRequest, std::unique_ptr<Responder> responder) {
    responder->respond(HttpResponse{200, {}, std::string(1 << 20, 'x')});
  };
  sys::Fd fd = test::connect_port(f.port);
  std::string many;
  for (int i = 0; i < 500; ++i) many += "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
  test::send_all(fd, many);
  bool waited = false;
  auto timer = f.loop.after(200ms, [&] { waited = true; });
  run_until(f.loop, [&] { return waited; });
  EXPECT_LT(f.seen.size(), 30u);
}

TEST(HttpServer, FullServerPrefersNewClientsToIdleOnes) {
  HttpServerConfig config;
  config.max_connections = 4;
  ServerFixture f(config);
  std::vector<sys::Fd> idle;
  for (int i = 0; i < 8; ++i) {
    idle.push_back(test::connect_port(f.port));
    std::string got;
    run_beside(f.loop, [&] {
      test::send_all(idle.back(), "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
      got = test::receive_until(idle.back(), [](const std::string& t) { return t.find("ok:/") != std::string::npos; });
    });
    EXPECT_TRUE(starts_with(got, "HTTP/1.1 200")) << i << got;
  }
}

TEST(HttpServer, RawUpgradeBothWays) {
  ServerFixture f;
  std::unique_ptr<Duplex> server_side, client_side;
  std::string server_got, client_got;
  bool server_ended = false, client_ended = false;
  f.handler = [&](ServerRequest request, std::unique_ptr<Responder> responder) {
    Headers headers;
    headers.set("Upgrade", std::string(request.headers.get("upgrade")));
    responder->upgrade(headers, [&](Result<std::unique_ptr<Duplex>> made) {
      ASSERT_TRUE(made.ok());
      server_side = std::move(*made);
      server_side->start(
          [&](std::string_view data) {
            server_got += data;
            server_side->write("<" + std::string(data) + ">");
          },
          [&](Status) { server_ended = true; });
    });
  };
  auto client = HttpClient::create(f.loop, Origin{.host = "127.0.0.1", .port = f.port});
  HttpRequest request;
  request.headers.set("Upgrade", "test/1");
  request.headers.set("Connection", "Upgrade");
  auto pending = (*client)->upgrade(std::move(request), [&](Result<std::unique_ptr<Duplex>> made) {
    ASSERT_TRUE(made.ok()) << made.error().message;
    client_side = std::move(*made);
    client_side->start([&](std::string_view data) { client_got += data; }, [&](Status s) { client_ended = s.ok(); });
    client_side->write("hello");
  });
  ASSERT_TRUE(run_until(f.loop, [&] { return client_got == "<hello>"; }));
  pending.reset();
  server_side->write("last words");
  server_side->close();
  ASSERT_TRUE(run_until(f.loop, [&] { return client_ended && server_ended; }));
  EXPECT_EQ(client_got, "<hello>last words");
}

TEST(HttpServer, DestroyedServerEndsItsConnections) {
  ServerFixture f;
  std::unique_ptr<Responder> owed;
  f.handler = [&](ServerRequest, std::unique_ptr<Responder> responder) { owed = std::move(responder); };
  const sys::Fd fd = test::connect_port(f.port);
  test::send_all(fd, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  ASSERT_TRUE(run_until(f.loop, [&] { return owed != nullptr; }));
  f.server.reset();
  owed->respond({});
  std::string got = "none";
  run_beside(f.loop, [&] { got = test::receive_all(fd); });
  EXPECT_EQ(got.substr(0, 4), "");
}

TEST(ConnectUnix, LastWordsOfAPeerThatTakesNoMoreAreRead) {
  Loop loop;
  test::TempDir dir;
  auto listener = listen_unix(dir / "s.sock");
  ASSERT_TRUE(listener.ok());
  std::unique_ptr<Duplex> duplex;
  std::string got;
  bool ended = false;
  auto pending = connect_unix(loop, dir / "s.sock", [&](Result<std::unique_ptr<Duplex>> made) {
    ASSERT_TRUE(made.ok());
    duplex = std::move(*made);
  });
  ASSERT_TRUE(run_until(loop, [&] { return duplex != nullptr; }));
  {
    const sys::Fd peer(::accept(listener->get(), nullptr, nullptr));
    test::send_all(peer, "last words");
  }
  duplex->write("never taken");  // fails before anything was read
  bool turned = false;
  loop.post([&] { loop.post([&] { turned = true; }); });
  ASSERT_TRUE(run_until(loop, [&] { return turned; }));
  duplex->start([&](std::string_view data) { got += data; }, [&](Status) { ended = true; });
  ASSERT_TRUE(run_until(loop, [&] { return ended; }));
  EXPECT_EQ(got, "last words");
}

TEST(ListenUnix, ReplacesAStaleSocketButNotALiveOne) {
  test::TempDir dir;
  const std::string path = dir / "s.sock";
  {
    auto first = listen_unix(path);
    ASSERT_TRUE(first.ok());
    auto second = listen_unix(path);
    ASSERT_FALSE(second.ok());
    EXPECT_NE(second.error().message.find(path), std::string::npos);
  }
  EXPECT_TRUE(listen_unix(path).ok());
  EXPECT_FALSE(listen_unix(dir / std::string(200, 'x')).ok());
}

}  // namespace
}  // namespace fairway::io
