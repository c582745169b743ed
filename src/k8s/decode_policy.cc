#include "k8s/decode_policy.h"

namespace fairway::k8s {
namespace {

constexpr std::size_t kShown = 64;  // of a name that nobody knows

class PolicyWalk final : JsonWalk {
 public:
  PolicyWalk(Kind kind, SlimPolicy& out) : cluster_(kind == Kind::kClusterNetworkPolicy), out_(out), fault_(&out.fault) {}

  void spec(od::value value) {
    fields(value, "", [&](std::string_view key, od::value v) {
      if (key == "ingress") rules(v, ".ingress", "from", out_.ingress);
      else if (key == "egress") rules(v, ".egress", "to", out_.egress);
      else if (!cluster_ && key == "podSelector") at(out_.subject.fault, [&] { selector(v, "", out_.subject.pods); });
      else if (!cluster_ && key == "policyTypes") texts(v, ".policyTypes", out_.types);
      else if (cluster_ && key == "tier") text(v, ".tier", out_.tier);
      else if (cluster_ && key == "priority") number(v, ".priority", out_.priority);
      else if (cluster_ && key == "subject") at(out_.subject.fault, [&] { cluster_peer(v, out_.subject); });
      else unknown(key, v);
    });
  }

 private:
  // Faults go to the innermost part that is being read.
  template <typename Read>
  void at(SlimFault& part, Read read) {
    SlimFault* const outer = fault_;
    fault_ = &part;
    read();
    fault_ = outer;
  }
  void bad(std::string_view field, std::string_view reason) override { set_fault(field, reason, true); }
  void wrong(std::string_view field, std::string_view reason) { set_fault(field, reason, false); }
  void set_fault(std::string_view field, std::string_view reason, bool wrong_type) {
    if (*fault_) return;
    fault_->field = field;
    fault_->reason = reason;
    fault_->wrong_type = wrong_type;
  }
  // A null says nothing.
  void unknown(std::string_view key, od::value& value, std::string_view within = "") {
    if (!is_null(value)) wrong(std::string(within) + "." + std::string(key.substr(0, kShown)), "is not known");
  }

  void rules(od::value value, std::string_view field, std::string_view peers, std::vector<SlimPolicyRule>& to) {
    items(value, field, [&](od::value item) {
      SlimPolicyRule& rule = to.emplace_back();
      at(rule.fault, [&] {
        if (is_null(item)) wrong("", "is null");  // a rule without anything would allow everything
        fields(item, "", [&](std::string_view key, od::value v) {
          if (key == peers) items(v, "." + std::string(peers), [&](od::value one) { peer(one, rule.peers.emplace_back()); });
          else if (key == (cluster_ ? "protocols" : "ports")) ports(v, "." + std::string(key), rule.ports);
          else if (cluster_ && key == "name") text(v, ".name", rule.name);
          else if (cluster_ && key == "action") text(v, ".action", rule.action);
          else unknown(key, v);
        });
      });
    });
  }

  void peer(od::value value, SlimPolicyPeer& to) {
    at(to.fault, [&] {
      if (cluster_) cluster_peer(value, to);
      else namespaced_peer(value, to);
    });
  }
  void namespaced_peer(od::value value, SlimPolicyPeer& to) {
    fields(value, "", [&](std::string_view key, od::value v) {
      if (is_null(v)) return;
      ++to.fields;
      if (key == "podSelector") selector(v, ".podSelector", to.pods);
      else if (key == "namespaceSelector") selector(v, ".namespaceSelector", to.namespaces);
      else if (key == "ipBlock") block(v, to);
      else unknown(key, v);
    });
  }
  void block(od::value value, SlimPolicyPeer& to) {
    to.has_block = true;
    fields(value, ".ipBlock", [&](std::string_view key, od::value v) {
      if (key == "cidr") text(v, ".ipBlock.cidr", to.cidr);
      else if (key == "except") texts(v, ".ipBlock.except", to.except);
      else unknown(key, v, ".ipBlock");
    });
  }
  void cluster_peer(od::value value, SlimPolicyPeer& to) {
    fields(value, "", [&](std::string_view key, od::value v) {
      if (is_null(v)) return;
      ++to.fields;
      if (key == "namespaces") selector(v, ".namespaces", to.namespaces);
      else if (key == "pods") namespaced_pods(v, to);
      else if (key == "nodes") selector(v, ".nodes", to.nodes);
      else if (key == "networks") texts(v, ".networks", to.networks);
      else if (key == "domainNames") texts(v, ".domainNames", to.domain_names);
      else unknown(key, v);
    });
  }
  void namespaced_pods(od::value value, SlimPolicyPeer& to) {
    to.has_pods = true;
    fields(value, ".pods", [&](std::string_view key, od::value v) {
      if (key == "namespaceSelector") selector(v, ".pods.namespaceSelector", to.namespaces);
      else if (key == "podSelector") selector(v, ".pods.podSelector", to.pods);
      else unknown(key, v, ".pods");
    });
  }

  void selector(od::value value, const std::string& field, SlimSelector& to) {
    to.present = !is_null(value);
    fields(value, field, [&](std::string_view key, od::value v) {
      const std::string inner = field + "." + std::string(key.substr(0, kShown));
      if (key == "matchLabels") {
        fields(v, inner, [&](std::string_view name, od::value label) {
          std::string_view content;
          text(label, inner, content);
          to.labels.emplace_back(name, content);
        });
      } else if (key == "matchExpressions") {
        items(v, inner, [&](od::value item) { requirement(item, inner + "[]", to.expressions.emplace_back()); });
      } else {
        unknown(key, v, field);
      }
    });
  }
  void requirement(od::value item, const std::string& field, SlimRequirement& to) {
    fields(item, field, [&](std::string_view key, od::value v) {
      if (key == "key") text(v, field + ".key", to.key);
      else if (key == "operator") text(v, field + ".operator", to.op);
      else if (key == "values") texts(v, field + ".values", to.values);
      else unknown(key, v, field);
    });
  }

  void ports(od::value value, const std::string& field, std::vector<SlimPolicyPort>& to) {
    items(value, field, [&](od::value item) {
      SlimPolicyPort& port = to.emplace_back();
      at(port.fault, [&] {
        if (is_null(item)) wrong("", "is null");
        fields(item, "", [&](std::string_view key, od::value v) {
          if (cluster_) protocol(key, v, port);
          else if (key == "protocol") text(v, ".protocol", port.protocol);
          else if (key == "port") number_or_name(v, port);
          else if (key == "endPort") number(v, ".endPort", port.last);
          else unknown(key, v);
        });
      });
    });
  }
  void number_or_name(od::value v, SlimPolicyPort& port) {
    if (v.type() != od::json_type::string) return number(v, ".port", port.first);
    text(v, ".port", port.name);
    if (port.name.empty()) wrong(".port", "is an empty name");  // not the same as none
  }
  void protocol(std::string_view key, od::value v, SlimPolicyPort& port) {
    if (is_null(v)) return;
    ++port.fields;
    if (key == "destinationNamedPort") return text(v, ".destinationNamedPort", port.name);
    if (key == "tcp") port.protocol = "TCP";
    else if (key == "udp") port.protocol = "UDP";
    else if (key == "sctp") port.protocol = "SCTP";
    else return unknown(key, v);
    const std::string field = "." + std::string(key);
    fields(v, field, [&](std::string_view k, od::value destination) {
      if (k == "destinationPort") destination_port(destination, field + ".destinationPort", port);
      else unknown(k, destination, field);
    });
    // `tcp: {}` is refused by the API: the condition that it had is one that this server does not know.
    if (!port.first) wrong(field, "has no condition that is known");
  }
  void destination_port(od::value value, const std::string& field, SlimPolicyPort& port) {
    unsigned conditions = 0;
    fields(value, field, [&](std::string_view key, od::value v) {
      if (is_null(v)) return;
      ++conditions;
      if (key == "number") {
        number(v, field + ".number", port.first);
      } else if (key == "range") {
        fields(v, field + ".range", [&](std::string_view k, od::value end) {
          if (k == "start") number(end, field + ".range.start", port.first);
          else if (k == "end") number(end, field + ".range.end", port.last);
          else unknown(k, end, field + ".range");
        });
        if (!port.first || !port.last || *port.first >= *port.last) wrong(field + ".range", "must have a start that is less than its end");
      } else {
        unknown(key, v, field);
      }
    });
    if (conditions > 1) wrong(field, "must have exactly one of number and range");
  }

  const bool cluster_;
  SlimPolicy& out_;
  SlimFault* fault_;
};

}  // namespace

void decode_policy_spec(Kind kind, od::value spec, SlimPolicy& to) { PolicyWalk(kind, to).spec(spec); }

}  // namespace fairway::k8s
