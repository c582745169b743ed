#include "runtime/oci_spec.h"

#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <sstream>

#include "k8s/quantity.h"
#include "sys/file.h"

namespace fairway::runtime {
namespace {

// clang-format off
constexpr const char* kCapabilities[] = {
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID",
    "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK",
    "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE",
    "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL", "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE"};
// clang-format on

const std::set<std::string> kDefaultCapabilities = {
    "CAP_CHOWN",  "CAP_DAC_OVERRIDE", "CAP_FSETID",  "CAP_FOWNER",           "CAP_MKNOD",      "CAP_NET_RAW", "CAP_SETGID",
    "CAP_SETUID", "CAP_SETFCAP",      "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL",    "CAP_AUDIT_WRITE"};

bool is_number(const std::string& in) { return !in.empty() && in.size() < 10 && in.find_first_not_of("0123456789") == std::string::npos; }

std::vector<std::string> split(const std::string& line, char separator) {
  std::vector<std::string> out;
  std::istringstream in(line);
  for (std::string part; std::getline(in, part, separator);) out.push_back(part);
  return out;
}

// A file of the image's upmost layer that has it.
std::string image_file(const Image& image, const std::string& layers_dir, const std::string& path) {
  for (const auto& layer : image.layers)
    if (auto content = sys::read_file(layers_dir + "/" + layer + "/" + path, 1 << 20); content.ok()) return *content;
  return "";
}

JsonArray capability_list(const ContainerSetup& setup) {
  std::set<std::string> wanted = kDefaultCapabilities;
  const bool privileged = flag(*setup.container, "securityContext.privileged");
  const auto all = [&] { wanted = std::set<std::string>(std::begin(kCapabilities), std::end(kCapabilities)); };
  const auto full = [](const std::string& name) { return name.starts_with("CAP_") ? name : "CAP_" + name; };
  const auto adds = texts(*setup.container, "securityContext.capabilities.add"),
             drops = texts(*setup.container, "securityContext.capabilities.drop");
  if (privileged || std::count(adds.begin(), adds.end(), "ALL")) all();
  if (std::count(drops.begin(), drops.end(), "ALL")) wanted.clear();
  for (const auto& name : drops) wanted.erase(full(name));
  for (const auto& name : adds) wanted.insert(full(name));
  if (privileged) all();
  JsonArray out;
  for (std::size_t bit = 0; bit < std::size(kCapabilities); ++bit)
    if (wanted.contains(kCapabilities[bit]) && (setup.machine_capabilities >> bit & 1)) out.emplace_back(kCapabilities[bit]);
  return out;
}

Json mount(std::string destination, std::string type, std::string source, std::initializer_list<const char*> options) {
  JsonArray list;
  for (const char* option : options) list.emplace_back(option);
  return JsonObject{
      {"destination", std::move(destination)}, {"type", std::move(type)}, {"source", std::move(source)}, {"options", std::move(list)}};
}

JsonArray mounts(const ContainerSetup& setup) {
  const bool privileged = flag(*setup.container, "securityContext.privileged");
  JsonArray out;
  out.push_back(mount("/proc", "proc", "proc", {"nosuid", "noexec", "nodev"}));
  out.push_back(mount("/dev", "tmpfs", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"}));
  out.push_back(mount("/dev/pts", "devpts", "devpts", {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}));
  out.push_back(mount("/dev/shm", "tmpfs", "shm", {"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}));
  out.push_back(mount("/dev/mqueue", "mqueue", "mqueue", {"nosuid", "noexec", "nodev"}));
  out.push_back(privileged ? mount("/sys", "sysfs", "sysfs", {"nosuid", "noexec", "nodev"})
                           : mount("/sys", "sysfs", "sysfs", {"nosuid", "noexec", "nodev", "ro"}));
  // A volume on /a must come before one on /a/b.
  std::vector<BindMount> sorted = setup.mounts;
  std::stable_sort(sorted.begin(), sorted.end(), [](const BindMount& a, const BindMount& b) {
    return std::count(a.destination.begin(), a.destination.end(), '/') < std::count(b.destination.begin(), b.destination.end(), '/');
  });
  for (const auto& bind : sorted)
    out.push_back(mount(bind.destination, "bind", bind.source, {"rbind", bind.propagation.c_str(), bind.read_only ? "ro" : "rw"}));
  return out;
}

std::int64_t quantity(const Json& container, const char* group, const char* name) {
  const Json* resources = find(container, std::string("resources.") + group);
  const Json* found = resources ? member(*resources, name) : nullptr;
  if (!found) return -1;
  if (!found->is_string()) return number(*resources, name) * 1000;
  return k8s::parse_quantity_milli(found->get_string()).value_or(-1);
}

JsonObject resources(const ContainerSetup& setup) {
  const Json& c = *setup.container;
  JsonObject out;
  if (const auto limit = quantity(c, "limits", "memory"); limit > 0) out["memory"] = JsonObject{{"limit", limit / 1000}};
  JsonObject cpu;
  auto request = quantity(c, "requests", "cpu");
  const auto limit = quantity(c, "limits", "cpu");
  if (request < 0) request = limit;
  cpu["shares"] = std::max<std::int64_t>(2, request < 0 ? 2 : request * 1024 / 1000);  // kubelet's least
  if (limit > 0) {
    cpu["quota"] = std::max<std::int64_t>(1000, limit * 100);
    cpu["period"] = 100000;
  }
  out["cpu"] = std::move(cpu);
  if (setup.pids_limit > 0) out["pids"] = JsonObject{{"limit", setup.pids_limit}};
  out["devices"] = JsonArray{JsonObject{{"allow", flag(c, "securityContext.privileged")}, {"access", "rwm"}}};
  return out;
}

// BestEffort pods go first when memory is short. Guaranteed ones would get -997, which needs CAP_SYS_RESOURCE.
std::optional<int> oom_score(const ContainerSetup& setup) {
  const auto request = quantity(*setup.container, "requests", "memory"), limit = quantity(*setup.container, "limits", "memory");
  if (text(*setup.pod, "status.qosClass") == "Guaranteed") return std::nullopt;
  const auto memory = request > 0 ? request : limit;
  if (memory <= 0 || setup.machine_memory <= 0) return 1000;
  return static_cast<int>(std::clamp<std::int64_t>(1000 - memory / setup.machine_memory, 2, 999));
}

JsonArray namespaces(const ContainerSetup& setup) {
  JsonArray out{JsonObject{{"type", "mount"}}, JsonObject{{"type", "uts"}}, JsonObject{{"type", "network"}, {"path", setup.netns}}};
  if (!setup.pid_namespace.empty()) out.push_back(JsonObject{{"type", "pid"}, {"path", setup.pid_namespace}});
  else if (!flag(*setup.pod, "spec.hostPID")) out.push_back(JsonObject{{"type", "pid"}});
  if (!flag(*setup.pod, "spec.hostIPC")) out.push_back(JsonObject{{"type", "ipc"}});
  return out;
}

JsonArray strings(const std::vector<std::string>& items) { return JsonArray(items.begin(), items.end()); }

JsonObject process(const ContainerSetup& setup) {
  const Json& c = *setup.container;
  JsonArray groups(setup.user.groups.begin(), setup.user.groups.end());
  std::string cwd = text(c, "workingDir");
  if (cwd.empty()) cwd = setup.image->config.working_dir;
  const JsonArray capabilities = capability_list(setup);
  JsonObject out{{"terminal", flag(c, "tty")},
                 {"user", JsonObject{{"uid", setup.user.uid}, {"gid", setup.user.gid}, {"additionalGids", std::move(groups)}}},
                 {"args", strings(container_argv(setup))},
                 {"env", strings(setup.env)},
                 {"cwd", cwd.empty() ? "/" : cwd},
                 {"capabilities", JsonObject{{"bounding", capabilities}, {"effective", capabilities}, {"permitted", capabilities}}},
                 {"noNewPrivileges", !flag(c, "securityContext.allowPrivilegeEscalation", true)}};
  if (const auto score = oom_score(setup)) out["oomScoreAdj"] = *score;
  return out;
}

}  // namespace

Result<ResolvedUser> resolve_user(const Json& pod, const Json& container, const Image& image, const std::string& layers_dir) {
  ResolvedUser out;
  const auto setting = [&](const char* name) {
    return number(container, std::string("securityContext.") + name, number(pod, std::string("spec.securityContext.") + name, -1));
  };
  const std::string passwd = image_file(image, layers_dir, "etc/passwd"), group = image_file(image, layers_dir, "etc/group");
  const auto colon = image.config.user.find(':');
  std::string user = image.config.user.substr(0, colon),
              wanted_group = colon == std::string::npos ? "" : image.config.user.substr(colon + 1);
  if (const auto uid = setting("runAsUser"); uid >= 0) {
    user = std::to_string(uid);
    wanted_group.clear();
  }
  if (user.empty()) user = "0";
  bool found = false;
  std::string name;
  for (const auto& line : split(passwd, '\n')) {
    const auto fields = split(line, ':');
    if (fields.size() < 6 || !is_number(fields[2]) || !is_number(fields[3]) ||
        (fields[0] != user && !(is_number(user) && fields[2] == user)))
      continue;
    out.uid = static_cast<unsigned>(std::stoul(fields[2]));
    out.gid = static_cast<unsigned>(std::stoul(fields[3]));
    out.home = fields[5].empty() ? "/" : fields[5];
    name = fields[0];
    found = true;
    break;
  }
  if (!found && !is_number(user)) return make_error(Code::kInvalid, "unable to find user " + user + ": no matching entries in passwd file");
  if (!found) out.uid = static_cast<unsigned>(std::stoul(user));
  for (const auto& line : split(group, '\n')) {
    const auto fields = split(line + " ", ':');
    if (fields.size() < 4 || !is_number(fields[2])) continue;
    const auto gid = static_cast<unsigned>(std::stoul(fields[2]));
    if (!wanted_group.empty() && fields[0] == wanted_group) out.gid = gid;
    const auto members = split(fields[3].substr(0, fields[3].size() - 1), ',');
    if (!name.empty() && std::count(members.begin(), members.end(), name)) out.groups.push_back(gid);
  }
  if (is_number(wanted_group)) out.gid = static_cast<unsigned>(std::stoul(wanted_group));
  if (const auto gid = setting("runAsGroup"); gid >= 0) out.gid = static_cast<unsigned>(gid);
  for (const auto& item : array(pod, "spec.securityContext.supplementalGroups"))
    if (item.is_int64()) out.groups.push_back(static_cast<unsigned>(item.get_int64()));
  if (const auto gid = number(pod, "spec.securityContext.fsGroup", -1); gid >= 0) out.groups.push_back(static_cast<unsigned>(gid));
  const Json* own = find(container, "securityContext.runAsNonRoot");
  if (own ? flag(container, "securityContext.runAsNonRoot") : flag(pod, "spec.securityContext.runAsNonRoot"))
    if (out.uid == 0)
      return make_error(Code::kForbidden, setting("runAsUser") == 0
                                              ? "container's runAsUser breaks non-root policy (pod: \"" + text(pod, "metadata.name") + "_" +
                                                    text(pod, "metadata.namespace") + "(" + text(pod, "metadata.uid") +
                                                    ")\", container: " + text(container, "name") + ")"
                                              : "container has runAsNonRoot and image will run as root (pod: \"" +
                                                    text(pod, "metadata.name") + "_" + text(pod, "metadata.namespace") + "(" +
                                                    text(pod, "metadata.uid") + ")\", container: " + text(container, "name") + ")");
  return out;
}

std::vector<std::string> container_argv(const ContainerSetup& setup) {
  std::map<std::string, std::string> variables;
  for (const auto& entry : setup.env) variables[entry.substr(0, entry.find('='))] = entry.substr(entry.find('=') + 1);
  std::vector<std::string> command = texts(*setup.container, "command"), args = texts(*setup.container, "args");
  for (auto* list : {&command, &args})
    for (auto& word : *list) word = expand_variables(word, variables);
  if (command.empty()) {
    command = setup.image->config.entrypoint;
    if (args.empty()) args = setup.image->config.command;
  }
  command.insert(command.end(), args.begin(), args.end());
  return command;
}

Json oci_config(const ContainerSetup& setup) {
  const bool privileged = flag(*setup.container, "securityContext.privileged");
  JsonObject linux_part{{"namespaces", namespaces(setup)}, {"cgroupsPath", setup.cgroup}, {"resources", resources(setup)}};
  if (!privileged) {
    linux_part["maskedPaths"] = JsonArray{"/proc/acpi",       "/proc/asound",      "/proc/kcore",       "/proc/keys", "/proc/latency_stats",
                                          "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware"};
    linux_part["readonlyPaths"] = JsonArray{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};
  }
  return JsonObject{
      {"ociVersion", "1.0.2"},
      {"process", process(setup)},
      {"root", JsonObject{{"path", "rootfs"}, {"readonly", flag(*setup.container, "securityContext.readOnlyRootFilesystem")}}},
      {"hostname", setup.hostname},
      {"mounts", mounts(setup)},
      {"linux", std::move(linux_part)}};
}

Json exec_process(const Json& config, const std::vector<std::string>& command, bool tty) {
  Json out = *find(config, "process");
  JsonObject& o = out.get_object();
  o["terminal"] = tty;
  o["args"] = strings(command);
  if (tty) {
    JsonArray& env = o["env"].as_array();
    const bool has_term = std::any_of(env.begin(), env.end(),
                                      [](const Json& e) { return e.is_string() && std::string_view(e.get_string()).starts_with("TERM="); });
    if (!has_term) env.emplace_back("TERM=xterm");
  }
  return out;
}

int signal_number(const std::string& name) {
  if (is_number(name)) return std::stoi(name);
  static const std::map<std::string, int> signals = {{"SIGTERM", SIGTERM}, {"SIGQUIT", SIGQUIT},  {"SIGINT", SIGINT},
                                                     {"SIGHUP", SIGHUP},   {"SIGUSR1", SIGUSR1},  {"SIGUSR2", SIGUSR2},
                                                     {"SIGKILL", SIGKILL}, {"SIGWINCH", SIGWINCH}};
  auto found = signals.find(name.starts_with("SIG") ? name : "SIG" + name);
  if (found != signals.end()) return found->second;
  return name == "SIGRTMIN+3" ? SIGRTMIN + 3 : SIGTERM;
}

}  // namespace fairway::runtime
