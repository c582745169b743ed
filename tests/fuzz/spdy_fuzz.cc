// The SPDY/3.1 session of port-forward: whatever a client sends.
// fuzz-deps: fw_apiserver
//
// Property: what comes out does not depend on how the stream is cut (first byte: the size of the pieces).
#include <algorithm>
#include <cstdint>
#include <string>

#include "apiserver/spdy.h"
#include "base/check.h"

namespace {

using fairway::apiserver::SpdyHeaders;
using fairway::apiserver::SpdyServer;

struct Outcome {
  std::string events;
  std::uint32_t last = 0;
  bool open = false, ok = true;
};

Outcome run(std::string_view bytes, std::size_t piece) {
  Outcome out;
  SpdyServer* session = nullptr;
  SpdyServer spdy({.on_stream =
                       [&](std::uint32_t stream, const SpdyHeaders& headers, bool fin) {
                         out.events += "\nstream " + std::to_string(stream) + (fin ? " fin" : "");
                         for (const auto& [name, value] : headers) out.events += name + "=" + value;
                         out.open = false;
                         session->reply(stream);
                       },
                   .on_data =
                       [&](std::uint32_t stream, std::string_view data, bool fin) {
                         if (!out.open || stream != out.last) out.events += "\ndata " + std::to_string(stream) + ":";
                         out.events += data;
                         if (fin) out.events += "!";
                         out.open = !fin;
                         out.last = stream;
                       },
                   .on_reset =
                       [&](std::uint32_t stream) {
                         out.events += "\nreset " + std::to_string(stream);
                         out.open = false;
                       },
                   .send =
                       [&](const std::string& sent) {
                         out.events += "\nsent " + std::to_string(sent.size());
                         out.open = false;
                       }});
  session = &spdy;
  while (!bytes.empty() && out.ok) {
    const std::size_t part = std::min(piece, bytes.size());
    out.ok = spdy.feed(bytes.substr(0, part)).ok();
    bytes.remove_prefix(part);
  }
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const Outcome whole = run(bytes, std::max<std::size_t>(1, bytes.size()));
  const Outcome pieces = run(bytes, 1u + data[0] % 64u);
  FW_CHECK(whole.ok == pieces.ok);
  FW_CHECK(whole.events == pieces.events);
  return 0;
}
