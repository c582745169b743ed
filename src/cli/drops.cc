// fairway drops: what the datapath denied and dropped, by rule and reason; once, or as it happens.
#include <boost/json.hpp>
#include <chrono>
#include <ctime>
#include <iostream>
#include <map>
#include <thread>

#include "base/age_text.h"
#include "cli/agents.h"
#include "cli/text_table.h"

namespace fairway::cli {
namespace json = boost::json;
namespace {

std::string age(std::uint64_t ms) { return age_text(std::chrono::seconds(ms / 1000)) + " ago"; }

std::string rule_of(const json::value& row) { return plain(row.at("rule"), "text"); }

// "default/web 10.244.0.5", and ":80" where there is a port.
std::string end_of(const json::value& end) {
  std::string address = plain(end, "address");
  if (const auto port = number(end, "port"); port != 0)
    address = (address.find(':') == std::string::npos ? address : "[" + address + "]") + ":" + std::to_string(port);
  const std::string name = plain(end, "name");
  return name.empty() ? address : name + " " + address;
}

// The policies' drops are told by rule already.
bool by_policy(const json::value& reason) { return plain(reason, "reason").starts_with("policy-"); }

struct Tables {
  TextTable denied{{"NODE", "POD", "DIRECTION", "PACKETS", "LAST SEEN", "DENIED BY"}};
  TextTable flows{{"NODE", "FROM", "TO", "PROTOCOL", "PACKETS", "LAST SEEN", "DENIED BY"}};
  TextTable reasons{{"NODE", "REASON", "PACKETS", "BYTES", "MEANING"}};
  std::uint64_t not_listed = 0, not_counted = 0;
  bool any_denied = false, any_flow = false, any_reason = false;

  void add(const json::value& answer) {
    const std::string node = plain(answer, "node");
    for (const auto& row : list(answer, "denied")) {
      denied.add({node, plain(row, "pod"), plain(row, "direction"), plain(row, "packets"), age(number(row, "ageMs")),
                  rule_of(row) + (plain(row, "past") == "true" && !list(row.at("rule"), "policies").empty() ? " (is no more)" : "")});
      any_denied = true;
    }
    for (const auto& row : list(answer, "flows")) {
      flows.add({node, end_of(row.at("from")), end_of(row.at("to")), plain(row, "protocol"), plain(row, "packets"),
                 age(number(row, "ageMs")), rule_of(row)});
      any_flow = true;
    }
    for (const auto& row : list(answer, "reasons")) {
      if (by_policy(row)) continue;
      reasons.add({node, plain(row, "reason"), plain(row, "packets"), plain(row, "bytes"), plain(row, "meaning")});
      any_reason = true;
    }
    not_listed += number(answer, "notListed");
    not_counted += number(answer, "notCounted");
  }
  void print() const {
    if (any_denied) std::cout << bold("denied by policy") << "\n" << denied.render() << "\n";
    if (any_flow) std::cout << bold("last denied flows") << "\n" << flows.render() << "\n";
    if (any_reason) std::cout << bold("dropped for other reasons") << "\n" << reasons.render() << "\n";
    if (not_listed != 0) std::cout << not_listed << " denied packets came too fast to list their addresses; their rules counted them\n";
    if (not_counted != 0)
      std::cout << red(std::to_string(not_counted) + " denied packets were not counted by rule: pol_denied is full") << "\n";
    if (!any_denied && !any_flow && !any_reason) std::cout << "nothing was dropped\n";
  }
};

int run_once(const std::vector<Agent>& agents, bool as_json) {
  Tables tables;
  json::object all;
  int code = 0, answers = 0;
  for (const auto& agent : agents) {
    auto answer = ask(agent, "/v1/drops");
    if (!answer.ok()) {
      code = fail(answer.error());
      continue;
    }
    ++answers;
    if (as_json) all[plain(*answer, "node")] = std::move(*answer);
    else tables.add(*answer);
  }
  if (as_json) std::cout << json::serialize(all) << "\n";
  else if (answers > 0) tables.print();
  return code;
}

// What one node has dropped since it was asked last.
class Follower {
 public:
  explicit Follower(bool as_json) : as_json_(as_json) {}

  void take(const json::value& answer) {
    const std::string node = plain(answer, "node");
    std::map<std::string, std::uint64_t> listed;  // by rule
    Counts now;
    for (const auto& row : list(answer, "flows")) {
      const std::string key =
          "flow " + end_of(row.at("from")) + " " + end_of(row.at("to")) + plain(row, "protocol") + plain(row, "direction") + rule_of(row);
      const auto more = grown(key, number(row, "packets"), now);
      listed[plain(row, "direction") + rule_of(row)] += more;
      if (more > 0)
        tell(node, more, row, end_of(row.at("from")) + " -> " + end_of(row.at("to")) + " " + plain(row, "protocol"), rule_of(row));
    }
    for (const auto& row : list(answer, "denied")) {
      const std::string key = "rule " + plain(row, "pod") + plain(row, "direction") + rule_of(row) + plain(row, "past");
      auto more = grown(key, number(row, "packets"), now);
      auto& of_flows = listed[plain(row, "direction") + rule_of(row)];
      const auto told = std::min(more, of_flows);
      of_flows -= told, more -= told;
      if (more > 0 && plain(row, "past") != "true")
        tell(node, more, row, "more, " + plain(row, "direction") + " of " + plain(row, "pod"), rule_of(row));
    }
    for (const auto& row : list(answer, "reasons"))
      if (const auto more = grown("reason " + plain(row, "reason"), number(row, "packets"), now); more > 0 && !by_policy(row))
        tell(node, more, row, plain(row, "reason"), plain(row, "meaning"));
    before_ = std::move(now);
    first_ = false;
    std::cout.flush();
  }

 private:
  using Counts = std::map<std::string, std::uint64_t>;

  // Since the last time; a row that was forgotten meanwhile has begun anew.
  std::uint64_t grown(const std::string& key, std::uint64_t packets, Counts& now) {
    now[key] = packets;
    const auto at = before_.find(key);
    if (first_) return 0;
    return at == before_.end() || at->second > packets ? packets : packets - at->second;
  }
  void tell(const std::string& node, std::uint64_t packets, const json::value& row, const std::string& what, const std::string& why) {
    if (as_json_) {
      json::object line = row.as_object();
      line["node"] = node;
      line["newPackets"] = packets;
      std::cout << json::serialize(line) << "\n";
      return;
    }
    const std::time_t seconds = std::time(nullptr);
    std::tm local{};
    ::localtime_r(&seconds, &local);
    char time[16];
    std::strftime(time, sizeof(time), "%H:%M:%S", &local);
    std::cout << time << "  " << node << "  " << red(std::to_string(packets)) << "  " << what << "  " << why << "\n";
  }

  bool as_json_, first_ = true;
  Counts before_;
};

int run_follow(const std::vector<Agent>& agents, bool as_json) {
  std::map<std::string, Follower> followers;
  for (const auto& agent : agents) followers.emplace(agent.socket, Follower(as_json));
  for (bool first = true; std::cout.good(); first = false) {
    std::size_t failed = 0;
    for (const auto& agent : agents) {
      const auto answer = ask(agent, "/v1/drops");
      if (answer.ok()) followers.at(agent.socket).take(*answer);
      else if (++failed == agents.size() && first) return fail(answer.error());  // later: an agent that restarts
    }
    std::this_thread::sleep_for(std::chrono::seconds(1));
  }
  return 0;
}

}  // namespace

void add_drops_command(CLI::App& app, Exit& exit) {
  auto* drops = app.add_subcommand("drops", "What was denied by policy, by which rule, and what was dropped for other reasons");
  const auto follow = std::make_shared<bool>(false);
  drops->add_flag("-f,--follow", *follow, "Go on: a line a second for each flow that is denied, and for each reason");
  auto options = add_agent_options(drops);
  drops->footer("Examples:\n  fairway drops\n  fairway drops -f --node node-1\n  fairway drops -o json");
  drops->callback(with_agents(exit, options, [follow](const auto& agents, const AgentOptions& o) {
    return *follow ? run_follow(agents, o.json()) : run_once(agents, o.json());
  }));
}

}  // namespace fairway::cli
