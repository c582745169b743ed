// ADD and CHECK.
//
// ADD, step by step; `undo` is what adopt.cc does with what a crash left behind:
//   journal "intend"      the addresses are taken            undo: free them
//   worker: create        the pair exists, host side down    undo: remove it
//   sink.add              rows and programs in force         undo: sink.remove
//   sink.admit            its policies' verdicts in force    undo: as above
//   worker: activate      host side up: packets flow         undo: as above
//   journal "finish"      the pod stays                      kept
//   the answer
#include <algorithm>

#include "cni/netns_probe.h"
#include "cni/render.h"
#include "cni/server_impl.h"

namespace fairway::cni {
namespace {

ErrorCode cni_code(const Error& error) {
  switch (error.code) {
    case Code::kExhausted:
    case Code::kUnavailable:
    case Code::kTimeout:
      return ErrorCode::kTryAgainLater;
    default:
      return ErrorCode::kNetworkSetup;
  }
}

// Of an allocation: a wrong wish is the configuration's fault, one that is taken may come free.
ErrorCode allocation_code(const Error& error) {
  if (error.code == Code::kInvalid) return ErrorCode::kInvalidConfig;
  return error.code == Code::kIo ? ErrorCode::kIo : ErrorCode::kTryAgainLater;
}

ErrorCode netns_code(const Error& error) {
  return error.code == Code::kNotFound ? ErrorCode::kUnknownContainer : ErrorCode::kInvalidEnvironment;
}

struct Opened {
  sys::Fd fd;
  std::optional<io::Netlink> socket;
};

// The namespace of an endpoint that exists: the same one as at its ADD.
Result<Opened> open_known(const model::LocalEndpoint& endpoint, const std::string& path) {
  Opened out;
  FW_ASSIGN(out.fd, open_pod_netns(path));
  FW_ASSIGN(out.socket, io::Netlink::open_in(out.fd));
  FW_ASSIGN(const std::uint64_t cookie, out.socket->netns_cookie());
  if (cookie != endpoint.netns_cookie) return make_error(Code::kConflict, path + " is not the namespace that ADD was called for");
  return out;
}

Status check_kernel(io::Netlink& node, const model::LocalEndpoint& endpoint, const std::string& path) {
  FW_ASSIGN(Opened pod, open_known(endpoint, path));
  return hostnet::check_pod_link(node, *pod.socket, pod_link_of(endpoint));
}

}  // namespace

void ServerImpl::add(AddPtr job) {
  if (!unavailable_.empty()) return add_failed(job, ErrorCode::kTryAgainLater, make_error(Code::kUnavailable, unavailable_));
  if (store_.ranges().empty())
    return add_failed(job, ErrorCode::kTryAgainLater, make_error(Code::kUnavailable, "the pod ranges of this node are not known yet"));
  const Attachment& key = job->request.attachment;
  if (Status status = settle_spooled(key); !status.ok()) return add_failed(job, ErrorCode::kTryAgainLater, std::move(status).error());
  const StoredEndpoint* existing = store_.find(key);
  const bool whole =
      existing != nullptr && existing->finished && !unannounced_.contains(key) && !lost_.contains(key) && !unfreed_.contains(key);
  if (whole) return add_again(job, existing->endpoint);
  if (existing != nullptr) {
    if (Status status = withdraw(key); !status.ok()) return add_failed(job, ErrorCode::kTryAgainLater, std::move(status).error());
  }
  add_new(std::move(job));
}

// A repeated ADD: the answer was lost on its way. What still stands as it was made is the answer; what does not is
// made anew.
void ServerImpl::add_again(AddPtr job, const model::LocalEndpoint& existing) {
  job->endpoint = existing;
  workers_->post([this, job](io::Netlink& node) {
    Status status = check_kernel(node, job->endpoint, job->request.netns);
    post([this, job, outcome = std::move(status)] {
      if (outcome.ok()) return job->done({200, render_result(job->request.version, job->endpoint, job->request.dns)});
      if (Status gone = withdraw(job->request.attachment); !gone.ok())
        return add_failed(job, ErrorCode::kTryAgainLater, std::move(gone).error());
      add_new(job);
    });
  });
}

void ServerImpl::add_new(AddPtr job) {
  const auto& [sandbox, ifname] = job->request.attachment;
  auto& endpoint = job->endpoint;
  endpoint = {};
  endpoint.sandbox_id = sandbox;
  endpoint.ifname = ifname;
  endpoint.netns_path = job->request.netns;
  endpoint.pod = job->request.pod;
  endpoint.pod_uid = job->request.pod_uid;
  endpoint.host_ifname = hostnet::host_link_name(sandbox, ifname);
  endpoint.host_mac = hostnet::host_link_mac(sandbox, ifname);
  endpoint.mtu = network_.mtu;
  endpoint.port_mappings = job->request.port_mappings;
  endpoint.bandwidth = job->request.bandwidth;
  if (const auto row = reaping_.find(endpoint.host_ifname); row != reaping_.end()) {
    row->second.push_back([this, job] { add_new(job); });  // an interface of this name is on its way out
    return;
  }
  if (Status status = store_.intend(endpoint, job->request.ips, wall_now()); !status.ok()) {
    const ErrorCode code = allocation_code(status.error());
    return add_failed(job, code, std::move(status).error());
  }
  endpoint.pod_mac = job->request.mac.value_or(hostnet::pod_link_mac(endpoint.ips));
  step("add.intended");
  workers_->post([this, job](io::Netlink& node) {
    auto make = [&]() -> Status {
      FW_ASSIGN(const sys::Fd netns, open_pod_netns(job->endpoint.netns_path));
      job->opened = true;
      hostnet::PodLink link = pod_link_of(job->endpoint);
      FW_ASSIGN(job->pod, hostnet::create_pod_link(node, netns, link));
      job->created = true;
      job->endpoint.host_ifindex = link.host_ifindex;
      job->endpoint.pod_ifindex = link.pod_ifindex;
      FW_ASSIGN(job->endpoint.netns_cookie, job->pod->netns_cookie());
      return {};
    };
    Status status = make();
    step("add.created");
    post([this, job, outcome = std::move(status)]() mutable { add_created(job, std::move(outcome)); });
  });
}

void ServerImpl::add_created(AddPtr job, Status status) {
  if (!status.ok()) {
    const ErrorCode code = job->opened ? cni_code(status.error()) : netns_code(status.error());
    return add_failed(job, code, std::move(status).error());
  }
  job->announced = true;
  if (Status announced = sink_.add(job->endpoint); !announced.ok()) {
    const ErrorCode code = cni_code(announced.error());
    return add_failed(job, code, std::move(announced).error().with_context("datapath"));
  }
  step("add.announced");
  sink_.admit(job->endpoint, [this, job, alive = alive_watch_](Status admitted) {
    if (!alive.expired()) add_admitted(job, std::move(admitted));
  });
}

void ServerImpl::add_admitted(AddPtr job, Status status) {
  if (!status.ok()) {
    const ErrorCode code = cni_code(status.error());
    return add_failed(job, code, std::move(status).error().with_context("policy"));
  }
  step("add.admitted");
  job->active = true;
  workers_->post([this, job](io::Netlink& node) {
    Status activated = hostnet::activate_pod_link(node, *job->pod, pod_link_of(job->endpoint));
    job->pod.reset();
    step("add.activated");
    post([this, job, outcome = std::move(activated)]() mutable { add_activated(job, std::move(outcome)); });
  });
}

void ServerImpl::add_activated(AddPtr job, Status status) {
  if (!status.ok()) {
    const ErrorCode code = cni_code(status.error());
    return add_failed(job, code, std::move(status).error());
  }
  if (Status finished = store_.finish(job->endpoint); !finished.ok()) return add_failed(job, ErrorCode::kIo, std::move(finished).error());
  finished_at_[job->request.attachment] = std::chrono::steady_clock::now();
  step("add.finished");
  ++stats_.added;
  store_.compact_if_worth(wall_now());
  job->done({200, render_result(job->request.version, job->endpoint, job->request.dns)});
}

void ServerImpl::add_failed(AddPtr job, ErrorCode code, Error error) {
  const Attachment& key = job->request.attachment;
  if (job->announced) {
    if (Status undone = sink_.remove(job->endpoint); !undone.ok()) error.message += "; and undoing it: " + undone.error().message;
  }
  if (job->created) reap(job->endpoint.host_ifname);
  if (const StoredEndpoint* row = store_.find(key); row != nullptr && !row->finished) {
    if (Status freed = store_.free(key, wall_now(), job->active); !freed.ok()) unfreed_.insert(key);
  }
  reply_error(job->request.version, {code, std::move(error.message), {}}, job->done);
}

void ServerImpl::check(CniRequest request, Done done) {
  const StoredEndpoint* row = store_.find(request.attachment);
  if (row == nullptr || !row->finished) {
    return reply_error(
        request.version,
        {ErrorCode::kUnknownContainer, "sandbox " + request.attachment.container_id + " has no interface " + request.attachment.ifname, {}},
        done);
  }
  const auto failed = [this, version = request.version, done](const Error& error) {
    reply_error(version, {ErrorCode::kCheckFailed, error.message, {}}, done);
  };
  const auto& ips = row->endpoint.ips;
  for (const auto& ip : request.previous_ips) {
    if (std::find(ips.begin(), ips.end(), ip) == ips.end())
      return failed(make_error(Code::kConflict, "address " + ip.to_string() + " of prevResult is not this sandbox's"));
  }
  for (const auto& ip : ips) {
    if (std::find(request.previous_ips.begin(), request.previous_ips.end(), ip) == request.previous_ips.end())
      return failed(make_error(Code::kConflict, "address " + ip.to_string() + " of this sandbox is not in prevResult"));
  }
  if (Status rows = sink_.check(row->endpoint); !rows.ok()) return failed(std::move(rows).error().with_context("datapath"));
  workers_->post([this, endpoint = row->endpoint, path = request.netns, failed, done](io::Netlink& node) {
    Status status = check_kernel(node, endpoint, path);
    post([failed, done, outcome = std::move(status)] {
      if (!outcome.ok()) return failed(outcome.error());
      done({200, ""});
    });
  });
}

}  // namespace fairway::cni
