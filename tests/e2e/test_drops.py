"""fairway drops: what was denied, by which rule, with names; while a flood goes on, too."""
import json
import re
import subprocess

from lab import FAIRWAY, Case, LineReader, eventually, netexec, shell_pod
from test_policy import policy

FLOOD = """
import socket, sys
host, packets = sys.argv[1], int(sys.argv[2])
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for i in range(packets):
    s.sendto(b"x", (host, 1024 + i % 50000))
"""


class Drops(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.start_pods(netexec("server", node=f"node-{cls.lab.nodes}", labels={"app": "server"}), shell_pod("client", node="node-1"))
        cls.server = cls.ip_of("server")

    def setUp(self):
        self.addCleanup(self.k, "delete", "networkpolicy", "--all", check=False)

    def close(self, name):
        """Isolates the server by a policy of this name, and has one SYN refused by it."""
        self.apply(policy(name, {"matchLabels": {"app": "server"}}, types=["Ingress"], ingress=[]))
        eventually("it is in force", lambda: self.denied_by(name, ask=True))

    def drops(self):
        return json.loads(self.lab.fairway("drops", "-o", "json"))[f"node-{self.lab.nodes}"]

    def denied_by(self, name, ask=False):
        """The counts of a policy's default deny to the server, as (packets, past)."""
        if ask:
            self.sh("client", f"curl -sS --max-time 1 http://{self.server}:8080/hostname", check=False)
        text = f"default deny of NetworkPolicy {self.ns}/{name} (ingress)"
        return [(row["packets"], row["past"]) for row in self.drops()["denied"]
                if row["rule"]["text"] == text and row["pod"] == f"{self.ns}/server" and row["direction"] == "ingress"]

    def test_by_rule_with_names(self):
        self.close("closed")
        self.assertEqual(len(self.denied_by("closed")), 1)
        row = next(r for r in self.drops()["denied"] if r["pod"] == f"{self.ns}/server" and not r["past"])
        self.assertEqual(row["rule"]["policies"], [{"kind": "NetworkPolicy", "namespace": self.ns, "name": "closed"}])
        def listed():  # within a second of a flood new flows are counted, but not listed
            self.sh("client", f"curl -sS --max-time 1 http://{self.server}:8080/hostname", check=False)
            return [f for f in self.drops()["flows"] if f["to"]["address"] == self.server and f["from"]["address"] == self.ip_of("client")
                    and f["rule"]["policies"] == row["rule"]["policies"]]

        [flow] = eventually("the flow is listed", listed)
        self.assertEqual((flow["from"]["name"], flow["to"]["name"], flow["to"]["port"], flow["protocol"]),
                         (f"{self.ns}/client", f"{self.ns}/server", 8080, "TCP"))
        text = self.lab.fairway("drops")
        self.assertRegex(text, rf"(?m)^node-\d +{self.ns}/server +ingress +\d+ +\d+ s ago +default deny of NetworkPolicy {self.ns}/closed \(ingress\)$")
        self.assertRegex(text, rf"(?m)^node-\d +{self.ns}/client {re.escape(self.ip_of('client'))} +{self.ns}/server {re.escape(self.server)}:8080 +TCP ")

    def test_a_count_stays_with_its_rule(self):
        self.close("first")
        [(before, _)] = self.denied_by("first")
        for name in ("second", "third", "fourth"):  # numbers of rules that are gone are given again
            self.k("delete", "networkpolicy", "--all")
            self.close(name)
        rows = self.denied_by("first")
        self.assertEqual([past for _, past in rows], [True])
        self.assertGreaterEqual(rows[0][0], before)
        [(fourth, past)] = self.denied_by("fourth")
        self.assertFalse(past)
        self.sh("client", f"curl -sS --max-time 1 http://{self.server}:8080/hostname", check=False)
        self.assertGreater(self.denied_by("fourth")[0][0], fourth)
        self.assertEqual(self.denied_by("first"), rows)

    def test_follow(self):
        self.close("followed")
        process = subprocess.Popen([FAIRWAY, "drops", "-f"], env=self.lab.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        lines = LineReader(process)
        self.addCleanup(lines.close)

        def line_seen():
            self.sh("client", f"curl -sS --max-time 1 http://{self.server}:8080/hostname", check=False)
            try:
                lines.expect(rf"{self.ns}/client .* -> {self.ns}/server .*:8080 TCP  default deny of NetworkPolicy {self.ns}/followed", timeout=3)
                return True
            except AssertionError:
                return False
        eventually("a line tells of it", line_seen)

    def test_a_flood_is_counted_and_costs_no_more(self):
        self.close("flooded")
        [(before, _)] = self.denied_by("flooded")
        drops_before = self.drops()
        maps_before = self.lab.fairway("show", "maps", "--node", f"node-{self.lab.nodes}", "-o", "json")
        packets = 100_000
        self.lab.on_node("node-1", "python3", "-c", FLOOD, self.server, str(packets), timeout=100)
        counted = self.denied_by("flooded")[0][0] - before
        self.assertGreater(counted, packets * 0.9, "what the wire lost apart, each packet is counted by its rule")
        drops = self.drops()
        self.assertLessEqual(len(drops["flows"]), 1024)
        self.assertGreater(drops["notListed"], drops_before["notListed"])
        self.assertEqual(drops["notCounted"], drops_before["notCounted"])
        self.assertIn("came too fast to list", self.lab.fairway("drops"))

        def rows(text):
            return {row[0]: row[2] for row in json.loads(text)[f"node-{self.lab.nodes}"]["rows"]}
        self.assertEqual(rows(maps_before)["pol_hits"], rows(self.lab.fairway("show", "maps", "--node", f"node-{self.lab.nodes}", "-o", "json"))["pol_hits"])
