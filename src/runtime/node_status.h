// NodeStatus: the Node object and its Lease: registration, addresses, capacity, conditions, heartbeat.
#pragma once

#include <functional>
#include <string>

#include "io/loop.h"
#include "runtime/node.h"

namespace fairway::runtime {

// All of it may be given to pods: the Node's capacity and its allocatable.
JsonObject node_capacity(const Node& node);

class NodeStatus {
 public:
  // `object_changed`: the Node as the API server has it, for whoever needs its UID (events) or pod ranges.
  NodeStatus(Node& node, std::function<void(const Json&)> object_changed);
  ~NodeStatus();
  void start();

 private:
  void register_node();
  void registered(Result<Json> result);
  void refresh();  // reads the Node and asks the CNI plugin; then publishes
  void publish();
  void renew_lease();
  Json node_object() const;
  Json status() const;
  JsonObject condition(const std::string& type, bool value, const std::string& reason, const std::string& message) const;
  template <typename F>
  auto guarded(F f) {
    return [alive = std::weak_ptr<bool>(alive_), f = std::move(f)](auto&&... args) mutable {
      if (!alive.expired()) f(std::forward<decltype(args)>(args)...);
    };
  }

  Node& node_;
  std::function<void(const Json&)> object_changed_;
  Json object_;
  bool registered_ = false, publishing_ = false, asking_ = false;
  std::string not_ready_;  // why, or empty
  std::int64_t published_ns_ = 0, plugin_failed_ns_ = 0;
  std::string published_;
  io::Loop::Timer refresh_timer_, lease_timer_, retry_timer_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace fairway::runtime
