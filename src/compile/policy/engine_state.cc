// Objects in: pods, namespaces, nodes and local pods to groups, owners of addresses and marks.
#include "compile/policy/engine_impl.h"

namespace fairway::compile::policy {

std::uint32_t Engine::Impl::pod_number(const std::string& key) {
  const auto [at, fresh] = pod_numbers.try_emplace(key, 0);
  if (!fresh) return at->second;
  if (free_pods.empty()) {
    at->second = static_cast<std::uint32_t>(pods.size());
    pods.emplace_back();
  } else {
    at->second = free_pods.back();
    free_pods.pop_back();
  }
  pods[at->second].key = &at->first;
  return at->second;
}
void Engine::Impl::forget_pod_if_unused(std::uint32_t number) {
  if (pods[number].exists || !pods[number].ifindexes.empty()) return;
  pod_numbers.erase(pod_numbers.find(*pods[number].key));
  free_pods.push_back(number);
}

void Engine::Impl::mark(const net::IpAddr& addr) {
  const auto at = addresses.find(addr);
  if (at == addresses.end() || at->second.dirty) return;
  at->second.dirty = true;
  dirty_addresses.push_back(addr);
}
void Engine::Impl::own(const net::IpAddr& addr, std::uint32_t owner, bool node, bool add) {
  auto& row = addresses[addr];
  auto& owners = node ? row.nodes : row.pods;
  if (add) owners.push_back(owner);
  else owners.erase(std::find(owners.begin(), owners.end(), owner));
  mark(addr);
}

void Engine::Impl::join_local(GroupId group, std::uint32_t ifindex) {
  auto& there = groups[group].locals;
  there.push_back(ifindex);
  if (there.size() == 1) subject_selectors.add_group(group);
}
void Engine::Impl::leave_local(GroupId group, std::uint32_t ifindex) {
  auto& there = groups[group].locals;
  const auto at = std::find(there.begin(), there.end(), ifindex);
  *at = there.back();
  there.pop_back();
  if (!there.empty()) return;
  subject_selectors.remove_group(group);
  orphaned_groups.push_back(group);
}

void Engine::Impl::join_group(std::uint32_t number, GroupId group) {
  auto& pod = pods[number];
  pod.group = group;
  auto& row = groups[group];
  pod.place = static_cast<std::uint32_t>(row.pods.size());
  row.pods.push_back(number);
  for (const auto ifindex : pod.ifindexes) join_local(group, ifindex);
}
void Engine::Impl::leave_group(std::uint32_t number) {
  auto& pod = pods[number];
  auto& row = groups[pod.group];
  row.pods[pod.place] = row.pods.back();
  pods[row.pods.back()].place = pod.place;
  row.pods.pop_back();
  for (const auto ifindex : pod.ifindexes) leave_local(pod.group, ifindex);
  if (selectors.release_group(pod.group)) {
    peer_selectors.remove_group(pod.group);
    orphaned_groups.push_back(pod.group);
  }
  pod.group = 0;
}

void Engine::Impl::rename(StringId& held, const std::string& name) {
  const StringId next = name.empty() ? 0 : selectors.acquire_string(name);
  if (held != 0) selectors.release_string(held);
  held = next;
}

// The group's holder is handed over.
void Engine::Impl::place_pod(std::uint32_t number, GroupId group, std::vector<net::IpAddr> ips) {
  auto& pod = pods[number];
  if (pod.group != 0) {
    for (const auto& ip : pod.ips) own(ip, number, false, false);
    leave_group(number);
  }
  pod.ips = std::move(ips);
  if (group != 0) {
    for (const auto& ip : pod.ips) own(ip, number, false, true);
    join_group(number, group);
  }
  for (const auto ifindex : pod.ifindexes) mark_local(ifindex);
}

void Engine::set_pod(const model::Pod& row) {
  auto& m = *impl_;
  const std::uint32_t number = m.pod_number(row.id.to_string());
  m.pods[number].exists = true;
  m.rename(m.pods[number].node, row.node);
  GroupId group = 0;
  std::vector<net::IpAddr> ips;
  if (!row.host_network && !row.terminated) {
    const auto [id, fresh] = m.selectors.acquire_group(
        {m.selectors.acquire_string(row.id.ns), m.selectors.acquire_labels(row.labels), m.selectors.acquire_ports(row.ports)});
    group = id;
    if (fresh) {
      Impl::at(m.groups, group) = {};
      m.peer_selectors.add_group(group);
    }
    ips = row.ips;
    std::sort(ips.begin(), ips.end());
    ips.erase(std::unique(ips.begin(), ips.end()), ips.end());
  }
  if (group == m.pods[number].group && ips == m.pods[number].ips) {
    if (group != 0) m.selectors.release_group(group);
    return;
  }
  m.place_pod(number, group, std::move(ips));
}

void Engine::remove_pod(std::string_view key) {
  auto& m = *impl_;
  const auto at = m.pod_numbers.find(key);
  if (at == m.pod_numbers.end() || !m.pods[at->second].exists) return;
  const std::uint32_t number = at->second;
  m.place_pod(number, 0, {});
  m.pods[number].exists = false;
  m.rename(m.pods[number].node, "");
  m.forget_pod_if_unused(number);
}

void Engine::add_local(std::uint32_t ifindex, const model::Name& pod, Unknown unknown) {
  auto& m = *impl_;
  const std::uint32_t number = m.pod_number(pod.to_string());
  if (const auto at = m.locals.find(ifindex); at != m.locals.end()) {
    if (at->second.pod == number && at->second.unknown == unknown) return;
    if (at->second.pod == number) {
      at->second.unknown = unknown;
      m.mark_local(ifindex);
      return;
    }
    remove_local(ifindex);
  }
  m.locals[ifindex] = {number, unknown};
  m.pods[number].ifindexes.push_back(ifindex);
  if (m.pods[number].group != 0) m.join_local(m.pods[number].group, ifindex);
  m.mark_local(ifindex);
}

void Engine::remove_local(std::uint32_t ifindex) {
  auto& m = *impl_;
  const auto at = m.locals.find(ifindex);
  if (at == m.locals.end()) return;
  const std::uint32_t number = at->second.pod;
  if (m.pods[number].group != 0) m.leave_local(m.pods[number].group, ifindex);
  std::erase(m.pods[number].ifindexes, ifindex);
  m.forget_pod_if_unused(number);
  m.locals.erase(at);
  m.mark_local(ifindex);
}

void Engine::set_namespace(const model::Namespace& row) {
  auto& m = *impl_;
  const LabelSetId labels = m.selectors.acquire_labels(row.labels);
  auto [at, fresh] = m.namespaces.try_emplace(row.name, 0, 0);
  auto& [ns, old] = at->second;
  if (fresh) ns = m.selectors.acquire_string(row.name);
  const bool same = old == labels;
  m.selectors.release_labels(old);
  old = labels;
  if (same) return;
  m.selectors.set_namespace(ns, labels);
  m.subject_selectors.namespace_changed(ns);
  m.peer_selectors.namespace_changed(ns);
}

void Engine::remove_namespace(std::string_view name) {
  auto& m = *impl_;
  const auto at = m.namespaces.find(name);
  if (at == m.namespaces.end()) return;
  const auto [ns, labels] = at->second;
  m.namespaces.erase(at);
  m.selectors.set_namespace(ns, 0);
  m.subject_selectors.namespace_changed(ns);
  m.peer_selectors.namespace_changed(ns);
  m.selectors.release_labels(labels);
  m.selectors.release_string(ns);
}

void Engine::Impl::set_node_truth(NodeRow& node) {
  std::vector<PredicateId> truth;
  for (const PredicateId p : node_predicates)
    if (selectors.labels_match(predicates[p].of, node.labels)) truth.push_back(p);
  std::sort(truth.begin(), truth.end());
  if (truth == node.truth) return;
  node.truth = std::move(truth);
  for (const auto& addr : node.addresses) mark(addr);
}

void Engine::set_node(const model::Node& row) {
  auto& m = *impl_;
  auto [at, fresh] = m.node_numbers.try_emplace(row.name, 0);
  if (fresh) {
    at->second = static_cast<std::uint32_t>(m.free_nodes.empty() ? m.nodes.size() : m.free_nodes.back());
    if (m.free_nodes.empty()) m.nodes.emplace_back();
    else m.free_nodes.pop_back();
  }
  auto& node = m.nodes[at->second];
  m.rename(node.name, row.name);
  const LabelSetId labels = m.selectors.acquire_labels(row.labels);
  m.selectors.release_labels(node.labels);
  node.labels = labels;
  node.own = row.addresses;
  std::sort(node.own.begin(), node.own.end());
  auto addresses = node.own;
  addresses.insert(addresses.end(), row.other_addresses.begin(), row.other_addresses.end());
  std::sort(addresses.begin(), addresses.end());
  addresses.erase(std::unique(addresses.begin(), addresses.end()), addresses.end());
  if (addresses != node.addresses) {
    for (const auto& addr : addresses) m.own(addr, at->second, true, true);
    for (const auto& addr : node.addresses) m.own(addr, at->second, true, false);
    node.addresses = std::move(addresses);
  }
  m.set_node_truth(node);
}

void Engine::remove_node(std::string_view name) {
  auto& m = *impl_;
  const auto at = m.node_numbers.find(name);
  if (at == m.node_numbers.end()) return;
  auto& node = m.nodes[at->second];
  for (const auto& addr : node.addresses) m.own(addr, at->second, true, false);
  m.selectors.release_labels(node.labels);
  m.rename(node.name, "");
  node = {};
  m.free_nodes.push_back(at->second);
  m.node_numbers.erase(at);
}

}  // namespace fairway::compile::policy
