#include "cli/policy_input.h"

#include <boost/json.hpp>
#include <cstring>
#include <iostream>
#include <sstream>

#include "cli/api_session.h"
#include "cli/app.h"
#include "policycheck/render.h"

namespace fairway::cli {
namespace json = boost::json;
namespace {

constexpr int kPageItems = 500;

// What policies look at. A cluster that knows no ClusterNetworkPolicies has none.
constexpr const char* kLists[] = {"/api/v1/namespaces",
                                  "/api/v1/nodes",
                                  "/api/v1/pods",
                                  "/api/v1/services",
                                  "/apis/networking.k8s.io/v1/networkpolicies",
                                  "/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies"};

std::string continue_of(const std::string& page) {
  boost::system::error_code error;
  const auto value = json::parse(page, error);
  const auto* metadata = !error && value.is_object() ? value.as_object().if_contains("metadata") : nullptr;
  const auto* token = metadata != nullptr && metadata->is_object() ? metadata->as_object().if_contains("continue") : nullptr;
  return token != nullptr && token->is_string() ? std::string(token->as_string()) : "";
}

}  // namespace

Result<policycheck::Manifests> read_cluster(const PolicyInput& input) {
  policycheck::ManifestReader reader(input.ns);
  FW_ASSIGN(const auto session, ApiSession::open(input.kubeconfig));
  for (const char* list : kLists) {
    std::string token;
    do {
      auto page = session->call("GET", std::string(list) + "?limit=" + std::to_string(kPageItems) +
                                           (token.empty() ? "" : "&continue=" + io::percent_encode(token)));
      if (!page.ok() && page.error().code == Code::kNotFound) break;
      if (!page.ok()) return std::move(page).error();
      token = continue_of(*page);
      reader.read_answer(std::string("the cluster's ") + (std::strrchr(list, '/') + 1), std::move(*page));
    } while (!token.empty());
  }
  return reader.take();
}

Result<policycheck::Manifests> read_manifests(const PolicyInput& input, const std::vector<std::string>& paths) {
  policycheck::ManifestReader reader(input.ns);
  for (const auto& path : paths) FW_TRY(reader.read(path));
  return reader.take();
}

Result<std::unique_ptr<policycheck::Check>> make_check(const PolicyInput& input, policycheck::Manifests manifests) {
  auto range = net::Prefix::parse(input.pod_range);
  if (!range.ok()) return std::move(range).error().with_context("--pod-range");
  std::vector<net::Prefix> services;
  std::string text;
  for (std::istringstream list(input.service_range); std::getline(list, text, ',');) {
    auto one = net::Prefix::parse(text);
    if (!one.ok()) return std::move(one).error().with_context("--service-range");
    services.push_back(*one);
  }
  auto inventory = policycheck::take_inventory(std::move(manifests), {*range, std::move(services)});
  for (const auto& fault : inventory.faults) std::cerr << policycheck::escaped_text(fault.to_string()) << "\n";
  if (!inventory.faults.empty()) return std::unique_ptr<policycheck::Check>();
  return std::make_unique<policycheck::Check>(std::move(inventory), *range);
}

}  // namespace fairway::cli
