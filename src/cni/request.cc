#include "cni/request.h"

#include <algorithm>
#include <boost/json.hpp>

#include "cni/names.h"

namespace fairway::cni {
namespace json = boost::json;
namespace {

constexpr std::size_t kMaxDepth = 32;
constexpr std::size_t kMaxPathBytes = 4096;
constexpr std::size_t kMaxPortMappings = 1024;
constexpr std::size_t kMaxAttachments = 65536;
constexpr std::uint64_t kMaxRateBits = std::uint64_t{1} << 50;

// Thrown within this file alone: the parser has many small steps, each of which may end it.
struct Refusal {
  CniError error;
};
[[noreturn]] void refuse(ErrorCode code, std::string message, std::string details = {}) {
  throw Refusal{{code, std::move(message), std::move(details)}};
}
[[noreturn]] void refuse_config(const std::string& field, const std::string& reason) {
  refuse(ErrorCode::kInvalidConfig, "invalid network configuration: " + field + ": " + reason);
}
[[noreturn]] void refuse_environment(const std::string& variable, const std::string& reason) {
  refuse(ErrorCode::kInvalidEnvironment, "invalid environment variable " + variable + ": " + reason);
}

// For messages: escaped, and cut between characters.
std::string quoted(std::string_view text) {
  std::size_t size = std::min<std::size_t>(text.size(), 200);
  while (size < text.size() && size > 0 && (static_cast<unsigned char>(text[size]) & 0xc0) == 0x80) --size;
  return json::serialize(json::value(text.substr(0, size)));
}

// Missing and null are the same: Go's encoders write null for an empty slice.
const json::value* field(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value != nullptr && value->is_null() ? nullptr : value;
}

const json::object* object_field(const json::object& object, std::string_view name, const std::string& path) {
  const json::value* value = field(object, name);
  if (value == nullptr) return nullptr;
  if (!value->is_object()) refuse_config(path, "is not an object");
  return &value->get_object();
}

const json::array* array_field(const json::object& object, std::string_view name, const std::string& path) {
  const json::value* value = field(object, name);
  if (value == nullptr) return nullptr;
  if (!value->is_array()) refuse_config(path, "is not an array");
  return &value->get_array();
}

std::string text_field(const json::object& object, std::string_view name, const std::string& path) {
  const json::value* value = field(object, name);
  if (value == nullptr) return {};
  if (!value->is_string()) refuse_config(path, "is not a string");
  return std::string(value->get_string());
}

std::uint64_t number_field(const json::object& object, std::string_view name, const std::string& path, std::uint64_t max) {
  const json::value* value = field(object, name);
  if (value == nullptr) return 0;
  if (value->is_int64() && value->get_int64() < 0) refuse_config(path, "is negative");
  if (!value->is_int64() && !value->is_uint64()) refuse_config(path, "is not a whole number");
  const std::uint64_t number = value->is_uint64() ? value->get_uint64() : static_cast<std::uint64_t>(value->get_int64());
  if (number > max) refuse_config(path, "is larger than " + std::to_string(max));
  return number;
}

std::vector<std::string> texts_field(const json::object& object, std::string_view name, const std::string& path) {
  std::vector<std::string> out;
  const json::array* array = array_field(object, name, path);
  if (array == nullptr) return out;
  for (const auto& item : *array) {
    if (!item.is_string()) refuse_config(path, "holds something that is not a string");
    out.emplace_back(item.get_string());
  }
  return out;
}

// What the plugin itself writes; a failure is a malformed environment.
std::string environment_field(const json::object& body, std::string_view name, const std::string& variable, std::size_t limit) {
  const json::value* value = field(body, name);
  if (value == nullptr) return {};
  if (!value->is_string()) refuse_environment(variable, "is not a string");
  if (value->get_string().size() > limit) refuse_environment(variable, "is longer than " + std::to_string(limit) + " bytes");
  return std::string(value->get_string());
}

Command parse_command(const json::object& body) {
  const std::string text = environment_field(body, "command", "CNI_COMMAND", 16);
  if (text == "ADD") return Command::kAdd;
  if (text == "DEL") return Command::kDel;
  if (text == "CHECK") return Command::kCheck;
  if (text == "STATUS") return Command::kStatus;
  if (text == "GC") return Command::kGc;
  if (text == "VERSION") return Command::kVersion;
  refuse_environment("CNI_COMMAND", quoted(text) + " is none of ADD, DEL, CHECK, STATUS, GC, VERSION");
}

void require_version(const CniRequest& request, std::string_view lowest, std::string_view what) {
  // All supported versions are of the form d.d.d with single digits, so text order is version order.
  if (std::string_view(request.version) < lowest) {
    refuse(ErrorCode::kIncompatibleVersion,
           std::string(what) + " needs cniVersion " + std::string(lowest) + " or later, the configuration has " + request.version);
  }
}

void parse_version(const json::object& config, CniRequest& request) {
  const std::string version = text_field(config, "cniVersion", "cniVersion");
  if (std::find(std::begin(kSupportedVersions), std::end(kSupportedVersions), version) == std::end(kSupportedVersions)) {
    refuse(ErrorCode::kIncompatibleVersion,
           "incompatible CNI version: the configuration has " + quoted(version) + ", supported are 0.3.1, 0.4.0, 1.0.0, 1.1.0");
  }
  request.version = version;
}

void parse_attachment(const json::object& body, CniRequest& request) {
  auto& [id, ifname] = request.attachment;
  id = environment_field(body, "containerId", "CNI_CONTAINERID", kMaxIdBytes);
  ifname = environment_field(body, "ifname", "CNI_IFNAME", kMaxIdBytes);
  if (!is_valid_id(id))
    refuse_environment("CNI_CONTAINERID", quoted(id) + " must begin with a letter or digit, followed by these, '_', '.' or '-'");
  if (!is_valid_ifname(ifname)) refuse_environment("CNI_IFNAME", quoted(ifname) + " is not an interface name");
  request.netns = environment_field(body, "netns", "CNI_NETNS", kMaxPathBytes);
  if (request.netns.empty() && request.command != Command::kDel) refuse_environment("CNI_NETNS", "is required");
  if (!request.netns.empty() && (request.netns.front() != '/' || request.netns.find('\0') != std::string::npos))
    refuse_environment("CNI_NETNS", quoted(request.netns) + " is not an absolute path");
}

// "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0"
void parse_args(const json::object& body, CniRequest& request) {
  const std::string args = environment_field(body, "args", "CNI_ARGS", kMaxPathBytes);
  for (std::size_t begin = 0; begin < args.size();) {
    const std::size_t end = std::min(args.find(';', begin), args.size());
    const std::string_view pair = std::string_view(args).substr(begin, end - begin);
    begin = end + 1;
    if (pair.empty()) continue;
    const std::size_t equals = pair.find('=');
    if (equals == std::string_view::npos) refuse_environment("CNI_ARGS", quoted(pair) + " is not KEY=VALUE");
    const std::string_view key = pair.substr(0, equals);
    const std::string value(pair.substr(equals + 1));
    if (key == "K8S_POD_NAMESPACE") request.pod.ns = value;
    if (key == "K8S_POD_NAME") request.pod.name = value;
    if (key == "K8S_POD_UID") request.pod_uid = value;
  }
}

net::IpAddr parse_ip(std::string_view text, const std::string& path) {
  auto ip = net::IpAddr::parse(text.substr(0, text.find('/')));
  if (!ip.ok()) refuse_config(path, quoted(text) + ": " + ip.error().message);
  return *ip;
}

void parse_ips(const json::object& runtime, CniRequest& request) {
  const std::string path = "runtimeConfig.ips";
  for (const auto& text : texts_field(runtime, "ips", path)) {
    const net::IpAddr ip = parse_ip(text, path);
    for (const auto& other : request.ips) {
      if (other.family() == ip.family())
        refuse_config(path, "more than one address of a family: " + other.to_string() + " and " + ip.to_string());
    }
    request.ips.push_back(ip);
  }
}

void parse_mac(const json::object& runtime, CniRequest& request) {
  const std::string text = text_field(runtime, "mac", "runtimeConfig.mac");
  if (text.empty()) return;
  auto mac = net::MacAddr::parse(text);
  if (!mac.ok()) refuse_config("runtimeConfig.mac", quoted(text) + ": " + mac.error().message);
  if ((mac->bytes[0] & 1) != 0 || *mac == net::MacAddr{}) refuse_config("runtimeConfig.mac", quoted(text) + " is not a unicast address");
  request.mac = *mac;
}

void parse_port_mappings(const json::object& runtime, CniRequest& request) {
  const json::array* array = array_field(runtime, "portMappings", "runtimeConfig.portMappings");
  if (array == nullptr) return;
  if (array->size() > kMaxPortMappings)
    refuse_config("runtimeConfig.portMappings", "more than " + std::to_string(kMaxPortMappings) + " entries");
  for (std::size_t i = 0; i < array->size(); ++i) {
    const std::string path = "runtimeConfig.portMappings[" + std::to_string(i) + "]";
    if (!(*array)[i].is_object()) refuse_config(path, "is not an object");
    const json::object& item = (*array)[i].get_object();
    model::PortMapping mapping;
    mapping.host_port = static_cast<std::uint16_t>(number_field(item, "hostPort", path + ".hostPort", 65535));
    mapping.container_port = static_cast<std::uint16_t>(number_field(item, "containerPort", path + ".containerPort", 65535));
    if (mapping.host_port == 0) continue;  // runtimes list ports without a hostPort too
    if (mapping.container_port == 0) refuse_config(path + ".containerPort", "is required");
    std::string protocol = text_field(item, "protocol", path + ".protocol");
    std::transform(protocol.begin(), protocol.end(), protocol.begin(),
                   [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; });
    const auto number = net::parse_protocol(protocol.empty() ? "TCP" : protocol);
    if (!number) refuse_config(path + ".protocol", quoted(protocol) + " is none of tcp, udp, sctp");
    mapping.protocol = *number;
    if (mapping.protocol == net::Protocol::kSctp) refuse_config(path + ".protocol", "SCTP is not supported");
    if (const std::string ip = text_field(item, "hostIP", path + ".hostIP"); !ip.empty()) mapping.host_ip = parse_ip(ip, path + ".hostIP");
    if (mapping.host_ip && mapping.host_ip->is_loopback())
      refuse_config(path + ".hostIP",
                    mapping.host_ip->to_string() + " is a loopback address: a hostPort is on addresses of the node that others reach");
    request.port_mappings.push_back(mapping);
  }
}

void parse_bandwidth(const json::object& runtime, CniRequest& request) {
  const std::string path = "runtimeConfig.bandwidth";
  const json::object* object = object_field(runtime, "bandwidth", path);
  if (object == nullptr) return;
  auto& out = request.bandwidth;
  out.ingress_rate = number_field(*object, "ingressRate", path + ".ingressRate", kMaxRateBits);
  out.ingress_burst = number_field(*object, "ingressBurst", path + ".ingressBurst", kMaxRateBits);
  out.egress_rate = number_field(*object, "egressRate", path + ".egressRate", kMaxRateBits);
  out.egress_burst = number_field(*object, "egressBurst", path + ".egressBurst", kMaxRateBits);
}

void parse_dns(const json::object& config, CniRequest& request) {
  const json::object* dns = object_field(config, "dns", "dns");
  if (dns == nullptr) return;
  request.dns = {.nameservers = texts_field(*dns, "nameservers", "dns.nameservers"),
                 .search = texts_field(*dns, "search", "dns.search"),
                 .options = texts_field(*dns, "options", "dns.options"),
                 .domain = text_field(*dns, "domain", "dns.domain")};
}

void parse_previous_result(const json::object& config, CniRequest& request) {
  const json::object* previous = object_field(config, "prevResult", "prevResult");
  if (previous == nullptr) refuse_config("prevResult", "is required for CHECK");
  const json::array* ips = array_field(*previous, "ips", "prevResult.ips");
  if (ips == nullptr) return;
  for (const auto& item : *ips) {
    if (!item.is_object()) refuse_config("prevResult.ips", "holds something that is not an object");
    request.previous_ips.push_back(parse_ip(text_field(item.get_object(), "address", "prevResult.ips.address"), "prevResult.ips.address"));
  }
}

// A missing list is not an empty one: that would collect every pod of the node.
void parse_valid_attachments(const json::object& config, CniRequest& request) {
  constexpr std::string_view kName = "cni.dev/valid-attachments";
  const std::string path(kName);
  if (config.if_contains(kName) == nullptr) refuse_config(path, "is required for GC");
  const json::array* array = array_field(config, kName, path);
  if (array == nullptr) return;
  if (array->size() > kMaxAttachments) refuse_config(path, "more than " + std::to_string(kMaxAttachments) + " entries");
  for (const auto& item : *array) {
    if (!item.is_object()) refuse_config(path, "holds something that is not an object");
    Attachment attachment{text_field(item.get_object(), "containerID", path + ".containerID"),
                          text_field(item.get_object(), "ifname", path + ".ifname")};
    if (attachment.container_id.empty() || attachment.ifname.empty()) refuse_config(path, "an entry lacks containerID or ifname");
    request.valid_attachments.push_back(std::move(attachment));
  }
}

void parse_config(const json::object& config, CniRequest& request) {
  const std::string name = text_field(config, "name", "name");
  if (!is_valid_id(name)) refuse_config("name", quoted(name) + " must begin with a letter or digit, followed by these, '_', '.' or '-'");
  if (request.command == Command::kCheck) require_version(request, "0.4.0", "CHECK");
  if (request.command == Command::kStatus) require_version(request, "1.1.0", "STATUS");
  if (request.command == Command::kGc) require_version(request, "1.1.0", "GC");
  if (request.command == Command::kGc) parse_valid_attachments(config, request);
  if (request.command == Command::kCheck) parse_previous_result(config, request);
  if (request.command != Command::kAdd) return;
  if (field(config, "prevResult") != nullptr)
    refuse_config("prevResult", "fairway-cni makes the pod's interface: it must be the first plugin of the list");
  parse_dns(config, request);
  const json::object* runtime = object_field(config, "runtimeConfig", "runtimeConfig");
  if (runtime == nullptr) return;
  parse_ips(*runtime, request);
  parse_mac(*runtime, request);
  parse_port_mappings(*runtime, request);
  parse_bandwidth(*runtime, request);
}

void parse(std::string_view text, CniRequest& request) {
  if (text.size() > kMaxRequestBytes)
    refuse(ErrorCode::kDecode, "the request is larger than " + std::to_string(kMaxRequestBytes) + " bytes");
  json::error_code failed;
  json::parse_options options;
  options.max_depth = kMaxDepth;
  const json::value value = json::parse(text, failed, {}, options);
  if (failed) refuse(ErrorCode::kDecode, "cannot decode the network configuration: " + failed.message());
  if (!value.is_object()) refuse(ErrorCode::kDecode, "cannot decode the network configuration: not a JSON object");
  const json::object& body = value.get_object();
  request.command = parse_command(body);
  const json::value* config = field(body, "config");
  if (config == nullptr || !config->is_object()) refuse(ErrorCode::kDecode, "cannot decode the network configuration: not a JSON object");
  if (request.command == Command::kVersion) return;  // asks for the versions, so any will do
  parse_version(config->get_object(), request);
  if (request.command == Command::kAdd || request.command == Command::kDel || request.command == Command::kCheck) {
    parse_attachment(body, request);
    parse_args(body, request);
  }
  parse_config(config->get_object(), request);
}

}  // namespace

std::variant<CniRequest, RequestError> parse_request(std::string_view body) {
  CniRequest request;
  try {
    parse(body, request);
    return request;
  } catch (Refusal& refusal) { return RequestError{std::move(refusal.error), request.version}; }
}

}  // namespace fairway::cni
