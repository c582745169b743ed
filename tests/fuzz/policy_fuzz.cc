// Bytes of the API as policies: whatever they are, decoding and reflecting end; a row that comes of them survives its
// codec; and what was not understood is never open: an unreadable rule allows nothing.
// fuzz-deps: fw_reflect
#include <cstddef>
#include <cstdint>
#include <string>

#include "k8s/decode.h"
#include "model/codec.h"
#include "reflect/cluster.h"
#include "reflect/reflect.h"

using namespace fairway;

namespace {

void check(bool holds) {
  if (!holds) __builtin_trap();
}

void check_selector(const model::LabelSelector& selector) {
  model::LabelSelector canonical = selector;
  canonicalize(canonical);
  check(canonical == selector);
}

void check_rules(const std::vector<k8s::SlimPolicyRule>& from, const std::vector<model::PolicyRule>& to, bool cluster) {
  if (to.empty()) return;  // of a direction that is not isolated
  check(from.size() == to.size());
  for (std::size_t i = 0; i < to.size(); ++i) {
    const bool closed_to_all = cluster && to[i].action == model::PolicyAction::kDeny && to[i].all_ports;
    if (from[i].fault) check(to[i].peers.empty() && (!to[i].all_peers || closed_to_all));
    if (to[i].all_peers) check(cluster ? closed_to_all : from[i].peers.empty());
    if (to[i].all_ports) check(from[i].ports.empty() || closed_to_all);
    for (const auto& port : to[i].ports) check(port.first <= port.last);
    for (const auto& peer : to[i].peers) {
      check_selector(peer.pods.pods);
      for (const auto& hole : peer.except) check(peer.network.contains(hole.addr()) && hole.length() > peer.network.length());
    }
  }
}

void reflect_one(k8s::Kind kind, const std::string& text) {
  k8s::Decoder decoder(kind);
  if (!decoder.decode_object(text).ok()) return;
  const k8s::SlimObject& object = decoder.object();
  model::Problems problems;
  reflect::Cluster cluster(problems);
  cluster.put(object);
  const auto name = reflect::reflect_name(object);
  if (!name.row || !object.bad_field.empty()) return;
  const bool cluster_wide = kind == k8s::Kind::kClusterNetworkPolicy;
  const auto reflected = cluster_wide ? reflect::reflect_cluster_network_policy(object) : reflect::reflect_network_policy(object);
  check(reflected.row || !reflected.problems.empty());
  check(cluster.find_policy(model::key_of(*name.row)) == reflected.row);
  if (!reflected.row) return;
  check(cluster_wide || reflected.row->isolates_ingress || reflected.row->isolates_egress);
  check_selector(reflected.row->subject.pods);
  check_rules(object.policy.ingress, reflected.row->ingress, cluster_wide);
  check_rules(object.policy.egress, reflected.row->egress, cluster_wide);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string text(reinterpret_cast<const char*>(data), size);
  (void)model::PolicyCodec::decode("ns/p", text);
  (void)model::PolicyCodec::decode("p", text);
  text.reserve(text.size() + k8s::Decoder::kPadding);
  reflect_one(k8s::Kind::kNetworkPolicy, text);
  reflect_one(k8s::Kind::kClusterNetworkPolicy, text);
  return 0;
}
