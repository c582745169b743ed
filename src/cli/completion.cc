// fairway completion bash|zsh|fish: made from the command tree itself, so it cannot fall behind.
#include <CLI/CLI.hpp>
#include <iostream>
#include <map>
#include <memory>

#include "cli/app.h"

namespace fairway::cli {
namespace {

// "lab node" -> the words that may follow: sub-commands and options. Hidden commands have an empty group.
void collect(const CLI::App& app, const std::string& path, std::map<std::string, std::string>& out) {
  std::string words;
  for (const auto* option : app.get_options())
    for (const auto& name : option->get_lnames()) words += "--" + name + " ";
  for (const auto* sub : app.get_subcommands([](const CLI::App* each) { return !each->get_group().empty(); })) {
    words += sub->get_name() + " ";
    collect(*sub, path.empty() ? sub->get_name() : path + " " + sub->get_name(), out);
  }
  out[path] = words;
}

std::string render_bash(const std::map<std::string, std::string>& tree) {
  std::string out =
      "_fairway() {\n"
      "  local path= word next\n"
      "  for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
      "    next=\"${path:+$path }$word\"\n"
      "    case \"$next\" in\n";
  for (const auto& [path, words] : tree)
    if (!path.empty()) out += "      '" + path + "') path=$next ;;\n";
  out += "    esac\n  done\n  local words=\n  case \"$path\" in\n";
  for (const auto& [path, words] : tree) out += "    '" + path + "') words='" + words + "' ;;\n";
  return out + "  esac\n  COMPREPLY=($(compgen -W \"$words\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n}\n";
}

std::string render_fish(const std::map<std::string, std::string>& tree) {
  std::string out = "complete -c fairway -f\n";
  for (const auto& [path, words] : tree) {
    const std::string condition =
        path.empty() ? "__fish_use_subcommand" : "__fish_seen_subcommand_from " + path.substr(path.rfind(' ') + 1);
    out += "complete -c fairway -n '" + condition + "' -a '" + words + "'\n";
  }
  return out;
}

int print(const CLI::App& app, const std::string& shell) {
  std::map<std::string, std::string> tree;
  collect(app, "", tree);
  if (shell == "fish") std::cout << render_fish(tree);
  else if (shell == "bash") std::cout << render_bash(tree) << "complete -o default -F _fairway fairway\n";
  else std::cout << "autoload -U +X bashcompinit && bashcompinit\n" << render_bash(tree) << "complete -o default -F _fairway fairway\n";
  return 0;
}

}  // namespace

void add_completion_command(CLI::App& app, Exit& exit) {
  auto* command = app.add_subcommand("completion", "Print a completion script for your shell");
  auto shell = std::make_shared<std::string>();
  command->add_option("shell", *shell, "bash, zsh or fish")->required()->check(CLI::IsMember({"bash", "zsh", "fish"}));
  command->footer("Example:\n  source <(fairway completion bash)");
  command->callback([&app, shell, &exit] { exit.code = print(app, *shell); });
}

}  // namespace fairway::cli
