// PolicyHost of a real node: RCU by membarrier, and the connections of pods that become isolated, from their sockets and from the rows
// of translated flows.
//
// Place: beside sinks/policy_sink. What blocks runs on one thread of its own and comes back by Loop::post; maps are written on
// the control thread alone. Order where pods become isolated: rows for the connections that there are; the pods are tracked;
// rows for the connections that were born in between. So no packet of a connection that was there is the first that
// conntrack sees of it, which would turn its direction round.
// Belongs to the control thread.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "datapath/datapath.h"
#include "hostnet/pod_sockets.h"
#include "io/loop.h"
#include "model/local_endpoint.h"
#include "sinks/policy_sink.h"

namespace fairway::agent {

class KernelPolicyHost final : public sinks::PolicyHost {
 public:
  // Null: no such pod, or one that has not run yet, and so has no connections.
  using FindPod = std::function<const model::LocalEndpoint*(std::uint32_t ifindex)>;
  KernelPolicyHost(io::Loop& loop, datapath::Datapath& datapath);
  ~KernelPolicyHost() override;
  void set_find_pod(FindPod find) { find_ = std::move(find); }

  void wait_for_readers(std::function<void()> done) override;
  void begin_tracking(std::vector<std::uint32_t> ifindexes, std::function<void(Status)> done) override;
  Status make_room(const datapath::Room& rows) override { return datapath_.reserve(rows); }
  Result<std::vector<std::uint32_t>> tracked() override;

 private:
  using Connections = std::vector<hostnet::LiveConnection>;
  using Pods = std::shared_ptr<std::vector<model::LocalEndpoint>>;
  void post(std::function<void()> job);  // to the thread
  void read_sockets(Pods pods, std::function<void(Result<Connections>)> done);
  Status seed(const std::vector<model::LocalEndpoint>& pods, Result<Connections> sockets);
  Result<Connections> translated_connections(const std::vector<model::LocalEndpoint>& pods);
  Status set_tracked(const std::vector<std::uint32_t>& ifindexes);
  void work();

  io::Loop& loop_;
  datapath::Datapath& datapath_;
  FindPod find_;
  std::shared_ptr<int> alive_ = std::make_shared<int>();
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> jobs_;
  bool stopping_ = false;
  std::thread thread_;  // last: it uses the others
};

}  // namespace fairway::agent
