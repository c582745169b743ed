#include "controllers/scheduler_fit.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <tuple>

#include "controllers/owners.h"
#include "controllers/pod.h"
#include "controllers/selector.h"

namespace fairway::controllers {
namespace {

Resources used_on(const NodeView& view) {
  Resources used;
  for (const Json* pod : view.pods) {
    const auto r = requests_of(*pod);
    used.cpu_milli += r.cpu_milli;
    used.memory_bytes += r.memory_bytes;
  }
  return used;
}

Misfit check_resources(const Json& pod, const NodeView& view) {
  Misfit misfit;
  const auto wanted = requests_of(pod);
  const auto used = used_on(view);
  const Json* allocatable = at(*view.node, "status", "allocatable");
  if (!allocatable) return misfit;  // a node that says nothing limits nothing
  const auto pods = parse_milli(at(*allocatable, "pods"));
  if (pods && static_cast<std::int64_t>(view.pods.size()) + 1 > *pods / 1000) misfit.reasons.emplace_back("Too many pods");
  const auto cpu = parse_milli(at(*allocatable, "cpu"));
  if (wanted.cpu_milli > 0 && cpu && used.cpu_milli + wanted.cpu_milli > *cpu) misfit.reasons.emplace_back("Insufficient cpu");
  const auto memory = parse_milli(at(*allocatable, "memory"));
  if (wanted.memory_bytes > 0 && memory && used.memory_bytes + wanted.memory_bytes > *memory / 1000)
    misfit.reasons.emplace_back("Insufficient memory");
  misfit.by_resources = !misfit.reasons.empty();
  return misfit;
}

struct HostPort {
  std::string port;  // "TCP/80"
  std::string ip;    // empty: any
  bool clashes(const HostPort& other) const { return port == other.port && (ip.empty() || other.ip.empty() || ip == other.ip); }
};

std::vector<HostPort> host_ports(const Json& pod) {
  std::vector<HostPort> ports;
  for (const auto& container : items(pod, "spec", "containers")) {
    for (const auto& port : items(container, "ports")) {
      const auto n = count(port, "hostPort");
      const auto ip = text(port, "hostIP");
      if (n) ports.push_back({fmt::format("{}/{}", text(port, "protocol"), n), ip == "0.0.0.0" || ip == "::" ? "" : std::string(ip)});
    }
  }
  return ports;
}

bool ports_clash(const Json& pod, const NodeView& view) {
  const auto wanted = host_ports(pod);
  if (wanted.empty()) return false;
  return std::any_of(view.pods.begin(), view.pods.end(), [&](const Json* other) {
    const auto taken = host_ports(*other);
    return std::any_of(wanted.begin(), wanted.end(), [&](const auto& port) {
      return std::any_of(taken.begin(), taken.end(), [&](const auto& that) { return port.clashes(that); });
    });
  });
}

// A term of podAffinity or podAntiAffinity of `owner`, asked of another pod. Without namespaces, the owner's own.
bool term_selects(const Json& term, const Json& owner, const Json& pod) {
  const auto& namespaces = items(term, "namespaces");
  const Json* by_labels = at(term, "namespaceSelector");
  const bool every_namespace = by_labels && LabelSelector::of(by_labels).is_empty();
  const bool in_namespace =
      every_namespace || (namespaces.empty() && namespace_of(pod) == namespace_of(owner)) ||
      std::any_of(namespaces.begin(), namespaces.end(), [&](const Json& ns) { return as_text(&ns) == namespace_of(pod); });
  return in_namespace && LabelSelector::of(at(term, "labelSelector")).matches(fields(pod, "metadata", "labels"));
}

const json::array& required_terms(const Json& pod, std::string_view kind) {
  return items(pod, "spec", "affinity", kind, "requiredDuringSchedulingIgnoredDuringExecution");
}

std::string_view domain_of(const NodeView& view, const Json& term) {
  return text(*view.node, "metadata", "labels", text(term, "topologyKey"));
}

// The domains of the term's topology key in which a pod runs that the term selects.
std::set<std::string, std::less<>> domains_with(const Json& term, const Json& owner, const std::vector<NodeView>& views) {
  std::set<std::string, std::less<>> domains;
  for (const auto& view : views) {
    const auto domain = domain_of(view, term);
    if (domain.empty()) continue;
    if (std::any_of(view.pods.begin(), view.pods.end(), [&](const Json* p) { return term_selects(term, owner, *p); }))
      domains.emplace(domain);
  }
  return domains;
}

}  // namespace

Misfit check_node(const Json& pod, const NodeView& view) {
  const Json& node = *view.node;
  for (const auto& taint : items(node, "spec", "taints")) {
    const auto effect = text(taint, "effect");
    if (effect == "PreferNoSchedule" || tolerates(pod, taint)) continue;
    if (text(taint, "key") == "node.kubernetes.io/unschedulable") return {{"node(s) were unschedulable"}};
    return {{fmt::format("node(s) had untolerated taint {{{}: {}}}", text(taint, "key"), text(taint, "value"))}};
  }
  const Json* terms = at(pod, "spec", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution");
  if (!matches_map(fields(pod, "spec", "nodeSelector"), fields(node, "metadata", "labels")) ||
      (terms && !matches_node_terms(items(*terms, "nodeSelectorTerms"), node))) {
    return {{"node(s) didn't match Pod's node affinity/selector"}};
  }
  if (ports_clash(pod, view)) return {{"node(s) didn't have free ports for the requested pod ports"}, true};
  return check_resources(pod, view);
}

std::map<std::size_t, std::string> check_affinity(const Json& pod, const std::vector<NodeView>& views) {
  std::map<std::size_t, std::string> forbidden;
  for (const auto& term : required_terms(pod, "podAntiAffinity")) {
    const auto domains = domains_with(term, pod, views);
    for (std::size_t i = 0; i < views.size(); ++i) {
      if (domains.contains(domain_of(views[i], term))) forbidden[i] = "node(s) didn't match pod anti-affinity rules";
    }
  }
  for (const auto& view : views) {
    for (const Json* running : view.pods) {
      for (const auto& term : required_terms(*running, "podAntiAffinity")) {
        const auto domain = domain_of(view, term);
        if (domain.empty() || !term_selects(term, *running, pod)) continue;
        for (std::size_t i = 0; i < views.size(); ++i) {
          if (domain_of(views[i], term) == domain) forbidden[i] = "node(s) didn't satisfy existing pods anti-affinity rules";
        }
      }
    }
  }
  for (const auto& term : required_terms(pod, "podAffinity")) {
    const auto domains = domains_with(term, pod, views);
    // The first of a group that wants to be together may go anywhere.
    if (domains.empty() && term_selects(term, pod, pod)) continue;
    for (std::size_t i = 0; i < views.size(); ++i) {
      if (!domains.contains(domain_of(views[i], term))) forbidden[i] = "node(s) didn't match pod affinity rules";
    }
  }
  return forbidden;
}

namespace {

auto score(const Json& pod, const NodeView& view) {
  const Json* owner = controller_of(pod);
  std::int64_t siblings = 0, soft_taints = 0;
  for (const Json* other : view.pods) siblings += owner && is_controlled_by(*other, text(*owner, "uid"));
  for (const auto& taint : items(*view.node, "spec", "taints"))
    soft_taints += text(taint, "effect") == "PreferNoSchedule" && !tolerates(pod, taint);
  return std::tuple(soft_taints, siblings, view.pods.size(), used_on(view).cpu_milli, name_of(*view.node));
}

std::string explain(const std::map<std::string, int>& reasons, std::size_t nodes, std::size_t by_resources) {
  std::string list;
  for (const auto& [reason, times] : reasons) list += fmt::format("{}{} {}", list.empty() ? "" : ", ", times, reason);
  std::string preemption;
  if (by_resources > 0) preemption = fmt::format("{} No preemption victims found for incoming pod", by_resources);
  if (nodes > by_resources) {
    preemption += fmt::format("{}{} Preemption is not helpful for scheduling", preemption.empty() ? "" : ", ", nodes - by_resources);
  }
  return fmt::format("0/{} nodes are available: {}. preemption: 0/{} nodes are available: {}.", nodes, list, nodes, preemption);
}

}  // namespace

Choice choose_node(const Json& pod, const std::vector<NodeView>& views) {
  if (views.empty()) return {"", "no nodes available to schedule pods"};
  const auto forbidden = check_affinity(pod, views);
  std::map<std::string, int> reasons;
  std::size_t by_resources = 0;
  const NodeView* best = nullptr;
  for (std::size_t i = 0; i < views.size(); ++i) {
    Misfit misfit = check_node(pod, views[i]);
    if (misfit.reasons.empty()) {
      if (const auto found = forbidden.find(i); found != forbidden.end()) misfit.reasons.push_back(found->second);
    }
    for (const auto& reason : misfit.reasons) ++reasons[reason];
    by_resources += misfit.by_resources;
    if (misfit.reasons.empty() && (!best || score(pod, views[i]) < score(pod, *best))) best = &views[i];
  }
  if (best) return {std::string(name_of(*best->node)), ""};
  return {"", explain(reasons, views.size(), by_resources)};
}

}  // namespace fairway::controllers
