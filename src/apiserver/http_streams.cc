// The way to a pod's streams (streams.h), and fault injection.
#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "apiserver/body_reader.h"
#include "apiserver/http_api.h"
#include "apiserver/streams.h"

namespace fairway::apiserver {
namespace {

std::vector<std::string> container_names(const Json& pod) {
  std::vector<std::string> names;
  for (const char* list : {"spec.containers", "spec.initContainers", "spec.ephemeralContainers"}) {
    for (const Json& container : array_at(pod, list)) names.emplace_back(text_at(container, "name"));
  }
  return names;
}

// What kubelet says of a container that has not started.
std::optional<ApiError> not_running_yet(const Json& pod, const std::string& container, bool previous) {
  for (const char* list : {"status.containerStatuses", "status.initContainerStatuses"}) {
    for (const Json& status : array_at(pod, list)) {
      if (text_at(status, "name") != container) continue;
      const bool was = find(status, "lastState.terminated") != nullptr || find(status, "state.terminated") != nullptr;
      const std::string_view waiting = text_at(status, "state.waiting.reason");
      if (waiting.empty() || was || previous) return std::nullopt;
      return bad_request(
          fmt::format("container {} in pod {} is waiting to start: {}", quoted(container), quoted(text_at(pod, "metadata.name")), waiting));
    }
  }
  return std::nullopt;
}

}  // namespace

void HttpApi::serve_stream(const Target& target, io::ServerRequest request, ResponderPtr responder) {
  auto object = engine_.get({target.kind, target.ns, target.name, ""});
  if (!object.ok()) return answer_error(*responder, object.error());
  const Json& pod = (*object)->value;
  StreamTarget stream{target.ns, target.name, std::string(request.query_value("container")), {}};
  const std::string node(text_at(pod, "spec.nodeName"));
  if (node.empty()) return answer_error(*responder, bad_request(fmt::format("pod {} does not have a host assigned", target.name)));
  if (target.subresource != "portforward") {
    const auto names = container_names(pod);
    if (stream.container.empty()) {
      const Object* annotations = object_at(pod, "metadata.annotations");
      const Json* fallback = annotations != nullptr ? annotations->if_contains("kubectl.kubernetes.io/default-container") : nullptr;
      if (array_at(pod, "spec.containers").size() > 1 && fallback == nullptr) {
        std::string list;
        for (const std::string& name : names) list += (list.empty() ? "" : " ") + name;
        return answer_error(
            *responder, bad_request(fmt::format("a container name must be specified for pod {}, choose one of: [{}]", target.name, list)));
      }
      stream.container = fallback != nullptr && fallback->is_string() ? std::string(view(fallback->get_string())) : names.front();
    }
    if (std::find(names.begin(), names.end(), stream.container) == names.end()) {
      return answer_error(*responder, bad_request(fmt::format("container {} is not valid for pod {}", stream.container, target.name)));
    }
    if (target.subresource == "log") {
      if (auto error = not_running_yet(pod, stream.container, parse_bool(request.query_value("previous"))))
        return answer_error(*responder, *error);
    }
  }
  stream.socket_path = config_.runtime_socket ? config_.runtime_socket(node) : "";
  if (stream.socket_path.empty())
    return answer_error(*responder, internal_error(fmt::format("error dialing backend: the runtime of node {} is not known", node)));
  if (target.subresource == "exec") return serve_exec(loop_, std::move(request), std::move(responder), std::move(stream));
  if (target.subresource == "attach") return serve_attach(loop_, std::move(request), std::move(responder), std::move(stream));
  if (target.subresource == "log") return serve_log(loop_, std::move(request), std::move(responder), std::move(stream));
  serve_portforward(loop_, std::move(request), std::move(responder), std::move(stream));
}

// POST /debug/faults {"refuse":2,"expire":1,"duplicate":1,"swap":1,"drop":1,"cutWatches":true,"forgetHistory":true,
// "errorWatches":true}: counts are of the next requests, watches or events.
void HttpApi::handle_faults(const io::ServerRequest& request, ResponderPtr responder) {
  auto body = read_json(request.body.empty() ? "{}" : request.body);
  if (!body.ok()) return answer_error(*responder, body.error());
  const Json& wish = body->value;
  auto count = [&](const char* name, unsigned& into) {
    if (const auto number = int_at(wish, name, -1); number >= 0) into = static_cast<unsigned>(number);
  };
  WatchHub& hub = engine_.hub();
  count("refuse", faults_.refuse);
  count("expire", faults_.expire);
  count("duplicate", hub.faults.duplicate);
  count("swap", hub.faults.swap);
  count("drop", hub.faults.drop);
  if (bool_at(wish, "forgetHistory")) engine_.store().forget_history();
  if (bool_at(wish, "errorWatches"))
    hub.end_all(to_text(Object{{"type", "ERROR"}, {"object", expired("too old resource version: by fault injection").to_status()}}) + "\n");
  if (bool_at(wish, "cutWatches")) hub.end_all(std::nullopt);
  answer_json(*responder, 200,
              to_text(Object{{"watchers", hub.watchers()}, {"resourceVersion", std::to_string(engine_.store().revision())}}));
}

}  // namespace fairway::apiserver
