#include "runtime/node_runtime.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "k8s/informer.h"
#include "runtime/node.h"
#include "runtime/node_status.h"
#include "runtime/pod.h"
#include "runtime/stream_server.h"
#include "sys/log.h"
#include "sys/netns.h"
#include "sys/process.h"

namespace fairway::runtime {

namespace fs = std::filesystem;

struct NodeRuntime::Impl {
  Impl(io::Loop& loop, k8s::ApiClient& api, NodeRuntimeConfig config) : node(loop, api, std::move(config)) {}

  Node node;
  std::map<std::string, std::unique_ptr<Pod>> pods;  // by UID
  std::unique_ptr<NodeStatus> status;
  std::unique_ptr<StreamServer> streams;
  std::unique_ptr<k8s::Informer> pod_informer, service_informer;
  io::Loop::Timer gc_timer;
  bool running = false;

  Status check_machine();
  void adopt_pods();
  void collect_garbage();
  void pod_changed(const Json* before, const Json* after);
  void pods_synced();
  void add_pod(Json object);
  void remove_pod(const std::string& uid);
  Pod* find_pod(const std::string& ns, const std::string& name);
  void watch();
};

Status NodeRuntime::Impl::check_machine() {
  for (const auto& [what, path] : {std::pair{"runc", node.config.runc}, std::pair{"fairway-shim", node.config.shim}})
    if (::access(path.c_str(), X_OK) != 0) return errno_error(errno, std::string(what) + " at \"" + path + "\"");
  FW_ASSIGN(const std::string words, sys::run_ok({node.config.runc, "--version"}));
  node.runc_version = words.substr(0, words.find('\n'));
  if (const auto last = node.runc_version.rfind(' '); last != std::string::npos) node.runc_version.erase(0, last + 1);
  if (!node.config.cgroup_parent.starts_with('/'))
    return make_error(Code::kInvalid, "cgroup_parent \"" + node.config.cgroup_parent + "\" does not begin with /");
  std::error_code ec;
  for (const auto& dir : {node.pods_dir(), node.run_dir() + "/c", node.runc_root(), node.config.image_dir}) {
    fs::create_directories(dir, ec);
    if (ec) return make_error(Code::kIo, "create " + dir + ": " + ec.message());
  }
  ::chmod(node.pods_dir().c_str(), 0711);
  return {};
}

Pod* NodeRuntime::Impl::find_pod(const std::string& ns, const std::string& name) {
  Pod* found = nullptr;
  for (auto& [uid, pod] : pods)
    if (pod->ns() == ns && pod->name() == name && (!found || found->terminating())) found = pod.get();
  return found;
}

void NodeRuntime::Impl::add_pod(Json object) {
  const std::string uid = text(object, "metadata.uid");
  // The UID becomes part of paths.
  if (uid.empty() || uid.size() > 64 || uid.find_first_not_of("0123456789abcdefghijklmnopqrstuvwxyzABCDEF-") != std::string::npos) {
    log::error("runtime", "pod {}: uid \"{}\" is none", text(object, "metadata.name"), uid.substr(0, 64));
    return;
  }
  auto pod = std::make_unique<Pod>(node, std::move(object), [this, uid] { node.loop.post([this, uid] { pods.erase(uid); }); });
  Pod* p = pod.get();
  pods[uid] = std::move(pod);
  if (fs::exists(p->dir() + "/pod.json")) p->adopt();
  else p->schedule_sync();
}

void NodeRuntime::Impl::adopt_pods() {
  std::error_code ec;
  for (const auto& entry : fs::directory_iterator(node.pods_dir(), ec)) {
    auto object = parse_json_file(entry.path().string() + "/pod.json");
    if (!object.ok()) {
      fs::remove_all(entry.path(), ec);
      continue;
    }  // a pod that had not got as far as its object
    if (text(*object, "metadata.uid") == entry.path().filename().string()) add_pod(std::move(*object));
  }
  if (!pods.empty()) log::info("runtime", "adopted {} pods from {}", pods.size(), node.pods_dir());
}

// What the plugin holds for sandboxes that are no more: after a crash between ADD and here.
void NodeRuntime::Impl::collect_garbage() {
  if (!node.cni.enabled()) return;
  std::vector<std::string> valid;
  for (const auto& [uid, pod] : pods)
    if (!pod->sandbox().id.empty()) valid.push_back(pod->sandbox().id);
  node.cni.gc(valid, [this](Status collected) {
    if (collected.ok()) return;
    log::debug("runtime", "CNI GC: {}", collected.error().message);
    gc_timer = node.loop.after(std::chrono::seconds(5), [this] { collect_garbage(); });  // the agent may not be there yet
  });
}

void NodeRuntime::Impl::pod_changed(const Json* before, const Json* after) {
  const std::string old_uid = before ? text(*before, "metadata.uid") : "", uid = after ? text(*after, "metadata.uid") : "";
  if (!old_uid.empty() && old_uid != uid)
    if (auto found = pods.find(old_uid); found != pods.end()) found->second->removed();
  if (!after) return;
  if (auto found = pods.find(uid); found != pods.end()) {
    found->second->update(*after);
    return;
  }
  const std::string phase = text(*after, "status.phase");
  const bool over = (phase == "Succeeded" || phase == "Failed") && !find(*after, "metadata.deletionTimestamp");
  if (!over) add_pod(*after);  // one that ended and of which nothing is here stays as it is
}

// Pods on disk that the API server no longer has were deleted while we were away.
void NodeRuntime::Impl::pods_synced() {
  std::map<std::string, bool> known;
  for (const auto& [key, object] : pod_informer->objects()) known[text(object, "metadata.uid")] = true;
  for (auto& [uid, pod] : pods)
    if (!known.contains(uid)) pod->removed();
}

void NodeRuntime::Impl::watch() {
  const std::string mine = "spec.nodeName=" + node.config.node_name;
  service_informer = std::make_unique<k8s::Informer>(
      node.loop, node.api, k8s::ResourceRef{.resource = "services"}, k8s::ListOptions{},
      k8s::Informer::Callbacks{.on_change = [](const auto&, const Json*, const Json*) {},
                               // Pods see the Services in their environment: none is started before these are known.
                               .on_synced =
                                   [this, mine] {
                                     node.loop.post([this, mine] {
                                       if (pod_informer) return;
                                       pod_informer = std::make_unique<k8s::Informer>(
                                           node.loop, node.api, k8s::ResourceRef{.resource = "pods"},
                                           k8s::ListOptions{.field_selector = mine},
                                           k8s::Informer::Callbacks{.on_change = [this](const auto&, const Json* before,
                                                                                        const Json* after) { pod_changed(before, after); },
                                                                    .on_synced = [this] { pods_synced(); }});
                                     });
                                   }});
}

NodeRuntime::NodeRuntime(io::Loop& loop, k8s::ApiClient& api, NodeRuntimeConfig config)
    : impl_(std::make_unique<Impl>(loop, api, std::move(config))) {}
NodeRuntime::~NodeRuntime() { stop(); }

Status NodeRuntime::start() {
  Impl& i = *impl_;
  FW_TRY(i.check_machine());
  i.node.services = [&i] {
    std::vector<const Json*> out;
    if (i.service_informer)
      for (const auto& [key, object] : i.service_informer->objects()) out.push_back(&object);
    return out;
  };
  i.streams = std::make_unique<StreamServer>(i.node, [&i](const std::string& ns, const std::string& name) { return i.find_pod(ns, name); });
  FW_TRY(i.streams->start(i.node.run_dir() + "/runtime.sock"));
  i.adopt_pods();
  i.collect_garbage();
  i.status = std::make_unique<NodeStatus>(i.node, [](const Json&) {});
  i.status->start();
  i.watch();
  i.running = true;
  return {};
}

void NodeRuntime::stop() {
  Impl& i = *impl_;
  i.pod_informer.reset();
  i.service_informer.reset();
  i.streams.reset();
  i.status.reset();
  i.gc_timer.cancel();
  i.pods.clear();
}

}  // namespace fairway::runtime
