"""The user's own example, word for word: examples/scenario. Its policy is in test_policy.py."""
import os
import re

from lab import NETSHOOT, ROOT, Case, Terminal, eventually, netexec, shell_pod

MANIFESTS = os.path.join(ROOT, "examples/scenario")
WELCOME = "Welcome to nginx!"


class Scenario(Case):
    own_namespace = False  # the manifests name none: they live in "default"
    ns = "default"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        files = [os.path.join(MANIFESTS, f"{n}.yaml") for n in ("backend-deployment", "backend-service", "frontend-pod")]
        for path in files:
            cls.addClassCleanup(cls.k, "delete", "-f", path, "--ignore-not-found", "--now", "--wait=false", check=False)
        cls.applied = [cls.k("apply", "-f", path) for path in files]
        cls.k("rollout", "status", "deployment/backend", "--timeout=180s", timeout=200)
        cls.wait_ready("pod/frontend", timeout=180)
        cls.backend = cls.get("pods", "-l", "app=backend")["items"][0]["metadata"]["name"]
        # Ready is the pods' word; the Service follows it on each node.
        for pod in ("frontend", cls.backend):
            eventually(f"the Service serves {pod}", lambda p=pod: WELCOME in cls.k("exec", p, "--", "curl", "-sS", "--max-time", "10", "backend-service"))

    def test_apply_says_created(self):
        self.assertEqual([line.strip() for line in self.applied],
                         ["deployment.apps/backend created", "service/backend-service created", "pod/frontend created"])

    def test_get_pods_wide(self):
        lines = self.k("get", "pods", "-o", "wide").splitlines()
        self.assertRegex(lines[0], r"^NAME +READY +STATUS +RESTARTS +AGE +IP +NODE +NOMINATED NODE +READINESS GATES$")
        rows = {line.split()[0]: line.split() for line in lines[1:]}
        self.assertIn("frontend", rows)
        self.assertRegex(self.backend, r"^backend-[a-z0-9]{6,10}-[a-z0-9]{5}$")
        for name in ("frontend", self.backend):
            self.assertEqual(rows[name][1:3], ["1/1", "Running"])
            self.assertRegex(rows[name][5], r"^10\.244\.\d+\.\d+$")
            self.assertRegex(rows[name][6], r"^node-\d+$")
        self.assertNotEqual(rows["frontend"][5], rows[self.backend][5])

    def test_get_service(self):
        lines = self.k("get", "svc", "backend-service").splitlines()
        self.assertRegex(lines[0], r"^NAME +TYPE +CLUSTER-IP +EXTERNAL-IP +PORT\(S\) +AGE$")
        self.assertRegex(lines[1], r"^backend-service +ClusterIP +10\.96\.\d+\.\d+ +<none> +80/TCP ")

    def test_curl_by_every_name_and_by_address(self):
        ip = self.get("svc", "backend-service")["spec"]["clusterIP"]
        for name in ("backend-service", "backend-service.default", "backend-service.default.svc.cluster.local", ip):
            with self.subTest(name):
                self.assertIn(WELCOME, self.k("exec", "frontend", "--", "curl", "-sS", "--max-time", "10", name))

    def test_interactive_shell(self):
        shell = Terminal([self.lab.kubectl_path, "exec", "-it", "frontend", "--", "sh"], self.lab.env)
        shell.expect(r"[$#] ")
        shell.type("curl -sS backend-service\r")
        shell.expect(re.escape(WELCOME))
        shell.type("exit 3\r")
        shell.expect("exit code 3")
        self.assertEqual(shell.end(), 3)

    def test_shell_in_the_backend(self):
        shell = Terminal([self.lab.kubectl_path, "exec", "-it", f"pods/{self.backend}", "--", "sh"], self.lab.env)
        shell.expect(r"[$#] ")
        shell.type("echo $((6*7)) && exit\r")
        shell.expect("42")
        self.assertEqual(shell.end(), 0)

    def test_true_source_on_the_same_node_and_across(self):
        names = [f"source-{n}" for n in range(1, self.lab.nodes + 1)]
        self.addCleanup(self.k, "delete", "pod", *names, "--now", "--wait=false", check=False)
        self.start_pods(*[netexec(name, node=f"node-{i}") for i, name in enumerate(names, 1)])
        for client in ("frontend", self.backend):
            ip = self.ip_of(client)
            for name in names:
                with self.subTest(f"{client} to {name}"):
                    seen = self.k("exec", client, "--", "curl", "-sS", "--max-time", "10", f"http://{self.ip_of(name)}:8080/clientip")
                    self.assertEqual(seen.rsplit(":", 1)[0], ip)


class Tools(Case):
    """nslookup, curl, wget and ping in a pod behave as on any cluster."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.start_pods(shell_pod("tools", image=NETSHOOT, node="node-1"), netexec("near", node="node-1"), netexec("far", node=f"node-{cls.lab.nodes}"))

    def test_ping_same_node_and_across(self):
        for name in ("near", "far"):
            for family in (4, 6):
                with self.subTest(f"{name} IPv{family}"):
                    self.assertIn(" 0% packet loss", self.k("exec", "tools", "--", "ping", f"-{family}", "-c", "3", "-i", "0.2", "-W", "2", self.ip_of(name, family)))

    def test_wget_and_curl(self):
        url = f"http://{self.ip_of('far')}:8080/hostname"
        self.assertEqual(self.sh("tools", f"wget -q -O - -T 5 {url}").strip(), "far")
        self.assertEqual(self.sh("tools", f"curl -sS --max-time 5 {url}").strip(), "far")
        self.assertEqual(self.sh("tools", f"curl -sS --max-time 5 http://[{self.ip_of('far', 6)}]:8080/hostname").strip(), "far")

    def test_nslookup(self):
        out = self.sh("tools", "nslookup kubernetes.default")
        self.assertRegex(out, r"Server:\s+10\.96\.0\.10")
        self.assertRegex(out, r"Name:\s+kubernetes\.default\.svc\.cluster\.local\s+Address(?: 1)?:\s+10\.96\.0\.1\b")

    def test_network_tools_are_there(self):
        eventually("dig answers", lambda: self.sh("tools", "dig +short kubernetes.default.svc.cluster.local").strip() == "10.96.0.1")
        for tool in ("ip", "ss", "tcpdump", "nc", "iperf3"):
            with self.subTest(tool):
                self.sh("tools", f"command -v {tool}")
