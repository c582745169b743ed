#include "agent/explain_ends.h"

#include <netinet/in.h>

#include <algorithm>
#include <charconv>

namespace fairway::agent {
namespace {

using k8s::Kind;

constexpr std::size_t kMostHints = 5;

Error not_found(const std::string& word, const std::string& why) { return make_error(Code::kNotFound, "\"" + word + "\": " + why); }

std::optional<End> pod_end(const View& view, const std::string& key) {
  auto pod = view.cluster.find_pod(key);
  if (!pod || pod->terminated) return std::nullopt;
  End out{End::Kind::kPod, key, pod->node, pod->ips, {}, {}, ""};
  // It has no address of its own, and policies do not select it: it is its node.
  if (pod->host_network) out.kind = End::Kind::kNode;
  out.pod = std::move(pod);
  return out;
}

std::optional<End> service_end(const View& view, const std::string& key) {
  auto service = view.cluster.find_service(key);
  if (!service) return std::nullopt;
  End out{End::Kind::kService, key, "", service->cluster_ips, {}, {}, ""};
  out.service = std::move(service);
  return out;
}

std::optional<End> node_end(const View& view, const std::string& name) {
  const auto node = view.cluster.find_node(name);
  if (!node) return std::nullopt;
  return End{End::Kind::kNode, name, name, node->addresses, {}, {}, ""};
}

End address_end(const View& view, const net::IpAddr& addr) {
  if (const auto node = view.cluster.node_of(addr)) return {End::Kind::kNode, *node, *node, {addr}, {}, {}, ""};
  const auto pods = view.cluster.pods_of(addr);
  if (!pods.empty())
    if (auto pod = pod_end(view, pods.front())) {
      pod->ips = {addr};
      return *pod;
    }
  std::optional<End> found;
  view.cluster.table(Kind::kService).for_each([&](std::string_view key, std::string_view bytes) {
    const auto row = found ? std::nullopt : model::ServiceCodec::decode(key, bytes);
    if (row && std::find(row->cluster_ips.begin(), row->cluster_ips.end(), addr) != row->cluster_ips.end())
      found = service_end(view, std::string(key));
  });
  if (!found) return {End::Kind::kAddress, "", "", {addr}, {}, {}, ""};
  found->ips = {addr};
  return *found;
}

// Namespaces that have a pod or Service of this name, as words to be typed.
std::string elsewhere(const View& view, const std::string& name) {
  std::vector<std::string> found;
  for (const Kind kind : {Kind::kPod, Kind::kService})
    view.cluster.table(kind).for_each([&](std::string_view key, std::string_view) {
      const auto slash = key.find('/');
      if (slash == std::string_view::npos || found.size() >= kMostHints) return;
      const auto there = key.substr(slash + 1);
      // A pod of a Deployment has a longer name than one remembers.
      if (there == name || there.starts_with(name + "-")) found.emplace_back(key);
    });
  std::string out;
  for (const auto& key : found) out += (out.empty() ? "" : ", ") + key;
  return out.empty() ? "" : "; there is " + out;
}

std::vector<std::string> split(const std::string& text, char by) {
  std::vector<std::string> out(1);
  for (const char c : text) {
    if (c == by) out.emplace_back();
    else out.back() += c;
  }
  return out;
}

// As a pod's resolver asks, by its search list; the cluster's zone alone.
Result<End> name_end(const View& view, const std::string& word, const Question& question) {
  if (view.zone == nullptr) return not_found(word, "this node serves no DNS; give the address");
  const std::string domain = view.options.cluster_domain;
  std::string bare = word;
  const bool rooted = bare.ends_with('.');
  if (rooted) bare.pop_back();
  std::transform(bare.begin(), bare.end(), bare.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  std::vector<std::string> candidates;
  if (!rooted) candidates = {bare + "." + question.ns + ".svc." + domain, bare + ".svc." + domain, bare + "." + domain};
  candidates.push_back(bare);
  using compile::dns::Answer;
  for (const std::string& full : candidates) {
    const auto texts = split(full, '.');
    const std::vector<std::string_view> labels(texts.begin(), texts.end());
    const auto type = question.v6 ? compile::dns::RecordType::kAaaa : compile::dns::RecordType::kA;
    const auto answer = view.zone->lookup(labels, static_cast<std::uint16_t>(type));
    if (answer.kind == Answer::Kind::kCname)
      return not_found(word, "is another name for " + answer.records.front().target + "; explain that");
    if (answer.kind != Answer::Kind::kRecords || answer.records.empty()) continue;
    End out = address_end(view, answer.records.front().addr);
    out.by_name = full;
    for (const auto& record : answer.records) out.named.push_back(record.addr);
    return out;
  }
  return not_found(word, "the cluster's DNS has no such name; a name beyond the cluster: give its address");
}

}  // namespace

Result<End> find_end(const View& view, const std::string& word, const Question& question) {
  if (word == "outside")
    return End{End::Kind::kAddress, "outside", "", {*net::IpAddr::parse("203.0.113.1"), *net::IpAddr::parse("2001:db8::1")}, {}, {}, ""};
  if (const auto addr = net::IpAddr::parse(word); addr.ok()) return address_end(view, *addr);
  const auto slash = word.find('/');
  const std::string first = word.substr(0, slash), rest = slash == std::string::npos ? "" : word.substr(slash + 1);
  const std::string key = question.ns + "/" + rest;
  if (first == "node" && !rest.empty()) {
    if (auto node = node_end(view, rest)) return *node;
    return not_found(word, "no such node; kubectl get nodes lists them");
  }
  if (first == "pod" && !rest.empty()) {
    if (auto pod = pod_end(view, key)) return *pod;
    return not_found(word, "namespace " + question.ns + " has no such pod" + elsewhere(view, rest));
  }
  if ((first == "svc" || first == "service") && !rest.empty()) {
    if (auto service = service_end(view, key)) return *service;
    return not_found(word, "namespace " + question.ns + " has no such Service" + elsewhere(view, rest));
  }
  const std::string full = slash == std::string::npos ? question.ns + "/" + word : word;
  auto pod = pod_end(view, full), service = service_end(view, full);
  if (pod && service) {
    const auto id = model::name_of(full);
    return make_error(Code::kInvalid, "\"" + word + "\" is a pod and a Service: say pod/" + id.name + " or svc/" + id.name +
                                          (id.ns == question.ns ? "" : " with -n " + id.ns));
  }
  if (pod) return *pod;
  if (service) return *service;
  if (slash == std::string::npos)
    if (auto node = node_end(view, word)) return *node;
  if (slash == std::string::npos && word.find('.') != std::string::npos) return name_end(view, word, question);
  const auto id = model::name_of(full);
  return not_found(word, "namespace " + id.ns + " has no pod or Service of that name" + elsewhere(view, id.name) +
                             (slash == std::string::npos ? "; another namespace: -n NAMESPACE or NAMESPACE/NAME" : ""));
}

Result<Port> find_port(const End& to, const Question& question) {
  std::vector<model::NamedPort> ports;
  if (to.service)
    for (const auto& p : to.service->ports) ports.push_back({p.name, p.protocol, p.port});
  else if (to.pod && to.kind == End::Kind::kPod) ports = to.pod->ports;
  const auto fits = [&](const model::NamedPort& p) {
    return !question.protocol || *question.protocol == static_cast<std::uint8_t>(p.protocol);
  };
  std::string known;
  std::vector<model::NamedPort> found;
  std::uint16_t number = 0;
  const auto [end, error] = std::from_chars(question.port.data(), question.port.data() + question.port.size(), number);
  const bool numeric = !question.port.empty() && error == std::errc() && end == question.port.data() + question.port.size();
  for (const auto& p : ports) {
    known += (known.empty() ? "" : ", ") + std::to_string(p.port) + "/" + std::string(net::to_string(p.protocol)) +
             (p.name.empty() ? "" : " (" + p.name + ")");
    if (fits(p) && (numeric ? p.port == number : question.port.empty() ? to.service.has_value() : p.name == question.port))
      found.push_back(p);
  }
  const bool icmp = question.protocol && (*question.protocol == IPPROTO_ICMP || *question.protocol == IPPROTO_ICMPV6);
  if (icmp) return Port{0, *question.protocol};
  if (numeric && number == 0) return make_error(Code::kInvalid, "\"0\" is no port: it is from 1 to 65535");
  if (found.size() == 1 || (!found.empty() && numeric)) return Port{found.front().port, static_cast<std::uint8_t>(found.front().protocol)};
  if (numeric) return Port{number, question.protocol.value_or(IPPROTO_TCP)};
  const std::string hint = (known.empty() ? "" : "; " + to.name + " names " + known) + ": add :PORT, or :PORT/UDP, or :icmp";
  if (question.port.empty()) return make_error(Code::kInvalid, "the port is missing" + hint);
  return make_error(Code::kInvalid, "\"" + question.port + "\" is no port" + hint);
}

Result<std::pair<net::IpAddr, net::IpAddr>> common_family(const End& from, const End& to, bool v6) {
  for (const bool v4 : {!v6, v6}) {
    const auto of = [v4](const End& end) {
      return std::find_if(end.ips.begin(), end.ips.end(), [v4](const net::IpAddr& a) { return a.is_v4() == v4; });
    };
    if (of(from) != from.ips.end() && of(to) != to.ips.end()) return std::pair{*of(from), *of(to)};
  }
  for (const End* end : {&from, &to})
    if (end->ips.empty())
      return make_error(Code::kInvalid,
                        end->name + " has no address" +
                            (end->service ? ": it is headless; explain its DNS name, or one of its pods" : " yet: wait until it runs"));
  return make_error(Code::kInvalid, from.name + " and " + to.name + " have no address of one family");
}

}  // namespace fairway::agent
