// fairway lab apply|get|exec|logs|wait|delete: the demo's part of kubectl, for machines that have none.
// Over the same API and in the same words; for anything more, install kubectl.
#include <CLI/CLI.hpp>
#include <boost/json.hpp>
#include <chrono>
#include <iostream>
#include <iterator>
#include <memory>
#include <sstream>
#include <thread>

#include "apiserver/body_reader.h"
#include "cli/api_session.h"
#include "cli/app.h"
#include "cli/exec_session.h"
#include "cli/text_table.h"
#include "sys/file.h"

namespace fairway::cli {
namespace json = boost::json;
namespace {

constexpr char kTableAccept[] = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

struct Options {
  std::string kubeconfig, ns, file, output, selector, container, condition, pod;
  std::vector<std::string> words, command;
  bool all_namespaces = false, follow = false, tty = false, stdin_open = false;
  int tail = -1, timeout_s = 30;
};

std::string ns_of(const ApiSession& session, const Options& o) {
  return o.all_namespaces ? "" : o.ns.empty() ? session.default_namespace() : o.ns;
}

// "pod/x" or "pod x" -> resource and name.
Result<std::pair<Resource, std::string>> target_of(ApiSession& session, const std::vector<std::string>& words) {
  std::string type = words.at(0), name = words.size() > 1 ? words[1] : "";
  if (const auto slash = type.find('/'); slash != std::string::npos) {
    name = type.substr(slash + 1);
    type = type.substr(0, slash);
  }
  FW_ASSIGN(Resource resource, session.find_resource(type));
  return std::pair{std::move(resource), name};
}

// The documents of a manifest, cut at lines of "---".
std::vector<std::string> split_documents(const std::string& text) {
  std::vector<std::string> out(1);
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("---")) out.emplace_back();
    else out.back() += line + "\n";
  }
  std::erase_if(out, [](const std::string& document) { return document.find_first_not_of(" \n\r\t") == std::string::npos; });
  return out;
}

std::string text_at(const json::object* object, const char* key) {
  const auto* value = object ? object->if_contains(key) : nullptr;
  return value && value->is_string() ? std::string(value->as_string()) : "";
}

Status apply(ApiSession& session, const Options& o) {
  std::string text;
  if (o.file == "-") text.assign(std::istreambuf_iterator<char>(std::cin), {});
  else { FW_ASSIGN(text, sys::read_file(o.file, 3 << 20)); }
  for (const auto& manifest : split_documents(text)) {
    const auto body = apiserver::read_yaml(manifest);
    if (!body) return make_error(Code::kInvalid, o.file + ": " + body.error().message);
    const json::value& document = body.value().value;
    const auto* object = document.if_object();
    const auto* metadata_value = object ? object->if_contains("metadata") : nullptr;
    const auto* metadata = metadata_value ? metadata_value->if_object() : nullptr;
    const std::string version = text_at(object, "apiVersion"), kind = text_at(object, "kind"), name = text_at(metadata, "name");
    if (version.empty() || kind.empty() || name.empty())
      return make_error(Code::kInvalid, o.file + ": apiVersion, kind and metadata.name must be set, each a text");
    FW_ASSIGN(const auto resource, session.find_kind(version, kind));
    const auto* own_ns = metadata->if_contains("namespace");
    const std::string ns = own_ns && own_ns->is_string() ? std::string(own_ns->as_string()) : ns_of(session, o);
    FW_TRY(session.call("PATCH", resource.path(ns, name) + "?fieldManager=fairway-lab&force=true&fieldValidation=Strict",
                        "application/json", json::serialize(document), "application/apply-patch+yaml"));
    std::cout << resource.plural << "/" << name << " applied\n";
  }
  return {};
}

void print_table(const json::value& table, bool wide, bool with_namespace) {
  const auto& columns = table.at("columnDefinitions").as_array();
  std::vector<std::string> header;
  if (with_namespace) header.emplace_back("NAMESPACE");
  const auto shown = [&](const json::value& column) { return wide || column.at("priority").to_number<int>() == 0; };
  for (const auto& column : columns)
    if (shown(column)) {
      header.emplace_back(column.at("name").as_string());
      for (auto& c : header.back()) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    }
  TextTable out(std::move(header));
  for (const auto& row : table.at("rows").as_array()) {
    std::vector<std::string> cells;
    if (with_namespace) cells.emplace_back(row.at("object").at("metadata").at("namespace").as_string());
    const auto& values = row.at("cells").as_array();
    for (std::size_t i = 0; i < columns.size() && i < values.size(); ++i)
      if (shown(columns[i])) cells.push_back(values[i].is_string() ? std::string(values[i].as_string()) : json::serialize(values[i]));
    out.add(std::move(cells));
  }
  std::cout << out.render();
}

Status get(ApiSession& session, const Options& o) {
  FW_ASSIGN(const auto target, target_of(session, o.words));
  std::string path = target.first.path(ns_of(session, o), target.second);
  if (!o.selector.empty()) path += "?labelSelector=" + io::percent_encode(o.selector);
  const bool as_table = o.output.empty() || o.output == "wide";
  FW_ASSIGN(const std::string body, session.call("GET", path, as_table ? kTableAccept : "application/json"));
  const auto value = json::parse(body);
  if (as_table) print_table(value, o.output == "wide", o.all_namespaces && target.first.namespaced);
  else if (o.output == "json") std::cout << json::serialize(value) << "\n";
  else {
    const auto print = [&](const json::value& object) {
      std::cout << target.first.plural << "/" << std::string_view(object.at("metadata").at("name").as_string()) << "\n";
    };
    if (target.second.empty())
      for (const auto& item : value.at("items").as_array()) print(item);
    else print(value);
  }
  return {};
}

Status remove(ApiSession& session, const Options& o) {
  FW_ASSIGN(const auto target, target_of(session, o.words));
  if (target.second.empty()) return make_error(Code::kInvalid, "name what to delete: fairway lab delete pod/NAME");
  FW_TRY(session.call("DELETE", target.first.path(ns_of(session, o), target.second), "application/json",
                      R"({"propagationPolicy":"Background"})"));
  std::cout << target.first.plural << "/" << target.second << " deleted\n";
  return {};
}

bool has_condition(const json::value& object, const std::string& type) {
  const auto* status = object.as_object().if_contains("status");
  const auto* conditions = status && status->is_object() ? status->as_object().if_contains("conditions") : nullptr;
  if (!conditions) return false;
  for (const auto& condition : conditions->as_array())
    if (condition.at("type") == json::value(type) && condition.at("status") == "True") return true;
  return false;
}

Status wait(ApiSession& session, const Options& o) {
  FW_ASSIGN(const auto target, target_of(session, o.words));
  if (target.second.empty()) return make_error(Code::kInvalid, "name what to wait for: fairway lab wait pod/NAME");
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(o.timeout_s);
  for (;;) {
    FW_ASSIGN(const auto object, session.get_json(target.first.path(ns_of(session, o), target.second)));
    if (has_condition(object, o.condition)) break;
    if (std::chrono::steady_clock::now() > deadline)
      return make_error(Code::kTimeout, "timed out waiting for " + o.condition + " on " + target.first.plural + "/" + target.second);
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
  std::cout << target.first.plural << "/" << target.second << " condition met\n";
  return {};
}

Status logs(ApiSession& session, const Options& o) {
  std::string target =
      Resource{"/api/v1", "pods", "Pod", true}.path(ns_of(session, o), o.pod) + "/log?follow=" + (o.follow ? "true" : "false");
  if (!o.container.empty()) target += "&container=" + io::percent_encode(o.container);
  if (o.tail >= 0) target += "&tailLines=" + std::to_string(o.tail);
  if (!o.follow) {
    FW_ASSIGN(const std::string text, session.call("GET", target, "*/*"));
    std::cout << text;
    return {};
  }
  Status ended;
  io::HttpRequest request;
  request.target = target;
  const auto pending =
      session.client().stream(std::move(request), {.on_head = [](int, const io::Headers&) {},
                                                   .on_data = [](std::string_view data) { std::cout << data << std::flush; },
                                                   .on_end =
                                                       [&](Status status) {
                                                         ended = std::move(status);
                                                         session.loop().stop();
                                                       }});
  session.loop().run();
  return ended;
}

Result<int> exec(ApiSession& session, const Options& o) {
  std::string pod = o.pod;
  if (const auto slash = pod.find('/'); slash != std::string::npos) pod = pod.substr(slash + 1);
  ExecRequest request{.path = Resource{"/api/v1", "pods", "Pod", true}.path(ns_of(session, o), pod) + "/exec",
                      .container = o.container,
                      .command = o.command,
                      .tty = o.tty,
                      .stdin_open = o.stdin_open};
  return run_exec(session.loop(), session.client(), request);
}

using Body = std::function<Status(ApiSession&, const Options&)>;

CLI::App* add(CLI::App& group, Exit& exit, const std::string& name, const char* what, const std::string& example,
              std::shared_ptr<Options> o, Body body) {
  auto* command = group.add_subcommand(name, what);
  command->footer("Example:\n  fairway lab " + name + " " + example);
  command->add_option("--kubeconfig", o->kubeconfig, "Path of the kubeconfig (default: KUBECONFIG, else the running lab's)");
  command->add_option("-n,--namespace", o->ns, "Namespace");
  command->callback([o, body, &exit] {
    auto session = ApiSession::open(o->kubeconfig);
    if (!session.ok()) {
      exit.code = fail(session.error());
      return;
    }
    if (auto status = body(**session, *o); !status.ok()) exit.code = fail(status.error());
  });
  return command;
}

}  // namespace

void add_kube_commands(CLI::App& lab, Exit& exit) {
  auto o = std::make_shared<Options>();
  add(lab, exit, "apply", "Apply a manifest (server-side)", "-f examples/scenario/backend-deployment.yaml", o, apply)
      ->add_option("-f,--filename", o->file, "File, or - for standard input")
      ->required();
  auto* get_command = add(lab, exit, "get", "Show objects", "pods -A -o wide", o, get);
  get_command->add_option("what", o->words, "TYPE [NAME] or TYPE/NAME")->required();
  get_command->add_option("-o,--output", o->output, "wide, json or name")->check(CLI::IsMember({"wide", "json", "name"}));
  get_command->add_option("-l,--selector", o->selector, "Label selector");
  get_command->add_flag("-A,--all-namespaces", o->all_namespaces, "Of all namespaces");
  add(lab, exit, "delete", "Delete an object", "pod/frontend", o, remove)->add_option("what", o->words, "TYPE/NAME")->required();
  auto* wait_command = add(lab, exit, "wait", "Wait until an object has a condition", "pod/frontend --timeout 60", o, wait);
  wait_command->add_option("what", o->words, "TYPE/NAME")->required();
  wait_command->add_option("--for-condition", o->condition, "Ready, Available ...")->default_val("Ready");
  wait_command->add_option("--timeout", o->timeout_s, "Seconds")->default_val(30);
  auto* logs_command = add(lab, exit, "logs", "Show a container's log", "-f frontend", o, logs);
  logs_command->add_option("pod", o->pod, "The pod")->required();
  logs_command->add_option("-c,--container", o->container, "The container");
  logs_command->add_option("--tail", o->tail, "Only the last lines");
  logs_command->add_flag("-f,--follow", o->follow, "Go on until the container ends");
  auto* exec_command = add(lab, exit, "exec", "Run a command in a container", "-it frontend -- sh", o,
                           [&exit](ApiSession& session, const Options& options) -> Status {
                             FW_ASSIGN(exit.code, exec(session, options));
                             return {};
                           });
  exec_command->add_option("pod", o->pod, "The pod")->required();
  exec_command->add_option("command", o->command, "The command, after --")->required();
  exec_command->add_option("-c,--container", o->container, "The container");
  exec_command->add_flag("-i,--stdin", o->stdin_open, "Pass standard input on");
  exec_command->add_flag("-t,--tty", o->tty, "With a terminal");
}

}  // namespace fairway::cli
