// What the files of the agent's tables share.
#pragma once

#include <boost/json.hpp>
#include <vector>

#include "agent/tables.h"

namespace fairway::agent {

struct Table {
  std::vector<const char*> columns;
  std::vector<boost::json::array> rows;
  void add(std::initializer_list<boost::json::value_ref> cells) { rows.push_back(boost::json::array(cells)); }
};

// tables_policy.cc: policy as the kernel holds it, in the bank that is in force, with the rules' names.
Result<Table> policies(const View& view);
Result<Table> subjects(const View& view);
Result<Table> peers(const View& view);
Result<Table> port_classes(const View& view);
Result<Table> verdicts(const View& view);
Result<Table> track(const View& view);
// Of this node: "yes", or why not.
std::string in_force(const View& view, const model::Policy& policy);
boost::json::object policy_status(const View& view);
std::string protocol_name(std::uint8_t protocol);

// The rule behind a number of the kernel's, null where it is no more: of an earlier agent, or of policies that have all gone.
const compile::policy::RuleName* rule_behind(const View& view, std::uint32_t number);
std::string rule_text(const compile::policy::RuleName* rule);
// tables_drops.cc. A rule as JSON; null: one that is no more. Without policies: of a pod whose policies are not known.
boost::json::object rule_json(const compile::policy::RuleName* rule);
// "default/web", "node/node-1", or empty: who has an address.
std::string owner_name(const View& view, const net::IpAddr& addr);

}  // namespace fairway::agent
