// What is said on a policy: one Event, and for a ClusterNetworkPolicy a condition too (docs/decisions/0008). Text and JSON; no I/O.
//
// An Event of a policy has one name, so what is said later takes the place of what was said before.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "agent/api_time.h"
#include "k8s/api_client.h"
#include "k8s/objects.h"
#include "model/problems.h"
#include "model/rows.h"

namespace fairway::agent {

// A state of a policy that was seen to come.
struct PolicyChange {
  k8s::Kind kind = k8s::Kind::kNetworkPolicy;
  model::Name id;
  std::string uid;
  std::int64_t generation = 0;
  std::uint64_t version = 0;                   // resourceVersion
  std::vector<model::Problem> not_understood;  // of its parts, or of all of it
  bool refused = false;                        // the old state stays
};

struct NodeLag {
  std::string node, reason;
};

struct PolicyNews {
  enum class Reason { kInForce, kNotInForce, kNotUnderstood };
  PolicyChange change;
  Reason reason = Reason::kInForce;
  std::string message;
  bool is_warning() const { return reason != Reason::kInForce; }
};

// `took`: the node that took longest, from hearing of the change on; nothing where that is not known of all.
PolicyNews in_force_news(const PolicyChange& change, std::size_t nodes, std::optional<std::chrono::milliseconds> took);
// `lag`: some of those that lack it, `lacking` their number.
PolicyNews not_in_force_news(const PolicyChange& change, std::size_t nodes, std::size_t lacking, const std::vector<NodeLag>& lag,
                             std::chrono::milliseconds after);
PolicyNews refused_news(const PolicyChange& change);

// Server-side apply: creates it, or takes the place of what was said before.
struct Patch {
  k8s::ResourceRef ref;
  k8s::Json body;
};
Patch event_patch(const PolicyNews& news, const std::string& node, WallTime now);
Patch condition_patch(const PolicyNews& news, WallTime now);  // of a ClusterNetworkPolicy

}  // namespace fairway::agent
