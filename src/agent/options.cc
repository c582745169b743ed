#include "agent/options.h"

#include <CLI/CLI.hpp>
#include <fstream>
#include <iostream>
#include <sstream>

namespace fairway::agent {
namespace {

constexpr const char* kExamples =
    "Examples:\n"
    "  fairway-agent --node-name node-1 --kubeconfig /etc/fairway/kubeconfig \\\n"
    "      --cluster-cidr 10.244.0.0/16,fd00:10:244::/56 --service-cidr 10.96.0.0/16,fd00:10:96::/112 \\\n"
    "      --dns-ip 10.96.0.10,fd00:10:96::a\n"
    "  fairway-agent --node-name node-1 --datapath vxlan --upstream 192.0.2.53 --upstream [2001:db8::53]:5353 ...\n"
    "  curl --unix-socket /run/fairway/agent.sock http://agent/v1/status";

// Values may be repeated or separated by commas.
std::vector<std::string> split(const std::vector<std::string>& values) {
  std::vector<std::string> out;
  for (const auto& value : values) {
    std::stringstream stream(value);
    for (std::string part; std::getline(stream, part, ',');)
      if (!part.empty()) out.push_back(part);
  }
  return out;
}

template <typename T>
Result<std::vector<T>> parse_all(const std::vector<std::string>& values, const char* flag, Result<T> (*parse)(std::string_view)) {
  std::vector<T> out;
  for (const auto& text : split(values)) {
    auto one = parse(text);
    if (!one.ok()) return std::move(one).error().with_context(flag);
    out.push_back(*one);
  }
  return out;
}

template <typename T>
Status one_a_family(const std::vector<T>& values, const char* flag) {
  for (std::size_t i = 0; i < values.size(); ++i)
    for (std::size_t j = 0; j < i; ++j)
      if (values[i].family() == values[j].family()) return make_error(Code::kInvalid, std::string(flag) + ": two values of one family");
  return {};
}

// "192.0.2.53", "2001:db8::53", "192.0.2.53:5353" or "[2001:db8::53]:5353"
Result<net::SocketAddr> parse_upstream(std::string_view text) {
  if (const auto addr = net::IpAddr::parse(text); addr.ok()) return net::SocketAddr{*addr, 53};
  return net::SocketAddr::parse(text);
}

struct Raw {
  std::vector<std::string> cluster, service, dns, upstream;
  std::string datapath = "auto";
};

Status convert(const Raw& raw, Options& out) {
  FW_ASSIGN(out.cluster_ranges, parse_all<net::Prefix>(raw.cluster, "--cluster-cidr", &net::Prefix::parse));
  FW_ASSIGN(out.service_ranges, parse_all<net::Prefix>(raw.service, "--service-cidr", &net::Prefix::parse));
  FW_ASSIGN(out.dns_ips, parse_all<net::IpAddr>(raw.dns, "--dns-ip", &net::IpAddr::parse));
  out.no_upstreams = raw.upstream == std::vector<std::string>{"none"};
  if (!out.no_upstreams) { FW_ASSIGN(out.upstreams, parse_all<net::SocketAddr>(raw.upstream, "--upstream", &parse_upstream)); }
  FW_TRY(one_a_family(out.cluster_ranges, "--cluster-cidr"));
  FW_TRY(one_a_family(out.service_ranges, "--service-cidr"));
  FW_TRY(one_a_family(out.dns_ips, "--dns-ip"));
  for (const auto& cluster : out.cluster_ranges)
    for (const auto& service : out.service_ranges)
      if (cluster.overlaps(service))
        return make_error(Code::kInvalid,
                          "--cluster-cidr " + cluster.to_string() + " and --service-cidr " + service.to_string() + " overlap");
  for (const auto& ip : out.dns_ips)
    if (std::none_of(out.service_ranges.begin(), out.service_ranges.end(), [&](const auto& r) { return r.contains(ip); }))
      return make_error(Code::kInvalid, "--dns-ip " + ip.to_string() + " lies in no --service-cidr");
  out.datapath = *compile::routing::parse_mode(raw.datapath);
  return {};
}

}  // namespace

Parsed parse_options(int argc, char** argv) {
  Parsed out;
  Options& o = out.options;
  Raw raw;
  CLI::App app{
      "fairway-agent: a node's pod network, Services and DNS. Programs the kernel from the Kubernetes API, and serves the CNI plugin.",
      "fairway-agent"};
  app.footer(kExamples);
  app.set_version_flag("--version", FAIRWAY_VERSION);
  app.add_option("--node-name", o.node_name, "This node's name in the API")->required();
  app.add_option("--kubeconfig", o.kubeconfig, "How to reach the API server (default: $KUBECONFIG, else the pod's service account)")
      ->envname("KUBECONFIG");
  app.add_option("--run-dir", o.run_dir, "Folder of agent.sock")->capture_default_str();
  app.add_option("--state-dir", o.state_dir, "Folder of what must outlive a reboot: IPAM journal, last known objects")
      ->capture_default_str();
  app.add_option("--bpf-dir", o.bpf_dir, "Folder on a bpffs for pinned programs and maps")->capture_default_str();
  app.add_option("--cgroup", o.cgroup,
                 "cgroup2 folder under which processes' connections are translated (default: the root of the cgroup2 mount)");
  app.add_option("--datapath", raw.datapath, "How other nodes' pods are reached; auto: natively on the same subnet, else over VXLAN")
      ->check(CLI::IsMember({"auto", "native", "vxlan"}))
      ->capture_default_str();
  app.add_option("--cluster-cidr", raw.cluster, "Pod range of the whole cluster, at most one a family")->required();
  app.add_option("--service-cidr", raw.service, "Service range, at most one a family")->required();
  app.add_option("--dns-ip", raw.dns, "Address of the cluster DNS Service, at most one a family; none: no DNS server");
  app.add_option("--cluster-domain", o.cluster_domain, "The cluster's DNS domain")->capture_default_str();
  app.add_option("--upstream", raw.upstream,
                 "DNS server for names beyond the cluster, IP or IP:PORT, or none (default: those of /etc/resolv.conf)");
  app.add_option("--most-rows", o.most_rows, "Where the kernel's tables stop growing with the cluster")
      ->check(CLI::Range(64U, datapath::kMostRows))
      ->capture_default_str();
  app.add_option("--vni", o.vni, "VXLAN network identifier")->check(CLI::Range(1, 0xffffff))->capture_default_str();
  app.add_flag("-v,--verbose", o.verbose, "Log every change");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    out.exit_code = app.exit(e);
    return out;
  }
  if (const Status status = convert(raw, o); !status.ok()) {
    std::cerr << "fairway-agent: " << status.error().message << "\n";
    out.exit_code = 2;
  }
  return out;
}

}  // namespace fairway::agent
