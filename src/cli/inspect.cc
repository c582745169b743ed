// fairway status, fairway show: what the agents say of themselves, over their root-only sockets.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <boost/json.hpp>
#include <iostream>
#include <memory>

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

int run_status(const std::vector<Agent>& agents, bool as_json) {
  json::object all;
  int code = 0;
  for (const auto& agent : agents) {
    auto answer = ask(agent, "/v1/status");
    if (!answer.ok()) {
      if (!as_json) std::cout << bold("node " + agent.node) << "  " << red("unreachable") << "\n";
      code = fail(answer.error());
      continue;
    }
    if (as_json) {
      all[agent.node.empty() ? "local" : agent.node] = *answer;
      continue;
    }
    std::cout << bold("node " + plain(answer->at("node")));
    for (const auto& [key, value] : answer->as_object())
      if (!value.is_array() && !value.is_object() && key != "node") std::cout << "  " << std::string_view(key) << " " << plain(value);
    std::cout << "\n"
              << section(*answer, "sources", {"name", "synced", "objects", "revision", "lastError"})
              << section(*answer, "tables", {"name", "rows"}) << section(*answer, "maps", {"name", "rows", "capacity"})
              << section(*answer, "errors", {"object", "field", "reason"}) << section(*answer, "drops", {"reason", "packets"}) << "\n";
  }
  if (as_json) std::cout << json::serialize(all) << "\n";
  return code;
}

}  // namespace

void add_inspect_commands(CLI::App& app, Exit& exit) {
  auto* status = app.add_subcommand("status", "What each node's agent has synced, holds, and could not do");
  status->footer("Examples:\n  fairway status\n  fairway status --node node-1 -o json");
  status->callback(
      with_agents(exit, add_agent_options(status), [](const auto& agents, const AgentOptions& o) { return run_status(agents, o.json()); }));
  auto* show = app.add_subcommand("show", "The rows of a table; without a name, the tables there are");
  const auto table = std::make_shared<std::string>();
  auto options = add_agent_options(show);
  show->add_option("table", *table, "The table: services, frontends, backends, endpoints, nodes ...");
  show->footer("Examples:\n  fairway show\n  fairway show frontends --node node-1\n  fairway show endpoints -o json");
  show->callback(
      with_agents(exit, options, [table](const auto& agents, const AgentOptions& o) { return run_show(agents, *table, o.json()); }));
}

}  // namespace fairway::cli
