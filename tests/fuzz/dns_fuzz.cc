// All that a DNS packet from outside can reach: queries of clients, answers of upstreams, and what is built from them.
// fuzz-deps: fw_dns
//
// First byte: what the rest is. Properties that hold whatever comes: an answer parses, is not longer than its limit,
// and is given at most once; a client that is answered finds its question in the answer.
#include <algorithm>
#include <cstdint>
#include <memory>

#include "base/check.h"
#include "dns/dns_test_support.h"
#include "dns/resolver.h"

namespace {

using namespace fairway;
using namespace fairway::dns;

class Upstream : public Transport {
 public:
  bool send(std::uint64_t attempt, const net::SocketAddr&, Bytes query, bool) override {
    last_attempt = attempt;
    last_query.assign(query.begin(), query.end());
    return true;
  }
  void cancel(std::uint64_t) override {}
  std::uint16_t random_id() override { return 0x1234; }
  std::uint64_t last_attempt = 0;
  std::vector<std::uint8_t> last_query;
};

void check_answer(Bytes query, const std::vector<std::uint8_t>& answer, std::size_t limit) {
  FW_CHECK(answer.size() >= 12 && answer.size() <= limit);
  FW_CHECK(answer[0] == query[0] && answer[1] == query[1] && (answer[2] & 0x80));
  UpstreamAnswer parsed;
  FW_CHECK(parse_answer(answer, parsed));
  Query q;
  if (parse_query(query, q) == QueryVerdict::kOk) FW_CHECK(parsed.has_question && parsed.question == q.question);
}

void one_query(Bytes message, Resolver::Via via) {
  static const auto zone = test::zone(100);
  Upstream upstream;
  Resolver resolver(DnsLimits{}, 1 << 16, {{net::IpAddr::v4(0xc0000201), 53}}, upstream);
  int answers = 0;
  resolver.handle(*zone, message, via, Time() + std::chrono::hours(1), [&](std::vector<std::uint8_t> answer) {
    ++answers;
    check_answer(message, answer, via == Resolver::Via::kTcp ? 65535 : 1232);
  });
  FW_CHECK(answers <= 1);
}

// `message` is what the upstream says to a client's question, with the id and the question as they should be or not.
void one_answer(Bytes message, bool fit, bool chain) {
  static const auto zone = test::zone();
  Upstream upstream;
  Resolver resolver(DnsLimits{}, 1 << 16, {{net::IpAddr::v4(0xc0000201), 53}}, upstream);
  auto query = test::query(chain ? "ext.default.svc.cluster.local" : "www.example.com", 1, {.edns_bytes = 1232});
  int answers = 0;
  auto reply = [&](std::vector<std::uint8_t> answer) {
    ++answers;
    check_answer(query, answer, 1232);
  };
  Time now = Time() + std::chrono::hours(1);
  resolver.handle(*zone, query, Resolver::Via::kUdp, now, reply);
  std::vector<std::uint8_t> bytes(message.begin(), message.end());
  if (fit) {  // else hardly any input would get past the first check
    std::vector<std::uint8_t> whole(upstream.last_query.begin(), upstream.last_query.end() - 11);
    std::size_t head = std::min<std::size_t>(bytes.size(), 10);
    std::copy_n(bytes.begin(), head, whole.begin() + 2);
    whole[2] |= 0x80;
    whole[2] &= 0x87;
    put_u16(whole, 4, 1);
    whole.insert(whole.end(), bytes.begin() + static_cast<std::ptrdiff_t>(head), bytes.end());
    bytes = std::move(whole);
  }
  resolver.forwarder().on_message(upstream.last_attempt, bytes, now);
  resolver.handle(*zone, query, Resolver::Via::kUdp, now + std::chrono::seconds(3), reply);
  while (auto next = resolver.forwarder().next_time()) resolver.forwarder().on_time(*next);
  FW_CHECK(answers == 2);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1) return 0;
  Bytes rest(data + 1, size - 1);
  switch (data[0] % 5) {
    case 0:
      one_query(rest, Resolver::Via::kUdp);
      break;
    case 1:
      one_query(rest, Resolver::Via::kTcp);
      break;
    case 2:
      one_answer(rest, false, false);
      break;
    case 3:
      one_answer(rest, true, false);
      break;
    default:
      one_answer(rest, true, true);
      break;
  }
  return 0;
}
