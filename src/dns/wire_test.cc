#include "dns/wire.h"

#include <gtest/gtest.h>

#include <random>

#include "dns/dns_test_support.h"

namespace fairway::dns {
namespace {

using test::name;

QueryVerdict verdict(std::vector<std::uint8_t> message) {
  Query q;
  return parse_query(message, q);
}

TEST(Name, TextAndLimits) {
  EXPECT_EQ(name("A.b").labels(), (std::vector<std::string_view>{"a", "b"}));
  EXPECT_EQ(name("").wire().size(), 1u);
  EXPECT_EQ(name("a.").wire().size(), 3u);
  EXPECT_FALSE(Name::from_text("a..b"));
  EXPECT_FALSE(Name::from_text(std::string(64, 'a')));
  std::string longest = std::string(63, 'a') + "." + std::string(63, 'b') + "." + std::string(63, 'c') + "." + std::string(61, 'd');
  EXPECT_EQ(name(longest).wire().size(), 255u);
  EXPECT_FALSE(Name::from_text(longest + "d"));
}

TEST(Query, WhatIsAccepted) {
  Query q;
  ASSERT_EQ(parse_query(test::query("wEb.Example.com", 28, {.edns_bytes = 4096, .dnssec_ok = true}), q), QueryVerdict::kOk);
  EXPECT_EQ(q.question.name, name("web.example.com"));
  EXPECT_EQ(q.spelling[1], 'w');
  EXPECT_EQ(q.spelling[2], 'E');
  EXPECT_EQ(q.question.type, 28);
  EXPECT_TRUE(q.edns && q.dnssec_ok && q.rd);
  EXPECT_EQ(q.udp_bytes, 4096);
  ASSERT_EQ(parse_query(test::query("a", 1, {.edns_bytes = 100}), q = {}), QueryVerdict::kOk);
  EXPECT_EQ(q.udp_bytes, 512);
}

TEST(Query, WhatIsNot) {
  auto base = test::query("web.example.com", 1, {.edns_bytes = 1232});
  auto with = [&](auto change) {
    auto m = base;
    change(m);
    return verdict(m);
  };
  EXPECT_EQ(verdict({}), QueryVerdict::kDrop);
  EXPECT_EQ(verdict(std::vector<std::uint8_t>(11)), QueryVerdict::kDrop);
  EXPECT_EQ(verdict(test::padded("web.example.com", kMaxQueryBytes)), QueryVerdict::kOk);
  EXPECT_EQ(verdict(test::padded("web.example.com", kMaxQueryBytes + 1)), QueryVerdict::kFormErr);
  EXPECT_EQ(with([](auto& m) { m[2] |= 0x80; }), QueryVerdict::kDrop);  // an answer
  for (unsigned opcode = 1; opcode < 16; ++opcode) {
    EXPECT_EQ(with([&](auto& m) { m[2] = static_cast<std::uint8_t>(opcode << 3); }), QueryVerdict::kNotImp) << opcode;
  }
  EXPECT_EQ(with([](auto& m) { m[5] = 0; }), QueryVerdict::kFormErr);  // no question
  EXPECT_EQ(with([](auto& m) { m[5] = 2; }), QueryVerdict::kFormErr);
  EXPECT_EQ(with([](auto& m) { m[7] = 1; }), QueryVerdict::kFormErr);  // an answer in a query
  EXPECT_EQ(with([](auto& m) { m[9] = 1; }), QueryVerdict::kFormErr);
  EXPECT_EQ(with([](auto& m) { m[11] = 2; }), QueryVerdict::kFormErr);       // a record that is not there
  EXPECT_EQ(with([](auto& m) { m[12] = 0xc0; }), QueryVerdict::kFormErr);    // a pointer
  EXPECT_EQ(with([](auto& m) { m[12] = 0x40; }), QueryVerdict::kFormErr);    // a label type that was withdrawn
  EXPECT_EQ(with([](auto& m) { m.push_back(0); }), QueryVerdict::kFormErr);  // something behind the end
  EXPECT_EQ(with([](auto& m) { m.resize(m.size() - 1); }), QueryVerdict::kFormErr);
  EXPECT_EQ(with([](auto& m) { m[m.size() - 5] = 1; }), QueryVerdict::kBadVers);  // EDNS version 1
  auto two_opts = base;
  two_opts.insert(two_opts.end(), base.end() - 11, base.end());
  two_opts[11] = 2;
  EXPECT_EQ(verdict(two_opts), QueryVerdict::kFormErr);
}

TEST(Answer, PointersNeverLeadForwardsOrRound) {
  auto answer = test::reply(test::query("a.example", 1), {"192.0.2.1"});
  UpstreamAnswer parsed;
  ASSERT_TRUE(parse_answer(answer, parsed));
  std::size_t owner = parsed.body_at;
  ASSERT_EQ(get_u16(answer, owner), 0xc00c);
  for (std::size_t target : {owner, owner + 1, owner + 2, std::size_t{0x3fff}}) {
    auto bad = answer;
    put_u16(bad, owner, static_cast<std::uint16_t>(0xc000 | target));
    EXPECT_FALSE(parse_answer(bad, parsed = {})) << target;
  }
}

TEST(Answer, TtlIsTheLeastAndNegativeTtlTheSoas) {
  UpstreamAnswer parsed;
  ASSERT_TRUE(parse_answer(test::reply(test::query("a.example", 1), {"192.0.2.1"}, 60), parsed));
  EXPECT_EQ(parsed.ttl, 60u);
  EXPECT_EQ(parsed.ttl_offsets.size(), 1u);
  ASSERT_TRUE(parse_answer(test::reply(test::query("a.example", 1), {}, 7, 3), parsed = {}));
  EXPECT_EQ(parsed.ttl, 7u);
  Query q;
  (void)parse_query(test::query("a.example", 1), q);
  ASSERT_TRUE(parse_answer(make_error(q, 3, true, 512), parsed = {}));
  EXPECT_EQ(parsed.ttl, 0u);  // no SOA: not to be kept
}

TEST(AnswerWriter, NeverLongerThanTheLimitAndAlwaysWhole) {
  for (std::size_t limit : {512u, 600u, 1232u, 65535u}) {
    for (bool edns : {false, true}) {
      Query q;
      (void)parse_query(test::query("many.example.com", 1, {.edns_bytes = edns ? 4096 : -1}), q);
      AnswerWriter writer(q, limit);
      for (unsigned i = 0; i < 5000; ++i)
        writer.record(AnswerWriter::Section::kAnswer, q.question.name, 1, 5, net::IpAddr::v4(i).v4_bytes());
      auto out = writer.finish({});
      EXPECT_LE(out.size(), limit);
      EXPECT_GT(out.size(), limit - 30);
      auto parsed = test::parse(out);
      ASSERT_TRUE(parsed.ok || parsed.answer.answers > 4096);
      EXPECT_TRUE(out[2] & 0x02);
    }
  }
}

// Whatever bytes come, nothing but a verdict follows (the fuzzer's short brother).
TEST(Wire, RandomChangesDoNoHarm) {
  std::mt19937 random(3);
  auto q = test::query("web.example.com", 1, {.edns_bytes = 1232});
  auto a = test::reply(q, {"192.0.2.1", "192.0.2.2"});
  for (int i = 0; i < 200'000; ++i) {
    auto m = i % 2 ? q : a;
    for (unsigned n = 1 + random() % 4; n > 0; --n) m[random() % m.size()] = static_cast<std::uint8_t>(random());
    if (random() % 4 == 0) m.resize(random() % (m.size() + 1));
    Query query;
    (void)parse_query(m, query);
    UpstreamAnswer answer;
    (void)parse_answer(m, answer);
  }
}

}  // namespace
}  // namespace fairway::dns
