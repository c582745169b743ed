#include "k8s/kubeconfig.h"

#include <openssl/evp.h>
#include <yaml-cpp/yaml.h>

#include <boost/json.hpp>
#include <boost/url/parse.hpp>
#include <boost/url/url_view.hpp>
#include <filesystem>

#include "sys/file.h"

namespace fairway::k8s {
namespace {

constexpr std::size_t kMaxBytes = 1 << 20;

Result<std::string> base64_decode(const std::string& text, const std::string& field) {
  std::string out(text.size() / 4 * 3 + 3, '\0');
  const int n = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()), reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size()));
  if (n < 0) return make_error(Code::kInvalid, field + " is not base64");
  const std::size_t padding = text.ends_with("==") ? 2 : text.ends_with("=") ? 1 : 0;
  out.resize(static_cast<std::size_t>(n) - padding);
  return out;
}

std::string base64_encode(const std::string& bytes) {
  std::string out((bytes.size() + 2) / 3 * 4 + 1, '\0');
  const int n = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()), reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
  out.resize(static_cast<std::size_t>(n));
  return out;
}

std::string text_of(const YAML::Node& node, const char* key) {
  const auto value = node[key];
  return value && value.IsScalar() ? value.Scalar() : "";
}

// `list` of {name, KIND: {...}}: the inner mapping of the entry with this name.
Result<YAML::Node> named(const YAML::Node& root, const char* list, const char* kind, const std::string& name) {
  const auto entries = root[list];
  if (entries && entries.IsSequence())
    for (const auto& entry : entries)
      if (entry.IsMap() && text_of(entry, "name") == name && entry[kind] && entry[kind].IsMap()) return YAML::Node(entry[kind]);
  return make_error(Code::kInvalid, std::string(list) + " has no entry \"" + name + "\"");
}

// KEY-data (base64) or KEY (a file's name); empty where neither is there.
Result<std::string> pem_of(const YAML::Node& node, const std::string& key, const std::string& folder) {
  if (const std::string data = text_of(node, (key + "-data").c_str()); !data.empty()) return base64_decode(data, key + "-data");
  const std::string file = text_of(node, key.c_str());
  return file.empty() ? Result<std::string>(std::string()) : sys::read_file((std::filesystem::path(folder) / file).string(), kMaxBytes);
}

Status read_server(const std::string& server, io::Origin& origin) {
  const auto url = boost::urls::parse_uri(server);
  if (!url || (url->scheme() != "https" && url->scheme() != "http"))
    return make_error(Code::kInvalid, "clusters[].cluster.server: \"" + server + "\" is not an http(s) URL");
  const bool tls = url->scheme() == "https";
  origin.host = url->host_type() == boost::urls::host_type::ipv6 ? std::string(url->host_address()) : std::string(url->host());
  origin.port = url->port_number() ? url->port_number() : static_cast<std::uint16_t>(tls ? 443 : 80);
  if (tls) origin.tls.emplace();
  return {};
}

Result<KubeConfig> read(const YAML::Node& root, const std::string& folder) {
  KubeConfig out;
  FW_ASSIGN(const auto context, named(root, "contexts", "context", text_of(root, "current-context")));
  out.cluster_name = text_of(context, "cluster");
  out.user_name = text_of(context, "user");
  out.ns = text_of(context, "namespace");
  FW_ASSIGN(const auto cluster, named(root, "clusters", "cluster", out.cluster_name));
  FW_TRY(read_server(text_of(cluster, "server"), out.origin));
  FW_ASSIGN(const auto user, named(root, "users", "user", out.user_name));
  out.origin.bearer_token = text_of(user, "token");
  if (!out.origin.tls) return out;
  auto& tls = *out.origin.tls;
  FW_ASSIGN(tls.ca_pem, pem_of(cluster, "certificate-authority", folder));
  tls.insecure = text_of(cluster, "insecure-skip-tls-verify") == "true";
  tls.server_name = text_of(cluster, "tls-server-name");
  FW_ASSIGN(tls.certificate_pem, pem_of(user, "client-certificate", folder));
  FW_ASSIGN(tls.key_pem, pem_of(user, "client-key", folder));
  return out;
}

}  // namespace

Result<KubeConfig> parse_kubeconfig(const std::string& text, const std::string& folder) {
  if (text.size() > kMaxBytes) return make_error(Code::kExhausted, "a kubeconfig of " + std::to_string(text.size()) + " bytes is too large");
  try {
    const YAML::Node root = YAML::Load(text);
    if (!root.IsMap()) return make_error(Code::kInvalid, "not a kubeconfig: no mapping");
    return read(root, folder);
  } catch (const YAML::Exception& error) {
    return make_error(Code::kInvalid, std::string("not a kubeconfig: ") + error.what());
  }
}

Result<KubeConfig> load_kubeconfig(const std::string& path) {
  FW_ASSIGN(const std::string text, sys::read_file(path, kMaxBytes));
  auto config = parse_kubeconfig(text, std::filesystem::path(path).parent_path().string());
  if (!config.ok()) return std::move(config).error().with_context(path);
  return config;
}

std::string render_kubeconfig(const KubeConfig& config) {
  namespace json = boost::json;
  const auto& origin = config.origin;
  const std::string host = origin.host.find(':') == std::string::npos ? origin.host : "[" + origin.host + "]";
  json::object cluster = {{"server", (origin.tls ? "https://" : "http://") + host + ":" + std::to_string(origin.port)}};
  json::object user;
  if (origin.tls) {
    if (!origin.tls->ca_pem.empty()) cluster["certificate-authority-data"] = base64_encode(origin.tls->ca_pem);
    if (!origin.tls->server_name.empty()) cluster["tls-server-name"] = origin.tls->server_name;
    if (origin.tls->insecure) cluster["insecure-skip-tls-verify"] = true;
    if (!origin.tls->certificate_pem.empty()) {
      user["client-certificate-data"] = base64_encode(origin.tls->certificate_pem);
      user["client-key-data"] = base64_encode(origin.tls->key_pem);
    }
  }
  if (!origin.bearer_token.empty()) user["token"] = origin.bearer_token;
  json::object context = {{"cluster", config.cluster_name}, {"user", config.user_name}};
  if (!config.ns.empty()) context["namespace"] = config.ns;
  const json::object root = {
      {"apiVersion", "v1"}, {"kind", "Config"}, {"current-context", config.cluster_name},
      {"clusters", json::array{json::object{{"name", config.cluster_name}, {"cluster", cluster}}}},
      {"users", json::array{json::object{{"name", config.user_name}, {"user", user}}}},
      {"contexts", json::array{json::object{{"name", config.cluster_name}, {"context", context}}}}};
  return json::serialize(root) + "\n";
}

}  // namespace fairway::k8s
