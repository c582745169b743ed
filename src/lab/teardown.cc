#include "lab/teardown.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "lab/lock.h"
#include "lab/spec.h"
#include "sys/fd.h"
#include "sys/file.h"
#include "sys/netns.h"

namespace fairway::lab {
namespace fs = std::filesystem;
namespace {

struct MountPoint {
  std::string path, type;
};

// A space, a tab, a newline and a backslash stand in /proc/self/mounts as three octal digits (proc(5)).
std::string unescaped_path(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool escape = text[i] == '\\' && i + 3 < text.size();
    out += escape ? static_cast<char>(std::stoi(text.substr(i + 1, 3), nullptr, 8)) : text[i];
    if (escape) i += 3;
  }
  return out;
}

std::vector<MountPoint> mounts() {
  std::vector<MountPoint> out;
  std::ifstream in("/proc/self/mounts");
  for (std::string line; std::getline(in, line);) {
    std::istringstream fields(line);
    std::string device;
    MountPoint mount;
    fields >> device >> mount.path >> mount.type;
    mount.path = unescaped_path(mount.path);
    out.push_back(std::move(mount));
  }
  return out;
}

// Later mounts first, since they may lie on earlier ones. The folder itself may be somebody's disk: that one stays.
unsigned unmount_below(const std::string& dir) {
  unsigned count = 0;
  auto all = mounts();
  for (auto it = all.rbegin(); it != all.rend(); ++it)
    if (it->path.starts_with(dir + "/") && ::umount2(it->path.c_str(), MNT_DETACH) == 0) ++count;
  return count;
}

bool populated(const std::string& cgroup) {
  std::ifstream events(cgroup + "/cgroup.events");
  for (std::string key, value; events >> key >> value;)
    if (key == "populated") return value == "1";
  return false;
}

// cgroup.kill (Linux 5.14) ends the whole subtree at once; then waits until the last process is gone.
Status kill_cgroup(const std::string& cgroup) {
  sys::Fd kill_file(::open((cgroup + "/cgroup.kill").c_str(), O_WRONLY | O_CLOEXEC));
  if (!kill_file) return errno == ENOENT ? Status{} : Status{errno_error(errno, "open " + cgroup + "/cgroup.kill")};
  if (::write(kill_file.get(), "1", 1) < 0) return errno_error(errno, "kill the processes of " + cgroup);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (populated(cgroup)) {
    if (std::chrono::steady_clock::now() > deadline) return make_error(Code::kTimeout, "processes in " + cgroup + " do not end");
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return {};
}

void remove_cgroup_tree(const std::string& cgroup) {
  std::error_code ec;
  std::vector<std::string> dirs{cgroup};
  for (fs::recursive_directory_iterator it(cgroup, fs::directory_options::skip_permission_denied, ec), end; !ec && it != end;
       it.increment(ec))
    if (it->is_directory(ec)) dirs.push_back(it->path().string());
  std::sort(dirs.begin(), dirs.end(), [](const auto& a, const auto& b) { return a.size() > b.size(); });
  for (const auto& dir : dirs) ::rmdir(dir.c_str());
}

// The folder `sub` in cgroup2 and in every version-1 hierarchy, where runc puts the limits.
void remove_cgroups(const std::string& sub) {
  for (const auto& mount : mounts())
    if (mount.type == "cgroup2" || mount.type == "cgroup") remove_cgroup_tree(mount.path + "/" + sub);
}

std::vector<std::string> lab_namespaces(const Layout& layout) {
  std::vector<std::string> out = {kFabricNetns, kOutsideNetns};
  if (auto spec = read_spec(layout.spec()); spec.ok())
    for (const auto& node : spec->nodes) out.push_back(Layout::netns(node.name));
  std::error_code ec;
  for (const auto& entry : fs::directory_iterator("/run/netns", ec))
    if (entry.path().filename().string().starts_with(kPodNetnsPrefix)) out.push_back(entry.path().string());
  return out;
}

// The namespace that the runtime noted for a pod (src/runtime/pod.cc); one of ours, or empty.
std::string pod_netns(const std::string& pod_dir) {
  auto text = sys::read_file(pod_dir + "/sandbox.json", 1 << 20);
  if (!text.ok()) return "";
  boost::system::error_code ec;
  const auto value = boost::json::parse(*text, ec);
  const auto* netns = !ec && value.is_object() ? value.as_object().if_contains("netns") : nullptr;
  const std::string path = netns && netns->is_string() ? std::string(netns->as_string()) : "";
  return path.starts_with(std::string("/run/netns/") + kPodNetnsPrefix) ? path : "";
}

// Kills until the lock is ours. A supervisor that has only begun may hold the lock and not be in its control group yet;
// one that begins later finds the lock taken and ends.
Result<sys::Fd> end_processes(const std::string& cgroup, const std::string& lab_dir) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  for (;;) {
    FW_TRY(kill_cgroup(cgroup));
    auto lock = take_lab_lock(lab_dir);
    if (lock.ok() || lock.error().code != Code::kAlreadyExists || std::chrono::steady_clock::now() > deadline) return lock;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

// What a lab made in its folder, lab.json last; then the folder, unless somebody put something of theirs there. What is gone.
std::string remove_files(const Layout& layout) {
  std::error_code ec;
  for (const auto& entry : fs::directory_iterator(layout.dir, ec))
    if (is_lab_file(entry.path().filename().string())) fs::remove_all(entry.path(), ec);
  fs::remove(layout.spec(), ec);
  return fs::remove(layout.dir, ec) ? layout.dir : "the lab's files in " + layout.dir + " (not what else is there)";
}

}  // namespace

Result<std::vector<std::string>> teardown(const Layout& layout) {
  std::vector<std::string> done;
  const std::string cgroup = cgroup2_mount() + "/" + kCgroupName;
  std::error_code ec;
  if (fs::exists(cgroup, ec)) done.push_back("processes");
  FW_ASSIGN(const sys::Fd lock, end_processes(cgroup, layout.dir));
  if (const unsigned count = unmount_below(layout.dir); count > 0) done.push_back(std::to_string(count) + " mounts");
  unsigned namespaces = 0;
  for (const auto& path : lab_namespaces(layout)) {
    if (!fs::exists(path, ec)) continue;
    FW_TRY(sys::remove_netns(path));
    ++namespaces;
  }
  if (namespaces > 0) done.push_back(std::to_string(namespaces) + " network namespaces");
  remove_cgroups(kCgroupName);
  Status kept;
  if (fs::exists(layout.spec(), ec)) {
    if (auto spec = read_spec(layout.spec()); spec.ok()) done.push_back(remove_files(layout));
    else kept = std::move(spec).error().with_context("nothing of " + layout.dir + " was removed");
  }
  remove_lab_lock(lock);
  if (!kept.ok()) return std::move(kept).error();
  return done;
}

Status teardown_node(const Layout& layout, const std::string& lab_cgroup, const std::string& node) {
  FW_TRY(kill_cgroup(lab_cgroup + "/" + node));
  std::error_code ec;
  for (const auto& entry : fs::directory_iterator(layout.node(node) + "/pods", ec))
    if (const std::string netns = pod_netns(entry.path().string()); !netns.empty()) FW_TRY(sys::remove_netns(netns));
  unmount_below(layout.node(node));
  remove_cgroups(std::string(kCgroupName) + "/" + node);
  fs::remove_all(layout.node(node), ec);
  return {};
}

}  // namespace fairway::lab
