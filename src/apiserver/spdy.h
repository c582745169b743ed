// SPDY/3.1 framing (draft-mbelshe-httpbis-spdy-00 and SPDY draft 3.1), the part that kubectl's port-forward uses:
// the server's end of a byte stream, cut anywhere. No I/O: bytes in, events and bytes out.
//
// Header blocks share one zlib stream per direction, so every block is inflated, also of frames that are ignored.
// There is no flow control in it (moby/spdystream sends no window updates and obeys none): the owner bounds what
// it queues and stops reading. Limits: control frames and inflated header blocks of 64 KiB.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace fairway::apiserver {

using SpdyHeaders = std::vector<std::pair<std::string, std::string>>;

class SpdyServer {
 public:
  struct Events {
    std::function<void(std::uint32_t stream, const SpdyHeaders&, bool fin)> on_stream;
    std::function<void(std::uint32_t stream, std::string_view data, bool fin)> on_data;  // any cut; fin with the last
    std::function<void(std::uint32_t stream)> on_reset;
    std::function<void(std::string bytes)> send;
  };
  explicit SpdyServer(Events events);
  ~SpdyServer();
  SpdyServer(const SpdyServer&) = delete;
  SpdyServer& operator=(const SpdyServer&) = delete;

  Status feed(std::string_view bytes);  // after an error the session is over

  void reply(std::uint32_t stream);  // SYN_REPLY without headers
  void data(std::uint32_t stream, std::string_view bytes, bool fin);
  void reset(std::uint32_t stream);  // RST_STREAM, CANCEL

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The dictionary of SPDY/3's header compression (draft 3, section 2.6.10.1).
const std::string& spdy_dictionary();

}  // namespace fairway::apiserver
