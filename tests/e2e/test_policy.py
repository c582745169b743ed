"""NetworkPolicy on real packets, driven by kubectl: the scenario's own policy, running connections, restarts, first packets."""
import json
import os
import re
import signal

from lab import ROOT, Case, LineReader, eventually, netexec, shell_pod

MANIFESTS = os.path.join(ROOT, "examples/scenario")
WELCOME = "Welcome to nginx!"


def policy(name, pods, types=None, ingress=None, egress=None):
    spec = {"podSelector": pods}
    for key, value in (("policyTypes", types), ("ingress", ingress), ("egress", egress)):
        if value is not None:
            spec[key] = value
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name}, "spec": spec}


class PolicyCase(Case):
    def fetch(self, pod, address, port=8080, seconds=5):
        url = f"http://[{address}]:{port}/hostname" if ":" in address else f"http://{address}:{port}/hostname"
        return self.sh(pod, f"curl -sS --max-time {seconds} {url}", check=False)

    def allowed(self, pod, address, **options):
        return self.fetch(pod, address, **options)[0] == 0

    def denied(self, pod, address, **options):
        # 28: the packets are dropped, and nothing answers.
        return "exit code 28" in self.fetch(pod, address, seconds=1, **options)[2]


class ScenarioPolicy(Case):
    """Line 4 of the scenario: refused until `kubectl label pod frontend app=frontend`."""
    own_namespace = False
    ns = "default"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        files = [os.path.join(MANIFESTS, f"{n}.yaml") for n in ("backend-deployment", "backend-service", "frontend-pod")]
        for path in files + [os.path.join(MANIFESTS, "allow-frontend-policy.yaml")]:
            cls.addClassCleanup(cls.k, "delete", "-f", path, "--ignore-not-found", "--now", "--timeout=60s", check=False)  # to the end: Scenario has the same names
        for path in files:
            cls.k("apply", "-f", path)
        cls.k("rollout", "status", "deployment/backend", "--timeout=180s", timeout=200)
        cls.wait_ready("pod/frontend", timeout=180)

    def curl(self, seconds=2):
        return self.k("exec", "frontend", "--", "curl", "-sS", "--max-time", str(seconds), "backend-service", check=False)

    def test_both_halves(self):
        eventually("it serves before any policy", lambda: WELCOME in self.curl(10)[1])
        self.k("apply", "-f", os.path.join(MANIFESTS, "allow-frontend-policy.yaml"))
        eventually("the policy refuses the frontend, which has no label", lambda: "exit code 28" in self.curl()[2])
        self.assertRefused(self.curl(), "exit code 28")
        self.k("label", "pod", "frontend", "app=frontend")
        eventually("the labelled frontend is let in", lambda: WELCOME in self.curl()[1])
        backend = self.get("pods", "-l", "app=backend")["items"][0]["metadata"]["name"]
        # It names no policyTypes: ingress alone. What the backend itself sends is free, and so are its answers.
        frontend = self.ip_of("frontend")
        # 7: refused by the frontend's own stack, so the packet came there and the answer back.
        self.assertIn("exit code 7", self.k("exec", backend, "--", "curl", "-sS", "--max-time", "5", f"http://{frontend}:9", check=False)[2])
        self.k("label", "pod", "frontend", "app-")
        eventually("without its label it is refused again", lambda: "exit code 28" in self.curl()[2])
        self.k("delete", "networkpolicy", "allow-frontend")
        eventually("without the policy all is open", lambda: WELCOME in self.curl()[1])


class PolicyFlows(PolicyCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        far = f"node-{cls.lab.nodes}"
        cls.start_pods(netexec("server", node=far, labels={"app": "server"}), shell_pod("near", node=far, labels={"may": "yes"}),
                       shell_pod("client", node="node-1", labels={"may": "yes"}), shell_pod("other", node="node-1"))

    def setUp(self):
        self.addCleanup(self.k, "delete", "networkpolicy", "--all", check=False)

    def open_again(self):
        self.k("delete", "networkpolicy", "--all")
        for client in ("client", "other", "near"):
            eventually(f"{client} is let in", lambda c=client: self.allowed(c, self.ip_of("server")))

    def test_by_label_both_families_same_node_and_across(self):
        self.open_again()
        self.apply(policy("web", {"matchLabels": {"app": "server"}}, ingress=[{"from": [{"podSelector": {"matchLabels": {"may": "yes"}}}]}]))
        for family in (4, 6):
            address = self.ip_of("server", family)
            eventually("who may not is refused", lambda a=address: self.denied("other", a))
            for client in ("client", "near"):
                self.assertTrue(self.allowed(client, address), f"{client} IPv{family}")

    def test_a_running_connection_stays_as_its_pod_becomes_isolated(self):
        self.open_again()
        # The server's pod becomes isolated both ways: what the client began is its ingress, and the answers pass.
        flow = self.lab.popen("exec", "client", "--", "bash", "-c", self.talk(), ns=self.ns)
        lines = LineReader(flow)
        self.addCleanup(lines.close)
        lines.expect("line 3")
        self.apply(policy("keeps", {"matchLabels": {"app": "server"}}, types=["Ingress", "Egress"], ingress=[{"from": [{"podSelector": {"matchLabels": {"may": "yes"}}}]}], egress=[]))
        eventually("it is in force", lambda: self.denied("other", self.ip_of("server")))
        self.assert_goes_on(lines)
        # A policy that no longer lets it in cuts it at its next packet.
        self.apply(policy("keeps", {"matchLabels": {"app": "server"}}, types=["Ingress", "Egress"], ingress=[], egress=[]))
        eventually("it is in force", lambda: self.denied("client", self.ip_of("server")))
        self.assert_is_cut(lines)

    # A connection that stays open, a question and its answer each 0.2 s: netexec's HTTP with keep-alive, by bash.
    def talk(self):
        return ("exec 3<>/dev/tcp/%s/8080; n=0; while :; do printf 'GET /hostname HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n' >&3; "
                "got=0; while IFS= read -r -t 2 line <&3; do got=1; case $line in *server*) break;; $'\\r') IFS= read -r -t 2 -N 6 body <&3; break;; esac; done; "
                "[ $got = 1 ] || { echo silent; continue; }; n=$((n+1)); echo line $n; sleep 0.2; done") % self.ip_of("server")

    def assert_goes_on(self, lines):
        lines.expect(r"line \d+")
        for _ in range(5):
            lines.expect(r"line \d+")

    def assert_is_cut(self, lines):
        lines.expect("silent")

    def test_no_gap_opens_or_closes_while_the_agent_is_killed(self):
        self.open_again()
        self.apply(policy("web", {"matchLabels": {"app": "server"}}, ingress=[{"from": [{"podSelector": {"matchLabels": {"may": "yes"}}}]}]))
        ip = self.ip_of("server")
        eventually("it is in force", lambda: self.denied("other", ip))
        eventually("who may is let in", lambda: self.allowed("client", ip))
        script = ("n=0; while [ ! -e /stop ]; do curl -sS --max-time %s -o /dev/null http://" + ip + ":8080/hostname 2>/dev/null; rc=$?; "
                  "[ $rc = %d ] || echo BAD $rc; n=$((n+1)); done; echo tries $n")
        probes = {"client": self.lab.popen("exec", "client", "--", "sh", "-c", script % ("5", 0), ns=self.ns),
                  "other": self.lab.popen("exec", "other", "--", "sh", "-c", script % ("0.3", 28), ns=self.ns)}
        for _ in range(3):
            for i in range(1, self.lab.nodes + 1):
                old = self.lab.process(f"node-{i}", "agent")
                os.kill(old, signal.SIGKILL)
                eventually("it is back", lambda n=f"node-{i}", o=old: self.lab.process(n, "agent") != o and self.synced(n), timeout=60)
        for client, probe in probes.items():
            self.sh(client, "touch /stop")
            out, _ = probe.communicate(timeout=60)
            self.sh(client, "rm /stop")
            self.assertNotIn("BAD", out, client)
            self.assertGreater(int(out.split()[-1]), 5, client)

    def synced(self, node):
        status = json.loads(self.lab.fairway("status", "-o", "json", "--node", node, check=False)[1] or "{}")
        return '"inForce": true' in json.dumps(status)

    def test_first_packets_of_a_new_pod_are_judged(self):
        self.open_again()
        self.apply(policy("no-egress", {"matchLabels": {"run": "first"}}, types=["Egress"], egress=[]),
                   policy("web", {"matchLabels": {"app": "server"}}, ingress=[{"from": [{"podSelector": {"matchLabels": {"may": "yes"}}}]}]))
        eventually("it is in force", lambda: self.denied("other", self.ip_of("server")))
        names = [f"first-{i}" for i in range(4)]
        self.addCleanup(self.k, "delete", "pod", *names, "late", "--now", "--wait=false", check=False)
        script = f"curl -sS --max-time 2 -o /dev/null http://{self.ip_of('server')}:8080/hostname; echo first $?; sleep 3600"
        pods = [shell_pod(n, node="node-1" if i % 2 else f"node-{self.lab.nodes}", labels={"run": "first", "may": "yes"}) for i, n in enumerate(names)]
        pods.append(shell_pod("late", node=f"node-{self.lab.nodes}", labels={"may": "yes"}))
        for p in pods:
            p["spec"]["containers"][0]["command"] = ["sh", "-c", script]
        self.start_pods(*pods)
        for name in names:
            eventually(f"{name} has tried", lambda n=name: "first" in self.k("logs", n))
            self.assertIn("first 28", self.k("logs", name))
        eventually("late has tried", lambda: "first" in self.k("logs", "late"))
        self.assertIn("first 0", self.k("logs", "late"), "on the server's own node the address is known before it runs")

    def test_dns_is_egress_like_any_other(self):
        dns = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
                "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}]

        def resolves(pod, flags=""):
            return "NOERROR" in self.sh(pod, f"dig {flags} +tries=1 +time=1 kubernetes.default.svc.cluster.local A", check=False)[1]

        self.open_again()
        self.assertTrue(resolves("client"), "before any policy")
        self.apply(policy("no-egress", {"matchLabels": {"may": "yes"}}, types=["Egress"], egress=[]))
        eventually("without egress nothing is resolved", lambda: not resolves("client"))
        self.assertFalse(resolves("client", "+tcp"))
        self.assertTrue(resolves("other"), "a pod that it does not select")

        def listed():  # right after many others a flow is counted, and not listed
            return not resolves("client") and re.search(rf"{self.ns}/client .*10\.96\.0\.10:53 +UDP .*{self.ns}/no-egress", self.lab.fairway("drops", "--node", "node-1"))

        eventually("the drop is listed", listed)
        code, way, _ = self.lab.fairway("explain", f"{self.ns}/client", "kube-system/kube-dns:53/udp", "-o", "json", check=False)
        way = json.loads(way)
        self.assertEqual((code, way["verdict"]), (1, "denied"), way)
        self.assertTrue(way["paths"][0]["program"]["agrees"], way)
        # as the manifests of clusters have it whose DNS runs in pods
        self.apply(policy("dns", {"matchLabels": {"may": "yes"}}, types=["Egress"],
                          egress=[{"to": dns, "ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]}]))
        eventually("it is let through to the resolver", lambda: resolves("client"))
        self.assertTrue(resolves("client", "+tcp"))
        self.assertTrue(resolves("near"), "on another node, by that node's resolver")
        self.assertTrue(self.denied("client", self.ip_of("server")), "and to nothing else")
        way = json.loads(self.lab.fairway("explain", f"{self.ns}/client", "kube-system/kube-dns:53/udp", "-o", "json"))
        self.assertEqual(way["verdict"], "allowed", way)
        self.assertTrue(way["paths"][0]["program"]["agrees"], way)

    def test_tables_and_rule_names(self):
        self.open_again()
        self.apply(policy("named", {"matchLabels": {"app": "server"}}, ingress=[{"from": [{"podSelector": {"matchLabels": {"may": "yes"}}}]}]))
        eventually("it is in force", lambda: self.denied("other", self.ip_of("server")))
        far = f"node-{self.lab.nodes}"
        self.assertIn(f"{self.ns}/named", self.lab.fairway("show", "policies", "--node", far))
        self.assertRegex(self.lab.fairway("show", "subjects", "--node", far), rf"{self.ns}/server .* deny .*named")
        self.assertRegex(self.lab.fairway("show", "verdicts", "--node", far), rf"allow +NetworkPolicy {self.ns}/named ingress\[0\]")
        self.assertIn(self.ip_of("client"), self.lab.fairway("show", "peers", "--node", far))
        client, server = self.ip_of("client"), self.ip_of("server")
        eventually("its connection has a row", lambda: self.allowed("client", server) and  # a closed one's row goes in seconds
                   re.search(rf"{client}:\d+ +{server}:8080 +TCP", self.lab.fairway("show", "track", "--node", far)))


class TerminatingNamespace(PolicyCase):
    """CVE-2024-7598: a namespace that goes keeps its policies until its pods are gone."""

    def test_policies_hold_until_the_pods_are_gone(self):
        self.start_pods(shell_pod("asks", node="node-1"))
        doomed = "e2e-doomed"
        kubectl = self.lab.kubectl
        self.addCleanup(kubectl, "delete", "namespace", doomed, "--ignore-not-found", "--wait=false", check=False)
        kubectl("create", "namespace", doomed)
        server = netexec("server", node=f"node-{self.lab.nodes}", labels={"app": "server"})
        server["spec"]["terminationGracePeriodSeconds"] = 20
        server["spec"]["containers"][0]["lifecycle"] = {"preStop": {"exec": {"command": ["sleep", "15"]}}}
        kubectl("apply", "-f", "-", ns=doomed, input=json.dumps({"apiVersion": "v1", "kind": "List", "items": [server, policy("closed", {})]}))
        kubectl("wait", "--for=condition=Ready", "pod/server", "--timeout=120s", ns=doomed)
        ip = json.loads(kubectl("get", "pod", "server", "-o", "json", ns=doomed))["status"]["podIP"]
        eventually("it is in force", lambda: self.denied("asks", ip))
        kubectl("delete", "namespace", doomed, "--wait=false")
        kubectl("delete", "networkpolicy", "closed", "--ignore-not-found", ns=doomed)  # whatever the controller's order is
        # An agent that comes anew knows of the policy by its own disk alone.
        far, tries = f"node-{self.lab.nodes}", 0
        eventually("the policy's object has gone", lambda: "closed" not in kubectl("get", "networkpolicy", "-o", "name", ns=doomed, check=False)[1])
        os.kill(self.lab.process(far, "agent"), signal.SIGKILL)
        while "server" in kubectl("get", "pod", "-o", "name", ns=doomed, check=False)[1]:
            self.assertFalse(self.allowed("asks", ip, seconds=2), "the pod lives, its policy must too")
            tries += 1
        self.assertGreater(tries, 0, "the pod was gone before anything could be asked")
