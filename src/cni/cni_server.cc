#include "cni/cni_server.h"

#include <sys/stat.h>

#include <algorithm>

#include "cni/netns_probe.h"
#include "cni/render.h"
#include "cni/server_impl.h"

namespace fairway::cni {
namespace {

constexpr std::size_t kMaxWaiting = 16;  // calls about one attachment

Status ensure_folder(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) < 0 && errno != EEXIST) return errno_error(errno, "create " + path);
  return {};
}

}  // namespace

hostnet::PodLink pod_link_of(const model::LocalEndpoint& endpoint) {
  return {.host_name = endpoint.host_ifname,
          .host_mac = endpoint.host_mac,
          .host_ifindex = endpoint.host_ifindex,
          .pod_name = endpoint.ifname,
          .pod_mac = endpoint.pod_mac,
          .pod_ifindex = endpoint.pod_ifindex,
          .ips = endpoint.ips,
          .mtu = endpoint.mtu,
          .ingress_rate_bits = endpoint.bandwidth.ingress_rate,
          .ingress_burst_bits = endpoint.bandwidth.ingress_burst,
          .egress_rate_bits = endpoint.bandwidth.egress_rate,
          .egress_burst_bits = endpoint.bandwidth.egress_burst};
}

WallTime wall_now() { return std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now()); }

Result<std::unique_ptr<CniServer>> CniServer::create(io::Loop& loop, CniServerConfig config, EndpointSink& sink) {
  FW_TRY(ensure_folder(config.state_dir));
  FW_TRY(ensure_folder(config.spool_dir));
  FW_ASSIGN(const std::string boot, boot_id());
  FW_ASSIGN(EndpointStore store, EndpointStore::open(config.state_dir + "/ipam.journal", boot, config.cool_down, wall_now()));
  auto server = std::make_unique<ServerImpl>(loop, std::move(config), sink, std::move(store));
  FW_TRY(server->start());
  return std::unique_ptr<CniServer>(std::move(server));
}

ServerImpl::ServerImpl(io::Loop& loop, CniServerConfig config, EndpointSink& sink, EndpointStore store)
    : loop_(loop), config_(std::move(config)), sink_(sink), store_(std::move(store)) {
  for (const auto& [key, row] : store_.all())
    if (!row.finished) unfinished_.insert(key);
}

ServerImpl::~ServerImpl() { alive_.reset(); }

Status ServerImpl::start() {
  FW_ASSIGN(workers_, Workers::start(config_.workers));
  // The reaper's thread posts itself: its destructor joins it, so `this` outlives the call.
  FW_ASSIGN(reaper_, Reaper::start([this, alive = alive_watch_](const std::vector<std::string>& names, Status status) {
              loop_.post([this, alive, names, outcome = std::move(status)] {
                if (!alive.expired()) reaped(names, outcome);
              });
            }));
  return {};
}

void ServerImpl::set_network(PodNetwork network) {
  store_.set_ranges(network.pod_cidrs, network.reserved);
  network_ = std::move(network);
  if (adopted_) spread_mtu();
}

void ServerImpl::set_unavailable(std::string reason, bool running_pods_suffer) {
  unavailable_ = std::move(reason);
  running_pods_suffer_ = running_pods_suffer;
}

std::vector<model::LocalEndpoint> ServerImpl::endpoints() const {
  std::vector<model::LocalEndpoint> out;
  for (const auto& [key, row] : store_.all())
    if (row.finished) out.push_back(row.endpoint);
  return out;
}

std::vector<std::string> ServerImpl::warnings() const {
  std::vector<std::string> out = store_.warnings();
  for (auto& text : store_.ipam().exhausted(wall_now())) out.push_back(std::move(text));
  for (const auto& [key, why] : unannounced_) out.push_back("sandbox " + key.container_id + " is not in the datapath: " + why);
  for (const auto& key : lost_) out.push_back("sandbox " + key.container_id + " has lost its interface " + key.ifname);
  for (const auto& key : unfreed_)
    out.push_back("sandbox " + key.container_id + " is deleted, but its addresses could not be freed in the journal");
  for (const auto* text : {&reap_warning_, &spool_warning_, &mtu_warning_})
    if (!text->empty()) out.push_back(*text);
  return out;
}

CniServer::Stats ServerImpl::stats() const {
  Stats out = stats_;
  out.in_use = store_.ipam().in_use();
  out.cooling = store_.ipam().cooling(wall_now());
  return out;
}

void ServerImpl::reply_error(const std::string& version, const CniError& error, const Done& done) {
  ++stats_.failed;
  done({http_status(error.code), render_error(version, error)});
}

void ServerImpl::handle(std::string_view body, Done done) {
  auto parsed = parse_request(body);
  if (auto* refused = std::get_if<RequestError>(&parsed)) {
    reply_error(refused->version, refused->error, done);
    return;
  }
  dispatch(std::move(std::get<CniRequest>(parsed)), std::move(done));
}

void ServerImpl::dispatch(CniRequest request, Done done) {
  switch (request.command) {
    case Command::kVersion:
      done({200, render_versions()});
      return;
    case Command::kStatus:
      done(status(request));
      return;
    case Command::kGc:
      collect(std::move(request), std::move(done));
      return;
    default:
      break;
  }
  const Attachment key = request.attachment;
  const std::string version = request.version;
  auto call = std::make_shared<CniRequest>(std::move(request));
  // The reply first, then the next call about this attachment.
  Done finish = [this, key, done](CniReply reply) {
    done(std::move(reply));
    release(key);
  };
  const bool accepted = exclusive(key, [this, call, finish] {
    if (call->command == Command::kDel) return del(*call, finish);
    if (call->command == Command::kCheck) return check(std::move(*call), finish);
    auto job = std::make_shared<Add>();
    job->request = std::move(*call);
    job->done = finish;
    add(std::move(job));
  });
  if (!accepted)
    reply_error(version, {ErrorCode::kTryAgainLater, "too many calls for sandbox " + key.container_id + " are waiting", {}}, done);
}

CniReply ServerImpl::status(const CniRequest& request) const {
  const auto refuse = [&](ErrorCode code, const std::string& text) {
    return CniReply{http_status(code), render_error(request.version, {code, text, {}})};
  };
  if (!unavailable_.empty()) return refuse(running_pods_suffer_ ? ErrorCode::kLimitedConnectivity : ErrorCode::kNotAvailable, unavailable_);
  if (store_.ranges().empty()) return refuse(ErrorCode::kNotAvailable, "the pod ranges of this node are not known yet");
  return {200, ""};
}

void ServerImpl::post(std::function<void()> task) {
  loop_.post([alive = alive_watch_, call = std::move(task)] {
    if (!alive.expired()) call();
  });
}

bool ServerImpl::exclusive(const Attachment& key, std::function<void()> task) {
  const auto [row, first] = busy_.try_emplace(key);
  if (!first) {
    if (row->second.size() >= kMaxWaiting) return false;
    row->second.push_back(std::move(task));
    return true;
  }
  task();
  return true;
}

void ServerImpl::release(const Attachment& key) {
  const auto row = busy_.find(key);
  if (row->second.empty()) {
    busy_.erase(row);
    return;
  }
  auto next = std::move(row->second.front());
  row->second.pop_front();
  post(std::move(next));
}

}  // namespace fairway::cni
