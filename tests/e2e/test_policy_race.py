"""Policy while things move: a thousand pods whose first packets are judged, label flips under load, connections older than the policy.

  tests/e2e/run.py --only test_policy_race [--seed N]   on three nodes
  FAIRWAY_RACE_PODS=3000 tests/e2e/run.py --only test_policy_race.FirstPackets
"""
import json
import os
import random
import time

from policy_cases import labels, network_policy
from policy_world import Prober, agent_status, listed, wait_in_force

from lab import Api, Case, LineReader, eventually, pod, service

SEED = int(os.environ.get("FAIRWAY_SEED", "20261129"))
RACERS, WAVE = int(os.environ.get("FAIRWAY_RACE_PODS", "1000")), 150
NO_RETRY = "900ms"  # less than until a SYN is sent again
SECONDS = float(os.environ.get("FAIRWAY_FLIP_SECONDS", "20"))


def pods_of(**wanted):
    return {"podSelector": labels(**wanted)}


class RaceCase(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        print(f"  seed {SEED}", flush=True)
        cls.api = Api(cls.lab)
        cls.addClassCleanup(cls.api.close)
        cls.nodes = [f"node-{n}" for n in range(1, cls.lab.nodes + 1)]
        cls.pods = f"/api/v1/namespaces/{cls.ns}/pods"

    @classmethod
    def serve(cls, name, node, **marks):
        return pod(name, args=("serve-hostname", "--port=80", "--tcp", "--udp"), node=node, labels=marks)

    @classmethod
    def settle(cls, *policies):
        """To the API, and until they are in force on every node."""
        answer = json.loads(cls.k("apply", "-o", "json", "-f", "-", input=listed(list(policies))))
        wait_in_force(cls.lab, {"networkpolicies": max(int(i["metadata"]["resourceVersion"]) for i in answer.get("items", [answer]))})

    def prober(self, name):
        out = Prober(self.lab, self.ns, name)
        self.addCleanup(out.close)
        return out


class FirstPackets(RaceCase):
    """Each of a thousand pods listens and sends its first SYNs as the first thing it does, and is asked from its first moment on."""

    # What a racer is labelled, may it reach the servers, may the friend reach it.
    KINDS = {"free": ({"may": "yes"}, True, True), "stranger": ({"may": "no"}, False, True), "mute": ({"may": "yes", "mute": "yes"}, False, True),
             "shut": ({"may": "yes", "shut": "yes"}, True, False)}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.start_pods(*[cls.serve(f"server-{n}", n, role="server") for n in cls.nodes], *[cls.serve(f"friend-{n}", n, role="friend") for n in cls.nodes])
        cls.servers = {n: cls.ip_of(f"server-{n}") for n in cls.nodes}
        # In place before: who may reach the servers, who may not send, who may not be reached.
        cls.settle(network_policy(cls.ns, "server", labels(role="server"), ["Ingress"], [{"from": [{"podSelector": labels(may="yes")}]}]),
                   network_policy(cls.ns, "mute", labels(mute="yes"), ["Egress"], None, []),
                   network_policy(cls.ns, "shut", labels(shut="yes"), ["Ingress"], []))

    def racer(self, number, kind):
        node = self.nodes[number % len(self.nodes)]
        far = self.nodes[(number + 1) % len(self.nodes)]
        targets = [f"tcp/{self.servers[node]}/80", f"tcp/{self.servers[far]}/80", f"udp/{self.servers[node]}/80"]
        out = pod(f"racer-{number}", args=("probe", "--listen=80", f"--timeout={NO_RETRY}", *targets), node=node, labels={"racer": kind, **self.KINDS[kind][0]})
        out["metadata"]["namespace"] = self.ns
        return out

    def start_wave(self, kinds):
        for number, kind in kinds.items():
            self.api.call("POST", self.pods, self.racer(number, kind))

    def read_logs(self, kinds):
        """What each racer said, as they come to it; {number: [near, far, near by UDP]}."""
        said, deadline = {}, time.monotonic() + 120
        while len(said) < len(kinds):
            for number in kinds.keys() - said.keys():
                status, _, text = self.api.send("GET", f"{self.pods}/racer-{number}/log")
                if status == 200 and text.endswith("\n"):
                    said[number] = json.loads(text)
            self.assertLess(time.monotonic(), deadline, f"{len(kinds) - len(said)} racers never said anything")
        return said

    def ask_racers(self, friends, kinds):
        """Friends ask the racers from each node, again and again, while they come up; those that are up by then must have been let in."""
        addresses = {}
        for item in self.api.call("GET", f"{self.pods}?labelSelector=racer")["items"]:
            number = int(item["metadata"]["name"].split("-")[1])
            if number in kinds and item.get("status", {}).get("podIP"):
                addresses[number] = item["status"]["podIP"]
        if not addresses:
            return []
        for friend in friends:
            friend.ask([f"tcp/{ip}/80" for ip in addresses.values()], NO_RETRY)
        return [(number, answer) for friend in friends for number, answer in zip(addresses, friend.answers())]

    def test_no_first_packet_is_judged_wrongly(self):
        friends = [self.prober(f"friend-{n}") for n in self.nodes]
        draw, wrong, late_far, started = random.Random(SEED), [], [], time.monotonic()
        asked = 0
        for first in range(0, RACERS, WAVE):
            kinds = {n: draw.choice(list(self.KINDS)) for n in range(first, min(first + WAVE, RACERS))}
            self.start_wave(kinds)
            answers = []
            while self.running(kinds) < len(kinds):
                answers += self.ask_racers(friends, kinds)
            answers += self.ask_racers(friends, kinds)
            said = self.read_logs(kinds)
            for number, (near, far, udp) in said.items():
                wrong += self.judged(number, kinds[number], near, udp)
                self.judge_far(number, kinds[number], far, wrong, late_far)
            asked += len(answers)
            wrong += self.wrongly_asked(kinds, said, answers)
            self.k("delete", "pod", "-l", "racer", "--now", "--wait=true", timeout=180)
        print(f"  {RACERS} racers in {time.monotonic() - started:.0f} s; they were asked {asked} times; "
              f"{len(late_far)} first SYNs to another node came before that node knew their sender", flush=True)
        self.assertEqual(wrong, [], f"{len(wrong)} wrong verdicts")

    def running(self, kinds):
        items = self.api.call("GET", f"{self.pods}?labelSelector=racer")["items"]
        return sum(i.get("status", {}).get("phase") == "Running" for i in items)

    def judged(self, number, kind, near, udp):
        may = self.KINDS[kind][1]
        return [f"racer-{number} ({kind}) to its own node's server by {protocol}: {answer}" for protocol, answer in (("TCP", near), ("UDP", udp))
                if ("answer" in answer) != may or answer.get("resent")]

    def judge_far(self, number, kind, far, wrong, late):
        if "answer" in far and not self.KINDS[kind][1]:
            wrong.append(f"racer-{number} ({kind}) to another node's server: {far}")
        elif "answer" not in far and self.KINDS[kind][1]:
            late.append(number)

    def wrongly_asked(self, kinds, said, answers):
        out = []
        for number, answer in answers:
            listening = min(a["at"] for a in said[number])
            if self.KINDS[kinds[number]][2]:
                if answer["at"] > listening and "answer" not in answer:
                    out.append(f"racer-{number} ({kinds[number]}) was up and a friend was refused: {answer}")
            elif "answer" in answer:
                out.append(f"racer-{number} ({kinds[number]}) lets in whom it may not: {answer}")
        return out


class Flips(RaceCase):
    """Design section 5: a label flip changes at once what a pod may send and who it is for others. What both states forbid never passes, what
    both allow is never refused. Both ends are on one node: two nodes switch each for itself."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.start_pods(*[cls.serve(name, "node-1", **{name: "yes"}, role="one") for name in ("source", "open", "shut", "turncoat")])
        one, two = pods_of(role="one"), pods_of(role="two")
        always = [pods_of(open="yes"), pods_of(turncoat="yes", role="two")]
        cls.settle(
            # As "two" the source may send to the shut one too, which lets in "one" alone.
            network_policy(cls.ns, "source-one", labels(source="yes", role="one"), ["Egress"], None, [{"to": always}]),
            network_policy(cls.ns, "source-two", labels(source="yes", role="two"), ["Egress"], None, [{"to": [*always, pods_of(shut="yes")]}]),
            network_policy(cls.ns, "open", labels(open="yes"), ["Ingress"], [{"from": [one]}, {"from": [two]}]),
            network_policy(cls.ns, "shut", labels(shut="yes"), ["Ingress"], [{"from": [one]}]),
            # The turncoat is one to whom nobody may send, or, as "two", one who lets nobody in.
            network_policy(cls.ns, "turncoat", labels(turncoat="yes", role="two"), ["Ingress"], []))

    def test_no_packet_is_judged_by_a_mixture(self):
        source = self.prober("source")
        addresses = {name: (self.ip_of(name), self.ip_of(name, 6)) for name in ("open", "shut", "turncoat")}
        targets = [f"{protocol}/{addresses[name][family]}/80" for _ in range(150) for name in addresses for protocol in ("tcp", "udp") for family in (0, 1)]
        deadline, flips, tried, wrong = time.monotonic() + SECONDS, 0, 0, []
        before = agent_status(self.lab, "node-1")["policy"]["changes"]
        while time.monotonic() < deadline:
            source.ask(["--pace-us=1000", *targets], NO_RETRY)
            until = time.monotonic() + len(targets) / 1000
            while time.monotonic() < until:
                role = "two" if flips % 2 == 0 else "one"
                for name in ("source", "turncoat"):
                    self.api.call("PATCH", f"{self.pods}/{name}", {"metadata": {"labels": {"role": role}}}, "application/merge-patch+json")
                flips += 1
            for target, answer in zip(targets, source.answers()):
                may = any(ip in target for ip in addresses["open"])
                tried += 1
                if ("answer" in answer) != may:
                    wrong.append(f"{target}: {answer}")
        switched = agent_status(self.lab, "node-1")["policy"]["changes"] - before
        print(f"  {2 * flips} label flips, {switched} switches of the tables under {tried} new connections", flush=True)
        self.assertGreater(switched, 20)
        self.assertEqual(wrong[:10], [], f"{len(wrong)} of {tried} connections")


class OlderThanThePolicy(RaceCase):
    """Connections that were there before their pods became isolated go on in their true direction."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        far = f"node-{cls.lab.nodes}"
        push = pod("push", args=("serve-hostname", "--port=90", "--tcp", "--every=50ms"), node=far, labels={"app": "push"})
        cls.start_pods(push, cls.serve("echo", far, app="echo"), pod("client", node="node-1", labels={"app": "client"}))
        cls.apply(service("echo", {"app": "echo"}, [("udp", 81, 80, "UDP")]))

    def setUp(self):
        self.addCleanup(self.k, "delete", "networkpolicy", "--all", check=False)

    def follow(self, target):
        lines = LineReader(self.lab.popen("exec", "client", "--", "/agnhost", "follow", target, ns=self.ns))
        self.addCleanup(lines.close)
        lines.expect("came", timeout=10)
        return lines

    def test_a_server_that_pushes(self):
        """The client connects and never sends again: who began is known from the sockets alone."""
        lines = self.follow(f"tcp/{self.ip_of('push')}/90")
        # The server's pod may be reached by the client and may send to nobody: what it pushes are answers.
        self.settle(network_policy(self.ns, "push", labels(app="push"), ["Ingress", "Egress"], [{"from": [pods_of(app="client")]}], []),
                    network_policy(self.ns, "client", labels(app="client"), ["Ingress", "Egress"], [], [{"to": [pods_of(app="push")]}]))
        self.assert_goes_on(lines)
        # The client may no longer send to it: the connection is cut, though the server alone sends.
        self.settle(network_policy(self.ns, "client", labels(app="client"), ["Ingress", "Egress"], [], []))
        self.assert_is_cut(lines)

    def test_udp_through_a_service(self):
        vip = self.get("svc", "echo")["spec"]["clusterIP"]
        eventually("the Service leads there", lambda: "echo" in self.frontends()["node-1"] and self.frontends()["node-1"]["echo"][1])
        lines = self.follow(f"udp/{vip}/81")
        self.settle(network_policy(self.ns, "echo", labels(app="echo"), ["Ingress", "Egress"], [{"from": [pods_of(app="client")]}], []),
                    network_policy(self.ns, "client", labels(app="client"), ["Ingress", "Egress"], [], [{"to": [pods_of(app="echo")], "ports": [{"port": 80, "protocol": "UDP"}]}]))
        self.assert_goes_on(lines)
        self.settle(network_policy(self.ns, "echo", labels(app="echo"), ["Ingress", "Egress"], [{"from": [pods_of(app="nobody")]}], []))
        self.assert_is_cut(lines)

    def assert_goes_on(self, lines):
        lines.drain()
        for _ in range(40):
            lines.expect("came", timeout=5)

    def assert_is_cut(self, lines):
        lines.drain()
        with self.assertRaisesRegex(AssertionError, "no line like"):
            lines.expect("came", timeout=3)
