#include "cni/netns_probe.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <cerrno>
#include <memory>

#include "io/netlink.h"
#include "sys/file.h"
#include "sys/netns.h"

namespace fairway::cni {
namespace {

constexpr ino_t kInitialPidNamespace = 0xEFFFFFFC;  // PROC_PID_INIT_INO, fixed by the kernel

bool same_file(const struct stat& a, const struct stat& b) { return a.st_dev == b.st_dev && a.st_ino == b.st_ino; }

bool sees_all_processes() {
  struct stat own {};
  return ::stat("/proc/self/ns/pid", &own) == 0 && own.st_ino == kInitialPidNamespace;
}

bool has_process(const struct stat& netns) {
  struct Close {
    void operator()(DIR* dir) const { ::closedir(dir); }
  };
  const std::unique_ptr<DIR, Close> proc(::opendir("/proc"));
  if (!proc) return true;
  while (const dirent* entry = ::readdir(proc.get())) {
    if (entry->d_name[0] < '0' || entry->d_name[0] > '9') continue;
    struct stat other {};
    if (::stat((std::string("/proc/") + entry->d_name + "/ns/net").c_str(), &other) == 0 && same_file(netns, other)) return true;
  }
  return false;
}

}  // namespace

Result<sys::Fd> open_pod_netns(const std::string& path) {
  // O_NONBLOCK: a path that turns out to be a FIFO must not hang us.
  sys::Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) return errno_error(errno, "open network namespace " + path);
  struct statfs filesystem {};
  struct stat own {
  }, theirs{};
  if (::fstatfs(fd.get(), &filesystem) < 0 || ::fstat(fd.get(), &theirs) < 0) return errno_error(errno, "look at " + path);
  if (filesystem.f_type != NSFS_MAGIC) return make_error(Code::kInvalid, path + " is not a network namespace");
  if (::stat("/proc/thread-self/ns/net", &own) < 0) return errno_error(errno, "look at the own network namespace");
  if (same_file(own, theirs)) return make_error(Code::kForbidden, path + " is the node's own network namespace");
  return fd;
}

NetnsLife probe_netns(const std::string& path, std::uint64_t cookie) {
  auto fd = open_pod_netns(path);
  if (!fd.ok()) return fd.error().code == Code::kNotFound || fd.error().code == Code::kInvalid ? NetnsLife::kGone : NetnsLife::kInhabited;
  auto socket = io::Netlink::open_in(*fd);
  if (!socket.ok())
    return socket.error().code == Code::kInvalid ? NetnsLife::kGone : NetnsLife::kInhabited;  // EINVAL: another kind of namespace
  const auto found = socket->netns_cookie();
  if (found.ok() && *found != cookie) return NetnsLife::kGone;
  struct stat netns {};
  if (!found.ok() || ::fstat(fd->get(), &netns) < 0 || !sees_all_processes() || has_process(netns)) return NetnsLife::kInhabited;
  return NetnsLife::kEmpty;
}

Result<std::string> boot_id() {
  FW_ASSIGN(std::string id, sys::read_file("/proc/sys/kernel/random/boot_id", 256));
  while (!id.empty() && id.back() == '\n') id.pop_back();
  return id;
}

}  // namespace fairway::cni
