#include "shim/cri_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <ctime>

#include "shim/util.h"

namespace fairway::shim {

CriLog::CriLog(std::string path) : path_(std::move(path)) { open_file(); }

void CriLog::open_file() {
  fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
  struct stat st {};
  bytes_ = fd_ >= 0 && ::fstat(fd_, &st) == 0 ? st.st_size : 0;
}

void CriLog::line(int stream, const char* tag, const char* data, std::size_t size) {
  if (bytes_ > kRotateBytes) {
    ::close(fd_);
    ::rename(path_.c_str(), (path_ + ".1").c_str());
    open_file();
  }
  timespec ts{};
  ::clock_gettime(CLOCK_REALTIME, &ts);
  tm parts{};
  ::gmtime_r(&ts.tv_sec, &parts);
  char head[64];
  std::size_t used = std::strftime(head, sizeof head, "%Y-%m-%dT%H:%M:%S", &parts);
  used += static_cast<std::size_t>(
      std::snprintf(head + used, sizeof head - used, ".%09ldZ %s %s ", ts.tv_nsec, stream == 2 ? "stderr" : "stdout", tag));
  char newline = '\n';
  iovec parts_of_line[3] = {{head, used}, {const_cast<char*>(data), size}, {&newline, 1}};
  const ssize_t n = ::writev(fd_, parts_of_line, 3);
  if (n > 0) bytes_ += n;
}

void CriLog::write(int stream, const char* data, std::size_t size) {
  std::string& partial = partial_[stream == 2];
  const char* end = data + size;
  while (data < end) {
    const char* newline = static_cast<const char*>(std::memchr(data, '\n', static_cast<std::size_t>(end - data)));
    const char* stop = newline ? newline : end;
    while (partial.size() + static_cast<std::size_t>(stop - data) > kMaxLine) {
      const std::size_t take = kMaxLine - partial.size();
      partial.append(data, take);
      line(stream, "P", partial.data(), partial.size());
      partial.clear();
      data += take;
    }
    if (newline && partial.empty()) {
      line(stream, "F", data, static_cast<std::size_t>(stop - data));
    } else {
      partial.append(data, static_cast<std::size_t>(stop - data));
      if (newline) {
        line(stream, "F", partial.data(), partial.size());
        partial.clear();
      }
    }
    data = newline ? newline + 1 : end;
  }
}

void CriLog::finish() {
  for (int stream : {1, 2}) {
    std::string& partial = partial_[stream == 2];
    if (!partial.empty()) line(stream, "F", partial.data(), partial.size());
    partial.clear();
  }
}

}  // namespace fairway::shim
