// Flow: rows -> compile -> desired -> apply -> status, in one place (design section 3).
//
// Place: after every batch of events the agent calls run(); it takes what changed in the Cluster, compiles those keys
// and hands the rows to the sinks. Everything that is not a step of this flow is done elsewhere.
// The gate: nothing is compiled until every source has synced, as half a cluster would be read as 'gone'. The one
// exception is a cold start (no pinned state) with the last known objects from disk: then those are in force at once.
// Belongs to the control thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent/policy_flow.h"
#include "compile/dns/zone.h"
#include "compile/routing/compile.h"
#include "compile/services/assign.h"
#include "compile/services/compile.h"
#include "datapath/room.h"
#include "reconcile/reconciler.h"
#include "reflect/cluster.h"
#include "sinks/node_sinks.h"
#include "sinks/service_sink.h"

namespace fairway::agent {

struct FlowConfig {
  compile::services::Config services;
  compile::dns::ZoneConfig zone;
  compile::routing::Local local;     // what is known before the node is
  std::uint32_t generation = 1;      // see compile::services::Assignment
  std::vector<net::IpAddr> dns_ips;  // answered by this node itself, whether or not the DNS Service exists (yet)
};

// Where the rows go. All outlive the flow.
struct FlowTargets {
  sinks::ServiceMaps services;
  reconcile::Target<net::IpAddr, fw_endpoint>& endpoints;
  reconcile::Target<std::uint32_t, fw_node>& nodes;
  reconcile::Target<net::Prefix, compile::routing::Route>& routes;
  // Makes the tables large enough, before rows are written that would not fit. Empty: they have the size that they have.
  std::function<Status(const datapath::Room&)> reserve;
  PolicyTargets policy;
};

class Flow {
 public:
  using TimePoint = reconcile::TimePoint;
  Flow(reflect::Cluster& cluster, model::Problems& problems, FlowTargets targets, FlowConfig config);

  // Reads the pinned maps. Once, first. Returns whether there was anything.
  Result<bool> adopt();
  // The cluster holds the last known objects, all of them. On a cold start they come into force with the next run();
  // beside an adopted datapath only their names do, at once: those of which every address is programmed.
  void set_restored();

  // Takes what changed through to the kernel, and retries what is due.
  void run(TimePoint now);
  // When to call run() though nothing came; nothing: not needed.
  std::optional<TimePoint> next_due() const;
  // Gives ids back to be used again; call it every second or so (compile/services/assign.h).
  void cool_down(TimePoint now);
  // Removes what nobody desires any more from all tables. Once all sources have synced; the agent repeats it when it
  // fails. `local` names addresses that CNI has put there.
  Status prune(TimePoint now);

  // Frontends on this node's own addresses that lead to its pods (hostPort): all of them, replacing the last ones. In force on
  // return, also before the gate opens: CNI ADD waits for them. An error: some are not, and it is kept at.
  Status set_host_ports(std::vector<compile::services::Frontend> frontends, TimePoint now);

  // This node's network was found or changed: all other nodes are compiled anew.
  void set_local(compile::routing::Local local);
  const compile::routing::Local& local() const { return config_.local; }
  // Addresses of this node's own pods: their rows are not this flow's.
  void claim_address(const net::IpAddr& addr);
  void release_address(const net::IpAddr& addr);

  bool open() const { return open_; }
  bool any_overlay() const;  // some node is reached over VXLAN
  bool idle() const;         // nothing waits for a retry
  // The zone as it should be served now, or null if it is the same as at the last call.
  std::shared_ptr<const compile::dns::Zone> take_zone();
  void set_zone_complete(bool complete) { zone_.set_complete(complete); }

  const compile::services::Assignment& assignment() const { return assignment_; }
  const compile::routing::NodeIds& node_ids() const { return node_ids_; }
  std::vector<std::pair<std::string, compile::routing::Route>> routes() const;
  PolicyFlow& policy() { return policy_; }
  const PolicyFlow& policy() const { return policy_; }

 private:
  void run_nodes(const std::vector<std::string>& names);
  void run_node(const std::string& name);
  void drop_node(const std::string& name);
  void drop_route(const compile::routing::Route& route);
  bool make_room(datapath::Room need);
  void make_room_for_services(double share);
  void run_addresses(const std::vector<net::IpAddr>& addrs);
  std::optional<fw_endpoint> endpoint_of(const net::IpAddr& addr) const;
  void run_services(std::vector<std::uint32_t> numbers, TimePoint now);
  struct Batch {
    std::vector<sinks::ServiceSink::Unit> units;
    std::map<std::uint32_t, std::pair<model::Service, std::vector<model::EndpointSlice>>> rows;  // what the zone needs of them
    bool freed = false;  // frontends or slots that others may wait for
  };
  void compile_one(std::uint32_t number, Batch& batch);
  std::optional<model::Service> built_in_dns(std::uint32_t number) const;
  void in_force(const std::vector<std::uint32_t>& numbers, const Batch& batch);
  void run_pods(const std::vector<std::string>& keys);
  void report();
  std::string service_object(std::uint32_t number) const {
    return number == host_ports_number_ ? "hostPorts" : "Service " + cluster_.service_key(number);
  }

  reflect::Cluster& cluster_;
  model::Problems& problems_;
  FlowConfig config_;
  bool open_ = false, restored_ = false, adopted_ = false, nodes_stale_ = false;

  std::function<Status(const datapath::Room&)> reserve_;
  datapath::Map<std::uint32_t, std::uint32_t>& slots_;
  compile::services::Assignment assignment_;
  sinks::ServiceSink services_;
  std::set<std::uint32_t> refused_;  // lost a frontend to another Service, or no ids were free
  std::vector<compile::services::Frontend> host_ports_;
  std::uint32_t host_ports_number_ = 0;  // as if they were one Service

  compile::routing::NodeIds node_ids_;
  std::map<std::string, std::vector<compile::routing::Route>> node_routes_;
  std::map<net::Prefix, std::string> range_owner_;
  std::set<std::string> outbid_;  // nodes that wait for another's pod range
  reconcile::Reconciler<net::IpAddr, fw_endpoint> endpoints_;
  reconcile::Reconciler<std::uint32_t, fw_node> nodes_;
  reconcile::Reconciler<net::Prefix, compile::routing::Route> routes_;
  reconcile::Target<std::uint32_t, fw_node>& node_target_;
  std::set<net::IpAddr> claimed_;
  std::vector<std::string> reported_objects_;

  PolicyFlow policy_;
  compile::dns::ZoneBuilder zone_;
  std::shared_ptr<const compile::dns::Zone> last_zone_;
};

}  // namespace fairway::agent
