// The agent's tables and status as JSON: what `fairway show`, `fairway status`, tests and curl read. Every number comes
// from where it is in force (the maps, the tables, the threads' counters), none from a copy.
// Belongs to the control thread.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/flow.h"
#include "agent/local_pods.h"
#include "agent/options.h"
#include "agent/policy_status.h"
#include "cni/cni_server.h"
#include "datapath/datapath.h"
#include "dns/dns_server.h"
#include "k8s/list_watch.h"
#include "model/problems.h"
#include "reflect/cluster.h"

namespace fairway::agent {

struct Source {
  std::string name;
  k8s::Kind kind;
  const k8s::ListWatch* watch = nullptr;  // null before the agent has dialed
};

// What there is to be shown; the parts outlive it.
struct View {
  const Options& options;
  const reflect::Cluster& cluster;
  const model::Problems& problems;
  const Flow& flow;
  datapath::Datapath& datapath;
  const LocalPods& local_pods;
  const cni::CniServer* cni = nullptr;
  const dns::DnsServer* dns = nullptr;
  const compile::dns::Zone* zone = nullptr;
  const k8s::ApiServers* servers = nullptr;
  const PolicyStatus* policy_status = nullptr;
  std::vector<Source> sources;
  std::size_t restored_objects = 0;
  bool pruned = false;
};

// "the API server has not been heard for 93 s", or empty while it is.
std::string api_silence(const View& view);
// "since 2026-01-02T03:04:05Z (7 min ago): Kubelet stopped posting node status." of a node that is not Ready.
std::string unready_text(const model::Node& node);
std::string render_status(const View& view);
std::string render_table_list(const View& view);
// What was denied, by rule and pod; the last denied flows; all drops by reason. Fields: docs/architecture.md.
Result<std::string> render_drops(const View& view);
// kNotFound with the names that there are.
Result<std::string> render_table(const View& view, std::string_view name);

}  // namespace fairway::agent
