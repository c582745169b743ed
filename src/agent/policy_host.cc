#include "agent/policy_host.h"

#include <arpa/inet.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <set>

#include "abi/timeouts.h"
#include "datapath/addr.h"
#include "io/netlink.h"
#include "sys/netns.h"

namespace fairway::agent {
namespace {

// synchronize_rcu() from user space: the programs run inside RCU read sections. A kernel with nohz_full refuses it; there a
// wait that no packet's judgement lasts takes its place.
void wait_for_rcu() {
  if (::syscall(__NR_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) == 0) return;
  std::this_thread::sleep_for(std::chrono::seconds(1));
}

std::uint32_t now_s() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint32_t>(now.tv_sec);
}

// A pod that goes meanwhile has no connections.
Result<std::vector<hostnet::LiveConnection>> connections_of(const model::LocalEndpoint& pod) {
  auto netns = sys::open_netns(pod.netns_path);
  if (!netns.ok()) return std::vector<hostnet::LiveConnection>();
  FW_ASSIGN(const io::Netlink socket, io::Netlink::open_in(*netns));
  FW_ASSIGN(const std::uint64_t cookie, socket.netns_cookie());
  if (cookie != pod.netns_cookie) return std::vector<hostnet::LiveConnection>();
  FW_ASSIGN(auto all, hostnet::read_live_connections(*netns));
  std::erase_if(all, [&](const auto& c) { return std::find(pod.ips.begin(), pod.ips.end(), c.local.addr) == pod.ips.end(); });
  return all;
}

// The connection behind a row of a translated flow, as policy sees it: between client and backend, as client or backend of `addresses`.
// A socket knows the Service alone, and one that is not connected knows nobody.
std::optional<hostnet::LiveConnection> connection_of(const fw_flow_key& key, const fw_flow& row, const std::set<net::IpAddr>& addresses,
                                                     std::uint32_t now) {
  const bool service = key.dir == FW_FLOW_FORWARD;
  if (!service && key.dir != FW_FLOW_MASQ_FORWARD) return std::nullopt;
  const auto age = static_cast<std::int32_t>(now - row.last_seen_s);
  if (age > static_cast<std::int32_t>(fw_flow_timeout_s(key.protocol, row.flags))) return std::nullopt;
  hostnet::LiveConnection out;
  out.protocol = key.protocol;
  out.local = {datapath::from_abi(service ? row.saddr : key.saddr), ntohs(service ? row.sport_be : key.sport_be)};
  out.remote = {datapath::from_abi(service ? row.daddr : key.daddr), ntohs(service ? row.dport_be : key.dport_be)};
  const bool ours = addresses.contains(out.local.addr) || addresses.contains(out.remote.addr);
  return ours ? std::optional(out) : std::nullopt;
}

}  // namespace

KernelPolicyHost::KernelPolicyHost(io::Loop& loop, datapath::Datapath& datapath)
    : loop_(loop), datapath_(datapath), find_([](std::uint32_t) { return nullptr; }), thread_([this] { work(); }) {}

KernelPolicyHost::~KernelPolicyHost() {
  alive_.reset();
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void KernelPolicyHost::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return stopping_ || !jobs_.empty(); });
    if (stopping_) return;
    auto job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    job();
    lock.lock();
  }
}

void KernelPolicyHost::post(std::function<void()> job) {
  {
    const std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(job));
  }
  changed_.notify_one();
}

void KernelPolicyHost::wait_for_readers(std::function<void()> done) {
  post([this, call = std::move(done), alive = std::weak_ptr<int>(alive_)] {
    wait_for_rcu();
    loop_.post([alive, call] {
      if (!alive.expired()) call();
    });
  });
}

Status KernelPolicyHost::set_tracked(const std::vector<std::uint32_t>& ifindexes) {
  for (const std::uint32_t ifindex : ifindexes) {
    Status status = datapath_.set_tracked(ifindex, true);
    if (!status.ok() && status.error().code != Code::kNotFound) return status;
  }
  return {};
}

void KernelPolicyHost::begin_tracking(std::vector<std::uint32_t> ifindexes, std::function<void(Status)> done) {
  auto pods = std::make_shared<std::vector<model::LocalEndpoint>>();
  for (const std::uint32_t ifindex : ifindexes)
    if (const auto* pod = find_(ifindex)) pods->push_back(*pod);
  if (pods->empty()) return done(set_tracked(ifindexes));
  read_sockets(pods, [this, pods, ifindexes, done](Result<Connections> before) {
    Status tracked = seed(*pods, std::move(before));
    if (tracked.ok()) tracked = set_tracked(ifindexes);
    if (!tracked.ok()) return done(std::move(tracked));
    read_sockets(pods, [this, pods, done](Result<Connections> since) { done(seed(*pods, std::move(since))); });
  });
}

void KernelPolicyHost::read_sockets(Pods pods, std::function<void(Result<Connections>)> done) {
  post([this, pods = std::move(pods), done = std::move(done), alive = std::weak_ptr<int>(alive_)] {
    auto all = std::make_shared<Result<Connections>>(Connections{});
    for (const auto& pod : *pods) {
      auto some = connections_of(pod);
      if (!some.ok()) {
        *all = std::move(some).error().with_context("connections of pod " + pod.pod.to_string());
        break;
      }
      (*all)->insert((*all)->end(), some->begin(), some->end());
    }
    loop_.post([alive, all, done] {
      if (!alive.expired()) done(std::move(*all));
    });
  });
}

// Only where there is no row: the datapath's own knows more.
Status KernelPolicyHost::seed(const std::vector<model::LocalEndpoint>& pods, Result<Connections> sockets) {
  FW_TRY(sockets);
  FW_ASSIGN(const Connections translated, translated_connections(pods));
  sockets->insert(sockets->end(), translated.begin(), translated.end());
  const std::uint32_t now = now_s();
  for (const auto& c : *sockets) {
    const auto of = datapath::track_key(c.began_here ? c.local : c.remote, c.began_here ? c.remote : c.local, c.protocol);
    if (datapath_.track().lookup(of.key).ok() || datapath_.track_new().lookup(of.key).ok()) continue;
    Status written = datapath_.track().update(of.key, datapath::seeded_row(of, now));
    // A table that is full costs the connection its row, and no more: the change of policy must not wait for it.
    if (!written.ok() && written.error().code != Code::kExhausted) return written;
  }
  return {};
}

Result<KernelPolicyHost::Connections> KernelPolicyHost::translated_connections(const std::vector<model::LocalEndpoint>& pods) {
  std::set<net::IpAddr> addresses;
  for (const auto& pod : pods) addresses.insert(pod.ips.begin(), pod.ips.end());
  Connections out;
  const std::uint32_t now = now_s();
  for (auto* map : {&datapath_.flows(), &datapath_.flows_new()}) {
    FW_ASSIGN(const auto rows, map->dump());
    for (const auto& [key, row] : rows)
      if (const auto connection = connection_of(key, row, addresses, now)) out.push_back(*connection);
  }
  return out;
}

Result<std::vector<std::uint32_t>> KernelPolicyHost::tracked() {
  FW_ASSIGN(const auto rows, datapath_.local_ifs().dump());
  std::vector<std::uint32_t> out;
  for (const auto& [ifindex, row] : rows)
    if ((row.flags & FW_IF_TRACK) != 0) out.push_back(ifindex);
  return out;
}

}  // namespace fairway::agent
