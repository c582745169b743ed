// The forwarder against upstreams that are a table in this file: no sockets, no waiting.
#include "dns/forwarder.h"

#include <gtest/gtest.h>

#include <deque>
#include <random>

#include "dns/dns_test_support.h"

namespace fairway::dns {
namespace {

const net::SocketAddr kOne{net::IpAddr::v4(0xc0000201), 53}, kTwo{net::IpAddr::v4(0xc0000202), 53};

struct Sent {
  std::uint64_t attempt;
  net::SocketAddr to;
  std::vector<std::uint8_t> query;
  bool tcp;
};

class FakeTransport : public Transport {
 public:
  bool send(std::uint64_t attempt, const net::SocketAddr& to, Bytes query, bool tcp) override {
    if (refuse) return false;
    sent.push_back({attempt, to, {query.begin(), query.end()}, tcp});
    open.insert(attempt);
    return true;
  }
  void cancel(std::uint64_t attempt) override { open.erase(attempt); }
  std::uint16_t random_id() override { return next_id++; }
  std::deque<Sent> sent;
  std::set<std::uint64_t> open;
  std::uint16_t next_id = 77;
  bool refuse = false;
};

class ForwarderTest : public ::testing::Test {
 protected:
  static CacheKey key(std::string_view name, std::uint16_t type = 1) { return {.question = {test::name(name), type, 1}}; }
  void ask(std::string_view name, std::uint16_t type = 1) { ask(key(name, type)); }
  void ask(const CacheKey& k) {
    forwarder.resolve(k, now, [this](const Outcome& o) { outcomes.push_back(o); });
  }
  void answer(const Sent& s, std::vector<std::string> addrs, std::uint32_t ttl = 60, unsigned rcode = 0) {
    forwarder.on_message(s.attempt, test::reply(s.query, addrs, ttl, rcode), now);
  }
  void pass(int ms) {  // every timer in its time
    Time until = now + milliseconds(ms);
    while (auto next = forwarder.next_time()) {
      if (*next > until) break;
      now = *next;
      forwarder.on_time(now);
    }
    now = until;
  }

  FakeTransport net;
  DnsLimits limits;
  Forwarder forwarder{limits, 1 << 20, {kOne, kTwo}, net};
  Time now = Time() + std::chrono::hours(1);
  std::vector<Outcome> outcomes;
};

TEST_F(ForwarderTest, AnswersAndCaches) {
  ask("a.example");
  ASSERT_EQ(net.sent.size(), 1u);
  answer(net.sent[0], {"192.0.2.9"});
  ASSERT_EQ(outcomes.size(), 1u);
  EXPECT_TRUE(outcomes[0].response);
  EXPECT_TRUE(net.open.empty());
  EXPECT_FALSE(forwarder.next_time());
  ask("A.EXAMPLE");
  EXPECT_EQ(net.sent.size(), 1u);
  EXPECT_EQ(outcomes.size(), 2u);
  now += std::chrono::seconds(61);
  ask("a.example");
  EXPECT_EQ(net.sent.size(), 2u);
}

TEST_F(ForwarderTest, EveryAnswerAffectingBitIsInTheKey) {
  for (int bits = 0; bits < 8; ++bits) {
    CacheKey k = key("a.example");
    k.cd = bits & 1;
    k.ad = bits & 2;
    k.dnssec_ok = bits & 4;
    ask(k);
    ASSERT_EQ(net.sent.size(), static_cast<std::size_t>(bits + 1));
    answer(net.sent.back(), {"192.0.2.9"});
  }
  ask("a.example", 28);
  EXPECT_EQ(net.sent.size(), 9u);
}

TEST_F(ForwarderTest, OneQuestionIsOutOnce) {
  for (int i = 0; i < 10; ++i) ask("a.example");
  EXPECT_EQ(net.sent.size(), 1u);
  answer(net.sent[0], {"192.0.2.9"});
  EXPECT_EQ(outcomes.size(), 10u);
}

TEST_F(ForwarderTest, WaitersAndQuestionsAreBounded) {
  for (unsigned i = 0; i < limits.waiters + 5; ++i) ask("a.example");
  EXPECT_EQ(outcomes.size(), 5u);
  for (unsigned i = 0; i < limits.in_flight + 5; ++i) ask("n" + std::to_string(i) + ".example");
  EXPECT_EQ(outcomes.size(), 5u + 6u);
  EXPECT_EQ(forwarder.in_flight(), limits.in_flight);
}

TEST_F(ForwarderTest, ForgeriesAreIgnoredAndTheTrueAnswerStillCounts) {
  ask("a.example");
  auto good = test::reply(net.sent[0].query, {"192.0.2.9"});
  auto forged = good;
  forged[0] ^= 1;  // another id
  forwarder.on_message(net.sent[0].attempt, forged, now);
  forged = good;
  forged[2] &= 0x7f;  // not an answer
  forwarder.on_message(net.sent[0].attempt, forged, now);
  auto other = test::query("b.example", 1, {.id = get_u16(net.sent[0].query, 0)});
  forwarder.on_message(net.sent[0].attempt, test::reply(other, {"203.0.113.66"}), now);
  forwarder.on_message(net.sent[0].attempt, std::vector<std::uint8_t>(5), now);
  forwarder.on_message(net.sent[0].attempt + 1000, good, now);
  EXPECT_TRUE(outcomes.empty());
  EXPECT_EQ(forwarder.stats().upstream_mismatched, 4u);
  forwarder.on_message(net.sent[0].attempt, good, now);
  ASSERT_EQ(outcomes.size(), 1u);
  EXPECT_TRUE(outcomes[0].response);
}

TEST_F(ForwarderTest, ADeadUpstreamCostsOnePauseAndThenNothing) {
  ask("a.example");
  EXPECT_EQ(net.sent[0].to, kOne);
  pass(150);
  ASSERT_EQ(net.sent.size(), 2u);
  EXPECT_EQ(net.sent[1].to, kTwo);
  now += milliseconds(5);
  answer(net.sent[1], {"192.0.2.9"});
  ASSERT_EQ(outcomes.size(), 1u);
  ask("b.example");
  EXPECT_EQ(net.sent.back().to, kTwo);  // it has learnt
}

TEST_F(ForwarderTest, TheSlowUpstreamMayStillWin) {
  ask("a.example");
  pass(200);
  ASSERT_EQ(net.sent.size(), 2u);
  answer(net.sent[0], {"192.0.2.9"});
  ASSERT_EQ(outcomes.size(), 1u);
  EXPECT_TRUE(outcomes[0].response);
  EXPECT_TRUE(net.open.empty());
}

TEST_F(ForwarderTest, NobodyAnswersAndTheClientHearsOfItInTime) {
  ask("a.example");
  pass(1899);
  EXPECT_TRUE(outcomes.empty());
  EXPECT_LE(net.sent.size(), 8u);
  pass(1);
  ASSERT_EQ(outcomes.size(), 1u);
  EXPECT_FALSE(outcomes[0].response);
  EXPECT_EQ(outcomes[0].rcode, Rcode::kServFail);
  EXPECT_EQ(outcomes[0].ede, Ede::kNoReachable);
  EXPECT_TRUE(net.open.empty());
  std::size_t sent = net.sent.size();
  ask("a.example");  // remembered for a second
  EXPECT_EQ(outcomes.size(), 2u);
  EXPECT_EQ(net.sent.size(), sent);
}

TEST_F(ForwarderTest, RefusedByTheNetworkFailsAtOnce) {
  ask("a.example");
  forwarder.on_error(net.sent[0].attempt, now);
  ASSERT_EQ(net.sent.size(), 2u);
  forwarder.on_error(net.sent[1].attempt, now);
  ASSERT_EQ(outcomes.size(), 1u);
  net.refuse = true;
  ask("b.example");
  EXPECT_EQ(outcomes.size(), 2u);
}

TEST_F(ForwarderTest, ServfailGoesToTheNextUpstream) {
  ask("a.example");
  answer(net.sent[0], {}, 0, 2);
  ASSERT_EQ(net.sent.size(), 2u);
  EXPECT_EQ(net.sent[1].to, kTwo);
  answer(net.sent[1], {}, 0, 2);
  ASSERT_EQ(outcomes.size(), 1u);
  EXPECT_EQ(outcomes[0].ede, Ede::kNetworkError);
}

TEST_F(ForwarderTest, TruncatedComesAgainOverTcp) {
  ask("a.example");
  auto cut = test::reply(net.sent[0].query, {"192.0.2.9"});
  cut[2] |= 0x02;
  forwarder.on_message(net.sent[0].attempt, cut, now);
  ASSERT_EQ(net.sent.size(), 2u);
  EXPECT_TRUE(net.sent[1].tcp);
  EXPECT_EQ(net.sent[1].to, kOne);
  answer(net.sent[1], {"192.0.2.9", "192.0.2.10"});
  ASSERT_EQ(outcomes.size(), 1u);
  EXPECT_EQ(outcomes[0].response->answers, 2);
}

TEST_F(ForwarderTest, AnUpstreamWithoutEdnsIsAskedWithout) {
  ask("a.example");
  auto formerr = net.sent[0].query;
  formerr.resize(formerr.size() - 11);
  formerr[2] |= 0x80;
  formerr[3] = 1;
  formerr[11] = 0;
  forwarder.on_message(net.sent[0].attempt, formerr, now);
  ASSERT_EQ(net.sent.size(), 2u);
  EXPECT_EQ(net.sent[1].query.size(), net.sent[0].query.size() - 11);
  answer(net.sent[1], {"192.0.2.9"});
  EXPECT_EQ(outcomes.size(), 1u);
}

TEST_F(ForwarderTest, StaleServesWhileUpstreamsAreAway) {
  ask("a.example");
  answer(net.sent[0], {"192.0.2.9"}, 10);
  now += std::chrono::seconds(11);
  ask("a.example");
  pass(599);
  EXPECT_EQ(outcomes.size(), 1u);
  pass(1);
  ASSERT_EQ(outcomes.size(), 2u);
  EXPECT_TRUE(outcomes[1].stale && outcomes[1].response);
  ask("a.example");  // while the refresh is under way: at once
  EXPECT_EQ(outcomes.size(), 3u);
  pass(2000);
  std::size_t sent = net.sent.size();
  ask("a.example");  // the refresh failed a moment ago: at once, and no new attempt
  ASSERT_EQ(outcomes.size(), 4u);
  EXPECT_TRUE(outcomes[3].stale);
  EXPECT_EQ(net.sent.size(), sent);
  pass(6000);
  ask("a.example");  // tried again after a while, and the answer is fresh
  ASSERT_EQ(net.sent.size(), sent + 1);
  answer(net.sent.back(), {"192.0.2.10"});
  EXPECT_FALSE(outcomes.back().stale);
}

TEST_F(ForwarderTest, WithoutUpstreamsItRefusesAndSaysWhy) {
  forwarder.set_upstreams({});
  ask("a.example");
  ASSERT_EQ(outcomes.size(), 1u);
  EXPECT_EQ(outcomes[0].rcode, Rcode::kRefused);
  EXPECT_FALSE(outcomes[0].why.empty());
}

// Upstreams that do anything at any time: each question ends exactly once, within the limit, and nothing leaks.
TEST_F(ForwarderTest, EveryQuestionEndsOnceWhateverUpstreamsDo) {
  std::mt19937 random(5);
  auto pick = [&](unsigned n) { return static_cast<unsigned>(random() % n); };
  unsigned asked = 0, ended = 0;
  for (int step = 0; step < 30'000; ++step) {
    switch (pick(8)) {
      case 0:
      case 1: {
        ++asked;
        Time then = now;
        auto once = std::make_shared<int>(0);
        forwarder.resolve(key("n" + std::to_string(pick(50)) + ".example"), now, [&, then, once](const Outcome&) {
          ++ended;
          ASSERT_EQ(++*once, 1);
          ASSERT_LE(now - then, milliseconds(limits.answer_ms));
        });
        break;
      }
      case 2:
        pass(static_cast<int>(pick(300)));
        break;
      case 3:
        net.refuse = pick(10) == 0;
        break;
      default: {
        if (net.sent.empty()) break;
        const Sent s = net.sent[net.sent.size() - 1 - pick(static_cast<unsigned>(std::min<std::size_t>(20, net.sent.size())))];
        if (!net.open.contains(s.attempt)) break;
        auto r = test::reply(s.query, pick(2) ? std::vector<std::string>{"192.0.2.1"} : std::vector<std::string>{}, pick(3), pick(4));
        if (pick(5) == 0) r[2] |= 0x02;
        if (pick(5) == 0) r.resize(pick(static_cast<unsigned>(r.size())));
        if (pick(6) == 0) forwarder.on_error(s.attempt, now);
        else forwarder.on_message(s.attempt, r, now);
      }
    }
  }
  pass(5000);
  EXPECT_EQ(asked, ended);
  EXPECT_EQ(forwarder.in_flight(), 0u);
  EXPECT_TRUE(net.open.empty());
}

TEST(Cache, StaysWithinItsBytes) {
  Cache cache(100'000, std::chrono::seconds(60));
  Time now = Time() + std::chrono::hours(1);
  for (int i = 0; i < 5000; ++i) {
    auto message = test::reply(test::query("n" + std::to_string(i) + ".example", 1), {"192.0.2.1"});
    UpstreamAnswer parsed;
    ASSERT_TRUE(parse_answer(message, parsed));
    cache.put({.question = parsed.question}, keep_response(message, parsed, now), now);
    ASSERT_LE(cache.size_bytes(), 100'000u);
  }
  EXPECT_GT(cache.size(), 20u);
  EXPECT_TRUE(cache.find({.question = {test::name("n4999.example"), 1, 1}}, now).fresh);
  EXPECT_FALSE(cache.find({.question = {test::name("n0.example"), 1, 1}}, now).response);
}

}  // namespace
}  // namespace fairway::dns
