// DEL and GC.
//
// DEL, step by step: sink.remove (no packet is accepted any more), journal "free" (the addresses rest), the answer, and
// then the reaper removes the interface. A crash after any step is completed by adopt.cc: an interface without a row is
// removed, rows without an interface are not announced.
#include <algorithm>
#include <chrono>

#include "cni/netns_probe.h"
#include "cni/render.h"
#include "cni/server_impl.h"

namespace fairway::cni {

void ServerImpl::del(const CniRequest& request, Done done) {
  if (store_.find(request.attachment) == nullptr) return done({200, ""});
  if (Status status = withdraw(request.attachment); !status.ok()) {
    return reply_error(request.version, {ErrorCode::kTryAgainLater, status.error().message, {}}, done);
  }
  ++stats_.deleted;
  store_.compact_if_worth(wall_now());
  done({200, ""});
}

Status ServerImpl::withdraw(const Attachment& key) {
  const StoredEndpoint* row = store_.find(key);
  if (row == nullptr) return {};
  const model::LocalEndpoint endpoint = row->endpoint;
  if (Status status = sink_.remove(endpoint); !status.ok()) return std::move(status).error().with_context("datapath");
  step("del.withdrawn");
  if (Status status = store_.free(key, wall_now(), true); !status.ok()) {
    unfreed_.insert(key);
    return status;
  }
  step("del.freed");
  forget(key);
  reap(endpoint.host_ifname);
  return {};
}

void ServerImpl::forget(const Attachment& key) {
  unannounced_.erase(key);
  lost_.erase(key);
  unfinished_.erase(key);
  unfreed_.erase(key);
  finished_at_.erase(key);
}

void ServerImpl::reap(const std::string& host_ifname) {
  reaping_.try_emplace(host_ifname);
  reaper_->reap(host_ifname);
}

void ServerImpl::reaped(const std::vector<std::string>& host_ifnames, Status status) {
  step("del.reaped");
  reap_warning_ = status.ok() ? "" : "interfaces of deleted pods could not be removed: " + status.error().message;
  for (const auto& name : host_ifnames) {
    if (!status.ok()) unreaped_.insert(name);
    const auto row = reaping_.find(name);
    if (row == reaping_.end()) continue;
    auto waiting = std::move(row->second);
    reaping_.erase(row);
    for (auto& task : waiting) task();
  }
}

struct ServerImpl::Collection {
  CniRequest request;
  Done done;
  struct Candidate {
    Attachment key;
    std::string netns_path;
    std::uint64_t cookie = 0;
    bool may_be_empty = false;  // old enough that an empty namespace is a proof
    bool proven = false;
  };
  std::vector<Candidate> candidates;
  std::vector<std::string> links;  // host interfaces that the kernel shows as ours
  Status links_status;
};

// Two proofs before an address is taken back: the runtime does not list the attachment, and nobody can be using
// it: its namespace is gone, or no process lives in it (calico#5044: a list alone freed live addresses).
void ServerImpl::collect(CniRequest request, Done done) {
  auto gc = std::make_shared<Collection>();
  gc->request = std::move(request);
  gc->done = std::move(done);
  auto& valid = gc->request.valid_attachments;
  std::sort(valid.begin(), valid.end());
  const auto now = std::chrono::steady_clock::now();
  for (const auto& [key, row] : store_.all()) {
    if (!row.finished || busy_.contains(key) || std::binary_search(valid.begin(), valid.end(), key)) continue;
    const auto since = finished_at_.find(key);
    const bool old = since == finished_at_.end() || now - since->second >= config_.gc_grace;
    gc->candidates.push_back({key, row.endpoint.netns_path, row.endpoint.netns_cookie, old, false});
  }
  workers_->post([this, gc](io::Netlink& node) {
    for (auto& candidate : gc->candidates) {
      const NetnsLife life = probe_netns(candidate.netns_path, candidate.cookie);
      candidate.proven = life == NetnsLife::kGone || (life == NetnsLife::kEmpty && candidate.may_be_empty);
    }
    auto links = hostnet::dump_pod_links(node);
    if (links.ok())
      for (const auto& link : *links) gc->links.push_back(link.name);
    else gc->links_status = std::move(links).error();
    post([this, gc] { collect_probed(gc); });
  });
}

void ServerImpl::collect_probed(const std::shared_ptr<Collection>& gc) {
  Status failed = std::move(gc->links_status);
  for (const auto& candidate : gc->candidates) {
    const StoredEndpoint* row = store_.find(candidate.key);
    const bool same = row != nullptr && row->finished && row->endpoint.netns_cookie == candidate.cookie && !busy_.contains(candidate.key);
    if (!candidate.proven || !same) continue;
    if (Status status = withdraw(candidate.key); status.ok()) ++stats_.collected;
    else if (failed.ok()) failed = std::move(status);
  }
  remove_orphans(gc->links);
  process_spool();
  store_.compact_if_worth(wall_now());
  if (!failed.ok())
    return reply_error(gc->request.version, {ErrorCode::kNetworkSetup, "not everything was collected: " + failed.error().message, {}},
                       gc->done);
  gc->done({200, ""});
}

// Interfaces that are ours by name and group, and belong to no endpoint.
void ServerImpl::remove_orphans(const std::vector<std::string>& host_ifnames) {
  std::set<std::string> known;
  for (const auto& [key, row] : store_.all()) known.insert(row.endpoint.host_ifname);
  for (const auto& name : host_ifnames) {
    if (!known.contains(name) && !reaping_.contains(name)) reap(name);
  }
}

}  // namespace fairway::cni
