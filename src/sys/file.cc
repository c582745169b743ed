#include "sys/file.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <filesystem>

#include "sys/fd.h"

namespace fairway::sys {

Result<std::string> read_file(const std::string& path, std::size_t limit_bytes) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return errno_error(errno, "open " + path);
  std::string out;
  char chunk[16384];
  for (;;) {
    const ssize_t n = ::read(fd.get(), chunk, sizeof chunk);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error(errno, "read " + path);
    if (n == 0) return out;
    out.append(chunk, static_cast<std::size_t>(n));
    if (out.size() > limit_bytes) return make_error(Code::kExhausted, path + " is larger than " + std::to_string(limit_bytes) + " bytes");
  }
}

static Status write_all(int fd, std::string_view content, const std::string& path) {
  while (!content.empty()) {
    const ssize_t n = ::write(fd, content.data(), content.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error(errno, "write " + path);
    content.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

Status write_file_atomic(const std::string& path, std::string_view content, mode_t mode, Sync sync) {
  const std::string temporary = path + ".tmp." + std::to_string(::getpid());
  Fd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode));
  if (!fd) return errno_error(errno, "create " + temporary);
  ::fchmod(fd.get(), mode);
  Status status = write_all(fd.get(), content, temporary);
  if (status.ok() && sync == Sync::kDisk && ::fsync(fd.get()) < 0) status = errno_error(errno, "fsync " + temporary);
  if (status.ok() && ::rename(temporary.c_str(), path.c_str()) < 0) status = errno_error(errno, "rename to " + path);
  if (!status.ok()) {
    ::unlink(temporary.c_str());
    return status;
  }
  if (sync == Sync::kDisk) {
    Fd dir(::open(std::filesystem::path(path).parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (dir) ::fsync(dir.get());
  }
  return {};
}

}  // namespace fairway::sys
