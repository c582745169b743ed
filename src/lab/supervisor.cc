#include "lab/supervisor.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <cerrno>
#include <filesystem>

#include "lab/access.h"
#include "lab/lock.h"
#include "lab/teardown.h"
#include "sys/file.h"
#include "sys/log.h"
#include "sys/netns.h"

namespace fairway::lab {
namespace json = boost::json;
namespace fs = std::filesystem;
namespace {

constexpr long kBpfFsMagic = 0xcafe4a11;

Status mount_bpffs(const std::string& path) {
  std::error_code ec;
  fs::create_directories(path, ec);
  struct statfs info {};
  if (::statfs(path.c_str(), &info) == 0 && info.f_type == kBpfFsMagic) return {};
  if (::mount("bpffs", path.c_str(), "bpf", 0, "mode=0700") < 0) return errno_error(errno, "mount bpffs at " + path);
  return {};
}

// A socket bound to the cluster DNS address before the agent has put that address on lo (IP_FREEBIND).
Result<sys::Fd> dns_socket(const net::IpAddr& addr, int type) {
  const bool v4 = addr.is_v4();
  sys::Fd fd(::socket(v4 ? AF_INET : AF_INET6, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return errno_error(errno, "DNS socket");
  const int on = 1;
  ::setsockopt(fd.get(), v4 ? static_cast<int>(IPPROTO_IP) : static_cast<int>(IPPROTO_IPV6), v4 ? IP_FREEBIND : IPV6_FREEBIND, &on,
               sizeof on);
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in six4{};
  sockaddr_in6 six6{};
  six4.sin_family = AF_INET;
  six6.sin6_family = AF_INET6;
  six4.sin_port = six6.sin6_port = htons(53);
  if (v4) six4.sin_addr.s_addr = htonl(addr.v4_host_order());
  else std::copy(addr.bytes().begin(), addr.bytes().end(), six6.sin6_addr.s6_addr);
  const auto* where = v4 ? reinterpret_cast<const sockaddr*>(&six4) : reinterpret_cast<const sockaddr*>(&six6);
  if (::bind(fd.get(), where, v4 ? sizeof six4 : sizeof six6) < 0) return errno_error(errno, "bind DNS socket to " + addr.to_string());
  if (type == SOCK_STREAM && ::listen(fd.get(), 512) < 0) return errno_error(errno, "listen for DNS on " + addr.to_string());
  return fd;
}

}  // namespace

Supervisor::Supervisor(io::Loop& loop, Layout layout, LabSpec spec, std::string bin_dir, sys::Fd api_listener)
    : loop_(loop),
      layout_(std::move(layout)),
      spec_(std::move(spec)),
      bin_dir_(std::move(bin_dir)),
      api_listener_(std::move(api_listener)) {}

Status Supervisor::start() {
  FW_TRY(enter_cgroup());  // before the lock: `lab down` finds whoever holds it there
  FW_ASSIGN(lock_, take_lab_lock(layout_.dir));
  if (const sys::Fd null(::open("/dev/null", O_RDONLY | O_CLOEXEC)); null) ::dup2(null.get(), 0);  // gives spawn_supervisor()'s lock back
  if (!fs::exists(layout_.spec())) return make_error(Code::kNotFound, "the lab in " + layout_.dir + " was taken down before it began");
  FW_TRY(Fabric::create(spec_));
  FW_TRY(start_server());
  for (const auto& node : spec_.nodes) FW_TRY(start_node(node));
  FW_ASSIGN(control_, io::HttpServer::create(loop_, {}, [this](io::ServerRequest request, std::unique_ptr<io::Responder> responder) {
              handle(std::move(request), std::move(responder));
            }));
  FW_ASSIGN(sys::Fd listener, io::listen_unix(layout_.supervisor_socket()));
  return control_->serve(std::move(listener));
}

Status Supervisor::enter_cgroup() {
  const std::string mount = cgroup2_mount();
  if (mount.empty())
    return make_error(
        Code::kUnsupported,
        "no cgroup2 is mounted; Fairway's socket programs attach there. Mount it: mount -t cgroup2 none /sys/fs/cgroup/unified");
  cgroup_ = mount + "/" + kCgroupName;
  const std::string own = cgroup_ + "/supervisor";
  std::error_code ec;
  fs::create_directories(own, ec);
  sys::Fd procs(::open((own + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC));
  if (!procs || ::write(procs.get(), "0", 1) < 0) return errno_error(errno, "enter cgroup " + own);
  return {};
}

Status Supervisor::start_server() {
  server_ = std::make_unique<Child>(loop_, ChildSpec{.name = "server",
                                                     .argv = {bin_dir_ + "/fairway", "lab-server", "--lab-dir", layout_.dir},
                                                     .netns = "",
                                                     .cgroup = cgroup_ + "/server",
                                                     .log_path = layout_.log("server"),
                                                     .listen_fds = {{kApiListener, api_listener_.get()}}});
  server_->start();
  return {};
}

Status Supervisor::start_node(const NodeSpec& node) {
  FW_TRY(Fabric::add_node(spec_, node));
  FW_TRY(prepare_node_files(node));
  Node state;
  FW_TRY(open_dns_sockets(node, state));
  state.agent = std::make_unique<Child>(loop_, agent_spec(node, state));
  state.runtime = std::make_unique<Child>(loop_, runtime_spec(node));
  state.agent->start();
  state.runtime->start();
  nodes_.insert_or_assign(node.name, std::move(state));
  return {};
}

Status Supervisor::prepare_node_files(const NodeSpec& node) {
  for (const auto& dir : {layout_.node_run(node.name), layout_.node_state(node.name), layout_.node_cni(node.name)}) {
    std::error_code ec;
    fs::create_directories(dir, ec);
    if (ec) return make_error(Code::kIo, "create " + dir + ": " + ec.message());
    fs::permissions(dir, fs::perms::owner_all, ec);
  }
  FW_TRY(mount_bpffs(layout_.node_bpf(node.name)));
  FW_TRY(write_node_kubeconfig(layout_, spec_, node));
  const json::object plugin = {{"type", "fairway-cni"},
                               {"agentSocket", layout_.agent_socket(node.name)},
                               {"spoolDir", layout_.node_state(node.name) + "/cni-spool"},
                               {"capabilities", {{"portMappings", true}, {"bandwidth", true}, {"ips", true}, {"mac", true}}}};
  const json::object conf = {{"cniVersion", "1.1.0"}, {"name", "fairway"}, {"plugins", json::array{plugin}}};
  return sys::write_file_atomic(layout_.node_cni(node.name) + "/10-fairway.conflist", json::serialize(conf) + "\n", 0600);
}

Status Supervisor::open_dns_sockets(const NodeSpec& node, Node& state) {
  FW_ASSIGN(const sys::Fd netns, sys::open_netns(Layout::netns(node.name)));
  return sys::in_netns(netns, [&]() -> Status {
    for (const auto family : families(spec_)) {
      FW_ASSIGN(sys::Fd udp, dns_socket(dns_address(family), SOCK_DGRAM));
      FW_ASSIGN(sys::Fd tcp, dns_socket(dns_address(family), SOCK_STREAM));
      state.dns_sockets.emplace_back("dns-udp", std::move(udp));
      state.dns_sockets.emplace_back("dns-tcp", std::move(tcp));
    }
    return {};
  });
}

ChildSpec Supervisor::agent_spec(const NodeSpec& node, const Node& state) const {
  const auto v4 = net::Family::kV4, v6 = net::Family::kV6;
  // clang-format off
  std::vector<std::string> argv = {
      bin_dir_ + "/fairway-agent", "--node-name", node.name, "--kubeconfig", layout_.node_kubeconfig(node.name),
      "--run-dir", layout_.node_run(node.name), "--state-dir", layout_.node_state(node.name),
      "--bpf-dir", layout_.node_bpf(node.name) + "/fairway", "--cgroup", cgroup_ + "/" + node.name,
      "--datapath", spec_.datapath,
      "--cluster-cidr", join_families(spec_, pod_range(v4).to_string(), pod_range(v6).to_string()),
      "--service-cidr", join_families(spec_, service_range(v4).to_string(), service_range(v6).to_string()),
      "--dns-ip", join_families(spec_, dns_address(v4).to_string(), dns_address(v6).to_string())};
  // clang-format on
  if (spec_.most_rows > 0) argv.insert(argv.end(), {"--most-rows", std::to_string(spec_.most_rows)});
  if (spec_.dns_upstreams.empty()) argv.insert(argv.end(), {"--upstream", "none"});
  for (const auto& upstream : spec_.dns_upstreams) argv.insert(argv.end(), {"--upstream", upstream});
  ChildSpec out{.name = "agent-" + node.name,
                .argv = std::move(argv),
                .netns = Layout::netns(node.name),
                .cgroup = cgroup_ + "/" + node.name + "/agent",
                .log_path = layout_.log("agent-" + node.name),
                .listen_fds = {}};
  for (const auto& [name, fd] : state.dns_sockets) out.listen_fds.emplace_back(name, fd.get());
  return out;
}

ChildSpec Supervisor::runtime_spec(const NodeSpec& node) const {
  return {.name = "runtime-" + node.name,
          .argv = {bin_dir_ + "/fairway", "lab-node", "--lab-dir", layout_.dir, "--name", node.name},
          .netns = Layout::netns(node.name),
          .cgroup = cgroup_ + "/" + node.name + "/runtime",
          .log_path = layout_.log("runtime-" + node.name),
          .listen_fds = {}};
}

void Supervisor::handle(io::ServerRequest request, std::unique_ptr<io::Responder> responder) {
  auto body = answer(request);
  io::HttpResponse response;
  response.headers.set("Content-Type", "application/json");
  if (body.ok()) {
    response.body = *body + "\n";
  } else {
    response.status = body.error().code == Code::kNotFound ? 404 : body.error().code == Code::kInvalid ? 400 : 500;
    response.body = json::serialize(json::object{{"error", body.error().message}}) + "\n";
  }
  responder->respond(std::move(response));
}

Result<std::string> Supervisor::answer(const io::ServerRequest& request) {
  if (request.path == "/v1/lab" && request.method == "GET") return describe();
  if (request.path == "/v1/nodes" && request.method == "POST") return add_node(request.body);
  constexpr std::string_view kNodes = "/v1/nodes/";
  if (request.path.starts_with(kNodes)) {
    const std::string rest = request.path.substr(kNodes.size());
    const auto slash = rest.find('/');
    const std::string name = rest.substr(0, slash), verb = slash == std::string::npos ? "" : rest.substr(slash + 1);
    if (!spec_.find(name)) return make_error(Code::kNotFound, "the lab has no node \"" + name + "\"");
    if (request.method == "DELETE" && verb.empty()) return remove_node(name);
    if (request.method == "POST" && verb == "cut") return set_cut(name, true);
    if (request.method == "POST" && verb == "heal") return set_cut(name, false);
  }
  return make_error(Code::kNotFound, "no such call: " + request.method + " " + request.path);
}

Result<std::string> Supervisor::add_node(const std::string& body) {
  boost::system::error_code ec;
  const auto value = body.empty() ? json::value(json::object{}) : json::parse(body, ec);
  if (ec || !value.is_object()) return make_error(Code::kInvalid, "the body is not a JSON object");
  const auto* name = value.as_object().if_contains("name");
  const std::string wanted = name && name->is_string() ? std::string(name->as_string()) : "";
  FW_TRY(check_node_name(wanted));
  if (!wanted.empty() && spec_.find(wanted)) return make_error(Code::kInvalid, "the lab already has a node \"" + wanted + "\"");
  const NodeSpec node = spec_.add_node(wanted);
  FW_TRY(write_spec(spec_, layout_.spec()));
  FW_TRY(start_node(node));
  return json::serialize(json::object{{"name", node.name}});
}

Result<std::string> Supervisor::remove_node(const std::string& name) {
  const NodeSpec node = *spec_.find(name);
  nodes_.erase(name);  // ends its processes
  FW_TRY(teardown_node(layout_, cgroup_, name));
  FW_TRY(Fabric::remove_node(node));
  std::erase_if(spec_.nodes, [&](const NodeSpec& other) { return other.name == name; });
  FW_TRY(write_spec(spec_, layout_.spec()));
  return json::serialize(json::object{{"name", name}});
}

Result<std::string> Supervisor::set_cut(const std::string& name, bool cut) {
  FW_TRY(Fabric::set_connected(*spec_.find(name), !cut));
  nodes_.at(name).cut = cut;
  return json::serialize(json::object{{"name", name}, {"cut", cut}});
}

std::string Supervisor::describe() const {
  const auto process = [](const Child& child) {
    return json::object{{"name", child.name()}, {"pid", child.pid()}, {"restarts", child.restarts()}, {"lastEnd", child.last_end()}};
  };
  json::array nodes;
  for (const auto& spec : spec_.nodes) {
    const auto found = nodes_.find(spec.name);
    if (found == nodes_.end()) continue;
    json::array addresses;
    for (const auto family : families(spec_)) addresses.emplace_back(node_address(spec, family).to_string());
    nodes.push_back(json::object{{"name", spec.name},
                                 {"addresses", addresses},
                                 {"netns", "fw-" + spec.name},
                                 {"cut", found->second.cut},
                                 {"agent", process(*found->second.agent)},
                                 {"runtime", process(*found->second.runtime)}});
  }
  return json::serialize(json::object{{"dir", layout_.dir}, {"supervisor", ::getpid()}, {"server", process(*server_)}, {"nodes", nodes}});
}

}  // namespace fairway::lab
