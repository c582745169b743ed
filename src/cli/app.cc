#include "cli/app.h"

#include <CLI/CLI.hpp>
#include <csignal>
#include <iostream>

namespace fairway::cli {

int fail(const Error& error) {
  std::cerr << "fairway: " << error.message << "\n";
  return 1;
}

int run(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  CLI::App app{"Kubernetes networking as one system: a lab cluster on this machine, and the tools that explain what the network did.",
               "fairway"};
  app.require_subcommand(1);
  app.set_version_flag("--version", FAIRWAY_VERSION);
  app.footer(
      "Examples:\n"
      "  fairway lab up --nodes 3          a three-node cluster in seconds\n"
      "  export KUBECONFIG=$(fairway lab kubeconfig)\n"
      "  kubectl get nodes -o wide\n"
      "  fairway status                    what each node's agent has and does\n"
      "  fairway show frontends -o json    the rows in force, as the kernel has them\n"
      "  fairway lab down");
  Exit exit;
  add_lab_commands(app, exit);
  add_inspect_commands(app, exit);
  add_completion_command(app, exit);
  add_lab_processes(app, exit);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) { return app.exit(error); }
  return exit.code;
}

}  // namespace fairway::cli
