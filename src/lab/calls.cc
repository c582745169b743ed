#include "lab/calls.h"

#include <boost/json.hpp>
#include <chrono>
#include <filesystem>

#include "io/http_client.h"
#include "io/loop.h"
#include "k8s/http_api_client.h"
#include "k8s/kubeconfig.h"
#include "lab/lock.h"

namespace fairway::lab {
namespace fs = std::filesystem;

Result<k8s::Json> call_api(const Layout& layout, const std::function<k8s::CallPtr(k8s::ApiClient&, k8s::Done)>& start) {
  FW_ASSIGN(const auto config, k8s::load_kubeconfig(layout.kubeconfig()));
  io::Loop loop;
  FW_ASSIGN(const auto client, k8s::HttpApiClient::create(loop, config));
  Result<k8s::Json> answer = make_error(Code::kTimeout, "the API server does not answer");
  const auto deadline = loop.after(std::chrono::seconds(5), [&] { loop.stop(); });
  const auto call = start(*client, [&](Result<k8s::Json> result) {
    answer = std::move(result);
    loop.stop();
  });
  loop.run();
  return answer;
}

Result<std::string> ask_supervisor(const Layout& layout, const std::string& method, const std::string& path, const std::string& body) {
  if (running_lab_dir() != layout.dir) {
    std::error_code ec;
    const bool crashed = fs::exists(layout.spec(), ec);
    return make_error(Code::kUnavailable, crashed ? "the lab in " + layout.dir + " has crashed; clear it away: fairway lab down"
                                                  : "no lab is up in " + layout.dir + "; start one: fairway lab up");
  }
  io::Loop loop;
  io::Origin origin;
  origin.unix_path = layout.supervisor_socket();
  FW_ASSIGN(const auto client, io::HttpClient::create(loop, std::move(origin)));
  Result<io::HttpResponse> answer = make_error(Code::kTimeout, "the lab's supervisor does not answer");
  io::HttpRequest request;
  request.method = method;
  request.target = path;
  request.body = body;
  const auto call = client->request(std::move(request), [&](Result<io::HttpResponse> result) {
    answer = std::move(result);
    loop.stop();
  });
  loop.run();
  if (!answer.ok()) return std::move(answer).error();
  if (answer->status == 200) return std::move(answer->body);
  boost::system::error_code ec;
  const auto value = boost::json::parse(answer->body, ec);
  if (!ec && value.is_object() && value.as_object().contains("error"))
    return make_error(answer->status == 404 ? Code::kNotFound : Code::kInvalid, std::string(value.at("error").as_string()));
  return make_error(Code::kInternal, "the lab's supervisor answered " + std::to_string(answer->status));
}

}  // namespace fairway::lab
