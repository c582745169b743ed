#include "datapath/attach.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <string_view>

#include "sys/fd.h"

namespace fairway::datapath {
namespace {

// By number: libbpf 1.1 does not know them yet (linux/bpf.h of 6.6).
constexpr auto kTcxIngress = static_cast<bpf_attach_type>(46);
constexpr auto kTcxEgress = static_cast<bpf_attach_type>(47);
// Ours among a device's clsact filters.
constexpr std::uint32_t kFilterHandle = 1;
constexpr std::uint32_t kFilterPriority = 1;

std::string describe(const Attachment& a) {
  if (a.kind == Attachment::Kind::kCgroup) return "program " + a.program + " on the cgroup";
  return "program " + a.program + " on device " + std::to_string(a.ifindex);
}

bool parse_pin(const std::string& name, Attachment& out) {
  const auto first = name.find(':');
  if (first == std::string::npos) return false;
  const std::string kind = name.substr(0, first);
  const auto second = name.find(':', first + 1);
  out.program = name.substr(first + 1, second == std::string::npos ? std::string::npos : second - first - 1);
  if (kind == "cgroup") {
    out.kind = Attachment::Kind::kCgroup;
    return second == std::string::npos;
  }
  if (second == std::string::npos || (kind != "tcx" && kind != "clsact")) return false;
  out.kind = kind == "tcx" ? Attachment::Kind::kTcx : Attachment::Kind::kClsact;
  const char* begin = name.data() + second + 1;
  const char* end = name.data() + name.size();
  return std::from_chars(begin, end, out.ifindex).ptr == end && begin != end;
}

Status unlink_pin(const std::string& path) {
  if (::unlink(path.c_str()) < 0 && errno != ENOENT) return errno_error(errno, "remove pin " + path);
  return {};
}

struct TcHook {
  bpf_tc_hook hook{};
  TcHook(std::uint32_t ifindex, Hook side) {
    hook.sz = sizeof(hook);
    hook.ifindex = static_cast<int>(ifindex);
    hook.attach_point = side == Hook::kIngress ? BPF_TC_INGRESS : BPF_TC_EGRESS;
  }
};

}  // namespace

Hook hook_of(const std::string& program) { return program.ends_with("_out") ? Hook::kEgress : Hook::kIngress; }

// No device has number 0: a kernel with tcx says ENODEV, one without it does not know the type.
bool has_tcx(int prog_fd) {
  const int fd = bpf_link_create(prog_fd, 0, kTcxIngress, nullptr);
  if (fd >= 0) ::close(fd);
  return fd < 0 && errno == ENODEV;
}

std::string Attachments::pin_of(const Attachment& a) const {
  switch (a.kind) {
    case Attachment::Kind::kTcx:
      return dir_ + "/tcx:" + a.program + ":" + std::to_string(a.ifindex);
    case Attachment::Kind::kClsact:
      return dir_ + "/clsact:" + a.program + ":" + std::to_string(a.ifindex);
    case Attachment::Kind::kCgroup:
      return dir_ + "/cgroup:" + a.program;
  }
  return {};
}

Status Attachments::attach_device(const std::string& program, int prog_fd, std::uint32_t ifindex, Hook hook, AttachMode mode) {
  if (ifindex == 0) return make_error(Code::kInvalid, "attach " + program + ": device number 0");
  const bool tcx = mode == AttachMode::kTcx;
  const Attachment a{tcx ? Attachment::Kind::kTcx : Attachment::Kind::kClsact, program, ifindex};
  FW_TRY(tcx ? attach_tcx(a, prog_fd, hook) : attach_clsact(a, prog_fd, hook));
  // An attachment of the other kind, left by an agent on another setting, goes only now: never a moment without a program.
  Attachment other = a;
  other.kind = tcx ? Attachment::Kind::kClsact : Attachment::Kind::kTcx;
  if (::access(pin_of(other).c_str(), F_OK) == 0) return detach(other);
  return {};
}

Status Attachments::attach_tcx(const Attachment& a, int prog_fd, Hook hook) {
  const std::string pin = pin_of(a);
  if (sys::Fd link(bpf_obj_get(pin.c_str())); link) {
    if (bpf_link_update(link.get(), prog_fd, nullptr) == 0) return {};
    if (errno != ENOLINK) return errno_error(errno, "swap " + describe(a));
    FW_TRY(unlink_pin(pin));  // of a device that had this number before
  }
  sys::Fd link(bpf_link_create(prog_fd, static_cast<int>(a.ifindex), hook == Hook::kIngress ? kTcxIngress : kTcxEgress, nullptr));
  if (!link) return errno_error(errno, "attach " + describe(a));
  if (bpf_obj_pin(link.get(), pin.c_str()) < 0) return errno_error(errno, "pin " + describe(a));
  return {};
}

Status Attachments::attach_clsact(const Attachment& a, int prog_fd, Hook side) {
  TcHook tc(a.ifindex, side);
  if (const int rc = bpf_tc_hook_create(&tc.hook); rc < 0 && rc != -EEXIST)
    return errno_error(-rc, "create clsact on device " + std::to_string(a.ifindex));
  LIBBPF_OPTS(bpf_tc_opts, opts, .prog_fd = prog_fd, .flags = BPF_TC_F_REPLACE, .handle = kFilterHandle, .priority = kFilterPriority);
  if (const int rc = bpf_tc_attach(&tc.hook, &opts); rc < 0) return errno_error(-rc, "attach " + describe(a));
  const std::string pin = pin_of(a);
  FW_TRY(unlink_pin(pin));
  if (bpf_obj_pin(prog_fd, pin.c_str()) < 0) return errno_error(errno, "pin " + describe(a));
  return {};
}

Status Attachments::attach_cgroup(const std::string& program, int prog_fd, const std::string& path, int attach_type) {
  const Attachment a{Attachment::Kind::kCgroup, program, 0};
  sys::Fd cgroup(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!cgroup) return errno_error(errno, "open cgroup " + path);
  struct stat st {};
  if (::fstat(cgroup.get(), &st) < 0) return errno_error(errno, "look at cgroup " + path);
  const std::string pin = pin_of(a);
  if (sys::Fd link(bpf_obj_get(pin.c_str())); link) {
    bpf_link_info info{};
    __u32 size = sizeof(info);
    const bool same = bpf_obj_get_info_by_fd(link.get(), &info, &size) == 0 && info.cgroup.cgroup_id == st.st_ino;
    if (same && bpf_link_update(link.get(), prog_fd, nullptr) == 0) return {};
    FW_TRY(unlink_pin(pin));
  }
  sys::Fd link(bpf_link_create(prog_fd, cgroup.get(), static_cast<bpf_attach_type>(attach_type), nullptr));
  if (!link) return errno_error(errno, "attach " + describe(a) + " " + path);
  if (bpf_obj_pin(link.get(), pin.c_str()) < 0) return errno_error(errno, "pin " + describe(a));
  return {};
}

Status Attachments::detach(const Attachment& a) {
  if (a.kind == Attachment::Kind::kClsact) {
    TcHook tc(a.ifindex, hook_of(a.program));
    LIBBPF_OPTS(bpf_tc_opts, opts, .handle = kFilterHandle, .priority = kFilterPriority);
    if (const int rc = bpf_tc_detach(&tc.hook, &opts); rc < 0 && rc != -ENODEV && rc != -ENOENT && rc != -EINVAL)
      return errno_error(-rc, "detach " + describe(a));
  }
  // A pin is a link's last reference, but the link goes a moment after it; until then the program could not be attached anew.
  if (sys::Fd link(bpf_obj_get(pin_of(a).c_str())); link && a.kind == Attachment::Kind::kTcx)
    (void)bpf_link_detach(link.get());  // what fails here, goes with the pin
  return unlink_pin(pin_of(a));
}

Status Attachments::detach_device(const std::string& program, std::uint32_t ifindex) {
  for (const auto kind : {Attachment::Kind::kTcx, Attachment::Kind::kClsact}) {
    const Attachment a{kind, program, ifindex};
    if (::access(pin_of(a).c_str(), F_OK) == 0) FW_TRY(detach(a));
  }
  return {};
}

Status Attachments::swap_one(const Attachment& a, int prog_fd) {
  if (prog_fd < 0) return detach(a);
  if (a.kind != Attachment::Kind::kClsact) {
    sys::Fd link(bpf_obj_get(pin_of(a).c_str()));
    if (!link) return errno_error(errno, "open the link of " + describe(a));
    if (bpf_link_update(link.get(), prog_fd, nullptr) == 0) return {};
    if (errno == ENOLINK) return unlink_pin(pin_of(a));  // its device or cgroup is gone
    return errno_error(errno, "swap " + describe(a));
  }
  TcHook tc(a.ifindex, hook_of(a.program));
  LIBBPF_OPTS(bpf_tc_opts, query, .handle = kFilterHandle, .priority = kFilterPriority);
  if (bpf_tc_query(&tc.hook, &query) < 0) return unlink_pin(pin_of(a));  // the device is gone, or is another by now
  return attach_clsact(a, prog_fd, hook_of(a.program));
}

Result<std::vector<Attachment>> Attachments::list() const {
  std::vector<Attachment> found;
  std::error_code ec;
  for (std::filesystem::directory_iterator it(dir_, ec), end; !ec && it != end; it.increment(ec)) {
    Attachment a;
    if (parse_pin(it->path().filename().string(), a)) found.push_back(std::move(a));
  }
  if (ec && ec != std::errc::no_such_file_or_directory) return errno_error(ec.value(), "list " + dir_);
  return found;
}

Status Attachments::swap_all(const std::function<int(const std::string&)>& fd_of) {
  FW_ASSIGN(const auto found, list());
  for (const Attachment& a : found) FW_TRY(swap_one(a, fd_of(a.program)));
  return {};
}

Status Attachments::remove_all() {
  FW_ASSIGN(const auto found, list());
  for (const Attachment& a : found) FW_TRY(detach(a));
  return {};
}

}  // namespace fairway::datapath
