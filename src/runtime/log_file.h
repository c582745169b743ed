// Container logs on disk (CRI format, written by fairway-shim) as `kubectl logs` wants them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "sys/fd.h"

namespace fairway::runtime {

struct LogOptions {
  std::int64_t tail_lines = -1;  // -1: all
  std::int64_t since_ns = 0;     // unix time; 0: all
  std::int64_t limit_bytes = -1;
  bool timestamps = false;
};

// One line "TIME STREAM TAG TEXT" as output; empty if it is older than asked for, or damaged.
std::string render_log_line(std::string_view line, const LogOptions& options);

// Reads PATH.1 (rotated) and then PATH, and what is added to it later, over a rotation too.
class LogReader {
 public:
  static Result<LogReader> open(const std::string& path, LogOptions options);
  // The next piece of output, at most about 64 KiB; empty: nothing more for now.
  std::string next();
  bool limit_reached() const { return options_.limit_bytes >= 0 && sent_ >= options_.limit_bytes; }

 private:
  LogReader(std::string path, LogOptions options) : path_(std::move(path)), options_(options) {}
  bool advance();  // to the file that took the place of the current one
  void seek_tail();

  std::string path_;
  LogOptions options_;
  sys::Fd fd_;
  std::string partial_;
  std::int64_t sent_ = 0;
};

}  // namespace fairway::runtime
