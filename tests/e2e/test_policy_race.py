"""Policy while things move: a thousand pods whose first packets are judged, label flips under load, connections older than the policy.

  tests/e2e/run.py --only test_policy_race [--seed N]   on three nodes
  FAIRWAY_RACE_PODS=3000 tests/e2e/run.py --only test_policy_race.FirstPackets
"""
import ipaddress
import json
import os
import random
import threading
import time

from policy_cases import cluster_policy, labels, network_policy
from policy_world import KINDS, Prober, agent_status, listed, wait_in_force

from lab import Api, Case, LineReader, eventually, pod, service

SEED = int(os.environ.get("FAIRWAY_SEED", "20261129"))
RACERS, WAVE = int(os.environ.get("FAIRWAY_RACE_PODS", "450")), 150
SERVE = ("serve-hostname", "--port=80", "--tcp", "--udp")
NO_RETRY = "900ms"  # less than until a SYN is sent again
SECONDS = float(os.environ.get("FAIRWAY_FLIP_SECONDS", "20"))


def pods_of(**wanted):
    return {"podSelector": labels(**wanted)}


def passed(answer):
    """Its first packet did, whatever came of it then: SILENT is a server that had no time yet, REFUSED a pod that does not listen yet."""
    return "answer" in answer or answer["error"] in ("SILENT", "REFUSED", "EOF")


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
        return pod(name, args=SERVE, node=node, labels=marks)

    @classmethod
    def settle(cls, *policies):
        """To the API, and until they are in force on every node."""
        answer = json.loads(cls.k("apply", "-o", "json", "-f", "-", input=listed(list(policies))))
        wait_in_force(cls.lab, {KINDS[i["kind"]]: int(i["metadata"]["resourceVersion"]) for i in answer.get("items", [answer])})

    def prober(self, name):
        out = Prober(self.lab, self.ns, name)
        self.addCleanup(out.close)
        return out


class FirstPackets(RaceCase):
    """Each of a thousand pods listens and sends its first SYNs as the first thing it does, and is asked from its first moment on. Meanwhile
    the label of another pod turns some forty times a second, so that no node is ever at rest and a new pod's verdicts have to wait their turn."""

    # What a racer is labelled, which of the servers it may reach, and whether the friends may reach it.
    SORTS = {"free": ({"may": "yes"}, ("server", "public"), True), "stranger": ({"may": "no"}, ("public",), True),
             "outcast": ({"may": "yes", "outcast": "yes"}, ("server",), True), "mute": ({"may": "yes", "mute": "yes"}, (), True),
             "shut": ({"may": "yes", "shut": "yes"}, ("server", "public"), False)}
    # What it sends first: to whom, on its own node or on another.
    FIRST = (("tcp", "server", 0), ("udp", "server", 0), ("tcp", "server", 1), ("tcp", "public", 0), ("tcp", "public", 1))

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.start_pods(*[cls.serve(f"{role}-{n}", n, role=role) for n in cls.nodes for role in ("server", "public", "friend")], cls.serve("weathercock", "node-1", turns="no"))
        cls.servers = {(role, n): cls.ip_of(f"{role}-{n}") for n in cls.nodes for role in ("server", "public")}
        ranges = {n["metadata"]["name"]: n["spec"]["podCIDRs"] for n in json.loads(cls.lab.kubectl("get", "nodes", "-o", "json"))["items"]}
        cls.ranges = [[str(ip) for ip in ipaddress.ip_network(next(r for r in ranges[n] if ":" not in r)).hosts()] for n in cls.nodes]
        # In place before: who may reach the servers, who may not reach the public ones, who may not send, who may not be reached.
        mine = {"matchLabels": {"kubernetes.io/metadata.name": cls.ns}}
        outcasts = cluster_policy("no-outcasts", "Admin", 1, {"pods": {"namespaceSelector": mine, "podSelector": labels(role="public")}},
                                  [{"action": "Deny", "from": [{"pods": {"namespaceSelector": mine, "podSelector": labels(outcast="yes")}}]}])
        cls.addClassCleanup(cls.lab.kubectl, "delete", "clusternetworkpolicy", "no-outcasts", check=False)
        cls.settle(outcasts, network_policy(cls.ns, "server", labels(role="server"), ["Ingress"], [{"from": [pods_of(may="yes"), pods_of(turns="yes")]}]),
                   network_policy(cls.ns, "mute", labels(mute="yes"), ["Egress"], None, []),
                   network_policy(cls.ns, "shut", labels(shut="yes"), ["Ingress"], []))

    def turn(self):
        api, self.turns = Api(self.lab), 0
        while not self.stop.wait(0.02):
            self.turns += 1
            api.call("PATCH", f"{self.pods}/weathercock", {"metadata": {"labels": {"turns": "yes" if self.turns % 2 else "no"}}}, "application/merge-patch+json")
        api.close()

    def racer(self, number, kind):
        node = self.nodes[number % len(self.nodes)]
        targets = [f"{protocol}/{self.servers[role, self.nodes[(number + away) % len(self.nodes)]]}/80" for protocol, role, away in self.FIRST]
        out = pod(f"racer-{number}", args=("probe", "--listen=80", f"--timeout={NO_RETRY}", *targets), node=node, labels={"racer": kind, **self.SORTS[kind][0]})
        out["metadata"]["namespace"] = self.ns
        return out

    def start_wave(self, kinds):
        for number, kind in kinds.items():
            self.api.call("POST", self.pods, self.racer(number, kind))

    def read_logs(self, kinds):
        """What each racer said, as they come to it; {number: [an answer for each of FIRST]}."""
        said, deadline = {}, time.monotonic() + 120
        while len(said) < len(kinds):
            for number in kinds.keys() - said.keys():
                status, _, text = self.api.send("GET", f"{self.pods}/racer-{number}/log")
                if status == 200 and text.endswith("\n"):
                    said[number] = json.loads(text)
            self.assertLess(time.monotonic(), deadline, f"{len(kinds) - len(said)} racers never said anything")
        return said

    def ask_all(self, friends):
        """Each friend asks every address that a pod of its node or of the next may get, so also pods that come up just then."""
        asked = []
        for i, friend in enumerate(friends):
            asked.append([ip for k in (i, (i + 1) % len(friends)) for ip in self.ranges[k]])
            friend.ask([f"tcp/{ip}/80" for ip in asked[-1]], NO_RETRY)
        return [(ip, answer) for friend, ips in zip(friends, asked) for ip, answer in zip(ips, friend.answers())]

    def test_no_first_packet_is_judged_wrongly(self):
        friends = [self.prober(f"friend-{n}") for n in self.nodes]
        draw, wrong, late, started = random.Random(SEED), [], [], time.monotonic()
        asked, far = 0, 0
        self.stop = threading.Event()
        wind = threading.Thread(target=self.turn)
        wind.start()
        self.addCleanup(wind.join)
        self.addCleanup(self.stop.set)
        for first in range(0, RACERS, WAVE):
            kinds = {n: draw.choice(list(self.SORTS)) for n in range(first, min(first + WAVE, RACERS))}
            self.start_wave(kinds)
            answers = []
            while self.running() < len(kinds):
                answers += self.ask_all(friends)
            answers += self.ask_all(friends)
            said = self.read_logs(kinds)
            answers = self.of_racers(answers)
            for number, firsts in said.items():
                self.judge(number, kinds[number], firsts, wrong, late)
                far += sum(away and role in self.SORTS[kinds[number]][1] for _, role, away in self.FIRST)
            asked += len(answers)
            wrong += self.wrongly_asked(kinds, said, answers)
            self.k("delete", "pod", "-l", "racer", "--now", "--wait=true", timeout=180)
        print(f"  {RACERS} racers in {time.monotonic() - started:.0f} s; they were asked {asked} times; "
              f"{len(late)} of {far} allowed first SYNs to another node were refused there; {self.turns} turns", flush=True)
        self.assertEqual(wrong, [], f"{len(wrong)} wrong verdicts")

    def racers(self):
        return self.api.call("GET", f"{self.pods}?labelSelector=racer")["items"]

    def running(self):
        return sum(i.get("status", {}).get("phase") == "Running" for i in self.racers())

    def of_racers(self, answers):
        owners = {i["status"]["podIP"]: int(i["metadata"]["name"].split("-")[1]) for i in self.racers()}
        return [(owners[ip], answer) for ip, answer in answers if ip in owners]

    def judge(self, number, kind, firsts, wrong, late):
        """A node knows its own pods before they run. Another knows them once the API has told it: a first SYN that comes before is nobody's. It
        may be refused then, and that is counted; what is to be refused never passes."""
        for (protocol, role, away), answer in zip(self.FIRST, firsts):
            may = role in self.SORTS[kind][1]
            if passed(answer) == may and not answer.get("resent"):
                continue
            (late if away and may else wrong).append(f"racer-{number} ({kind}) to {'another' if away else 'its own'} node's {role} by {protocol}: {answer}")

    def wrongly_asked(self, kinds, said, answers):
        out = []
        for number, answer in answers:
            listening = min(a["at"] for a in said[number])
            if self.SORTS[kinds[number]][2]:
                if answer["at"] > listening and not passed(answer):
                    out.append(f"racer-{number} ({kinds[number]}) was up and a friend was refused: {answer}")
            elif passed(answer):
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

    def flip(self, until):
        """Both pods' labels, as fast as the API takes it; how many."""
        flips = 0
        while time.monotonic() < until:
            for name in ("source", "turncoat"):
                self.api.call("PATCH", f"{self.pods}/{name}", {"metadata": {"labels": {"role": "one" if flips % 2 else "two"}}}, "application/merge-patch+json")
            flips += 1
        return 2 * flips

    def test_no_packet_is_judged_by_a_mixture(self):
        sources = {"open": self.prober("source"), "shut": self.prober("source")}
        targets = {name: [f"{protocol}/{self.ip_of(name, family)}/80" for protocol in ("tcp", "udp") for family in (4, 6)]
                   for name in ("open", "shut", "turncoat")}
        # A SYN that was sent again tells of one that was lost, so who is let in may take its time.
        rounds = {"open": (targets["open"] * 300, "10s"), "shut": ((targets["shut"] + targets["turncoat"]) * 150, NO_RETRY)}
        deadline, flips, tried, wrong = time.monotonic() + SECONDS, 0, 0, []
        before = agent_status(self.lab, "node-1")["policy"]["changes"]
        while time.monotonic() < deadline:
            for name, (some, patience) in rounds.items():
                sources[name].ask(["--pace-us=1000", *some], patience)
            flips += self.flip(time.monotonic() + max(len(some) for some, _ in rounds.values()) / 1000)
            for name, (some, _) in rounds.items():
                for target, answer in zip(some, sources[name].answers()):
                    tried += 1
                    if passed(answer) != (name == "open") or answer.get("resent"):
                        wrong.append(f"{target}: {answer}")
        switched = agent_status(self.lab, "node-1")["policy"]["changes"] - before
        print(f"  {flips} label flips, {switched} switches of the tables under {tried} new connections", flush=True)
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
        lines.expect("came")
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
            lines.expect("came")

    def assert_is_cut(self, lines):
        lines.drain()
        with self.assertRaisesRegex(AssertionError, "no line like"):
            lines.expect("came", timeout=3)
