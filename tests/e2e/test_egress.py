"""North-south: pods to the host beyond the cluster and to nodes, masqueraded exactly where they must be."""
import subprocess

from lab import FAIRWAY, Case, eventually, netexec, shell_pod

OUTSIDE = {4: "172.31.0.2", 6: "fd00:172:31::2"}
# Answers each connection with the address it came from.
WHO = """
import socket
s = socket.create_server(("::", 8099), family=socket.AF_INET6, dualstack_ipv6=True)
while True:
    c, peer = s.accept()
    c.recv(4096)
    body = peer[0].replace("::ffff:", "").encode()
    c.sendall(b"HTTP/1.0 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body)
    c.close()
"""


class Egress(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = subprocess.Popen([FAIRWAY, "lab", "outside", "--", "python3", "-c", WHO], env=cls.lab.env, stdin=subprocess.DEVNULL)
        cls.addClassCleanup(cls.server.wait)
        cls.addClassCleanup(cls.server.kill)
        cls.nodes = [f"node-{i}" for i in range(1, cls.lab.nodes + 1)]
        cls.start_pods(*[shell_pod(f"client-{n}", node=n) for n in cls.nodes], *[netexec(f"server-{n}", node=n) for n in cls.nodes])

    def url(self, address, port, path=""):
        return f"http://{f'[{address}]' if ':' in address else address}:{port}/{path}"

    def test_outside_sees_the_node(self):
        for node in self.nodes:
            for family in (4, 6):
                with self.subTest(f"{node} IPv{family}"):
                    ask = lambda: self.sh(f"client-{node}", f"curl -sS --max-time 5 {self.url(OUTSIDE[family], 8099)}").strip()  # noqa: E731
                    self.assertEqual(eventually("an answer", ask), self.lab.node_ip(node, family))

    def test_outside_answers_ping(self):
        for family in (4, 6):
            with self.subTest(f"IPv{family}"):
                self.assertIn(" 0% packet loss", self.sh("client-node-1", f"ping -{family} -c 3 -i 0.2 -W 2 {OUTSIDE[family]}"))

    def test_pod_to_pod_is_never_masqueraded(self):
        for client in self.nodes:
            for server in self.nodes:
                for family in (4, 6):
                    with self.subTest(f"{client} to {server} IPv{family}"):
                        seen = self.sh(f"client-{client}", f"curl -sS --max-time 5 {self.url(self.ip_of(f'server-{server}', family), 8080, 'clientip')}").strip()
                        self.assertEqual(seen.rsplit(":", 1)[0].strip("[]"), self.ip_of(f"client-{client}", family))

    def test_pods_reach_their_node_and_nodes_their_pods(self):
        for node in self.nodes:
            for family in (4, 6):
                with self.subTest(f"{node} IPv{family}"):
                    self.assertIn(" 0% packet loss", self.sh(f"client-{node}", f"ping -{family} -c 2 -i 0.2 -W 2 {self.lab.node_ip(node, family)}"))
                    out = self.lab.on_node(node, "curl", "-sS", "--max-time", "5", self.url(self.ip_of(f"server-{node}", family), 8080, "hostname"))
                    self.assertEqual(out.strip(), f"server-{node}")

    def test_nodes_reach_pods_of_other_nodes(self):
        for node in self.nodes:
            for other in self.nodes:
                with self.subTest(f"{node} to {other}"):
                    out = self.lab.on_node(node, "curl", "-sS", "--max-time", "5", self.url(self.ip_of(f"server-{other}"), 8080, "hostname"))
                    self.assertEqual(out.strip(), f"server-{other}")

    def test_pods_reach_the_api_server(self):
        out = self.sh("client-node-1", "curl -sSk --max-time 5 -o /dev/null -w '%{http_code}' https://kubernetes.default/version")
        self.assertIn(out, ("200", "401", "403"))

    def test_large_packets_and_path_mtu(self):
        """A ping of the pod's whole MTU with DF goes through; a larger one is refused by the pod's own stack."""
        mtu = int(self.sh("client-node-1", "cat /sys/class/net/eth0/mtu"))
        far = self.ip_of(f"server-{self.nodes[-1]}")
        self.assertIn(" 0% packet loss", self.sh("client-node-1", f"ping -M do -s {mtu - 28} -c 2 -i 0.2 -W 2 {far}"))
        self.assertNotEqual(self.sh("client-node-1", f"ping -M do -s {mtu} -c 1 -W 2 {far}", check=False)[0], 0)

    def test_spoofed_source_is_dropped(self):
        """Even with CAP_NET_RAW a pod speaks only as itself."""
        script = "ip addr add 10.244.99.99/32 dev lo 2>/dev/null; ping -I 10.244.99.99 -c 2 -i 0.2 -W 1 {} "
        pod = shell_pod("raw", node="node-1", container={"securityContext": {"capabilities": {"add": ["NET_RAW", "NET_ADMIN"]}}})
        self.addCleanup(self.k, "delete", "pod", "raw", "--now", "--wait=false", check=False)
        self.start_pods(pod)
        self.assertIn("100% packet loss", self.sh("raw", script.format(self.ip_of("server-node-1")) + "; true"))
