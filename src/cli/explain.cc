// fairway explain: why a connection goes through or not, step by step.
// The source's agent tells the way out, the destination's the way in (docs/architecture.md); both also ran their programs over it.
#include <algorithm>
#include <boost/json.hpp>
#include <iostream>
#include <map>
#include <set>

#include "cli/agents.h"
#include "cli/text_table.h"
#include "io/http.h"
#include "net/ip.h"

namespace fairway::cli {
namespace json = boost::json;
namespace {

struct Options {
  std::string from, to, ns = "default", backend;
  bool v6 = false;
};

// "NAME", "NAME:PORT", "NAME:PORT/PROTO", "NAME:icmp"; an IPv6 address with a port has brackets.
struct Destination {
  std::string host, port, protocol;
};
Result<Destination> parse_destination(const std::string& text) {
  Destination out;
  if (net::IpAddr::parse(text).ok()) return Destination{text, "", ""};
  const auto bracket = text.starts_with('[') ? text.find(']') : std::string::npos;
  const auto colon = text.find(':', bracket == std::string::npos ? 0 : bracket);
  out.host = bracket == std::string::npos ? text.substr(0, colon) : text.substr(1, bracket - 1);
  if (text.starts_with('[') && bracket == std::string::npos) return make_error(Code::kInvalid, "\"" + text + "\": a bracket is open");
  if (colon == std::string::npos) return out;
  std::string rest = text.substr(colon + 1);
  if (rest.find(':') != std::string::npos)
    return make_error(Code::kInvalid, "\"" + text + "\": an IPv6 address with a port is written [ADDRESS]:PORT");
  const auto slash = rest.find('/');
  out.port = rest.substr(0, slash);
  if (slash != std::string::npos) out.protocol = rest.substr(slash + 1);
  std::string* protocol = out.port == "icmp" || out.port == "ICMP" ? &out.port : &out.protocol;
  for (char& c : *protocol) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  if (slash != std::string::npos && out.protocol.empty())
    return make_error(Code::kInvalid, "\"" + text + "\": the protocol is missing behind the slash");
  if (out.port == "ICMP" && !out.protocol.empty())
    return make_error(Code::kInvalid, "\"" + text + "\": ICMP has no port and no other protocol: write NAME:icmp");
  if (out.port == "ICMP") std::swap(out.port, out.protocol);
  return out;
}

std::string query(const std::vector<std::pair<const char*, std::string>>& fields) {
  std::string out;
  for (const auto& [name, value] : fields)
    if (!value.empty()) out += (out.empty() ? "?" : "&") + std::string(name) + "=" + io::percent_encode(value);
  return out;
}

// The answers of both ends, put together: {"from","to","port","protocol","steps","paths":[{...,"ingress":{...}}],"allowed"}.
class Explanation {
 public:
  explicit Explanation(const std::vector<Agent>& agents) {
    for (const auto& agent : agents) by_node_[agent.node] = agent;
  }

  Result<json::value> ask_both(const Options& o, const Destination& to) {
    const std::string departure = "/v1/explain/departure" + query({{"from", o.from},
                                                                   {"to", to.host},
                                                                   {"port", to.port},
                                                                   {"protocol", to.protocol},
                                                                   {"namespace", o.ns},
                                                                   {"family", o.v6 ? "6" : ""}});
    FW_ASSIGN(auto answer, depart(departure));
    auto& whole = answer.as_object();
    const std::string backend = o.backend.starts_with("pod/") ? o.backend.substr(4) : o.backend;
    const auto is_meant = [&](const json::value& end) {
      const std::string name = plain(end, "name");
      return backend.empty() || name == backend || name == o.ns + "/" + backend || plain(end, "address") == backend;
    };
    std::size_t passing = 0, unknown = 0, kept = 0;
    bool doubt = plain(answer, "doubt") == "true";
    json::array paths;
    for (auto& path : whole["paths"].as_array()) {
      if (!is_meant(path.at("to"))) continue;
      arrive(whole, path.as_object());
      passing += path.at("allowed").as_bool() ? 1 : 0, unknown += path.as_object().contains("unknown") ? 1 : 0, ++kept;
      doubt |= path.as_object().contains("doubt");
      paths.push_back(std::move(path));
    }
    if (kept == 0 && !o.backend.empty())
      return make_error(Code::kNotFound, "\"" + o.backend + "\" is no endpoint of it: see without --backend");
    const bool refused = kept == 0 && !list(answer, "steps").empty() && plain(list(answer, "steps").back(), "result") == "REFUSED";
    whole["verdict"] = kept == 0                ? (refused ? "refused" : "this node")
                       : passing == kept        ? (doubt ? "in doubt" : "allowed")
                       : passing + unknown == 0 ? "denied"
                       : unknown == kept        ? "unknown"
                                                : "in part";
    whole["paths"] = std::move(paths);
    return answer;
  }

 private:
  // Of the source's own agent where it has one; else of one that is in touch with the API server, where any is. What one does not know
  // another may: one that is cut off, above all.
  Result<json::value> depart(const std::string& question) {
    Result<json::value> best = make_error(Code::kUnavailable, "no agent answers");
    for (const auto& [node, agent] : std::map(by_node_)) {
      auto answer = ask(agent, question);
      if (answer.ok() && node.empty()) by_node_[plain(*answer, "node")] = agent;  // this machine's own: now its node is known
      if (answer.ok() && !plain(*answer, "askNode").empty()) {
        FW_ASSIGN(const Agent source, agent_of(plain(*answer, "askNode")));
        return ask(source, question);
      }
      if (answer.ok() && plain(*answer, "away") != "true") return answer;
      if (!answer.ok() && answer.error().code != Code::kUnavailable && answer.error().code != Code::kNotFound) return answer;
      if (!best.ok() && (answer.ok() || best.error().code == Code::kUnavailable)) best = std::move(answer);
    }
    return best;
  }
  Result<Agent> agent_of(const std::string& node) const {
    if (const auto at = by_node_.find(node); at != by_node_.end()) return at->second;
    return make_error(Code::kUnavailable, "it is on node " + node + ", whose agent is not reached from here: run this command there");
  }
  void arrive(const json::object& whole, json::object& path) {
    const auto* node = path.if_contains("arrival");
    if (node == nullptr) return;
    const auto protocol = plain(whole.at("protocol"));
    const auto agent = agent_of(plain(*node));
    const auto answer = agent.ok() ? ask(*agent, "/v1/explain/arrival" + query({{"from", plain(whole.at("from"), "address")},
                                                                                {"to", plain(path.at("to"), "address")},
                                                                                {"port", plain(path.at("port"))},
                                                                                {"protocol", protocol}}))
                                   : Result<json::value>(agent.error());
    if (!answer.ok()) {
      path["steps"].as_array().push_back(json::object{{"step", "ingress"}, {"result", "UNKNOWN"}, {"text", answer.error().message}});
      if (path.at("allowed").as_bool()) path["unknown"] = true;
      path["allowed"] = false;
      return;
    }
    for (const auto& step : list(*answer, "steps")) {
      json::object row = step.as_object();
      if (is_known(whole, step)) continue;
      if (!row.contains("node")) row["node"] = answer->at("node");
      path["steps"].as_array().push_back(std::move(row));
    }
    path["allowed"] = path.at("allowed").as_bool() && answer->at("allowed").as_bool();
    if (plain(*answer, "doubt") == "true") path["doubt"] = true;
    if (!answer->at("program").as_object().empty()) path["arrivalProgram"] = answer->at("program");
  }

  // Both ends may know that the source's node is not Ready: it is told once.
  static bool is_known(const json::object& whole, const json::value& step) {
    const auto& told = whole.at("steps").as_array();
    return plain(step, "result") == "NOT READY" && std::any_of(told.begin(), told.end(), [&](const json::value& known) {
             return plain(known, "result") == "NOT READY" && plain(known, "node") == plain(step, "node");
           });
  }

  std::map<std::string, Agent> by_node_;
};

std::string result_text(const std::string& result) {
  static const std::set<std::string> kBad{"DENIED", "REFUSED", "DROPPED", "UNKNOWN", "NOT READY", "AWAY", "dropped", "unreachable"};
  if (result == "allowed" || result == "passes") return green(result);
  return kBad.contains(result) ? red(result) : result;
}

std::string end_text(const json::value& end) {
  const std::string name = plain(end, "name"), address = plain(end, "address"), node = plain(end, "node");
  return (name.empty() ? address : name + " " + address) + (node.empty() || name == "node/" + node ? "" : " on " + node);
}

void add_steps(TextTable& table, const json::array& steps, const std::string& here) {
  for (const auto& step : steps) {
    const std::string node = plain(step, "node");
    table.add({"  " + plain(step, "step"), result_text(plain(step, "result")), node.empty() ? here : node,
               plain(step, "text") + (plain(step, "pending") == "true" ? " (a change is under way)" : "")});
  }
}

void add_program(TextTable& table, const json::value& path, const char* key, const std::string& node) {
  const auto* program = path.as_object().if_contains(key);
  if (program == nullptr) return;
  table.add({"  program", result_text(plain(*program, "result")), node,
             plain(*program, "ran") + ": " + plain(*program, "text") + (plain(*program, "agrees") == "true" ? ", as the tables say" : "")});
}

bool is_delivered(const json::value& whole) {
  const std::string verdict = plain(whole, "verdict");
  return verdict == "allowed" || verdict == "this node";
}

// What makes two endpoints' ways one: who decides what, at which step. Not which of the nodes it is, nor the endpoint's name.
std::string way_of(const json::value& path) {
  std::string out = plain(path, "allowed");
  for (const auto& step : list(path, "steps")) {
    out += "\n" + plain(step, "step") + " " + plain(step, "result") + " " + plain(step, "pending");
    const auto* rule = step.as_object().if_contains("rule");
    if (rule != nullptr) out += " " + json::serialize(*rule);
    else if (const auto result = plain(step, "result"); result == "UNKNOWN" || result == "NOT READY") out += " " + plain(step, "text");
  }
  for (const char* key : {"program", "arrivalProgram"})
    if (const auto* program = path.as_object().if_contains(key))
      out += std::string("\n") + key + plain(*program, "ran") + plain(*program, "text") + plain(*program, "agrees");
  return out;
}

// Endpoints whose ways are the same, in the order in which the first of each came.
using Group = std::vector<const json::value*>;
std::vector<Group> groups_of(const json::array& paths) {
  std::vector<Group> out;
  std::map<std::string, std::size_t> known;
  for (const auto& path : paths) {
    const auto [at, is_new] = known.emplace(way_of(path), out.size());
    if (is_new) out.emplace_back();
    out[at->second].push_back(&path);
  }
  return out;
}

void add_ends(TextTable& table, const Group& group) {
  constexpr std::size_t kNamed = 4;
  const auto& first = *group.front();
  const std::string verdict = plain(first, "allowed") == "true" ? green("allowed") : red("denied");
  if (group.size() == 1) return table.add({"to", verdict, "", end_text(first.at("to")) + " port " + plain(first, "port")});
  table.add({"to", verdict, "", std::to_string(group.size()) + " endpoints, the same way each; below are the steps to the first:"});
  for (std::size_t i = 0; i < std::min(group.size(), kNamed); ++i)
    table.add({"", "", "", "- " + end_text(group[i]->at("to")) + " port " + plain(*group[i], "port")});
  if (group.size() > kNamed) table.add({"", "", "", "- and " + std::to_string(group.size() - kNamed) + " more: -o json has them"});
}

std::string verdict_text(const json::value& whole) {
  const std::string verdict = plain(whole, "verdict");
  if (verdict == "in doubt") return red(verdict) + ": nothing denies it, but a node on its way is NOT READY";
  if (verdict == "in part") return red(verdict) + ": some endpoints are reached, others are not";
  return is_delivered(whole) ? green(verdict) : red(verdict);
}

void print(const json::value& whole) {
  const std::string here = plain(whole, "node");
  const std::string port = plain(whole, "port") == "0" ? "" : " port " + plain(whole, "port");
  std::cout << bold(end_text(whole.at("from"))) << " -> " << bold(end_text(whole.at("to"))) << port << " " << plain(whole, "protocol")
            << "\n";
  TextTable table({"STEP", "RESULT", "NODE", "WHY"});
  bool agree = true;
  add_steps(table, list(whole, "steps"), here);
  for (const auto& path : list(whole, "paths"))
    for (const auto* program : {path.as_object().if_contains("program"), path.as_object().if_contains("arrivalProgram")})
      agree &= program == nullptr || plain(*program, "agrees") != "false";
  for (const Group& group : groups_of(list(whole, "paths"))) {
    const auto& path = *group.front();
    const bool is_asked = group.size() == 1 && plain(path.at("to"), "address") == plain(whole.at("to"), "address");
    if (!is_asked || !list(whole, "steps").empty()) add_ends(table, group);
    add_steps(table, list(path, "steps"), here);
    add_program(table, path, "program", here);
    add_program(table, path, "arrivalProgram", plain(path, "arrival"));
  }
  std::cout << table.render() << "=> " << verdict_text(whole) << "\n";
  if (!agree)
    std::cout << red("THE PROGRAMS DO NOT SAY WHAT THE TABLES SAY: this is a defect of Fairway. Please report it with this output and\n"
                     "  fairway explain … -o json, fairway show verdicts, fairway show subjects, fairway show peers")
              << "\n";
}

// As grep: 0 it is so, 1 it is not, 2 it could not be asked.
constexpr int kNotDelivered = 1, kNotAsked = 2;

int not_asked(const Error& error) {
  fail(error);
  return kNotAsked;
}

// As much as an agent takes of one; the message does not repeat it.
Status check_lengths(const Options& o) {
  constexpr std::size_t kMost = 320;
  const std::pair<const char*, const std::string*> words[] = {
      {"source", &o.from}, {"destination", &o.to}, {"namespace", &o.ns}, {"backend", &o.backend}};
  for (const auto& [name, word] : words)
    if (word->size() > kMost)
      return make_error(Code::kInvalid, std::string(name) + ": " + std::to_string(word->size()) +
                                            " characters are too many: no name has more than " + std::to_string(kMost));
  return {};
}

int run_explain(const Options& options, const AgentOptions& o) {
  if (const auto fit = check_lengths(options); !fit.ok()) return not_asked(fit.error());
  const auto agents = find_agents("", o.socket);
  if (!agents.ok()) return not_asked(agents.error());
  const auto to = parse_destination(options.to);
  if (!to.ok()) return not_asked(to.error());
  const auto answer = Explanation(*agents).ask_both(options, *to);
  if (!answer.ok()) return not_asked(answer.error());
  if (o.json()) std::cout << json::serialize(*answer) << "\n";
  else print(*answer);
  return is_delivered(*answer) ? 0 : kNotDelivered;
}

}  // namespace

void add_explain_command(CLI::App& app, Exit& exit) {
  auto* explain = app.add_subcommand("explain", "The way of a connection, step by step, and which policy and rule decided");
  const auto options = std::make_shared<Options>();
  explain->add_option("source", options->from, "Who begins: a pod, node/NAME, an address, or outside")->required();
  explain->add_option("destination", options->to, "NAME[:PORT[/PROTOCOL]]: a pod, a Service, a DNS name, an address; :icmp for ping")
      ->required();
  explain->add_option("-n,--namespace", options->ns, "Of names without one (default: default)");
  explain->add_option("--backend", options->backend, "One endpoint of the Service alone: its pod or address");
  explain->add_flag("-6,--ipv6", options->v6, "IPv6 where both have it");
  auto common = std::make_shared<AgentOptions>();
  explain->add_option("--socket", common->socket, "An agent's socket (default: the running lab's, else /run/fairway/agent.sock)");
  explain->add_option("-o,--output", common->output, "json")->check(CLI::IsMember({"json"}));
  explain->footer(
      "Examples:\n  fairway explain frontend backend-service:80\n  fairway explain -n shop cart db:5432 -o json\n"
      "  fairway explain outside default/web:8080/TCP\n  fairway explain frontend kube-dns.kube-system:53/UDP\n"
      "Exit: 0 it is delivered; 1 it is denied, dropped or refused, on any way that it may take, or that cannot be told; 2 it could not be "
      "asked.");
  explain->callback([options, common, &exit] { exit.code = run_explain(*options, *common); });
}

}  // namespace fairway::cli
