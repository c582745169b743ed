#include "agent/policy_status.h"

#include <algorithm>
#include <cstdlib>

namespace fairway::agent {
namespace {

PolicyReporter::Config config_of(std::string node, const reflect::Cluster& cluster) {
  PolicyReporter::Config out;
  out.node = std::move(node);
  out.nodes = [&cluster] {
    std::vector<std::string> names;
    cluster.table(k8s::Kind::kNode).for_each([&](std::string_view name, std::string_view) { names.emplace_back(name); });
    std::sort(names.begin(), names.end());
    return names;
  };
  return out;
}

}  // namespace

std::vector<model::Problem> problems_of(const model::Problems& problems, std::string_view object) {
  std::vector<model::Problem> out;
  problems.for_each([&](const std::string& of, const model::Problem& problem) {
    if (of == object) out.push_back(problem);
  });
  return out;
}

PolicyStatus::PolicyStatus(io::Loop& loop, k8s::ApiClient& api, std::string node, reflect::Cluster& cluster,
                           const model::Problems& problems, const PolicyFlow& flow)
    : cluster_(cluster), problems_(problems), flow_(flow), report_(loop, api, node), reporter_(loop, api, config_of(node, cluster)) {}

void PolicyStatus::put(const k8s::SlimObject& policy) {
  const auto before = cluster_.table(policy.kind).revision();
  const bool news = cluster_.synced(policy.kind);  // what the first list holds is none
  cluster_.put(policy);
  const bool changed = cluster_.table(policy.kind).revision() != before;
  if (changed) report_.seen(policy.kind, policy.meta.resource_version);
  if (!news) return;
  PolicyChange change;
  change.kind = policy.kind;
  change.id = {std::string(policy.meta.ns), std::string(policy.meta.name)};
  change.uid = policy.meta.uid;
  change.generation = policy.policy.generation;
  change.version = policy.meta.resource_version;
  change.not_understood = problems_of(problems_, std::string(to_string(policy.kind)) + " " + change.id.to_string());
  if (!changed && !change.not_understood.empty()) {
    const auto row = cluster_.find_policy(change.id.to_string());
    change.refused = !row || row->generation != change.generation;
  }
  if (changed || change.refused) reporter_.changed(std::move(change));  // else its metadata or status alone
}

void PolicyStatus::remove(const k8s::SlimObject& policy) {
  cluster_.remove(policy);
  report_.seen(policy.kind, policy.meta.resource_version);
  reporter_.removed(policy.kind, {std::string(policy.meta.ns), std::string(policy.meta.name)});
}

void PolicyStatus::listed(k8s::Kind kind, const std::string& resource_version) {
  report_.seen(kind, std::strtoull(resource_version.c_str(), nullptr, 10));
}

void PolicyStatus::step() {
  const auto why = problems_of(problems_, "Policies");
  report_.step(flow_.in_force(), why.empty() ? "" : why.front().field + ": " + why.front().reason);
}

boost::json::object PolicyStatus::show() const {
  const std::string& error = report_.last_error().empty() ? reporter_.last_error() : report_.last_error();
  return {{"reports", reporter_.holds()}, {"pending", reporter_.pending()}, {"letGo", reporter_.let_go()}, {"lastError", error}};
}

}  // namespace fairway::agent
