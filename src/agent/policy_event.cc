#include "agent/policy_event.h"

#include <fmt/format.h>

#include <boost/json/value.hpp>

namespace fairway::agent {
namespace {

namespace json = boost::json;

constexpr std::size_t kMaxMessage = 1024;  // the API's limit on an Event's note
constexpr std::size_t kMaxName = 253;
constexpr const char* kReporter = "fairway";

const char* to_text(PolicyNews::Reason reason) {
  switch (reason) {
    case PolicyNews::Reason::kInForce:
      return "InForce";
    case PolicyNews::Reason::kNotInForce:
      return "NotInForce";
    case PolicyNews::Reason::kNotUnderstood:
      return "NotUnderstood";
  }
  return "";
}

const char* api_version(k8s::Kind kind) {
  return kind == k8s::Kind::kNetworkPolicy ? "networking.k8s.io/v1" : "policy.networking.k8s.io/v1alpha2";
}

std::string in_seconds(std::chrono::milliseconds time) { return fmt::format("{:.1f} s", static_cast<double>(time.count()) / 1000); }
std::string count(std::size_t n, std::string_view what) { return fmt::format("{} {}{}", n, what, n == 1 ? "" : "s"); }

std::string parts(const PolicyChange& change) {
  std::string out;
  for (const auto& problem : change.not_understood) out += fmt::format("{}{}: {}", out.empty() ? "" : "; ", problem.field, problem.reason);
  return out;
}

PolicyNews news(const PolicyChange& change, PolicyNews::Reason reason, std::string message) {
  if (message.size() > kMaxMessage) message = message.substr(0, kMaxMessage - 3) + "...";
  return {change, reason, std::move(message)};
}

std::string event_name(const PolicyChange& change) {
  const std::string kind = change.kind == k8s::Kind::kNetworkPolicy ? "" : "cluster.";
  const std::string suffix = ".fairway-in-force";
  std::string name = change.id.name;
  if (kind.size() + name.size() + suffix.size() > kMaxName)
    name = fmt::format("{}-{:x}", name.substr(0, 200), std::hash<std::string>{}(name));
  return kind + name + suffix;
}

}  // namespace

PolicyNews in_force_news(const PolicyChange& change, std::size_t nodes, std::optional<std::chrono::milliseconds> took) {
  std::string text = fmt::format("generation {} is in force on {}{}", change.generation, nodes == 1 ? "" : "all ", count(nodes, "node"));
  if (took)
    text += fmt::format(", {}within {} of hearing of it", nodes == 1 ? "" : "on each ",
                        took->count() < 1000 ? fmt::format("{} ms", took->count()) : in_seconds(*took));
  if (change.not_understood.empty()) return news(change, PolicyNews::Reason::kInForce, text);
  return news(change, PolicyNews::Reason::kNotUnderstood, text + ", but for what could not be read: " + parts(change));
}

PolicyNews not_in_force_news(const PolicyChange& change, std::size_t nodes, std::size_t lacking, const std::vector<NodeLag>& lag,
                             std::chrono::milliseconds after) {
  std::string text = fmt::format("generation {} is not in force on {} of {} after {}: ", change.generation, lacking, count(nodes, "node"),
                                 in_seconds(after));
  for (std::size_t i = 0; i < lag.size(); ++i) text += fmt::format("{}{}: {}", i == 0 ? "" : "; ", lag[i].node, lag[i].reason);
  if (lacking > lag.size()) text += fmt::format("; and {} more", lacking - lag.size());
  return news(change, PolicyNews::Reason::kNotInForce, std::move(text));
}

PolicyNews refused_news(const PolicyChange& change) {
  return news(change, PolicyNews::Reason::kNotUnderstood,
              fmt::format("generation {} cannot be read, what was in force before stays: {}", change.generation, parts(change)));
}

Patch event_patch(const PolicyNews& news, const std::string& node, WallTime now) {
  const PolicyChange& change = news.change;
  const bool namespaced = change.kind == k8s::Kind::kNetworkPolicy;
  Patch out;
  out.ref.resource = "events";
  out.ref.ns = namespaced ? change.id.ns : "default";  // where Events of cluster-scoped objects lie
  out.ref.name = event_name(change);
  json::object about{
      {"apiVersion", api_version(change.kind)}, {"kind", k8s::to_string(change.kind)}, {"name", change.id.name}, {"uid", change.uid}};
  if (namespaced) about["namespace"] = change.id.ns;
  const std::string time = api_time(now);
  out.body = json::object{{"apiVersion", "v1"},
                          {"kind", "Event"},
                          {"metadata", {{"name", out.ref.name}, {"namespace", out.ref.ns}}},
                          {"involvedObject", std::move(about)},
                          {"type", news.is_warning() ? "Warning" : "Normal"},
                          {"reason", to_text(news.reason)},
                          {"message", news.message},
                          {"source", {{"component", kReporter}, {"host", node}}},
                          {"reportingComponent", kReporter},
                          {"reportingInstance", node},
                          {"count", 1},
                          {"firstTimestamp", time},
                          {"lastTimestamp", time}};
  return out;
}

Patch condition_patch(const PolicyNews& news, WallTime now) {
  const PolicyChange& change = news.change;
  Patch out;
  out.ref.group = "policy.networking.k8s.io";
  out.ref.version = "v1alpha2";
  out.ref.resource = "clusternetworkpolicies";
  out.ref.name = change.id.name;
  out.ref.subresource = "status";
  const bool in_force =
      news.reason == PolicyNews::Reason::kInForce || (news.reason == PolicyNews::Reason::kNotUnderstood && !change.refused);
  out.body = json::object{{"apiVersion", api_version(change.kind)},
                          {"kind", k8s::to_string(change.kind)},
                          {"metadata", {{"name", change.id.name}}},
                          {"status",
                           {{"conditions", json::array{json::object{{"type", "fairway.io/InForce"},
                                                                    {"status", in_force ? "True" : "False"},
                                                                    {"reason", to_text(news.reason)},
                                                                    {"message", news.message},
                                                                    {"observedGeneration", change.generation},
                                                                    {"lastTransitionTime", api_time(now)}}}}}}};
  return out;
}

}  // namespace fairway::agent
