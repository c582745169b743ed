"""What an API server does to its watchers on a bad day, done to a whole running cluster: agents, controllers, node runtimes.

Each test makes the fault, changes Services meanwhile, and looks at what every node's kernel has in the end. One TCP
connection through a Service is kept open all the while.
"""
import json
import os
import random
import signal
import threading

from lab import Api, Case, KeptFlow, endpoint_slice, eventually, netexec, service, shell_pod

ALWAYS = 1_000_000


class ApiFaults(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.apply(service("web", {"app": "web"}, [("http", 80, 8080, "TCP")]))
        far = f"node-{cls.lab.nodes}"
        cls.start_pods(netexec("web", node=far, labels={"app": "web"}), netexec("other", node="node-1"), shell_pod("client", node="node-1"))
        cls.vip = cls.get("svc", "web")["spec"]["clusterIP"]
        cls.web, cls.other = (f"{cls.ip_of(name)}:8080" for name in ("web", "other"))
        eventually("it serves", lambda: cls.sh("client", f"curl -sS --max-time 2 http://{cls.vip}/hostname").strip() == "web")

    def setUp(self):
        self.api = Api(self.lab)
        self.addCleanup(self.api.close)
        self.addCleanup(self.faults, refuse=0, expire=0, duplicate=0, swap=0, drop=0)
        self.tag = "t-" + self.id().split(".test_")[1].replace("_", "-")
        for role in ("goes", "moves"):
            self.put(f"{self.tag}-{role}", "web")
        eventually("they are in force", lambda: all(f"{self.tag}-{role}" in rows and rows[f"{self.tag}-{role}"][1] == self.web
                                                    for rows in self.frontends().values() for role in ("goes", "moves")))
        self.flow = KeptFlow(self, "client", self.vip)

    def faults(self, **wish):
        return self.api.call("POST", "/debug/faults", wish)

    def services(self, name=""):
        return f"/api/v1/namespaces/{self.ns}/services/{name}".rstrip("/")

    def slices(self, name=""):
        return f"/apis/discovery.k8s.io/v1/namespaces/{self.ns}/endpointslices/{name}".rstrip("/")

    def put(self, name, server):
        """A Service without a selector and its slice: no controller stands between the API and the agents."""
        self.api.call("POST", self.services(), service(name, None, [("http", 80, 8080, "TCP")]))
        self.api.call("POST", self.slices(), endpoint_slice(name, [self.ip_of(server)]))

    def changes(self):
        """One after the other, a pause for the fault between them: Services come, one goes, one moves to and fro, to `other` at last."""
        for i in range(5):
            self.put(f"{self.tag}-new-{i}", "web")
            yield
        self.api.call("DELETE", self.services(f"{self.tag}-goes"))
        yield
        self.api.call("DELETE", self.slices(f"{self.tag}-goes"))
        yield
        for server in ("other", "web") * 3 + ("other",):
            self.api.call("PUT", self.slices(f"{self.tag}-moves"), endpoint_slice(f"{self.tag}-moves", [self.ip_of(server)]))
            yield

    def change_all(self):
        for _ in self.changes():
            pass

    def wanted(self):
        return {f"{self.tag}-moves": self.other, **{f"{self.tag}-new-{i}": self.web for i in range(5)}}

    def in_force(self):
        return {node: {name: row[1] for name, row in rows.items() if name.startswith(self.tag + "-")} for node, rows in self.frontends().items()}

    def expect_all_in_force(self):
        expected = {f"node-{i}": self.wanted() for i in range(1, self.lab.nodes + 1)}
        eventually("every node has what the API has", lambda: self.in_force() == expected or f"{self.in_force()} instead of {expected}" and False, timeout=60)
        self.assertEqual(self.in_force(), expected)
        for name, server in ((f"{self.tag}-moves", "other"), (f"{self.tag}-new-4", "web")):
            address = self.get("svc", name)["spec"]["clusterIP"]
            self.assertEqual(self.sh("client", f"curl -sS --max-time 5 http://{address}/hostname").strip(), server)
        # The others that watch have mended too: a pod is scheduled and started, and its endpoint published.
        self.apply(service(f"{self.tag}-later", {"app": self.tag}, [("http", 80, 8080, "TCP")]), netexec(f"{self.tag}-pod", labels={"app": self.tag}))
        self.wait_ready(f"pod/{self.tag}-pod")
        address = self.get("svc", f"{self.tag}-later")["spec"]["clusterIP"]
        eventually("the new pod serves", lambda: self.sh("client", f"curl -sS --max-time 2 http://{address}/hostname").strip() == f"{self.tag}-pod")
        self.flow.finish()

    def test_watches_are_cut(self):
        for _ in self.changes():
            self.faults(cutWatches=True)
        self.expect_all_in_force()

    def lose_the_changes(self):
        """No watcher is told of them: only a new list can find them."""
        before = self.in_force()
        self.faults(drop=ALWAYS)
        self.change_all()
        self.assertEqual(self.in_force(), before)

    def test_410_at_the_watch(self):
        self.lose_the_changes()
        self.faults(drop=0, forgetHistory=True, cutWatches=True)
        self.expect_all_in_force()

    def test_410_as_an_event(self):
        self.lose_the_changes()
        self.faults(drop=0, errorWatches=True)
        self.expect_all_in_force()

    def test_410_and_503_again_and_again(self):
        self.lose_the_changes()
        self.faults(drop=0, expire=20, refuse=40, cutWatches=True)
        eventually("every node has what the API has", lambda: all(rows == self.wanted() for rows in self.in_force().values()), timeout=90)
        self.faults(expire=0, refuse=0)
        self.expect_all_in_force()

    def test_events_twice(self):
        self.faults(duplicate=ALWAYS)
        self.change_all()
        self.expect_all_in_force()

    def test_events_out_of_order(self):
        for first in (0, 1):  # which of two changes of one object is held back: both ways
            self.faults(swap=ALWAYS)
            if first:
                self.k("create", "cm", f"{self.tag}-odd")
            for server in ("other", "web") * 5 + ("other",) * first:
                self.api.call("PUT", self.slices(f"{self.tag}-moves"), endpoint_slice(f"{self.tag}-moves", [self.ip_of(server)]))
        self.change_all()
        self.faults(swap=0)
        self.k("create", "cm", f"{self.tag}-last")  # lets go of the event that is still held
        self.expect_all_in_force()


class KilledDuringSync(Case):
    """kill -9 of an agent, again and again, while thousands of objects come and go."""
    SERVICES = 2000

    def test_nothing_is_lost(self):
        node = "node-1"
        self.apply(service("web", {"app": "web"}, [("http", 80, 8080, "TCP")]))
        self.start_pods(netexec("web", node=f"node-{self.lab.nodes}", labels={"app": "web"}), shell_pod("client", node=node))
        address = self.ip_of("web")
        vip = self.get("svc", "web")["spec"]["clusterIP"]
        eventually("it serves", lambda: self.sh("client", f"curl -sS --max-time 2 http://{vip}/hostname").strip() == "web")
        flow = KeptFlow(self, "client", vip)
        writer = threading.Thread(target=self.write, args=(address,))
        self.failure = None
        writer.start()
        kills, last, choice = 0, None, random.Random(1)
        while writer.is_alive():
            pid = self.lab.process(node, "agent")
            if pid != last:
                writer.join(choice.uniform(0.1, 1.5))  # while it adopts, lists, programs, or follows the events
                os.kill(pid, signal.SIGKILL)
                kills, last = kills + 1, pid
        writer.join()
        self.assertIsNone(self.failure)
        self.assertGreaterEqual(kills, 3)
        listed = self.get("services")["items"]
        self.assertEqual(len(listed), self.SERVICES // 2 + 1)
        expected = {s["metadata"]["name"]: [s["spec"]["clusterIP"], f"{address}:8080"] for s in listed}
        for i in range(1, self.lab.nodes + 1):
            eventually(f"node-{i} has each Service, and no other", lambda: self.frontends().get(f"node-{i}") == expected, timeout=120, every=0.5)
        self.assertEqual(self.sh("client", f"curl -sS --max-time 5 http://{expected['s-1'][0]}/hostname").strip(), "web")
        flow.finish()

    def write(self, address):
        """All are made; then every second one goes."""
        try:
            api = Api(self.lab)
            services, slices = f"/api/v1/namespaces/{self.ns}/services", f"/apis/discovery.k8s.io/v1/namespaces/{self.ns}/endpointslices"
            for i in range(self.SERVICES):
                api.call("POST", services, service(f"s-{i}", None, [("http", 80, 8080, "TCP")]))
                api.call("POST", slices, endpoint_slice(f"s-{i}", [address]))
            for i in range(0, self.SERVICES, 2):
                api.call("DELETE", f"{services}/s-{i}")
                api.call("DELETE", f"{slices}/s-{i}")
            api.close()
        except Exception as error:  # of another thread: the test tells it
            self.failure = error
