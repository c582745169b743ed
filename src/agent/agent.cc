#include "agent/agent.h"

#include <malloc.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>

#include "agent/explain.h"
#include "agent/flow.h"
#include "agent/local_pods.h"
#include "agent/node_setup.h"
#include "agent/object_log.h"
#include "agent/policy_host.h"
#include "agent/policy_status.h"
#include "agent/tables.h"
#include "cni/cni_server.h"
#include "dns/dns_server.h"
#include "io/http_server.h"
#include "k8s/http_api_client.h"
#include "k8s/kubeconfig.h"
#include "k8s/list_watch.h"
#include "sys/listen_fds.h"
#include "sys/log.h"

namespace fairway::agent {
namespace {

using k8s::Kind;
using model::Problem;
using model::Stage;
using Clock = std::chrono::steady_clock;

struct SourceSpec {
  const char* name;
  Kind kind;
  const char* path;
  bool may_be_absent = false;  // the API comes with a CRD
};
constexpr SourceSpec kSources[] = {
    {"namespaces", Kind::kNamespace, "/api/v1/namespaces"},
    {"nodes", Kind::kNode, "/api/v1/nodes"},
    {"pods", Kind::kPod, "/api/v1/pods"},
    {"services", Kind::kService, "/api/v1/services"},
    {"endpointslices", Kind::kEndpointSlice, "/apis/discovery.k8s.io/v1/endpointslices"},
    {"networkpolicies", Kind::kNetworkPolicy, "/apis/networking.k8s.io/v1/networkpolicies"},
    {"clusternetworkpolicies", Kind::kClusterNetworkPolicy, "/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies", true}};

constexpr std::size_t kind_index(Kind kind) {
  std::size_t i = 0;
  while (kSources[i].kind != kind) ++i;
  return i;
}

constexpr std::chrono::seconds kTick{1};  // ids cool down, setup and prune are tried again
constexpr std::size_t kSweepRows = 4096;  // of the flow table, a tick
constexpr unsigned kAbsent = 3;           // answers of 404 in a row until the objects of an API count as gone

// The resolvers of the machine, less ourselves.
std::vector<net::SocketAddr> resolv_conf(const std::vector<net::IpAddr>& own) {
  std::vector<net::SocketAddr> out;
  std::ifstream file("/etc/resolv.conf");
  for (std::string line; std::getline(file, line) && out.size() < 8;) {
    std::istringstream words(line);
    std::string key, value;
    words >> key >> value;
    if (key != "nameserver") continue;
    const auto addr = net::IpAddr::parse(value);
    if (addr.ok() && std::find(own.begin(), own.end(), *addr) == own.end()) out.push_back({*addr, 53});
  }
  return out;
}

// The file, or, in a pod without one, its service account.
Result<k8s::KubeConfig> find_cluster(const std::string& kubeconfig) {
  if (!kubeconfig.empty()) return k8s::load_kubeconfig(kubeconfig);
  const char* host = std::getenv("KUBERNETES_SERVICE_HOST");
  const char* port = std::getenv("KUBERNETES_SERVICE_PORT");
  if (host == nullptr)
    return make_error(Code::kInvalid, "no --kubeconfig, no KUBECONFIG, and this is no pod: KUBERNETES_SERVICE_HOST is not set");
  return k8s::in_cluster_config(host, port != nullptr ? port : "443");
}

struct InheritedSockets {
  std::vector<sys::Fd> udp, tcp;
};
InheritedSockets inherited_sockets() {
  InheritedSockets out;
  for (auto& [name, fd] : sys::take_listen_fds()) {
    if (name == "dns-udp") out.udp.push_back(std::move(fd));
    else if (name == "dns-tcp") out.tcp.push_back(std::move(fd));
  }
  return out;
}

io::HttpResponse json_response(int status, std::string body) {
  io::HttpResponse out;
  out.status = status;
  out.headers.set("Content-Type", "application/json");
  out.body = std::move(body) + "\n";
  return out;
}

int status_of(Code code) { return code == Code::kNotFound ? 404 : code == Code::kInvalid ? 400 : 500; }

// `text` is ours, or was cut and checked; it holds no control characters.
std::string message_json(std::string_view text) {
  std::string out = "{\"message\":\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) >= 32) out += c;
  }
  return out + "\"}";
}

}  // namespace

struct Agent::Impl {
  Impl(io::Loop& l, const Options& o) : loop(l), options(o) {}

  io::Loop& loop;
  Options options;
  model::Problems problems;
  reflect::Cluster cluster{problems};
  std::unique_ptr<datapath::Datapath> datapath;
  std::unique_ptr<sinks::EndpointTarget> endpoint_target;
  std::unique_ptr<sinks::NodeTarget> node_target;
  sinks::RouteTarget route_target;
  std::unique_ptr<KernelPolicyHost> policy_host;
  std::unique_ptr<Flow> flow;
  std::unique_ptr<ObjectLog> log;
  std::unique_ptr<NodeSetup> setup;
  std::unique_ptr<LocalPods> local_pods;
  std::unique_ptr<cni::CniServer> cni;
  std::unique_ptr<dns::DnsServer> dns;
  std::unique_ptr<io::HttpServer> http;
  std::unique_ptr<k8s::ApiServers> servers;
  std::unique_ptr<k8s::HttpApiClient> api;  // what the agent writes
  std::unique_ptr<PolicyStatus> policy_status;
  std::array<std::unique_ptr<k8s::ListWatch>, std::size(kSources)> watches;

  std::shared_ptr<const compile::dns::Zone> zone;
  std::string own_node;  // its row, as it was set up
  bool own_node_done = false, early_done = false, pruned = false, cni_adopted = false;
  std::uint32_t pod_mtu = 0;
  unsigned setup_failures = 0;
  Clock::time_point setup_due{};
  io::Loop::Timer due_timer, tick_timer;

  Status start();
  Status start_datapath();
  Status start_dns();
  Status serve_dns();
  Status start_cni();
  Status start_http();
  Status start_sources();
  k8s::ListWatch::Callbacks callbacks_of(Kind kind);
  void on_absent(Kind kind, unsigned times);
  void serve(io::ServerRequest request, std::unique_ptr<io::Responder> responder);
  View view();

  void step();
  void tick();
  void arm();
  bool online() const;
  void publish_zone();
  void set_up_node();
  void set_node_ports();
  void set_pod_network(const model::Node& node);
  void finish_sync();
  void learn_servers();
  FlowConfig flow_config() const;
};

FlowConfig Agent::Impl::flow_config() const {
  FlowConfig config;
  config.services.node = options.node_name;
  config.services.service_ranges = options.service_ranges;
  if (options.dns_ips.empty()) config.services.dns_service = {};  // somebody else serves DNS: a Service like any other
  config.dns_ips = options.dns_ips;
  config.zone.domain = options.cluster_domain;
  config.zone.nameservers = options.dns_ips;
  config.zone.reverse = options.service_ranges;
  config.zone.reverse.insert(config.zone.reverse.end(), options.cluster_ranges.begin(), options.cluster_ranges.end());
  config.local.name = options.node_name;
  config.local.mode = options.datapath;
  config.local.cluster_ranges = options.cluster_ranges;
  config.local.service_ranges = options.service_ranges;
  // Backends made by this process are told from those of any earlier one.
  config.generation = static_cast<std::uint32_t>(std::time(nullptr));
  return config;
}

Status Agent::Impl::start() {
  for (const std::string& dir : {options.run_dir, options.state_dir}) {
    std::error_code ec;
    std::filesystem::create_directories(dir, ec);
    if (ec) return make_error(Code::kIo, "create " + dir + ": " + ec.message());
  }
  FW_TRY(start_datapath());
  auto opened = ObjectLog::open(options.state_dir + "/objects.log", cluster);
  if (opened.ok()) log = std::move(*opened);
  else problems.set(Stage::kAgent, "Agent", {{"objects.log", opened.error().message + ": the last known objects are not kept"}});
  if (log != nullptr && log->restored_whole()) flow->set_restored();
  if (log != nullptr) log::info("agent", "{} objects restored from disk", log->restored());
  setup = std::make_unique<NodeSetup>(options, *datapath);
  if (const auto config = datapath->config(); config.ok()) setup->adopt_services_synced((config->flags & FW_CFG_SERVICES_SYNCED) != 0);
  if (const auto early = setup->run_early(); !early.empty()) problems.set(Stage::kAgent, "Agent setup", early);
  else early_done = true;
  FW_TRY(start_dns());
  FW_TRY(start_cni());
  step();
  FW_TRY(serve_dns());  // only now: the zone of the restored objects is published, and no query meets an empty one
  FW_TRY(start_http());
  FW_TRY(start_sources());
  tick_timer = loop.every(kTick, [this] { tick(); });
  return {};
}

Status Agent::Impl::start_datapath() {
  datapath::DatapathConfig config;
  config.bpf_dir = options.bpf_dir;
  config.most_rows = options.most_rows;
  FW_ASSIGN(datapath, datapath::Datapath::open(config));
  endpoint_target = std::make_unique<sinks::EndpointTarget>(datapath->endpoints());
  node_target = std::make_unique<sinks::NodeTarget>(datapath->nodes());
  policy_host = std::make_unique<KernelPolicyHost>(loop, *datapath);
  const PolicyTargets policy{*datapath, *policy_host, [this] { loop.post([this] { step(); }); }, [this] { return online(); }};
  flow = std::make_unique<Flow>(cluster, problems,
                                FlowTargets{{datapath->frontends(), datapath->svc_slots(), datapath->backends()},
                                            *endpoint_target,
                                            *node_target,
                                            route_target,
                                            [this](const datapath::Room& rows) { return datapath->reserve(rows); },
                                            policy},
                                flow_config());
  FW_ASSIGN(const bool adopted, flow->adopt());
  if (adopted)
    log::info("agent", "adopted the pinned datapath: {} frontends, {} backends", flow->assignment().frontends(),
              flow->assignment().backends());
  return {};
}

Status Agent::Impl::start_dns() {
  if (options.dns_ips.empty()) return {};
  dns::DnsConfig config;
  config.zone = flow_config().zone;
  if (!options.no_upstreams) config.upstreams = options.upstreams.empty() ? resolv_conf(options.dns_ips) : options.upstreams;
  FW_ASSIGN(dns, dns::DnsServer::create(std::move(config)));
  return {};
}

Status Agent::Impl::serve_dns() {
  if (!dns) return {};
  auto sockets = inherited_sockets();
  if (sockets.udp.empty() && sockets.tcp.empty()) {
    for (const auto& ip : options.dns_ips) {
      auto bound = dns::bind_dns_sockets({ip, 53});
      if (!bound.ok()) return std::move(bound).error().with_context("DNS server on " + ip.to_string());
      sockets.udp.push_back(std::move(bound->udp));
      sockets.tcp.push_back(std::move(bound->tcp));
    }
  }
  for (auto& fd : sockets.udp) FW_TRY(dns->serve_udp(std::move(fd)));
  for (auto& fd : sockets.tcp) FW_TRY(dns->serve_tcp(std::move(fd)));
  return {};
}

Status Agent::Impl::start_cni() {
  local_pods = std::make_unique<LocalPods>(*datapath, *endpoint_target, *flow);
  policy_host->set_find_pod([this](std::uint32_t ifindex) { return local_pods->find_running(ifindex); });
  cni::CniServerConfig config;
  config.state_dir = options.state_dir;
  config.spool_dir = options.state_dir + "/cni-spool";
  FW_ASSIGN(cni, cni::CniServer::create(loop, config, *local_pods));
  set_up_node();  // from the last known Node, so that ADD works at once
  const Status adopted = cni->adopt();
  if (!adopted.ok()) problems.set(Stage::kAgent, "CNI", {{"adopt", adopted.error().message}});
  else cni_adopted = true;
  return {};
}

Status Agent::Impl::start_http() {
  io::HttpServerConfig config;
  config.max_body_bytes = 1 << 20;
  config.max_connections = 512;
  FW_ASSIGN(http, io::HttpServer::create(loop, config, [this](io::ServerRequest request, std::unique_ptr<io::Responder> responder) {
              serve(std::move(request), std::move(responder));
            }));
  FW_ASSIGN(sys::Fd listener, io::listen_unix(options.run_dir + "/agent.sock", 0600));
  return http->serve(std::move(listener));
}

Status Agent::Impl::start_sources() {
  FW_ASSIGN(auto kubeconfig, find_cluster(options.kubeconfig));
  FW_ASSIGN(servers, k8s::ApiServers::create(loop, kubeconfig.origin, kubeconfig.token_file));
  api = k8s::HttpApiClient::create_over(
      loop, [this]() -> io::HttpClient& { return *servers->current().client; }, std::move(kubeconfig), "fairway");
  policy_status = std::make_unique<PolicyStatus>(loop, *api, options.node_name, cluster, problems, flow->policy());
  learn_servers();
  for (std::size_t i = 0; i < std::size(kSources); ++i) {
    const Kind kind = kSources[i].kind;
    k8s::ListWatch::Callbacks callbacks = callbacks_of(kind);
    if (kSources[i].may_be_absent) callbacks.on_absent = [this, kind](unsigned times) { on_absent(kind, times); };
    watches[i] = std::make_unique<k8s::ListWatch>(loop, *servers, kind, kSources[i].path, std::move(callbacks));
  }
  return {};
}

k8s::ListWatch::Callbacks Agent::Impl::callbacks_of(Kind kind) {
  k8s::ListWatch::Callbacks out{[this, kind] { cluster.begin_relist(kind); },
                                [this](const k8s::SlimObject& o) { cluster.put(o); },
                                [this](const k8s::SlimObject& o) { cluster.remove(o); },
                                [this, kind] { cluster.end_relist(kind); },
                                [this] { step(); },
                                nullptr};
  if (!k8s::is_policy(kind)) return out;
  out.on_put = [this](const k8s::SlimObject& o) { policy_status->put(o); };
  out.on_remove = [this](const k8s::SlimObject& o) { policy_status->remove(o); };
  out.on_list_end = [this, kind] {
    cluster.end_relist(kind);
    policy_status->listed(kind, watches[kind_index(kind)]->state().revision);
  };
  return out;
}

// An API that is not installed has no objects. Those that are known go only when the answer stays: a Deny is among them, maybe.
void Agent::Impl::on_absent(Kind kind, unsigned times) {
  if (times < kAbsent && cluster.table(kind).size() > 0) return;
  cluster.begin_relist(kind);
  cluster.end_relist(kind);
}

// After every batch of events. Nothing here waits for anything.
void Agent::Impl::step() {
  flow->run(Clock::now());
  publish_zone();
  const auto node = cluster.table(Kind::kNode).find(options.node_name);
  if (node && (!own_node_done || *node != own_node) && Clock::now() >= setup_due) set_up_node();
  if (cluster.all_synced() && !pruned) finish_sync();
  if (policy_status != nullptr && cluster.all_synced()) policy_status->step();
  if (log != nullptr) {
    const Status kept = log->append();
    if (kept.ok()) problems.clear(Stage::kAgent, "Agent log");
    else problems.set(Stage::kAgent, "Agent log", {{"objects.log", kept.error().message}});
  }
  arm();
}

// What the API has reaches us: all that it had, and nothing is in trouble.
bool Agent::Impl::online() const {
  return cluster.all_synced() && std::all_of(watches.begin(), watches.end(),
                                             [](const auto& watch) { return watch != nullptr && watch->state().last_error.empty(); });
}

// Calls step() again when a retry is due.
void Agent::Impl::arm() {
  const auto due = flow->next_due();
  if (!due) return due_timer.cancel();
  const auto delay = std::max<Clock::duration>(*due - Clock::now(), std::chrono::milliseconds(1));
  due_timer = loop.after(delay, [this] { step(); });
}

void Agent::Impl::tick() {
  flow->cool_down(Clock::now());
  if (!early_done) {
    auto early = setup->run_early();
    early_done = early.empty();
    problems.set(Stage::kAgent, "Agent setup", std::move(early));
  }
  if (!cni_adopted) {
    const Status adopted = cni->adopt();
    cni_adopted = adopted.ok();
    if (cni_adopted) problems.clear(Stage::kAgent, "CNI");
  }
  (void)datapath->sweep_flows(kSweepRows);  // a failure shows in the maps' occupancy; expiry is on lookup anyway
  learn_servers();
  const bool setup_owed = !own_node_done && Clock::now() >= setup_due && cluster.table(Kind::kNode).find(options.node_name);
  if (setup_owed || (cluster.all_synced() && !pruned)) step();
}

void Agent::Impl::publish_zone() {
  if (dns == nullptr) return;
  if (auto fresh = flow->take_zone()) {
    zone = fresh;
    dns->publish(std::move(fresh));
  }
}

void Agent::Impl::set_up_node() {
  const auto node = cluster.find_node(options.node_name);
  if (!node) return;
  auto found = setup->run(*node);
  own_node_done = found.empty();
  own_node = *cluster.table(Kind::kNode).find(options.node_name);
  // What failed is tried again, ever more rarely; a changed Node is tried at once.
  setup_failures = own_node_done ? 0 : setup_failures + 1;
  setup_due = own_node_done ? Clock::time_point{} : Clock::now() + reconcile::backoff(setup_failures + 2);
  for (const auto& problem : found) log::warn("agent", "node {}: {}: {}", node->name, problem.field, problem.reason);
  problems.set(Stage::kAgent, "Node " + node->name, std::move(found));
  if (!setup->ready()) return;
  route_target.set_device({setup->uplink(), setup->local().vxlan_ifindex, setup->local().vni});
  flow->set_local(setup->local());
  flow->run(Clock::now());
  set_node_ports();
  set_pod_network(*node);
}

// What hostPorts stand on.
void Agent::Impl::set_node_ports() {
  compile::services::NodePorts ports;
  ports.addresses = setup->local().addresses;
  if (setup->local().vxlan_ifindex != 0) ports.overlay_port = hostnet::kVxlanPort;
  if (const auto config = datapath->config(); config.ok()) {
    ports.masq_min = config->masq_port_min;
    ports.masq_max = config->masq_port_max;
  }
  problems.set(Stage::kAgent, "hostPorts", local_pods->set_node_ports(ports));
}

void Agent::Impl::set_pod_network(const model::Node& node) {
  if (node.pod_cidrs.empty()) return;
  cni::PodNetwork network;
  network.pod_cidrs = node.pod_cidrs;
  network.mtu = pod_mtu = setup->pod_mtu(flow->any_overlay());
  cni->set_network(std::move(network));
}

// Every source has synced: what nobody desires goes, and what waited for the whole picture is switched on.
void Agent::Impl::finish_sync() {
  if (!setup->ready() || !cni_adopted) return;
  const auto done = [&]() -> Status {
    FW_TRY(setup->write_config(true));
    FW_TRY(datapath->activate());
    FW_TRY(flow->prune(Clock::now()));
    return local_pods->prune();
  };
  flow->set_zone_complete(true);
  publish_zone();
  const Status status = done();
  if (!status.ok()) {
    problems.set(Stage::kAgent, "Agent sync", {{"prune", status.error().message}});
    return;
  }
  problems.clear(Stage::kAgent, "Agent sync");
  pruned = true;
  if (log != nullptr) {
    const Status kept = log->append();
    const Status marked = kept.ok() ? log->mark_whole() : kept;
    if (!marked.ok()) problems.set(Stage::kAgent, "Agent log", {{"objects.log", marked.error().message}});
  }
  if (const auto node = cluster.find_node(options.node_name); node && setup->pod_mtu(flow->any_overlay()) != pod_mtu)
    set_pod_network(*node);
  log::info("agent", "synced: {} Services, {} pods, {} nodes in force", cluster.table(Kind::kService).size(),
            cluster.table(Kind::kPod).size(), cluster.table(Kind::kNode).size());
  ::malloc_trim(0);
}

// The API servers are the endpoints of their own Service.
void Agent::Impl::learn_servers() {
  const auto number = cluster.service_number("default/kubernetes");
  if (!number || servers == nullptr) return;
  std::vector<net::SocketAddr> addrs;
  for (const auto& slice : cluster.admitted_slices(*number))
    for (const auto& e : slice.endpoints)
      for (const auto& port : slice.ports)
        if (port.name == "https" && e.ready) addrs.push_back({e.addr, port.port});
  servers->learn(addrs);
}

View Agent::Impl::view() {
  View out{options, cluster, problems, *flow, *datapath, *local_pods};
  out.cni = cni.get();
  out.dns = dns.get();
  out.zone = zone.get();
  out.servers = servers.get();
  out.policy_status = policy_status.get();
  for (std::size_t i = 0; i < std::size(kSources); ++i) out.sources.push_back({kSources[i].name, kSources[i].kind, watches[i].get()});
  out.restored_objects = log != nullptr ? log->restored() : 0;
  out.pruned = pruned;
  return out;
}

void Agent::Impl::serve(io::ServerRequest request, std::unique_ptr<io::Responder> responder) {
  // The socket's mode says root only; a second look costs nothing.
  if (!request.peer.unix_uid || (*request.peer.unix_uid != 0 && *request.peer.unix_uid != ::geteuid()))
    return responder->respond(json_response(403, message_json("only root may use this socket")));
  const bool get = request.method == "GET";
  const auto answer = [&](Result<std::string> body) {
    if (body.ok()) return responder->respond(json_response(200, std::move(*body)));
    responder->respond(json_response(status_of(body.error().code), message_json(body.error().message)));
  };
  if (request.path == "/v1/cni") {
    if (request.method != "POST") return responder->respond(json_response(405, message_json("POST only")));
    auto owed = std::make_shared<std::unique_ptr<io::Responder>>(std::move(responder));
    return cni->handle(request.body,
                       [owed](cni::CniReply reply) { (*owed)->respond(json_response(reply.http_status, std::move(reply.body))); });
  }
  constexpr std::string_view kTable = "/v1/tables/";
  if (get && request.path == "/v1/status") return responder->respond(json_response(200, render_status(view())));
  if (get && request.path == "/v1/tables") return responder->respond(json_response(200, render_table_list(view())));
  if (get && request.path == "/v1/drops") return answer(render_drops(view()));
  if (get && (request.path == "/v1/explain/departure" || request.path == "/v1/explain/arrival")) {
    const auto question = parse_question(request);
    if (!question.ok()) return answer(question.error());
    return answer(request.path.ends_with("departure") ? explain_departure(view(), *question) : explain_arrival(view(), *question));
  }
  if (get && request.path.starts_with(kTable)) return answer(render_table(view(), std::string_view(request.path).substr(kTable.size())));
  responder->respond(json_response(
      404, message_json("there are POST /v1/cni, GET /v1/status, GET /v1/drops, GET /v1/explain/departure, GET /v1/explain/arrival, "
                        "GET /v1/tables and GET /v1/tables/NAME")));
}

Agent::Agent(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Agent::~Agent() = default;

Result<std::unique_ptr<Agent>> Agent::create(io::Loop& loop, const Options& options) {
  auto impl = std::make_unique<Impl>(loop, options);
  FW_TRY(impl->start());
  return std::unique_ptr<Agent>(new Agent(std::move(impl)));
}

int run(int argc, char** argv) {
  const Parsed parsed = parse_options(argc, argv);
  if (parsed.exit_code >= 0) return parsed.exit_code;
  log::set_level(parsed.options.verbose ? log::Level::kDebug : log::Level::kInfo);
  ::signal(SIGPIPE, SIG_IGN);
  // One large thread's worth of malloc arenas: the others (DNS, CNI workers) are small, and an arena each is not.
  ::mallopt(M_ARENA_MAX, 2);
  io::Loop loop;
  auto agent = Agent::create(loop, parsed.options);
  if (!agent.ok()) {
    log::error("agent", "{}", agent.error().message);
    return 1;
  }
  const auto term = loop.on_signal(SIGTERM, [&] { loop.stop(); });
  const auto interrupt = loop.on_signal(SIGINT, [&] { loop.stop(); });
  log::info("agent", "node {}: serving {}/agent.sock", parsed.options.node_name, parsed.options.run_dir);
  loop.run();
  return 0;
}

}  // namespace fairway::agent
