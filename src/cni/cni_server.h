// CniServer: the agent's half of the CNI plugin. Answers the bodies of `POST /v1/cni` (docs/architecture.md, docs/cni.md),
// owns the node's IPAM, and makes and removes the pods' interfaces.
//
// Thread: everything public on the control thread's loop; the kernel's slow work (rtnl lock, RCU) is done by worker
// threads of its own, so handle() never blocks the loop.
// Crash safety: every step is journaled before it is done, and undone at the next start if its ADD was not answered
// (docs/cni.md has the table of steps).
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cni/endpoint_sink.h"
#include "io/loop.h"
#include "model/local_endpoint.h"
#include "net/ip.h"

namespace fairway::cni {

struct CniServerConfig {
  std::string state_dir;               // holds the journal, ipam.journal
  std::string spool_dir;               // DELs that the plugin kept while no agent answered; same as in the conflist
  std::chrono::seconds cool_down{30};  // a freed address is not given again for so long
  std::chrono::seconds gc_grace{60};   // GC leaves an endpoint younger than this whose namespace still exists
  unsigned workers = 2;                // more only queue at the rtnl lock
  // Called as each step of docs/cni.md is done, on whichever thread did it. Tests end the process in it.
  std::function<void(std::string_view step)> on_step;
};

// What the node gives to its pods. Known once the Node object, or its copy on disk, has been read.
struct PodNetwork {
  std::vector<net::Prefix> pod_cidrs;  // of this node, at most one a family
  std::uint32_t mtu = 1500;            // of the pods' interfaces: underlay minus encapsulation
  std::vector<net::IpAddr> reserved;   // within pod_cidrs, not for pods
};

struct CniReply {
  int http_status = 200;  // 200, or 400/500/503 with a CNI error object
  std::string body;
};

class CniServer {
 public:
  // Opens (or makes) the journal in the calling thread's network namespace, which is the node's from now on.
  static Result<std::unique_ptr<CniServer>> create(io::Loop& loop, CniServerConfig config, EndpointSink& sink);
  virtual ~CniServer() = default;

  // Sets or changes the network; pods that have addresses keep them, a new MTU is set on their interfaces too. Until it is set, ADD answers
  // 11 and STATUS 50.
  virtual void set_network(PodNetwork network) = 0;
  // A reason why ADD must be refused for now ("datapath not loaded"), or empty. STATUS shows it: 50, or 51 where
  // running pods suffer too.
  virtual void set_unavailable(std::string reason, bool running_pods_suffer = false) = 0;

  // Once, before the first handle(): announces every endpoint of the journal to the sink whose interface still
  // lives, undoes ADDs that were not finished, removes interfaces that belong to none, and processes spooled DELs.
  // What failed is told in warnings() and retried with the next call.
  virtual Status adopt() = 0;

  // One request body (at most 1 MiB). `done` is called exactly once, on the loop, perhaps before handle() returns.
  virtual void handle(std::string_view body, std::function<void(CniReply)> done) = 0;

  virtual std::vector<model::LocalEndpoint> endpoints() const = 0;  // finished ADDs, by sandbox id
  // What `fairway status` must say: exhausted ranges, failed adoptions.
  virtual std::vector<std::string> warnings() const = 0;

  struct Stats {
    std::uint64_t added = 0, deleted = 0, failed = 0, collected = 0, spooled = 0;
    std::size_t in_use = 0, cooling = 0;  // addresses
  };
  virtual Stats stats() const = 0;
};

}  // namespace fairway::cni
