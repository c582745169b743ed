#include "cli/api_session.h"

#include <boost/json.hpp>
#include <cstdlib>
#include <filesystem>

#include "k8s/kubeconfig.h"
#include "lab/layout.h"

namespace fairway::cli {
namespace json = boost::json;

std::string Resource::path(const std::string& ns, const std::string& name) const {
  std::string out = base;
  if (namespaced && !ns.empty()) out += "/namespaces/" + io::percent_encode(ns);
  out += "/" + plural;
  return name.empty() ? out : out + "/" + io::percent_encode(name);
}

Result<std::unique_ptr<ApiSession>> ApiSession::open(const std::string& kubeconfig) {
  const char* env = std::getenv("KUBECONFIG");
  const bool named = !kubeconfig.empty() || (env && *env);
  const std::string path = !kubeconfig.empty() ? kubeconfig : named ? env : lab::default_layout().kubeconfig();
  if (!named && !std::filesystem::exists(path))
    return make_error(Code::kUnavailable,
                      "no lab is up (there is no " + path + "); start one: fairway lab up, or name a cluster: --kubeconfig FILE");
  FW_ASSIGN(auto config, k8s::load_kubeconfig(path));
  auto session = std::make_unique<ApiSession>();
  if (!config.ns.empty()) session->namespace_ = config.ns;
  FW_ASSIGN(session->client_, io::HttpClient::create(session->loop_, config.origin));
  return session;
}

Result<std::string> ApiSession::call(const std::string& method, const std::string& target, const std::string& accept,
                                     const std::string& body, const std::string& content_type) {
  io::HttpRequest request;
  request.method = method;
  request.target = target;
  request.body = body;
  request.headers.set("Accept", accept);
  if (!body.empty()) request.headers.set("Content-Type", content_type);
  Result<io::HttpResponse> answer = make_error(Code::kTimeout, "the API server does not answer");
  const auto pending = client_->request(std::move(request), [&](Result<io::HttpResponse> result) {
    answer = std::move(result);
    loop_.stop();
  });
  loop_.run();
  if (!answer.ok()) return std::move(answer).error().with_context("the API server is not to be reached");
  if (answer->status < 300) return std::move(answer->body);
  boost::system::error_code ec;
  const auto status = json::parse(answer->body, ec);
  const auto* message = !ec && status.is_object() ? status.as_object().if_contains("message") : nullptr;
  return make_error(answer->status == 404 ? Code::kNotFound : Code::kInvalid,
                    message && message->is_string() ? "Error from server: " + std::string(message->as_string())
                                                    : "the API server answered " + std::to_string(answer->status));
}

Result<json::value> ApiSession::get_json(const std::string& target) {
  FW_ASSIGN(const std::string body, call("GET", target));
  boost::system::error_code ec;
  auto value = json::parse(body, ec);
  if (ec) return make_error(Code::kInternal, "the API server's answer is no JSON: " + ec.message());
  return value;
}

Result<std::vector<std::string>> ApiSession::group_versions() {
  std::vector<std::string> out = {"/api/v1"};
  FW_ASSIGN(const auto groups, get_json("/apis"));
  for (const auto& group : groups.at("groups").as_array())
    out.push_back("/apis/" + std::string(group.at("preferredVersion").at("groupVersion").as_string()));
  return out;
}

static Result<Resource> search(ApiSession& session, const std::string& base, const std::function<bool(const json::object&)>& matches) {
  FW_ASSIGN(const auto list, session.get_json(base));
  for (const auto& item : list.at("resources").as_array()) {
    const auto& resource = item.as_object();
    const std::string plural(resource.at("name").as_string());
    if (plural.find('/') == std::string::npos && matches(resource))
      return Resource{base, plural, std::string(resource.at("kind").as_string()), resource.at("namespaced").as_bool()};
  }
  return make_error(Code::kNotFound, "");
}

Result<Resource> ApiSession::find_resource(const std::string& word) {
  FW_ASSIGN(const auto bases, group_versions());
  const auto matches = [&](const json::object& resource) {
    if (resource.at("name") == json::value(word) || resource.at("singularName") == json::value(word)) return true;
    const auto* shorts = resource.if_contains("shortNames");
    if (shorts)
      for (const auto& each : shorts->as_array())
        if (each == json::value(word)) return true;
    return false;
  };
  for (const auto& base : bases)
    if (auto found = search(*this, base, matches); found.ok()) return found;
  return make_error(Code::kNotFound, "the server doesn't have a resource type \"" + word + "\"");
}

Result<Resource> ApiSession::find_kind(const std::string& api_version, const std::string& kind) {
  const std::string base = (api_version.find('/') == std::string::npos ? "/api/" : "/apis/") + api_version;
  auto found = search(*this, base, [&](const json::object& resource) { return resource.at("kind") == json::value(kind); });
  if (!found.ok() && found.error().code == Code::kNotFound)
    return make_error(Code::kNotFound, "the server has no kind \"" + kind + "\" in version \"" + api_version + "\"");
  return found;
}

}  // namespace fairway::cli
