// The columns of pods; the status text is that of upstream's printPod.
#include "apiserver/columns_common.h"
#include "apiserver/formats.h"

namespace fairway::apiserver::printers {
namespace {

struct PodText {
  std::string reason;
  int ready = 0, total = 0;
  std::int64_t restarts = 0;
  std::int64_t last_restart = 0;  // unix seconds
};

bool is_sidecar(const Object& pod, std::string_view name) {
  for (const Json& container : array_at(pod, "spec.initContainers")) {
    if (text_at(container, "name") == name) return text_at(container, "restartPolicy") == "Always";
  }
  return false;
}

std::string terminated_text(const Json& state) {
  if (const std::string_view reason = text_at(state, "reason"); !reason.empty()) return std::string(reason);
  if (const auto signal = int_at(state, "signal"); signal != 0) return fmt::format("Signal:{}", signal);
  return fmt::format("ExitCode:{}", int_at(state, "exitCode"));
}

void count_restarts(const Json& status, PodText& text) {
  text.restarts += int_at(status, "restartCount");
  text.last_restart = std::max(text.last_restart, parse_time(text_at(status, "lastState.terminated.finishedAt")).value_or(0));
}

// Whether the pod still initialises; then `text.reason` tells how far it is.
bool describe_init(const Object& pod, PodText& text) {
  const Array& statuses = array_at(pod, "status.initContainerStatuses");
  const std::size_t total = array_at(pod, "spec.initContainers").size();
  for (std::size_t i = 0; i < statuses.size(); ++i) {
    const bool sidecar = is_sidecar(pod, text_at(statuses[i], "name"));
    count_restarts(statuses[i], text);
    const Json* terminated = find(statuses[i], "state.terminated");
    if (terminated != nullptr && int_at(*terminated, "exitCode") == 0) continue;
    if (sidecar && bool_at(statuses[i], "started")) {
      if (bool_at(statuses[i], "ready")) ++text.ready;
      continue;
    }
    const std::string_view waiting = text_at(statuses[i], "state.waiting.reason");
    if (terminated != nullptr) text.reason = "Init:" + terminated_text(*terminated);
    else if (!waiting.empty() && waiting != "PodInitializing") text.reason = fmt::format("Init:{}", waiting);
    else text.reason = fmt::format("Init:{}/{}", i, total);
    return true;
  }
  return false;
}

void describe_containers(const Object& pod, PodText& text) {
  const Array& statuses = array_at(pod, "status.containerStatuses");
  bool running = false;
  for (std::size_t i = statuses.size(); i-- > 0;) {
    const Json& status = statuses[i];
    count_restarts(status, text);
    const std::string_view waiting = text_at(status, "state.waiting.reason");
    const Json* terminated = find(status, "state.terminated");
    if (!waiting.empty()) text.reason = waiting;
    else if (terminated != nullptr) text.reason = terminated_text(*terminated);
    else if (bool_at(status, "ready") && find(status, "state.running") != nullptr) {
      running = true;
      ++text.ready;
    }
  }
  if (text.reason != "Completed" || !running) return;
  text.reason = "NotReady";
  for (const Json& condition : array_at(pod, "status.conditions")) {
    if (text_at(condition, "type") == "Ready" && text_at(condition, "status") == "True") text.reason = "Running";
  }
}

PodText describe(const Object& pod) {
  PodText text;
  text.total = static_cast<int>(array_at(pod, "spec.containers").size());
  for (const Json& container : array_at(pod, "spec.initContainers")) text.total += text_at(container, "restartPolicy") == "Always" ? 1 : 0;
  text.reason = text_at(pod, "status.phase");
  if (const std::string_view reason = text_at(pod, "status.reason"); !reason.empty()) text.reason = reason;
  for (const Json& condition : array_at(pod, "status.conditions")) {
    if (text_at(condition, "type") == "PodScheduled" && text_at(condition, "reason") == "SchedulingGated") text.reason = "SchedulingGated";
  }
  if (!describe_init(pod, text)) describe_containers(pod, text);
  if (find(pod, "metadata.deletionTimestamp") != nullptr) {
    const std::string_view phase = text_at(pod, "status.phase");
    if (text_at(pod, "status.reason") == "NodeLost") text.reason = "Unknown";
    else if (phase != "Succeeded" && phase != "Failed") text.reason = "Terminating";
  }
  return text;
}

std::string gates_text(const Object& pod) {
  const Array& gates = array_at(pod, "spec.readinessGates");
  if (gates.empty()) return "<none>";
  int ready = 0;
  for (const Json& gate : gates) {
    for (const Json& condition : array_at(pod, "status.conditions")) {
      if (text_at(condition, "type") == text_at(gate, "conditionType") && text_at(condition, "status") == "True") ++ready;
    }
  }
  return fmt::format("{}/{}", ready, gates.size());
}

Cells pod_cells(const Object& pod) {
  const PodText text = describe(pod);
  std::string restarts = std::to_string(text.restarts);
  if (text.restarts > 0 && text.last_restart > 0) restarts += fmt::format(" ({} ago)", human_duration(now_seconds() - text.last_restart));
  std::string ip(text_at(pod, "status.podIP"));
  const Array& ips = array_at(pod, "status.podIPs");
  if (!ips.empty()) ip = text_at(ips[0], "ip");
  return {name_of(pod),
          fmt::format("{}/{}", text.ready, text.total),
          text.reason,
          restarts,
          age_of(pod),
          or_none(ip),
          or_none(std::string(text_at(pod, "spec.nodeName"))),
          or_none(std::string(text_at(pod, "status.nominatedNodeName"))),
          gates_text(pod)};
}

}  // namespace

const Printer kPod{"Name Ready Status Restarts Age|IP Node Nominated_Node Readiness_Gates", pod_cells};

}  // namespace fairway::apiserver::printers
