#include "agent/flow.h"

#include <algorithm>
#include <set>

#include "sys/log.h"

namespace fairway::agent {

using compile::routing::Route;
using model::Problem;
using model::Stage;
using sinks::ServiceSink;

namespace {
constexpr char kHostPorts[] = "/hostports";  // no Service's key: those have a namespace

// To policies the resolver is what cluster DNS is elsewhere, a pod of the DNS Service with CoreDNS' label, so that manifests mean
// here what they mean there (docs/decisions/0011). No pod can have this name.
std::optional<model::Pod> resolver_pod(const FlowConfig& config) {
  if (config.dns_ips.empty()) return std::nullopt;
  model::Pod pod;
  pod.id = {config.services.dns_service.ns, config.services.dns_service.name + " (node)"};
  pod.ips = config.dns_ips;
  pod.labels = {{"k8s-app", "kube-dns"}};
  pod.ports = {{"dns", net::Protocol::kUdp, 53}, {"dns-tcp", net::Protocol::kTcp, 53}};
  return pod;
}

}  // namespace

Flow::Flow(reflect::Cluster& cluster, model::Problems& problems, FlowTargets targets, FlowConfig config)
    : cluster_(cluster),
      problems_(problems),
      config_(std::move(config)),
      reserve_(std::move(targets.reserve)),
      slots_(targets.services.slots),
      assignment_(static_cast<std::uint32_t>(slots_.capacity()), config_.generation),
      services_(targets.services, assignment_),
      endpoints_(targets.endpoints),
      nodes_(targets.nodes),
      routes_(targets.routes),
      node_target_(targets.nodes),
      policy_(cluster, problems, targets.policy, {resolver_pod(config_), config_.local.cluster_ranges}),
      zone_(config_.zone) {
  if (!config_.dns_ips.empty()) cluster_.touch_service(model::key_of(config_.services.dns_service));
  cluster_.touch_service(kHostPorts);
  host_ports_number_ = *cluster_.service_number(kHostPorts);
}

Result<bool> Flow::adopt() {
  FW_ASSIGN(const auto nodes, node_target_.dump());
  for (const auto& [id, row] : nodes) node_ids_.adopt(id, row);
  FW_ASSIGN(const std::size_t unfit, services_.adopt());
  if (unfit > 0) log::warn("agent", "{} pinned rows of Services made no sense and will be replaced", unfit);
  FW_ASSIGN(const bool judged, policy_.adopt());
  adopted_ = assignment_.frontends() > 0 || !nodes.empty() || judged;
  return adopted_;
}

void Flow::set_restored() {
  restored_ = true;
  zone_.set_complete(true);
  policy_.set_restored();
  if (!adopted_) return;
  cluster_.table(k8s::Kind::kService).for_each([&](std::string_view key, std::string_view bytes) {
    const auto service = model::ServiceCodec::decode(key, bytes);
    const auto number = cluster_.service_number(key);
    if (!service || !number) return;
    const auto slices = cluster_.admitted_slices(*number);
    const auto compiled = compile_service(*service, slices, config_.services);
    const bool programmed = std::all_of(compiled.frontends.begin(), compiled.frontends.end(),
                                        [&](const auto& f) { return assignment_.has_frontend(compile::services::to_abi(f.key)); });
    if (programmed) zone_.set_service(*service, slices);
  });
  cluster_.table(k8s::Kind::kPod).for_each([&](std::string_view key, std::string_view bytes) {
    if (const auto pod = model::PodCodec::decode(key, bytes)) zone_.set_pod(*pod);
  });
}

void Flow::run(TimePoint now) {
  if (!open_) open_ = cluster_.all_synced() || (restored_ && !adopted_);
  if (!open_) return policy_.run(now);
  if (nodes_stale_) {
    nodes_stale_ = false;
    std::vector<std::string> names;
    for (const auto& [name, routes] : node_routes_) names.push_back(name);
    run_nodes(names);
  }
  const auto changes = cluster_.take_changes();
  make_room({.endpoints = cluster_.address_count() + claimed_.size(), .nodes = cluster_.table(k8s::Kind::kNode).size()});
  run_nodes(changes.nodes);
  policy_.run(changes, now);
  run_addresses(changes.addresses);
  // Nodes before what points to them; Services last, as their backends should be reachable.
  nodes_.run(now);
  routes_.run(now);
  endpoints_.run(now);
  run_services(changes.services, now);
  in_force(services_.retry(now), {});
  run_pods(changes.pods);
  report();
}

// --- room

bool Flow::make_room(datapath::Room need) {
  if (!reserve_) return false;
  const Status status = reserve_(need);
  if (status.ok()) problems_.clear(Stage::kApply, "Tables");
  else problems_.set(Stage::kApply, "Tables", {{"size", status.error().message}});
  assignment_.grow_slots(static_cast<std::uint32_t>(slots_.capacity()));
  return status.ok();
}

// `share` of the batch's Services are compiled: the others will need as much again, and the tables grow once.
void Flow::make_room_for_services(double share) {
  const auto all = [share](std::size_t rows) { return static_cast<std::size_t>(static_cast<double>(rows) / share); };
  make_room(
      {.frontends = all(assignment_.frontends()), .svc_slots = all(assignment_.slots_used()), .backends = all(assignment_.backends())});
}

// --- nodes, routes, endpoints

void Flow::run_nodes(const std::vector<std::string>& names) {
  for (const auto& name : names) run_node(name);
}

void Flow::drop_route(const Route& route) {
  range_owner_.erase(route.pods);
  routes_.desire_gone(route.pods);
  nodes_stale_ |= !outbid_.empty();
}

void Flow::drop_node(const std::string& name) {
  if (const auto it = node_routes_.find(name); it != node_routes_.end()) {
    for (const Route& route : it->second) drop_route(route);
    node_routes_.erase(it);
  }
  if (const auto id = node_ids_.find(name)) nodes_.desire_gone(*id);
  node_ids_.forget(name);
  outbid_.erase(name);
  problems_.clear(Stage::kCompile, "Node " + name);
}

void Flow::run_node(const std::string& name) {
  const auto node = cluster_.find_node(name);
  if (!node || name == config_.local.name) {
    drop_node(name);
    return;
  }
  auto compiled = compile_node(*node, config_.local);
  outbid_.erase(name);
  std::vector<Route> kept;
  for (const Route& route : compiled.routes) {
    const auto inside = [&](const net::Prefix& r) { return r.contains(route.pods.addr()) && r.length() <= route.pods.length(); };
    const auto& ranges = config_.local.cluster_ranges;
    const auto owner = range_owner_.find(route.pods);
    if (!ranges.empty() && std::none_of(ranges.begin(), ranges.end(), inside)) {
      compiled.problems.push_back({"spec.podCIDRs", route.pods.to_string() + " lies outside of the cluster's pod range: refused"});
    } else if (owner != range_owner_.end() && owner->second != name) {
      compiled.problems.push_back({"spec.podCIDRs", route.pods.to_string() + " is node " + owner->second + "'s: refused"});
      outbid_.insert(name);
    } else {
      kept.push_back(route);
    }
  }
  auto& old = node_routes_[name];
  for (const Route& route : old) {
    if (std::any_of(kept.begin(), kept.end(), [&](const Route& r) { return r.pods == route.pods; })) continue;
    drop_route(route);
  }
  const bool ready = config_.local.uplink_ifindex != 0;  // else set_local() brings us here again
  if (ready) nodes_.desire(node_ids_.get(*node), compiled.row);
  else (void)node_ids_.get(*node);
  for (const Route& route : kept) {
    range_owner_[route.pods] = name;
    if (ready) routes_.desire(route.pods, route);
  }
  old = std::move(kept);
  problems_.set(Stage::kCompile, "Node " + name, std::move(compiled.problems));
}

std::optional<fw_endpoint> Flow::endpoint_of(const net::IpAddr& addr) const {
  compile::routing::Owner owner;
  owner.node = cluster_.node_of(addr);
  if (!owner.node)
    for (const auto& key : cluster_.pods_of(addr))
      if (auto pod = cluster_.find_pod(key)) owner.pods.push_back(std::move(*pod));
  return compile_endpoint(owner, config_.local, node_ids_);
}

void Flow::run_addresses(const std::vector<net::IpAddr>& addrs) {
  for (const auto& addr : addrs) {
    if (claimed_.contains(addr)) continue;
    if (const auto row = endpoint_of(addr)) endpoints_.desire(addr, *row);
    else endpoints_.desire_gone(addr);
  }
}

void Flow::claim_address(const net::IpAddr& addr) {
  claimed_.insert(addr);
  endpoints_.forget(addr);
}

void Flow::release_address(const net::IpAddr& addr) {
  claimed_.erase(addr);
  if (!open_) return;
  if (const auto row = endpoint_of(addr)) endpoints_.desire(addr, *row);
}

void Flow::set_local(compile::routing::Local local) {
  if (local == config_.local) return;
  config_.local = std::move(local);
  nodes_stale_ = true;
}

bool Flow::any_overlay() const {
  return std::any_of(node_routes_.begin(), node_routes_.end(), [](const auto& node) {
    return std::any_of(node.second.begin(), node.second.end(), [](const Route& r) { return r.overlay; });
  });
}

std::vector<std::pair<std::string, Route>> Flow::routes() const {
  std::vector<std::pair<std::string, Route>> out;
  for (const auto& [node, routes] : node_routes_)
    for (const Route& route : routes) out.emplace_back(node, route);
  return out;
}

// --- Services

// The node's resolver has its address without the Service too: before the cluster's first sync, or where nobody made one.
std::optional<model::Service> Flow::built_in_dns(std::uint32_t number) const {
  if (config_.dns_ips.empty() || model::name_of(cluster_.service_key(number)) != config_.services.dns_service) return std::nullopt;
  model::Service service;
  service.id = config_.services.dns_service;
  service.cluster_ips = config_.dns_ips;
  service.ports = {{"dns", net::Protocol::kUdp, 53, 0}, {"dns-tcp", net::Protocol::kTcp, 53, 0}};
  return service;
}

void Flow::compile_one(std::uint32_t number, Batch& batch) {
  const std::string object = service_object(number);
  const bool host_ports = number == host_ports_number_;
  auto service = cluster_.find_service(cluster_.service_key(number));
  // The name goes before its address does.
  if (!service && !host_ports) zone_.remove_service(model::name_of(cluster_.service_key(number)));
  compile::services::Compiled compiled;
  auto slices = cluster_.admitted_slices(number);  // also of a Service that is gone: what it refuses is told anew
  const auto compiled_from = service ? service : built_in_dns(number);
  if (compiled_from) compiled = compile_service(*compiled_from, slices, config_.services);
  if (host_ports) compiled.frontends = host_ports_;
  auto change = assignment_.set(number, compiled.frontends);
  if (!change.ok() && change.error().code == Code::kExhausted && make_room({.svc_slots = 2UL * assignment_.slots()}))
    change = assignment_.set(number, compiled.frontends);
  if (!change.ok()) {
    compiled.problems.push_back({"svc_slots", change.error().message + ": the old state stays in force"});
    refused_.insert(number);
    problems_.set(Stage::kCompile, object, std::move(compiled.problems));
    return;
  }
  if (change->problems.empty()) refused_.erase(number);
  else refused_.insert(number);
  compiled.problems.insert(compiled.problems.end(), change->problems.begin(), change->problems.end());
  problems_.set(Stage::kCompile, object, std::move(compiled.problems));
  batch.freed |= !change->frontends_gone.empty() || !change->runs_gone.empty();
  batch.units.emplace_back(number, std::move(*change));
  if (service) batch.rows.insert_or_assign(number, std::pair(std::move(*service), std::move(slices)));
}

Status Flow::set_host_ports(std::vector<compile::services::Frontend> frontends, TimePoint now) {
  std::sort(frontends.begin(), frontends.end(), [](const auto& a, const auto& b) { return a.key < b.key; });
  if (frontends == host_ports_ && !services_.failures().contains(host_ports_number_) && !refused_.contains(host_ports_number_)) return {};
  host_ports_ = std::move(frontends);
  run_services({host_ports_number_}, now);
  if (const auto it = services_.failures().find(host_ports_number_); it != services_.failures().end())
    return Error(it->second.error).with_context("hostPorts");
  if (!refused_.contains(host_ports_number_)) return {};
  std::string why = "no room for their rows";
  problems_.for_each([&](const std::string& object, const Problem& p) {
    if (object == service_object(host_ports_number_)) why = p.reason;
  });
  return make_error(Code::kUnavailable, "hostPorts: " + why);
}

// In parts: a cold sync's rows are not all held at once, and one batch call takes thousands of rows as well as all.
void Flow::run_services(std::vector<std::uint32_t> numbers, TimePoint now) {
  constexpr std::size_t kPart = 2048;
  // Those that are gone first, so that a successor in the same batch can have their addresses.
  std::stable_partition(numbers.begin(), numbers.end(),
                        [&](std::uint32_t n) { return !cluster_.table(k8s::Kind::kService).find(cluster_.service_key(n)).has_value(); });
  for (std::size_t begin = 0; begin < numbers.size(); begin += kPart) {
    const auto part = std::span(numbers).subspan(begin, std::min(kPart, numbers.size() - begin));
    Batch batch;
    batch.units.reserve(part.size());
    for (const std::uint32_t number : part) compile_one(number, batch);
    if (batch.freed && !refused_.empty()) {
      const std::set<std::uint32_t> again = refused_;
      for (const std::uint32_t number : again)
        if (std::find(part.begin(), part.end(), number) == part.end()) compile_one(number, batch);
    }
    make_room_for_services(static_cast<double>(begin + part.size()) / static_cast<double>(numbers.size()));
    in_force(services_.apply(std::move(batch.units), now), batch);
  }
}

// A Service's names appear once its addresses are programmed.
void Flow::in_force(const std::vector<std::uint32_t>& numbers, const Batch& batch) {
  for (const std::uint32_t number : numbers) {
    if (number == ServiceSink::kNoService || refused_.contains(number)) continue;
    if (const auto it = batch.rows.find(number); it != batch.rows.end()) {
      zone_.set_service(it->second.first, it->second.second);
    } else if (const auto service = cluster_.find_service(cluster_.service_key(number))) {
      zone_.set_service(*service, cluster_.admitted_slices(number));
    }
  }
}

void Flow::run_pods(const std::vector<std::string>& keys) {
  for (const auto& key : keys) {
    if (const auto pod = cluster_.find_pod(key)) zone_.set_pod(*pod);
    else zone_.remove_pod(model::name_of(key));
  }
}

// --- keeping at it

void Flow::report() {
  for (const auto& object : reported_objects_) problems_.clear(Stage::kApply, object);
  reported_objects_.clear();
  const auto say = [&](std::string object, std::string field, const Error& error) {
    problems_.set(Stage::kApply, object, {{std::move(field), error.message + ": the old state stays in force"}});
    reported_objects_.push_back(std::move(object));
  };
  for (const auto& [number, failure] : services_.failures())
    say(number == ServiceSink::kNoService ? "Services" : service_object(number), "maps", failure.error);
  if (services_.removal_error()) say("Services", "backends", *services_.removal_error());
  endpoints_.for_each_failure([&](const net::IpAddr& addr, const Error& e) { say("Endpoint " + addr.to_string(), "endpoints", e); });
  nodes_.for_each_failure([&](std::uint32_t id, const Error& e) { say("Node number " + std::to_string(id), "nodes", e); });
  routes_.for_each_failure([&](const net::Prefix& pods, const Error& e) { say("Route " + pods.to_string(), "routes", e); });
}

std::optional<Flow::TimePoint> Flow::next_due() const {
  std::optional<TimePoint> out = policy_.next_due();
  if (!open_) return out;
  for (const auto& due : {services_.next_due(), endpoints_.next_due(), nodes_.next_due(), routes_.next_due()})
    if (due && (!out || *due < *out)) out = due;
  if (nodes_stale_) out = TimePoint{};
  return out;
}

void Flow::cool_down(TimePoint now) {
  assignment_.cool_down();
  if (!open_ || refused_.empty()) return;
  const std::set<std::uint32_t> again = refused_;
  run_services({again.begin(), again.end()}, now);
  report();
}

Status Flow::prune(TimePoint now) {
  in_force(services_.apply({{ServiceSink::kNoService, assignment_.release_unclaimed()}}, now), {});
  FW_TRY(services_.resync());
  std::vector<std::pair<net::IpAddr, fw_endpoint>> endpoints;
  for (const auto& addr : cluster_.addresses()) {
    if (claimed_.contains(addr)) continue;
    if (const auto row = endpoint_of(addr)) endpoints.emplace_back(addr, *row);
  }
  FW_TRY(endpoints_.prune(endpoints, [&](const net::IpAddr& addr) { return claimed_.contains(addr); }));
  std::vector<std::pair<std::uint32_t, fw_node>> nodes;
  std::vector<std::pair<net::Prefix, Route>> routes;
  for (const auto& [name, list] : node_routes_) {
    const auto node = cluster_.find_node(name);
    if (!node || config_.local.uplink_ifindex == 0) continue;
    nodes.emplace_back(node_ids_.get(*node), compile_node(*node, config_.local).row);
    for (const Route& route : list) routes.emplace_back(route.pods, route);
  }
  const auto none = [](const auto&) { return false; };
  FW_TRY(nodes_.prune(nodes, none));
  FW_TRY(routes_.prune(routes, none));
  // Rows before what they point to go last: the reverse of building.
  endpoints_.run(now);
  routes_.run(now);
  nodes_.run(now);
  report();
  return {};
}

bool Flow::idle() const { return policy_.idle() && !services_.next_due() && endpoints_.idle() && nodes_.idle() && routes_.idle(); }

std::shared_ptr<const compile::dns::Zone> Flow::take_zone() {
  auto zone = zone_.snapshot();
  if (zone == last_zone_) return nullptr;
  last_zone_ = zone;
  return zone;
}

}  // namespace fairway::agent
