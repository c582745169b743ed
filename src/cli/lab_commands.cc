// fairway lab up|down|status|node|outside|kubeconfig
#include <sched.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <boost/json.hpp>
#include <cerrno>
#include <csignal>
#include <iostream>
#include <memory>

#include "cli/app.h"
#include "cli/foreign_text.h"
#include "cli/text_table.h"
#include "lab/calls.h"
#include "lab/up.h"
#include "sys/netns.h"

namespace fairway::cli {
namespace json = boost::json;
namespace {

void say(const std::string& line) { std::cerr << line << "\n"; }

// Ctrl-C ends the waiting; the supervisor is a session of its own and goes on. Nothing but write() is safe here.
void stop_waiting(int) {
  constexpr std::string_view kText =
      "\nNo longer waiting. What has begun goes on: fairway lab status shows it, fairway lab down takes it away.\n";
  if (::write(STDERR_FILENO, kText.data(), kText.size()) < 0) ::_exit(1);
  ::_exit(130);
}

int run_up(const lab::UpOptions& options) {
  std::signal(SIGINT, stop_waiting);
  const auto layout = lab::default_layout();
  const auto start = std::chrono::steady_clock::now();
  if (auto status = lab::up(layout, options, say); !status.ok()) return fail(status.error());
  const auto seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::fprintf(stderr, "The cluster is up after %.1f s. Go on with\n", seconds);
  std::cout << "export KUBECONFIG=" << shell_word(layout.kubeconfig()) << "\n";
  return 0;
}

int run_down() {
  auto status = lab::down(lab::default_layout(), say);
  return status.ok() ? 0 : fail(status.error());
}

int run_status(bool as_json) {
  auto body = lab::ask_supervisor(lab::default_layout(), "GET", "/v1/lab");
  if (!body.ok()) return fail(body.error());
  if (as_json) {
    std::cout << *body;
    return 0;
  }
  const auto state = json::parse(*body);
  const auto text = [](const json::value& value) { return std::string(value.as_string()); };
  TextTable table({"NODE", "ADDRESSES", "NAMESPACE", "FABRIC", "AGENT PID", "RUNTIME PID", "RESTARTS"});
  for (const auto& node : state.at("nodes").as_array()) {
    std::string addresses;
    for (const auto& address : node.at("addresses").as_array()) addresses += (addresses.empty() ? "" : ",") + text(address);
    const auto pid = [&](const char* which) {
      const auto value = node.at(which).at("pid").to_number<long>();
      return value > 0 ? std::to_string(value) : red("down");
    };
    std::string restarts;
    for (const char* which : {"agent", "runtime"}) {
      const auto times = node.at(which).at("restarts").to_number<int>();
      if (times > 0)
        restarts += (restarts.empty() ? "" : ", ") + (which + (" " + std::to_string(times))) +
                    " (last: " + text(node.at(which).at("lastEnd")) + ")";
    }
    table.add({text(node.at("name")), addresses, text(node.at("netns")), node.at("cut").as_bool() ? red("cut") : green("connected"),
               pid("agent"), pid("runtime"), restarts.empty() ? "none" : restarts});
  }
  std::cout << "Lab in " << text(state.at("dir")) << ", API server pid " << state.at("server").at("pid").to_number<long>() << "\n"
            << table.render();
  return 0;
}

int run_node(const std::string& verb, const std::string& name) {
  const auto layout = lab::default_layout();
  std::string done = name;
  if (verb == "add") {
    auto added = lab::add_node(layout, name);
    if (!added.ok()) return fail(added.error());
    done = *added;
  } else if (verb == "remove") {
    if (auto status = lab::remove_node(layout, name); !status.ok()) return fail(status.error());
  } else if (auto answer = lab::ask_supervisor(layout, "POST", "/v1/nodes/" + name + "/" + verb); !answer.ok()) {
    return fail(answer.error());
  }
  const char* word = verb == "add" ? "added" : verb == "remove" ? "removed" : verb == "cut" ? "cut off" : "healed";
  std::cout << "node " << done << " " << word << "\n";
  return 0;
}

int run_outside(const std::vector<std::string>& command) {
  auto netns = sys::open_netns(lab::kOutsideNetns);
  if (!netns.ok()) return fail(make_error(Code::kUnavailable, "no lab is up (there is no outside host); start one: fairway lab up"));
  if (::setns(netns->get(), CLONE_NEWNET) < 0) return fail(errno_error(errno, "enter the outside host's namespace"));
  std::vector<char*> argv;
  for (const auto& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  ::execvp(argv[0], argv.data());
  return fail(errno_error(errno, "run " + command[0]));
}

void add_up(CLI::App& group, Exit& exit) {
  auto* up = group.add_subcommand("up", "Bring a cluster up and wait until every node is Ready");
  auto options = std::make_shared<lab::UpOptions>();
  up->add_option("--nodes", options->nodes, "How many nodes")->capture_default_str();
  up->add_option("--subnets", options->subnets, "Fabric subnets the nodes are spread over; VXLAN between them")->capture_default_str();
  up->add_option("--datapath", options->datapath, "auto, native or vxlan")->capture_default_str();
  up->add_option("--family", options->family, "ipv4, ipv6 or dual")->capture_default_str();
  up->add_option("--most-rows", options->most_rows, "Where the nodes' kernel tables stop growing (default: where an agent stops by itself)")
      ->check(CLI::Range(64U, 8U << 20));
  up->add_option("--api-port", options->api_port, "Port on 127.0.0.1 for kubectl (default: the first free one from 16443 on)");
  up->add_option("--dns-upstream", options->dns_upstreams,
                 "DNS server for names outside the cluster, as seen from the nodes (ADDRESS or ADDRESS:PORT)");
  up->footer("Examples:\n  fairway lab up\n  fairway lab up --nodes 3 --subnets 2 --family dual");
  up->callback([options, &exit] { exit.code = run_up(*options); });
}

void add_node(CLI::App& group, Exit& exit) {
  auto* node = group.add_subcommand("node", "Add, remove, cut off or heal a node");
  node->require_subcommand(1);
  node->footer("Examples:\n  fairway lab node add\n  fairway lab node cut node-2\n  fairway lab node heal node-2");
  for (const auto& [verb, what] : {std::pair{"add", "Add a node to the running lab"},
                                   {"remove", "Stop a node and remove it"},
                                   {"cut", "Take a node off the fabric; its pods go on"},
                                   {"heal", "Connect a cut node again"}}) {
    auto* command = node->add_subcommand(verb, what);
    auto name = std::make_shared<std::string>();
    auto* option = command->add_option("name", *name, "The node's name");
    if (std::string(verb) != "add") option->required();
    command->footer("Example:\n  fairway lab node " + std::string(verb) + " node-3");
    command->callback([verb = std::string(verb), name, &exit] { exit.code = run_node(verb, *name); });
  }
}

}  // namespace

void add_lab_commands(CLI::App& app, Exit& exit) {
  auto* group = app.add_subcommand("lab", "A whole cluster on this machine, in network namespaces");
  group->require_subcommand(1);
  group->footer(
      "Examples:\n"
      "  fairway lab up --nodes 2\n"
      "  fairway lab status\n"
      "  fairway lab exec frontend -- curl backend-service\n"
      "  fairway lab down");
  add_up(*group, exit);
  auto* down = group->add_subcommand("down", "Take the lab down; leaves nothing behind, also after a crash");
  down->footer("Example:\n  fairway lab down");
  down->callback([&exit] { exit.code = run_down(); });
  auto* status = group->add_subcommand("status", "The lab's nodes and processes");
  auto output = std::make_shared<std::string>();
  status->add_option("-o,--output", *output, "json")->check(CLI::IsMember({"json"}));
  status->footer("Examples:\n  fairway lab status\n  fairway lab status -o json");
  status->callback([output, &exit] { exit.code = run_status(*output == "json"); });
  add_node(*group, exit);
  auto* outside = group->add_subcommand("outside", "Run a command on the host beyond the cluster");
  auto command = std::make_shared<std::vector<std::string>>();
  outside->add_option("command", *command, "The command and its arguments, after --")->required();
  outside->footer("Example:\n  fairway lab outside -- curl http://172.30.0.11:30080/");
  outside->callback([command, &exit] { exit.code = run_outside(*command); });
  auto* kubeconfig = group->add_subcommand("kubeconfig", "Print the path of the lab's kubeconfig");
  kubeconfig->footer("Example:\n  export KUBECONFIG=$(fairway lab kubeconfig)");
  kubeconfig->callback([] { std::cout << lab::default_layout().kubeconfig() << "\n"; });
  add_kube_commands(*group, exit);
}

}  // namespace fairway::cli
