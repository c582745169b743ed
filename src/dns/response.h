// Response: one upstream answer as it is kept, and how it goes out again to any client.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "dns/wire.h"

namespace fairway::dns {

using Time = std::chrono::steady_clock::time_point;
using std::chrono::milliseconds;

// Header, question and records of the upstream's message, without its OPT record.
struct Response {
  std::vector<std::uint8_t> message;
  std::vector<std::uint16_t> ttl_offsets;
  unsigned rcode = 0;
  bool authentic = false;
  std::uint16_t answers = 0, authorities = 0, additionals = 0;
  std::size_t body_at = 0;
  std::uint32_t ttl_seconds = 0;
  Time stored;

  std::size_t size_bytes() const { return sizeof *this + message.capacity() + 2 * ttl_offsets.capacity(); }
};

// `message` has passed parse_answer, which gave `parsed`.
std::shared_ptr<const Response> keep_response(Bytes message, const UpstreamAnswer& parsed, Time now);

struct RenderOptions {
  std::size_t limit_bytes = 512;
  Time now;
  bool stale = false;  // TTLs become 30 s (RFC 8767 4), and EDE says so
};
std::vector<std::uint8_t> render_response(const Query& query, const Response& response, const RenderOptions& options);

// Writes the response's records after what `writer` holds already: for a CNAME of ours that leads outside.
void append_response(AnswerWriter& writer, const Response& response, const RenderOptions& options);

}  // namespace fairway::dns
