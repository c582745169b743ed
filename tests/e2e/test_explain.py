"""fairway explain: it says beforehand, with names, what a connection then finds."""
import json
import re

from lab import Case, Failed, eventually, netexec, service, shell_pod
from test_policy import policy

DISAGREE = "DO NOT SAY"


class Explain(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        far = f"node-{cls.lab.nodes}"
        cls.apply(service("web", {"app": "web"}, [("http", 80, 8080, "TCP")]), service("two", {"app": "web"}, [("a", 80, 8080, "TCP"), ("b", 81, 8080, "TCP")]))
        cls.start_pods(netexec("near", node="node-1", labels={"app": "web"}), netexec("far", node=far, labels={"app": "web"}),
                       shell_pod("client", node="node-1"), shell_pod("two", node=far))
        eventually("the Service has both", lambda: len(cls.explained("client", "web:80")["paths"]) == 2)

    def setUp(self):
        self.addCleanup(self.k, "delete", "networkpolicy", "--all", check=False)
        self.addCleanup(self.k, "label", "pod", "client", "may-", check=False)

    @classmethod
    def text(cls, *args, check=True):
        return cls.lab.fairway("explain", "-n", cls.ns, *args, check=check)

    @classmethod
    def explained(cls, *args):
        code, out, err = cls.text(*args, "-o", "json", check=False)
        if code not in (0, 1):
            raise Failed(f"explain {args}: {err}")
        whole = json.loads(out)
        if (code == 0) != (whole["verdict"] == "allowed"):
            raise AssertionError(f"exit code {code} for {whole['verdict']}")
        return whole

    def reached(self, address, port=8080):
        url = f"http://[{address}]:{port}/hostname" if ":" in address else f"http://{address}:{port}/hostname"
        return self.sh("client", f"curl -sS --max-time 1 {url}", check=False)[0] == 0

    def agrees(self, whole):
        for path in whole["paths"]:
            for key in ("program", "arrivalProgram"):
                if key in path:
                    self.assertTrue(path[key]["agrees"], path)

    def test_the_policy_and_then_the_rule(self):
        before = eventually("no policy is left of the test before", lambda: (w := self.explained("client", "web:80"))["verdict"] == "allowed" and w)
        self.agrees(before)
        self.apply(policy("lets-in", {"matchLabels": {"app": "web"}}, ingress=[{"from": [{"podSelector": {"matchLabels": {"may": "yes"}}}], "ports": [{"port": 8080}]}]))
        for family in (4, 6):
            for name in ("near", "far"):
                eventually(f"{name} is closed over IPv{family}", lambda n=name, f=family: not self.reached(self.ip_of(n, f)))
        denied = self.explained("client", "web:80")
        self.assertEqual(denied["verdict"], "denied")
        self.agrees(denied)
        for path in denied["paths"]:
            ingress = next(s for s in path["steps"] if s["step"] == "ingress")
            self.assertEqual(ingress["result"], "DENIED")
            self.assertEqual(ingress["rule"]["policies"], [{"kind": "NetworkPolicy", "namespace": self.ns, "name": "lets-in"}])
            self.assertEqual(ingress["rule"]["index"], -1)
        self.assertEqual({p["to"]["name"]: next(s["result"] for s in p["steps"] if s["step"] == "route") for p in denied["paths"]}[f"{self.ns}/near"], "same node")
        code, text, _ = self.text("client", "web:80", check=False)
        self.assertEqual(code, 1)
        self.assertRegex(text, rf"ingress +DENIED +node-\d +default deny of NetworkPolicy {self.ns}/lets-in \(ingress\)")
        self.assertNotIn(DISAGREE, text)
        self.assertIn("=> denied", text)

        self.k("label", "pod", "client", "may=yes")
        for name in ("near", "far"):
            eventually(f"{name} is open", lambda n=name: self.reached(self.ip_of(n)))
        allowed = eventually("so it says", lambda: (w := self.explained("client", "web:80"))["verdict"] == "allowed" and w)
        self.agrees(allowed)
        for path in allowed["paths"]:
            ingress = next(s for s in path["steps"] if s["step"] == "ingress")
            self.assertEqual(ingress["text"], f"NetworkPolicy {self.ns}/lets-in ingress[0]")
        self.assertEqual(self.explained("client", "far:8081")["verdict"], "denied")  # another port
        v6 = self.explained("client", "far:8080", "-6")
        self.assertIn(":", v6["from"]["address"])
        self.assertEqual(v6["verdict"], "allowed")
        self.agrees(v6)

    def test_egress_and_beyond_the_cluster(self):
        self.apply(policy("stays-in", {"matchLabels": {"may": "no"}}, types=["Egress"], egress=[{"to": [{"podSelector": {}}]}]))
        self.k("label", "pod", "client", "may=no", "--overwrite")
        self.addCleanup(self.k, "label", "pod", "client", "may-", check=False)
        out = eventually("egress is closed", lambda: (w := self.explained("client", "172.31.0.2:80"))["verdict"] == "denied" and w)
        self.agrees(out)
        steps = out["paths"][0]["steps"]
        self.assertEqual([(s["step"], s["result"]) for s in steps], [("egress", "DENIED"), ("route", "masquerade")])
        self.assertEqual(steps[0]["rule"]["policies"][0]["name"], "stays-in")
        inside = self.explained("client", "far:8080")
        self.assertEqual(inside["verdict"], "allowed")
        self.agrees(inside)
        incoming = self.explained("outside", "far:8080")
        self.assertEqual(incoming["verdict"], "allowed")
        self.agrees(incoming)
        own = self.explained("client", "node/node-1:10250")
        self.assertEqual(own["paths"][0]["steps"][0]["text"], "a pod and its own node always reach each other")

    def test_the_sender_is_let_out_and_the_receiver_lets_nobody_in(self):
        """Of one node, where one program judges both ends: a denied connection has no row that tells the sender's rule."""
        exposed = netexec("guarded", node="node-1", labels={"app": "guarded"})
        exposed["spec"]["containers"][0]["ports"][0]["hostPort"] = 9190
        self.start_pods(exposed)
        self.apply(service("guarded", {"app": "guarded"}, [("http", 80, 8080, "TCP")]),
                   policy("out", {"matchLabels": {"may": "go"}}, types=["Egress"], egress=[{}]),
                   policy("in", {"matchLabels": {"app": "guarded"}}, ingress=[]))
        self.k("label", "pod", "client", "may=go", "--overwrite")
        eventually("the sender is selected", lambda: self.explained("client", "far:8080")["paths"][0]["steps"][0].get("rule"))
        eventually("the Service has it", lambda: self.explained("client", "svc/guarded:80")["paths"])
        for to in ("pod/guarded:8080", "pod/guarded:8081/UDP", "pod/guarded:icmp", "svc/guarded:80", f"{self.lab.node_ip('node-1')}:9190"):
            for family in ([], ["-6"]) if to.startswith("pod/") else ([],):
                with self.subTest(f"{to} {family}"):
                    whole = eventually("it is denied", lambda t=to, f=family: (w := self.explained("client", t, *f))["verdict"] == "denied" and w)
                    path = whole["paths"][0]
                    results = {s["step"]: s["result"] for s in path["steps"]}
                    self.assertEqual((results["egress"], results["ingress"], path["program"].get("reason")), ("allowed", "DENIED", "policy-ingress"), whole)
                    self.agrees(whole)
        self.assertNotIn(DISAGREE, self.text("client", "pod/guarded:8080", check=False)[1])

    def test_a_name_of_many_addresses(self):
        """A headless Service's DNS name: whichever address a client takes of the answer, it is told."""
        far = f"node-{self.lab.nodes}"
        self.start_pods(*(netexec(f"head-{i}", node=("node-1", far)[i % 2], labels={"app": "head"}) for i in range(5)))
        self.apply(service("head", {"app": "head"}, [("http", 8080, 8080, "TCP")], clusterIP="None", ipFamilyPolicy="RequireDualStack"))
        name = f"head.{self.ns}.svc.cluster.local"
        for family in (4, 6):
            more = ["-6"] if family == 6 else []
            whole = eventually("all are told", lambda m=more: len((w := self.explained("client", f"{name}:8080", *m))["paths"]) == 5 and w)
            self.assertEqual((whole["verdict"], whole["to"]["name"]), ("allowed", name))
            self.assertEqual({p["to"]["address"] for p in whole["paths"]}, {self.ip_of(f"head-{i}", family) for i in range(5)})
            self.agrees(whole)
        self.apply(policy("most", {"matchLabels": {"app": "head", "shut": "yes"}}, ingress=[]))
        self.k("label", "pod", *(f"head-{i}" for i in range(4)), "shut=yes", "--overwrite")
        eventually("four are closed", lambda: sum(not p["allowed"] for p in self.explained("client", f"{name}:8080")["paths"]) == 4)
        code, text, _ = self.text("client", f"{name}:8080", check=False)
        self.assertEqual(code, 1)
        self.assertRegex(text, rf"(?m)^  name +5 addresses +node-1 +{name}$")
        self.assertIn("=> in part", text)
        self.assertEqual(self.explained("client", f"{name}:8080", "--backend", "head-4")["verdict"], "allowed")
        self.assertEqual(self.explained("client", f"{name}:8080", "--backend", "head-0")["verdict"], "denied")

    def test_names(self):
        for name in ("web", "svc/web", f"{self.ns}/web", f"web.{self.ns}", f"web.{self.ns}.svc.cluster.local"):
            with self.subTest(name):
                self.assertEqual(self.explained("client", f"{name}:80")["to"]["name"], f"{self.ns}/web")
        self.assertEqual(self.explained("client", "web")["port"], 80)  # it has no other
        self.assertEqual(self.explained("client", "far:http")["port"], 8080)
        self.assertEqual(self.explained("client", "far:icmp")["protocol"], "ICMP")
        self.assertEqual(self.explained("client", self.ip_of("far") + ":8080")["to"]["name"], f"{self.ns}/far")
        self.assertEqual(len(self.explained("client", "web:80", "--backend", f"{self.ns}/far")["paths"]), 1)
        one = self.explained("far", "near:8080")  # from another node
        self.assertEqual((one["from"]["node"], one["verdict"]), (f"node-{self.lab.nodes}", "allowed"))
        self.agrees(one)

    def test_ends_that_lead_elsewhere(self):
        def route(*args):
            whole = self.explained(*args)
            return whole["verdict"], next(s for s in whole["paths"][0]["steps"] if s["step"] == "route")

        self.assertEqual(route("client", "127.0.0.1:80")[0], "denied")
        self.assertIn("martian", route("client", "127.0.0.1:80")[1]["text"])
        exposed = netexec("exposed", node="node-1")
        exposed["spec"]["containers"][0]["ports"][0]["hostPort"] = 9180
        self.start_pods(exposed)
        node = self.lab.node_ip("node-1")
        self.assertEqual(self.explained("client", f"{node}:9181")["paths"][0]["steps"][-1]["result"], "not judged")
        for word in ("far", "pod/far", f"{self.ns}/far", self.ip_of("far")):
            self.assertEqual(len(self.explained("client", "web:80", "--backend", word)["paths"]), 1, word)

    def test_a_host_port_of_any_node(self):
        """The pod behind it is judged, on its own node, whoever asks; and so it is."""
        exposed = netexec("exposed", node="node-1", labels={"app": "exposed"})
        exposed["spec"]["containers"][0]["ports"][0]["hostPort"] = 9180
        self.start_pods(exposed, shell_pod("away", node=f"node-{self.lab.nodes}"))
        eventually("no policy is left of the test before", lambda: self.explained("client", "far:8080")["verdict"] == "allowed")
        at = {family: self.lab.node_ip("node-1", family) for family in (4, 6)}
        for family, address in at.items():
            word = f"[{address}]:9180" if family == 6 else f"{address}:9180"
            for source in ("client", "away", "outside", f"node/node-{self.lab.nodes}"):
                with self.subTest(f"{source} IPv{family}"):
                    whole = self.explained(source, word)
                    steps = {s["step"]: s for s in whole["paths"][0]["steps"]}
                    self.assertEqual(steps["node"]["result"], "hostPort", whole)
                    self.assertIn(f"leads to {self.ns}/exposed port 8080", steps["node"]["text"])
                    self.assertEqual((whole["verdict"], steps["ingress"]["node"]), ("allowed", "node-1"))
                    self.agrees(whole)
        self.apply(policy("shut", {"matchLabels": {"app": "exposed"}}, ingress=[{"from": [{"podSelector": {"matchLabels": {"may": "yes"}}}]}]))
        for source in ("client", "away"):
            eventually(f"{source} is kept out", lambda s=source: self.sh(s, f"curl -sS --max-time 1 http://{at[4]}:9180/hostname", check=False)[0] != 0)
            denied = self.explained(source, f"{at[4]}:9180")
            self.assertEqual(denied["verdict"], "denied")
            self.agrees(denied)
            self.assertIn("policy-ingress", [denied["paths"][0].get(k, {}).get("reason") for k in ("program", "arrivalProgram")])
        self.assertEqual(self.explained("away", f"{at[4]}:9181")["paths"][0]["steps"][-1]["result"], "not judged")

    def test_endpoints_by_the_same_way_are_told_once(self):
        many = f"node-{self.lab.nodes}"
        self.start_pods(*(netexec(f"many-{i}", node=many, labels={"app": "many"}) for i in range(6)))
        self.apply(service("many", {"app": "many"}, [("http", 80, 8080, "TCP")]))
        whole = eventually("the Service has all", lambda: len((w := self.explained("client", "many:80"))["paths"]) == 6 and w)
        self.assertEqual(whole["verdict"], "allowed")
        text = self.text("client", "many:80")
        self.assertRegex(text, r"(?m)^to +allowed +6 endpoints, the same way each")
        self.assertEqual(len(text.split("ingress ")), 2, text)
        self.assertRegex(text, rf"- {self.ns}/many-\d [0-9.]+ on {many} port 8080")
        self.assertIn("- and 2 more", text)
        # One of them goes another way.
        self.apply(policy("one", {"matchLabels": {"apart": "yes"}}, ingress=[]))
        self.k("label", "pod", "many-3", "apart=yes", "--overwrite")
        eventually("one is closed", lambda: self.explained("client", "many:80")["verdict"] == "in part")
        code, text, _ = self.text("client", "many:80", check=False)
        self.assertEqual(code, 1)
        self.assertRegex(text, r"(?m)^to +allowed +5 endpoints, the same way each")
        self.assertRegex(text, rf"(?m)^to +denied +{self.ns}/many-3 ")

    def test_exit_codes(self):
        self.assertEqual(self.text("client", "web:80", check=False)[0], 0)
        self.assertEqual(self.text("client", "10.96.255.254:80", check=False)[0], 1)
        for args in (("nobody", "web:80"), ("client", "far:nothing"), ("client",), ("client", "[::1")):
            self.assertEqual(self.text(*args, check=False)[0], 2, args)
        self.assertEqual(self.text("client", "web:80", "--socket", "/nonexistent", check=False)[0], 2)

    def test_a_pod_that_is_nowhere_yet(self):
        self.addCleanup(self.k, "delete", "pod", "nowhere", "--now", check=False)
        nowhere = shell_pod("nowhere")
        nowhere["spec"]["nodeSelector"] = {"there": "is-none"}
        self.apply(nowhere)
        eventually("it is known", lambda: "is on no node yet: wait until it runs" in str(self.text("nowhere", "far:8080", check=False)))

    def test_what_cannot_be_asked_says_what_can(self):
        for args, words in (
                (("nobody", "web:80"), rf'"nobody": namespace {self.ns} has no pod or Service of that name; another namespace: -n NAMESPACE'),
                (("client", "two:80"), '"two" is a pod and a Service: say pod/two or svc/two'),
                (("client", "far"), r"the port is missing; .*/far names 8080/TCP \(http\), 8081/UDP \(udp\): add :PORT"),
                (("client", "svc/two"), r"the port is missing; .*/two names 80/TCP \(a\), 81/TCP \(b\)"),
                (("client", "far:nothing"), r'"nothing" is no port'),
                (("client", "kube-dns:53"), r"there is kube-system/kube-dns"),
                (("client", "example.com:80"), "a name beyond the cluster: give its address"),
                (("web", "far:8080"), "is a Service: nothing is sent from it"),
                (("outside", "web:80"), "name one of its pods"),
                (("client", "web:80", "--backend", "x"), '"x" is no endpoint of it'),
                (("client", "far:0"), '"0" is no port: it is from 1 to 65535'),
                (("client", "far:65536"), '"65536" is no port'),
                (("client", "far:8080/"), "the protocol is missing"),
                (("client", "far:icmp/TCP"), "ICMP has no port and no other protocol"),
                (("client", f"{'x' * 321}:80"), "destination: 324 characters are too many: no name has more than 320"),
                (("x" * 100_000, "far:80"), "source: 100000 characters are too many"),
                (("client", "web:80", "--backend", "x" * 100_000), "backend: 100000 characters are too many"),
                (("client", "a'b:80"), "is no name, address or port"),
                (("client", "fd00::1:80:99999:x"), r"\[ADDRESS\]:PORT")):
            with self.subTest(str(args)[:80]):
                refused = self.text(*args, check=False)
                self.assertRefused(refused, words)
                self.assertEqual(refused[0], 2)
        self.assertRefused(self.lab.fairway("explain", "-n", "x" * 100_000, "client", "far:80", check=False), "namespace: 100000 characters are too many")
        self.assertEqual(self.explained("client", "10.96.255.254:80")["paths"][0]["steps"][-1]["result"], "REFUSED")


class NodeNotReady(Case):
    """A node that is cut off: what leads there is in doubt, and since when; so says status, too."""

    def test_it_is_said(self):
        far = f"node-{self.lab.nodes}"
        self.start_pods(netexec("there", node=far), shell_pod("here", node="node-1"))
        explain = lambda *args: self.lab.fairway("explain", "-n", self.ns, *args, check=False)  # noqa: E731
        self.assertEqual(explain("here", "there:8080")[0], 0)
        self.lab.fairway("lab", "node", "cut", far)
        self.addCleanup(self.lab.fairway, "lab", "node", "heal", far, check=False)
        since = r"since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \([^)]+ ago\)"  # of a slow machine: minutes

        def said():
            told = explain("here", "there:8080")
            if not re.search(rf"(?m)^  node +NOT READY +{far} +{since}: .", told[1]):
                raise ValueError(told)
            return True
        eventually("explain says so", said, timeout=180)
        code, out, _ = explain("here", "there:8080", "-o", "json")
        whole = json.loads(out)
        self.assertEqual((code, whole["verdict"], whole["paths"][0]["allowed"]), (1, "in doubt", True))
        code, out, _ = explain("there", "here:8080")  # whose own agent cannot know it
        self.assertEqual(code, 1)
        self.assertRegex(out, rf"(?m)^  node +NOT READY +{far} +{since}: .")
        self.assertEqual(out.count("NOT READY"), 2, out)  # the step, and the verdict
        code, out, _ = self.lab.fairway("status", check=False)
        self.assertEqual(code, 1)
        self.assertTrue(out.startswith("NOT HEALTHY: 1 of "), out)
        self.assertRegex(out, rf"(?m)^  {far} +NOT READY, says the API, {since}: .")
        self.assertRegex(self.lab.fairway("status", "--node", "node-1", check=False)[1], rf"^NOT HEALTHY: 1 node\n  {far} +NOT READY")
        eventually("its agent says that it hears nothing", lambda: "the API server has not been heard for" in self.lab.fairway("status", check=False)[1], timeout=90)
        # A question that any agent can answer is answered by one that is in touch: node-1 first, and then not.
        self.assertRegex(explain("there", "here:8080")[1], rf"(?m)^  api +AWAY +{far} +the API server has not been heard for \d+ s")
        self.lab.fairway("lab", "node", "heal", far)
        eventually("all is well again", lambda: explain("here", "there:8080")[0] == 0 and self.lab.fairway("status", check=False)[0] == 0, timeout=120)
        self.assertTrue(self.lab.fairway("status").startswith(f"healthy: {self.lab.nodes} nodes\n"))
