#include "runtime/log_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "runtime/json.h"

namespace fairway::runtime {

std::string render_log_line(std::string_view line, const LogOptions& options) {
  const auto first = line.find(' ');
  const auto second = first == line.npos ? line.npos : line.find(' ', first + 1);
  const auto third = second == line.npos ? line.npos : line.find(' ', second + 1);
  if (third == line.npos) return "";
  if (options.since_ns > 0 && parse_rfc3339(std::string(line.substr(0, first))) < options.since_ns) return "";
  std::string out = options.timestamps ? std::string(line.substr(0, first + 1)) : "";
  out += line.substr(third + 1);
  if (line.substr(second + 1, third - second - 1) == "F") out += '\n';
  return out;
}

Result<LogReader> LogReader::open(const std::string& path, LogOptions options) {
  LogReader reader(path, options);
  if (options.tail_lines >= 0) {
    reader.fd_ = sys::Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (reader.fd_) reader.seek_tail();
  } else {
    reader.fd_ = sys::Fd(::open((path + ".1").c_str(), O_RDONLY | O_CLOEXEC));
    if (!reader.fd_) reader.fd_ = sys::Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  }
  if (!reader.fd_) return errno_error(errno, "open log " + path);
  return reader;
}

// Backwards by blocks, counting line ends.
void LogReader::seek_tail() {
  off_t at = ::lseek(fd_.get(), 0, SEEK_END);
  std::int64_t lines = 0;
  char block[16384];
  while (at > 0) {
    const off_t from = std::max<off_t>(0, at - static_cast<off_t>(sizeof block));
    const ssize_t n = ::pread(fd_.get(), block, static_cast<std::size_t>(at - from), from);
    if (n <= 0) break;
    for (ssize_t i = n - 1; i >= 0; --i)
      if (block[i] == '\n' && ++lines > options_.tail_lines) {
        ::lseek(fd_.get(), from + i + 1, SEEK_SET);
        return;
      }
    at = from;
  }
  ::lseek(fd_.get(), 0, SEEK_SET);
}

bool LogReader::advance() {
  struct stat mine {
  }, named{};
  if (::fstat(fd_.get(), &mine) < 0 || ::stat(path_.c_str(), &named) < 0 || mine.st_ino == named.st_ino) return false;
  sys::Fd next_file(::open(path_.c_str(), O_RDONLY | O_CLOEXEC));
  if (!next_file) return false;
  fd_ = std::move(next_file);
  return true;
}

std::string LogReader::next() {
  std::string out;
  char block[65536];
  while (out.empty() && !limit_reached()) {
    const ssize_t n = ::read(fd_.get(), block, sizeof block);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      if (!advance()) break;
      continue;
    }
    partial_.append(block, static_cast<std::size_t>(n));
    std::size_t at = 0;
    for (std::size_t end; (end = partial_.find('\n', at)) != std::string::npos; at = end + 1)
      out += render_log_line(std::string_view(partial_).substr(at, end - at), options_);
    partial_.erase(0, at);
  }
  if (options_.limit_bytes >= 0 && static_cast<std::int64_t>(out.size()) > options_.limit_bytes - sent_)
    out.resize(static_cast<std::size_t>(options_.limit_bytes - sent_));
  sent_ += static_cast<std::int64_t>(out.size());
  return out;
}

}  // namespace fairway::runtime
