// fairway status, fairway show: what the agents say of themselves, over their root-only sockets.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <boost/json.hpp>
#include <iostream>
#include <map>
#include <memory>
#include <set>

#include "cli/agents.h"
#include "cli/app.h"
#include "cli/text_table.h"
#include "io/http.h"

namespace fairway::cli {
namespace json = boost::json;
namespace {

// {"columns":[...],"rows":[[...]]} of every node, a column AGENT in front where there are several. The list of tables is
// the same everywhere, and so is the answer to a table that is none: both are told once.
int run_show(const std::vector<Agent>& agents, const std::string& table, bool as_json) {
  json::object all;
  std::unique_ptr<TextTable> text;
  int code = 0;
  for (const auto& agent : agents) {
    auto answer = ask(agent, "/v1/tables" + (table.empty() ? "" : "/" + io::percent_encode(table)));
    if (!answer.ok()) {
      code = fail(answer.error());
      if (answer.error().code == Code::kNotFound) break;
      continue;
    }
    if (as_json) {
      all[agent.node.empty() ? "local" : agent.node] = *answer;
      continue;
    }
    const bool with_node = agents.size() > 1 && !table.empty();
    if (!text) {
      std::vector<std::string> header;
      if (with_node) header.emplace_back("AGENT");
      for (const auto& column : answer->at("columns").as_array()) header.push_back(column_title(plain(column)));
      text = std::make_unique<TextTable>(std::move(header));
    }
    for (const auto& row : answer->at("rows").as_array()) {
      std::vector<std::string> cells;
      if (with_node) cells.push_back(agent.node);
      for (const auto& cell : row.as_array()) cells.push_back(plain(cell));
      text->add(std::move(cells));
    }
    if (table.empty()) break;
  }
  if (as_json) std::cout << json::serialize(all) << "\n";
  else if (text) std::cout << text->render();
  return code;
}

std::string section(const json::value& status, const char* key, std::vector<std::string> columns) {
  const auto* rows = status.as_object().if_contains(key);
  if (!rows || !rows->is_array() || rows->as_array().empty()) return "";
  std::vector<std::string> header;
  for (const auto& column : columns) header.push_back(column_title(column));
  TextTable table(std::move(header));
  for (const auto& row : rows->as_array()) {
    std::vector<std::string> cells;
    for (const auto& column : columns) {
      const auto* cell = row.as_object().if_contains(column);
      cells.push_back(!cell ? "" : column == "synced" && cell->is_bool() ? (cell->as_bool() ? green("yes") : red("no")) : plain(*cell));
    }
    table.add(std::move(cells));
  }
  return bold(key) + "\n" + table.render();
}

struct NodeStatus {
  std::string node;
  json::value answer;  // null: it did not answer
  std::string error;
};

// What a person is to do something about, a line each: node and what.
std::vector<std::pair<std::string, std::string>> wrong_of(const std::vector<NodeStatus>& nodes) {
  std::vector<std::pair<std::string, std::string>> out;
  std::map<std::string, std::string> not_ready;  // any node may tell it of any
  for (const auto& each : nodes) {
    if (!each.error.empty()) out.emplace_back(each.node, each.error);
    for (const auto& what : list(each.answer, "wrong")) out.emplace_back(each.node, plain(what));
    for (const auto& node : list(each.answer, "notReady")) not_ready[plain(node, "node")] = plain(node, "text");
  }
  for (const auto& [node, text] : not_ready) out.emplace_back(node, "NOT READY, says the API, " + text);
  std::stable_sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  return out;
}

// Of manifests: each node says the same of most.
std::set<std::string> refused_of(const std::vector<NodeStatus>& nodes) {
  std::set<std::string> out;
  for (const auto& each : nodes)
    for (const auto& error : list(each.answer, "errors"))
      if (plain(error, "scope") == "object")
        out.insert(plain(error, "object") + " " + plain(error, "field") + ": " + plain(error, "reason"));
  return out;
}

std::string plural(std::size_t n, const std::string& what) { return std::to_string(n) + " " + what + (n == 1 ? "" : "s"); }

std::string health_text(const std::vector<NodeStatus>& nodes) {
  constexpr std::size_t kShown = 20, kShownObjects = 3;
  const auto wrong = wrong_of(nodes);
  std::set<std::string> where;
  for (const auto& [node, text] : wrong) where.insert(node);
  // A node that was not asked may be told of by one that was: then there is no "of".
  const bool all_asked = std::all_of(where.begin(), where.end(), [&](const std::string& node) {
    return std::any_of(nodes.begin(), nodes.end(), [&](const NodeStatus& each) { return each.node == node; });
  });
  const std::string how_many =
      all_asked ? std::to_string(where.size()) + " of " + plural(nodes.size(), "node") : plural(where.size(), "node");
  std::string out =
      wrong.empty() ? green("healthy") + ": " + plural(nodes.size(), "node") + "\n" : red("NOT HEALTHY") + ": " + how_many + "\n";
  TextTable table;
  for (std::size_t i = 0; i < std::min(wrong.size(), kShown); ++i) table.add({"  " + wrong[i].first, wrong[i].second});
  out += table.render();
  if (wrong.size() > kShown) out += "  and " + std::to_string(wrong.size() - kShown) + " more: -o json has them\n";
  const auto refused = refused_of(nodes);
  if (refused.empty()) return out;
  out += plural(refused.size(), "part") + " of objects cannot be honoured (fairway show errors):\n";
  std::size_t shown = 0;
  for (const auto& text : refused)
    if (shown++ < kShownObjects) out += "  " + text + "\n";
  if (refused.size() > kShownObjects) out += "  and " + std::to_string(refused.size() - kShownObjects) + " more\n";
  return out;
}

std::uint64_t rows_of(const json::value& status, const std::string& table) {
  for (const auto& row : list(status, "tables"))
    if (plain(row, "name") == table) return number(row, "rows");
  return 0;
}

std::string summary_text(const std::vector<NodeStatus>& nodes) {
  TextTable table({"NODE", "VERSION", "API SERVER", "SYNCED", "PODS HERE", "SERVICES", "POLICIES", "POLICY GENERATION", "DROPPED PACKETS"});
  for (const auto& each : nodes) {
    if (!each.error.empty()) {
      table.add({each.node, red("no answer")});
      continue;
    }
    const auto& s = each.answer;
    std::uint64_t dropped = 0;
    for (const auto& row : list(s, "drops")) dropped += number(row, "packets");
    const bool in_force = plain(s.at("policy"), "inForce") == "true";
    table.add({plain(s, "node"), plain(s, "version"), plain(s, "apiServer"), plain(s, "synced") == "true" ? green("yes") : red("no"),
               std::to_string(rows_of(s, "local-pods")), std::to_string(rows_of(s, "services")),
               std::to_string(rows_of(s, "networkpolicies") + rows_of(s, "clusternetworkpolicies")),
               plain(s.at("policy"), "generation") + (in_force ? "" : red(", a change is under way")), std::to_string(dropped)});
  }
  return table.render();
}

std::string details_text(const json::value& status) {
  std::string out = "\n" + bold("node " + plain(status, "node"));
  const auto scalars = [](const json::value& of, const char* skip) {
    std::string line;
    for (const auto& [key, value] : of.as_object())
      if (!value.is_array() && !value.is_object() && key != skip) line += "  " + std::string(key) + " " + plain(value);
    return line;
  };
  out += scalars(status, "node") + "\n";
  for (const char* part : {"policy", "cni", "dns"})
    if (const auto* value = status.as_object().if_contains(part)) out += bold(part) + scalars(*value, "") + "\n";
  if (const auto* events = status.at("policy").as_object().if_contains("events"))
    out += bold("policy events") + scalars(*events, "") + "\n";
  return out + section(status, "sources", {"name", "synced", "objects", "revision", "lastError"}) +
         section(status, "tables", {"name", "rows"}) + section(status, "maps", {"name", "rows", "capacity"}) +
         section(status, "errors", {"scope", "object", "field", "reason"}) + section(status, "drops", {"reason", "packets", "bytes"});
}

int run_status(const std::vector<Agent>& agents, bool as_json, bool verbose) {
  std::vector<NodeStatus> nodes;
  json::object all;
  for (const auto& agent : agents) {
    auto answer = ask(agent, "/v1/status");
    const std::string name = agent.node.empty() ? "local" : agent.node;
    if (!answer.ok()) {
      if (as_json) (void)fail(answer.error());
      nodes.push_back({name, nullptr, answer.error().message});
    } else {
      if (as_json) all[name] = *answer;
      nodes.push_back({plain(*answer, "node"), std::move(*answer), ""});
    }
  }
  if (as_json) {
    std::cout << json::serialize(all) << "\n";
  } else {
    std::cout << health_text(nodes) << "\n" << summary_text(nodes);
    for (const auto& each : nodes)
      if (verbose && each.error.empty()) std::cout << details_text(each.answer);
    if (!verbose) std::cout << "-v: sources, tables, maps and drops of each node\n";
  }
  return wrong_of(nodes).empty() ? 0 : 1;
}

}  // namespace

void add_inspect_commands(CLI::App& app, Exit& exit) {
  auto* status = app.add_subcommand("status", "Healthy or not, and why not; what each node's agent has and does");
  status->footer(
      "Examples:\n  fairway status\n  fairway status -v --node node-1\n  fairway status -o json\n"
      "Exit: 0 healthy; 1 something is wrong on a node, or it does not answer. A part of a manifest that cannot be honoured is told, and "
      "is 0.");
  const auto verbose = std::make_shared<bool>(false);
  auto status_options = add_agent_options(status);
  status->add_flag("-v,--verbose", *verbose, "All that each node has: sources, tables, maps, errors, drops");
  status->callback(with_agents(exit, status_options,
                               [verbose](const auto& agents, const AgentOptions& o) { return run_status(agents, o.json(), *verbose); }));
  auto* show = app.add_subcommand("show", "The rows of a table; without a name, the tables there are");
  const auto table = std::make_shared<std::string>();
  auto options = add_agent_options(show);
  show->add_option("table", *table, "The table: services, frontends, backends, endpoints, nodes ...");
  show->footer("Examples:\n  fairway show\n  fairway show frontends --node node-1\n  fairway show endpoints -o json");
  show->callback(
      with_agents(exit, options, [table](const auto& agents, const AgentOptions& o) { return run_show(agents, *table, o.json()); }));
}

}  // namespace fairway::cli
