#include "apiserver/api_server.h"

#include <fmt/format.h>

#include "apiserver/cluster_network_policy.h"
#include "apiserver/crd_schema.h"
#include "apiserver/engine.h"
#include "apiserver/http_api.h"
#include "apiserver/local_client.h"

namespace fairway::apiserver {

struct ApiServer::Impl {
  Impl(io::Loop& event_loop, ApiServerConfig settings, std::unique_ptr<Store> objects)
      : loop(event_loop),
        config(std::move(settings)),
        store(std::move(objects)),
        allocator(*store, config.service_ranges, {config.node_port_first, config.node_port_last}),
        engine(*store, allocator),
        http(loop, engine, config),
        client(loop, engine) {
    bookmarks = loop.every(config.bookmark_period, [this] { engine.hub().send_bookmarks(); });
    sweep = loop.every(std::chrono::seconds(60),
                       [this] { engine.expire_events(std::chrono::duration_cast<std::chrono::seconds>(config.event_ttl).count()); });
  }

  io::Loop& loop;
  ApiServerConfig config;
  std::unique_ptr<Store> store;
  ServiceAllocator allocator;
  Engine engine;
  HttpApi http;
  LocalClient client;
  io::Loop::Timer bookmarks, sweep;
};

namespace {

// The namespaces every cluster has (pkg/controlplane/controller/systemnamespaces).
Status create_system_namespaces(Engine& engine) {
  const KindPtr kind = engine.kinds().find("", "v1", "namespaces");
  for (const char* name : {"default", "kube-system", "kube-public", "kube-node-lease"}) {
    if (engine.store().get("/namespaces", "", name)) continue;
    auto created = engine.create({kind, "", "", ""}, Object{{"metadata", Object{{"name", name}}}}, {});
    if (!created.ok()) return created.error().to_error().with_context(fmt::format("create namespace {}", name));
  }
  return {};
}

// A lab's clusters have it from the start; elsewhere it is installed as any definition is.
Status create_cluster_network_policies(Engine& engine) {
  const KindPtr kind = engine.kinds().find("apiextensions.k8s.io", "v1", "customresourcedefinitions");
  if (engine.store().get(kind->collection(), "", kClusterNetworkPolicies)) return {};
  auto created = engine.create({kind, "", "", ""}, cluster_network_policy_definition(), {});
  if (!created.ok()) return created.error().to_error().with_context(fmt::format("create {}", kClusterNetworkPolicies));
  return {};
}

}  // namespace

Engine::Engine(Store& store, ServiceAllocator& allocator) : store_(store), allocator_(allocator), hub_(store) { load_custom_kinds(); }

void Engine::load_custom_kinds() {
  for (const auto& [key, definition] : store_.objects("apiextensions.k8s.io/customresourcedefinitions"))
    kinds_.set_custom(definition->name, kinds_of_definition(definition->value));
}

Result<std::unique_ptr<ApiServer>> ApiServer::create(io::Loop& loop, ApiServerConfig config) {
  if (config.service_ranges.empty() || config.service_ranges.size() > 2 ||
      (config.service_ranges.size() == 2 && config.service_ranges[0].family() == config.service_ranges[1].family())) {
    return make_error(Code::kInvalid, "API server: one service range is needed, or one of each family");
  }
  FW_ASSIGN(auto store, Store::open(config.db_path, config.watch_history));
  auto impl = std::make_unique<Impl>(loop, std::move(config), std::move(store));
  FW_TRY(create_system_namespaces(impl->engine));
  FW_TRY(create_cluster_network_policies(impl->engine));
  return std::unique_ptr<ApiServer>(new ApiServer(std::move(impl)));
}

ApiServer::ApiServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ApiServer::~ApiServer() = default;

void ApiServer::handle(io::ServerRequest request, std::unique_ptr<io::Responder> responder) {
  impl_->http.handle(std::move(request), std::move(responder));
}
k8s::ApiClient& ApiServer::local_client() { return impl_->client; }

}  // namespace fairway::apiserver
