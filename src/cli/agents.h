// The agents that the inspecting commands ask, each over its root-only socket (docs/architecture.md).
#pragma once

#include <CLI/CLI.hpp>
#include <boost/json/value.hpp>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "cli/app.h"

namespace fairway::cli {

void add_drops_command(CLI::App& app, Exit& exit);    // drops.cc
void add_explain_command(CLI::App& app, Exit& exit);  // explain.cc

struct Agent {
  std::string node;  // empty: this machine's own
  std::string socket;
};

// Options that all these commands have.
struct AgentOptions {
  std::string node, socket, output;
  bool json() const { return output == "json"; }
};
std::shared_ptr<AgentOptions> add_agent_options(CLI::App* command);

// Those of the running lab, or this machine's own.
Result<std::vector<Agent>> find_agents(const std::string& only_node, const std::string& socket);

// GET of a path; an answer other than 200 is an Error with the agent's message.
Result<boost::json::value> ask(const Agent& agent, const std::string& target);

std::string plain(const boost::json::value& value);                                 // a string without its quotes
std::string plain(const boost::json::value& object, const char* key);               // "" where there is none
std::uint64_t number(const boost::json::value& object, const char* key);            // 0 where there is none
const boost::json::array& list(const boost::json::value& object, const char* key);  // empty where there is none

// `body` gets the agents and sets the exit code.
template <typename Body>
auto with_agents(Exit& exit, std::shared_ptr<AgentOptions> options, Body body) {
  return [&exit, options, body] {
    const auto agents = find_agents(options->node, options->socket);
    exit.code = agents.ok() ? body(*agents, *options) : fail(agents.error());
  };
}

}  // namespace fairway::cli
