// A pod's status: phase and conditions as kubelet computes them (pkg/kubelet/kubelet_pods.go getPhase,
// pkg/kubelet/status/generate.go), and their way to the API server.
#include <algorithm>

#include "runtime/pod.h"
#include "sys/log.h"

namespace fairway::runtime {

std::string qos_class(const Json& pod) {
  bool guaranteed = true, any = false;
  for (const char* list : {"spec.containers", "spec.initContainers"})
    for (const auto& container : array(pod, list))
      for (const char* resource : {"cpu", "memory"}) {
        const Json* limits = find(container, "resources.limits");
        const Json* requests = find(container, "resources.requests");
        const Json* limit = limits ? member(*limits, resource) : nullptr;
        const Json* request = requests ? member(*requests, resource) : nullptr;
        any = any || limit || request;
        if (!limit || (request && boost::json::serialize(*request) != boost::json::serialize(*limit))) guaranteed = false;
      }
  return !any ? "BestEffort" : guaranteed ? "Guaranteed" : "Burstable";
}

std::string Pod::phase() const {
  const std::string policy = text(object_, "spec.restartPolicy", "Always");
  for (const auto& container : init_)
    if (container->kind() == ContainerKind::kInit && !initialized() && container->state() == Container::State::kExited &&
        !container->succeeded() && policy == "Never")
      return "Failed";
  if (!initialized()) return "Pending";
  unsigned waiting = 0, running = 0, stopped = 0, succeeded = 0;
  for (const auto& container : regular_) {
    if (container->state() == Container::State::kRunning) ++running;
    else if (container->state() == Container::State::kExited) {
      ++stopped;
      succeeded += container->succeeded();
    } else ++waiting;
  }
  if (waiting > 0) return "Pending";
  if (running > 0) return "Running";
  if (terminating() && all_idle()) return stopped == succeeded ? "Succeeded" : "Failed";
  if (policy == "Always") return "Running";
  if (stopped == succeeded) return "Succeeded";
  return policy == "Never" ? "Failed" : "Running";
}

namespace {

std::string list_of(const std::vector<std::string>& names) {
  std::string out;
  for (const auto& name : names) out += (out.empty() ? "" : " ") + name;
  return "[" + out + "]";
}

const Json* condition(const Json& status, const std::string& type) {
  for (const auto& item : array(status, "conditions"))
    if (text(item, "type") == type) return &item;
  return nullptr;
}

struct Wanted {
  std::string type;
  bool value;
  std::string reason, message;
};

JsonObject render(const Wanted& wanted, const Json& before, std::int64_t now_ns) {
  const Json* old = condition(before, wanted.type);
  const std::string value = wanted.value ? "True" : "False";
  const bool same = old && text(*old, "status") == value;
  JsonObject out{{"type", wanted.type},
                 {"status", value},
                 {"lastProbeTime", nullptr},
                 {"lastTransitionTime", same ? text(*old, "lastTransitionTime") : rfc3339(now_ns)}};
  // The status goes out as a strategic patch, which keeps what it does not name: a reason that is no more is taken away.
  out["reason"] = wanted.reason.empty() ? Json() : Json(wanted.reason);
  out["message"] = wanted.message.empty() ? Json() : Json(wanted.message);
  return out;
}

Wanted ready_condition(const Json& pod, const Wanted& containers) {
  if (!containers.value) return {"Ready", false, containers.reason, containers.message};
  std::string missing;
  for (const auto& gate : array(pod, "spec.readinessGates")) {
    const std::string type = text(gate, "conditionType");
    const Json empty(JsonObject{});
    const Json* status = find(pod, "status");
    const Json* found = condition(status ? *status : empty, type);
    if (!found)
      missing += (missing.empty() ? "" : ", ") + ("corresponding condition of pod readiness gate \"" + type + "\" does not exist.");
    else if (text(*found, "status") != "True")
      missing += (missing.empty() ? "" : ", ") +
                 ("the status of pod readiness gate \"" + type + "\" is not \"True\", but " + text(*found, "status"));
  }
  if (!missing.empty()) return {"Ready", false, "ReadinessGatesNotReady", missing};
  return {"Ready", true, "", ""};
}

JsonArray addresses(const std::vector<std::string>& ips) {
  JsonArray out;
  for (const auto& ip : ips) out.push_back(JsonObject{{"ip", ip}});
  return out;
}

}  // namespace

Json pod_status(const Json& pod, const StatusFacts& facts, const Json& before, std::int64_t now_ns) {
  const bool over = facts.phase == "Succeeded" || facts.phase == "Failed";
  const std::string completed = facts.phase == "Succeeded" ? "PodCompleted" : facts.phase == "Failed" ? "PodFailed" : "";
  Wanted initialized{"Initialized", facts.initialized || facts.phase == "Succeeded", facts.phase == "Succeeded" ? "PodCompleted" : "", ""};
  if (!initialized.value) {
    initialized.reason = "ContainersNotInitialized";
    initialized.message = "containers with incomplete status: " + list_of(facts.incomplete);
  }
  Wanted containers{"ContainersReady", !over && facts.unready.empty(), completed, ""};
  if (!containers.value && completed.empty()) {
    containers.reason = "ContainersNotReady";
    containers.message = "containers with unready status: " + list_of(facts.unready);
  }
  Wanted scheduled{"PodScheduled", true, "", ""};
  JsonArray conditions;
  for (const Wanted& wanted : {Wanted{"PodReadyToStartContainers", facts.sandbox_ready, "", ""}, initialized,
                               ready_condition(pod, containers), containers, scheduled})
    conditions.push_back(render(wanted, before, now_ns));
  JsonObject out{{"phase", facts.phase},
                 {"conditions", std::move(conditions)},
                 {"startTime", rfc3339(facts.start_ns)},
                 {"qosClass", qos_class(pod)},
                 {"containerStatuses", JsonArray(facts.statuses.begin(), facts.statuses.end())}};
  if (!facts.host_ips.empty()) {
    out["hostIP"] = facts.host_ips.front();
    out["hostIPs"] = addresses(facts.host_ips);
  }
  if (!facts.pod_ips.empty()) {
    out["podIP"] = facts.pod_ips.front();
    out["podIPs"] = addresses(facts.pod_ips);
  }
  if (!facts.init_statuses.empty()) out["initContainerStatuses"] = JsonArray(facts.init_statuses.begin(), facts.init_statuses.end());
  if (!facts.ephemeral_statuses.empty())
    out["ephemeralContainerStatuses"] = JsonArray(facts.ephemeral_statuses.begin(), facts.ephemeral_statuses.end());
  return out;
}

Json Pod::build_status() const {
  StatusFacts facts{.phase = phase(),
                    .sandbox_ready = sandbox_.ready,
                    .initialized = initialized(),
                    .start_ns = start_ns_,
                    .host_ips = node_.config.node_ips};
  facts.pod_ips = host_network() ? node_.config.node_ips : sandbox_.ips;
  for (const auto& container : init_) {
    facts.init_statuses.push_back(container->status());
    const bool sidecar = container->kind() == ContainerKind::kSidecar;
    if (sidecar ? !container->started() : !container->succeeded()) facts.incomplete.push_back(container->name());
    if (sidecar && !container->ready()) facts.unready.push_back(container->name());
  }
  for (const auto& container : regular_) {
    facts.statuses.push_back(container->status());
    if (!container->ready()) facts.unready.push_back(container->name());
  }
  for (const auto& container : ephemeral_) facts.ephemeral_statuses.push_back(container->status());
  return pod_status(object_, facts, last_status_, now_unix_ns());
}

void Pod::publish() {
  if (publishing_ || removed_) return;
  Json status = build_status();
  std::string rendered = boost::json::serialize(status);
  if (rendered == published_) return;
  publishing_ = true;
  last_status_ = status;
  JsonObject patch{{"metadata", JsonObject{{"uid", uid_}}}, {"status", std::move(status)}};
  node_.calls.start(
      [&](k8s::Done done) {
        return node_.api.patch({.resource = "pods", .ns = ns_, .name = name_, .subresource = "status"}, k8s::PatchType::kStrategic,
                               std::move(patch), std::move(done));
      },
      guarded([this, rendered](Result<Json> result) {
        publishing_ = false;
        if (result.ok()) {
          publish_backoff_ = std::chrono::milliseconds(0);
          published_ = rendered;
          return schedule_sync();  // it may have changed meanwhile
        }
        if (result.error().code == Code::kNotFound) {
          published_ = rendered;
          return;
        }
        log::debug("runtime", "status of pod {}: {}", full_name(), result.error().message);
        publish_backoff_ = std::clamp(publish_backoff_ * 2, std::chrono::milliseconds(200), std::chrono::milliseconds(10'000));
        publish_timer_ = node_.loop.after(publish_backoff_, [this] { publish(); });
      }));
}

}  // namespace fairway::runtime
