#include "k8s/kubeconfig.h"

#include <openssl/evp.h>
#include <yaml-cpp/yaml.h>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <boost/url/parse.hpp>
#include <boost/url/url_view.hpp>
#include <filesystem>

#include "sys/file.h"

namespace fairway::k8s {
namespace {

constexpr std::size_t kMaxFileBytes = 1 << 20;

Error invalid(const std::string& what) { return make_error(Code::kInvalid, "kubeconfig: " + what); }

Result<std::string> decode_base64(const std::string& text, const std::string& field) {
  std::string packed;
  for (const char c : text) {
    if (c != '\n' && c != '\r' && c != ' ') packed += c;
  }
  std::string out(packed.size() / 4 * 3 + 1, '\0');
  const int size = packed.size() % 4 == 0
                       ? EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                         reinterpret_cast<const unsigned char*>(packed.data()), static_cast<int>(packed.size()))
                       : -1;
  if (size < 0) return invalid(field + " is not base64");
  std::size_t padding = 0;
  while (padding < 2 && packed.size() > padding && packed[packed.size() - 1 - padding] == '=') ++padding;
  out.resize(static_cast<std::size_t>(size) - padding);
  return out;
}

std::string encode_base64(const std::string& bytes) {
  std::string out((bytes.size() + 2) / 3 * 4 + 1, '\0');
  const int size = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()), reinterpret_cast<const unsigned char*>(bytes.data()),
                                   static_cast<int>(bytes.size()));
  out.resize(static_cast<std::size_t>(size));
  return out;
}

Result<std::string> text_at(const YAML::Node& node, const std::string& key, const std::string& where) {
  const YAML::Node found = node[key];
  if (!found || found.IsNull()) return std::string();
  if (!found.IsScalar()) return invalid(where + "." + key + " is not a text");
  return found.Scalar();
}

Result<YAML::Node> named(const YAML::Node& root, const std::string& list, const std::string& name, const std::string& part) {
  const YAML::Node entries = root[list];
  if (entries && entries.IsSequence()) {
    for (const YAML::Node& entry : entries) {
      if (!entry.IsMap() || !entry["name"] || !entry["name"].IsScalar() || entry["name"].Scalar() != name) continue;
      if (!entry[part] || !entry[part].IsMap()) return invalid(list + " \"" + name + "\" has no " + part);
      return entry[part];
    }
  }
  return invalid(list + " holds no \"" + name + "\"");
}

std::string resolve_path(const std::string& path, const std::string& folder) {
  return std::filesystem::path(path).is_absolute() ? path : (std::filesystem::path(folder) / path).string();
}

// `KEY-data` as base64, or the file `KEY` names.
Result<std::string> data_or_file(const YAML::Node& node, const std::string& key, const std::string& folder, const std::string& where) {
  FW_ASSIGN(const std::string data, text_at(node, key + "-data", where));
  if (!data.empty()) return decode_base64(data, where + "." + key + "-data");
  FW_ASSIGN(const std::string path, text_at(node, key, where));
  if (path.empty()) return std::string();
  return sys::read_file(resolve_path(path, folder), kMaxFileBytes);
}

Status read_server(const std::string& server, KubeConfig& config) {
  const auto parsed = boost::urls::parse_uri(server);
  if (parsed.has_error()) return invalid("cluster.server \"" + server + "\" is not a URL");
  const boost::urls::url_view url = *parsed;
  const std::string scheme(url.scheme());
  if (scheme != "https" && scheme != "http") return invalid("cluster.server \"" + server + "\" is neither https nor http");
  config.origin.host = url.host_address();
  if (config.origin.host.empty()) return invalid("cluster.server \"" + server + "\" has no host");
  config.origin.port = scheme == "https" ? 443 : 80;
  if (url.has_port()) config.origin.port = url.port_number();
  if (config.origin.port == 0) return invalid("cluster.server \"" + server + "\" has no valid port");
  if (scheme == "https") config.origin.tls.emplace();
  config.path_prefix = std::string(url.encoded_path());
  while (config.path_prefix.ends_with('/')) config.path_prefix.pop_back();
  return {};
}

Status read_cluster(const YAML::Node& cluster, const std::string& folder, KubeConfig& config) {
  FW_ASSIGN(const std::string server, text_at(cluster, "server", "cluster"));
  FW_TRY(read_server(server, config));
  if (const YAML::Node proxy = cluster["proxy-url"]; proxy && !proxy.IsNull()) return invalid("cluster.proxy-url is not supported");
  if (!config.origin.tls) return {};
  FW_ASSIGN(config.origin.tls->ca_pem, data_or_file(cluster, "certificate-authority", folder, "cluster"));
  FW_ASSIGN(config.origin.tls->server_name, text_at(cluster, "tls-server-name", "cluster"));
  FW_ASSIGN(const std::string insecure, text_at(cluster, "insecure-skip-tls-verify", "cluster"));
  config.origin.tls->insecure = insecure == "true";
  if (config.origin.tls->ca_pem.empty() && !config.origin.tls->insecure) {
    FW_ASSIGN(config.origin.tls->ca_pem, sys::read_file("/etc/ssl/certs/ca-certificates.crt"));
  }
  return {};
}

Status read_user(const YAML::Node& user, const std::string& folder, KubeConfig& config) {
  for (const char* unsupported : {"exec", "auth-provider", "username", "password", "as"}) {
    if (user[unsupported]) return invalid(std::string("user.") + unsupported + " is not supported; use a token or a client certificate");
  }
  FW_ASSIGN(config.origin.bearer_token, text_at(user, "token", "user"));
  FW_ASSIGN(const std::string token_file, text_at(user, "tokenFile", "user"));
  if (!token_file.empty()) config.token_file = resolve_path(token_file, folder);
  FW_ASSIGN(std::string certificate, data_or_file(user, "client-certificate", folder, "user"));
  FW_ASSIGN(std::string key, data_or_file(user, "client-key", folder, "user"));
  if (certificate.empty() != key.empty()) return invalid("user: client-certificate and client-key come together or not at all");
  if (!certificate.empty() && config.origin.tls) {
    config.origin.tls->certificate_pem = std::move(certificate);
    config.origin.tls->key_pem = std::move(key);
  }
  return {};
}

Result<KubeConfig> read_root(const YAML::Node& root, const std::string& folder, std::string context) {
  if (!root.IsMap()) return invalid("the file is not a map");
  if (context.empty()) { FW_ASSIGN(context, text_at(root, "current-context", "file")); }
  if (context.empty()) return invalid("current-context is empty and no context was asked for");
  FW_ASSIGN(const YAML::Node chosen, named(root, "contexts", context, "context"));
  KubeConfig config;
  FW_ASSIGN(config.cluster_name, text_at(chosen, "cluster", "context"));
  FW_ASSIGN(const YAML::Node cluster, named(root, "clusters", config.cluster_name, "cluster"));
  FW_TRY(read_cluster(cluster, folder, config));
  FW_ASSIGN(config.user_name, text_at(chosen, "user", "context"));
  if (!config.user_name.empty()) {
    FW_ASSIGN(const YAML::Node user, named(root, "users", config.user_name, "user"));
    FW_TRY(read_user(user, folder, config));
  }
  FW_ASSIGN(config.ns, text_at(chosen, "namespace", "context"));
  return config;
}

}  // namespace

Result<KubeConfig> parse_kubeconfig(const std::string& text, const std::string& folder, const std::string& context) {
  if (text.size() > kMaxFileBytes) return invalid("larger than " + std::to_string(kMaxFileBytes) + " bytes");
  try {
    return read_root(YAML::Load(text), folder, context);
  } catch (const YAML::Exception& e) { return invalid(e.what()); }
}

Result<KubeConfig> load_kubeconfig(const std::string& path, const std::string& context) {
  FW_ASSIGN(const std::string text, sys::read_file(path, kMaxFileBytes));
  Result<KubeConfig> config = parse_kubeconfig(text, std::filesystem::path(path).parent_path().string(), context);
  if (!config.ok()) return std::move(config).error().with_context(path);
  return config;
}

Result<KubeConfig> in_cluster_config(const std::string& host, const std::string& port, const std::string& folder) {
  if (host.empty() || port.empty()) return make_error(Code::kNotFound, "not in a pod: KUBERNETES_SERVICE_HOST or _PORT is empty");
  KubeConfig config;
  const bool v6 = host.find(':') != std::string::npos;
  FW_TRY(read_server("https://" + (v6 ? "[" + host + "]" : host) + ":" + port, config));
  FW_ASSIGN(config.origin.tls->ca_pem, sys::read_file(folder + "/ca.crt", kMaxFileBytes));
  config.token_file = folder + "/token";
  if (Result<std::string> ns = sys::read_file(folder + "/namespace", 4096); ns.ok() && !ns->empty()) config.ns = *ns;
  return config;
}

std::string render_kubeconfig(const KubeConfig& config) {
  namespace json = boost::json;
  const auto& origin = config.origin;
  const std::string host = origin.host.find(':') == std::string::npos ? origin.host : "[" + origin.host + "]";
  json::object cluster = {
      {"server", (origin.tls ? "https://" : "http://") + host + ":" + std::to_string(origin.port) + config.path_prefix}};
  json::object user;
  if (origin.tls) {
    if (!origin.tls->ca_pem.empty()) cluster["certificate-authority-data"] = encode_base64(origin.tls->ca_pem);
    if (!origin.tls->server_name.empty()) cluster["tls-server-name"] = origin.tls->server_name;
    if (origin.tls->insecure) cluster["insecure-skip-tls-verify"] = true;
    if (!origin.tls->certificate_pem.empty()) {
      user["client-certificate-data"] = encode_base64(origin.tls->certificate_pem);
      user["client-key-data"] = encode_base64(origin.tls->key_pem);
    }
  }
  if (!origin.bearer_token.empty()) user["token"] = origin.bearer_token;
  if (!config.token_file.empty()) user["tokenFile"] = config.token_file;
  json::object context = {{"cluster", config.cluster_name}, {"user", config.user_name}};
  if (!config.ns.empty()) context["namespace"] = config.ns;
  const json::object root = {{"apiVersion", "v1"},
                             {"kind", "Config"},
                             {"current-context", config.cluster_name},
                             {"clusters", json::array{json::object{{"name", config.cluster_name}, {"cluster", cluster}}}},
                             {"users", json::array{json::object{{"name", config.user_name}, {"user", user}}}},
                             {"contexts", json::array{json::object{{"name", config.cluster_name}, {"context", context}}}}};
  return json::serialize(root) + "\n";
}

}  // namespace fairway::k8s
