#include "cli/policy_input.h"

#include <boost/json.hpp>
#include <cstring>
#include <iostream>

#include "cli/api_session.h"
#include "cli/app.h"
#include "cli/foreign_text.h"
#include "policycheck/placement.h"

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

Result<std::vector<net::Prefix>> networks(const char* option, const std::vector<std::string>& texts) {
  std::vector<net::Prefix> out;
  for (const auto& text : texts) {
    auto one = net::Prefix::parse(text);
    if (!one.ok()) return std::move(one).error().with_context(option);
    out.push_back(*one);
  }
  return out;
}

Result<policycheck::InventoryOptions> options_of(const PolicyInput& input) {
  policycheck::InventoryOptions options;
  FW_ASSIGN(options.pod_ranges, networks("--pod-range", input.pod_ranges));
  FW_ASSIGN(options.service_ranges, networks("--service-range", input.service_ranges));
  if (const auto& ranges = options.pod_ranges; ranges.size() > 2 || (ranges.size() == 2 && ranges[0].family() == ranges[1].family()))
    return make_error(Code::kInvalid, "--pod-range: give one network a family: 10.244.0.0/16,fd00:10:244::/56");
  return options;
}

std::unique_ptr<policycheck::Check> check_of(policycheck::Inventory inventory) {
  for (const auto& fault : inventory.faults) std::cerr << escaped_text(fault.to_string()) << "\n";
  if (!inventory.faults.empty()) return nullptr;
  return std::make_unique<policycheck::Check>(std::move(inventory));
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
  FW_ASSIGN(const auto options, options_of(input));
  return check_of(policycheck::take_inventory(std::move(manifests), options));
}

Result<Checks> make_checks(const PolicyInput& input, policycheck::Manifests before, policycheck::Manifests after) {
  FW_ASSIGN(auto options, options_of(input));
  auto old_rows = policycheck::take_rows(std::move(before)), new_rows = policycheck::take_rows(std::move(after));
  policycheck::place_pods_alike(old_rows, new_rows, std::move(options));
  auto old_check = check_of(std::move(old_rows));
  return Checks{std::move(old_check), check_of(std::move(new_rows))};
}

}  // namespace fairway::cli
