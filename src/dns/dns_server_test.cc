// The server with real sockets on 127.0.0.1, a real upstream, and dig.
#include "dns/dns_server.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <set>
#include <thread>

#include "dns/dns_test_support.h"
#include "dns/socket_address.h"
#include "sys/process.h"

namespace fairway::dns {
namespace {

const net::SocketAddr kAnyPort{net::IpAddr::v4(0x7f000001), 0};

net::SocketAddr local_address(int fd) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &size);
  return from_raw(storage);
}

// UDP and TCP on one free port.
DnsSockets bind_pair() {
  for (;;) {
    DnsSockets any = bind_dns_sockets(kAnyPort).value();
    net::SocketAddr addr = local_address(any.tcp.get());
    any = {};
    if (auto both = bind_dns_sockets(addr); both.ok()) return std::move(both).value();
  }
}

sys::Fd connect_to(const net::SocketAddr& to, int type) {
  sys::Fd fd(::socket(AF_INET, type | SOCK_CLOEXEC, 0));
  RawAddr raw = to_raw(to);
  EXPECT_EQ(::connect(fd.get(), raw.get(), raw.size), 0);
  timeval limit{.tv_sec = 5, .tv_usec = 0};
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  return fd;
}

std::vector<std::uint8_t> receive(int fd) {
  std::vector<std::uint8_t> out(65535);
  ssize_t n = recv(fd, out.data(), out.size(), 0);
  out.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  return out;
}

bool closed_by_peer(int fd) {
  std::uint8_t byte;
  ssize_t n = recv(fd, &byte, 1, 0);
  return n == 0 || (n < 0 && errno == ECONNRESET);
}

void send_framed(int fd, const std::vector<std::uint8_t>& message) {
  std::vector<std::uint8_t> out{static_cast<std::uint8_t>(message.size() >> 8), static_cast<std::uint8_t>(message.size())};
  out.insert(out.end(), message.begin(), message.end());
  EXPECT_EQ(send(fd, out.data(), out.size(), MSG_NOSIGNAL), static_cast<ssize_t>(out.size()));
}

std::vector<std::uint8_t> receive_framed(int fd) {
  auto exactly = [&](std::size_t n) {
    std::vector<std::uint8_t> out(n);
    ssize_t got = recv(fd, out.data(), n, MSG_WAITALL);
    out.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    return out;
  };
  auto head = exactly(2);
  return head.size() == 2 ? exactly(get_u16(head, 0)) : std::vector<std::uint8_t>{};
}

// Answers every name with 192.0.2.1, over both transports, as `mode` says.
class Upstream {
 public:
  enum class Mode { kAnswer, kSilent, kTruncate, kForgeFirst };
  Upstream() : sockets_(bind_pair()), thread_([this] { run(); }) {}
  ~Upstream() {
    stop_ = true;
    thread_.join();
  }
  net::SocketAddr addr() const { return local_address(sockets_.udp.get()); }
  std::atomic<Mode> mode = Mode::kAnswer;
  std::atomic<int> udp = 0, tcp = 0;

 private:
  void run() {
    while (!stop_) {
      pollfd fds[2] = {{sockets_.udp.get(), POLLIN, 0}, {sockets_.tcp.get(), POLLIN, 0}};
      poll(fds, 2, 20);
      if (fds[0].revents) answer_udp();
      if (fds[1].revents) answer_tcp();
    }
  }
  void answer_udp() {
    std::vector<std::uint8_t> q(1500);
    RawAddr from;
    from.size = sizeof from.storage;
    ssize_t n = recvfrom(sockets_.udp.get(), q.data(), q.size(), 0, reinterpret_cast<sockaddr*>(&from.storage), &from.size);
    if (n < 12) return;
    q.resize(static_cast<std::size_t>(n));
    ++udp;
    if (mode == Mode::kSilent) return;
    auto r = test::reply(q, {"192.0.2.1"});
    auto put = [&](const auto& m) { sendto(sockets_.udp.get(), m.data(), m.size(), 0, from.get(), from.size); };
    if (mode == Mode::kTruncate) r[2] |= 0x02;
    if (mode == Mode::kForgeFirst) {
      auto forged = test::reply(q, {"203.0.113.66"});
      for (int i = 1; i < 200; ++i) {
        put_u16(forged, 0, static_cast<std::uint16_t>(get_u16(q, 0) + i));
        put(forged);
      }
    }
    put(r);
  }
  void answer_tcp() {
    sys::Fd fd(accept(sockets_.tcp.get(), nullptr, nullptr));
    auto q = receive_framed(fd.get());
    ++tcp;
    if (mode != Mode::kSilent && q.size() >= 12) send_framed(fd.get(), test::reply(q, {"192.0.2.1", "192.0.2.2"}));
  }

  DnsSockets sockets_;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

class DnsServerTest : public ::testing::Test {
 protected:
  void start(DnsConfig config = {}) {
    server = DnsServer::create(std::move(config)).value();
    DnsSockets sockets = bind_pair();
    addr = local_address(sockets.udp.get());
    ASSERT_TRUE(server->serve_udp(std::move(sockets.udp)).ok());
    ASSERT_TRUE(server->serve_tcp(std::move(sockets.tcp)).ok());
  }
  test::Parsed ask(const std::vector<std::uint8_t>& query) {
    sys::Fd fd = connect_to(addr, SOCK_DGRAM);
    send(fd.get(), query.data(), query.size(), 0);
    return test::parse(receive(fd.get()));
  }
  test::Parsed ask(std::string_view name, std::uint16_t type = 1) { return ask(test::query(name, type, {.edns_bytes = 1232})); }
  // Statistics are recorded at the end of each round of the worker.
  template <typename Ready>
  bool eventually(Ready ready) {
    for (int i = 0; i < 500 && !ready(server->stats()); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return ready(server->stats());
  }

  std::unique_ptr<DnsServer> server;
  net::SocketAddr addr;
};

TEST_F(DnsServerTest, ConfigurationIsChecked) {
  EXPECT_FALSE(DnsServer::create({.threads = 0}).ok());
  EXPECT_FALSE(DnsServer::create({.zone = {.domain = "a..b"}}).ok());
  EXPECT_FALSE(DnsServer::create({.upstreams = {{net::IpAddr::v4(0xe0000001), 53}}}).ok());
  EXPECT_FALSE(DnsServer::create({.upstreams = {{net::IpAddr::v4(0x01010101), 0}}}).ok());
}

TEST_F(DnsServerTest, SaysNotReadyThenAnswersFromTheMomentOfPublish) {
  start();
  auto before = ask("web.default.svc.cluster.local");
  EXPECT_EQ(before.answer.rcode, 2u);
  EXPECT_EQ(before.ede, 14);
  server->publish(test::zone());
  EXPECT_EQ(ask("web.default.svc.cluster.local").a(), (std::vector<std::string>{"10.96.0.5"}));
  compile::dns::ZoneBuilder builder({});
  builder.set_complete(true);
  for (unsigned i = 1; i < 200; ++i) {
    builder.set_service({.id = {"default", "web"}, .cluster_ips = {net::IpAddr::v4(0x0a600000 + i)}}, {});
    server->publish(builder.snapshot());
    ASSERT_EQ(ask("web.default.svc.cluster.local").a(), (std::vector<std::string>{net::IpAddr::v4(0x0a600000 + i).to_string()}));
  }
}

// A and AAAA from one port at once: what a resolver library does, and what conntrack used to lose one of.
TEST_F(DnsServerTest, NothingIsLostInAStormFromOnePort) {
  for (unsigned threads : {1u, 3u}) {
    start({.threads = threads});
    server->publish(test::zone());
    std::vector<std::thread> clients;
    std::atomic<int> lost = 0;
    for (int c = 0; c < 8; ++c) {
      clients.emplace_back([&] {
        sys::Fd fd = connect_to(addr, SOCK_DGRAM);
        for (std::uint16_t i = 0; i < 400; ++i) {
          auto a = test::query("web.default.svc.cluster.local", 1, {.id = static_cast<std::uint16_t>(2 * i)});
          auto aaaa = test::query("web.default.svc.cluster.local", 28, {.id = static_cast<std::uint16_t>(2 * i + 1)});
          send(fd.get(), a.data(), a.size(), 0);
          send(fd.get(), aaaa.data(), aaaa.size(), 0);
          std::set<int> ids;
          for (int n = 0; n < 2; ++n)
            if (auto r = receive(fd.get()); r.size() >= 12) ids.insert(get_u16(r, 0));
          if (ids != std::set<int>{2 * i, 2 * i + 1}) ++lost;
        }
      });
    }
    for (auto& c : clients) c.join();
    EXPECT_EQ(lost, 0);
    EXPECT_TRUE(eventually([](const DnsStats& s) { return s.queries_udp == 8 * 800; }));
  }
}

TEST_F(DnsServerTest, ForwardsAndCaches) {
  Upstream upstream;
  start({.upstreams = {upstream.addr()}});
  EXPECT_EQ(ask("www.example.com").a(), (std::vector<std::string>{"192.0.2.1"}));
  EXPECT_EQ(ask("WWW.example.com").a(), (std::vector<std::string>{"192.0.2.1"}));
  EXPECT_EQ(upstream.udp, 1);
  server->publish(test::zone());
  EXPECT_EQ(ask("ext.default.svc.cluster.local").a(), (std::vector<std::string>{"192.0.2.1"}));
  EXPECT_TRUE(eventually([](const DnsStats& s) { return s.cache_hits == 2; }));
  ASSERT_EQ(server->upstreams().size(), 1u);
  EXPECT_GT(server->upstreams()[0].srtt_us, 0u);
}

TEST_F(DnsServerTest, TruncatedUpstreamsAreAskedByTcp) {
  Upstream upstream;
  upstream.mode = Upstream::Mode::kTruncate;
  start({.upstreams = {upstream.addr()}});
  EXPECT_EQ(ask("www.example.com").a().size(), 2u);
  EXPECT_EQ(upstream.tcp, 1);
}

TEST_F(DnsServerTest, ForgedAnswersDoNotWin) {
  Upstream upstream;
  upstream.mode = Upstream::Mode::kForgeFirst;
  start({.upstreams = {upstream.addr()}});
  EXPECT_EQ(ask("www.example.com").a(), (std::vector<std::string>{"192.0.2.1"}));
  EXPECT_TRUE(eventually([](const DnsStats& s) { return s.upstream_mismatched == 199; }));
}

TEST_F(DnsServerTest, DeadUpstreams) {
  Upstream silent, good;
  silent.mode = Upstream::Mode::kSilent;
  net::SocketAddr closed = local_address(bind_pair().udp.get());  // nobody there: ICMP says so
  start({.upstreams = {closed, silent.addr(), good.addr()}});
  EXPECT_EQ(ask("a.example.com").a(), (std::vector<std::string>{"192.0.2.1"}));
  ASSERT_TRUE(server->set_upstreams({silent.addr()}).ok());
  auto then = std::chrono::steady_clock::now();
  test::Parsed p;
  do p = ask("b" + std::to_string(silent.udp) + ".example.com");  // until the new list is in force
  while (p.answer.rcode == 0 && std::chrono::steady_clock::now() - then < std::chrono::seconds(5));
  EXPECT_EQ(p.answer.rcode, 2u);
  EXPECT_EQ(p.ede, 22);
  server->publish(test::zone());
  EXPECT_EQ(ask("web.default.svc.cluster.local").a().size(), 1u);  // the cluster's names do not mind
}

// A client waits for seconds for an answer that is not sent, however bad its query.
TEST_F(DnsServerTest, LongQueriesAreAnswered) {
  start();
  server->publish(test::zone());
  const std::string name = "web.default.svc.cluster.local";
  sys::Fd tcp = connect_to(addr, SOCK_STREAM);
  for (std::size_t bytes : {1232u, 1233u, 4096u, 4097u, 20'000u, 65'000u}) {
    auto query = test::padded(name, bytes);
    send_framed(tcp.get(), query);
    for (const auto& p : {ask(query), test::parse(receive_framed(tcp.get()))}) {
      ASSERT_TRUE(p.ok) << bytes;
      EXPECT_EQ(p.answer.id, get_u16(query, 0));
      EXPECT_EQ(p.answer.rcode, bytes <= 4096 ? 0u : 1u) << bytes;
      EXPECT_EQ(p.a().size(), bytes <= 4096 ? 1u : 0u) << bytes;
    }
  }
  send_framed(tcp.get(), test::query(name, 1));
  EXPECT_EQ(test::parse(receive_framed(tcp.get())).a().size(), 1u);  // the stream goes on behind a query that was skipped
}

TEST_F(DnsServerTest, TcpTakesManyQueriesAtOnce) {
  Upstream upstream;
  start({.upstreams = {upstream.addr()}});
  server->publish(test::zone(2000));
  sys::Fd fd = connect_to(addr, SOCK_STREAM);
  for (std::uint16_t i = 0; i < 200; ++i) {
    send_framed(fd.get(), test::query(i % 2 ? "db.default.svc.cluster.local" : "www.example.com", 1, {.id = i}));
  }
  shutdown(fd.get(), SHUT_WR);  // answers are still owed
  std::set<int> ids;
  for (int i = 0; i < 200; ++i) {
    auto p = test::parse(receive_framed(fd.get()));
    ASSERT_TRUE(p.ok) << i;
    EXPECT_EQ(p.answer.answers, p.answer.id % 2 ? 2000u : 1u);
    ids.insert(p.answer.id);
  }
  EXPECT_EQ(ids.size(), 200u);
  EXPECT_TRUE(closed_by_peer(fd.get()));
}

TEST_F(DnsServerTest, TcpLimits) {
  DnsConfig config;
  config.limits.tcp_per_client = 3;
  config.limits.tcp_idle_ms = 300;
  start(config);
  server->publish(test::zone());
  std::vector<sys::Fd> held;
  for (int i = 0; i < 3; ++i) {
    held.push_back(connect_to(addr, SOCK_STREAM));
    send_framed(held.back().get(), test::query("web.default.svc.cluster.local", 1));
    EXPECT_TRUE(test::parse(receive_framed(held.back().get())).ok);
  }
  sys::Fd fourth = connect_to(addr, SOCK_STREAM);
  EXPECT_TRUE(closed_by_peer(fourth.get()));                    // closed at once
  send(held[0].get(), "\0", 1, 0);                              // half a query is no query
  for (auto& fd : held) EXPECT_TRUE(closed_by_peer(fd.get()));  // idle: closed
  EXPECT_TRUE(eventually([](const DnsStats& s) { return s.tcp_expired == 3 && s.tcp_refused == 1; }));
  sys::Fd garbage = connect_to(addr, SOCK_STREAM);
  send(garbage.get(), "\0\4GET / HTTP/1.1\r\n", 18, 0);
  EXPECT_TRUE(closed_by_peer(garbage.get()));
  sys::Fd again = connect_to(addr, SOCK_STREAM);
  send_framed(again.get(), test::query("web.default.svc.cluster.local", 1));
  EXPECT_TRUE(test::parse(receive_framed(again.get())).ok);
}

class Dig : public DnsServerTest {
 protected:
  std::string dig(std::vector<std::string> args) {
    std::vector<std::string> argv{"dig", "@127.0.0.1", "-p", std::to_string(addr.port), "+tries=1", "+time=3"};
    argv.insert(argv.end(), args.begin(), args.end());
    auto result = sys::run(argv);
    return result.ok() ? result->out : result.error().message;
  }
  void SetUp() override {
    if (!sys::run_ok({"dig", "-v"}).ok()) GTEST_SKIP() << "dig (Debian: bind9-dnsutils) is not installed";
    start();
    server->publish(test::zone(300));
  }
};

TEST_F(Dig, SeesWhatARealClientSees) {
  const std::string d = "default.svc.cluster.local";
  EXPECT_EQ(dig({"+short", "web." + d}), "10.96.0.5\n");
  EXPECT_EQ(dig({"+short", "+tcp", "WEB." + d}), "10.96.0.5\n");
  EXPECT_EQ(dig({"+short", "web." + d, "AAAA"}), "");
  EXPECT_EQ(dig({"+short", "_http._tcp.web." + d, "SRV"}), "0 100 80 web." + d + ".\n");
  EXPECT_EQ(dig({"+short", "-x", "10.96.0.5"}), "web." + d + ".\n");
  EXPECT_EQ(dig({"+short", "dns-version.cluster.local", "TXT"}), "\"1.1.0\"\n");
  EXPECT_EQ(dig({"+short", "ext." + d, "CNAME"}), "www.example.com.\n");
  EXPECT_EQ(dig({"+short", "cluster.local", "NS"}), "ns.dns.cluster.local.\n");
  struct Row {
    std::vector<std::string> args;
    std::string status;
  };
  for (const Row& row : std::vector<Row>{{{"nope." + d}, "NXDOMAIN"},
                                         {{d}, "NOERROR"},
                                         {{"www.example.com"}, "REFUSED"},
                                         {{"-c", "CH", "version.bind", "TXT"}, "REFUSED"},
                                         {{"+opcode=notify", "web." + d}, "NOTIMP"},
                                         {{"web." + d, "TYPE65280"}, "NOERROR"},
                                         {{"+edns=1", "+noednsneg", "web." + d}, "BADVERS"},
                                         {{"+noedns", "web." + d}, "NOERROR"},
                                         {{"localhost"}, "NOERROR"}}) {
    EXPECT_NE(dig(row.args).find("status: " + row.status), std::string::npos) << row.args[0] << "\n" << dig(row.args);
  }
  std::string refused = dig({"www.example.com"});
  EXPECT_NE(refused.find("EDE: 20"), std::string::npos) << refused;
  EXPECT_EQ(refused.find("WARNING: Messages has"), std::string::npos) << refused;
  std::string cut = dig({"+ignore", "+bufsize=512", "db." + d});
  EXPECT_NE(cut.find(" tc "), std::string::npos) << cut;
  EXPECT_NE(dig({"+bufsize=512", "db." + d}).find("ANSWER: 300"), std::string::npos);  // by itself over TCP
}

}  // namespace
}  // namespace fairway::dns
