#include "lab/processes.h"

#include <csignal>
#include <filesystem>

#include "apiserver/api_server.h"
#include "controllers/manager.h"
#include "io/http_server.h"
#include "io/loop.h"
#include "k8s/http_api_client.h"
#include "k8s/kubeconfig.h"
#include "lab/access.h"
#include "lab/spec.h"
#include "lab/supervisor.h"
#include "runtime/node_runtime.h"
#include "sys/file.h"
#include "sys/listen_fds.h"
#include "sys/log.h"
#include "sys/netns.h"

namespace fairway::lab {
namespace {

std::string own_folder() { return std::filesystem::read_symlink("/proc/self/exe").parent_path().string(); }

void run_until_signalled(io::Loop& loop) {
  const auto term = loop.on_signal(SIGTERM, [&loop] { loop.stop(); });
  const auto interrupt = loop.on_signal(SIGINT, [&loop] { loop.stop(); });
  loop.run();
}

Result<apiserver::ApiServerConfig> api_config(const Layout& layout, const LabSpec& spec) {
  FW_ASSIGN(const std::string token, sys::read_file(layout.pki() + "/service-account.token"));
  apiserver::ApiServerConfig config;
  config.db_path = layout.api_database();
  for (const auto family : families(spec)) config.service_ranges.push_back(service_range(family));
  config.bearer_tokens = {{token, "system:serviceaccount:default:default"}};
  config.runtime_socket = [layout](const std::string& node) { return layout.runtime_socket(node); };
  config.fault_injector = kAdminUser;
  return config;
}

Result<controllers::ControllerConfig> controller_config(const Layout& layout, const LabSpec& spec) {
  controllers::ControllerConfig config;
  for (const auto family : families(spec)) {
    config.pod_ranges.push_back({pod_range(family), family == net::Family::kV4 ? 24U : 64U});
    config.service_ranges.push_back(service_range(family));
    config.api_server_addresses.push_back(fabric_gateway(0, family));
  }
  config.api_server_port = kFabricApiPort;
  FW_ASSIGN(config.cluster_ca_pem, sys::read_file(layout.pki() + "/ca.crt"));
  return config;
}

Result<io::HttpServerConfig> tls_config(const Layout& layout) {
  io::ServerTls tls;
  FW_ASSIGN(tls.certificate_pem, sys::read_file(layout.pki() + "/server.crt"));
  FW_ASSIGN(tls.key_pem, sys::read_file(layout.pki() + "/server.key"));
  FW_ASSIGN(tls.client_ca_pem, sys::read_file(layout.pki() + "/ca.crt"));
  io::HttpServerConfig config;
  config.tls = std::move(tls);
  return config;
}

Result<sys::Fd> take_api_listener() {
  for (auto& [name, fd] : sys::take_listen_fds())
    if (name == kApiListener) return std::move(fd);
  return make_error(Code::kInvalid, "no listening socket was handed over; this process is started by `fairway lab up`");
}

// 127.0.0.1 in the root namespace for kubectl; the fabric's addresses for nodes and pods.
Status listen_everywhere(io::HttpServer& server, const LabSpec& spec) {
  FW_ASSIGN(sys::Fd local, take_api_listener());
  FW_TRY(server.serve(std::move(local)));
  FW_ASSIGN(const sys::Fd fabric, sys::open_netns(kFabricNetns));
  return sys::in_netns(fabric, [&]() -> Status {
    for (const auto family : families(spec)) {
      FW_ASSIGN(sys::Fd listener, io::listen_tcp(family == net::Family::kV4 ? "0.0.0.0" : "::", kFabricApiPort));
      FW_TRY(server.serve(std::move(listener)));
    }
    return {};
  });
}

Result<runtime::NodeRuntimeConfig> runtime_config(const Layout& layout, const LabSpec& spec, const NodeSpec& node) {
  runtime::NodeRuntimeConfig config;
  config.node_name = node.name;
  config.node_dir = layout.node(node.name);
  config.netns = Layout::netns(node.name);
  config.cni_conf_dir = layout.node_cni(node.name);
  config.cni_bin_dirs = {own_folder()};
  config.shim = own_folder() + "/fairway-shim";
  config.agnhost = own_folder() + "/fairway-agnhost";
  config.cgroup_parent = std::string("/") + kCgroupName + "/" + node.name + "/pods";
  for (const auto family : families(spec)) {
    config.node_ips.push_back(node_address(node, family).to_string());
    config.dns_servers.push_back(dns_address(family).to_string());
  }
  FW_ASSIGN(config.service_account_token, sys::read_file(layout.pki() + "/service-account.token"));
  FW_ASSIGN(config.api_ca_pem, sys::read_file(layout.pki() + "/ca.crt"));
  return config;
}

}  // namespace

Status run_supervisor(const Layout& layout) {
  FW_ASSIGN(sys::Fd api_listener, take_api_listener());
  FW_ASSIGN(LabSpec spec, read_spec(layout.spec()));
  io::Loop loop;
  Supervisor supervisor(loop, layout, std::move(spec), own_folder(), std::move(api_listener));
  FW_TRY(supervisor.start());
  log::info("supervisor", "the lab in {} runs", layout.dir);
  run_until_signalled(loop);
  return {};
}

Status run_server(const Layout& layout) {
  FW_ASSIGN(const LabSpec spec, read_spec(layout.spec()));
  io::Loop loop;
  FW_ASSIGN(auto config, api_config(layout, spec));
  FW_ASSIGN(const auto api, apiserver::ApiServer::create(loop, std::move(config)));
  FW_ASSIGN(auto http_config, tls_config(layout));
  FW_ASSIGN(const auto http, io::HttpServer::create(loop, std::move(http_config),
                                                    [&api](io::ServerRequest request, std::unique_ptr<io::Responder> responder) {
                                                      api->handle(std::move(request), std::move(responder));
                                                    }));
  FW_TRY(listen_everywhere(*http, spec));
  FW_ASSIGN(auto controllers_config, controller_config(layout, spec));
  controllers::ControllerManager controllers(loop, api->local_client(), std::move(controllers_config));
  loop.post([&controllers] { controllers.start(); });
  run_until_signalled(loop);
  return {};
}

Status run_node(const Layout& layout, const std::string& name) {
  FW_ASSIGN(const LabSpec spec, read_spec(layout.spec()));
  const NodeSpec* node = spec.find(name);
  if (!node) return make_error(Code::kNotFound, "the lab has no node \"" + name + "\"");
  io::Loop loop;
  FW_ASSIGN(const auto kubeconfig, k8s::load_kubeconfig(layout.node_kubeconfig(name)));
  FW_ASSIGN(const auto client, k8s::HttpApiClient::create(loop, kubeconfig));
  FW_ASSIGN(auto config, runtime_config(layout, spec, *node));
  runtime::NodeRuntime runtime(loop, *client, std::move(config));
  FW_TRY(runtime.start());
  run_until_signalled(loop);
  runtime.stop();
  return {};
}

}  // namespace fairway::lab
