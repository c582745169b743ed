#include "agent/explain_program.h"

#include <algorithm>
#include <boost/json.hpp>

#include "datapath/addr.h"
#include "datapath/drops.h"

namespace fairway::agent {
namespace {

namespace json = boost::json;

constexpr std::uint16_t kSourcePort = 40000;  // of the made packet: policy does not ask for it

net::MacAddr mac(const __u8 (&bytes)[6]) {
  net::MacAddr out;
  std::copy(std::begin(bytes), std::end(bytes), out.bytes.begin());
  return out;
}

}  // namespace

Result<ProgramRunner> ProgramRunner::of_pod(const View& view, const net::IpAddr& addr) {
  const auto row = view.datapath.endpoints().lookup(datapath::to_abi(addr));
  if (!row.ok() || (row->flags & FW_EP_LOCAL) == 0)
    return make_error(Code::kNotFound,
                      addr.to_string() + " is no pod of node " + view.options.node_name + ": its kernel has no row for it");
  FW_ASSIGN(const fw_local_if device, view.datapath.local_ifs().lookup(row->ifindex));
  return ProgramRunner(view, row->ifindex, device);
}

Result<ExplainedVerdict> ProgramRunner::verdict(Direction direction, const net::IpAddr& self, const net::SocketAddr& peer,
                                                std::uint8_t protocol) const {
  ExplainedVerdict out;
  const auto row = view_->datapath.endpoints().lookup(datapath::to_abi(peer.addr));
  if (peer.addr == self || (row.ok() && (row->flags & FW_EP_LOCAL) != 0 && row->ifindex == ifindex_)) {
    out.own = "a pod always reaches itself";
    return out;
  }
  if (row.ok() && (row->flags & FW_EP_NODE) != 0 && row->node == 0) {
    out.own = "a pod and its own node always reach each other";
    return out;
  }
  FW_ASSIGN(out.table, datapath::look_up_verdict(view_->datapath, ifindex_, static_cast<fw_policy_direction>(direction), peer.addr,
                                                 protocol, peer.port));
  return out;
}

json::object ProgramRunner::run(std::string_view program, std::uint32_t ifindex, const datapath::MadePacket& packet,
                                const Expected& expected) {
  json::object out{{"ran", program}};
  if (!dry_run_ && why_not_.empty()) {
    auto loaded = datapath::DryRun::load(view_->datapath);
    if (loaded.ok()) dry_run_ = std::move(*loaded);
    else why_not_ = loaded.error().message;
  }
  const auto outcome =
      dry_run_ ? dry_run_->run(program, ifindex, packet) : Result<datapath::DryRun::Outcome>(make_error(Code::kUnsupported, why_not_));
  if (!outcome.ok()) {
    out["result"] = "not run";
    out["text"] = outcome.error().message;
    return out;
  }
  const auto same = [](const std::optional<ExplainedVerdict>& told, const std::optional<std::uint32_t>& ran) {
    return !told || !told->own.empty() || ran.value_or(0) == told->table.rule;
  };
  const bool egress = !expected.egress || expected.egress->allowed(), ingress = !expected.ingress || expected.ingress->allowed();
  const std::string_view by_policy = !egress ? "policy-egress" : !ingress ? "policy-ingress" : "";
  const bool other = !outcome->dropped.empty() && !outcome->dropped.starts_with("policy-");
  // One end's rule is told of a packet that is denied: of that which denies it.
  const bool tells_egress = !egress || ingress, tells_ingress = egress;
  const bool agrees = other ? by_policy.empty()
                            : outcome->dropped == by_policy && (!tells_egress || same(expected.egress, outcome->egress_rule)) &&
                                  (!tells_ingress || same(expected.ingress, outcome->ingress_rule));
  out["agrees"] = agrees;
  out["result"] = outcome->dropped.empty() ? "passes" : "dropped";
  if (!outcome->dropped.empty()) out["reason"] = outcome->dropped;
  out["text"] = outcome->dropped.empty() ? "the packet passes" : "dropped: " + std::string(outcome->dropped);
  return out;
}

json::object ProgramRunner::departure(const net::IpAddr& self, const net::SocketAddr& to, std::uint8_t protocol, const NodePort& port) {
  Expected expected;
  if (auto egress = verdict(Direction::kEgress, self, to, protocol); egress.ok()) expected.egress = *egress;
  const auto other = of_pod(*view_, to.addr);
  if (other.ok() && other->ifindex_ != ifindex_)
    if (auto ingress = other->verdict(Direction::kIngress, to.addr, {self, to.port}, protocol); ingress.ok()) expected.ingress = *ingress;
  return run("pod_in", ifindex_, {mac(device_.mac), mac(device_.host_mac), {self, kSourcePort}, port.value_or(to), protocol, to.addr},
             expected);
}

json::object ProgramRunner::arrival(const net::IpAddr& from, const net::SocketAddr& self, std::uint8_t protocol, const NodePort& port) {
  const auto sender = view_->datapath.endpoints().lookup(datapath::to_abi(from));
  // From this node: the sender's program judged both ends, or nothing is judged.
  if (sender.ok() && ((sender->flags & FW_EP_LOCAL) != 0 || ((sender->flags & FW_EP_NODE) != 0 && sender->node == 0))) return {};
  const auto config = view_->datapath.config();
  if (!config.ok()) return {{"ran", ""}, {"result", "not run"}, {"text", config.error().message}};
  const auto node = sender.ok() ? view_->datapath.nodes().lookup(sender->node) : Result<fw_node>(fw_node{});
  // To a node's own address nothing goes by the overlay.
  const bool overlay = !port && sender.ok() && (sender->flags & FW_EP_NODE) == 0 && node.ok() && node->mode == FW_NODE_VXLAN;
  Expected expected;
  if (auto ingress = verdict(Direction::kIngress, self.addr, {from, self.port}, protocol); ingress.ok()) expected.ingress = *ingress;
  return run(overlay ? "overlay_in" : "uplink_in", overlay ? config->vxlan_ifindex : config->uplink_ifindex,
             {mac(device_.host_mac), mac(device_.mac), {from, kSourcePort}, port.value_or(self), protocol, self.addr}, expected);
}

}  // namespace fairway::agent
