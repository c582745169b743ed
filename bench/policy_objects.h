// Policies and pods as the API's objects become them, for the rows about policy.
#pragma once

#include <string>

#include "model/policy.h"
#include "model/rows.h"

namespace fairway::bench {

// Pods whose label `key` is `value`.
model::LabelSelector with_label(const std::string& key, const std::string& value);
// Isolates the pods' ingress, and allows nothing yet.
model::Policy policy(const std::string& ns, const std::string& name, model::LabelSelector subject);
// TCP to a port, or everything where that is 0.
model::PolicyRule from_pods(model::PodSelector pods, std::uint16_t port = 0);
model::Pod pod(const std::string& ns, unsigned number, model::Labels labels);

}  // namespace fairway::bench
