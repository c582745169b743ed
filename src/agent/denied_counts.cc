#include "agent/denied_counts.h"

#include <algorithm>

namespace fairway::agent {

DeniedCounts::Key DeniedCounts::key_of(const Denied& row) {
  std::string rule;
  if (row.rule) {
    rule = row.rule->to_string();
    for (const auto& of : row.rule->policies) rule += " " + of.uid;
  }
  return {std::move(rule), row.pod, row.direction};
}

Status DeniedCounts::settle(const Which& which, const Name& name) {
  FW_ASSIGN(const auto rows, tables_.pol_denied().dump());
  for (const auto& [key, hit] : rows) {
    if (!which(key)) continue;
    FW_TRY(tables_.pol_denied().remove(key));
    Denied named = name(key);
    Denied& kept = past_.try_emplace(key_of(named), std::move(named)).first->second;
    kept.past = true;
    kept.packets += hit.packets;
    kept.last_ns = std::max<std::uint64_t>(kept.last_ns, hit.last_ns);
  }
  while (past_.size() > kMostPast)
    past_.erase(
        std::min_element(past_.begin(), past_.end(), [](const auto& a, const auto& b) { return a.second.last_ns < b.second.last_ns; }));
  return {};
}

Status DeniedCounts::forget_flows(const std::function<bool(std::uint32_t rule)>& which) {
  FW_ASSIGN(const auto rows, tables_.pol_hits().dump());
  for (const auto& [key, hit] : rows)
    if (which(key.rule)) FW_TRY(tables_.pol_hits().remove(key));
  return {};
}

Result<std::vector<Denied>> DeniedCounts::all(const Name& name) const {
  FW_ASSIGN(const auto rows, tables_.pol_denied().dump());
  std::vector<Denied> out;
  for (const auto& [key, row] : past_) out.push_back(row);
  for (const auto& [key, hit] : rows) {
    Denied named = name(key);
    named.packets = hit.packets;
    named.last_ns = hit.last_ns;
    out.push_back(std::move(named));
  }
  return out;
}

}  // namespace fairway::agent
