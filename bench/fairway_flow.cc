#include "fairway_flow.h"

namespace fairway::bench {

namespace {

agent::FlowConfig flow_config() {
  agent::FlowConfig config;
  config.services.node = "bench-node";
  config.services.service_ranges = {net::Prefix(net::IpAddr::v4(0x0a600000), 12)};
  config.local.name = "bench-node";
  return config;
}

}  // namespace

FairwayFlow::FairwayFlow(Node& node, sinks::PolicyHost& policy_host)
    : frontends_(node.datapath().frontends(), maps_),
      slots_(node.datapath().svc_slots(), maps_),
      backends_(node.datapath().backends(), maps_),
      endpoints_(node.datapath().endpoints()),
      nodes_(node.datapath().nodes()),
      cluster_(problems_),
      slice_decoder_(k8s::Kind::kEndpointSlice),
      policy_decoder_(k8s::Kind::kNetworkPolicy),
      slice_stream_(slice_decoder_, into_cluster(slice_decoder_)),
      policy_stream_(policy_decoder_, into_cluster(policy_decoder_)) {
  agent::FlowTargets targets{.services = {.frontends = frontends_, .slots = slots_, .backends = backends_},
                             .endpoints = endpoints_,
                             .nodes = nodes_,
                             .routes = routes_,
                             .reserve =
                                 [this, &node](const datapath::Room& rows) {
                                   const auto begin = std::chrono::steady_clock::now();
                                   Status status = node.reserve(rows);
                                   growth_seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
                                   return status;
                                 },
                             .policy = {node.datapath(), policy_host, [] {}, [] { return true; }}};
  flow_ = std::make_unique<agent::Flow>(cluster_, problems_, targets, flow_config());
}

Status FairwayFlow::list_kind(k8s::Kind kind, const std::vector<std::string>& pages) {
  k8s::Decoder decoder(kind);
  cluster_.begin_relist(kind);
  for (const std::string& page : pages) FW_TRY(decoder.decode_list(page, [&] { cluster_.put(decoder.object()); }));
  cluster_.end_relist(kind);
  return {};
}

std::function<void(const k8s::WatchEvent&)> FairwayFlow::into_cluster(k8s::Decoder& decoder) {
  return [this, &decoder](const k8s::WatchEvent& event) {
    if (event.type == k8s::WatchType::kDeleted) cluster_.remove(decoder.object());
    else cluster_.put(decoder.object());
  };
}

Status FairwayFlow::list(const Pages& pages) {
  FW_TRY(flow_->adopt());
  for (k8s::Kind kind : reflect::Cluster::kKinds) {
    static const std::vector<std::string> kNone;
    const auto it = pages.find(kind);
    FW_TRY(list_kind(kind, it == pages.end() ? kNone : it->second));
  }
  settle();
  return {};
}

Status FairwayFlow::event(k8s::WatchStream& stream, const std::string& line) {
  FW_TRY(stream.feed(line));
  settle();
  return {};
}

void FairwayFlow::settle() { flow_->run(std::chrono::steady_clock::now()); }

}  // namespace fairway::bench
