#include "lab/spec.h"

#include <boost/json.hpp>

#include "base/check.h"
#include "sys/file.h"

namespace fairway::lab {
namespace json = boost::json;
namespace {

net::Prefix prefix(const char* text) {
  auto parsed = net::Prefix::parse(text);
  FW_CHECK(parsed.ok());
  return *parsed;
}

json::object node_to_json(const NodeSpec& node) { return {{"name", node.name}, {"index", node.index}, {"subnet", node.subnet}}; }

}  // namespace

NodeSpec& LabSpec::add_node(const std::string& name) {
  NodeSpec node;
  node.index = next_index++;
  node.name = name.empty() ? "node-" + std::to_string(node.index) : name;
  node.subnet = (node.index - 1) % subnets;
  return nodes.emplace_back(std::move(node));
}

const NodeSpec* LabSpec::find(const std::string& name) const {
  for (const auto& node : nodes)
    if (node.name == name) return &node;
  return nullptr;
}

Result<LabSpec> read_spec(const std::string& path) {
  FW_ASSIGN(const std::string text, sys::read_file(path));
  boost::system::error_code ec;
  const auto value = json::parse(text, ec);
  if (ec || !value.is_object()) return make_error(Code::kInvalid, path + " is not a lab's description: " + ec.message());
  try {
    LabSpec spec;
    const auto& object = value.as_object();
    spec.next_index = object.at("nextIndex").to_number<unsigned>();
    spec.subnets = object.at("subnets").to_number<unsigned>();
    spec.datapath = object.at("datapath").as_string();
    spec.family = object.at("family").as_string();
    spec.api_port = object.at("apiPort").to_number<std::uint16_t>();
    spec.mtu = object.at("mtu").to_number<unsigned>();
    if (const auto* rows = object.if_contains("mostRows"))
      spec.most_rows = rows->to_number<unsigned>();  // a lab of an earlier build can be taken down
    for (const auto& upstream : object.at("dnsUpstreams").as_array()) spec.dns_upstreams.emplace_back(upstream.as_string());
    for (const auto& item : object.at("nodes").as_array()) {
      const auto& node = item.as_object();
      spec.nodes.push_back({.name = std::string(node.at("name").as_string()),
                            .index = node.at("index").to_number<unsigned>(),
                            .subnet = node.at("subnet").to_number<unsigned>()});
    }
    return spec;
  } catch (const std::exception& e) { return make_error(Code::kInvalid, path + " is not a lab's description: " + e.what()); }
}

Status write_spec(const LabSpec& spec, const std::string& path) {
  json::array nodes;
  for (const auto& node : spec.nodes) nodes.push_back(node_to_json(node));
  json::array upstreams(spec.dns_upstreams.begin(), spec.dns_upstreams.end());
  const json::object object = {{"nodes", nodes},
                               {"nextIndex", spec.next_index},
                               {"subnets", spec.subnets},
                               {"datapath", spec.datapath},
                               {"family", spec.family},
                               {"apiPort", spec.api_port},
                               {"dnsUpstreams", upstreams},
                               {"mtu", spec.mtu},
                               {"mostRows", spec.most_rows}};
  return sys::write_file_atomic(path, json::serialize(object) + "\n");
}

net::Prefix fabric_prefix(unsigned subnet, net::Family family) {
  const std::string n = std::to_string(subnet);
  return family == net::Family::kV4 ? prefix(("172.30." + n + ".0/24").c_str()) : prefix(("fd00:172:30:" + n + "::/64").c_str());
}

net::IpAddr fabric_gateway(unsigned subnet, net::Family family) { return *fabric_prefix(subnet, family).nth(1); }
net::IpAddr node_address(const NodeSpec& node, net::Family family) { return *fabric_prefix(node.subnet, family).nth(10 + node.index); }
net::Prefix outside_prefix(net::Family family) { return prefix(family == net::Family::kV4 ? "172.31.0.0/24" : "fd00:172:31::/64"); }
net::Prefix pod_range(net::Family family) { return prefix(family == net::Family::kV4 ? "10.244.0.0/16" : "fd00:10:244::/56"); }
net::Prefix service_range(net::Family family) { return prefix(family == net::Family::kV4 ? "10.96.0.0/16" : "fd00:10:96::/112"); }
net::IpAddr dns_address(net::Family family) { return *service_range(family).nth(10); }

std::vector<net::Family> families(const LabSpec& spec) {
  std::vector<net::Family> out;
  if (spec.v4()) out.push_back(net::Family::kV4);
  if (spec.v6()) out.push_back(net::Family::kV6);
  return out;
}

std::string join_families(const LabSpec& spec, const std::string& v4, const std::string& v6) {
  return spec.family == "dual" ? v4 + "," + v6 : spec.v4() ? v4 : v6;
}

}  // namespace fairway::lab
