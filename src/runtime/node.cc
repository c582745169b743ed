#include "runtime/node.h"

#include <sys/random.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <set>

#include "sys/file.h"
#include "sys/log.h"
#include "sys/netns.h"

namespace fairway::runtime {

constexpr std::size_t kMaxKnownEvents = 4096;

std::string random_hex(std::size_t digits) {
  std::string bytes((digits + 1) / 2, '\0'), out;
  if (::getrandom(bytes.data(), bytes.size(), 0) < 0) return std::string(digits, '0');
  for (const unsigned char byte : bytes) out += fmt::format("{:02x}", byte);
  out.resize(digits);
  return out;
}

void StartLimiter::acquire(std::function<void(Slot)> ready) {
  if (free_ == 0) {
    waiting_.push_back(std::move(ready));
    return;
  }
  --free_;
  ready(Slot(nullptr, [this, alive = std::weak_ptr(alive_)](void*) {
    if (!alive.expired()) release();
  }));
}

void StartLimiter::release() {
  ++free_;
  if (waiting_.empty()) return;
  auto next = std::move(waiting_.front());
  waiting_.pop_front();
  acquire(std::move(next));
}

void ApiCalls::start(const std::function<k8s::CallPtr(k8s::Done)>& begin, k8s::Done done) {
  const auto at = calls_.emplace(calls_.end());
  *at = begin([this, at, done = std::move(done)](Result<Json> result) {
    // The call ends only after its own callback has returned.
    loop_.post([call = std::shared_ptr<k8s::Call>(std::move(*at))] {});
    calls_.erase(at);
    if (done) done(std::move(result));
  });
}

void EventRecorder::record(const Json& involved, const std::string& field_path, const std::string& type, const std::string& reason,
                           const std::string& message) {
  const std::string ns = text(involved, "metadata.namespace", "default"), uid = text(involved, "metadata.uid"),
                    name = text(involved, "metadata.name");
  const std::int64_t now = now_unix_ns();
  if (known_.size() > kMaxKnownEvents) known_.clear();
  Known& known = known_[uid + "|" + field_path + "|" + reason + "|" + message];
  ++known.count;
  if (known.count > 1) {
    calls_.start(
        [&](k8s::Done done) {
          return api_.patch({.resource = "events", .ns = ns, .name = known.name}, k8s::PatchType::kMerge,
                            JsonObject{{"count", known.count}, {"lastTimestamp", rfc3339(now)}}, std::move(done));
        },
        {});
    return;
  }
  known.first_ns = now;
  // Named by their time, as kubelet's are: lists are sorted by name, and `describe` shows them in that order.
  last_name_ns_ = std::max(now, last_name_ns_ + 1);
  known.name = fmt::format("{}.{:x}", name, last_name_ns_);
  JsonObject reference{{"kind", text(involved, "kind", "Pod")}, {"apiVersion", "v1"}, {"name", name}, {"uid", uid}};
  if (const std::string own = text(involved, "metadata.namespace"); !own.empty()) reference["namespace"] = own;
  if (const std::string version = text(involved, "metadata.resourceVersion"); !version.empty()) reference["resourceVersion"] = version;
  if (!field_path.empty()) reference["fieldPath"] = field_path;
  JsonObject event{{"kind", "Event"},
                   {"apiVersion", "v1"},
                   {"metadata", JsonObject{{"name", known.name}, {"namespace", ns}}},
                   {"involvedObject", std::move(reference)},
                   {"reason", reason},
                   {"message", message.substr(0, 1024)},
                   {"type", type},
                   {"source", JsonObject{{"component", "kubelet"}, {"host", node_}}},
                   {"firstTimestamp", rfc3339(now)},
                   {"lastTimestamp", rfc3339(now)},
                   {"count", 1},
                   {"reportingComponent", "kubelet"},
                   {"reportingInstance", node_}};
  calls_.start([&](k8s::Done done) { return api_.create({.resource = "events", .ns = ns}, std::move(event), std::move(done)); },
               [reason](Result<Json> result) {
                 if (!result.ok()) log::debug("runtime", "event {}: {}", reason, result.error().message);
               });
}

static std::uint64_t own_capabilities() {
  auto status = sys::read_file("/proc/self/status");
  if (!status.ok()) return 0;
  const auto at = status->find("CapPrm:");
  return at == std::string::npos ? 0 : std::strtoull(status->c_str() + at + 7, nullptr, 16);
}

// In either version of control groups. runc refuses to start what it cannot limit.
static bool has_pids_controller() {
  if (::access("/sys/fs/cgroup/pids/cgroup.procs", W_OK) == 0) return true;
  auto controllers = sys::read_file("/sys/fs/cgroup/cgroup.controllers", 4096);
  return controllers.ok() && (" " + *controllers).find(" pids") != std::string::npos;
}

// Images are downloaded in the machine's network namespace: the configured one, else that of the process that
// started us (the lab's supervisor), since process 1 may be out of reach in a container.
static std::string machine_netns(const std::string& configured) {
  for (const std::string& path : {configured, "/proc/" + std::to_string(::getppid()) + "/ns/net"})
    if (!path.empty() && sys::open_netns(path).ok()) return path;
  return "";
}

Node::Node(io::Loop& l, k8s::ApiClient& a, NodeRuntimeConfig c)
    : loop(l),
      api(a),
      config(std::move(c)),
      images({.dir = config.image_dir, .agnhost = config.agnhost}),
      image_worker(l, 2, machine_netns(config.machine_netns)),
      file_worker(l, 1),
      cni(l, config.cni_conf_dir, config.cni_bin_dirs),
      calls(l),
      events(a, calls, config.node_name),
      starts(config.parallel_starts),
      capabilities(own_capabilities()) {
  if (auto content = sys::read_file("/etc/resolv.conf", 64 << 10); content.ok()) machine_resolv_conf = *content;
  struct sysinfo info {};
  if (::sysinfo(&info) == 0) memory_bytes = static_cast<std::int64_t>(info.totalram) * info.mem_unit;
  if (has_pids_controller()) pids_limit = config.pids_limit;
}

void Node::fetch(const std::string& ns, const std::vector<std::string>& names, std::function<void(Result<ConfigObjects>)> done) {
  struct Gather {
    ConfigObjects objects;
    std::size_t left = 0;
    std::optional<Error> error;
    std::function<void(Result<ConfigObjects>)> done;
  };
  auto gather = std::make_shared<Gather>();
  const std::set<std::string> unique(names.begin(), names.end());
  gather->left = unique.size();
  gather->done = std::move(done);
  if (unique.empty()) {
    loop.post([gather] { gather->done(ConfigObjects{}); });
    return;
  }
  for (const auto& name : unique) {
    const auto slash = name.find('/');
    k8s::ResourceRef ref{.resource = name.substr(0, slash), .ns = ns, .name = name.substr(slash + 1)};
    calls.start([&](k8s::Done callback) { return api.get(ref, std::move(callback)); },
                [gather, name](Result<Json> result) {
                  if (result.ok()) gather->objects[name] = std::move(*result);
                  else if (result.error().code == Code::kNotFound) gather->objects[name] = Json();
                  else gather->error = std::move(result).error();
                  if (--gather->left > 0) return;
                  if (gather->error) gather->done(*gather->error);
                  else gather->done(std::move(gather->objects));
                });
  }
}

}  // namespace fairway::runtime
