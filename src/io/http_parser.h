// Incremental HTTP/1.1 parsers over Boost.Beast's, which do not show here (compile time). Private to src/io.
// Limits hold while bytes come in: the whole head (Beast's own limit is for one call only), and the body.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "io/http.h"

namespace fairway::io {

struct ParseProgress {
  std::size_t consumed = 0;
  int error_status = 0;  // 400, 413, 431 or 505: the input is refused; 0: fine
  std::string error;
};

class RequestParser {
 public:
  RequestParser(std::size_t max_header_bytes, std::size_t max_body_bytes);
  ~RequestParser();
  // Takes as much as it can of one request; call again with what was left and more.
  ParseProgress feed(std::string_view data);
  bool head_done() const;
  bool done() const;
  bool keep_alive() const;
  bool http11() const;
  const Headers& headers() const;  // once the head is done, until request() is moved from
  HttpRequest& request();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

class ResponseParser {
 public:
  using OnBody = std::function<void(std::string_view)>;
  ResponseParser(std::size_t max_header_bytes, bool head_request, OnBody on_body);
  ~ResponseParser();
  ParseProgress feed(std::string_view data);
  ParseProgress feed_end();  // the connection has ended
  bool head_done() const;
  bool done() const;
  bool keep_alive() const;
  int status() const;
  std::uint64_t length_hint() const;  // Content-Length, or 0
  Headers& headers();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fairway::io
