// fairway completion bash|zsh|fish: made from the command tree itself, so it cannot fall behind. What a cluster has (tables, nodes, pods
// and Services) is asked of the agents as one types, by the hidden command `completion-words`; where none answers, nothing is proposed.
#include <CLI/CLI.hpp>
#include <boost/json.hpp>
#include <iostream>
#include <map>
#include <memory>
#include <set>

#include "cli/agents.h"
#include "cli/app.h"
#include "cli/foreign_text.h"

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

// Commands after which names stand that only the running lab or agent knows, and their kind.
const std::map<std::string, std::string> kNames{
    {"show", "tables"}, {"explain", "ends"}, {"lab node remove", "nodes"}, {"lab node cut", "nodes"}, {"lab node heal", "nodes"}};

std::string ask_for(const std::string& kind) { return "fairway completion-words " + kind + " 2>/dev/null"; }

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
  for (const auto& [path, words] : tree) {
    out += "    '" + path + "') words='" + words + "'";
    if (const auto names = kNames.find(path); names != kNames.end()) out += "\"$(" + ask_for(names->second) + ")\"";
    out += " ;;\n";
  }
  out += "  esac\n  [ \"${COMP_WORDS[COMP_CWORD-1]}\" != --node ] || words=$(" + ask_for("nodes") + ")\n";
  return out + "\n  COMPREPLY=($(compgen -W \"$words\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n}\n";
}

std::string render_fish(const std::map<std::string, std::string>& tree) {
  std::string out = "complete -c fairway -f\n";
  for (const auto& [path, words] : tree) {
    const std::string condition =
        path.empty() ? "__fish_use_subcommand" : "__fish_seen_subcommand_from " + path.substr(path.rfind(' ') + 1);
    out += "complete -c fairway -n '" + condition + "' -a '" + words + "'\n";
    if (const auto names = kNames.find(path); names != kNames.end())
      out += "complete -c fairway -n '" + condition + "' -a '(" + ask_for(names->second) + ")'\n";
  }
  return out + "complete -c fairway -l node -x -a '(" + ask_for("nodes") + ")'\n";
}

int print(const CLI::App& app, const std::string& shell) {
  std::map<std::string, std::string> tree;
  collect(app, "", tree);
  if (shell == "fish") std::cout << render_fish(tree);
  else if (shell == "bash") std::cout << render_bash(tree) << "complete -o default -F _fairway fairway\n";
  else std::cout << "autoload -U +X bashcompinit && bashcompinit\n" << render_bash(tree) << "complete -o default -F _fairway fairway\n";
  return 0;
}

// "namespace/name" of the rows of a table, in whose first columns both stand; of the default namespace the name alone too.
void add_names(const Agent& agent, const std::string& table, std::set<std::string>& out) {
  const auto answer = ask(agent, "/v1/tables/" + table);
  if (!answer.ok()) return;
  for (const auto& row : list(*answer, "rows")) {
    const std::string ns = plain(row.as_array().at(0)), name = plain(row.as_array().at(1));
    out.insert(ns + "/" + name);
    if (ns == "default") out.insert(name);
  }
}

int print_words(const std::string& kind) {
  std::set<std::string> words;
  const auto agents = find_agents("", "");
  if (!agents.ok()) return 1;
  if (kind == "nodes") {
    for (const auto& agent : *agents)
      if (!agent.node.empty()) words.insert(agent.node);
  } else {
    for (const auto& agent : *agents) {
      if (kind == "tables") {
        if (const auto answer = ask(agent, "/v1/tables"); answer.ok())
          for (const auto& row : list(*answer, "rows")) words.insert(plain(row.as_array().at(0)));
      } else {
        add_names(agent, "pods", words);
        add_names(agent, "services", words);
      }
      if (!words.empty()) break;  // each knows the same
    }
    if (kind == "ends") words.insert("outside");
  }
  // compgen -W expands what it is given: no name of the API's may mean more than itself.
  for (const auto& word : words)
    if (is_plain_word(word)) std::cout << word << "\n";
  return 0;
}

}  // namespace

void add_completion_command(CLI::App& app, Exit& exit) {
  auto* command = app.add_subcommand("completion", "Print a completion script for your shell");
  auto shell = std::make_shared<std::string>();
  command->add_option("shell", *shell, "bash, zsh or fish")->required()->check(CLI::IsMember({"bash", "zsh", "fish"}));
  command->footer("Example:\n  source <(fairway completion bash)");
  command->callback([&app, shell, &exit] { exit.code = print(app, *shell); });
  auto* words = app.add_subcommand("completion-words", "Names for a completion script")->group("");
  auto kind = std::make_shared<std::string>();
  words->add_option("kind", *kind, "tables, nodes or ends")->required()->check(CLI::IsMember({"tables", "nodes", "ends"}));
  words->callback([kind, &exit] { exit.code = print_words(*kind); });
}

}  // namespace fairway::cli
