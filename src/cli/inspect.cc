// fairway status, fairway show: what the agents say of themselves, over their root-only sockets.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <boost/json.hpp>
#include <filesystem>
#include <iostream>
#include <memory>

#include "cli/app.h"
#include "cli/text_table.h"
#include "io/http_client.h"
#include "io/loop.h"
#include "lab/layout.h"
#include "lab/spec.h"

namespace fairway::cli {
namespace json = boost::json;
namespace {

struct Agent {
  std::string node, socket;
};

// The agents this command speaks to: those of the running lab, or this machine's own.
Result<std::vector<Agent>> find_agents(const std::string& only_node, const std::string& socket) {
  if (!socket.empty()) return std::vector<Agent>{{"", socket}};
  std::vector<Agent> out;
  const auto layout = lab::default_layout();
  if (auto spec = lab::read_spec(layout.spec()); spec.ok()) {
    for (const auto& node : spec->nodes)
      if (only_node.empty() || node.name == only_node) out.push_back({node.name, layout.agent_socket(node.name)});
    if (out.empty()) return make_error(Code::kNotFound, "the lab has no node \"" + only_node + "\"");
    return out;
  }
  constexpr char kOwn[] = "/run/fairway/agent.sock";
  if (std::filesystem::exists(kOwn)) return std::vector<Agent>{{"", kOwn}};
  return make_error(Code::kNotFound, std::string("no lab is up (") + layout.dir + ") and no agent runs on this machine (" + kOwn +
                                         "); start a lab: fairway lab up");
}

Result<json::value> ask(const Agent& agent, const std::string& target) {
  io::Loop loop;
  io::Origin origin;
  origin.unix_path = agent.socket;
  FW_ASSIGN(const auto client, io::HttpClient::create(loop, std::move(origin)));
  Result<io::HttpResponse> answer = make_error(Code::kTimeout, "no answer");
  io::HttpRequest request;
  request.target = target;
  const auto call = client->request(
      std::move(request),
      [&](Result<io::HttpResponse> result) {
        answer = std::move(result);
        loop.stop();
      },
      std::chrono::seconds(5));
  loop.run();
  if (!answer.ok()) return std::move(answer).error().with_context(agent.node.empty() ? "agent" : "agent of " + agent.node);
  boost::system::error_code ec;
  auto value = json::parse(answer->body, ec);
  if (ec) return make_error(Code::kInternal, "the agent's answer is no JSON: " + ec.message());
  if (answer->status != 200) {
    const auto* message = value.is_object() ? value.as_object().if_contains("message") : nullptr;
    return make_error(
        answer->status == 404 ? Code::kNotFound : Code::kInternal,
        message && message->is_string() ? std::string(message->as_string()) : "the agent answered " + std::to_string(answer->status));
  }
  return value;
}

std::string plain(const json::value& value) { return value.is_string() ? std::string(value.as_string()) : json::serialize(value); }

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
  struct Options {
    std::string node, output, socket, table;
  };
  const auto common = [](CLI::App* command) {
    auto options = std::make_shared<Options>();
    command->add_option("--node", options->node, "One node of the lab (default: all)");
    command->add_option("--socket", options->socket, "An agent's socket (default: the running lab's, else /run/fairway/agent.sock)");
    command->add_option("-o,--output", options->output, "json")->check(CLI::IsMember({"json"}));
    return options;
  };
  const auto with_agents = [&exit](std::shared_ptr<Options> options, auto body) {
    return [options, body, &exit] {
      auto agents = find_agents(options->node, options->socket);
      exit.code = agents.ok() ? body(*agents, *options) : fail(agents.error());
    };
  };
  auto* status = app.add_subcommand("status", "What each node's agent has synced, holds, and could not do");
  status->footer("Examples:\n  fairway status\n  fairway status --node node-1 -o json");
  status->callback(
      with_agents(common(status), [](const auto& agents, const Options& o) { return run_status(agents, o.output == "json"); }));
  auto* show = app.add_subcommand("show", "The rows of a table; without a name, the tables there are");
  auto options = common(show);
  show->add_option("table", options->table, "The table: services, frontends, backends, endpoints, nodes ...");
  show->footer("Examples:\n  fairway show\n  fairway show frontends --node node-1\n  fairway show endpoints -o json");
  show->callback(with_agents(options, [](const auto& agents, const Options& o) { return run_show(agents, o.table, o.output == "json"); }));
}

}  // namespace fairway::cli
