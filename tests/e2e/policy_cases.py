"""The cases of the truth tables: every feature of both policy kinds, each with each of another sort, and changes one after the other.

A table has nine pods, so it holds nine policies of which each is about one pod: what one does is seen in that pod's column (ingress)
or row (egress) alone. So all pairs of peer and port that NetworkPolicy knows take some 60 tables, not 500.
Pure: what is drawn depends on the random source that is given and on the world's addresses.
"""
import itertools


def labels(**wanted):
    return {"matchLabels": wanted}


def expression(key, operator, *values):
    return {"matchExpressions": [{"key": key, "operator": operator, **({"values": list(values)} if values else {})}]}


def network_policy(ns, name, subject, types=None, ingress=None, egress=None):
    spec = {"podSelector": subject, "policyTypes": types, "ingress": ingress, "egress": egress}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name, "namespace": ns},
            "spec": {k: v for k, v in spec.items() if v is not None}}


def cluster_policy(name, tier, priority, subject, ingress=(), egress=()):
    return {"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy", "metadata": {"name": name},
            "spec": {"tier": tier, "priority": priority, "subject": subject, "ingress": list(ingress), "egress": list(egress)}}


class Parts:
    """What policies are made of, with this world's addresses."""

    def __init__(self, world, random):
        self.world, self.random = world, random

    def address(self, family, host=None):
        pods = [p for p in self.world.pods.values() if host is None or p["host"] == host]
        ip = next(i for i in self.random.choice(pods)["ips"] if (":" in i) == (family == 6))
        return f"{ip}/{128 if family == 6 else 32}"

    def node_range(self, family):
        return next(r for r in self.random.choice(self.world.nodes)["ranges"] if (":" in r) == (family == 6))

    def pod_selectors(self):
        pick = self.random.choice
        return [labels(pod=pick("abc")), {}, expression("pod", "In", *self.random.sample("abc", 2)), expression("pod", "NotIn", pick("abc")),
                expression("tier", "Exists"), expression("tier", "DoesNotExist"),
                {"matchLabels": {"app": "red"}, "matchExpressions": [{"key": "pod", "operator": "NotIn", "values": ["c"]}]}]

    def namespace_selectors(self):
        pick = self.random.choice
        return [labels(ns=pick("xyz")), {}, expression("ns", "In", *self.random.sample("xyz", 2)), expression("team", "NotIn", "red"),
                expression("team", "Exists"), expression("team", "DoesNotExist"), labels(**{"kubernetes.io/metadata.name": pick("xyz")})]

    def blocks(self):
        """ipBlocks on addresses of pods and of nodes."""
        pods4, pods6 = self.address(4, host=False), self.address(6, host=False)
        return [("a node's pods", [{"cidr": self.node_range(4)}, {"cidr": self.node_range(6)}]),
                ("all pods but one", [{"cidr": "10.244.0.0/16", "except": [pods4]}, {"cidr": "fd00:10:244::/48", "except": [pods6]}]),
                ("one pod", [{"cidr": pods4}, {"cidr": pods6}]),
                ("nodes", [{"cidr": "172.30.0.0/24"}, {"cidr": "fd00:172:30::/64"}]),
                ("a node", [{"cidr": self.address(4, host=True)}, {"cidr": self.address(6, host=True)}]),
                ("all of IPv4", [{"cidr": "0.0.0.0/0"}]),
                ("all of IPv6 but a node's pods", [{"cidr": "::/0", "except": [self.node_range(6)]}]),
                ("all but two, one within the other", [{"cidr": "0.0.0.0/0", "except": ["10.244.0.0/16", self.node_range(4)]}, {"cidr": "fd00::/8", "except": [pods6]}])]

    def network_peers(self):
        """Each feature of `from` and `to`: (what it is, the value; None: absent)."""
        pod_selectors, namespace_selectors = self.pod_selectors(), self.namespace_selectors()
        pick = self.random.choice
        out = [("absent", None), ("empty", [])]
        out += [("pods of the own namespace", [{"podSelector": s}]) for s in pod_selectors]
        out += [("namespaces", [{"namespaceSelector": s}]) for s in namespace_selectors]
        out += [("pods of namespaces", [{"namespaceSelector": s, "podSelector": pick(pod_selectors)}]) for s in namespace_selectors]
        out += [(f"ipBlock: {what}", [{"ipBlock": b} for b in blocks]) for what, blocks in self.blocks()]
        out += [("several", [{"podSelector": pick(pod_selectors)}, {"namespaceSelector": pick(namespace_selectors)}, {"ipBlock": {"cidr": self.address(4)}}])]
        return out

    def network_ports(self):
        return [("absent", None), ("empty", []), ("a number", [{"port": 80}]), ("UDP", [{"port": 81, "protocol": "UDP"}]),
                ("a protocol alone", [{"protocol": "UDP"}]), ("nothing: all of TCP", [{}]), ("a name", [{"port": "serve-81-tcp"}]),
                ("a name of UDP", [{"port": "serve-80-udp", "protocol": "UDP"}]), ("a name of other numbers", [{"port": "web"}]),
                ("a name of other protocols", [{"port": "web", "protocol": "UDP"}]), ("a range", [{"port": 79, "endPort": 80}]),
                ("a range of UDP", [{"port": 81, "endPort": 65535, "protocol": "UDP"}]), ("SCTP", [{"port": 80, "protocol": "SCTP"}]),
                ("several", [{"port": 80}, {"port": 81, "protocol": "UDP"}])]

    def rule(self, direction, peers, ports):
        where = "from" if direction == "ingress" else "to"
        return {**({where: peers} if peers is not None else {}), **({"ports": ports} if ports is not None else {})}

    def only(self, name):
        """Selects one pod of its namespace, in one of the ways there are."""
        others = [n for n in "abc" if n != name]
        return self.random.choice([labels(pod=name), expression("pod", "In", name), expression("pod", "NotIn", *others),
                                   {"matchLabels": {"pod": name}, "matchExpressions": [{"key": "pod", "operator": "Exists"}]}])

    # --- ClusterNetworkPolicy

    def cluster_pods(self):
        pick = self.random.choice
        return [{"namespaces": pick(self.namespace_selectors())}, {"namespaces": {}},
                {"pods": {"namespaceSelector": pick(self.namespace_selectors()), "podSelector": pick(self.pod_selectors())}},
                {"pods": {"podSelector": pick(self.pod_selectors())}}]

    def cluster_peers(self, direction):
        if direction == "ingress":
            return self.cluster_pods()
        pick = self.random.choice
        blocks = pick(self.blocks())[1]
        return self.cluster_pods() + [{"nodes": pick([{}, labels(zone="1"), expression("zone", "NotIn", "1")])},
                                      {"networks": [b["cidr"] for b in blocks]}, {"networks": [self.address(4), self.address(6)]}]

    def cluster_protocols(self, named):
        destination = lambda **port: {"destinationPort": port}  # noqa: E731
        out = [None, [{"tcp": destination(number=80)}], [{"udp": destination(number=81)}], [{"tcp": destination(range={"start": 80, "end": 81})}],
               [{"udp": destination(range={"start": 1, "end": 80})}], [{"sctp": destination(number=80)}],
               [{"tcp": destination(number=81)}, {"udp": destination(number=80)}]]
        if named:
            out += [[{"destinationNamedPort": "web"}], [{"destinationNamedPort": "serve-80-udp"}], [{"destinationNamedPort": "web"}, {"tcp": destination(number=81)}]]
        return out

    def cluster_rule(self, direction, action=None):
        pick = self.random.choice
        peer = pick(self.cluster_peers(direction))
        protocols = pick(self.cluster_protocols("nodes" not in peer and "networks" not in peer))
        return {"action": action or pick(["Accept", "Deny", "Pass"]), "from" if direction == "ingress" else "to": [peer],
                **({"protocols": protocols} if protocols else {})}

    def random_network_policy(self, ns, name):
        pick = self.random.choice
        peers, ports = self.network_peers(), self.network_ports()
        rules = {d: [self.rule(d, pick(peers)[1], pick(ports)[1]) for _ in range(self.random.randrange(3))] for d in ("ingress", "egress")}
        types = pick([None, ["Ingress"], ["Ingress"], ["Egress"], ["Ingress", "Egress"]])
        return network_policy(ns, name, pick(self.pod_selectors()), types, rules["ingress"] or pick([None, []]), rules["egress"] or pick([None, []]))

    def random_cluster_policy(self, number, tier):
        rules = {d: [self.cluster_rule(d) for _ in range(self.random.randrange(3))] for d in ("ingress", "egress")}
        # No two of a tier have one priority: which of them is asked first the API leaves open.
        return cluster_policy(f"{tier.lower()}-{number}", tier, 10 * number + self.random.randrange(10), self.random.choice(self.cluster_pods()), **rules)


def by_key(policies):
    return {f"{p['kind']} {p['metadata'].get('namespace', '')}/{p['metadata']['name']}": p for p in policies}


def feature_tables(parts, direction):
    """All pairs of peer and port, nine in a table: [(what, policies)]."""
    pairs = list(itertools.product(parts.network_peers(), parts.network_ports()))
    parts.random.shuffle(pairs)  # neighbours differ, so that one that is not enforced at all shows
    names = [(ns, name) for ns in "xyz" for name in "abc"]
    for start in range(0, len(pairs), len(names)):
        some = pairs[start:start + len(names)]
        policies = [network_policy(ns, f"only-{name}", parts.only(name), [direction.capitalize()], **{direction: [parts.rule(direction, peers, ports)]})
                    for (ns, name), ((_, peers), (_, ports)) in zip(names, some)]
        yield f"{direction} peers x ports, pairs {start} to {start + len(some) - 1}", by_key(policies)


def type_tables(parts):
    """policyTypes and its defaults by what rules there are: none, an empty list, one that lets all in."""
    kinds = list(itertools.product((None, ["Ingress"], ["Egress"], ["Ingress", "Egress"]), (None, [], [{}]), (None, [], [{}])))
    names = [(ns, name) for ns in "xyz" for name in "abc"]
    for start in range(0, len(kinds), len(names)):
        yield f"policyTypes and rules, {start} and on", by_key(
            network_policy(ns, f"only-{name}", labels(pod=name), *kind) for (ns, name), kind in zip(names, kinds[start:]))


def subject_tables(parts):
    for start in range(0, len(parts.pod_selectors()), 3):
        selectors = parts.pod_selectors()[start:start + 3]
        yield f"subjects, {start} and on", by_key(
            network_policy(ns, "some", s, ["Ingress", "Egress"], [{"from": [{"podSelector": {}}]}], [{"to": [{"namespaceSelector": {}}]}])
            for ns, s in zip("xyz", selectors))


def union_table(parts):
    return by_key(parts.random_network_policy(ns, f"p{i}") for ns in "xyz" for i in range(parts.random.randrange(1, 4)))


def tier_table(parts):
    """Rules of all three tiers over each other."""
    r = parts.random
    policies = [parts.random_cluster_policy(i, tier) for tier in ("Admin", "Baseline") for i in range(r.randrange(1, 5))]
    policies += [parts.random_network_policy(ns, "p0") for ns in "xyz" if r.random() < 0.6]
    return by_key(policies)


def change(parts, world):
    """One change of what there is, whatever it be; says which."""
    r = parts.random
    kind = r.choice(["pod label", "pod label", "namespace label", "edit", "edit", "add", "delete", "swap labels", "recreate", "recreate"])
    pod = r.choice([p for p in world.pods.values() if not p["host"]])
    key = r.choice(list(world.policies)) if world.policies else None
    if kind == "pod label":
        name, value = r.choice([("pod", r.choice("abc")), ("app", r.choice(["red", "blue"])), ("tier", r.choice(["front", None]))])
        pod["labels"] = {k: v for k, v in {**pod["labels"], name: value}.items() if v is not None}
        return f"pod {pod['ns']}/{pod['name']} is labelled {name}={value}"
    if kind == "swap labels":
        other = r.choice([p for p in world.pods.values() if not p["host"] and p is not pod])
        pod["labels"], other["labels"] = other["labels"], pod["labels"]
        return f"pods {pod['ns']}/{pod['name']} and {other['ns']}/{other['name']} swap labels"
    if kind == "namespace label":
        ns, team = r.choice("xyz"), r.choice(["red", "blue", None])
        world.namespaces[ns] = {"ns": world.namespaces[ns]["ns"], **({"team": team} if team else {})}
        return f"namespace {ns} is labelled team={team}"
    if kind == "recreate":
        fresh = lambda: {"pod": r.choice("abc"), "app": r.choice(["red", "blue"])}  # noqa: E731
        again = r.choice([p for p in world.pods.values() if not p["host"] and p["node"] == pod["node"]])
        some = [(pod, fresh(), again["ips"])] + ([(again, fresh(), pod["ips"])] if again is not pod else [])
        world.recreate(some)
        return " and ".join(f"pod {p['ns']}/{p['name']} is made anew at {ips[0]} with {labels}" for p, labels, ips in some)
    if kind == "delete" and key:
        del world.policies[key]
        return f"{key} is deleted"
    if kind == "edit" and key:
        old = world.policies[key]
        if old["kind"] == "NetworkPolicy":
            new = parts.random_network_policy(old["metadata"]["namespace"], old["metadata"]["name"])
        else:
            number = old["spec"]["priority"] // 10
            new = parts.random_cluster_policy(number, old["spec"]["tier"])
        part = r.choice(["ingress", "egress", "podSelector" if old["kind"] == "NetworkPolicy" else "subject"])
        spec = {k: v for k, v in old["spec"].items() if k != part}
        if part in new["spec"]:
            spec[part] = new["spec"][part]
        world.policies[key] = {**old, "spec": spec}
        return f"{key} gets another {part}"
    world.policies |= by_key([parts.random_network_policy(r.choice("xyz"), f"added-{r.randrange(3)}")])
    return "a policy is added"
