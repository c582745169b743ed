#include "reflect/cluster.h"

#include <map>
#include <set>
#include <unordered_set>

#include "reflect/address_index.h"
#include "reflect/reflect.h"

namespace fairway::reflect {
namespace {

using k8s::Kind;
using k8s::SlimObject;
using model::Problem;
using model::Stage;

// On a Namespace: its slices may name nodes and other namespaces' pods. Whoever may label a Namespace may do more.
constexpr const char* kForeignLabel = "fairway.io/foreign-endpoints";

// The kind of an object whose key is "ns/name" is a NetworkPolicy.
Kind policy_kind(std::string_view key) {
  return key.find('/') == std::string_view::npos ? Kind::kClusterNetworkPolicy : Kind::kNetworkPolicy;
}

std::string object_name(Kind kind, std::string_view key) { return std::string(to_string(kind)) + " " + std::string(key); }

}  // namespace

struct Cluster::Impl {
  explicit Impl(model::Problems& p) : problems(p) {
    for (const Kind kind : kKinds) packed(kind).add_source("api");
  }

  model::Problems& problems;
  model::NamespaceTable namespaces{"namespaces"};
  model::NodeTable nodes{"nodes"};
  model::PodTable pods{"pods"};
  model::ServiceTable services{"services"};
  model::EndpointSliceTable slices{"endpointslices"};
  model::PolicyTable policies{"networkpolicies"};
  model::PolicyTable cluster_policies{"clusternetworkpolicies"};

  Numbers service_numbers;
  std::vector<NameSet> slices_of;  // by service number: slices' names, all of its namespace
  ServicesByAddress services_by_addr;
  PodsByAddress pods_by_addr;
  boost::unordered_flat_map<net::IpAddr, std::string, std::hash<net::IpAddr>> node_by_addr;

  std::unordered_set<std::uint32_t> changed_services;
  std::unordered_set<net::IpAddr> changed_addresses;
  std::unordered_set<std::string> changed_nodes;
  std::unordered_set<std::string> changed_pods;
  std::unordered_set<std::string> changed_namespaces;
  std::unordered_set<std::string> changed_policies;
  std::map<std::string, std::size_t, std::less<>> pods_in;                           // namespace -> pods that are not terminated
  std::map<std::string, std::size_t, std::less<>> kept, kept_in;                     // pods that run here; by namespace
  std::map<std::string, std::set<std::string, std::less<>>, std::less<>> lingering;  // namespace -> policies that outlive their objects
  std::set<std::string, std::less<>> lingering_pods, lingering_namespaces;
  std::set<std::string> pods_wait_for;  // nodes that came or went: their pods' rows must follow

  table::PackedTable& packed(Kind kind) {
    switch (kind) {
      case Kind::kNamespace:
        return namespaces.packed();
      case Kind::kNode:
        return nodes.packed();
      case Kind::kPod:
        return pods.packed();
      case Kind::kService:
        return services.packed();
      case Kind::kNetworkPolicy:
        return policies.packed();
      case Kind::kClusterNetworkPolicy:
        return cluster_policies.packed();
      case Kind::kEndpointSlice:
        break;
    }
    return slices.packed();
  }

  std::uint32_t service_number(std::string_view key) {
    const std::uint32_t number = service_numbers.get(key);
    if (number >= slices_of.size()) slices_of.resize(number + 1);
    return number;
  }

  void owner_changed(const net::IpAddr& addr) {
    changed_addresses.insert(addr);
    services_by_addr.for_each(addr, [&](std::uint32_t service) { changed_services.insert(service); });
  }

  // Each pair below: the old row (if any) and the new one (if any) after a change.
  void namespace_changed(const std::string& key, const std::optional<model::Namespace>& before,
                         const std::optional<model::Namespace>& after) {
    changed_namespaces.insert(key);
    const auto opted_in = [](const auto& row) { return row && row->labels.contains(kForeignLabel); };
    if (opted_in(before) == opted_in(after)) return;
    for (std::uint32_t number = 0; number < service_numbers.size(); ++number)
      if (model::name_of(service_numbers.name(number)).ns == key) changed_services.insert(number);
  }
  void node_changed(const std::string& key, const std::optional<model::Node>& before, const std::optional<model::Node>& after) {
    changed_nodes.insert(key);
    if (before && after && before->addresses == after->addresses) return;
    if (!before || !after) pods_wait_for.insert(key);
    if (before)
      for (const auto& addr : before->addresses) {
        if (const auto it = node_by_addr.find(addr); it != node_by_addr.end() && it->second == key) node_by_addr.erase(it);
        owner_changed(addr);
      }
    if (after)
      for (const auto& addr : after->addresses) {
        node_by_addr.insert_or_assign(addr, key);
        owner_changed(addr);
      }
  }
  void pod_changed(const std::string& key, const std::optional<model::Pod>& before, const std::optional<model::Pod>& after) {
    changed_pods.insert(key);
    const auto has = [](const std::optional<model::Pod>& pod) { return pod && !pod->terminated; };
    if (has(after) && !has(before)) ++pods_in[model::name_of(key).ns];
    if (has(before) && !has(after)) pod_gone(model::name_of(key).ns);
    if (has(before))
      for (const auto& addr : before->ips) pods_by_addr.remove(addr, key), owner_changed(addr);
    if (has(after))
      for (const auto& addr : after->ips) pods_by_addr.add(addr, key), owner_changed(addr);
  }
  void pod_gone(const std::string& ns) {
    const auto it = pods_in.find(ns);
    if (it == pods_in.end() || --it->second > 0) return;
    pods_in.erase(it);
    if (!kept_in.contains(ns)) release_policies(ns);
  }
  // Those that were deleted and have nobody left to keep apart.
  void release_policies(const std::string& ns) {
    const auto it = lingering.find(ns);
    if (it == lingering.end()) return;
    const auto keys = std::move(it->second);
    lingering.erase(it);
    for (const std::string& key : keys) change(Kind::kNetworkPolicy, key, [&](table::PackedTable& t) { return t.erase(key); });
  }
  bool goes(const std::string& ns) const {
    const auto row = namespaces.find(ns);
    return !row || row->terminating || lingering_namespaces.contains(ns);
  }
  // Whether a row stays though its object has gone.
  bool lingers(Kind kind, const std::string& key) {
    if (kind == Kind::kPod && kept.contains(key) && pods.packed().find(key)) return lingering_pods.insert(key), true;
    if (kind == Kind::kNamespace && kept_in.contains(key) && namespaces.packed().find(key)) return lingering_namespaces.insert(key), true;
    if (kind != Kind::kNetworkPolicy || !policies.packed().find(key)) return false;
    const std::string ns = model::name_of(key).ns;
    if ((!pods_in.contains(ns) && !kept_in.contains(ns)) || !goes(ns)) return false;
    lingering[ns].insert(key);
    return true;
  }
  void unlinger(Kind kind, const std::string& key) {
    if (kind == Kind::kPod) lingering_pods.erase(key);
    if (kind == Kind::kNamespace) lingering_namespaces.erase(key);
    if (kind != Kind::kNetworkPolicy || lingering.empty()) return;
    const auto it = lingering.find(model::name_of(key).ns);
    if (it == lingering.end()) return;
    it->second.erase(key);
    if (it->second.empty()) lingering.erase(it);
  }
  void release(const std::string& pod) {
    const auto one_less = [](auto& counts, const std::string& key) {
      const auto it = counts.find(key);
      if (it == counts.end() || --it->second > 0) return false;
      counts.erase(it);
      return true;
    };
    const std::string ns = model::name_of(pod).ns;
    const bool last_of_pod = one_less(kept, pod), last_in_namespace = one_less(kept_in, ns);
    if (last_of_pod && lingering_pods.erase(pod) > 0) change(Kind::kPod, pod, [&](table::PackedTable& t) { return t.erase(pod); });
    if (!last_in_namespace) return;
    if (lingering_namespaces.erase(ns) > 0) change(Kind::kNamespace, ns, [&](table::PackedTable& t) { return t.erase(ns); });
    if (!pods_in.contains(ns)) release_policies(ns);
  }
  void policy_changed(const std::string& key) { changed_policies.insert(key); }
  void service_changed(const std::string& key) { changed_services.insert(service_number(key)); }
  void slice_changed(const std::string& key, const std::optional<model::EndpointSlice>& before,
                     const std::optional<model::EndpointSlice>& after) {
    const std::string name = model::name_of(key).name;
    if (before) {
      const std::uint32_t number = service_number(model::key_of(before->service));
      for (const auto& e : before->endpoints) services_by_addr.remove(e.addr, number);
      if (!after || after->service != before->service) slices_of[number].remove(name);
      changed_services.insert(number);
    }
    if (after) {
      const std::uint32_t number = service_number(model::key_of(after->service));
      for (const auto& e : after->endpoints) services_by_addr.add(e.addr, number);
      if (!before || after->service != before->service) slices_of[number].add(name);
      changed_services.insert(number);
    }
  }

  // Runs `write` on the table and, if it changed anything, the index's update with the rows before and after.
  template <typename Write>
  bool change(Kind kind, const std::string& key, Write write) {
    const auto with = [&](auto& table, auto update) {
      const auto before = table.find(key);
      if (!write(table.packed())) return false;
      update(before, table.find(key));
      return true;
    };
    switch (kind) {
      case Kind::kNamespace:
        return with(namespaces, [&](const auto& b, const auto& a) { namespace_changed(key, b, a); });
      case Kind::kNode:
        return with(nodes, [&](const auto& b, const auto& a) { node_changed(key, b, a); });
      case Kind::kPod:
        return with(pods, [&](const auto& b, const auto& a) { pod_changed(key, b, a); });
      case Kind::kService:
        return with(services, [&](const auto&, const auto&) { service_changed(key); });
      case Kind::kEndpointSlice:
        return with(slices, [&](const auto& b, const auto& a) { slice_changed(key, b, a); });
      case Kind::kNetworkPolicy:
        return with(policies, [&](const auto&, const auto&) { policy_changed(key); });
      case Kind::kClusterNetworkPolicy:
        return with(cluster_policies, [&](const auto&, const auto&) { policy_changed(key); });
    }
    return false;
  }

  bool erase(Kind kind, const std::string& key, std::uint64_t version) {
    problems.clear(Stage::kReflect, object_name(kind, key));
    problems.clear(Stage::kAdmit, object_name(kind, key));
    if (lingers(kind, key)) return packed(kind).touch(key);
    return change(kind, key, [&](table::PackedTable& t) { return t.erase(key, version); });
  }

  template <typename Codec, typename Row>
  void take(const SlimObject& object, const std::string& key, const Reflected<Row>& reflected) {
    const std::string name = object_name(object.kind, key);
    table::PackedTable& table = packed(object.kind);
    if (!reflected.row) {
      if (reflected.problems.empty()) {
        erase(object.kind, key, object.meta.resource_version);
      } else {
        problems.set(Stage::kReflect, name, reflected.problems);
        table.touch(key);
      }
      return;
    }
    problems.set(Stage::kReflect, name, reflected.problems);
    buffer.clear();
    Codec::encode(*reflected.row, buffer);
    if (const auto old = table.find(key); old && *old == buffer) {  // the common case of a heartbeat: no decoding
      table.set(key, buffer, object.meta.resource_version);
      return;
    }
    change(object.kind, key, [&](table::PackedTable& t) { return t.set(key, buffer, object.meta.resource_version); });
  }
  std::string buffer;
};

Cluster::Cluster(model::Problems& problems) : impl_(std::make_unique<Impl>(problems)) {}
Cluster::~Cluster() = default;

void Cluster::put(const SlimObject& object) {
  const auto name = reflect_name(object);
  if (!name.row) {
    impl_->problems.set(Stage::kReflect, std::string(to_string(object.kind)) + " with a bad name", name.problems);
    return;
  }
  const std::string key = model::key_of(*name.row);
  impl_->unlinger(object.kind, key);
  if (!object.bad_field.empty()) {
    impl_->problems.set(Stage::kReflect, object_name(object.kind, key), {{object.bad_field, object.bad_reason}});
    impl_->packed(object.kind).touch(key);
    return;
  }
  switch (object.kind) {
    case Kind::kNamespace:
      impl_->take<model::NamespaceCodec>(object, key, reflect_namespace(object));
      if (!impl_->goes(key)) impl_->release_policies(key);  // another one of this name
      return;
    case Kind::kNode:
      return impl_->take<model::NodeCodec>(object, key, reflect_node(object));
    case Kind::kPod:
      return impl_->take<model::PodCodec>(object, key, reflect_pod(object));
    case Kind::kService:
      return impl_->take<model::ServiceCodec>(object, key, reflect_service(object));
    case Kind::kEndpointSlice:
      return impl_->take<model::EndpointSliceCodec>(object, key, reflect_slice(object));
    case Kind::kNetworkPolicy:
      return impl_->take<model::PolicyCodec>(object, key, reflect_network_policy(object));
    case Kind::kClusterNetworkPolicy:
      return impl_->take<model::PolicyCodec>(object, key, reflect_cluster_network_policy(object));
  }
}

void Cluster::remove(const SlimObject& object) {
  const auto name = reflect_name(object);
  if (name.row) impl_->erase(object.kind, model::key_of(*name.row), object.meta.resource_version);
}

void Cluster::begin_relist(Kind kind) { table(kind).begin_relist(); }

void Cluster::end_relist(Kind kind) {
  // One by one through erase(), so that the indexes follow.
  for (const std::string& key : table(kind).not_listed()) impl_->erase(kind, key, table::PackedTable::kAnyVersion);
  table(kind).end_relist();
  table(kind).mark_initialized("api");
}

bool Cluster::synced(Kind kind) const { return table(kind).initialized(); }

bool Cluster::all_synced() const {
  return std::all_of(std::begin(kKinds), std::end(kKinds), [&](Kind kind) { return synced(kind); });
}

bool Cluster::restore(Kind kind, std::string_view key, std::string_view row) {
  const std::string owned(key);
  const auto valid = [&] {
    switch (kind) {
      case Kind::kNamespace:
        return model::NamespaceCodec::decode(key, row).has_value();
      case Kind::kNode:
        return model::NodeCodec::decode(key, row).has_value();
      case Kind::kPod:
        return model::PodCodec::decode(key, row).has_value();
      case Kind::kService:
        return model::ServiceCodec::decode(key, row).has_value();
      case Kind::kEndpointSlice:
        return model::EndpointSliceCodec::decode(key, row).has_value();
      case Kind::kNetworkPolicy:
      case Kind::kClusterNetworkPolicy:
        return policy_kind(key) == kind && model::PolicyCodec::decode(key, row).has_value();
    }
    return false;
  };
  if (!valid()) return false;
  impl_->change(kind, owned, [&](table::PackedTable& t) { return t.set(owned, row); });
  return true;
}

void Cluster::forget(Kind kind, std::string_view key) { impl_->erase(kind, std::string(key), table::PackedTable::kAnyVersion); }

table::PackedTable& Cluster::table(Kind kind) { return impl_->packed(kind); }
const table::PackedTable& Cluster::table(Kind kind) const { return impl_->packed(kind); }
void Cluster::keep(const std::string& pod) {
  ++impl_->kept[pod];
  ++impl_->kept_in[model::name_of(pod).ns];
}
void Cluster::release(const std::string& pod) { impl_->release(pod); }

std::vector<std::string> Cluster::outliving_policies() const {
  std::vector<std::string> out;
  for (const auto& [ns, keys] : impl_->lingering) out.insert(out.end(), keys.begin(), keys.end());
  return out;
}

std::optional<model::Namespace> Cluster::find_namespace(std::string_view key) const { return impl_->namespaces.find(key); }
std::optional<model::Node> Cluster::find_node(std::string_view name) const { return impl_->nodes.find(name); }
std::optional<model::Pod> Cluster::find_pod(std::string_view key) const { return impl_->pods.find(key); }
std::optional<model::Service> Cluster::find_service(std::string_view key) const { return impl_->services.find(key); }
std::optional<model::EndpointSlice> Cluster::find_slice(std::string_view key) const { return impl_->slices.find(key); }
std::optional<model::Policy> Cluster::find_policy(std::string_view key) const {
  return policy_kind(key) == Kind::kNetworkPolicy ? impl_->policies.find(key) : impl_->cluster_policies.find(key);
}

const std::string& Cluster::service_key(std::uint32_t service) const { return impl_->service_numbers.name(service); }
std::optional<std::uint32_t> Cluster::service_number(std::string_view key) const { return impl_->service_numbers.find(key); }

void Cluster::touch_service(std::string_view key) { impl_->service_changed(std::string(key)); }

std::vector<model::EndpointSlice> Cluster::admitted_slices(std::uint32_t service) {
  const model::Name id = model::name_of(service_key(service));
  const auto ns = find_namespace(id.ns);
  // The API server itself writes default/kubernetes, whose endpoints are control-plane nodes.
  const bool trusted = (ns && ns->labels.contains(kForeignLabel)) || (id.ns == "default" && id.name == "kubernetes");
  std::vector<model::EndpointSlice> out;
  for (const std::string& name : impl_->slices_of[service].sorted()) {
    const std::string key = id.ns + "/" + name;
    auto slice = find_slice(key);
    if (!slice) continue;
    std::vector<Problem> refused;
    if (!trusted) {
      std::size_t i = 0;
      std::erase_if(slice->endpoints, [&](const model::Endpoint& e) {
        const std::size_t at = i++;
        const auto node = node_of(e.addr);
        bool own = false;
        std::string other;
        for (const std::string& pod : pods_of(e.addr)) {
          const std::string pod_ns = model::name_of(pod).ns;
          own |= pod_ns == id.ns;
          if (pod_ns != id.ns) other = pod_ns;
        }
        if (own || (!node && other.empty())) return false;
        refused.push_back(
            {"endpoints[" + std::to_string(at) + "].addresses[0]",
             e.addr.to_string() + (node ? " is an address of node " + *node : " is a pod's of namespace " + other) + ": refused"});
        return true;
      });
    }
    impl_->problems.set(Stage::kAdmit, object_name(Kind::kEndpointSlice, key), std::move(refused));
    out.push_back(std::move(*slice));
  }
  return out;
}

std::optional<std::string> Cluster::node_of(const net::IpAddr& addr) const {
  const auto it = impl_->node_by_addr.find(addr);
  return it == impl_->node_by_addr.end() ? std::nullopt : std::optional(it->second);
}

std::vector<std::string> Cluster::pods_of(const net::IpAddr& addr) const { return impl_->pods_by_addr.find(addr); }

std::vector<net::IpAddr> Cluster::addresses() const {
  std::vector<net::IpAddr> out;
  impl_->pods_by_addr.for_each([&](const net::IpAddr& addr) {
    if (!impl_->node_by_addr.contains(addr)) out.push_back(addr);
  });
  for (const auto& [addr, node] : impl_->node_by_addr) out.push_back(addr);
  return out;
}

std::size_t Cluster::address_count() const { return impl_->pods_by_addr.size() + impl_->node_by_addr.size(); }

bool Cluster::has_changes() const {
  return !impl_->changed_services.empty() || !impl_->changed_addresses.empty() || !impl_->changed_nodes.empty() ||
         !impl_->changed_pods.empty() || !impl_->changed_namespaces.empty() || !impl_->changed_policies.empty();
}

Cluster::Changes Cluster::take_changes() {
  Impl& c = *impl_;
  if (!c.pods_wait_for.empty()) {
    // One walk for all nodes of the batch: nodes come and go rarely, and a pod's row names its node, not the reverse.
    c.pods.for_each([&](std::string_view, const model::Pod& pod) {
      if (pod.terminated || !c.pods_wait_for.contains(pod.node)) return;
      for (const auto& addr : pod.ips) c.changed_addresses.insert(addr);
    });
    c.pods_wait_for.clear();
  }
  Changes out;
  out.services.assign(c.changed_services.begin(), c.changed_services.end());
  out.addresses.assign(c.changed_addresses.begin(), c.changed_addresses.end());
  out.nodes.assign(c.changed_nodes.begin(), c.changed_nodes.end());
  out.pods.assign(c.changed_pods.begin(), c.changed_pods.end());
  out.namespaces.assign(c.changed_namespaces.begin(), c.changed_namespaces.end());
  out.policies.assign(c.changed_policies.begin(), c.changed_policies.end());
  std::sort(out.services.begin(), out.services.end());
  std::sort(out.addresses.begin(), out.addresses.end());
  std::sort(out.nodes.begin(), out.nodes.end());
  std::sort(out.pods.begin(), out.pods.end());
  std::sort(out.namespaces.begin(), out.namespaces.end());
  std::sort(out.policies.begin(), out.policies.end());
  const bool large = out.services.size() + out.addresses.size() + out.pods.size() + out.policies.size() > 4096;
  c.changed_services.clear(), c.changed_addresses.clear(), c.changed_nodes.clear(), c.changed_pods.clear();
  c.changed_namespaces.clear(), c.changed_policies.clear();
  if (large) {  // a cold sync's buckets go, as clear() would walk them at every change from now on
    c.changed_services = std::unordered_set<std::uint32_t>();
    c.changed_addresses = std::unordered_set<net::IpAddr>();
    c.changed_pods = std::unordered_set<std::string>();
    c.changed_policies = std::unordered_set<std::string>();
  }
  return out;
}

std::size_t Cluster::bytes() const {
  std::size_t sum = 0;
  for (const Kind kind : kKinds) sum += table(kind).bytes();
  return sum;
}

}  // namespace fairway::reflect
