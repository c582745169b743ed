#include "lab/lock.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "lab/layout.h"
#include "sys/file.h"

namespace fairway::lab {
namespace {

struct flock whole_file() {
  struct flock out {};
  out.l_type = F_WRLCK;
  out.l_whence = SEEK_SET;
  return out;
}

bool is_in_place(const sys::Fd& fd) {
  struct stat ours {
  }, there{};
  return ::fstat(fd.get(), &ours) == 0 && ::stat(kLockPath, &there) == 0 && ours.st_ino == there.st_ino && ours.st_dev == there.st_dev;
}

}  // namespace

Result<sys::Fd> take_lab_lock(const std::string& lab_dir) {
  for (;;) {
    sys::Fd fd(::open(kLockPath, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!fd) return errno_error(errno, std::string("open ") + kLockPath);
    auto whole = whole_file();
    if (::fcntl(fd.get(), F_OFD_SETLK, &whole) < 0)
      return make_error(Code::kAlreadyExists, std::string("another lab is up on this machine (") + kLockPath + " is held)");
    if (!is_in_place(fd)) continue;  // it was unlinked between open and lock
    const std::string text = lab_dir + "\n";
    if (::ftruncate(fd.get(), 0) < 0 || ::pwrite(fd.get(), text.data(), text.size(), 0) < 0)
      return errno_error(errno, "write the lab lock");
    return fd;
  }
}

std::string running_lab_dir() {
  sys::Fd fd(::open(kLockPath, O_RDWR | O_CLOEXEC));
  auto whole = whole_file();
  if (!fd || ::fcntl(fd.get(), F_OFD_GETLK, &whole) < 0 || whole.l_type == F_UNLCK) return "";
  auto text = sys::read_file(kLockPath, 4096);
  if (!text.ok()) return "";
  while (!text->empty() && text->back() == '\n') text->pop_back();
  return *text;
}

Result<sys::Fd> take_change_lock(const std::function<void()>& waiting) {
  sys::Fd fd(::open("/run", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return errno_error(errno, "open /run");
  // As a bare system call: <sys/file.h> is hidden behind our own header of that name.
  if (::syscall(SYS_flock, fd.get(), LOCK_EX | LOCK_NB) == 0) return fd;
  waiting();
  while (::syscall(SYS_flock, fd.get(), LOCK_EX) < 0)
    if (errno != EINTR) return errno_error(errno, "lock /run");
  return fd;
}

void remove_lab_lock(const sys::Fd& held) {
  if (is_in_place(held)) ::unlink(kLockPath);
}

}  // namespace fairway::lab
