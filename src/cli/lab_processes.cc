// The lab's own processes, as hidden sub-commands: the supervisor starts them.
#include <CLI/CLI.hpp>
#include <memory>

#include "cli/app.h"
#include "lab/processes.h"

namespace fairway::cli {

void add_lab_processes(CLI::App& app, Exit& exit) {
  auto dir = std::make_shared<std::string>();
  auto name = std::make_shared<std::string>();
  const auto add = [&](const char* command, auto run) {
    auto* sub = app.add_subcommand(command)->group("");
    sub->add_option("--lab-dir", *dir)->required();
    sub->callback([run, &exit] {
      auto status = run();
      exit.code = status.ok() ? 0 : fail(status.error());
    });
    return sub;
  };
  add("lab-supervisor", [dir] { return lab::run_supervisor({.dir = *dir}); });
  add("lab-server", [dir] { return lab::run_server({.dir = *dir}); });
  add("lab-node", [dir, name] { return lab::run_node({.dir = *dir}, *name); })->add_option("--name", *name)->required();
}

}  // namespace fairway::cli
