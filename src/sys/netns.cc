#include "sys/netns.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <thread>

#include "base/check.h"

namespace fairway::sys {

Result<Fd> open_netns(const std::string& path) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return errno_error(errno, "open network namespace " + path);
  return fd;
}

Result<Fd> current_netns() { return open_netns("/proc/thread-self/ns/net"); }

static Status bring_up_loopback() {
  Fd sock(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq req{};
  req.ifr_name[0] = 'l';
  req.ifr_name[1] = 'o';
  if (::ioctl(sock.get(), SIOCGIFFLAGS, &req) < 0) return errno_error(errno, "read flags of lo");
  req.ifr_flags |= IFF_UP;
  if (::ioctl(sock.get(), SIOCSIFFLAGS, &req) < 0) return errno_error(errno, "set lo up");
  return {};
}

// The new namespace is made by a thread that ends: no other thread ever changes its own.
static Status unshare_and_pin(const std::string& path) {
  if (::unshare(CLONE_NEWNET) < 0) return errno_error(errno, "unshare network namespace");
  FW_TRY(bring_up_loopback());
  if (::mount("/proc/thread-self/ns/net", path.c_str(), "none", MS_BIND, nullptr) < 0)
    return errno_error(errno, "pin network namespace " + path);
  return {};
}

Status create_netns(const std::string& path) {
  std::error_code ec;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), ec);
  Fd file(::open(path.c_str(), O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444));
  if (!file) return errno_error(errno, "create " + path);
  Status status;
  std::thread([&] { status = unshare_and_pin(path); }).join();
  if (!status.ok()) ::unlink(path.c_str());
  return status;
}

Status remove_netns(const std::string& path) {
  if (::umount2(path.c_str(), MNT_DETACH) < 0 && errno != EINVAL && errno != ENOENT) return errno_error(errno, "unmount " + path);
  if (::unlink(path.c_str()) < 0 && errno != ENOENT) return errno_error(errno, "remove " + path);
  return {};
}

Status in_netns(const Fd& netns, const std::function<Status()>& body) {
  FW_ASSIGN(const Fd home, current_netns());
  if (::setns(netns.get(), CLONE_NEWNET) < 0) return errno_error(errno, "enter network namespace");
  Status status = body();
  FW_CHECK(::setns(home.get(), CLONE_NEWNET) == 0);
  return status;
}

}  // namespace fairway::sys
