#include "lab/access.h"

#include <algorithm>
#include <filesystem>

#include "io/pki.h"
#include "k8s/kubeconfig.h"
#include "sys/file.h"

namespace fairway::lab {
namespace fs = std::filesystem;
namespace {

Status write_pair(const std::string& stem, const io::KeyPair& pair) {
  FW_TRY(sys::write_file_atomic(stem + ".crt", pair.certificate_pem, 0644));
  return sys::write_file_atomic(stem + ".key", pair.key_pem, 0600);
}

Result<io::KeyPair> read_pair(const std::string& stem) {
  io::KeyPair out;
  FW_ASSIGN(out.certificate_pem, sys::read_file(stem + ".crt"));
  FW_ASSIGN(out.key_pem, sys::read_file(stem + ".key"));
  return out;
}

io::CertificateRequest server_request(const LabSpec& spec) {
  io::CertificateRequest request;
  request.common_name = "kube-apiserver";
  request.server = true;
  request.dns_names = {"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"};
  request.addresses = {"127.0.0.1"};
  for (const auto family : families(spec)) {
    for (unsigned subnet = 0; subnet < spec.subnets; ++subnet) request.addresses.push_back(fabric_gateway(subnet, family).to_string());
    request.addresses.push_back(service_range(family).nth(1)->to_string());
  }
  return request;
}

Status write_kubeconfig(const std::string& path, const std::string& user, const net::SocketAddr& server, const std::string& ca,
                        const io::KeyPair& client) {
  k8s::KubeConfig config;
  config.cluster_name = "fairway-lab";
  config.user_name = user;
  config.origin.host = server.addr.to_string();
  config.origin.port = server.port;
  config.origin.tls = io::ClientTls{
      .ca_pem = ca, .certificate_pem = client.certificate_pem, .key_pem = client.key_pem, .server_name = "", .insecure = false};
  return sys::write_file_atomic(path, k8s::render_kubeconfig(config), 0600);
}

}  // namespace

Status create_access(const Layout& layout, const LabSpec& spec) {
  std::error_code ec;
  fs::create_directories(layout.pki(), ec);
  fs::permissions(layout.pki(), fs::perms::owner_all, ec);
  FW_ASSIGN(const auto ca, io::make_ca("fairway-lab"));
  FW_TRY(write_pair(layout.pki() + "/ca", ca));
  FW_ASSIGN(const auto server, io::issue_certificate(ca, server_request(spec)));
  FW_TRY(write_pair(layout.pki() + "/server", server));
  io::CertificateRequest admin;
  admin.common_name = kAdminUser;
  admin.organizations = {"system:masters"};
  admin.client = true;
  FW_ASSIGN(const auto client, io::issue_certificate(ca, admin));
  FW_TRY(write_pair(layout.pki() + "/admin", client));
  FW_ASSIGN(const auto token, io::random_token());
  FW_TRY(sys::write_file_atomic(layout.pki() + "/service-account.token", token, 0600));
  return write_kubeconfig(layout.kubeconfig(), admin.common_name, {*net::IpAddr::parse("127.0.0.1"), spec.api_port}, ca.certificate_pem,
                          client);
}

Status write_node_kubeconfig(const Layout& layout, const LabSpec& spec, const NodeSpec& node) {
  FW_ASSIGN(const auto ca, read_pair(layout.pki() + "/ca"));
  io::CertificateRequest request;
  request.common_name = "system:node:" + node.name;
  request.organizations = {"system:nodes"};
  request.client = true;
  FW_ASSIGN(const auto client, io::issue_certificate(ca, request));
  return write_kubeconfig(layout.node_kubeconfig(node.name), request.common_name,
                          {fabric_gateway(node.subnet, families(spec).front()), kFabricApiPort}, ca.certificate_pem, client);
}

Status check_node_name(const std::string& name) {
  const bool good =
      name.size() <= 12 &&
      std::all_of(name.begin(), name.end(), [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; }) &&
      (name.empty() || (name.front() != '-' && name.back() != '-'));
  if (!good || name == "fabric" || name == "outside")
    return make_error(
        Code::kInvalid,
        "\"" + name + "\" cannot be a node's name: a DNS label of at most 12 characters (a-z, 0-9, -), and not fabric or outside");
  return {};
}

}  // namespace fairway::lab
