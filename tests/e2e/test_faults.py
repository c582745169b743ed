"""What breaks must not break the pods' network, and must mend by itself."""
import json
import os
import re
import signal
import time

from lab import Case, LineReader, deployment, eventually, netexec, run, service, shell_pod


class AgentRestart(Case):
    """kill -9 of a node's agent under flows without a pause: no reset, no loss."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        far = f"node-{cls.lab.nodes}"
        cls.apply(service("flow", {"app": "flow"}, [("tcp", 5201, 5201, "TCP"), ("udp", 5201, 5201, "UDP"), ("http", 80, 8080, "TCP")]))
        server = netexec("server", node=far, labels={"app": "flow"}, udp=8081)
        server["spec"]["containers"].append({"name": "iperf", "image": "nicolaka/netshoot", "command": ["iperf3", "-s"]})
        cls.start_pods(server, shell_pod("client", node="node-1"))
        cls.vip = cls.get("svc", "flow")["spec"]["clusterIP"]
        eventually("the Service serves", lambda: cls.sh("client", f"curl -sS --max-time 2 http://{cls.vip}/hostname").strip() == "server")

    def restart(self, node):
        old = self.lab.process(node, "agent")
        os.kill(old, signal.SIGKILL)

        def is_back():
            new = self.lab.process(node, "agent")
            return new != old and self.agent_ready(node)
        eventually(f"the agent of {node} is back", is_back)

    def agent_ready(self, node):
        status = json.loads(self.lab.fairway("status", "-o", "json", "--node", node, check=False)[1] or "{}")
        return "synced" in json.dumps(status)

    def restart_all_during(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for i in range(1, self.lab.nodes + 1):
                self.restart(f"node-{i}")
            time.sleep(0.5)

    def test_ping_without_pause(self):
        ip = self.ip_of("server")
        flow = self.lab.popen("exec", "client", "--", "ping", "-i", "0.002", "-c", "4000", "-W", "2", ip, ns=self.ns)
        self.restart_all_during(6)
        out, _ = flow.communicate(timeout=120)
        self.assertRegex(out, r"4000 packets transmitted, 4000 (packets )?received", out[-300:])

    def test_udp_through_the_service(self):
        overflowed = self.overflowed()
        flow = self.lab.popen("exec", "client", "--", "iperf3", "-c", self.vip, "-u", "-b", "1M", "-l", "200", "-t", "10", "-J", ns=self.ns)
        self.restart_all_during(6)
        out, _ = flow.communicate(timeout=60)
        result = json.loads(out[out.index("{"):])
        self.assertNotIn("error", result, out[-500:])
        # What a server that gets no CPU leaves in its own full socket buffer has arrived there.
        self.assertLessEqual(result["end"]["sum"]["lost_packets"], self.overflowed() - overflowed)
        self.assertGreater(result["end"]["sum"]["packets"], 5_000)

    def overflowed(self):
        """Datagrams that the server's kernel had for its sockets, and no room."""
        names, values = [line.split()[1:] for line in self.sh("server", "cat /proc/net/snmp", container="iperf").splitlines() if line.startswith("Udp: ")]
        return int(dict(zip(names, values))["RcvbufErrors"])

    def test_one_tcp_stream_through_the_service(self):
        flow = self.lab.popen("exec", "client", "--", "iperf3", "-c", self.vip, "-b", "200M", "-t", "10", "-J", ns=self.ns)
        self.restart_all_during(6)
        out, _ = flow.communicate(timeout=60)
        result = json.loads(out[out.index("{"):])
        self.assertNotIn("error", result, out[-500:])
        # The last one may be a sliver, in which nothing was due.
        self.assertEqual([i["sum"] for i in result["intervals"] if i["sum"]["seconds"] > 0.5 and i["sum"]["bytes"] == 0], [])

    def test_new_connections_all_the_while(self):
        script = f"n=0; while [ ! -e /stop ]; do curl -sS --max-time 5 -o /dev/null http://{self.vip}/hostname || echo BAD; n=$((n+1)); done; echo requests $n"
        flow = self.lab.popen("exec", "client", "--", "sh", "-c", script, ns=self.ns)
        self.restart_all_during(6)
        self.sh("client", "touch /stop")
        out, _ = flow.communicate(timeout=60)
        self.sh("client", "rm /stop")
        self.assertNotIn("BAD", out)
        self.assertGreater(int(out.split()[-1]), 5)  # it went on; how fast is no matter

    def test_dns_all_the_while(self):
        script = f"n=0; while [ ! -e /stop-dns ]; do out=$(dig +tries=1 +time=10 flow.{self.ns}.svc.cluster.local. A); echo \"$out\" | grep -q 'IN.A.10[.]96[.]' || echo \"BAD $(echo \"$out\" | grep -E 'status:|EDE:|timed out|no servers' | tr '\\n' ' ')\"; n=$((n+1)); done; echo queries $n"
        flow = self.lab.popen("exec", "client", "--", "sh", "-c", script, ns=self.ns)
        self.restart_all_during(6)
        self.sh("client", "touch /stop-dns")
        out, _ = flow.communicate(timeout=60)
        self.sh("client", "rm /stop-dns")
        self.assertNotIn("BAD", out)
        self.assertGreater(int(out.split()[-1]), 5)

    def test_pods_start_while_the_agent_restarts(self):
        names = [f"born-{i}" for i in range(6)]
        self.addCleanup(self.k, "delete", "pod", *names, "--now", "--wait=false", check=False)
        self.apply(*[netexec(n, node="node-1") for n in names])
        os.kill(self.lab.process("node-1", "agent"), signal.SIGKILL)
        self.wait_ready(*[f"pod/{n}" for n in names])
        self.assertEqual(len({self.ip_of(n) for n in names}), len(names))
        for name in names:
            self.assertEqual(self.sh("client", f"curl -sS --max-time 5 http://{self.ip_of(name)}:8080/hostname").strip(), name)

    def test_pods_end_while_the_agent_is_away(self):
        self.start_pods(netexec("dying", node="node-1"))
        agent = self.lab.process("node-1", "agent")
        os.kill(agent, signal.SIGSTOP)
        try:
            self.k("delete", "pod", "dying", "--now", "--wait=false")
            time.sleep(1)
        finally:
            os.kill(agent, signal.SIGKILL)
        eventually("it is gone", lambda: "NotFound" in self.k("get", "pod", "dying", check=False)[2])


class RuntimeRestart(Case):
    def test_containers_outlive_the_node_runtime(self):
        self.start_pods(netexec("lasting", node="node-1"), shell_pod("client", node="node-1"))
        before = self.get("pod", "lasting")["status"]
        os.kill(self.lab.process("node-1", "runtime"), signal.SIGKILL)
        eventually("exec works again", lambda: self.sh("client", "echo ok").strip() == "ok")
        after = self.get("pod", "lasting")["status"]
        self.assertEqual(after["podIP"], before["podIP"])
        self.assertEqual([c["containerID"] for c in after["containerStatuses"]], [c["containerID"] for c in before["containerStatuses"]])
        self.assertEqual(after["containerStatuses"][0]["restartCount"], 0)


class ApiServer(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.apply(service("web", {"app": "web"}, [("http", 80, 8080, "TCP")]))
        cls.start_pods(netexec("web", node=f"node-{cls.lab.nodes}", labels={"app": "web"}), shell_pod("client", node="node-1"))
        cls.vip = cls.get("svc", "web")["spec"]["clusterIP"]
        eventually("it serves", lambda: cls.sh("client", f"curl -sS --max-time 2 http://{cls.vip}/hostname").strip() == "web")

    def kill_server(self):
        old = self.lab.process(None, "server")
        os.kill(old, signal.SIGKILL)
        eventually("the API server is back", lambda: self.lab.process(None, "server") != old and self.lab.kubectl("get", "--raw", "/readyz", check=False)[0] == 0)

    def test_nothing_acknowledged_is_lost(self):
        for i in range(20):
            self.k("create", "cm", f"kept-{i}", "--from-literal=n=1")
        version = int(self.get("cm", "kept-19")["metadata"]["resourceVersion"])
        self.kill_server()
        self.assertEqual(len([c for c in self.get("cm")["items"] if c["metadata"]["name"].startswith("kept-")]), 20)
        self.k("create", "cm", "after", "--from-literal=n=1")
        self.assertGreater(int(self.get("cm", "after")["metadata"]["resourceVersion"]), version)
        self.k("delete", "cm", "--all")

    def test_controllers_and_nodes_go_on(self):
        self.kill_server()
        self.addCleanup(self.k, "delete", "deployment", "later", "--wait=false", check=False)
        self.apply(deployment("later", replicas=2))
        self.k("rollout", "status", "deployment/later", "--timeout=120s", timeout=130)
        self.assertEqual(self.sh("client", f"curl -sS --max-time 5 http://{self.vip}/hostname").strip(), "web")

    def test_network_goes_on_while_it_is_away(self):
        name = f"web.{self.ns}.svc.cluster.local"
        script = f"curl -sS --max-time 5 http://{self.vip}/hostname; echo; curl -sS --max-time 5 http://{name}/hostname; echo; dig +short +tries=1 +time=5 {name}."
        with open(f"{self.lab.dir}/script", "w") as out:
            out.write(script)
        # kubectl exec needs the API server, so what runs in the pod is started before it is stopped.
        work = self.lab.popen("exec", "client", "--", "sh", "-c", f"while [ ! -e /go ]; do sleep 0.1; done; sleep 2; ( {script} ) >/result 2>&1; touch /done", ns=self.ns)
        self.sh("client", "touch /go")
        server = self.lab.process(None, "server")
        os.kill(server, signal.SIGSTOP)
        try:
            time.sleep(8)
        finally:
            os.kill(server, signal.SIGCONT)
        self.addCleanup(work.kill)
        eventually("the work is done", lambda: self.sh("client", "test -e /done && echo yes", check=False)[1].strip() == "yes")
        self.assertEqual(self.sh("client", "cat /result").split(), ["web", "web", self.vip])

    def test_a_watch_survives(self):
        watch = LineReader(self.lab.popen("get", "cm", "-w", ns=self.ns))
        self.addCleanup(watch.close)
        watch.expect("kube-root-ca.crt")
        self.kill_server()
        # kubectl's own watch ends with its connection: that is its way. The agents' and the runtimes' come again.
        self.apply(netexec("noticed", node="node-1"))
        self.addCleanup(self.k, "delete", "pod", "noticed", "--now", "--wait=false", check=False)
        self.wait_ready("pod/noticed")


class NodeCut(Case):
    """A node that is cut off the fabric is noticed, its pods are left out of Services, and all heals."""

    def test_cut_and_heal(self):
        node = f"node-{self.lab.nodes}"
        self.addCleanup(self.lab.fairway, "lab", "node", "heal", node, check=False)
        self.apply(service("web", {"app": "web"}, [("http", 80, 8080, "TCP")]))
        self.start_pods(netexec("near", node="node-1", labels={"app": "web"}), netexec("far", node=node, labels={"app": "web"}), shell_pod("client", node="node-1"))
        vip = self.get("svc", "web")["spec"]["clusterIP"]
        script = f"for i in 1 2 3 4 5 6 7 8 9 10 11 12; do curl -sS --max-time 2 http://{vip}/hostname || true; echo; done"
        seen = lambda: set(self.sh("client", script).split())  # noqa: E731
        eventually("both serve", lambda: seen() == {"near", "far"})
        self.lab.fairway("lab", "node", "cut", node)
        self.assertIn("cut", self.lab.fairway("lab", "status"))
        eventually("the node is NotReady", lambda: re.search(rf"{node} +NotReady", self.lab.kubectl("get", "nodes")), timeout=90)
        taints = json.loads(self.lab.kubectl("get", "node", node, "-o", "json"))["spec"]["taints"]
        self.assertIn("node.kubernetes.io/unreachable", [t["key"] for t in taints])
        eventually("only the near one serves", lambda: seen() == {"near"})
        self.lab.fairway("lab", "node", "heal", node)
        eventually("the node is Ready", lambda: re.search(rf"{node} +Ready", self.lab.kubectl("get", "nodes")), timeout=60)
        eventually("both serve again", lambda: seen() == {"near", "far"}, timeout=60)
        self.assertNotIn("taints", json.loads(self.lab.kubectl("get", "node", node, "-o", "json"))["spec"])

    def test_nothing_of_the_fabric_answers_it(self):
        """Else what it sends would still arrive, its heartbeats above all, and it would stay Ready."""
        far = f"node-{self.lab.nodes}"
        self.lab.fairway("lab", "node", "cut", far)
        self.addCleanup(self.lab.fairway, "lab", "node", "heal", far, check=False)
        self.lab.on_node(far, "ip", "neigh", "flush", "172.30.0.1")
        self.lab.on_node(far, "ping", "-c", "1", "-W", "2", "172.30.0.1", check=False)
        self.assertNotIn("lladdr", self.lab.on_node(far, "ip", "neigh", "show", "172.30.0.1"))
        self.lab.fairway("lab", "node", "heal", far)
        eventually("it is back", lambda: self.lab.on_node(far, "ping", "-c", "1", "-W", "2", "172.30.0.1", check=False)[0] == 0)


class NodesComeAndGo(Case):
    def test_the_fabrics_address_stays(self):
        """A bridge takes the lowest MAC of its ports for its own, unless it has one. Who knows the old one, another port's, would go on with it."""
        def fabric(*command):
            return run(["nsenter", "--net=/run/netns/fw-fabric", "--", *command])

        def reached_from_all():
            for i in range(1, self.lab.nodes + 1):
                self.assertIn(" 0% packet loss", self.lab.on_node(f"node-{i}", "ping", "-c", "3", "-i", "0.2", "-W", "5", "172.30.0.1", check=False)[1])

        reached_from_all()
        fabric("ip", "link", "add", "low", "address", "02:00:00:00:00:00", "type", "veth", "peer", "name", "low2")
        self.addCleanup(fabric, "ip", "link", "del", "low")
        fabric("ip", "link", "set", "low", "master", "br0", "up")
        reached_from_all()

    def test_add_and_remove(self):
        name = "node-extra"
        self.lab.fairway("lab", "node", "add", name)
        self.assertEqual(self.lab.kubectl("get", "node", name, "-o", "name").strip(), f"node/{name}")
        self.addCleanup(self.lab.kubectl, "delete", "node", name, "--ignore-not-found", "--wait=false", check=False)
        self.addCleanup(self.lab.fairway, "lab", "node", "remove", name, check=False)
        self.lab.kubectl("wait", "--for=condition=Ready", f"node/{name}", "--timeout=60s")
        self.assertTrue(json.loads(self.lab.kubectl("get", "node", name, "-o", "json"))["spec"]["podCIDRs"])
        self.apply(deployment("web", replicas=1, pod_spec={"nodeSelector": {"kubernetes.io/hostname": name}}))
        self.k("rollout", "status", "deployment/web", "--timeout=120s", timeout=130)
        self.start_pods(shell_pod("client", node="node-1"))
        there = self.get("pods", "-l", "app=web")["items"][0]
        self.assertEqual(self.sh("client", f"curl -sS --max-time 5 http://{there['status']['podIP']}:8080/hostname").strip(), there["metadata"]["name"])
        self.lab.fairway("lab", "node", "remove", name)
        eventually("the node is gone", lambda: name not in self.lab.kubectl("get", "nodes"))
        eventually("its Lease is gone", lambda: name not in self.lab.kubectl("get", "leases", "-n", "kube-node-lease"))
        eventually("its pod is gone", lambda: there["metadata"]["name"] not in self.k("get", "pods"), timeout=60)
