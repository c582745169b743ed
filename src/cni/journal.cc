#include "cni/journal.h"

#include <fcntl.h>
#include <unistd.h>
#include <zlib.h>

#include <cerrno>
#include <charconv>
#include <cstdio>

#include "sys/file.h"

namespace fairway::cni {
namespace {

constexpr std::size_t kMaxJournalBytes = 64 << 20;
constexpr std::size_t kChecksumBytes = 8;  // hex digits

unsigned long checksum(std::string_view record) {
  return ::crc32(0, reinterpret_cast<const Bytef*>(record.data()), static_cast<uInt>(record.size()));
}

// "0a1b2c3d {...}\n"
std::string line_of(std::string_view record) {
  char sum[kChecksumBytes + 2];
  std::snprintf(sum, sizeof sum, "%08lx ", checksum(record));
  std::string line(sum);
  line += record;
  line += '\n';
  return line;
}

bool is_intact(std::string_view line) {
  if (line.size() <= kChecksumBytes || line[kChecksumBytes] != ' ') return false;
  unsigned long sum = 0;
  const auto [end, failed] = std::from_chars(line.data(), line.data() + kChecksumBytes, sum, 16);
  return failed == std::errc{} && end == line.data() + kChecksumBytes && sum == checksum(line.substr(kChecksumBytes + 1));
}

struct Scan {
  std::size_t good_bytes = 0;  // up to the end of the last complete line
  std::size_t damaged = 0;
};

Scan scan(std::string_view text, const std::function<void(std::string_view)>& replay) {
  Scan out;
  while (out.good_bytes < text.size()) {
    const std::size_t end = text.find('\n', out.good_bytes);
    if (end == std::string_view::npos) break;  // torn by a crash
    const std::string_view line = text.substr(out.good_bytes, end - out.good_bytes);
    if (is_intact(line)) replay(line.substr(kChecksumBytes + 1));
    else ++out.damaged;
    out.good_bytes = end + 1;
  }
  return out;
}

}  // namespace

Result<Journal> Journal::open(std::string path, const std::function<void(std::string_view)>& replay) {
  Journal journal;
  journal.path_ = std::move(path);
  auto text = sys::read_file(journal.path_, kMaxJournalBytes);
  if (!text.ok() && text.error().code != Code::kNotFound) return std::move(text).error();
  if (text.ok()) {
    const Scan found = scan(*text, replay);
    journal.damaged_ = found.damaged;
    if (found.damaged > 0) FW_TRY(sys::write_file_atomic(journal.path_ + ".damaged", *text, 0600));
    if (found.good_bytes < text->size() && ::truncate(journal.path_.c_str(), static_cast<off_t>(found.good_bytes)) < 0)
      return errno_error(errno, "cut the torn end off " + journal.path_);
    journal.size_bytes_ = found.good_bytes;
  }
  FW_TRY(journal.reopen());
  return journal;
}

Status Journal::reopen() {
  fd_.reset(::open(path_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600));
  if (!fd_) return errno_error(errno, "open " + path_);
  return {};
}

Status Journal::append(std::string_view record) {
  const std::string line = line_of(record);
  ssize_t written;
  do written = ::write(fd_.get(), line.data(), line.size());
  while (written < 0 && errno == EINTR);
  const int err = errno;
  if (written == static_cast<ssize_t>(line.size())) {
    size_bytes_ += line.size();
    return {};
  }
  // A disk that is full takes a part: without it the next record would be glued to it.
  if (written > 0 && ::ftruncate(fd_.get(), static_cast<off_t>(size_bytes_)) < 0)
    return errno_error(errno, "cut a partial record off " + path_);
  return errno_error(written < 0 ? err : ENOSPC, "write " + path_);
}

Status Journal::rewrite(const std::vector<std::string>& records) {
  std::string text;
  for (const auto& record : records) text += line_of(record);
  FW_TRY(sys::write_file_atomic(path_, text, 0600));
  FW_TRY(reopen());
  size_bytes_ = text.size();
  return {};
}

}  // namespace fairway::cni
