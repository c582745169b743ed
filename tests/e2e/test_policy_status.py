"""What is said of a policy: Events and, on a ClusterNetworkPolicy, a condition; with real agents, one of which is cut off, or hangs."""
import json
import os
import re
import signal
import time

from lab import Case, eventually
from test_policy import policy

LEASE = ("lease", "fairway-policy-status")


def cluster_policy(name, **spec):
    return {"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy", "metadata": {"name": name},
            "spec": {"tier": "Admin", "priority": 900, "subject": {"namespaces": {"matchLabels": {"e2e": "none"}}}, **spec}}


class PolicyStatus(Case):
    def setUp(self):
        self.addCleanup(self.k, "delete", "networkpolicy", "--all", check=False)

    def events(self, name, kind="NetworkPolicy", ns=None):
        selector = f"involvedObject.kind={kind},involvedObject.name={name}"
        return json.loads(self.lab.kubectl("get", "events", "--field-selector", selector, "-o", "json", ns=ns or self.ns))["items"]

    def told(self, name, reason, words, timeout=60, **where):
        def said():
            events = self.events(name, **where)
            return [e for e in events if e["reason"] == reason and re.search(words, e["message"])] or (_ for _ in ()).throw(ValueError(events))
        found = eventually(f"{reason} is said of {name}", said, timeout=timeout)
        self.assertEqual(len(self.events(name, **where)), 1, "what is said later takes the place of what was said before")
        return found[0]

    def test_in_force_on_all_nodes(self):
        nodes = self.lab.nodes
        self.apply(policy("one", {"matchLabels": {"e2e": "none"}}))
        event = self.told("one", "InForce", rf"^generation 1 is in force on all {nodes} nodes, on each within (\d+ ms|\d+\.\d s) of hearing of it$")
        self.assertEqual((event["type"], event["source"]["component"]), ("Normal", "fairway"))
        self.assertEqual(event["involvedObject"]["uid"], self.get("networkpolicy", "one")["metadata"]["uid"])
        self.assertIn("generation 1 is in force", self.k("events", "--for", "networkpolicy/one"))
        self.apply(policy("one", {"matchLabels": {"e2e": "other"}}))
        self.told("one", "InForce", "^generation 2 is in force")
        # What changes nothing is no news.
        version = self.events("one")[0]["metadata"]["resourceVersion"]
        self.k("label", "networkpolicy", "one", "a=b")
        self.apply(policy("two", {}))
        self.told("two", "InForce", "generation 1")
        self.assertEqual(self.events("one")[0]["metadata"]["resourceVersion"], version)
        for node, table in json.loads(self.lab.fairway("show", "networkpolicies", "-o", "json")).items():
            rows = {row[1]: row[table["columns"].index("inForce")] for row in table["rows"] if row[0] == self.ns}
            self.assertEqual(rows, {"one": "yes", "two": "yes"}, node)

    def test_a_condition_of_a_cluster_network_policy(self):
        self.addCleanup(self.lab.kubectl, "delete", "cnp", "e2e-status", "--ignore-not-found", check=False)
        self.apply(cluster_policy("e2e-status", ingress=[{"action": "Deny", "from": [{"namespaces": {}}]}]))
        self.told("e2e-status", "InForce", "generation 1 is in force", kind="ClusterNetworkPolicy", ns="default")
        condition = lambda: next((c for c in json.loads(self.lab.kubectl("get", "cnp", "e2e-status", "-o", "json")).get("status", {}).get("conditions", [])  # noqa: E731
                                  if c["type"] == "fairway.io/InForce"), {})
        eventually("the condition says so", lambda: (condition()["status"], condition()["reason"], condition()["observedGeneration"]) == ("True", "InForce", 1))
        # A status that was written is no change that wants one.
        version = json.loads(self.lab.kubectl("get", "cnp", "e2e-status", "-o", "json"))["metadata"]["resourceVersion"]
        self.assertIn("in force on all", self.lab.kubectl("describe", "cnp", "e2e-status"))
        # A part that cannot be honoured is named, with its field.
        self.apply(cluster_policy("e2e-status", egress=[{"action": "Accept", "to": [{"domainNames": ["example.com"]}]}]))
        self.told("e2e-status", "NotUnderstood", r"generation 2 is in force on all \d+ nodes.*could not be read: spec\.egress\[0\]\.to\[0\].*domainNames",
                  kind="ClusterNetworkPolicy", ns="default")
        eventually("the condition follows", lambda: (condition()["reason"], condition()["observedGeneration"]) == ("NotUnderstood", 2))
        self.assertNotEqual(version, json.loads(self.lab.kubectl("get", "cnp", "e2e-status", "-o", "json"))["metadata"]["resourceVersion"])

    def test_a_node_that_is_cut_off_is_named(self):
        node = f"node-{self.lab.nodes}"
        self.addCleanup(self.lab.fairway, "lab", "node", "heal", node, check=False)
        self.apply(policy("before", {}))
        self.told("before", "InForce", "all")
        self.lab.fairway("lab", "node", "cut", node)
        self.apply(policy("cut", {}))
        event = self.told("cut", "NotInForce", rf"^generation 1 is not in force on 1 of {self.lab.nodes} nodes after \d+\.\d s: {node}: its agent has not reported", timeout=90)
        self.assertEqual(event["type"], "Warning")
        self.told("cut", "NotInForce", rf"{node}: the node is not Ready since", timeout=120)
        self.lab.fairway("lab", "node", "heal", node)
        self.told("cut", "InForce", f"all {self.lab.nodes} nodes", timeout=120)

    def test_who_reports_may_hang(self):
        self.apply(policy("first", {}))
        self.told("first", "InForce", "all")
        holder = json.loads(self.lab.kubectl("get", *LEASE, "-o", "json", ns="kube-system"))["spec"]["holderIdentity"]
        pid = self.lab.process(holder, "agent")
        os.kill(pid, signal.SIGSTOP)
        self.addCleanup(os.kill, pid, signal.SIGCONT)
        self.apply(policy("second", {}))
        self.told("second", "NotInForce", f"1 of {self.lab.nodes} nodes.*{holder}: its agent has not reported", timeout=90)
        other = json.loads(self.lab.kubectl("get", *LEASE, "-o", "json", ns="kube-system"))["spec"]["holderIdentity"]
        self.assertNotEqual(other, holder)
        os.kill(pid, signal.SIGCONT)
        self.told("second", "InForce", "all", timeout=60)

    def test_nothing_is_written_at_rest(self):
        self.apply(policy("rest", {}))
        self.told("rest", "InForce", "all")
        reports = lambda: {name: lease["metadata"]["resourceVersion"] for lease in json.loads(self.lab.kubectl(  # noqa: E731
            "get", "leases", "-o", "json", ns="kube-system"))["items"] if (name := lease["metadata"]["name"]).startswith("fairway-")}
        self.assertEqual(len(reports()), self.lab.nodes + 1)

        def at_rest():  # the others still look at who holds it; then there is nothing to say
            before = reports()
            time.sleep(10)
            return reports() == before
        eventually("nothing is written", at_rest, timeout=120)
