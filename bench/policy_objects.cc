#include "policy_objects.h"

#include <fmt/format.h>

namespace fairway::bench {

model::LabelSelector with_label(const std::string& key, const std::string& value) {
  return {{{key, model::LabelRequirement::Op::kIn, {value}}}};
}
model::Policy policy(const std::string& ns, const std::string& name, model::LabelSelector subject) {
  model::Policy out;
  out.id = {ns, name};
  out.uid = fmt::format("6f1c1c3e-0000-4000-8000-{:012x}", std::hash<std::string>{}(ns + name) & 0xffffffffffff);
  out.subject.pods = std::move(subject);
  out.isolates_ingress = true;
  return out;
}
model::PolicyRule from_pods(model::PodSelector pods, std::uint16_t port) {
  model::PolicyRule out;
  out.peers = {{.kind = model::PolicyPeer::Kind::kPods, .pods = std::move(pods)}};
  out.all_ports = port == 0;
  if (port != 0) out.ports = {{net::Protocol::kTcp, port, port, ""}};
  return out;
}
model::Pod pod(const std::string& ns, unsigned number, model::Labels labels) {
  model::Pod out;
  out.id = {ns, fmt::format("pod-{}", number)};
  out.uid = fmt::format("0d3f6f8e-0000-4000-8000-{:012x}", number);
  out.ips = {net::IpAddr::v4(0x0a000001U + number)};
  out.labels = std::move(labels);
  out.ports = {{"http", net::Protocol::kTcp, 8080}};
  return out;
}

}  // namespace fairway::bench
