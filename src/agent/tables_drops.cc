#include <arpa/inet.h>
#include <time.h>

#include <algorithm>

#include "agent/tables_parts.h"
#include "datapath/addr.h"

namespace fairway::agent {
namespace {

namespace json = boost::json;
using compile::policy::Direction;
using compile::policy::RuleName;

std::uint64_t monotonic_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(now.tv_nsec);
}

std::uint64_t age_ms(std::uint64_t last_ns, std::uint64_t now_ns) { return now_ns > last_ns ? (now_ns - last_ns) / 1'000'000 : 0; }

const char* direction_name(Direction direction) { return direction == Direction::kIngress ? "ingress" : "egress"; }

json::array denied_rows(const std::vector<Denied>& rows, std::uint64_t now_ns) {
  json::array out;
  for (const Denied& row : rows)
    out.push_back(json::object{{"rule", rule_json(row.rule ? &*row.rule : nullptr)},
                               {"direction", direction_name(row.direction)},
                               {"pod", row.pod},
                               {"packets", row.packets},
                               {"ageMs", age_ms(row.last_ns, now_ns)},
                               {"past", row.past}});
  return out;
}

json::object end_of(const View& view, const fw_addr& addr) {
  const auto ip = datapath::from_abi(addr);
  return {{"address", ip.to_string()}, {"name", owner_name(view, ip)}};
}

json::object flow_row(const View& view, const fw_hit_key& key, const fw_hit& hit, std::uint64_t now_ns) {
  const RuleName* rule = rule_behind(view, key.rule);
  const RuleName none{{}, static_cast<Direction>(key.direction), -1, ""};
  json::object to = end_of(view, key.daddr);
  to["port"] = ntohs(key.dport_be);
  return {{"from", end_of(view, key.saddr)},
          {"to", std::move(to)},
          {"protocol", protocol_name(key.protocol)},
          {"direction", direction_name(static_cast<Direction>(key.direction))},
          {"rule", rule_json(rule == nullptr && key.rule == 0 ? &none : rule)},
          {"packets", hit.packets},
          {"ageMs", age_ms(hit.last_ns, now_ns)}};
}

}  // namespace

std::string owner_name(const View& view, const net::IpAddr& addr) {
  const auto pods = view.cluster.pods_of(addr);
  const auto node = view.cluster.node_of(addr);
  if (node) return "node/" + *node;
  return pods.empty() ? "" : pods.front();
}

const RuleName* rule_behind(const View& view, std::uint32_t number) {
  const auto& policy = view.flow.policy();
  const auto own = policy.sink().rule_of(number);
  return own ? policy.engine().find_rule(*own) : nullptr;
}

std::string rule_text(const RuleName* rule) {
  return rule == nullptr ? "a rule that this agent has no name for (an earlier agent's, or gone)" : rule->to_string();
}

json::object rule_json(const RuleName* rule) {
  if (rule == nullptr) return {{"text", rule_text(nullptr)}, {"policies", json::array{}}, {"index", -1}};
  json::array policies;
  for (const auto& of : rule->policies)
    policies.push_back(json::object{{"kind", of.tier == model::PolicyTier::kNetworkPolicy ? "NetworkPolicy" : "ClusterNetworkPolicy"},
                                    {"namespace", of.policy.ns},
                                    {"name", of.policy.name}});
  const bool unknown = policies.empty();
  return {{"text", unknown ? "the pod's policies are not known yet" : rule->to_string()},
          {"policies", std::move(policies)},
          {"index", rule->rule},
          {"name", rule->rule_name}};
}

Result<std::string> render_drops(const View& view) {
  const std::uint64_t now_ns = monotonic_ns();
  FW_ASSIGN(auto denied, view.flow.policy().denied());
  FW_ASSIGN(auto hits, view.datapath.pol_hits().dump());
  FW_ASSIGN(const auto stats, view.datapath.stats());
  std::sort(denied.begin(), denied.end(), [](const Denied& a, const Denied& b) { return a.last_ns > b.last_ns; });
  std::sort(hits.begin(), hits.end(), [](const auto& a, const auto& b) { return a.second.last_ns > b.second.last_ns; });
  json::array flows, reasons;
  for (const auto& [key, hit] : hits) flows.push_back(flow_row(view, key, hit, now_ns));
  std::uint64_t skipped = 0, uncounted = 0;
  for (const auto& c : stats.counts) {
    if (c.drop) reasons.push_back(json::object{{"reason", c.name}, {"packets", c.packets}, {"bytes", c.bytes}, {"meaning", c.text}});
    if (c.name == "hit-skipped") skipped = c.packets;
    if (c.name == "rule-uncounted") uncounted = c.packets;
  }
  return json::serialize(json::object{{"node", view.options.node_name},
                                      {"denied", denied_rows(denied, now_ns)},
                                      {"flows", std::move(flows)},
                                      {"reasons", std::move(reasons)},
                                      {"notListed", skipped},
                                      {"notCounted", uncounted}});
}

}  // namespace fairway::agent
