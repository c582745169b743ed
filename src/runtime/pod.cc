#include "runtime/pod.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <sstream>

#include "k8s/quantity.h"
#include "runtime/node_status.h"
#include "runtime/pod_files.h"
#include "runtime/volumes.h"
#include "sys/file.h"
#include "sys/log.h"
#include "sys/netns.h"

namespace fairway::runtime {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

namespace {

constexpr auto kRetry = seconds(5);
constexpr auto kVolumeRefresh = seconds(60);

}  // namespace

Pod::Pod(Node& node, Json object, std::function<void()> gone)
    : node_(node),
      object_(std::move(object)),
      gone_(std::move(gone)),
      uid_(text(object_, "metadata.uid")),
      name_(text(object_, "metadata.name")),
      ns_(text(object_, "metadata.namespace")) {
  for (const auto& spec : array(object_, "spec.initContainers"))
    init_.push_back(std::make_unique<Container>(node_, *this, spec,
                                                text(spec, "restartPolicy") == "Always" ? ContainerKind::kSidecar : ContainerKind::kInit));
  for (const auto& spec : array(object_, "spec.containers"))
    regular_.push_back(std::make_unique<Container>(node_, *this, spec, ContainerKind::kRegular));
  add_ephemeral_containers();
  if (!init_.empty())
    for (auto& container : regular_) container->set_pod_initializing(true);
  start_ns_ = parse_rfc3339(text(object_, "status.startTime"));
  if (start_ns_ == 0) start_ns_ = now_unix_ns();
  if (const Json* status = find(object_, "status")) last_status_ = *status;
}

Pod::~Pod() { *alive_ = false; }

void Pod::event(const std::string& type, const std::string& reason, const std::string& message, const std::string& field_path) {
  node_.events.record(object_, field_path, type, reason, message);
}

PodFacts Pod::facts() const {
  return {.pod = &object_,
          .node_name = node_.config.node_name,
          .pod_ips = host_network() ? node_.config.node_ips : sandbox_.ips,
          .host_ips = node_.config.node_ips,
          .allocatable = node_capacity(node_)};
}

std::int64_t Pod::grace_seconds() const {
  return number(object_, "metadata.deletionGracePeriodSeconds", number(object_, "spec.terminationGracePeriodSeconds", 30));
}

Container* Pod::find_container(const std::string& name) const {
  for (const auto* list : {&regular_, &init_, &ephemeral_})
    for (const auto& container : *list)
      if (container->name() == name) return container.get();
  return nullptr;
}

void Pod::update(Json object) {
  if (text(object, "metadata.resourceVersion") == text(object_, "metadata.resourceVersion")) return;
  const bool was_terminating = terminating();
  const bool deletion_changed =
      text(object, "metadata.deletionTimestamp") != text(object_, "metadata.deletionTimestamp") ||
      number(object, "metadata.deletionGracePeriodSeconds") != number(object_, "metadata.deletionGracePeriodSeconds");
  object_ = std::move(object);
  if (prepared_ && (deletion_changed || !was_terminating)) (void)write_json_file(dir() + "/pod.json", object_).ok();
  if (deletion_changed) deadline_.reset();
  add_ephemeral_containers();
  schedule_sync();
}

void Pod::removed() {
  removed_ = deleted_ = true;
  schedule_sync();
}

void Pod::schedule_sync(milliseconds delay) {
  if (delay.count() > 0) {
    // One timer for the soonest; whoever wanted a later look asks again when that one runs.
    const auto at = steady_clock::now() + delay;
    if (retry_timer_.pending() && retry_at_ <= at) return;
    retry_at_ = at;
    retry_timer_ = node_.loop.after(delay, [this] { schedule_sync(); });
    return;
  }
  if (sync_posted_) return;
  sync_posted_ = true;
  node_.loop.post(guarded([this] {
    sync_posted_ = false;
    sync();
  }));
}

void Pod::sync() {
  if (removing_) return;
  if (terminating()) {
    terminate();
  } else if (finished()) {
    for (auto& container : ephemeral_)
      if (!container->idle()) container->stop(seconds(grace_seconds()), "Stopping container " + container->name());
    stop_sidecars(seconds(grace_seconds()));
    if (all_idle()) teardown_sandbox();
  } else if (!prepared_) {
    prepare();
  } else if (!sandbox_.ready) {
    start_sandbox();
  } else {
    run_containers();
  }
  if (!removing_) publish();
}

// --- what a pod needs before its containers ----------------------------------------------------------------------

void Pod::prepare() {
  if (preparing_) return;
  preparing_ = true;
  std::error_code ec;
  for (const char* part : {"/etc", "/volumes", "/containers"}) fs::create_directories(dir() + part, ec);
  ::chmod(dir().c_str(), 0755);
  if (Status status = write_json_file(dir() + "/pod.json", object_); !status.ok())
    log::error("runtime", "pod {}: {}", full_name(), status.error().message);
  node_.fetch(ns_, volume_references(object_), guarded([this](Result<ConfigObjects> objects) { volumes_fetched(std::move(objects)); }));
}

void Pod::volumes_fetched(Result<ConfigObjects> objects) {
  preparing_ = false;
  if (!objects.ok()) {
    schedule_sync(kRetry);
    return;
  }
  objects_ = std::move(*objects);
  const VolumeSetup setup{
      .pod_dir = dir(), .facts = facts(), .objects = &objects_, .token = {node_.config.service_account_token, node_.config.api_ca_pem}};
  for (const auto& volume : array(object_, "spec.volumes")) {
    if (auto path = setup_volume(setup, volume); !path.ok()) {
      event("Warning", "FailedMount", "MountVolume.SetUp failed for volume \"" + text(volume, "name") + "\" : " + path.error().message);
      schedule_sync(kRetry);
      return;
    }
  }
  prepared_ = true;
  if (!volume_references(object_).empty()) refresh_timer_ = node_.loop.every(kVolumeRefresh, [this] { refresh_volumes(); });
  schedule_sync();
}

// Running pods see changes of their ConfigMaps and Secrets, as volumes, within a minute.
void Pod::refresh_volumes() {
  if (!prepared_ || terminating()) return;
  node_.fetch(ns_, volume_references(object_), guarded([this](Result<ConfigObjects> objects) {
                if (!objects.ok() || terminating()) return;
                const VolumeSetup setup{.pod_dir = dir(),
                                        .facts = facts(),
                                        .objects = &*objects,
                                        .token = {node_.config.service_account_token, node_.config.api_ca_pem}};
                for (const auto& volume : array(object_, "spec.volumes")) {
                  if (find(volume, "emptyDir") || find(volume, "hostPath")) continue;
                  if (auto path = setup_volume(setup, volume); !path.ok())
                    log::warn("runtime", "pod {}: volume {}: {}", full_name(), text(volume, "name"), path.error().message);
                }
                objects_ = std::move(*objects);
              }));
}

// Ports below 1024 and ping work without privileges in a pod, as with containerd 2.
static Status write_sysctls(const Json& pod) {
  const auto write = [](std::string name, const std::string& value) -> Status {
    std::replace(name.begin(), name.end(), '.', '/');
    sys::Fd fd(::open(("/proc/sys/" + name).c_str(), O_WRONLY | O_CLOEXEC));
    if (!fd || ::write(fd.get(), value.data(), value.size()) < 0) return errno_error(errno, "sysctl " + name);
    return {};
  };
  FW_TRY(write("net.ipv4.ip_unprivileged_port_start", "0"));
  FW_TRY(write("net.ipv4.ping_group_range", "0 2147483647"));
  for (const auto& item : array(pod, "spec.securityContext.sysctls")) {
    const std::string name = text(item, "name");
    if (!name.starts_with("net.") || name.find('/') != std::string::npos || name.find("..") != std::string::npos)
      return make_error(Code::kForbidden, "sysctl \"" + name + "\" is not allowed: only net.* belongs to a pod");
    FW_TRY(write(name, text(item, "value")));
  }
  return {};
}

static std::string annotation(const Json& pod, const char* name) {
  const Json* annotations = find(pod, "metadata.annotations");
  const Json* value = annotations ? member(*annotations, name) : nullptr;
  return value && value->is_string() ? std::string(value->get_string()) : "";
}

static Json capability_args(const Json& pod) {
  JsonArray ports;
  for (const auto& container : array(pod, "spec.containers"))
    for (const auto& port : array(container, "ports"))
      if (const auto host = number(port, "hostPort"); host > 0) {
        std::string protocol = text(port, "protocol", "TCP");
        std::transform(protocol.begin(), protocol.end(), protocol.begin(),
                       [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
        ports.push_back(JsonObject{{"hostPort", host},
                                   {"containerPort", number(port, "containerPort")},
                                   {"protocol", protocol},
                                   {"hostIP", text(port, "hostIP")}});
      }
  JsonObject out;
  if (!ports.empty()) out["portMappings"] = std::move(ports);
  JsonObject bandwidth;
  for (const auto& [name, rate, burst] : {std::tuple{"kubernetes.io/ingress-bandwidth", "ingressRate", "ingressBurst"},
                                          std::tuple{"kubernetes.io/egress-bandwidth", "egressRate", "egressBurst"}}) {
    const std::string value = annotation(pod, name);
    if (value.empty()) continue;
    if (const auto milli = k8s::parse_quantity_milli(value)) {
      bandwidth[rate] = *milli / 1000;
      bandwidth[burst] = *milli / 1000;
    }
  }
  if (!bandwidth.empty()) out["bandwidth"] = std::move(bandwidth);
  std::istringstream wished(annotation(pod, "fairway.io/ips"));
  JsonArray ips;
  for (std::string ip; std::getline(wished, ip, ',');) ips.emplace_back(ip);
  if (!ips.empty()) out["ips"] = std::move(ips);
  return out;
}

static Attachment attachment_of(const Pod& pod, const Sandbox& sandbox) {
  return {.container_id = sandbox.id,
          .netns = sandbox.netns,
          .pod_namespace = pod.ns(),
          .pod_name = pod.name(),
          .pod_uid = pod.uid(),
          .capability_args = capability_args(pod.object()),
          .result = {}};
}

void Pod::start_sandbox() {
  if (attaching_ || tearing_down_) return;
  if (const auto now = steady_clock::now(); now < sandbox_retry_)
    return schedule_sync(std::chrono::ceil<milliseconds>(sandbox_retry_ - now));
  attaching_ = true;
  if (host_network()) {
    sandbox_ = {.id = random_hex(64), .netns = node_.config.netns, .ips = {}, .result = {}, .ready = false};
    return sandbox_attached(Json());
  }
  node_.starts.acquire(guarded([this](StartLimiter::Slot slot) {
    slot_ = std::move(slot);
    if (terminating()) {
      attaching_ = false;
      slot_.reset();
      return schedule_sync();
    }
    const std::string id = random_hex(64);
    sandbox_ = {.id = id, .netns = node_.config.pod_netns_prefix + id.substr(0, 12), .ips = {}, .result = {}, .ready = false};
    save_sandbox();  // before it exists: whatever dies now, it can be found and removed
    Status made = sys::create_netns(sandbox_.netns);
    if (made.ok()) {
      auto netns = sys::open_netns(sandbox_.netns);
      made = netns.ok() ? sys::in_netns(*netns, [this] { return write_sysctls(object_); }) : Status(std::move(netns).error());
    }
    if (!made.ok()) return sandbox_attached(std::move(made).error());
    if (!node_.cni.enabled()) {
      sandbox_.ips = {"127.0.0.1"};
      return sandbox_attached(Json());
    }
    node_.cni.add(attachment_of(*this, sandbox_), guarded([this](Result<Json> result) { sandbox_attached(std::move(result)); }));
  }));
}

void Pod::sandbox_attached(Result<Json> result) {
  attaching_ = false;
  slot_.reset();
  Status status = result.ok() ? Status() : Status(std::move(result).error());
  if (status.ok()) {
    sandbox_.result = std::move(*result);
    if (!sandbox_.result.is_null()) sandbox_.ips = cni_addresses(sandbox_.result);
    status = write_etc();
  }
  if (status.ok()) {
    sandbox_.ready = true;
    save_sandbox();
    return schedule_sync();
  }
  event("Warning", "FailedCreatePodSandBox",
        "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox \"" + sandbox_.id +
            "\": " + status.error().message);
  // Remove the half of it, then try again with a new one.
  sandbox_gone_ = false;
  sandbox_retry_ = steady_clock::now() + std::chrono::seconds(2);
  teardown_sandbox();
}

Status Pod::write_etc() {
  const DnsFacts dns{
      .servers = node_.config.dns_servers, .domain = node_.config.cluster_domain, .machine_resolv_conf = node_.machine_resolv_conf};
  FW_TRY(sys::write_file_atomic(dir() + "/etc/hosts", render_hosts(facts(), dns.domain)));
  FW_TRY(sys::write_file_atomic(dir() + "/etc/resolv.conf", render_resolv_conf(object_, dns)));
  return sys::write_file_atomic(dir() + "/etc/hostname", pod_hostname(object_, node_.config.node_name) + "\n");
}

void Pod::save_sandbox() const {
  JsonArray ips(sandbox_.ips.begin(), sandbox_.ips.end());
  auto status = write_json_file(
      dir() + "/sandbox.json",
      JsonObject{
          {"id", sandbox_.id}, {"netns", sandbox_.netns}, {"ips", std::move(ips)}, {"result", sandbox_.result}, {"ready", sandbox_.ready}});
  if (!status.ok()) log::error("runtime", "pod {}: {}", full_name(), status.error().message);
}

// --- containers --------------------------------------------------------------------------------------------------

bool Pod::wants_restart(const Container& container) const {
  const std::string policy = text(object_, "spec.restartPolicy", "Always");
  if (container.kind() == ContainerKind::kSidecar) return true;
  if (container.kind() == ContainerKind::kEphemeral) return false;
  if (container.kind() == ContainerKind::kInit) return policy != "Never" && !container.succeeded();
  return policy == "Always" || (policy == "OnFailure" && !container.succeeded());
}

bool Pod::initialized() const {
  if (std::any_of(regular_.begin(), regular_.end(), [](const auto& c) { return c->has_run(); })) return true;
  return std::all_of(init_.begin(), init_.end(),
                     [](const auto& c) { return c->kind() == ContainerKind::kSidecar ? c->started() : c->succeeded(); });
}

// In order; each waits for the one before: an init container to succeed, a sidecar to have started.
bool Pod::run_init_containers() {
  const bool before_main = !initialized();
  for (const auto& container : init_) {
    if (container->kind() == ContainerKind::kSidecar) {
      container->start();
      if (before_main && !container->started()) return false;
      continue;
    }
    if (!before_main || container->succeeded()) continue;
    if (container->state() != Container::State::kExited || wants_restart(*container)) container->start();
    return false;
  }
  return true;
}

void Pod::add_ephemeral_containers() {
  for (const auto& spec : array(object_, "spec.ephemeralContainers"))
    if (find_container(text(spec, "name")) == nullptr)
      ephemeral_.push_back(std::make_unique<Container>(node_, *this, spec, ContainerKind::kEphemeral));
}

void Pod::run_containers() {
  // Once each, and beside all others: they are for looking at a pod whatever its state.
  for (auto& container : ephemeral_)
    if (container->state() != Container::State::kExited) container->start();
  const bool ready = run_init_containers();
  for (auto& container : regular_) container->set_pod_initializing(!ready);
  if (!ready) return;
  for (auto& container : regular_)
    if (container->state() != Container::State::kExited || wants_restart(*container)) container->start();
}

bool Pod::finished() const {
  for (const auto& container : init_)
    if (container->kind() == ContainerKind::kInit && container->state() == Container::State::kExited && !container->busy() &&
        !container->succeeded() && !wants_restart(*container))
      return true;
  return !regular_.empty() && std::all_of(regular_.begin(), regular_.end(), [&](const auto& c) {
    return c->state() == Container::State::kExited && !c->busy() && !wants_restart(*c);
  });
}

bool Pod::all_idle() const {
  for (const auto* list : {&init_, &regular_, &ephemeral_})
    for (const auto& container : *list)
      if (!container->idle()) return false;
  return true;
}

// Last to come, first to go, once the main containers have ended.
void Pod::stop_sidecars(seconds grace) {
  for (auto it = init_.rbegin(); it != init_.rend(); ++it) {
    if ((*it)->idle()) continue;
    (*it)->stop(grace, "Stopping container " + (*it)->name());
    return;
  }
}

// --- the end -----------------------------------------------------------------------------------------------------

void Pod::terminate() {
  if (!deadline_) {
    deadline_ = steady_clock::now() + seconds(grace_seconds());
    if (grace_seconds() == 0)
      for (auto* list : {&regular_, &ephemeral_})
        for (auto& container : *list) container->stop(seconds(0), "Stopping container " + container->name());
  }
  // Zero means "kill at once", which is for those who asked for it; a container's own timer ends its time.
  const auto least = seconds(grace_seconds() == 0 ? 0 : 1);
  const auto left = std::max(std::chrono::ceil<seconds>(*deadline_ - steady_clock::now()), least);
  bool main_ended = true;
  for (auto* list : {&regular_, &ephemeral_})
    for (auto& container : *list) {
      if (container->idle()) continue;
      main_ended = false;
      container->stop(left, "Stopping container " + container->name());
    }
  if (!main_ended) return;
  stop_sidecars(left);
  if (!all_idle() || attaching_ || preparing_) return;
  if (!sandbox_gone_) return teardown_sandbox();
  if (!deleted_) return delete_object();
  remove_from_disk();
}

void Pod::teardown_sandbox() {
  if (sandbox_gone_ || tearing_down_) return;
  tearing_down_ = true;
  const auto finish = [this] {
    tearing_down_ = false;
    if (!host_network() && !sandbox_.netns.empty())
      if (Status status = sys::remove_netns(sandbox_.netns); !status.ok())
        log::warn("runtime", "pod {}: {}", full_name(), status.error().message);
    sandbox_gone_ = terminating() || finished();
    sandbox_.ready = false;
    if (!sandbox_gone_) {
      std::error_code ec;
      fs::remove(dir() + "/sandbox.json", ec);
    } else if (fs::exists(dir() + "/sandbox.json")) save_sandbox();
    schedule_sync();
  };
  if (host_network() || sandbox_.id.empty() || !node_.cni.enabled()) return finish();
  Attachment attachment = attachment_of(*this, sandbox_);
  attachment.result = sandbox_.result;
  node_.cni.del(std::move(attachment), guarded([this, finish](Status status) {
                  if (status.ok()) return finish();
                  log::warn("runtime", "pod {}: {}", full_name(), status.error().message);
                  event("Warning", "FailedKillPod",
                        "error killing pod: failed to \"KillPodSandbox\" for \"" + uid_ + "\": " + status.error().message);
                  teardown_timer_ = node_.loop.after(std::chrono::seconds(2), [this] {
                    tearing_down_ = false;
                    teardown_sandbox();
                  });
                }));
}

void Pod::delete_object() {
  if (deleting_) return;
  deleting_ = true;
  publish();
  k8s::DeleteOptions options{.grace_period_seconds = 0, .propagation_policy = "", .precondition_uid = uid_};
  node_.calls.start(
      [&](k8s::Done done) { return node_.api.remove({.resource = "pods", .ns = ns_, .name = name_}, options, std::move(done)); },
      guarded([this](Result<Json> result) {
        deleting_ = false;
        if (result.ok() || result.error().code == Code::kNotFound || result.error().code == Code::kConflict) deleted_ = true;
        if (deleted_) schedule_sync();
        else schedule_sync(std::chrono::seconds(1));
      }));
}

// The folders of a pod's cgroup, in every hierarchy.
static void remove_cgroups(const std::string& parent, const std::string& uid) {
  std::error_code ec;
  for (const auto& hierarchy : fs::directory_iterator("/sys/fs/cgroup", ec)) {
    const std::string pod = hierarchy.path().string() + parent + "/" + uid;
    for (const auto& entry : fs::directory_iterator(pod, ec))
      if (entry.is_directory(ec)) ::rmdir(entry.path().c_str());
    ::rmdir(pod.c_str());
  }
  ::rmdir(("/sys/fs/cgroup" + parent + "/" + uid).c_str());
}

void Pod::remove_from_disk() {
  removing_ = true;
  refresh_timer_.cancel();
  release_volumes(dir());
  remove_cgroups(node_.config.cgroup_parent, uid_);
  const std::string path = dir();
  node_.file_worker.run(
      [path] {
        std::error_code ec;
        fs::remove_all(path, ec);
      },
      guarded([this] {
        auto gone = gone_;
        gone();
      }));
}

// --- from disk ---------------------------------------------------------------------------------------------------

void Pod::adopt() {
  prepared_ = fs::exists(dir() + "/volumes");
  auto saved = parse_json_file(dir() + "/sandbox.json");
  if (saved.ok()) {
    sandbox_ = {.id = text(*saved, "id"),
                .netns = text(*saved, "netns"),
                .ips = texts(*saved, "ips"),
                .result = find(*saved, "result") ? *find(*saved, "result") : Json(),
                .ready = flag(*saved, "ready")};
  }
  for (auto* list : {&init_, &regular_, &ephemeral_})
    for (auto& container : *list) container->adopt();
  const bool lost = saved.ok() && !finished() && (!sandbox_.ready || ::access(sandbox_.netns.c_str(), F_OK) != 0);
  if (lost) {
    if (sandbox_.ready) event("Normal", "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.");
    for (auto* list : {&init_, &regular_, &ephemeral_})
      for (auto& container : *list) container->forget_sandbox();
    prepared_ = false;
    sandbox_.ready = false;
    teardown_sandbox();
  }
  if (saved.ok() && finished() && !sandbox_.ready) sandbox_gone_ = true;
  if (prepared_ && !volume_references(object_).empty()) refresh_timer_ = node_.loop.every(kVolumeRefresh, [this] { refresh_volumes(); });
  schedule_sync();
}

}  // namespace fairway::runtime
