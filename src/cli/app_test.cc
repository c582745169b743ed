// The command tree: every command explains itself, and what its help shows as an example can be typed.
#include "cli/app.h"

#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <functional>
#include <sstream>

namespace fairway::cli {
namespace {

// Each command that a user sees, and its full name: "fairway lab node cut".
void for_each_command(CLI::App& app, const std::string& path, const std::function<void(CLI::App&, const std::string&)>& visit) {
  visit(app, path);
  for (auto* sub : app.get_subcommands([](const CLI::App* each) { return !each->get_group().empty(); }))
    for_each_command(*sub, path + " " + sub->get_name(), visit);
}

TEST(Commands, EachHasADescriptionAndAnExampleOfItself) {
  CLI::App app;
  Exit exit;
  add_commands(app, exit);
  unsigned seen = 0;
  for_each_command(app, "fairway", [&](CLI::App& command, const std::string& path) {
    ++seen;
    EXPECT_FALSE(command.get_description().empty()) << path;
    EXPECT_NE(command.get_footer().find(path), std::string::npos) << path << " has no example";
    for (const auto* option : command.get_options()) EXPECT_FALSE(option->get_description().empty()) << path << " " << option->get_name();
  });
  EXPECT_GT(seen, 15u);
}

struct Taken {  // thrown where a command line is understood, before anything is done
  std::vector<std::string> unknown;
};

TEST(Commands, TheExamplesCanBeTyped) {
  std::vector<std::string> examples;
  {
    CLI::App app;
    Exit exit;
    add_commands(app, exit);
    for_each_command(app, "fairway", [&](CLI::App& command, const std::string&) {
      std::istringstream lines(command.get_footer());
      for (std::string line; std::getline(lines, line);)
        if (line.starts_with("  fairway ")) examples.push_back(line.substr(10, line.find("   ", 10) - 10));
    });
  }
  for (const std::string& example : examples) {
    CLI::App app;
    Exit exit;
    add_commands(app, exit);
    for_each_command(app, "", [](CLI::App& command, const std::string&) {
      if (command.get_subcommands({}).empty()) command.parse_complete_callback([&command] { throw Taken{command.remaining()}; });
    });
    try {
      app.parse(example);
      ADD_FAILURE() << "not a whole command: " << example;
    } catch (const Taken& taken) {
      for (const std::string& word : taken.unknown) EXPECT_EQ(word, "--") << example;
    } catch (const CLI::ParseError& error) { ADD_FAILURE() << example << ": " << error.what(); }
  }
  EXPECT_GT(examples.size(), 15u);
}

}  // namespace
}  // namespace fairway::cli
