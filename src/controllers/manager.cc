#include "controllers/manager.h"

#include <algorithm>

#include "controllers/collector.h"
#include "controllers/context.h"
#include "controllers/daemon_set.h"
#include "controllers/deployment.h"
#include "controllers/endpoint_mirror.h"
#include "controllers/endpoint_slice.h"
#include "controllers/namespace.h"
#include "controllers/node_ipam.h"
#include "controllers/node_lifecycle.h"
#include "controllers/pod_gc.h"
#include "controllers/replica_set.h"
#include "controllers/scheduler.h"
#include "controllers/system_objects.h"
#include "sys/log.h"

namespace fairway::controllers {

struct ControllerManager::Impl {
  Impl(io::Loop& loop, k8s::ApiClient& client, ControllerConfig config) : context(loop, client, std::move(config)) {
    add<SystemObjectsController>();
    add<NamespaceController>();
    add<NodeIpamController>();
    add<NodeLifecycleController>();
    add<Scheduler>();
    add<ReplicaSetController>();
    add<DeploymentController>();
    add<DaemonSetController>();
    add<EndpointSliceController>();
    add<EndpointMirrorController>();
    add<PodGcController>();
    add<GarbageCollector>();
  }
  template <typename T>
  void add() {
    controllers.push_back(std::make_unique<T>(context));
  }

  bool synced() {
    const auto stores = context.stores.all();
    return std::all_of(stores.begin(), stores.end(), [](const Store* store) { return store->synced(); });
  }
  void start_when_synced() {
    if (started || !synced()) return;
    started = true;
    log::info("controllers", "all informers synced; {} controllers start", controllers.size());
    for (auto& controller : controllers) controller->start();
  }

  Context context;
  std::vector<std::unique_ptr<Controller>> controllers;  // after the context: they go first
  bool started = false;
};

ControllerManager::ControllerManager(io::Loop& loop, k8s::ApiClient& client, ControllerConfig config)
    : impl_(std::make_unique<Impl>(loop, client, std::move(config))) {}

ControllerManager::~ControllerManager() = default;

void ControllerManager::start() {
  for (Store* store : impl_->context.stores.all()) {
    store->on_synced([impl = impl_.get()] { impl->start_when_synced(); });
    store->open();
  }
}

bool ControllerManager::synced() const { return impl_->synced(); }

}  // namespace fairway::controllers
