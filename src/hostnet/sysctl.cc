#include "hostnet/sysctl.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "sys/fd.h"
#include "sys/file.h"

namespace fairway::hostnet {

Result<std::string> read_sysctl(const std::string& path) {
  FW_ASSIGN(std::string text, sys::read_file("/proc/sys/" + path, 4096));
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

Status ensure_sysctl(const std::string& path, std::string_view value) {
  FW_ASSIGN(const std::string now, read_sysctl(path));
  if (now == value) return {};
  const sys::Fd fd(::open(("/proc/sys/" + path).c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd) return errno_error(errno, "open sysctl " + path);
  if (::write(fd.get(), value.data(), value.size()) < 0) return errno_error(errno, "set sysctl " + path + " to " + std::string(value));
  return {};
}

}  // namespace fairway::hostnet
