#include "controllers/pod.h"

#include <algorithm>
#include <bit>
#include <cctype>
#include <charconv>
#include <cstdlib>

#include "k8s/quantity.h"

namespace fairway::controllers {

bool is_finished(const Json& pod) {
  const auto phase = text(pod, "status", "phase");
  return phase == "Succeeded" || phase == "Failed";
}

bool is_active(const Json& pod) { return !is_finished(pod) && !is_terminating(pod); }

const Json* pod_condition(const Json& pod, std::string_view type) {
  for (const auto& condition : items(pod, "status", "conditions")) {
    if (text(condition, "type") == type) return &condition;
  }
  return nullptr;
}

bool is_ready(const Json& pod) {
  const Json* ready = pod_condition(pod, "Ready");
  return ready && text(*ready, "status") == "True";
}

std::optional<WallTime> ready_since(const Json& pod) {
  const Json* ready = pod_condition(pod, "Ready");
  return ready && text(*ready, "status") == "True" ? parse_time(text(*ready, "lastTransitionTime")) : std::nullopt;
}

bool is_available(const Json& pod, std::int64_t min_ready_seconds, WallTime now, std::optional<std::chrono::milliseconds>* until) {
  if (!is_ready(pod)) return false;
  if (min_ready_seconds <= 0) return true;
  const auto since = ready_since(pod);
  if (!since) return false;
  const auto due = *since + std::chrono::seconds(min_ready_seconds);
  if (due <= now) return true;
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(due - now) + std::chrono::milliseconds(1);
  if (until && (!*until || left < **until)) *until = left;
  return false;
}

std::optional<std::int64_t> parse_milli(const Json* quantity) {
  if (!quantity) return std::nullopt;
  if (const auto plain = as_number(quantity)) return *plain * 1000;
  if (quantity->is_double()) return static_cast<std::int64_t>(quantity->get_double() * 1000);
  return k8s::parse_quantity_milli(as_text(quantity));
}

Resources requests_of(const Json& pod) {
  const auto of = [](const Json& container) {
    const auto cpu = parse_milli(at(container, "resources", "requests", "cpu"));
    const auto memory = parse_milli(at(container, "resources", "requests", "memory"));
    return Resources{cpu.value_or(0), memory.value_or(0) / 1000};
  };
  Resources total;
  for (const auto& container : items(pod, "spec", "containers")) {
    const auto r = of(container);
    total.cpu_milli += r.cpu_milli;
    total.memory_bytes += r.memory_bytes;
  }
  for (const auto& container : items(pod, "spec", "initContainers")) {
    const auto r = of(container);
    total.cpu_milli = std::max(total.cpu_milli, r.cpu_milli);
    total.memory_bytes = std::max(total.memory_bytes, r.memory_bytes);
  }
  return total;
}

namespace {
bool matches_taint(const Json& toleration, const Json& taint) {
  const auto effect = text(toleration, "effect");
  if (!effect.empty() && effect != text(taint, "effect")) return false;
  const auto key = text(toleration, "key");
  const auto op = text(toleration, "operator");
  if (key.empty()) return op == "Exists";
  if (key != text(taint, "key")) return false;
  if (op == "Exists") return true;
  return (op.empty() || op == "Equal") && text(toleration, "value") == text(taint, "value");
}
}  // namespace

Tolerance tolerance_of(const Json& pod, const Json& taint) {
  Tolerance result;
  for (const auto& toleration : items(pod, "spec", "tolerations")) {
    if (!matches_taint(toleration, taint)) continue;
    const auto seconds = number(toleration, "tolerationSeconds");
    // The shortest of several holds; one without a limit limits nothing.
    if (seconds && (!result.seconds || *seconds < *result.seconds)) result.seconds = std::max<std::int64_t>(0, *seconds);
    result.tolerated = true;
  }
  return result;
}

bool tolerates(const Json& pod, const Json& taint) { return tolerance_of(pod, taint).tolerated; }

namespace {

int phase_order(const Json& pod) {
  const auto phase = text(pod, "status", "phase");
  return phase == "Running" ? 2 : phase == "Unknown" ? 1 : 0;
}

std::int64_t deletion_cost(const Json& pod) {
  const auto digits = text(pod, "metadata", "annotations", "controller.kubernetes.io/pod-deletion-cost");
  std::int64_t cost = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), cost);
  return cost;
}

std::int64_t restarts(const Json& pod) {
  std::int64_t most = 0;
  for (const auto& status : items(pod, "status", "containerStatuses")) most = std::max(most, count(status, "restartCount"));
  return most;
}

// Ages are compared on a logarithmic scale, so that among pods of about one age the choice is even.
int age_rank(std::optional<WallTime> since, WallTime now) {
  if (!since || *since > now) return 0;
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(now - *since).count();
  return std::bit_width(static_cast<std::uint64_t>(seconds) + 1);
}

}  // namespace

bool goes_first(const Candidate& a, const Candidate& b, WallTime now) {
  const auto key = [now](const Candidate& c) {
    const Json& pod = *c.pod;
    const bool ready = is_ready(pod);
    return std::tuple(!text(pod, "spec", "nodeName").empty(), phase_order(pod), ready, deletion_cost(pod), -c.rank,
                      ready ? age_rank(ready_since(pod), now) : 0, -restarts(pod),
                      age_rank(parse_time(text(pod, "metadata", "creationTimestamp")), now), std::string(uid_of(pod)));
  };
  return key(a) < key(b);
}

}  // namespace fairway::controllers
