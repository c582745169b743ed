#include "dns/resolver.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "dns/dns_test_support.h"

namespace fairway::dns {
namespace {

class NoUpstream : public Transport {
 public:
  bool send(std::uint64_t attempt, const net::SocketAddr&, Bytes query, bool) override {
    sent.emplace_back(attempt, std::vector<std::uint8_t>(query.begin(), query.end()));
    return true;
  }
  void cancel(std::uint64_t) override {}
  std::uint16_t random_id() override { return 99; }
  std::vector<std::pair<std::uint64_t, std::vector<std::uint8_t>>> sent;
};

class ResolverTest : public ::testing::Test {
 protected:
  test::Parsed ask(std::vector<std::uint8_t> message, Resolver::Via via = Resolver::Via::kUdp) {
    answered = 0;
    last.clear();
    resolver.handle(*zone, message, via, std::chrono::steady_clock::now(), [this](auto bytes) {
      last = std::move(bytes);
      ++answered;
    });
    return test::parse(last);
  }
  test::Parsed ask(std::string_view name, std::uint16_t type = 1) { return ask(test::query(name, type, {.edns_bytes = 1232})); }

  DnsLimits limits;
  NoUpstream net;
  std::shared_ptr<const compile::dns::Zone> zone = test::zone();
  Resolver resolver{limits, 1 << 20, {{net::IpAddr::v4(0xc0000201), 53}}, net};
  int answered = 0;
  std::vector<std::uint8_t> last;
};

TEST_F(ResolverTest, TheSpellingComesBackAsItWasAsked) {
  auto p = ask("WeB.DeFaUlT.svc.CLUSTER.local");
  ASSERT_TRUE(p.ok);
  EXPECT_EQ(p.a(), (std::vector<std::string>{"10.96.0.5"}));
  EXPECT_TRUE(p.aa);
  auto q = test::query("WeB.DeFaUlT.svc.CLUSTER.local", 1);
  EXPECT_TRUE(std::equal(q.begin() + 12, q.end(), p.bytes.begin() + 12));
}

TEST_F(ResolverTest, NegativeAnswersBringTheSoa) {
  for (auto [name, rcode] : {std::pair{"nope.default.svc.cluster.local", 3u}, {"default.svc.cluster.local", 0u}}) {
    auto p = ask(name);
    EXPECT_EQ(p.answer.rcode, rcode);
    ASSERT_EQ(p.answer.authorities, 1u);
    EXPECT_EQ(p.records[0].type, kTypeSoa);
    EXPECT_EQ(p.records[0].name, test::name("cluster.local"));
    EXPECT_EQ(p.answer.ttl, 5u);
  }
}

TEST_F(ResolverTest, SrvTargetsAreNotCompressedAndBringAddresses) {
  auto p = ask("_http._tcp.web.default.svc.cluster.local", 33);
  ASSERT_EQ(p.answer.answers, 1u);
  auto data = p.data(0);
  EXPECT_EQ(data.size(), 6 + test::name("web.default.svc.cluster.local").wire().size());
  EXPECT_EQ(data[5], 80);
  EXPECT_EQ(p.answer.additionals, 1u);
}

TEST_F(ResolverTest, ClusterNamesNeverGoOut) {
  for (std::string_view name : {"nope.default.svc.cluster.local", "www.google.com.cluster.local", "9.9.96.10.in-addr.arpa", "cluster.local",
                                "x.localhost", "a.invalid"}) {
    for (std::uint16_t type : {1, 2, 15, 16, 28, 33, 43, 65, 255}) {
      ask(name, type);
      EXPECT_EQ(answered, 1) << name << type;
    }
  }
  EXPECT_TRUE(net.sent.empty());
}

TEST_F(ResolverTest, BigSetsAreCutForUdpAndWholeOverTcp) {
  zone = test::zone(300);
  auto q = test::query("db.default.svc.cluster.local", 1);
  auto udp = ask(q);
  EXPECT_TRUE(udp.answer.truncated);
  EXPECT_GT(udp.answer.answers, 20u);  // what fits serves those who have no TCP
  EXPECT_LE(udp.bytes.size(), 512u);
  auto tcp = ask(q, Resolver::Via::kTcp);
  EXPECT_FALSE(tcp.answer.truncated);
  EXPECT_EQ(tcp.answer.answers, 300u);
  auto big = ask(test::query("db.default.svc.cluster.local", 1, {.edns_bytes = 65535}));
  EXPECT_LE(big.bytes.size(), 1232u);
  EXPECT_TRUE(big.answer.truncated);
}

TEST_F(ResolverTest, SetsRotate) {
  std::set<std::string> firsts;
  for (int i = 0; i < 12; ++i) firsts.insert(ask("db.default.svc.cluster.local").a().front());
  EXPECT_EQ(firsts.size(), 3u);
}

TEST_F(ResolverTest, ExternalNameIsFollowedToItsEnd) {
  ask("ext.default.svc.cluster.local");
  EXPECT_EQ(answered, 0);
  ASSERT_EQ(net.sent.size(), 1u);
  Query asked;
  ASSERT_EQ(parse_query(net.sent[0].second, asked), QueryVerdict::kOk);
  EXPECT_EQ(asked.question.name, test::name("www.example.com"));
  std::vector<std::uint8_t> out;
  resolver.handle(*zone, test::query("ext.default.svc.cluster.local", 1), Resolver::Via::kUdp, std::chrono::steady_clock::now(),
                  [&](auto b) { out = b; });
  resolver.forwarder().on_message(net.sent[0].first, test::reply(net.sent[0].second, {"192.0.2.7"}), std::chrono::steady_clock::now());
  auto p = test::parse(out);
  ASSERT_EQ(p.answer.answers, 2u);
  EXPECT_EQ(p.records[0].type, kTypeCname);
  EXPECT_EQ(p.a(), (std::vector<std::string>{"192.0.2.7"}));
  EXPECT_EQ(p.records[1].name, test::name("www.example.com"));
}

TEST_F(ResolverTest, ACnameLoopEnds) {
  auto p = ask("loop.default.svc.cluster.local");
  EXPECT_EQ(answered, 1);
  EXPECT_EQ(p.answer.rcode, 2u);
}

TEST_F(ResolverTest, UnknownTypesAndClasses) {
  EXPECT_EQ(ask("web.default.svc.cluster.local", 65280).answer.rcode, 0u);  // NODATA
  EXPECT_EQ(ask("web.default.svc.cluster.local", 252).answer.rcode, 5u);    // AXFR
  EXPECT_EQ(ask("web.default.svc.cluster.local", 251).answer.rcode, 5u);
  EXPECT_EQ(ask("web.default.svc.cluster.local", 250).answer.rcode, 4u);  // TSIG is no question
  EXPECT_EQ(ask("web.default.svc.cluster.local", 41).answer.rcode, 4u);
  auto chaos = test::query("version.bind", 16);
  chaos[chaos.size() - 1] = 3;
  EXPECT_EQ(ask(chaos).answer.rcode, 5u);
  auto any = ask("www.example.com", 255);
  ASSERT_EQ(any.answer.answers, 1u);
  EXPECT_EQ(any.records[0].type, kTypeHinfo);
  EXPECT_EQ(ask("web.default.svc.cluster.local", 255).answer.answers, 1u);
}

TEST_F(ResolverTest, NotQueriesGetTheShortAnswerOrNone) {
  auto q = test::query("web.default.svc.cluster.local", 1);
  auto notify = q;
  notify[2] = 4 << 3;
  EXPECT_EQ(ask(notify).answer.rcode, 4u);
  auto formerr = q;
  formerr.push_back(1);
  EXPECT_EQ(ask(formerr).answer.rcode, 1u);
  auto answer = q;
  answer[2] |= 0x80;
  ask(answer);
  EXPECT_EQ(answered, 0);
  auto version1 = test::query("web.default.svc.cluster.local", 1, {.edns_bytes = 1232});
  version1[version1.size() - 5] = 1;
  EXPECT_EQ(ask(version1).answer.rcode, 16u);
  EXPECT_TRUE(net.sent.empty());
}

TEST_F(ResolverTest, BeforeTheSyncServfailSaysSo) {
  zone = compile::dns::ZoneBuilder(compile::dns::ZoneConfig{}).snapshot();
  auto p = ask("web.default.svc.cluster.local");
  EXPECT_EQ(p.answer.rcode, 2u);
  EXPECT_EQ(p.ede, 14);
}

TEST_F(ResolverTest, WithoutRecursionDesiredNothingIsForwarded) {
  auto p = ask(test::query("www.example.com", 1, {.rd = false, .edns_bytes = 1232}));
  EXPECT_EQ(p.answer.rcode, 5u);
  EXPECT_TRUE(net.sent.empty());
}

TEST_F(ResolverTest, NoUpstreamsIsRefusedAtOnceAndSaysWhy) {
  resolver.forwarder().set_upstreams({});
  auto p = ask("www.example.com");
  EXPECT_EQ(answered, 1);
  EXPECT_EQ(p.answer.rcode, 5u);
  EXPECT_EQ(p.ede, 20);
  EXPECT_TRUE(p.bytes[3] & 0x80) << "nslookup would print that recursion is not available";
}

}  // namespace
}  // namespace fairway::dns
