#include "cli/app.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <iostream>
#include <sstream>

#include "cli/agents.h"
#include "cli/foreign_text.h"

namespace fairway::cli {

// A message may quote what was typed or what a manifest says: no control character of theirs reaches the terminal.
int fail(const Error& error) {
  std::istringstream lines(error.message);
  std::string before = "fairway: ";
  for (std::string line; std::getline(lines, line); before = "\n") std::cerr << before << escaped_text(line);
  std::cerr << "\n";
  return 1;
}

namespace {

// The command that the words name, as far as they name one, and the first word that is none of its sub-commands.
std::pair<const CLI::App*, std::string> named_command(const CLI::App& app, int argc, char** argv) {
  const CLI::App* at = &app;
  for (int i = 1; i < argc; ++i) {
    const auto named = at->get_subcommands([&](const CLI::App* each) { return each->get_name() == argv[i]; });
    if (named.empty()) return {at, argv[i]};
    at = named.front();
  }
  return {at, ""};
}

// "fairway lab node": the words that lead to a command.
std::string path_of(const CLI::App* command) {
  std::string path;
  for (; command != nullptr; command = command->get_parent()) path = command->get_name() + (path.empty() ? "" : " " + path);
  return path;
}

// What has to be given and was not, each with its meaning, and the command's examples.
void tell_missing(const CLI::App& command) {
  for (const auto* option : command.get_options()) {
    if (!option->get_required() || option->count() != 0) continue;
    std::string name = option->get_name();
    if (!name.starts_with('-')) std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::toupper(c); });
    std::cerr << path_of(&command) << ": " << name << " is missing: " << option->get_description() << "\n";
  }
  std::cerr << command.get_footer() << "\n";
}

// CLI11 says "A subcommand is required" whatever was typed. A command alone is a question, and gets its help.
int tell(const CLI::App& app, const CLI::ParseError& error, int argc, char** argv) {
  if (dynamic_cast<const CLI::RequiredError*>(&error) == nullptr)
    return error.get_exit_code() == 0 ? app.exit(error) : (app.exit(error), 2);
  const auto [command, word] = named_command(app, argc, argv);
  if (command->get_require_subcommand_min() == 0) return tell_missing(*command), 2;
  if (word.empty()) {
    std::cerr << command->help(path_of(command->get_parent()));
    return 2;
  }
  std::string names;
  for (const auto* sub : command->get_subcommands([](const CLI::App* each) { return !each->get_group().empty(); }))
    names += (names.empty() ? "" : ", ") + sub->get_name();
  std::cerr << "fairway: \"" << escaped_text(word) << "\" is no command of \"" << path_of(command) << "\"; there are: " << names << "\n";
  return 2;
}

}  // namespace

void add_commands(CLI::App& app, Exit& exit) {
  app.name("fairway");
  app.description("Kubernetes networking as one system: a lab cluster on this machine, and the tools that explain what the network did.");
  app.require_subcommand(1);
  app.set_version_flag("--version", FAIRWAY_VERSION);
  app.footer(
      "Examples:\n"
      "  fairway lab up --nodes 3          a three-node cluster in seconds\n"
      "  export KUBECONFIG=$(fairway lab kubeconfig)\n"
      "  kubectl get nodes -o wide\n"
      "  fairway status                    what each node's agent has and does\n"
      "  fairway show frontends -o json    the rows in force, as the kernel has them\n"
      "  fairway policy check k8s/          who may reach whom, from manifests alone\n"
      "  fairway explain frontend backend-service:80\n"
      "  fairway drops                     what was denied or dropped, by which rule\n"
      "  fairway lab down");
  add_lab_commands(app, exit);
  add_inspect_commands(app, exit);
  add_drops_command(app, exit);
  add_explain_command(app, exit);
  add_policy_commands(app, exit);
  add_completion_command(app, exit);
  add_lab_processes(app, exit);
}

int run(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  CLI::App app;
  Exit exit;
  add_commands(app, exit);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) { return tell(app, error, argc, argv); }
  return exit.code;
}

}  // namespace fairway::cli
