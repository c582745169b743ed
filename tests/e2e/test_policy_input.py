"""Policies that Kubernetes would refuse are refused in its words, by kubectl; what it takes means what it means there."""
import json

from lab import Case, eventually, netexec, shell_pod
from test_policy import PolicyCase, policy

CNP = {"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy"}


def ports(*listed):
    return policy("bad", {}, ingress=[{"ports": list(listed)}])


def block(**fields):
    return policy("bad", {}, types=["Egress"], egress=[{"to": [{"ipBlock": fields}]}])


def cluster(spec, **change):
    base = {"tier": "Admin", "priority": 10, "subject": {"namespaces": {}}}
    return {**CNP, "metadata": {"name": "bad"}, "spec": {k: v for k, v in {**base, **spec, **change}.items() if v is not None}}


def rule(**fields):
    return {"action": "Deny", "from": [{"namespaces": {}}], **fields}


NETWORK_POLICIES = {
    "an unknown protocol": (ports({"protocol": "QUIC", "port": 80}),
                            r'spec\.ingress\[0\]\.ports\[0\]\.protocol: Unsupported value: "QUIC": supported values: "SCTP", "TCP", "UDP"'),
    "endPort below port": (ports({"port": 90, "endPort": 80}), r"ports\[0\]\.endPort: Invalid value: 80: must be greater than or equal to `port`"),
    "endPort without port": (ports({"endPort": 80}), r"endPort: Invalid value: 80: may not be specified when `port` is not specified"),
    "endPort with a name": (ports({"port": "http", "endPort": 80}), r"endPort: Invalid value: 80: may not be specified when `port` is non-numeric"),
    "port 0": (ports({"port": 0}), r"ports\[0\]\.port: Invalid value: 0: must be between 1 and 65535, inclusive"),
    "port 70000": (ports({"port": 70000}), r"ports\[0\]\.port: Invalid value: 70000: must be between 1 and 65535, inclusive"),
    "an except that is the whole": (block(cidr="10.0.0.0/8", **{"except": ["10.0.0.0/8"]}),
                                    r'except\[0\]: Invalid value: "10\.0\.0\.0/8": must be a strict subset of `cidr`'),
    "an except outside": (block(cidr="10.0.0.0/8", **{"except": ["11.0.0.0/16"]}), r'except\[0\]: Invalid value: "11\.0\.0\.0/16": must be a strict subset'),
    "an except of the other family": (block(cidr="10.0.0.0/8", **{"except": ["fd00::/64"]}), r"must be a strict subset of `cidr`"),
    "no CIDR": (block(cidr="10.0.0.0/33"), r'ipBlock\.cidr: Invalid value: "10\.0\.0\.0/33": must be a valid CIDR value'),
    "an address": (block(cidr="10.0.0.1"), r'ipBlock\.cidr: Invalid value: "10\.0\.0\.1": must be a valid CIDR value'),
    "no address at all": (block(cidr=""), r"ipBlock\.cidr: (Required value|Invalid value)"),
    "an illegal key": (policy("bad", {"matchLabels": {"a b": "c"}}), r"spec\.podSelector\.matchLabels: Invalid value: \"a b\": name part must consist of"),
    "an illegal value": (policy("bad", {"matchLabels": {"a": "c d"}}), r"spec\.podSelector\.matchLabels: Invalid value: \"c d\": a valid label must be"),
    "an illegal key of an expression": (policy("bad", {"matchExpressions": [{"key": "-a", "operator": "Exists"}]}),
                                        r"matchExpressions\[0\]\.key: Invalid value: \"-a\": name part must consist of"),
    "an unknown operator": (policy("bad", {"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]}),
                            r"matchExpressions\[0\]\.operator: Invalid value: \"Gt\": not a valid selector operator"),
    "In without values": (policy("bad", {"matchExpressions": [{"key": "a", "operator": "In"}]}),
                          r"matchExpressions\[0\]\.values: Required value: must be specified when `operator` is 'In' or 'NotIn'"),
    "Exists with values": (policy("bad", {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}),
                           r"matchExpressions\[0\]\.values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'"),
    "an empty peer": (policy("bad", {}, ingress=[{"from": [{}]}]), r"from\[0\]: Required value: must specify a peer"),
    "a block and pods": (policy("bad", {}, ingress=[{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}]}]),
                         r"from\[0\]: Forbidden: may not specify both ipBlock and another peer"),
    "an unknown direction": (policy("bad", {}, types=["Sideways"]), r'spec\.policyTypes\[0\]: Unsupported value: "Sideways"'),
}

CLUSTER_NETWORK_POLICIES = {
    "an unknown tier": (cluster({"tier": "Root"}), r'spec\.tier: Unsupported value: "Root": supported values: "Admin", "Baseline"'),
    "a priority too high": (cluster({"priority": 1001}), r"spec\.priority: Invalid value: 1001: spec\.priority in body should be less than or equal to 1000"),
    "a negative priority": (cluster({"priority": -1}), r"spec\.priority: Invalid value: -1: spec\.priority in body should be greater than or equal to 0"),
    "no tier": (cluster({"tier": None}), r"spec\.tier: Required value"),
    "no subject": (cluster({"subject": None}), r"spec\.subject: Required value"),
    "a subject of two kinds": (cluster({"subject": {"namespaces": {}, "pods": {"namespaceSelector": {}, "podSelector": {}}}}),
                               r"spec\.subject: Too many: 2: must have at most 1 (items|properties)|should have at most 1 properties"),
    "an unknown action": (cluster({"ingress": [rule(action="Allow")]}), r'spec\.ingress\[0\]\.action: Unsupported value: "Allow": supported values: "Accept", "Deny", "Pass"'),
    "no peers": (cluster({"ingress": [rule(**{"from": []})]}), r"spec\.ingress\[0\]\.from: Invalid value: 0: .*should have at least 1 items"),
    "26 rules": (cluster({"ingress": [rule() for _ in range(26)]}), r"spec\.ingress: Too many: 26: must have at most 25 items"),
    "26 networks": (cluster({"egress": [{"action": "Deny", "to": [{"networks": [f"10.{i}.0.0/16" for i in range(26)]}]}]}),
                    r"networks: Too many: 26: must have at most 25 items"),
    "a network that is none": (cluster({"egress": [{"action": "Deny", "to": [{"networks": ["10.0.0.0/40"]}]}]}), r"networks\[0\]: Invalid value"),
    "a network of one twice": (cluster({"egress": [{"action": "Deny", "to": [{"networks": ["10.0.0.0/8", "10.0.0.0/8"]}]}]}),
                               r'networks\[1\]: Duplicate value: "10\.0\.0\.0/8"'),
}


class Refused(Case):
    """Nothing of it is stored, and the words are Kubernetes'."""

    def expect_refused(self, manifest, words):
        self.assertRefused(self.k("create", "-f", "-", input=json.dumps(manifest), check=False), words)

    def test_network_policies(self):
        for name, (manifest, words) in NETWORK_POLICIES.items():
            with self.subTest(name):
                self.expect_refused(manifest, words)
        self.assertEqual(self.get("networkpolicy")["items"], [])

    def test_cluster_network_policies(self):
        self.addCleanup(self.lab.kubectl, "delete", "cnp", "bad", "--ignore-not-found", check=False)
        for name, (manifest, words) in CLUSTER_NETWORK_POLICIES.items():
            with self.subTest(name):
                self.expect_refused(manifest, words)
        self.assertRefused(self.lab.kubectl("get", "cnp", "bad", check=False), "not found")

    def test_an_object_that_is_too_large(self):
        """Kubernetes has no limit on `except` but that on the object."""
        holes = [f"10.{i // 256 % 256}.{i % 256}.{j}/32" for i in range(24_576) for j in range(1, 6)]
        self.expect_refused(block(cidr="10.0.0.0/8", **{"except": holes}), r"(?i)too large")


class Taken(PolicyCase):
    """What Kubernetes takes, and what it means by it."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.start_pods(netexec("server", node="node-1"), shell_pod("client", node=f"node-{cls.lab.nodes}"))

    def setUp(self):
        self.addCleanup(self.k, "delete", "networkpolicy", "--all", check=False)

    def may(self, allowed, manifest):
        """From all open to all closed, so that each answer is the manifest's own."""
        self.apply(policy("taken", {}, types=["Egress"], egress=[] if allowed else [{}]))
        ip = self.ip_of("server")
        eventually("the opposite holds", lambda: self.denied("client", ip) if allowed else self.allowed("client", ip))
        manifest["metadata"]["name"] = "taken"
        self.apply(manifest)
        eventually(f"allowed: {allowed}", lambda: self.allowed("client", ip) if allowed else self.denied("client", ip))

    def test_a_cidr_that_is_not_canonical_is_its_network(self):
        self.may(True, block(cidr="10.244.77.99/16"))
        self.may(False, block(cidr="10.244.77.99/16", **{"except": [f"{self.ip_of('server')}/24"]}))

    def test_excepts_may_overlap_and_be_many(self):
        server = self.ip_of("server")
        self.may(False, block(cidr="10.0.0.0/8", **{"except": ["10.244.0.0/16", f"{server}/32", "10.244.0.0/20", f"{server}/32"]}))
        # The wider hole goes, the narrower holds.
        self.may(False, block(cidr="10.0.0.0/8", **{"except": [f"{server}/32"]}))
        holes = [f"10.1.{i // 256}.{i % 256}/32" for i in range(4000)]
        self.may(True, block(cidr="10.0.0.0/8", **{"except": holes}))
        self.may(False, block(cidr="10.0.0.0/8", **{"except": [*holes, f"{server}/32"]}))
