#include "runtime/node_status.h"

#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <thread>

#include "sys/file.h"
#include "sys/log.h"

namespace fairway::runtime {

using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

constexpr char kKubeletVersion[] = "v1.32.0-fairway";  // kubectl chooses its own version by the server's; this is shown
constexpr auto kLeaseSeconds = 40;
constexpr auto kLeasePeriod = seconds(10);
constexpr auto kPluginPatience = std::chrono::nanoseconds(seconds(25));
constexpr auto kFullReport = std::chrono::nanoseconds(std::chrono::minutes(5));  // kubelet's nodeStatusReportFrequency

std::string os_image() {
  auto release = sys::read_file("/etc/os-release", 64 << 10);
  const auto at = release.ok() ? release->find("PRETTY_NAME=\"") : std::string::npos;
  return at == std::string::npos ? "Linux" : release->substr(at + 13, release->find('"', at + 13) - at - 13);
}

std::string one_line(const std::string& path) {
  auto content = sys::read_file(path, 4096);
  if (!content.ok()) return "";
  return content->substr(0, content->find('\n'));
}

std::string architecture() {
  utsname name{};
  ::uname(&name);
  const std::string machine = name.machine;
  return machine == "x86_64" ? "amd64" : machine == "aarch64" ? "arm64" : machine;
}

}  // namespace

NodeStatus::NodeStatus(Node& node, std::function<void(const Json&)> object_changed)
    : node_(node), object_changed_(std::move(object_changed)) {}
NodeStatus::~NodeStatus() = default;

void NodeStatus::start() {
  not_ready_ =
      "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: cni "
      "plugin not initialized";
  register_node();
}

JsonObject NodeStatus::condition(const std::string& type, bool value, const std::string& reason, const std::string& message) const {
  const std::string now = rfc3339(now_unix_ns()), text_value = value ? "True" : "False";
  std::string since = now;
  for (const auto& old : array(object_, "status.conditions"))
    if (text(old, "type") == type && text(old, "status") == text_value) since = text(old, "lastTransitionTime", now);
  return {{"type", type},     {"status", text_value}, {"lastHeartbeatTime", now}, {"lastTransitionTime", since},
          {"reason", reason}, {"message", message}};
}

JsonObject node_capacity(const Node& node) {
  struct statvfs disk {};
  ::statvfs(node.config.node_dir.c_str(), &disk);
  const auto disk_bytes = static_cast<std::uint64_t>(disk.f_blocks) * disk.f_frsize;
  return {{"cpu", std::to_string(std::thread::hardware_concurrency())},
          {"memory", std::to_string(node.memory_bytes / 1024) + "Ki"},
          {"pods", std::to_string(node.config.max_pods)},
          {"ephemeral-storage", std::to_string(disk_bytes / 1024) + "Ki"}};
}

Json NodeStatus::status() const {
  utsname name{};
  ::uname(&name);
  const JsonObject capacity = node_capacity(node_);
  JsonArray addresses;
  for (const auto& ip : node_.config.node_ips) addresses.push_back(JsonObject{{"type", "InternalIP"}, {"address", ip}});
  addresses.push_back(JsonObject{{"type", "Hostname"}, {"address", node_.config.node_name}});
  JsonObject info{{"machineID", one_line("/etc/machine-id")},
                  {"systemUUID", one_line("/etc/machine-id")},
                  {"bootID", one_line("/proc/sys/kernel/random/boot_id")},
                  {"kernelVersion", name.release},
                  {"osImage", os_image()},
                  {"containerRuntimeVersion", "runc://" + node_.runc_version},
                  {"kubeletVersion", kKubeletVersion},
                  {"kubeProxyVersion", ""},
                  {"operatingSystem", "linux"},
                  {"architecture", architecture()}};
  const bool ready = not_ready_.empty();
  return JsonObject{
      {"addresses", std::move(addresses)},
      {"capacity", capacity},
      {"allocatable", capacity},
      {"nodeInfo", std::move(info)},
      {"conditions", JsonArray{condition("MemoryPressure", false, "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
                               condition("DiskPressure", false, "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
                               condition("PIDPressure", false, "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
                               condition("Ready", ready, ready ? "KubeletReady" : "KubeletNotReady",
                                         ready ? "kubelet is posting ready status" : not_ready_)}},
      {"daemonEndpoints", JsonObject{{"kubeletEndpoint", JsonObject{{"Port", 10250}}}}}};
}

Json NodeStatus::node_object() const {
  JsonObject labels{{"kubernetes.io/hostname", node_.config.node_name},
                    {"kubernetes.io/os", "linux"},
                    {"kubernetes.io/arch", architecture()},
                    {"beta.kubernetes.io/os", "linux"},
                    {"beta.kubernetes.io/arch", architecture()}};
  for (const auto& [key, value] : node_.config.node_labels) labels[key] = value;
  return JsonObject{{"kind", "Node"},
                    {"apiVersion", "v1"},
                    {"metadata", JsonObject{{"name", node_.config.node_name}, {"labels", std::move(labels)}}},
                    {"spec", JsonObject{}},
                    {"status", status()}};
}

void NodeStatus::register_node() {
  node_.calls.start([&](k8s::Done done) { return node_.api.create({.resource = "nodes"}, node_object(), std::move(done)); },
                    guarded([this](Result<Json> result) { registered(std::move(result)); }));
}

// An object from before is this node's: its labels and addresses are brought up to date by the status.
void NodeStatus::registered(Result<Json> result) {
  if (!result.ok() && result.error().code != Code::kAlreadyExists) {
    log::warn("runtime", "register node {}: {}", node_.config.node_name, result.error().message);
    retry_timer_ = node_.loop.after(seconds(1), [this] { register_node(); });
    return;
  }
  if (registered_) return;
  registered_ = true;
  object_ = result.ok() ? std::move(*result) : Json();  // the uid of a former object is no owner for the Lease
  log::info("runtime", "node {} is registered", node_.config.node_name);
  refresh_timer_ = node_.loop.every(seconds(1), [this] { refresh(); });  // until Ready; then seldom
  lease_timer_ = node_.loop.every(kLeasePeriod, [this] { renew_lease(); });
  renew_lease();
  refresh();
}

void NodeStatus::refresh() {
  if (asking_) return;
  asking_ = true;
  node_.calls.start([&](k8s::Done done) { return node_.api.get({.resource = "nodes", .name = node_.config.node_name}, std::move(done)); },
                    guarded([this](Result<Json> result) {
                      if (!result.ok()) {
                        asking_ = false;
                        if (result.error().code == Code::kNotFound) {
                          registered_ = false;
                          refresh_timer_.cancel();
                          lease_timer_.cancel();
                          register_node();
                        }
                        return;
                      }
                      object_ = std::move(*result);
                      object_changed_(object_);
                      if (!node_.cni.enabled()) {
                        asking_ = false;
                        not_ready_.clear();
                        return publish();
                      }
                      if (array(object_, "spec.podCIDRs").empty() && text(object_, "spec.podCIDR").empty()) {
                        asking_ = false;
                        not_ready_ = "the node has no pod range yet (spec.podCIDRs)";
                        return publish();
                      }
                      node_.cni.status(guarded([this](Status status) {
                        asking_ = false;
                        const std::string before = not_ready_;
                        if (status.ok()) plugin_failed_ns_ = 0;
                        else if (plugin_failed_ns_ == 0) plugin_failed_ns_ = now_unix_ns();
                        // The datapath goes on without its agent: a restart of the agent is no reason to take the node's pods out of
                        // service.
                        if (!status.ok() && before.empty() && now_unix_ns() - plugin_failed_ns_ < kPluginPatience.count()) return;
                        not_ready_ = status.ok() ? ""
                                                 : "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady "
                                                   "message:Network plugin returns error: " +
                                                       status.error().message;
                        if (before.empty() != not_ready_.empty())
                          refresh_timer_ = node_.loop.every(not_ready_.empty() ? seconds(10) : seconds(1), [this] { refresh(); });
                        publish();
                      }));
                    }));
}

// Whole when something changed, and every five minutes; the Lease is the heartbeat between.
void NodeStatus::publish() {
  const std::int64_t now = now_unix_ns();
  bool same = text(object_, "status.nodeInfo.kubeletVersion") == kKubeletVersion && now - published_ns_ < kFullReport.count() &&
              published_ == not_ready_ && published_ns_ != 0;
  for (const auto& item : array(object_, "status.conditions"))
    if (text(item, "type") == "Ready" && text(item, "status") != (not_ready_.empty() ? "True" : "False"))
      same = false;  // somebody else thought us dead
  if (publishing_ || same) return;
  publishing_ = true;
  JsonObject patch{{"status", status()}};
  node_.calls.start(
      [&](k8s::Done done) {
        return node_.api.patch({.resource = "nodes", .name = node_.config.node_name, .subresource = "status"}, k8s::PatchType::kStrategic,
                               std::move(patch), std::move(done));
      },
      guarded([this, now, words = not_ready_](Result<Json> result) {
        publishing_ = false;
        // What failed, or has changed meanwhile, is told soon and not with the next refresh.
        if (!result.ok() || not_ready_ != words) retry_timer_ = node_.loop.after(seconds(1), [this] { publish(); });
        if (!result.ok()) {
          log::debug("runtime", "status of node: {}", result.error().message);
          return;
        }
        if (published_ns_ == 0 || published_ != words)
          log::info("runtime", "node {}: {}", node_.config.node_name, words.empty() ? "Ready" : words);
        published_ns_ = now;
        published_ = words;
      }));
}

void NodeStatus::renew_lease() {
  const std::string now = rfc3339_micro(now_unix_ns());
  const k8s::ResourceRef ref{.group = "coordination.k8s.io", .resource = "leases", .ns = "kube-node-lease", .name = node_.config.node_name};
  JsonObject spec{{"holderIdentity", node_.config.node_name}, {"leaseDurationSeconds", kLeaseSeconds}, {"renewTime", now}};
  // Owned by the Node, so that it goes with it: told anew each time, for a Lease may be older than its Node.
  JsonObject owned;
  if (const std::string uid = text(object_, "metadata.uid"); !uid.empty())
    owned["ownerReferences"] = JsonArray{JsonObject{{"apiVersion", "v1"}, {"kind", "Node"}, {"name", ref.name}, {"uid", uid}}};
  node_.calls.start(
      [&](k8s::Done done) {
        return node_.api.patch(ref, k8s::PatchType::kMerge, JsonObject{{"metadata", owned}, {"spec", spec}}, std::move(done));
      },
      guarded([this, ref, owned, spec](Result<Json> result) {
        if (result.ok() || result.error().code != Code::kNotFound) return;
        JsonObject metadata = owned;
        metadata["name"] = ref.name;
        metadata["namespace"] = ref.ns;
        k8s::ResourceRef collection = ref;
        collection.name.clear();
        node_.calls.start(
            [&](k8s::Done done) {
              return node_.api.create(
                  collection,
                  JsonObject{
                      {"kind", "Lease"}, {"apiVersion", "coordination.k8s.io/v1"}, {"metadata", std::move(metadata)}, {"spec", spec}},
                  std::move(done));
            },
            {});
      }));
}

}  // namespace fairway::runtime
