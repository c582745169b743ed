// Checks for the tests here: of manifests as text, of a cluster's rows. In no library.
#pragma once

#include <gtest/gtest.h>

#include <memory>

#include "policycheck/check.h"

namespace fairway::policycheck {

inline net::Prefix pod_range() { return *net::Prefix::parse("10.244.0.0/16"); }

inline Manifests read_manifests(const std::string& text, const std::string& file = "m.yaml") {
  ManifestReader reader("default");
  reader.read_text(file, text);
  return reader.take();
}
inline std::unique_ptr<Check> check_of(const std::string& text) {
  auto inventory = take_inventory(read_manifests(text), {{}, {*net::Prefix::parse("10.96.0.0/16")}});
  for (const auto& fault : inventory.faults) ADD_FAILURE() << fault.to_string();
  return std::make_unique<Check>(std::move(inventory));
}
inline const End& end_named(const Check& check, const std::string& name) {
  for (const End& end : check.ends())
    if (end.name == name) return end;
  throw std::out_of_range(name);
}
inline std::string cell(const Check& check, const std::string& from, const std::string& to) {
  return check.between(end_named(check, from), end_named(check, to)).to_string();
}

inline std::string pod(const std::string& name, const std::string& labels = "{}", const std::string& more = "") {
  return "---\napiVersion: v1\nkind: Pod\nmetadata: {name: " + name + ", labels: " + labels +
         "}\nspec: {containers: [{name: c, image: i, ports: [{name: http, containerPort: 8080}]}]" + more + "}\n";
}
inline std::string policy(const std::string& name, const std::string& spec) {
  return "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: " + name + "}\nspec: " + spec + "\n";
}
inline std::string admin_policy(const std::string& name, const std::string& spec) {
  return "---\napiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {name: " + name +
         "}\nspec: {tier: Admin, priority: 1, subject: {namespaces: {}}, " + spec + "}\n";
}

}  // namespace fairway::policycheck
