// The arithmetic of a Deployment's rollout: pure functions over counts, as in Kubernetes' deployment controller.
#pragma once

#include <string>
#include <vector>

#include "controllers/json.h"

namespace fairway::controllers {

inline constexpr std::string_view kTemplateHash = "pod-template-hash";  // the label of a set's pods

using Replicas = std::int64_t;  // of sums, too: spec.replicas alone may be 2^31 - 1

struct Strategy {
  bool recreate = false;
  Replicas max_surge = 0;
  Replicas max_unavailable = 0;
};
// spec.strategy with percentages resolved: surge rounds up, unavailable down; both 0 becomes 1 unavailable.
Strategy strategy_of(const Json& deployment);

struct SetCounts {
  Replicas replicas = 0;   // spec.replicas
  Replicas available = 0;  // status.availableReplicas
};

// What the new set's replicas should be now.
Replicas next_new_replicas(const Strategy& strategy, Replicas wanted, Replicas new_replicas, Replicas all_replicas);

// What the old sets' replicas should be now, oldest first, in `old`'s order.
std::vector<Replicas> next_old_replicas(const Strategy& strategy, Replicas wanted, const std::vector<SetCounts>& old,
                                        const SetCounts& fresh);

// Scaling in the middle of a rollout spreads the difference over the active sets in proportion to their size.
// `max_replicas` is each set's annotation of what the Deployment's ceiling (replicas and surge) was when it was last sized (0: unknown).
// The sets in order of size (newest first among equals when growing, oldest first when shrinking).
struct Share {
  Replicas replicas = 0;
  Replicas max_replicas = 0;
};
std::vector<Replicas> proportional(const std::vector<Share>& sets, Replicas ceiling);

// FNV-1a of the template (and of the collision count), in the letters that spell no words.
std::string template_hash(const Json& pod_template, std::int64_t collisions);
// Equal but for the label pod-template-hash.
bool same_template(const Json& a, const Json& b);

}  // namespace fairway::controllers
