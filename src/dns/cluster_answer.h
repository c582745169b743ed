// Answers of our own: the cluster's names, and the few that no resolver should ask others for (RFC 6761, 8482).
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "compile/dns/zone.h"
#include "dns/response.h"
#include "dns/wire.h"

namespace fairway::dns {

enum class AnswerClass { kRecords, kNxDomain, kIncomplete, kOther };

// What our own data says: a whole answer, or (`outside`) a name to ask upstreams for, possibly at the end of CNAMEs of ours.
struct OwnAnswer {
  std::optional<std::vector<std::uint8_t>> message;
  AnswerClass kind = AnswerClass::kOther;
  Name outside;
  std::vector<std::pair<Name, Name>> chain;  // owner, target
};

// `turn` rotates sets of addresses: each client's first differs.
OwnAnswer answer_own(const compile::dns::Zone& zone, const Query& query, std::size_t limit_bytes, std::uint32_t turn);

// The CNAMEs of `own`, then what the upstream said (nullptr: SERVFAIL).
std::vector<std::uint8_t> finish_chain(const OwnAnswer& own, std::uint32_t ttl_seconds, const Query& query, const Response* response,
                                       const RenderOptions& options);

}  // namespace fairway::dns
