#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>

#include "agent/api_time.h"
#include "agent/tables_parts.h"
#include "base/age_text.h"

namespace fairway::agent {
namespace {

namespace json = boost::json;
using k8s::Kind;
using std::chrono::seconds;
using std::chrono::steady_clock;

// A server that is well sends something on each watch about once a minute.
constexpr seconds kSilence{75};
constexpr std::size_t kMostNodes = 100, kMostErrors = 1000;

json::array sources_json(const View& view) {
  json::array out;
  const auto now = steady_clock::now();
  for (const Source& source : view.sources) {
    json::object o{
        {"name", source.name}, {"synced", view.cluster.synced(source.kind)}, {"objects", view.cluster.table(source.kind).size()}};
    if (source.watch != nullptr) {
      const auto& state = source.watch->state();
      o["revision"] = state.revision;
      o["lastError"] = state.last_error;
      o["phase"] = state.phase;
      o["events"] = state.events;
      o["lists"] = state.lists;
      o["reconnects"] = state.reconnects;
      // How long ago the server was last heard: what may have happened since is not known.
      if (state.heard != steady_clock::time_point{})
        o["silentMs"] = std::chrono::duration_cast<std::chrono::milliseconds>(now - state.heard).count();
    }
    out.push_back(std::move(o));
  }
  return out;
}

// What could not be honoured. Of the node: it does not work as it should; of an object: somebody wrote what cannot be done.
class Errors {
 public:
  void of_node(std::string_view object, std::string_view field, const std::string& reason) {
    listed(object, field, reason);
    wrong_.emplace_back(fmt::format("{}: {}{}{}", object, field, field.empty() ? "" : ": ", reason));
  }
  void listed(std::string_view object, std::string_view field, const std::string& reason) { add("node", object, field, reason); }
  void of_object(std::string_view object, std::string_view field, const std::string& reason) { add("object", object, field, reason); }
  void wrong(std::string text) { wrong_.emplace_back(std::move(text)); }
  void into(json::object& out) {
    out["wrong"] = std::move(wrong_);
    out["errors"] = std::move(errors_);
  }

 private:
  void add(std::string_view scope, std::string_view object, std::string_view field, const std::string& reason) {
    if (errors_.size() < kMostErrors)
      errors_.push_back(json::object{{"object", object}, {"field", field}, {"reason", reason}, {"scope", scope}});
  }
  json::array errors_, wrong_;
};

void add_datapath(const View& view, json::object& out, Errors& errors) {
  json::array maps_out, drops;
  if (const auto versions = view.datapath.versions(); versions.ok()) {
    out["attach"] = datapath::to_string(versions->mode);
    out["abi"] = versions->abi;
    out["activationPending"] = versions->activation_pending;
  }
  const auto stats = view.datapath.stats();
  if (stats.ok()) {
    for (const auto& m : stats->maps)
      maps_out.push_back(json::object{{"name", m.name}, {"rows", m.rows}, {"capacity", m.capacity}, {"bytes", m.bytes}});
    for (const auto& c : stats->counts)
      if (c.drop) drops.push_back(json::object{{"reason", c.name}, {"packets", c.packets}, {"bytes", c.bytes}});
    for (const auto& f : stats->failures) errors.of_node("kernel", "feature", f);
  } else {
    errors.of_node("datapath", "stats", stats.error().message);
  }
  out["maps"] = std::move(maps_out);
  out["drops"] = std::move(drops);
}

json::array tables_json(const View& view) {
  json::array out;
  const auto add = [&](std::string_view name, std::size_t rows) { out.push_back(json::object{{"name", name}, {"rows", rows}}); };
  for (const Kind kind : reflect::Cluster::kKinds) add(view.cluster.table(kind).name(), view.cluster.table(kind).size());
  add("frontends", view.flow.assignment().frontends());
  add("backends", view.flow.assignment().backends());
  add("local-pods", view.local_pods.size());
  add("routes", view.flow.routes().size());
  return out;
}

void add_problems(const View& view, Errors& errors) {
  using model::Stage;
  view.problems.for_each_staged([&](Stage stage, const std::string& object, const model::Problem& p) {
    if (stage == Stage::kApply || stage == Stage::kAgent) errors.of_node(object, p.field, p.reason);
    else errors.of_object(object, p.field, p.reason);
  });
}

// Of a server that is away each source has the same to say: it is told once.
void add_sources(const View& view, Errors& errors) {
  const std::string silence = api_silence(view);
  std::string missing;
  std::size_t without = 0;
  for (const Source& source : view.sources) {
    if (!view.cluster.synced(source.kind)) missing += (without++ == 0 ? "" : ", ") + source.name;
    if (source.watch == nullptr || source.watch->state().last_error.empty()) continue;
    const auto& state = source.watch->state();
    if (silence.empty()) errors.of_node("source " + source.name, state.phase, state.last_error);
    else errors.listed("source " + source.name, state.phase, state.last_error);
  }
  if (!silence.empty()) errors.wrong(silence + ": what it knows may be old");
  if (without == view.sources.size()) missing = "anything";
  if (without > 0) errors.wrong("has not had the list of " + missing + " since its start: what was in force before goes on");
}

// Of the whole cluster, as a node that is cut off cannot tell it of itself.
json::array unready_nodes(const View& view) {
  json::array out;
  view.cluster.table(Kind::kNode).for_each([&](std::string_view key, std::string_view bytes) {
    const auto node = model::NodeCodec::decode(key, bytes);
    if (node && node->unready && out.size() < kMostNodes) out.push_back(json::object{{"node", node->name}, {"text", unready_text(*node)}});
  });
  return out;
}

json::object cni_json(const cni::CniServer& cni) {
  const auto s = cni.stats();
  return {{"added", s.added},     {"deleted", s.deleted}, {"failed", s.failed},  {"collected", s.collected},
          {"spooled", s.spooled}, {"inUse", s.in_use},    {"cooling", s.cooling}};
}

json::object dns_json(const dns::DnsServer& dns) {
  const auto s = dns.stats();
  return {{"queriesUdp", s.queries_udp},
          {"queriesTcp", s.queries_tcp},
          {"malformed", s.malformed},
          {"clusterAnswers", s.cluster_answers},
          {"clusterNxdomain", s.cluster_nxdomain},
          {"clusterIncomplete", s.cluster_incomplete},
          {"forwarded", s.forwarded},
          {"cacheHits", s.cache_hits},
          {"staleAnswers", s.stale_answers},
          {"servfail", s.servfail},
          {"refused", s.refused},
          {"limited", s.limited}};
}

}  // namespace

std::string api_silence(const View& view) {
  steady_clock::time_point heard{};
  std::string error;
  bool all_fail = !view.sources.empty();
  for (const Source& source : view.sources) {
    if (source.watch == nullptr) return "the API server has not been dialed yet";
    const auto& state = source.watch->state();
    heard = std::max(heard, state.heard);
    all_fail = all_fail && !state.last_error.empty();
    if (error.empty()) error = state.last_error;
  }
  if (view.sources.empty()) return "";
  const auto silent = std::chrono::duration_cast<seconds>(steady_clock::now() - heard);
  if (!all_fail && silent < kSilence) return "";
  if (heard == steady_clock::time_point{}) return "the API server has never answered" + (error.empty() ? "" : " (" + error + ")");
  return fmt::format("the API server has not been heard for {}{}", age_text(silent), error.empty() ? "" : " (" + error + ")");
}

std::string unready_text(const model::Node& node) {
  if (!node.unready) return "";
  const std::string since = since_text(node.unready->since, std::chrono::system_clock::now());
  return node.unready->message.empty() ? since : since + ": " + node.unready->message;
}

std::string render_status(const View& view) {
  json::object out{{"node", view.options.node_name}, {"version", FAIRWAY_VERSION}};
  out["synced"] = view.cluster.all_synced();
  out["programmed"] = view.flow.open() && view.flow.idle();
  out["pruned"] = view.pruned;
  out["restoredObjects"] = view.restored_objects;
  if (view.servers != nullptr) out["apiServer"] = view.servers->current_name();
  out["sources"] = sources_json(view);
  out["tables"] = tables_json(view);
  Errors errors;
  add_sources(view, errors);
  add_problems(view, errors);
  if (view.cni != nullptr) {
    for (const auto& warning : view.cni->warnings()) errors.of_node("cni", "", warning);
    out["cni"] = cni_json(*view.cni);
  }
  if (view.dns != nullptr) out["dns"] = dns_json(*view.dns);
  out["policy"] = policy_status(view);
  out["notReady"] = unready_nodes(view);
  add_datapath(view, out, errors);
  errors.into(out);
  return json::serialize(out);
}

}  // namespace fairway::agent
