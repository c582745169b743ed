#include "dns/resolver.h"

#include <algorithm>

namespace fairway::dns {

namespace {

constexpr std::size_t kTcpBytes = 65535;

// Zone transfers, and the query types that are no data types (RFC 6895 3.1), but ANY.
bool refused_type(std::uint16_t type) { return type == 0 || type == kTypeOpt || (type >= 128 && type < 255); }

}  // namespace

void Resolver::handle(const compile::dns::Zone& zone, Bytes message, Via via, Time now, const Reply& reply) {
  ++(via == Via::kUdp ? stats_.queries_udp : stats_.queries_tcp);
  Query query;
  QueryVerdict verdict = parse_query(message, query);
  std::size_t limit =
      via == Via::kTcp ? kTcpBytes : std::max<std::size_t>(512, std::min<std::size_t>(query.udp_bytes, limits_.udp_answer_bytes));
  auto error = [&](unsigned rcode, bool with_question, Ede ede = Ede::kNone, std::string_view text = {}) {
    reply(make_error(query, rcode, with_question, limit, ede, text));
  };
  if (verdict != QueryVerdict::kOk) ++stats_.malformed;
  switch (verdict) {
    case QueryVerdict::kOk:
      break;
    case QueryVerdict::kDrop:
      return;
    case QueryVerdict::kFormErr:
      query.edns = false;
      return error(static_cast<unsigned>(Rcode::kFormErr), false);
    case QueryVerdict::kNotImp:
      return error(static_cast<unsigned>(Rcode::kNotImp), false);
    case QueryVerdict::kBadVers:
      return error(kRcodeBadVers, true);
  }
  if (query.question.klass != kClassIn || refused_type(query.question.type)) {
    ++stats_.refused;
    return error(static_cast<unsigned>(query.question.klass == kClassIn && query.question.type < 251 ? Rcode::kNotImp : Rcode::kRefused),
                 true);
  }
  OwnAnswer own = answer_own(zone, query, limit, turn_++);
  if (!own.message) return forward(zone, query, std::move(own), limit, now, reply);
  ++(own.kind == AnswerClass::kNxDomain     ? stats_.cluster_nxdomain
     : own.kind == AnswerClass::kIncomplete ? stats_.cluster_incomplete
                                            : stats_.cluster_answers);
  reply(*std::move(own.message));
}

void Resolver::forward(const compile::dns::Zone& zone, const Query& query, OwnAnswer own, std::size_t limit, Time now, const Reply& reply) {
  if (!query.rd && own.chain.empty()) {
    ++stats_.refused;
    return reply(
        make_error(query, static_cast<unsigned>(Rcode::kRefused), true, limit, Ede::kNotAuthoritative, "recursion was not asked for"));
  }
  std::uint32_t ttl = zone.config().ttl_seconds;
  CacheKey key = cache_key(query, own.outside);
  forwarder_.resolve(key, now, [query, own = std::move(own), limit, reply, ttl](const Outcome& outcome) {
    RenderOptions options{.limit_bytes = limit, .now = std::chrono::steady_clock::now(), .stale = outcome.stale};
    if (!own.chain.empty()) return reply(finish_chain(own, ttl, query, outcome.response.get(), options));
    if (outcome.response) return reply(render_response(query, *outcome.response, options));
    reply(make_error(query, static_cast<unsigned>(outcome.rcode), true, limit, outcome.ede, outcome.why));
  });
}

DnsStats Resolver::stats() const {
  DnsStats out = forwarder_.stats();
  out.queries_udp = stats_.queries_udp;
  out.queries_tcp = stats_.queries_tcp;
  out.malformed = stats_.malformed;
  out.cluster_answers = stats_.cluster_answers;
  out.cluster_nxdomain = stats_.cluster_nxdomain;
  out.cluster_incomplete = stats_.cluster_incomplete;
  out.refused += stats_.refused;
  return out;
}

}  // namespace fairway::dns
