// reflect_*: a Kubernetes object as the API spells it -> a model row, or the reason why not. Pure.
//
// Place: k8s/decode -> [reflect] -> Cluster's tables. The API server has validated what it stores, and yet nothing is
// taken on trust: a slice may be written by anyone who may write slices (CVE-2021-25740), and a value that this code
// does not know is never read as "allow".
// An object that cannot be honoured has no row: the caller keeps the old one. A part that cannot is left out and named.
#pragma once

#include <optional>
#include <vector>

#include "k8s/objects.h"
#include "model/policy.h"
#include "model/problems.h"
#include "model/rows.h"

namespace fairway::reflect {

template <typename Row>
struct Reflected {
  std::optional<Row> row;  // empty: the object is bad (see problems), or is not for us (none)
  std::vector<model::Problem> problems;
};

// The object's key, or the reason why it has no valid one.
Reflected<model::Name> reflect_name(const k8s::SlimObject& object);

Reflected<model::Namespace> reflect_namespace(const k8s::SlimObject& object);
Reflected<model::Node> reflect_node(const k8s::SlimObject& object);
Reflected<model::Pod> reflect_pod(const k8s::SlimObject& object);
Reflected<model::Service> reflect_service(const k8s::SlimObject& object);
// No row and no problem: a slice that belongs to no Service, or lists host names.
Reflected<model::EndpointSlice> reflect_slice(const k8s::SlimObject& object);
// What of a policy cannot be honoured is closed, never open: see reflect_policy.cc and docs/policy.md.
Reflected<model::Policy> reflect_network_policy(const k8s::SlimObject& object);
Reflected<model::Policy> reflect_cluster_network_policy(const k8s::SlimObject& object);

}  // namespace fairway::reflect
