"""Cluster DNS as pods see it: the agent's server on their node, at the usual tenth address."""
import json
import os
import re
import subprocess
import tempfile

from lab import FAIRWAY, Case, eventually, netexec, service, shell_pod

UPSTREAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "upstream_dns.py")


class Dns(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.apply(service("web", {"app": "web"}, [("http", 80, 8080, "TCP")], ipFamilyPolicy="PreferDualStack"),
                  service("four", {"app": "web"}, [("http", 80, 8080, "TCP")], ipFamilyPolicy="SingleStack", ipFamilies=["IPv4"]),
                  service("set", {"app": "set"}, [("http", 80, 8080, "TCP")], clusterIP="None"))
        cls.start_pods(*[shell_pod(f"client-{i}", node=f"node-{i}") for i in range(1, cls.lab.nodes + 1)],
                       *[netexec(f"m{i}", labels={"app": "set"}, spec={"hostname": f"m{i}", "subdomain": "set"}) for i in (1, 2)])
        cls.zone = f"{cls.ns}.svc.cluster.local"
        for i in range(1, cls.lab.nodes + 1):
            for name in ("web", "four", "set"):
                eventually(f"node-{i} knows {name}", lambda n=name, i=i: cls.sh(f"client-{i}", f"dig +short +tries=1 +time=3 {n}.{cls.zone}. A").strip())

    def dig(self, *question, pod="client-1", flags=""):
        out = self.sh(pod, f"dig +tries=1 +time=3 {flags} {' '.join(question)}")
        status = re.search(r"status: (\w+)", out).group(1)
        answers = re.findall(r"(?m)^\S+\s+\d+\s+IN\s+(\S+)\s+(.+)$", out.split("ANSWER SECTION:")[1].split("\n\n")[0]) if "ANSWER SECTION" in out else []
        return status, answers, out

    def test_resolv_conf(self):
        text = self.sh("client-1", "cat /etc/resolv.conf")
        self.assertIn("nameserver 10.96.0.10", text)
        self.assertRegex(text, rf"search {re.escape(self.zone)} svc\.cluster\.local cluster\.local")
        self.assertIn("ndots:5", text)

    def test_a_and_aaaa_of_a_service_on_every_node(self):
        ips = self.get("svc", "web")["spec"]["clusterIPs"]
        for i in range(1, self.lab.nodes + 1):
            for kind, wanted in (("A", next(a for a in ips if ":" not in a)), ("AAAA", next(a for a in ips if ":" in a))):
                with self.subTest(f"node-{i} {kind}"):
                    self.assertEqual(self.dig(f"web.{self.zone}.", kind, pod=f"client-{i}")[:2], ("NOERROR", [(kind, wanted)]))

    def test_search_list(self):
        wanted = next(a for a in self.get("svc", "web")["spec"]["clusterIPs"] if ":" not in a)
        for name in ("web", f"web.{self.ns}", f"web.{self.ns}.svc", f"web.{self.zone}"):
            with self.subTest(name):
                self.assertIn(wanted, self.sh("client-1", f"nslookup {name}"))
                self.assertIn(wanted, self.sh("client-1", f"getent ahostsv4 {name}"))

    def test_nodata_is_not_nxdomain(self):
        status, answers, out = self.dig(f"four.{self.zone}.", "AAAA")
        self.assertEqual((status, answers), ("NOERROR", []))
        self.assertIn("SOA", out)
        status, answers, out = self.dig(f"nobody.{self.zone}.", "A")
        self.assertEqual((status, answers), ("NXDOMAIN", []))
        self.assertIn("SOA", out)
        # There are names below it, so the name exists (RFC 8020).
        self.assertEqual(self.dig(f"{self.zone}.", "A")[0], "NOERROR")

    def test_headless_set_and_its_members(self):
        ips = sorted(self.ip_of(p) for p in ("m1", "m2"))
        eventually("both members", lambda: sorted(a for _, a in self.dig(f"set.{self.zone}.", "A")[1]) == ips)
        self.assertEqual(self.dig(f"m1.set.{self.zone}.", "A")[:2], ("NOERROR", [("A", self.ip_of("m1"))]))
        self.assertEqual(self.dig(f"m9.set.{self.zone}.", "A")[0], "NXDOMAIN")

    def test_over_tcp(self):
        status, answers, out = self.dig(f"web.{self.zone}.", "A", flags="+tcp")
        self.assertEqual((status, len(answers)), ("NOERROR", 1))
        self.assertIn("(TCP)", out)

    def test_case_does_not_matter(self):
        self.assertEqual(self.dig(f"WeB.{self.zone}.", "A")[0], "NOERROR")

    def test_a_new_service_is_there_at_once(self):
        self.addCleanup(self.k, "delete", "svc", "fresh", "--ignore-not-found", check=False)
        self.apply(service("fresh", {"app": "web"}, [("http", 80, 8080, "TCP")]))
        eventually("it has a name", lambda: self.dig(f"fresh.{self.zone}.", "A")[0] == "NOERROR")
        self.k("delete", "svc", "fresh")
        eventually("it has none", lambda: self.dig(f"fresh.{self.zone}.", "A")[0] == "NXDOMAIN")

    def test_host_process_of_a_node(self):
        out = self.lab.on_node("node-1", "dig", "+short", "+tries=1", "+time=3", "@10.96.0.10", f"web.{self.zone}.")
        self.assertTrue(out.strip().startswith("10.96."))

    def test_dns_service_as_usual(self):
        kube_dns = json.loads(self.lab.kubectl("get", "svc", "kube-dns", "-o", "json", ns="kube-system"))
        self.assertEqual(kube_dns["spec"]["clusterIP"], "10.96.0.10")
        self.assertEqual({(p["name"], p["port"], p["protocol"]) for p in kube_dns["spec"]["ports"]}, {("dns", 53, "UDP"), ("dns-tcp", 53, "TCP")})


class Forwarding(Case):
    """Names beyond the cluster go to the upstream: here a small server of the tests' own on the outside host."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        log = tempfile.NamedTemporaryFile("w", delete=False)
        cls.addClassCleanup(os.unlink, log.name)
        cls.log = log.name
        cls.upstream = subprocess.Popen([FAIRWAY, "lab", "outside", "--", "python3", UPSTREAM, cls.log], env=cls.lab.env, stdin=subprocess.DEVNULL)
        cls.addClassCleanup(cls.upstream.wait)
        cls.addClassCleanup(cls.upstream.kill)
        cls.start_pods(shell_pod("client"))
        eventually("the upstream's answer", lambda: cls.sh("client", "dig +short +tries=1 +time=2 www.example.test A").strip() == "192.0.2.80")

    def test_forwarded_and_not_found(self):
        self.assertEqual(self.sh("client", "dig +short +tries=1 +time=3 www.example.test A").strip(), "192.0.2.80")
        self.assertIn("NXDOMAIN", self.sh("client", "dig +tries=1 +time=3 no-such.example.test A"))

    def test_over_tcp_and_long_answers(self):
        out = self.sh("client", "dig +short +tries=1 +time=3 +tcp www.example.test A").strip()
        self.assertEqual(out, "192.0.2.80")

    def test_cluster_suffixes_never_leave(self):
        self.sh("client", "nslookup www.example.test; nslookup nobody; true")
        with open(self.log) as log:
            asked = log.read().split()
        self.assertFalse([name for name in asked if name.rstrip(".").endswith("cluster.local")])
