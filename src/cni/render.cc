#include "cni/render.h"

#include <boost/json.hpp>

#include "hostnet/pod_link.h"

namespace fairway::cni {
namespace json = boost::json;
namespace {

json::array interfaces(std::string_view version, const model::LocalEndpoint& endpoint) {
  json::object host{{"name", endpoint.host_ifname}, {"mac", endpoint.host_mac.to_string()}};
  json::object pod{{"name", endpoint.ifname}, {"mac", endpoint.pod_mac.to_string()}, {"sandbox", endpoint.netns_path}};
  if (version >= "1.1.0") host["mtu"] = pod["mtu"] = endpoint.mtu;
  return {std::move(host), std::move(pod)};
}

json::array ips(std::string_view version, const model::LocalEndpoint& endpoint) {
  json::array out;
  for (const auto& ip : endpoint.ips) {
    json::object row;
    if (version < "1.0.0") row["version"] = ip.is_v4() ? "4" : "6";
    row["interface"] = 1;
    row["address"] = net::Prefix(ip).to_string();
    row["gateway"] = hostnet::pod_gateway(ip.family()).to_string();
    out.push_back(std::move(row));
  }
  return out;
}

json::array routes(const model::LocalEndpoint& endpoint) {
  json::array out;
  for (const auto& ip : endpoint.ips) {
    out.push_back(json::object{{"dst", ip.is_v4() ? "0.0.0.0/0" : "::/0"}, {"gw", hostnet::pod_gateway(ip.family()).to_string()}});
  }
  return out;
}

json::array texts(const std::vector<std::string>& items) { return json::array(items.begin(), items.end()); }

json::object dns_object(const DnsConfig& dns) {
  json::object out;
  if (!dns.nameservers.empty()) out["nameservers"] = texts(dns.nameservers);
  if (!dns.domain.empty()) out["domain"] = dns.domain;
  if (!dns.search.empty()) out["search"] = texts(dns.search);
  if (!dns.options.empty()) out["options"] = texts(dns.options);
  return out;
}

// Reads of the journal's own records. Its checksum held, so a wrong type is a program's error of another version:
// an Error, not a guess.
struct Malformed {
  std::string what;
};
const json::value& at(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  if (value == nullptr) throw Malformed{std::string(name) + " is missing"};
  return *value;
}
std::string text_of(const json::object& object, std::string_view name) {
  const json::value& value = at(object, name);
  if (!value.is_string()) throw Malformed{std::string(name) + " is not a string"};
  return std::string(value.get_string());
}
template <typename T>
T number_of(const json::object& object, std::string_view name) {
  json::error_code failed;
  const T number = at(object, name).to_number<T>(failed);
  if (failed) throw Malformed{std::string(name) + " is not a number in range"};
  return number;
}
const json::array& array_of(const json::object& object, std::string_view name) {
  const json::value& value = at(object, name);
  if (!value.is_array()) throw Malformed{std::string(name) + " is not an array"};
  return value.get_array();
}
template <typename T>
T parsed(Result<T> result) {
  if (!result.ok()) throw Malformed{result.error().message};
  return *std::move(result);
}

model::PortMapping parse_mapping(const json::value& item) {
  if (!item.is_object()) throw Malformed{"a port mapping is not an object"};
  const json::object& object = item.get_object();
  model::PortMapping out{.host_port = number_of<std::uint16_t>(object, "hostPort"),
                         .container_port = number_of<std::uint16_t>(object, "containerPort")};
  const auto protocol = net::parse_protocol(text_of(object, "protocol"));
  if (!protocol) throw Malformed{"protocol of a port mapping is unknown"};
  out.protocol = *protocol;
  if (object.contains("hostIP")) out.host_ip = parsed(net::IpAddr::parse(text_of(object, "hostIP")));
  return out;
}

model::LocalEndpoint parse_object(const json::object& object) {
  model::LocalEndpoint out;
  out.sandbox_id = text_of(object, "sandbox");
  out.ifname = text_of(object, "ifname");
  out.netns_path = text_of(object, "netns");
  out.netns_cookie = number_of<std::uint64_t>(object, "cookie");
  out.pod = {text_of(object, "podNamespace"), text_of(object, "podName")};
  out.pod_uid = text_of(object, "podUid");
  out.host_ifname = text_of(object, "hostIfname");
  out.host_ifindex = number_of<std::uint32_t>(object, "hostIfindex");
  out.pod_ifindex = number_of<std::uint32_t>(object, "podIfindex");
  out.host_mac = parsed(net::MacAddr::parse(text_of(object, "hostMac")));
  out.pod_mac = parsed(net::MacAddr::parse(text_of(object, "podMac")));
  out.mtu = number_of<std::uint32_t>(object, "mtu");
  for (const auto& item : array_of(object, "ips")) {
    if (!item.is_string()) throw Malformed{"an address is not a string"};
    out.ips.push_back(parsed(net::IpAddr::parse(item.get_string())));
  }
  for (const auto& item : array_of(object, "portMappings")) out.port_mappings.push_back(parse_mapping(item));
  const json::array& rates = array_of(object, "bandwidth");
  if (rates.size() != 4) throw Malformed{"bandwidth has not four numbers"};
  std::uint64_t* const fields[] = {&out.bandwidth.ingress_rate, &out.bandwidth.ingress_burst, &out.bandwidth.egress_rate,
                                   &out.bandwidth.egress_burst};
  for (std::size_t i = 0; i < rates.size(); ++i) {
    json::error_code failed;
    *fields[i] = rates[i].to_number<std::uint64_t>(failed);
    if (failed) throw Malformed{"bandwidth holds something that is not a number"};
  }
  return out;
}

}  // namespace

std::string render_result(std::string_view version, const model::LocalEndpoint& endpoint, const DnsConfig& dns) {
  const json::object out{{"cniVersion", version},
                         {"interfaces", interfaces(version, endpoint)},
                         {"ips", ips(version, endpoint)},
                         {"routes", routes(endpoint)},
                         {"dns", dns_object(dns)}};
  return json::serialize(out);
}

std::string render_error(std::string_view version, const CniError& error) {
  json::object out{{"cniVersion", version}, {"code", static_cast<unsigned>(error.code)}, {"msg", error.message}};
  if (!error.details.empty()) out["details"] = error.details;
  return json::serialize(out);
}

std::string render_versions() {
  json::array versions(std::begin(kSupportedVersions), std::end(kSupportedVersions));
  return json::serialize(json::object{{"cniVersion", kLatestVersion}, {"supportedVersions", std::move(versions)}});
}

int http_status(ErrorCode code) {
  switch (code) {
    case ErrorCode::kTryAgainLater:
    case ErrorCode::kNotAvailable:
    case ErrorCode::kLimitedConnectivity:
      return 503;
    case ErrorCode::kIo:
    case ErrorCode::kNetworkSetup:
    case ErrorCode::kCheckFailed:
      return 500;
    default:
      return 400;
  }
}

std::string render_endpoint(const model::LocalEndpoint& endpoint) {
  json::array addresses, mappings;
  for (const auto& ip : endpoint.ips) addresses.emplace_back(ip.to_string());
  for (const auto& mapping : endpoint.port_mappings) {
    json::object row{
        {"hostPort", mapping.host_port}, {"containerPort", mapping.container_port}, {"protocol", net::to_string(mapping.protocol)}};
    if (mapping.host_ip) row["hostIP"] = mapping.host_ip->to_string();
    mappings.push_back(std::move(row));
  }
  const auto& rates = endpoint.bandwidth;
  return json::serialize(
      json::object{{"sandbox", endpoint.sandbox_id},
                   {"ifname", endpoint.ifname},
                   {"netns", endpoint.netns_path},
                   {"cookie", endpoint.netns_cookie},
                   {"podNamespace", endpoint.pod.ns},
                   {"podName", endpoint.pod.name},
                   {"podUid", endpoint.pod_uid},
                   {"hostIfname", endpoint.host_ifname},
                   {"hostIfindex", endpoint.host_ifindex},
                   {"podIfindex", endpoint.pod_ifindex},
                   {"hostMac", endpoint.host_mac.to_string()},
                   {"podMac", endpoint.pod_mac.to_string()},
                   {"mtu", endpoint.mtu},
                   {"ips", std::move(addresses)},
                   {"portMappings", std::move(mappings)},
                   {"bandwidth", json::array{rates.ingress_rate, rates.ingress_burst, rates.egress_rate, rates.egress_burst}}});
}

Result<model::LocalEndpoint> parse_endpoint(std::string_view text) {
  json::error_code failed;
  const json::value value = json::parse(text, failed);
  if (failed || !value.is_object()) return make_error(Code::kInvalid, "endpoint record is not a JSON object");
  try {
    return parse_object(value.get_object());
  } catch (const Malformed& malformed) { return make_error(Code::kInvalid, "endpoint record: " + malformed.what); }
}

}  // namespace fairway::cni
