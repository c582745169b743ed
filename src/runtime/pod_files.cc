#include "runtime/pod_files.h"

#include <algorithm>
#include <sstream>

namespace fairway::runtime {
namespace {

constexpr std::size_t kMaxServers = 3;  // resolver(5)
constexpr std::size_t kMaxSearch = 32;

void append_unique(std::vector<std::string>& into, const std::vector<std::string>& items) {
  for (const auto& item : items)
    if (std::find(into.begin(), into.end(), item) == into.end()) into.push_back(item);
}

struct Resolver {
  std::vector<std::string> servers, search, options;
};

Resolver parse_resolv_conf(const std::string& content) {
  Resolver out;
  std::istringstream lines(content);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string key, word;
    words >> key;
    if (key == "nameserver" && words >> word) out.servers.push_back(word);
    if (key == "search") {
      out.search.clear();
      while (words >> word) out.search.push_back(word);
    }
    if (key == "options")
      while (words >> word) out.options.push_back(word);
  }
  return out;
}

void add_dns_config(const Json& pod, Resolver& out) {
  append_unique(out.servers, texts(pod, "spec.dnsConfig.nameservers"));
  append_unique(out.search, texts(pod, "spec.dnsConfig.searches"));
  for (const auto& option : array(pod, "spec.dnsConfig.options")) {
    const std::string name = text(option, "name"), value = text(option, "value");
    std::erase_if(out.options, [&](const std::string& old) { return old.substr(0, old.find(':')) == name; });
    out.options.push_back(value.empty() ? name : name + ":" + value);
  }
}

}  // namespace

std::string pod_hostname(const Json& pod, const std::string& node_name) {
  if (flag(pod, "spec.hostNetwork")) return node_name;
  std::string name = text(pod, "spec.hostname");
  if (name.empty()) name = text(pod, "metadata.name");
  if (name.size() > 63) name.resize(63);
  while (!name.empty() && (name.back() == '-' || name.back() == '.')) name.pop_back();
  return name;
}

std::string render_hosts(const PodFacts& facts, const std::string& domain) {
  const bool host = flag(*facts.pod, "spec.hostNetwork");
  std::string out = host ? "# Kubernetes-managed hosts file (host network).\n" : "# Kubernetes-managed hosts file.\n";
  out +=
      "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost "
      "ip6-loopback\nfe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n";
  const std::string hostname = pod_hostname(*facts.pod, facts.node_name), subdomain = text(*facts.pod, "spec.subdomain");
  for (const auto& ip : host ? facts.host_ips : facts.pod_ips) {
    out += ip + "\t";
    if (!host && !subdomain.empty())
      out += hostname + "." + subdomain + "." + text(*facts.pod, "metadata.namespace") + ".svc." + domain + "\t";
    out += hostname + "\n";
  }
  const JsonArray& aliases = array(*facts.pod, "spec.hostAliases");
  if (!aliases.empty()) out += "\n# Entries added by HostAliases.\n";
  for (const auto& alias : aliases) {
    out += text(alias, "ip");
    for (const auto& name : texts(alias, "hostnames")) out += "\t" + name;
    out += "\n";
  }
  return out;
}

std::string render_resolv_conf(const Json& pod, const DnsFacts& dns) {
  std::string policy = text(pod, "spec.dnsPolicy", "ClusterFirst");
  if (policy == "ClusterFirst" && flag(pod, "spec.hostNetwork")) policy = "Default";
  Resolver resolver;
  if (policy == "Default") resolver = parse_resolv_conf(dns.machine_resolv_conf);
  if (policy == "ClusterFirst" || policy == "ClusterFirstWithHostNet") {
    resolver.servers = dns.servers;
    resolver.search = {text(pod, "metadata.namespace") + ".svc." + dns.domain, "svc." + dns.domain, dns.domain};
    resolver.options = {"ndots:5"};
  }
  add_dns_config(pod, resolver);
  if (resolver.servers.size() > kMaxServers) resolver.servers.resize(kMaxServers);
  if (resolver.search.size() > kMaxSearch) resolver.search.resize(kMaxSearch);
  const auto line = [](const char* key, const std::vector<std::string>& words) {
    if (words.empty()) return std::string();
    std::string text_line = key;
    for (const auto& word : words) text_line += " " + word;
    return text_line + "\n";
  };
  std::string out = line("search", resolver.search);
  for (const auto& server : resolver.servers) out += "nameserver " + server + "\n";
  return out + line("options", resolver.options);
}

}  // namespace fairway::runtime
