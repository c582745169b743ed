"""May this connection be made? The answer straight from the API's text: the third writing of it, beside the C++ oracle and the compiler.

Written from the comments of networking.k8s.io/v1 and policy.networking.k8s.io/v1alpha2 and from nothing else: no classes, no
caches, objects as kubectl prints them. Pure. Who reads it next to the API's reference should find each sentence there.

A cluster is {"namespaces": {name: labels}, "pods": [pod], "nodes": [node], "policies": [object]}; a pod {"ns", "name", "labels",
"ips", "node", "ports": [(name, number, protocol)], "host": on the node's network}; a node {"name", "labels", "ips"}.
"""
import ipaddress


def may_connect(cluster, source, target, protocol, port, family):
    """(allowed, why not). `source` and `target` are pods; the port is the target's own, after a Service was translated."""
    if source is target:
        return True, ""
    ends = ((source, target, "egress"), (target, source, "ingress"))
    for subject, peer, direction in ends:
        # Of a pod with the node's addresses no policy speaks; and what a pod's own node sends or gets is never refused.
        if subject["host"] or (peer["host"] and peer["node"] == subject["node"]):
            continue
        question = Question(cluster, subject, peer, target, direction, protocol, port, family)
        allowed, why = question.judge()
        if not allowed:
            return False, f"{direction} of {name_of(subject)}: {why}"
    return True, ""


def name_of(pod):
    return f"{pod['ns']}/{pod['name']}"


def address_of(end, family):
    return next(ip for ip in end["ips"] if (":" in ip) == (family == 6))


def matches(selector, labels):
    """A selector that asks for nothing matches everything; all that it asks for must hold."""
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for one in selector.get("matchExpressions") or []:
        key, operator, values = one["key"], one["operator"], one.get("values") or []
        holds = {"In": key in labels and labels[key] in values,
                 "NotIn": key not in labels or labels[key] not in values,
                 "Exists": key in labels,
                 "DoesNotExist": key not in labels}[operator]
        if not holds:
            return False
    return True


def within(cidr, address):
    network = ipaddress.ip_network(cidr, strict=False)
    return network.version == ipaddress.ip_address(address).version and ipaddress.ip_address(address) in network


class Question:
    def __init__(self, cluster, subject, peer, target, direction, protocol, port, family):
        self.cluster, self.subject, self.peer, self.target = cluster, subject, peer, target
        self.direction, self.protocol, self.port = direction, protocol, port
        self.peer_address = address_of(peer, family)

    def judge(self):
        verdict = self.tier("Admin")
        if verdict:
            return verdict
        isolating = [p for p in self.cluster["policies"] if p["kind"] == "NetworkPolicy" and self.isolates(p)]
        if isolating:
            if any(self.network_rule_matches(p, r) for p in isolating for r in p["spec"].get(self.direction) or []):
                return True, ""
            return False, "no rule of " + ", ".join(f"{p['metadata']['namespace']}/{p['metadata']['name']}" for p in isolating)
        return self.tier("Baseline") or (True, "")

    # --- NetworkPolicy

    def isolates(self, policy):
        spec = policy["spec"]
        types = spec.get("policyTypes") or ["Ingress"] + (["Egress"] if spec.get("egress") else [])
        return (policy["metadata"]["namespace"] == self.subject["ns"] and matches(spec.get("podSelector") or {}, self.subject["labels"])
                and self.direction.capitalize() in types)

    def network_rule_matches(self, policy, rule):
        peers = rule.get("from" if self.direction == "ingress" else "to")
        ports = rule.get("ports")
        return ((not peers or any(self.network_peer_matches(policy, p) for p in peers))
                and (not ports or any(self.network_port_matches(p) for p in ports)))

    def network_peer_matches(self, policy, peer):
        if "ipBlock" in peer:
            block = peer["ipBlock"]
            return within(block["cidr"], self.peer_address) and not any(within(e, self.peer_address) for e in block.get("except") or [])
        if self.peer["host"]:
            return False
        if "namespaceSelector" in peer:
            if not matches(peer["namespaceSelector"], self.cluster["namespaces"][self.peer["ns"]]):
                return False
        elif self.peer["ns"] != policy["metadata"]["namespace"]:
            return False
        return matches(peer.get("podSelector") or {}, self.peer["labels"])

    def network_port_matches(self, port):
        if port.get("protocol", "TCP") != self.protocol:
            return False
        if "port" not in port:
            return True
        if isinstance(port["port"], str):
            return self.has_named_port(port["port"])
        return port["port"] <= self.port <= port.get("endPort", port["port"])

    def has_named_port(self, name):
        """The name is one of the pod's that receives, whichever number it has there."""
        return not self.target["host"] and (name, self.port, self.protocol) in self.target["ports"]

    # --- ClusterNetworkPolicy

    def tier(self, tier):
        policies = [p for p in self.cluster["policies"] if p["kind"] == "ClusterNetworkPolicy" and p["spec"]["tier"] == tier]
        for policy in sorted(policies, key=lambda p: p["spec"]["priority"]):
            if not self.is_peer(policy["spec"]["subject"], self.subject):
                continue
            for number, rule in enumerate(policy["spec"].get(self.direction) or []):
                if self.cluster_rule_matches(rule):
                    if rule["action"] == "Pass":
                        return None
                    return rule["action"] == "Accept", f"{policy['metadata']['name']} {self.direction}[{number}]"
        return None

    def is_peer(self, peer, pod):
        if pod["host"]:
            return False
        labels = self.cluster["namespaces"][pod["ns"]]
        if "namespaces" in peer:
            return matches(peer["namespaces"], labels)
        if "pods" in peer:
            return matches(peer["pods"].get("namespaceSelector") or {}, labels) and matches(peer["pods"]["podSelector"], pod["labels"])
        return False

    def cluster_rule_matches(self, rule):
        return (any(self.cluster_peer_matches(p) for p in rule["from" if self.direction == "ingress" else "to"])
                and ("protocols" not in rule or any(self.cluster_protocol_matches(p) for p in rule["protocols"])))

    def cluster_peer_matches(self, peer):
        if "networks" in peer:
            return any(within(cidr, self.peer_address) for cidr in peer["networks"])
        if "nodes" in peer:
            return any(self.peer_address in n["ips"] and matches(peer["nodes"], n["labels"]) for n in self.cluster["nodes"])
        return self.is_peer(peer, self.peer)

    def cluster_protocol_matches(self, protocol):
        if "destinationNamedPort" in protocol:
            return self.has_named_port(protocol["destinationNamedPort"])
        kind, fields = next(iter(protocol.items()))
        if kind.upper() != self.protocol:
            return False
        port = fields["destinationPort"]
        return port["number"] == self.port if "number" in port else port["range"]["start"] <= self.port <= port["range"]["end"]
