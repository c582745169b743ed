#include "cli/agents.h"

#include <boost/json.hpp>
#include <filesystem>

#include "io/http_client.h"
#include "io/loop.h"
#include "lab/layout.h"
#include "lab/spec.h"

namespace fairway::cli {
namespace json = boost::json;

std::shared_ptr<AgentOptions> add_agent_options(CLI::App* command) {
  auto options = std::make_shared<AgentOptions>();
  command->add_option("--node", options->node, "One node of the lab (default: all)");
  command->add_option("--socket", options->socket, "An agent's socket (default: the running lab's, else /run/fairway/agent.sock)");
  command->add_option("-o,--output", options->output, "json")->check(CLI::IsMember({"json"}));
  return options;
}

Result<std::vector<Agent>> find_agents(const std::string& only_node, const std::string& socket) {
  if (!socket.empty()) return std::vector<Agent>{{"", socket}};
  std::vector<Agent> out;
  const auto layout = lab::default_layout();
  if (auto spec = lab::read_spec(layout.spec()); spec.ok()) {
    for (const auto& node : spec->nodes)
      if (only_node.empty() || node.name == only_node) out.push_back({node.name, layout.agent_socket(node.name)});
    if (out.empty()) return make_error(Code::kNotFound, "the lab has no node \"" + only_node + "\"");
    return out;
  }
  constexpr char kOwn[] = "/run/fairway/agent.sock";
  if (std::filesystem::exists(kOwn)) return std::vector<Agent>{{"", kOwn}};
  return make_error(Code::kNotFound, std::string("no lab is up (") + layout.dir + ") and no agent runs on this machine (" + kOwn +
                                         "); start a lab: fairway lab up");
}

Result<json::value> ask(const Agent& agent, const std::string& target) {
  io::Loop loop;
  io::Origin origin;
  origin.unix_path = agent.socket;
  FW_ASSIGN(const auto client, io::HttpClient::create(loop, std::move(origin)));
  Result<io::HttpResponse> answer = make_error(Code::kTimeout, "no answer");
  io::HttpRequest request;
  request.target = target;
  const auto call = client->request(
      std::move(request),
      [&](Result<io::HttpResponse> result) {
        answer = std::move(result);
        loop.stop();
      },
      std::chrono::seconds(5));
  loop.run();
  if (!answer.ok()) return std::move(answer).error().with_context(agent.node.empty() ? "agent" : "agent of " + agent.node);
  boost::system::error_code ec;
  auto value = json::parse(answer->body, ec);
  if (ec) return make_error(Code::kInternal, "the agent's answer is no JSON: " + ec.message());
  if (answer->status != 200) {
    const auto* message = value.is_object() ? value.as_object().if_contains("message") : nullptr;
    return make_error(
        answer->status == 404 ? Code::kNotFound : Code::kInternal,
        message && message->is_string() ? std::string(message->as_string()) : "the agent answered " + std::to_string(answer->status));
  }
  return value;
}

std::string plain(const json::value& value) { return value.is_string() ? std::string(value.as_string()) : json::serialize(value); }

std::string plain(const json::value& object, const char* key) {
  const auto* value = object.is_object() ? object.as_object().if_contains(key) : nullptr;
  return value == nullptr || value->is_null() ? "" : plain(*value);
}

std::uint64_t number(const json::value& object, const char* key) {
  const auto* value = object.is_object() ? object.as_object().if_contains(key) : nullptr;
  return value != nullptr && value->is_number() ? value->to_number<std::uint64_t>() : 0;
}

const json::array& list(const json::value& object, const char* key) {
  static const json::array none;
  const auto* value = object.is_object() ? object.as_object().if_contains(key) : nullptr;
  return value != nullptr && value->is_array() ? value->as_array() : none;
}

}  // namespace fairway::cli
