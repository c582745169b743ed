// What all controllers share: the client, the stores, the events, the configuration.
#pragma once

#include "controllers/api.h"
#include "controllers/events.h"
#include "controllers/kinds.h"
#include "controllers/manager.h"
#include "controllers/store.h"

namespace fairway::controllers {

// Names of indexes.
inline constexpr std::string_view kByOwner = "owner";      // uid of the controlling owner
inline constexpr std::string_view kByNode = "node";        // pods: spec.nodeName
inline constexpr std::string_view kByService = "service";  // slices: "namespace/service"

// One Store for each kind that a controller reads.
struct Stores {
  explicit Stores(Api& api);
  std::vector<Store*> all();

  Store pods, nodes, services, endpoints, endpoint_slices, replica_sets, deployments, daemon_sets, namespaces, service_accounts,
      config_maps, leases, definitions;
};

struct Context {
  Context(io::Loop& loop, k8s::ApiClient& client, ControllerConfig config);
  ControllerConfig config;
  Api api;
  Stores stores;
  Kinds kinds;
  Events events;
};

}  // namespace fairway::controllers
