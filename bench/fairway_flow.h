// The agent's way from bytes of the API to maps, all of it real, without its process: decoder, cluster, flow, sinks.
#pragma once

#include <map>
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
  // Rows go to the maps of the node's datapath; it outlives this, as does what judges by policy.
  explicit FairwayFlow(Node& node) : FairwayFlow(node, none_) {}
  FairwayFlow(Node& node, sinks::PolicyHost& policy_host);

  // The initial lists, pages by kind; kinds that are not named are empty. Ends with the rows handed over.
  using Pages = std::map<k8s::Kind, std::vector<std::string>>;
  Status list(const Pages& pages);
  // Bytes of a watch, taken through to the maps.
  Status slice_event(const std::string& line) { return event(slice_stream_, line); }
  Status policy_event(const std::string& line) { return event(policy_stream_, line); }
  void settle();  // again, where something was waited for
  agent::PolicyFlow& policy() { return flow_->policy(); }

  double map_seconds() const { return maps_.seconds; }       // spent in the maps' calls
  double growth_seconds() const { return growth_seconds_; }  // spent in making the tables larger
  std::size_t rows_written() const { return maps_.rows; }
  const compile::services::Assignment& assignment() const { return flow_->assignment(); }

 private:
  Status list_kind(k8s::Kind kind, const std::vector<std::string>& pages);
  Status event(k8s::WatchStream& stream, const std::string& line);
  std::function<void(const k8s::WatchEvent&)> into_cluster(k8s::Decoder& decoder);

  MapTime maps_;
  double growth_seconds_ = 0;
  TimedMap<fw_frontend_key, fw_frontend> frontends_;
  TimedMap<std::uint32_t, std::uint32_t> slots_;
  TimedMap<std::uint32_t, fw_backend> backends_;
  sinks::EndpointTarget endpoints_;
  sinks::NodeTarget nodes_;
  sinks::RouteTarget routes_;
  NoPolicyHost none_;
  model::Problems problems_;
  reflect::Cluster cluster_;
  std::unique_ptr<agent::Flow> flow_;
  k8s::Decoder slice_decoder_, policy_decoder_;
  k8s::WatchStream slice_stream_, policy_stream_;
};

}  // namespace fairway::bench
