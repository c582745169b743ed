// The actions of probes and lifecycle hooks: exec, httpGet, tcpSocket, sleep. From the node's network namespace.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "runtime/json.h"

namespace fairway::runtime {

struct Node;

struct HandlerTarget {
  std::string container_id;
  std::string bundle;  // folder of config.json
  std::string pod_ip;
  const Json* container = nullptr;  // its ports: named ports are looked up
};

// Destroying it ends the action; nobody is called then.
class HandlerRun {
 public:
  virtual ~HandlerRun() = default;
};

// ok: success. An error: failure, with the words that kubelet puts into the Unhealthy event.
[[nodiscard]] std::unique_ptr<HandlerRun> run_handler(Node& node, const HandlerTarget& target, const Json& handler,
                                                      std::chrono::milliseconds timeout, std::function<void(Status)> done);

// A port by number or by its name among the container's ports; 0 if there is none.
std::uint16_t resolve_port(const Json& container, const Json* port);

}  // namespace fairway::runtime
