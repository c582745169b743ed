#include "io/http_parser.h"

#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/error.hpp>

namespace fairway::io {
namespace {

namespace http = boost::beast::http;
using boost::system::error_code;
using BeastText = boost::beast::string_view;

std::string_view text_of(BeastText text) { return {text.data(), text.size()}; }

// What requests and responses share: the head's total size, and bodies given on without a copy.
template <bool is_request>
class Parser : public http::basic_parser<is_request> {
 public:
  explicit Parser(std::size_t max_header_bytes) : max_header_bytes_(max_header_bytes) {
    this->eager(true);
    this->header_limit(static_cast<std::uint32_t>(max_header_bytes));
  }

  std::string method, target;
  Headers headers;
  int status = 0;
  bool http11 = true;
  std::function<void(std::string_view)> on_body;
  std::function<void(std::uint64_t)> on_length;

 protected:
  bool count(std::size_t bytes, error_code& ec) {
    head_bytes_ += bytes;
    if (head_bytes_ > max_header_bytes_) ec = http::error::header_limit;
    return !ec;
  }
  void on_request_impl(http::verb, BeastText method_text, BeastText target_text, int version, error_code& ec) override {
    http11 = version >= 11;
    method.assign(method_text.data(), method_text.size());
    target.assign(target_text.data(), target_text.size());
    count(method.size() + target.size() + 12, ec);
  }
  void on_response_impl(int code, BeastText reason, int, error_code& ec) override {
    status = code;
    count(reason.size() + 15, ec);
  }
  void on_field_impl(http::field, BeastText name, BeastText value, error_code& ec) override {
    if (!count(name.size() + value.size() + 4, ec) || this->is_header_done()) return;  // trailers are counted and left out
    headers.add(text_of(name), std::string(text_of(value)));
  }
  void on_header_impl(error_code&) override {}
  void on_body_init_impl(const boost::optional<std::uint64_t>& length, error_code&) override {
    if (length && on_length) on_length(*length);
  }
  std::size_t on_body_impl(BeastText body, error_code&) override {
    on_body(text_of(body));
    return body.size();
  }
  void on_chunk_header_impl(std::uint64_t, BeastText extensions, error_code& ec) override {
    if (extensions.size() > max_header_bytes_) ec = http::error::header_limit;
  }
  std::size_t on_chunk_body_impl(std::uint64_t, BeastText body, error_code&) override {
    on_body(text_of(body));
    return body.size();
  }
  void on_finish_impl(error_code&) override {}

 private:
  std::size_t max_header_bytes_, head_bytes_ = 0;
};

int status_of(const error_code& ec) {
  if (ec == http::error::header_limit) return 431;
  if (ec == http::error::body_limit) return 413;
  if (ec == http::error::bad_version) return 505;
  return 400;
}

// An unfinished head or chunk header stays with the caller; it must not grow without end.
template <typename P>
ParseProgress feed_parser(P& parser, std::string_view data, std::size_t max_left) {
  ParseProgress progress;
  while (progress.consumed < data.size() && !parser.is_done()) {
    error_code ec;
    progress.consumed += parser.put(boost::asio::const_buffer(data.data() + progress.consumed, data.size() - progress.consumed), ec);
    if (ec == http::error::need_more) {
      if (data.size() - progress.consumed > max_left) ec = http::error::header_limit;
      else break;
    }
    if (ec) {
      progress.error_status = status_of(ec);
      progress.error = ec.message();
      break;
    }
  }
  return progress;
}

}  // namespace

struct RequestParser::Impl : Parser<true> {
  Impl(std::size_t max_header_bytes, std::size_t max_body_bytes) : Parser(max_header_bytes), limit(max_header_bytes) {
    this->body_limit(max_body_bytes);
    on_body = [this](std::string_view piece) { message.body.append(piece); };
    on_length = [this](std::uint64_t length) { message.body.reserve(length); };  // body_limit was checked before
  }
  HttpRequest message;
  std::size_t limit;
};

RequestParser::RequestParser(std::size_t max_header_bytes, std::size_t max_body_bytes)
    : impl_(std::make_unique<Impl>(max_header_bytes, max_body_bytes)) {}
RequestParser::~RequestParser() = default;
ParseProgress RequestParser::feed(std::string_view data) { return feed_parser(*impl_, data, impl_->limit); }
bool RequestParser::head_done() const { return impl_->is_header_done(); }
bool RequestParser::done() const { return impl_->is_done(); }
bool RequestParser::keep_alive() const { return impl_->keep_alive(); }
bool RequestParser::http11() const { return impl_->http11; }
const Headers& RequestParser::headers() const { return impl_->headers; }
HttpRequest& RequestParser::request() {
  if (!impl_->method.empty()) {
    impl_->message.method = std::exchange(impl_->method, {});
    impl_->message.target = std::move(impl_->target);
    impl_->message.headers = std::move(impl_->headers);
  }
  return impl_->message;
}

struct ResponseParser::Impl : Parser<false> {
  explicit Impl(std::size_t max_header_bytes) : Parser(max_header_bytes), limit(max_header_bytes) {
    this->body_limit(boost::none);  // the user of each piece decides
    on_length = [this](std::uint64_t n) { length = n; };
  }
  std::size_t limit;
  std::uint64_t length = 0;
};

ResponseParser::ResponseParser(std::size_t max_header_bytes, bool head_request, OnBody on_body)
    : impl_(std::make_unique<Impl>(max_header_bytes)) {
  impl_->on_body = std::move(on_body);
  impl_->skip(head_request);
}
ResponseParser::~ResponseParser() = default;
ParseProgress ResponseParser::feed(std::string_view data) { return feed_parser(*impl_, data, impl_->limit); }
ParseProgress ResponseParser::feed_end() {
  error_code ec = http::error::partial_message;
  if (impl_->got_some()) impl_->put_eof(ec);
  ParseProgress progress;
  if (ec) {
    progress.error_status = 400;
    progress.error = ec.message();
  }
  return progress;
}
bool ResponseParser::head_done() const { return impl_->is_header_done(); }
bool ResponseParser::done() const { return impl_->is_done(); }
bool ResponseParser::keep_alive() const { return impl_->keep_alive(); }
int ResponseParser::status() const { return impl_->status; }
std::uint64_t ResponseParser::length_hint() const { return impl_->length; }
Headers& ResponseParser::headers() { return impl_->headers; }

}  // namespace fairway::io
