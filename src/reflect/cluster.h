// Cluster: the rows of all objects, with the indexes and the lists of what changed that the compilers need.
//
// Place: sources -> [Cluster] -> flow. The one place where rows enter, from the watch and from the disk alike; so an
// index can be kept by comparing the old row with the new one, at a cost of the change.
// Invariants:
// - a bad object leaves the old row in force and is listed in problems();
// - what changed is kept as a set until taken (level-triggered): services by number, addresses, nodes;
// - what a pod has outlives its object (CVE-2024-7598): a NetworkPolicy that is deleted while its namespace goes stays until the
//   last pod of the namespace has gone, as they are deleted in no order; of a pod that runs here (keep()) its row, its namespace
//   and that namespace's policies stay until CNI has removed it. They are rows like others, so they lie on disk and outlive the agent too.
// Belongs to the control thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "k8s/objects.h"
#include "model/codec.h"
#include "model/problems.h"
#include "model/rows.h"

namespace fairway::reflect {

class Cluster {
 public:
  // `problems` outlives the cluster.
  explicit Cluster(model::Problems& problems);
  ~Cluster();
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;

  // Entry of the sources. Between begin and end of a relist every object of the list is handed to put().
  void put(const k8s::SlimObject& object);
  void remove(const k8s::SlimObject& object);
  void begin_relist(k8s::Kind kind);
  void end_relist(k8s::Kind kind);  // erases what was not listed; marks the table initialized
  bool synced(k8s::Kind kind) const;
  bool all_synced() const;
  static constexpr k8s::Kind kKinds[] = {k8s::Kind::kNamespace,
                                         k8s::Kind::kNode,
                                         k8s::Kind::kPod,
                                         k8s::Kind::kService,
                                         k8s::Kind::kEndpointSlice,
                                         k8s::Kind::kNetworkPolicy,
                                         k8s::Kind::kClusterNetworkPolicy};

  // Entry of the last known state: bytes of a codec, as table(kind) holds them. False: no row of this version.
  bool restore(k8s::Kind kind, std::string_view key, std::string_view row);
  void forget(k8s::Kind kind, std::string_view key);
  table::PackedTable& table(k8s::Kind kind);
  const table::PackedTable& table(k8s::Kind kind) const;

  // A pod of this node, by "ns/name", from CNI ADD to DEL; as many times as it has sandboxes. Before the sources' first lists.
  void keep(const std::string& pod);
  void release(const std::string& pod);
  // Policies that are deleted and still in force, sorted.
  std::vector<std::string> outliving_policies() const;

  std::optional<model::Namespace> find_namespace(std::string_view key) const;
  std::optional<model::Node> find_node(std::string_view name) const;
  std::optional<model::Pod> find_pod(std::string_view key) const;
  std::optional<model::Service> find_service(std::string_view key) const;
  std::optional<model::EndpointSlice> find_slice(std::string_view key) const;
  std::optional<model::Policy> find_policy(std::string_view key) const;  // "ns/name", or a ClusterNetworkPolicy's "name"

  // Services have small numbers, given at first sight and kept while the agent lives.
  const std::string& service_key(std::uint32_t service) const;
  std::optional<std::uint32_t> service_number(std::string_view key) const;
  // Counts a Service as changed, whether or not there is one of this name.
  void touch_service(std::string_view key);
  // The Service's slices, less the endpoints that it may not have: addresses of nodes, or of pods of other namespaces
  // only (CVE-2021-25740). What is refused is listed in problems() under the slice.
  std::vector<model::EndpointSlice> admitted_slices(std::uint32_t service);

  // Who has an address: the node, or the pods (running ones, host network included), by key, sorted.
  std::optional<std::string> node_of(const net::IpAddr& addr) const;
  std::vector<std::string> pods_of(const net::IpAddr& addr) const;
  // All addresses that pods or nodes have, in no order.
  std::vector<net::IpAddr> addresses() const;
  std::size_t address_count() const;

  struct Changes {
    std::vector<std::uint32_t> services;  // the Service, a slice of it, or who has an address of it
    std::vector<net::IpAddr> addresses;   // who has it changed, or on which node
    std::vector<std::string> nodes;
    std::vector<std::string> pods;
    std::vector<std::string> namespaces;
    std::vector<std::string> policies;  // "ns/name": NetworkPolicy; "name": ClusterNetworkPolicy
    bool empty() const {
      return services.empty() && addresses.empty() && nodes.empty() && pods.empty() && namespaces.empty() && policies.empty();
    }
  };
  Changes take_changes();
  bool has_changes() const;

  std::size_t bytes() const;  // of rows, without indexes

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fairway::reflect
