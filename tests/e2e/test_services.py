"""Services on real packets: TCP by the socket hook, UDP per packet, from pods and from host processes, on one node and across."""
import time

from lab import NETSHOOT, Case, Failed, deployment, eventually, netexec, service, shell_pod


def udp_ask(case, client, address, port):
    return case.k("exec", client, "--", "bash", "-c", UDP_CLIENT.format(address=address, port=port)).strip()


class Services(Case):
    """A server on each node behind one Service; clients on each node."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.nodes = [f"node-{i}" for i in range(1, cls.lab.nodes + 1)]
        cls.servers = [f"server-{n}" for n in cls.nodes]
        cls.clients = [f"client-{n}" for n in cls.nodes]
        cls.apply(service("all", {"app": "server"}, [("http", 80, 8080, "TCP"), ("udp", 81, "udp", "UDP"), ("named", 8000, "http", "TCP")], ipFamilyPolicy="PreferDualStack"),
                  service("headless", {"app": "server"}, [("http", 80, 8080, "TCP")], clusterIP="None"),
                  service("empty", {"app": "nobody"}, [("http", 80, 8080, "TCP"), ("udp", 81, 8081, "UDP")]))
        cls.start_pods(*[netexec(f"server-{n}", node=n, labels={"app": "server"}) for n in cls.nodes],
                       *[shell_pod(f"client-{n}", node=n) for n in cls.nodes])
        cls.vips = cls.get("svc", "all")["spec"]["clusterIPs"]
        cls.vip = next(v for v in cls.vips if ":" not in v)
        eventually("both servers are endpoints", lambda: len(cls.addresses("all", "IPv4")) == len(cls.nodes))

    @classmethod
    def addresses(cls, name, family, condition="ready"):
        slices = cls.get("endpointslices", "-l", f"kubernetes.io/service-name={name}")["items"]
        return [a for s in slices if s["addressType"] == family for e in s.get("endpoints") or [] if e["conditions"].get(condition) for a in e["addresses"]]

    def ask(self, client, url, times=1):
        script = f"i=0; while [ $i -lt {times} ]; do curl -sS --max-time 5 {url}; echo; i=$((i+1)); done"
        return [line for line in self.sh(client, script).split() if line]

    def test_cluster_ip_tcp_reaches_all_endpoints(self):
        for client in self.clients:
            for vip in self.vips:
                with self.subTest(f"{client} to {vip}"):
                    host = f"[{vip}]" if ":" in vip else vip
                    self.assertEqual(set(self.ask(client, f"http://{host}/hostname", 40)), set(self.servers))

    def test_target_port_by_name(self):
        self.assertIn(self.ask(self.clients[0], f"http://{self.vip}:8000/hostname")[0], self.servers)

    def test_cluster_ip_udp(self):
        for client in self.clients:
            with self.subTest(client):
                self.assertIn(udp_ask(self, client, self.vip, 81), self.servers)

    def test_udp_reaches_all_endpoints(self):
        seen = set()

        def all_seen():  # each is drawn, so how many askings it takes is chance
            seen.add(udp_ask(self, self.clients[0], self.vip, 81))
            return seen == set(self.servers)
        eventually("each has answered, and nobody else", all_seen)

    def test_servers_see_the_clients_own_address(self):
        for client in self.clients:
            seen = self.ask(client, f"http://{self.vip}/clientip")[0]
            self.assertEqual(seen.rsplit(":", 1)[0], self.ip_of(client))

    def test_client_keeps_the_illusion(self):
        """getpeername tells the address that was dialled: curl prints it."""
        out = self.sh(self.clients[0], f"curl -sS -o /dev/null -w '%{{remote_ip}}:%{{remote_port}}' --max-time 5 http://{self.vip}/hostname")
        self.assertEqual(out, f"{self.vip}:80")

    def test_host_process_of_a_node(self):
        for node in self.nodes:
            for vip in self.vips:
                host = f"[{vip}]" if ":" in vip else vip
                with self.subTest(f"{node} to {vip}"):
                    self.assertIn(self.lab.on_node(node, "curl", "-sS", "--max-time", "5", f"http://{host}/hostname").strip(), self.servers)

    def test_host_process_of_a_node_udp(self):
        for node in self.nodes:
            with self.subTest(node):
                self.assertIn(self.lab.on_node(node, "bash", "-c", UDP_CLIENT.format(address=self.vip, port=81)).strip(), self.servers)

    def test_no_endpoints_is_refused_at_once(self):
        vip = self.get("svc", "empty")["spec"]["clusterIP"]
        for client in self.clients:
            start = time.monotonic()
            code, _, err = self.sh(client, f"curl -sS --max-time 10 http://{vip}/", check=False)
            self.assertEqual(code, 7, err)  # could not connect; 28 would be a timeout
            self.assertLess(time.monotonic() - start, 5)

    def test_no_endpoints_udp_is_rejected(self):
        vip = self.get("svc", "empty")["spec"]["clusterIP"]
        out = self.k("exec", self.clients[0], "--", "bash", "-c", f"({UDP_CLIENT.format(address=vip, port=81)}) 2>&1; true")
        self.assertRegex(out, "(?i)refused|not permitted|unreachable")

    def test_unserved_port_of_a_cluster_ip(self):
        code, _, _ = self.sh(self.clients[0], f"curl -sS --max-time 3 http://{self.vip}:4242/", check=False)
        self.assertIn(code, (7, 28))

    def test_headless_resolves_to_the_pods(self):
        found = self.sh(self.clients[0], "dig +short headless." + self.ns + ".svc.cluster.local A").split()
        self.assertEqual(sorted(found), sorted(self.ip_of(s) for s in self.servers))
        self.assertIn(self.ask(self.clients[0], "http://headless:8080/hostname")[0], self.servers)

    def test_endpoints_are_mirrored_for_old_clients(self):
        subsets = self.get("endpoints", "all")["subsets"]
        self.assertEqual(sorted(a["ip"] for s in subsets for a in s["addresses"]), sorted(self.ip_of(s) for s in self.servers))
        # It shows three of the four, in the order of the slices' names, of which one is IPv6.
        self.assertRegex(self.k("describe", "svc", "all"), r"Endpoints:.*\b10\.244\.")

    def test_a_service_changes_under_way(self):
        self.addCleanup(self.k, "delete", "svc", "moving", "--ignore-not-found", check=False)
        self.apply(service("moving", {"app": "nobody"}, [("http", 80, 8080, "TCP")]))
        vip = self.get("svc", "moving")["spec"]["clusterIP"]
        self.k("patch", "svc", "moving", "-p", '{"spec":{"selector":{"app":"server"}}}')
        eventually("it serves", lambda: self.ask(self.clients[0], f"http://{vip}/hostname")[0] in self.servers)
        self.k("delete", "svc", "moving")
        eventually("it is gone", lambda: self.sh(self.clients[0], f"curl -sS --max-time 2 http://{vip}/hostname", check=False)[0] != 0)

    def test_without_selector_the_slices_are_the_users(self):
        self.addCleanup(self.k, "delete", "svc,endpointslice", "-l", "manual=yes", "--ignore-not-found", check=False)
        manual = service("manual", None, [("http", 80, 8080, "TCP")])
        manual["metadata"]["labels"] = {"manual": "yes"}
        slice_ = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                  "metadata": {"name": "manual-1", "labels": {"kubernetes.io/service-name": "manual", "manual": "yes"}},
                  "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
                  "endpoints": [{"addresses": [self.ip_of(self.servers[0])], "conditions": {"ready": True}}]}
        self.apply(manual, slice_)
        vip = self.get("svc", "manual")["spec"]["clusterIP"]
        eventually("it serves", lambda: self.ask(self.clients[0], f"http://{vip}/hostname") == [self.servers[0]])


# bash speaks UDP by itself: the node may have no netcat.
UDP_CLIENT = "exec 3<>/dev/udp/{address}/{port}; echo hostname >&3; timeout 5 dd bs=1500 count=1 status=none <&3"


class Hairpin(Case):
    """A pod that is its own Service's only endpoint reaches itself through it."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        both = netexec("self", labels={"app": "self"})
        both["spec"]["containers"].append({"name": "shell", "image": NETSHOOT, "command": ["sleep", "3600"]})
        cls.apply(service("self", {"app": "self"}, [("http", 80, 8080, "TCP"), ("udp", 81, 8081, "UDP")]))
        cls.start_pods(both)
        cls.vip = cls.get("svc", "self")["spec"]["clusterIP"]

    def test_tcp(self):
        eventually("it reaches itself", lambda: self.sh("self", f"curl -sS --max-time 3 http://{self.vip}/hostname", container="shell").strip() == "self")

    def test_udp(self):
        eventually("it reaches itself", lambda: self.sh("self", f"echo hostname | nc -u -w 1 {self.vip} 81", container="shell").strip() == "self")


class Readiness(Case):
    """Endpoints come and go with what their pods say of themselves."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.apply(service("front", {"app": "front"}, [("http", 80, 8080, "TCP")]))
        cls.start_pods(shell_pod("client"))
        cls.vip = cls.get("svc", "front")["spec"]["clusterIP"]

    def tearDown(self):
        self.k("delete", "pod", "-l", "app=front", "--now", check=False)

    def server(self, name, **options):
        """A server whose readiness is a file of the shell beside it."""
        p = netexec(name, labels={"app": "front"}, **options)
        p["spec"]["containers"].append({"name": "shell", "image": "busybox", "command": ["sh", "-c", "touch /ready; sleep 3600"],
                                        "readinessProbe": {"exec": {"command": ["test", "-e", "/ready"]}, "periodSeconds": 1, "failureThreshold": 1}})
        return p

    def seen(self, times=20):
        script = f"i=0; while [ $i -lt {times} ]; do curl -sS --max-time 2 http://{self.vip}/hostname || true; echo; i=$((i+1)); done"
        return set(self.sh("client", script).split())

    def conditions(self):
        slices = self.get("endpointslices", "-l", "kubernetes.io/service-name=front")["items"]
        return {e["targetRef"]["name"]: (e["conditions"]["ready"], e["conditions"]["serving"], e["conditions"]["terminating"])
                for s in slices for e in s.get("endpoints") or []}

    def expect(self, what, name, *ready_serving_terminating, timeout=60):
        def as_wanted():
            now = self.conditions()
            if now.get(name) != ready_serving_terminating:
                raise Failed(f"{name} is {now.get(name)} (ready, serving, terminating); all: {now}")
            return True
        eventually(what, as_wanted, timeout=timeout)

    def test_not_ready_gets_nothing(self):
        self.start_pods(self.server("a"), self.server("b"))
        eventually("both serve", lambda: self.seen() == {"a", "b"})
        self.sh("a", "rm /ready", container="shell")
        self.expect("a is not ready", "a", False, False, False)
        eventually("only b serves", lambda: self.seen() == {"b"})
        self.sh("a", "touch /ready", container="shell")
        eventually("both serve again", lambda: self.seen() == {"a", "b"})

    def test_terminating_serves_only_where_nobody_else_does(self):
        stay = {"spec": {"terminationGracePeriodSeconds": 60}, "container": {"lifecycle": {"preStop": {"exec": {"command": ["/agnhost", "pause"]}}}}}
        self.start_pods(self.server("leaving", **stay), self.server("staying"))
        eventually("both serve", lambda: self.seen() == {"leaving", "staying"})
        self.k("delete", "pod", "leaving", "--wait=false")
        self.expect("it is terminating, still serving", "leaving", False, True, True)
        eventually("the other one serves", lambda: self.seen() == {"staying"})
        self.k("delete", "pod", "staying", "--now")
        eventually("what still serves is used", lambda: self.seen() == {"leaving"})
        self.k("delete", "pod", "leaving", "--force", "--grace-period=0")

    def test_publish_not_ready_addresses(self):
        self.addCleanup(self.k, "patch", "svc", "front", "-p", '{"spec":{"publishNotReadyAddresses":false}}', check=False)
        self.start_pods(self.server("a"))
        self.sh("a", "rm /ready", container="shell")
        self.expect("it is not ready", "a", False, False, False)
        self.k("patch", "svc", "front", "-p", '{"spec":{"publishNotReadyAddresses":true}}')
        eventually("it is served all the same", lambda: self.seen(4) == {"a"})

    def test_rollout_without_a_failed_request(self):
        """A rolling update behind a Service under load: every request is answered."""
        probe = {"readinessProbe": {"httpGet": {"path": "/hostname", "port": 8080}, "periodSeconds": 1}, "lifecycle": {"preStop": {"sleep": {"seconds": 3}}}}
        self.addCleanup(self.k, "delete", "deployment", "rolling", "--wait=false", check=False)
        self.apply(deployment("rolling", replicas=2, labels={"app": "front"}, container=probe,
                              spec={"strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}}, pod_spec={"terminationGracePeriodSeconds": 10}))
        self.k("rollout", "status", "deployment/rolling", "--timeout=120s", timeout=130)
        eventually("it serves", lambda: len(self.seen(4)) > 0)
        load = self.lab.popen("exec", "client", "--", "sh", "-c", f"n=0; while [ ! -e /stop ]; do curl -sS --max-time 5 -o /dev/null http://{self.vip}/hostname || echo BAD; n=$((n+1)); done; echo requests $n", ns=self.ns)
        self.k("rollout", "restart", "deployment/rolling")
        self.k("rollout", "status", "deployment/rolling", "--timeout=120s", timeout=130)
        self.sh("client", "touch /stop")
        out, _ = load.communicate(timeout=60)
        self.sh("client", "rm /stop")
        self.assertNotIn("BAD", out)
        self.assertGreater(int(out.split()[-1]), 5, "the load ran")


class NamedPorts(Case):
    def test_one_name_two_numbers(self):
        """targetPort by name is resolved pod by pod: in a migration two pods mean two numbers."""
        self.start_pods(netexec("old", http=8080, labels={"app": "n"}), netexec("new", http=9090, labels={"app": "n"}), shell_pod("client"))
        self.apply(service("n", {"app": "n"}, [("http", 80, "http", "TCP")]))
        vip = self.get("svc", "n")["spec"]["clusterIP"]
        script = f"for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do curl -sS --max-time 2 http://{vip}/hostname; echo; done"
        eventually("both serve", lambda: set(self.sh("client", script).split()) == {"old", "new"})
