#include "world.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "controllers/kinds.h"

namespace fairway::controllers {
namespace {

ControllerConfig config() {
  ControllerConfig c;
  c.pod_ranges = {{*net::Prefix::parse("10.244.0.0/16"), 24}, {*net::Prefix::parse("fd00:10:244::/56"), 64}};
  c.service_ranges = {*net::Prefix::parse("10.96.0.0/16"), *net::Prefix::parse("fd00:10:96::/112")};
  c.api_server_addresses = {*net::IpAddr::parse("172.30.0.1")};
  c.cluster_ca_pem = "the CA";
  c.node_grace_period = std::chrono::milliseconds(600);
  c.node_monitor_period = std::chrono::milliseconds(100);
  c.pod_gc_quarantine = std::chrono::milliseconds(200);
  return c;
}

Kind kind_of(const std::string& resource) {
  for (auto& kind : Kinds().all()) {
    if (kind.resource == resource) return kind;
  }
  return {"e2e.example.com", "v1", "Widget", resource, true};
}

}  // namespace

World::World() {
  apiserver::ApiServerConfig server;
  server.service_ranges = config().service_ranges;
  auto made = apiserver::ApiServer::create(loop, server);
  if (!made.ok()) {
    ADD_FAILURE() << made.error().message;
    std::abort();
  }
  server_ = std::move(*made);
  client_ = &server_->local_client();
  k8s::Informer::Callbacks callbacks;
  callbacks.on_change = [this](const std::string&, const Json*, const Json* after) {
    if (after) kubelet(*after);
  };
  pods_ = std::make_unique<k8s::Informer>(loop, *client_, ref("pods", "", ""), k8s::ListOptions{}, std::move(callbacks));
  heartbeat_ = loop.every(std::chrono::milliseconds(100), [this] { heartbeat(); });
  restart_controllers();
}

World::~World() {
  calls_.clear();
  pods_.reset();
  manager_.reset();
  server_.reset();
}

void World::restart_controllers() {
  manager_.reset();
  manager_ = std::make_unique<ControllerManager>(loop, *client_, config());
  manager_->start();
}

ResourceRef World::ref(const std::string& resource, const std::string& ns, const std::string& name) {
  const Kind kind = kind_of(resource);
  ResourceRef r = kind.ref();
  if (kind.namespaced) r.ns = ns;
  r.name = name;
  return r;
}

Result<Json> World::wait(const std::function<k8s::CallPtr(k8s::Done)>& start) {
  Result<Json> answer = make_error(Code::kTimeout, "no answer");
  const auto call = start([&](Result<Json> result) {
    answer = std::move(result);
    loop.stop();
  });
  const auto limit = loop.after(std::chrono::seconds(5), [this] { loop.stop(); });
  loop.run();
  return answer;
}

bool World::until(const std::function<bool()>& condition, std::chrono::milliseconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    settle(std::chrono::milliseconds(10));
  }
  return true;
}

void World::settle(std::chrono::milliseconds time) {
  const auto timer = loop.after(time, [this] { loop.stop(); });
  loop.run();
}

Json World::get(const std::string& resource, const std::string& name, const std::string& ns) {
  auto got = wait([&](k8s::Done done) { return client_->get(ref(resource, ns, name), std::move(done)); });
  if (!got.ok()) ADD_FAILURE() << "get " << resource << " " << name << ": " << got.error().message;
  return got.ok() ? std::move(*got) : Json();
}

bool World::exists(const std::string& resource, const std::string& name, const std::string& ns) {
  return wait([&](k8s::Done done) { return client_->get(ref(resource, ns, name), std::move(done)); }).ok();
}

json::array World::list(const std::string& resource, const std::string& labels, const std::string& ns) {
  k8s::ListOptions options;
  options.label_selector = labels;
  auto got = wait([&](k8s::Done done) { return client_->list(ref(resource, ns, ""), options, std::move(done)); });
  if (!got.ok()) ADD_FAILURE() << "list " << resource << ": " << got.error().message;
  return got.ok() ? items(*got, "items") : json::array{};
}

Json World::create(const std::string& resource, Json object, const std::string& ns) {
  const Kind kind = kind_of(resource);
  auto& o = object.as_object();
  o["kind"] = kind.kind;
  o["apiVersion"] = kind.group.empty() ? kind.version : kind.group + "/" + kind.version;
  auto made = wait([&](k8s::Done done) { return client_->create(ref(resource, ns, ""), std::move(object), std::move(done)); });
  if (!made.ok()) ADD_FAILURE() << "create " << resource << ": " << made.error().message;
  return made.ok() ? std::move(*made) : Json();
}

Json World::patch(const std::string& resource, const std::string& name, const char* merge, const std::string& ns) {
  auto done =
      wait([&](k8s::Done d) { return client_->patch(ref(resource, ns, name), k8s::PatchType::kMerge, json::parse(merge), std::move(d)); });
  if (!done.ok()) ADD_FAILURE() << "patch " << resource << " " << name << ": " << done.error().message;
  return done.ok() ? std::move(*done) : Json();
}

void World::remove(const std::string& resource, const std::string& name, const std::string& propagation, const std::string& ns) {
  k8s::DeleteOptions options;
  options.propagation_policy = propagation;
  auto done = wait([&](k8s::Done d) { return client_->remove(ref(resource, ns, name), options, std::move(d)); });
  if (!done.ok()) ADD_FAILURE() << "remove " << resource << " " << name << ": " << done.error().message;
}

void World::forget(k8s::CallPtr call) {
  // Answers do not matter here; the calls live until the world ends.
  calls_.push_back(std::move(call));
}

void World::add_node(const std::string& name, const char* extra) {
  Json node = json::parse(fmt::format(R"({{"metadata":{{"name":"{0}","labels":{{"kubernetes.io/hostname":"{0}"}}}},
      "status":{{"allocatable":{{"cpu":"4","memory":"4Gi","pods":"110"}},"capacity":{{"cpu":"4","memory":"4Gi","pods":"110"}},
                 "conditions":[{{"type":"Ready","status":"True","reason":"KubeletReady","message":"up","lastHeartbeatTime":"2026-01-01T00:00:00Z","lastTransitionTime":"2026-01-01T00:00:00Z"}}]}}}})",
                                      name));
  const Json more = json::parse(extra);
  for (const auto& [key, value] : more.as_object()) node.as_object()[key] = value;
  const Json made = create("nodes", node);
  nodes_[name] = std::string(uid_of(made));
  create(
      "leases",
      json::parse(fmt::format(
          R"({{"metadata":{{"name":"{0}","namespace":"kube-node-lease","ownerReferences":[{{"apiVersion":"v1","kind":"Node","name":"{0}","uid":"{1}"}}]}},
      "spec":{{"holderIdentity":"{0}"}}}})",
          name, nodes_[name])),
      "kube-node-lease");
}

void World::heartbeat() {
  ++beats_;
  for (const auto& [node, uid] : nodes_) {
    if (silent_.contains(node)) continue;
    auto lease = ref("leases", "kube-node-lease", node);
    Json renew = json::object{{"spec", {{"renewTime", fmt::format("2026-01-01T00:00:00.{:06}Z", beats_)}}}};
    forget(client_->patch(lease, k8s::PatchType::kMerge, std::move(renew), [](Result<Json>) {}));
    auto status = ref("nodes", "", node);
    status.subresource = "status";
    Json ready = json::parse(R"({"status":{"conditions":[{"type":"Ready","status":"True","reason":"KubeletReady","message":"up"}]}})");
    if (beats_ % 3 == 0) forget(client_->patch(status, k8s::PatchType::kStrategic, std::move(ready), [](Result<Json>) {}));
  }
}

void World::kubelet(const Json& pod) {
  const std::string node(text(pod, "spec", "nodeName"));
  if (node.empty() || silent_.contains(node)) return;
  auto r = ref("pods", std::string(namespace_of(pod)), std::string(name_of(pod)));
  if (is_terminating(pod)) {
    if (hold_termination_) return;
    k8s::DeleteOptions now;
    now.grace_period_seconds = 0;
    return forget(client_->remove(r, now, [](Result<Json>) {}));
  }
  if (!text(pod, "status", "podIP").empty()) return;
  const bool ready = !not_ready_.contains(std::string(text(pod, "metadata", "labels", "app")));
  const int n = next_ip_++;
  const std::string time = render_time(std::chrono::system_clock::now());
  r.subresource = "status";
  Json status = json::parse(fmt::format(
      R"({{"status":{{"phase":"Running","podIP":"10.244.{0}.{1}","podIPs":[{{"ip":"10.244.{0}.{1}"}},{{"ip":"fd00:10:244::{2:x}"}}],
      "conditions":[{{"type":"Ready","status":"{3}","lastTransitionTime":"{4}"}},{{"type":"ContainersReady","status":"{3}","lastTransitionTime":"{4}"}}]}}}})",
      n / 200, n % 200 + 2, n, ready ? "True" : "False", time));
  forget(client_->patch(r, k8s::PatchType::kStrategic, std::move(status), [](Result<Json>) {}));
}

}  // namespace fairway::controllers
