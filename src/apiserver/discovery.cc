#include "apiserver/discovery.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "apiserver/http_api.h"

namespace fairway::apiserver {
namespace {

// Group -> versions -> kinds, groups by name.
using Versions = std::map<std::string, std::vector<KindPtr>>;
std::map<std::string, Versions> by_group(const KindTable& kinds) {
  std::map<std::string, Versions> groups;
  for (const KindPtr& kind : kinds.all()) groups[kind->group][kind->version].push_back(kind);
  return groups;
}

struct SubresourceInfo {
  std::string group, version, kind;
  std::vector<std::string> verbs;
};

SubresourceInfo subresource_info(const Kind& kind, const std::string& name) {
  if (name == "scale") return {"autoscaling", "v1", "Scale", {"get", "patch", "update"}};
  if (name == "eviction") return {"policy", "v1", "Eviction", {"create"}};
  if (name == "binding") return {kind.group, kind.version, "Binding", {"create"}};
  if (name == "exec" || name == "attach" || name == "portforward") {
    return {kind.group,
            kind.version,
            name == "exec"     ? "PodExecOptions"
            : name == "attach" ? "PodAttachOptions"
                               : "PodPortForwardOptions",
            {"create", "get"}};
  }
  if (name == "log") return {kind.group, kind.version, kind.kind, {"get"}};
  if (name == "finalize") return {kind.group, kind.version, kind.kind, {"update"}};
  return {kind.group, kind.version, kind.kind, {"get", "patch", "update"}};
}

Array to_array(const std::vector<std::string>& list) {
  Array array;
  for (const std::string& one : list) array.emplace_back(boost::json::string(one));
  return array;
}

Json response_kind(const std::string& group, const std::string& version, const std::string& kind) {
  return Object{{"group", group}, {"version", version}, {"kind", kind}};
}

Json aggregated_resource(const Kind& kind) {
  Object resource{{"resource", kind.resource},
                  {"responseKind", response_kind(kind.group, kind.version, kind.kind)},
                  {"scope", kind.namespaced ? "Namespaced" : "Cluster"},
                  {"singularResource", kind.singular},
                  {"verbs", to_array(kind.verbs())}};
  if (!kind.short_names.empty()) resource["shortNames"] = to_array(kind.short_names);
  if (!kind.categories.empty()) resource["categories"] = to_array(kind.categories);
  Array subresources;
  for (const std::string& name : kind.subresources) {
    const SubresourceInfo info = subresource_info(kind, name);
    subresources.emplace_back(Object{
        {"subresource", name}, {"responseKind", response_kind(info.group, info.version, info.kind)}, {"verbs", to_array(info.verbs)}});
  }
  if (!subresources.empty()) resource["subresources"] = std::move(subresources);
  return resource;
}

Json group_entry(const std::string& group, const Versions& versions) {
  Array list;
  for (auto at = versions.rbegin(); at != versions.rend(); ++at)
    list.emplace_back(Object{{"groupVersion", group + "/" + at->first}, {"version", at->first}});
  const Json preferred = list.front();
  return Object{{"name", group}, {"versions", std::move(list)}, {"preferredVersion", preferred}};
}

}  // namespace

Json aggregated_discovery(const KindTable& kinds, bool core) {
  Array items;
  for (const auto& [group, versions] : by_group(kinds)) {
    if (group.empty() != core) continue;
    Array list;
    for (auto at = versions.rbegin(); at != versions.rend(); ++at) {
      Array resources;
      for (const KindPtr& kind : at->second) resources.push_back(aggregated_resource(*kind));
      list.emplace_back(Object{{"version", at->first}, {"freshness", "Current"}, {"resources", std::move(resources)}});
    }
    Object metadata;
    if (!core) metadata["name"] = group;
    items.emplace_back(Object{{"metadata", std::move(metadata)}, {"versions", std::move(list)}});
  }
  return Object{
      {"kind", "APIGroupDiscoveryList"}, {"apiVersion", "apidiscovery.k8s.io/v2"}, {"metadata", Object()}, {"items", std::move(items)}};
}

Json legacy_versions() { return Object{{"kind", "APIVersions"}, {"versions", Array{"v1"}}, {"serverAddressByClientCIDRs", Array()}}; }

Json legacy_groups(const KindTable& kinds) {
  Array groups;
  for (const auto& [group, versions] : by_group(kinds)) {
    if (!group.empty()) groups.push_back(group_entry(group, versions));
  }
  return Object{{"kind", "APIGroupList"}, {"apiVersion", "v1"}, {"groups", std::move(groups)}};
}

std::optional<Json> legacy_group(const KindTable& kinds, std::string_view group) {
  const auto groups = by_group(kinds);
  auto at = groups.find(std::string(group));
  if (at == groups.end() || group.empty()) return std::nullopt;
  Json entry = group_entry(at->first, at->second);
  entry.get_object()["kind"] = "APIGroup";
  entry.get_object()["apiVersion"] = "v1";
  return entry;
}

std::optional<Json> legacy_resources(const KindTable& kinds, std::string_view group, std::string_view version) {
  if (!kinds.has_group_version(group, version)) return std::nullopt;
  Array resources;
  for (const KindPtr& kind : kinds.all()) {
    if (kind->group != group || kind->version != version) continue;
    Object entry{{"name", kind->resource},
                 {"singularName", kind->singular},
                 {"namespaced", kind->namespaced},
                 {"kind", kind->kind},
                 {"verbs", to_array(kind->verbs())}};
    if (!kind->short_names.empty()) entry["shortNames"] = to_array(kind->short_names);
    if (!kind->categories.empty()) entry["categories"] = to_array(kind->categories);
    resources.emplace_back(std::move(entry));
    for (const std::string& name : kind->subresources) {
      const SubresourceInfo info = subresource_info(*kind, name);
      Object sub{{"name", kind->resource + "/" + name},
                 {"singularName", ""},
                 {"namespaced", kind->namespaced},
                 {"kind", info.kind},
                 {"verbs", to_array(info.verbs)}};
      if (info.group != kind->group) {
        sub["group"] = info.group;
        sub["version"] = info.version;
      }
      resources.emplace_back(std::move(sub));
    }
  }
  const std::string group_version = group.empty() ? std::string(version) : fmt::format("{}/{}", group, version);
  return Object{{"kind", "APIResourceList"}, {"apiVersion", "v1"}, {"groupVersion", group_version}, {"resources", std::move(resources)}};
}

Json version_info(const std::string& git_version) {
  // "v1.32.5"
  const auto dot = git_version.find('.');
  const auto end = git_version.find('.', dot + 1);
  return Object{{"major", git_version.substr(1, dot - 1)},
                {"minor", git_version.substr(dot + 1, end - dot - 1)},
                {"gitVersion", git_version},
                {"gitCommit", ""},
                {"gitTreeState", "clean"},
                {"buildDate", "1970-01-01T00:00:00Z"},
                {"goVersion", "none"},
                {"compiler", "fairway"},
                {"platform", "linux/amd64"}};
}

void HttpApi::handle_discovery(const io::ServerRequest& request, const std::vector<std::string>& parts, ResponderPtr responder) {
  const KindTable& kinds = engine_.kinds();
  const std::string first = parts.empty() ? "" : parts[0];
  auto answer = [&](const std::optional<Json>& json) {
    if (json) answer_json(*responder, 200, to_text(*json));
    else answer_error(*responder, generic(404, "NotFound", "the server could not find the requested resource"));
  };
  if (request.method != "GET" && request.method != "HEAD") return answer_error(*responder, method_not_allowed());
  if (first == "healthz" || first == "readyz" || first == "livez")
    return answer_json(*responder, 200, "ok", {}, "text/plain; charset=utf-8");
  if (first == "version") return answer(version_info(config_.git_version));
  const bool group_list = (first == "api" || first == "apis") && parts.size() == 1;
  if (group_list) {
    if (request.headers.get("Accept").find("v=v2;as=APIGroupDiscoveryList") != std::string_view::npos) {
      io::HttpResponse response;
      response.headers.set("Content-Type", kAggregatedType);
      response.headers.set("Vary", "Accept");
      response.body = to_text(aggregated_discovery(kinds, first == "api"));
      return responder->respond(std::move(response));
    }
    return answer(first == "api" ? legacy_versions() : legacy_groups(kinds));
  }
  if (first == "api" && parts.size() == 2) return answer(legacy_resources(kinds, "", parts[1]));
  if (first == "apis" && parts.size() == 2) return answer(legacy_group(kinds, parts[1]));
  if (first == "apis" && parts.size() == 3) return answer(legacy_resources(kinds, parts[1], parts[2]));
  if (first == "openapi" && parts.size() == 2 && parts[1] == "v2") {
    // Zero bytes are a valid, empty document, and what makes kubectl say "no matches for kind".
    return answer_json(*responder, 200, "", {}, "application/com.github.proto-openapi.spec.v2.v1.0+protobuf");
  }
  if (first == "openapi" && parts.size() >= 2 && parts[1] == "v3") {
    if (parts.size() == 2) return answer(open_api_index(kinds));
    if (parts.size() == 4 && parts[2] == "api") return answer(open_api_document(kinds, "", parts[3]));
    if (parts.size() == 5 && parts[2] == "apis") return answer(open_api_document(kinds, parts[3], parts[4]));
  }
  answer(std::nullopt);
}

}  // namespace fairway::apiserver
