// The agent's way from bytes of the API to maps, all of it real, without its process: decoder, cluster, flow, sinks.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "agent/flow.h"
#include "core/sandbox.h"
#include "datapath/datapath.h"
#include "k8s/decode.h"
#include "k8s/watch_stream.h"
#include "reflect/cluster.h"
#include "timed_map.h"

namespace fairway::bench {

// No pod of these rows is judged: nobody reads the tables of policy.
class NoPolicyHost : public sinks::PolicyHost {
 public:
  void wait_for_readers(std::function<void()> done) override { done(); }
  void begin_tracking(std::vector<std::uint32_t> /*ifindexes*/, std::function<void(Status)> done) override { done({}); }
  Status make_room(const datapath::Room& /*rows*/) override { return {}; }
  Result<std::vector<std::uint32_t>> tracked() override { return std::vector<std::uint32_t>{}; }
};

class FairwayFlow {
 public:
  // Rows go to the maps of the node's datapath; it outlives this.
  explicit FairwayFlow(Node& node);

  // The initial lists: pages of Services and of EndpointSlices; the other kinds are empty. Ends with the rows applied.
  Status list(const std::vector<std::string>& services, const std::vector<std::string>& slices);
  // Bytes of the slices' watch, taken through to the maps.
  Status slice_event(const std::string& line);

  double map_seconds() const { return maps_.seconds; }       // spent in the maps' calls
  double growth_seconds() const { return growth_seconds_; }  // spent in making the tables larger
  std::size_t rows_written() const { return maps_.rows; }
  const compile::services::Assignment& assignment() const { return flow_->assignment(); }

 private:
  Status list_kind(k8s::Kind kind, const std::vector<std::string>& pages);
  void settle();

  MapTime maps_;
  double growth_seconds_ = 0;
  TimedMap<fw_frontend_key, fw_frontend> frontends_;
  TimedMap<std::uint32_t, std::uint32_t> slots_;
  TimedMap<std::uint32_t, fw_backend> backends_;
  sinks::EndpointTarget endpoints_;
  sinks::NodeTarget nodes_;
  sinks::RouteTarget routes_;
  NoPolicyHost policy_host_;
  model::Problems problems_;
  reflect::Cluster cluster_;
  std::unique_ptr<agent::Flow> flow_;
  k8s::Decoder slice_decoder_;
  k8s::WatchStream slice_stream_;
};

}  // namespace fairway::bench
