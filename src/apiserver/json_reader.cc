#include <fmt/format.h>

#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/value_stack.hpp>
#include <set>

#include "apiserver/body_reader.h"

namespace fairway::apiserver {
namespace {

namespace bj = boost::json;

// A SAX handler that builds the tree as bj::parse does, and beside it keeps the way to where it is.
class TreeHandler {
 public:
  static constexpr std::size_t max_object_size = 1'000'000;
  static constexpr std::size_t max_array_size = 1'000'000;
  static constexpr std::size_t max_key_size = 1 << 20;
  static constexpr std::size_t max_string_size = 64 << 20;

  Body take() { return {stack_.release(), std::move(duplicates_)}; }

  bool on_document_begin(bj::error_code&) {
    stack_.reset();
    return true;
  }
  bool on_document_end(bj::error_code&) { return true; }

  bool on_object_begin(bj::error_code&) {
    begin_value();
    levels_.emplace_back();
    return true;
  }
  bool on_object_end(std::size_t count, bj::error_code&) {
    levels_.pop_back();
    stack_.push_object(count);
    return true;
  }
  bool on_array_begin(bj::error_code&) {
    begin_value();
    levels_.emplace_back().array = true;
    return true;
  }
  bool on_array_end(std::size_t count, bj::error_code&) {
    levels_.pop_back();
    stack_.push_array(count);
    return true;
  }
  bool on_key_part(bj::string_view part, std::size_t, bj::error_code&) {
    key_.append(part.data(), part.size());
    stack_.push_chars(part);
    return true;
  }
  bool on_key(bj::string_view part, std::size_t, bj::error_code&) {
    key_.append(part.data(), part.size());
    stack_.push_key(part);
    Level& level = levels_.back();
    level.key = key_;
    if (!level.seen.insert(std::move(key_)).second && duplicates_.size() < 10)
      duplicates_.push_back(fmt::format("duplicate field \"{}\"", path()));
    key_.clear();
    return true;
  }
  bool on_string_part(bj::string_view part, std::size_t, bj::error_code&) {
    stack_.push_chars(part);
    return true;
  }
  bool on_string(bj::string_view part, std::size_t, bj::error_code&) {
    begin_value();
    stack_.push_string(part);
    return true;
  }
  bool on_number_part(bj::string_view, bj::error_code&) { return true; }
  bool on_int64(std::int64_t number, bj::string_view, bj::error_code&) {
    begin_value();
    stack_.push_int64(number);
    return true;
  }
  bool on_uint64(std::uint64_t number, bj::string_view, bj::error_code&) {
    begin_value();
    stack_.push_uint64(number);
    return true;
  }
  bool on_double(double number, bj::string_view, bj::error_code&) {
    begin_value();
    stack_.push_double(number);
    return true;
  }
  bool on_bool(bool value, bj::error_code&) {
    begin_value();
    stack_.push_bool(value);
    return true;
  }
  bool on_null(bj::error_code&) {
    begin_value();
    stack_.push_null();
    return true;
  }
  bool on_comment_part(bj::string_view, bj::error_code&) { return true; }
  bool on_comment(bj::string_view, bj::error_code&) { return true; }

 private:
  struct Level {
    bool array = false;
    std::size_t next = 0;
    std::string key;
    std::set<std::string> seen;
  };

  void begin_value() {
    if (!levels_.empty() && levels_.back().array) ++levels_.back().next;
  }

  std::string path() const {
    std::string text;
    for (const Level& level : levels_) {
      if (level.array) text += fmt::format("[{}]", level.next - 1);
      else text += (text.empty() ? "" : ".") + level.key;
    }
    return text;
  }

  bj::value_stack stack_;
  std::vector<Level> levels_;
  std::string key_;
  std::vector<std::string> duplicates_;
};

}  // namespace

ApiResult<Body> read_json(std::string_view text) {
  bj::parse_options options;
  options.max_depth = kMaxDepth;
  bj::basic_parser<TreeHandler> parser(options);
  bj::error_code error;
  const std::size_t used = parser.write_some(false, text.data(), text.size(), error);
  if (!error && text.find_first_not_of(" \t\r\n", used) != std::string_view::npos) error = bj::error::extra_data;
  if (error) return bad_request(fmt::format("error decoding JSON at byte {}: {}", used, error.message()));
  return parser.handler().take();
}

}  // namespace fairway::apiserver
