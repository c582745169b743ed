"""runtimeConfig honoured whole: a pod's hostPorts from everywhere, and its limit to what it receives."""
import json
import os
import signal

from lab import NETSHOOT, Case, deployment, eventually, netexec, pod, shell_pod

OUTSIDE = {4: "172.31.0.2", 6: "fd00:172:31::2"}
UDP_CLIENT = "exec 3<>/dev/udp/{address}/{port}; echo clientip >&3; timeout 5 dd bs=1500 count=1 status=none <&3"

# Sends for 6 s and prints the Mbit/s that were acknowledged after the first 2: by then a burst is spent.
UPLOAD = """
import fcntl, socket, struct, sys, time
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5)
sent, start, marks = 0, time.monotonic(), []
for until in (2, 6):
    while time.monotonic() - start < until:
        sent += s.send(bytes(16384))
    waiting = struct.unpack("i", fcntl.ioctl(s, 0x5411, bytes(4)))[0]
    marks.append((sent - waiting, time.monotonic()))
print((marks[1][0] - marks[0][0]) * 8 / 1e6 / (marks[1][1] - marks[0][1]))
"""


def host_of(address):
    return f"[{address}]" if ":" in address else address


def address_in(seen):
    return seen.strip().rsplit(":", 1)[0].strip("[]").replace("::ffff:", "")


class HostPorts(Case):
    """A server on node-1 with hostPorts 9080/TCP and 9081/UDP; clients everywhere."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        server = netexec("server", node="node-1")
        ports = server["spec"]["containers"][0]["ports"]
        ports[0]["hostPort"], ports[1]["hostPort"] = 9080, 9081
        cls.far = f"node-{cls.lab.nodes}"
        cls.start_pods(server, shell_pod("near", node="node-1"), shell_pod("far", node=cls.far))

    def expect_seen(self, run, family, client):
        """`run` is a command's runner at the client: over TCP and UDP the server saw this address."""
        node = self.lab.node_ip("node-1", family)
        seen = run("curl", "-sS", "--max-time", "5", f"http://{host_of(node)}:9080/clientip")
        self.assertEqual(address_in(seen), client)
        seen = run("bash", "-c", UDP_CLIENT.format(address=node, port=9081))
        self.assertEqual(address_in(seen), client, "UDP")

    def test_from_outside(self):
        for family in (4, 6):
            with self.subTest(f"IPv{family}"):
                self.expect_seen(self.lab.outside, family, OUTSIDE[family])

    def test_from_pods(self):
        for client in ("near", "far"):
            for family in (4, 6):
                with self.subTest(f"{client} IPv{family}"):
                    self.expect_seen(lambda *command: self.k("exec", client, "--", *command), family, self.ip_of(client, family))  # noqa: B023

    def test_from_nodes(self):
        for node in ("node-1", self.far):
            for family in (4, 6):
                with self.subTest(f"{node} IPv{family}"):
                    self.expect_seen(lambda *command: self.lab.on_node(node, *command), family, self.lab.node_ip(node, family))  # noqa: B023

    def asked_by(self, run, family, seconds=1):
        """The address that the server saw over TCP, or None where nothing answered."""
        code, out, err = run("curl", "-sS", "--max-time", str(seconds), f"http://{host_of(self.lab.node_ip('node-1', family))}:9080/clientip", check=False)
        if code != 0:
            self.assertRegex(f"{code} {err}", r"^28 |exit code 28")
        return address_in(out) if code == 0 else None

    def test_policy_judges_the_true_client_at_the_backend(self):
        self.addCleanup(self.k, "delete", "networkpolicy", "--all", check=False)
        self.k("label", "pod", "server", "app=ported", "--overwrite")
        self.k("label", "pod", "far", "may=yes", "--overwrite")
        runs = {"outside": self.lab.outside,
                "far": lambda *c, **o: self.k("exec", "far", "--", *c, **o), "near": lambda *c, **o: self.k("exec", "near", "--", *c, **o),
                "its node": lambda *c, **o: self.lab.on_node("node-1", *c, **o), "far's node": lambda *c, **o: self.lab.on_node(self.far, *c, **o)}
        worlds = [{"ipBlock": {"cidr": f"{OUTSIDE[4]}/32"}}, {"ipBlock": {"cidr": f"{OUTSIDE[6]}/128"}}]
        cases = {"the world": (worlds, {"outside", "its node"}), "a pod by its label": ([{"podSelector": {"matchLabels": {"may": "yes"}}}], {"far", "its node"}),
                 "nobody": ([{"podSelector": {"matchLabels": {"may": "never"}}}], {"its node"})}
        for name, (peers, allowed) in cases.items():
            # The port is the pod's own: that of the node is not the rule's.
            self.apply({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "ported"},
                        "spec": {"podSelector": {"matchLabels": {"app": "ported"}}, "ingress": [{"from": peers, "ports": [{"port": 8080}]}]}})
            refused = next(c for c in ("near", "far", "outside") if c not in allowed and c != "its node")
            eventually(f"{name}: it is in force", lambda r=refused: self.asked_by(runs[r], 4) is None)
            for family in (4, 6):
                for client, run in runs.items():
                    with self.subTest(f"{name} may: {client} IPv{family}"):
                        seen = self.asked_by(run, family, 10 if client in allowed else 1)
                        self.assertEqual(seen is not None, client in allowed, seen)
                        if client == "outside" and seen:
                            self.assertEqual(seen, OUTSIDE[family])
                        if client == "far" and seen:
                            self.assertEqual(seen, self.ip_of("far", family))

    def test_only_on_its_node(self):
        code, _, _ = self.lab.outside("curl", "-sS", "--max-time", "5", f"http://{self.lab.node_ip(self.far)}:9080/", check=False)
        self.assertEqual(code, 7, "refused by the other node's own stack")

    def test_survives_the_agents_restart(self):
        old = self.lab.process("node-1", "agent")
        os.kill(old, signal.SIGKILL)
        eventually("a new agent", lambda: self.lab.process("node-1", "agent") != old)
        for _ in range(30):  # while it starts, syncs and prunes
            self.expect_seen(self.lab.outside, 4, OUTSIDE[4])
        status = lambda: json.loads(self.lab.fairway("status", "-o", "json", "--node", "node-1", check=False)[1] or "{}")  # noqa: E731
        eventually("it has pruned", lambda: '"pruned":true' in json.dumps(status()).replace(" ", ""))
        self.expect_seen(self.lab.outside, 4, OUTSIDE[4])

    def test_conflicts_are_not_scheduled(self):
        """Each node's port is one pod's: of a Deployment with one replica more than nodes, one waits and says why."""
        self.addCleanup(self.k, "delete", "deployment", "taken", "--ignore-not-found", check=False)
        container = {"ports": [{"containerPort": 8080, "hostPort": 9090}]}
        self.apply(deployment("taken", replicas=self.lab.nodes + 1, container=container))
        pending = eventually("one waits", lambda: [p for p in self.get("pods", "-l", "app=taken")["items"]
                             if any(c.get("reason") == "Unschedulable" for c in p["status"].get("conditions", []))])
        self.assertEqual(len(pending), 1)
        self.assertIn("didn't have free ports", json.dumps(pending[0]["status"]["conditions"]))
        # and it comes up as soon as another goes
        running = next(p["metadata"]["name"] for p in self.get("pods", "-l", "app=taken")["items"] if p["metadata"]["name"] != pending[0]["metadata"]["name"])
        self.k("scale", "deployment", "taken", f"--replicas={self.lab.nodes}")
        self.k("delete", "pod", running, "--wait=true")
        self.k("rollout", "status", "deployment/taken", "--timeout=60s", timeout=70)

    def test_what_cannot_be_honoured_is_said(self):
        self.addCleanup(self.k, "delete", "pod", "loop", "masked", "--ignore-not-found", check=False)
        for name, port, why in (("loop", {"hostPort": 9070, "hostIP": "127.0.0.1"}, "loopback address"), ("masked", {"hostPort": 61000}, "masquerade ports")):
            with self.subTest(name):
                refused = pod(name, node="node-1", container={"ports": [{"containerPort": 8080, **port}]})
                self.apply(refused)
                eventually("an event says so", lambda: why in self.k("get", "events", "--field-selector", f"involvedObject.name={name}", "-o", "json"))  # noqa: B023


class Bandwidth(Case):
    """kubernetes.io/ingress-bandwidth: what a pod receives, on every way to it."""

    MBIT = 20

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        serve = ("nc", "-dlk", "5202")
        slow = pod("slow", image=NETSHOOT, command=serve, node="node-1", container={"ports": [{"containerPort": 5202, "hostPort": 9202}]})
        slow["metadata"]["annotations"] = {"kubernetes.io/ingress-bandwidth": f"{cls.MBIT}M"}
        free = pod("free", image=NETSHOOT, command=serve, node="node-1")
        cls.far = f"node-{cls.lab.nodes}"
        cls.start_pods(slow, free, shell_pod("near", node="node-1"), shell_pod("far", node=cls.far))

    def mbit_from_pod(self, client, to):
        """12 MB to a sink that says when it has all: the burst of 2.5 MB is little of it."""
        took = self.k("exec", client, "--", "bash", "-c", f"exec 2>&1; TIMEFORMAT=%R; time head -c 12000000 /dev/zero | timeout 50 nc -N {to} 5202", timeout=60)
        return 12 * 8 / float(took.split()[-1])

    def mbit_from_host(self, run, to, port):
        return float(run("python3", "-c", UPLOAD, to, str(port)))

    def expect_limited(self, rate):
        self.assertLess(rate, self.MBIT * 1.5)
        self.assertGreater(rate, self.MBIT * 0.4)

    def test_the_limit_holds_from_pods(self):
        for client in ("near", "far"):
            with self.subTest(client):
                self.expect_limited(self.mbit_from_pod(client, self.ip_of("slow")))

    def test_the_limit_holds_from_its_node(self):
        self.expect_limited(self.mbit_from_host(lambda *command: self.lab.on_node("node-1", *command), self.ip_of("slow"), 5202))

    def test_the_limit_holds_through_a_host_port(self):
        self.expect_limited(self.mbit_from_host(self.lab.outside, self.lab.node_ip("node-1"), 9202))

    def test_other_pods_are_not_limited(self):
        self.assertGreater(self.mbit_from_pod("near", self.ip_of("free")), self.MBIT * 2)
