// The `fairway` command. Each group of commands registers itself on the CLI11 app and returns its exit code through `Exit`.
#pragma once

#include <string>

#include "base/result.h"

namespace CLI {
class App;
}

namespace fairway::cli {

// What a command left behind: set by the one that ran.
struct Exit {
  int code = 0;
};

int run(int argc, char** argv);

// All of them, on a fresh app. Every command but the hidden ones has a description, an example, and a word on each option.
void add_commands(CLI::App& app, Exit& exit);
void add_lab_commands(CLI::App& app, Exit& exit);        // lab_commands.cc
void add_lab_processes(CLI::App& app, Exit& exit);       // lab_processes.cc: the hidden ones
void add_inspect_commands(CLI::App& app, Exit& exit);    // inspect.cc: status, show
void add_kube_commands(CLI::App& lab, Exit& exit);       // kube_commands.cc: lab apply|get|exec|logs
void add_policy_commands(CLI::App& app, Exit& exit);     // policy_commands.cc
void add_completion_command(CLI::App& app, Exit& exit);  // completion.cc

// Prints the error as the user should see it; the exit code.
int fail(const Error& error);

}  // namespace fairway::cli
