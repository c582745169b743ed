"""The fairway command itself: its stand-ins for kubectl, status and show, completion."""
import http.server
import json
import os
import re
import shutil
import socketserver
import tempfile
import threading

from lab import FAIRWAY, ROOT, Case, eventually, netexec, run, service

SCENARIO = os.path.join(ROOT, "examples/scenario")


class StandIns(Case):
    """fairway lab apply|get|exec|logs|wait|delete: the demo's part, where there is no kubectl."""
    own_namespace = True

    def f(self, verb, *args, **options):
        return self.lab.fairway("lab", verb, "-n", self.ns, *args, **options)

    def test_the_demos_part(self):
        for name in ("backend-deployment", "backend-service", "frontend-pod"):
            self.f("apply", "-f", os.path.join(SCENARIO, name + ".yaml"))
        self.f("wait", "deployment/backend", "--for-condition", "Available", "--timeout", "120")
        self.f("wait", "pod/frontend", "--timeout", "120")
        table = self.f("get", "pods", "-o", "wide")
        self.assertRegex(table.splitlines()[0], r"^NAME +READY +STATUS +RESTARTS +AGE +IP +NODE")
        self.assertRegex(table, r"(?m)^frontend +1/1 +Running")
        # Ready is the pods' word; the Service follows it on each node.
        eventually("the Service leads to it", lambda: "Welcome to nginx!" in self.f("exec", "frontend", "--", "curl", "-sS", "backend-service"))
        backend = self.f("get", "pods", "-l", "app=backend", "-o", "name").strip().split("/")[1]
        self.assertIn("GET / HTTP/1.1", self.f("logs", backend))
        self.f("delete", "pod/frontend")

    def test_exec_passes_input_and_exit_code(self):
        self.start_pods(netexec("one"))
        self.assertEqual(self.f("exec", "-i", "one", "--", "cat", input="hello\n", check=False)[:2], (0, "hello\n"))
        self.assertEqual(self.f("exec", "one", "--", "sh", "-c", "exit 7", check=False)[0], 7)

    def test_errors_name_what_is_wrong(self):
        for args, expected in ((("get", "nonsense"), 'resource type "nonsense"'), (("exec", "nobody", "--", "ls"), '"nobody" not found'),
                               (("apply", "-f", "/nonexistent.yaml"), "/nonexistent.yaml")):
            with self.subTest(args):
                code, _, err = self.f(*args, check=False)
                self.assertEqual(code, 1)
                self.assertIn(expected, err.replace('\\"', '"'))
        for manifest in ("kind: Pod\napiVersion: v1\nmetadata: {}\n", "kind: Pod\napiVersion: 1\nmetadata: {name: a}\n", "- a list\n"):
            with self.subTest(manifest):
                code, _, err = self.f("apply", "-f", "-", input=manifest, check=False)
                self.assertEqual(code, 1)
                self.assertIn("apiVersion, kind and metadata.name must be set", err)


class Inspect(Case):
    def test_status_of_every_node(self):
        text = self.lab.fairway("status", "-v")
        short = self.lab.fairway("status")
        self.assertTrue(short.startswith(f"healthy: {self.lab.nodes} nodes\n"), short)
        self.assertLess(len(short.splitlines()), 10 + self.lab.nodes)
        status = json.loads(self.lab.fairway("status", "-o", "json"))
        self.assertEqual(len(status), self.lab.nodes)
        for node, state in status.items():
            self.assertIn(f"node {node}", text)
            self.assertRegex(short, rf"(?m)^{node} +\S+ +\S+:\d+ +yes +\d+ +\d+ +\d+ +\d+ +\d+$")
            self.assertEqual((state["wrong"], state["notReady"]), ([], []))
            self.assertEqual(state["node"], node)
            self.assertTrue(all(source["synced"] for source in state["sources"]), state["sources"])
            self.assertTrue(state["maps"])

    def test_show_lists_policies(self):
        self.addCleanup(self.lab.kubectl, "delete", "cnp", "e2e-show", "--ignore-not-found", check=False)
        self.apply({"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy", "metadata": {"name": "e2e-show"},
                    "spec": {"tier": "Baseline", "priority": 7, "subject": {"namespaces": {"matchLabels": {"e2e": "none"}}},
                             "ingress": [{"action": "Deny", "from": [{"namespaces": {}}]}]}})
        self.apply({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "e2e-show"},
                    "spec": {"podSelector": {"matchLabels": {"e2e": "none"}}, "egress": [{}]}})
        shown = lambda table: json.loads(self.lab.fairway("show", table, "--node", "node-1", "-o", "json"))["node-1"]["rows"]
        eventually("the node knows of both", lambda: ["e2e-show", "Baseline", 7, "e2e=none", "all", "in:1", 1, "yes"] in shown("clusternetworkpolicies") and
                   [self.ns, "e2e-show", "e2e=none", "in:0 out:1", 1, "yes"] in shown("networkpolicies"))

    def test_show_follows_a_service(self):
        self.start_pods(netexec("web", labels={"app": "web"}))
        self.apply(service("web", {"app": "web"}, [("http", 80, 8080, "TCP")]))
        address = self.get("svc", "web")["spec"]["clusterIP"]
        backend = f"{self.ip_of('web')}:8080"
        eventually("the frontend is shown with its backend",
                   lambda: any(address in line and backend in line for line in self.lab.fairway("show", "frontends").splitlines()))
        rows = json.loads(self.lab.fairway("show", "frontends", "--node", "node-1", "-o", "json"))["node-1"]["rows"]
        self.assertTrue(any(address in row for row in rows), rows)

    def test_unknown_table_and_node(self):
        for args, expected in ((("show", "nonsense"), "nonsense"), (("status", "--node", "nowhere"), "nowhere")):
            code, _, err = self.lab.fairway(*args, check=False)
            self.assertEqual(code, 1)
            self.assertIn(expected, err)

    def test_what_is_the_same_everywhere_is_told_once(self):
        tables = self.lab.fairway("show").splitlines()
        self.assertEqual(len(tables), len(set(tables)))
        self.assertEqual(sum(1 for line in tables if re.match(r"frontends +", line)), 1)
        self.assertEqual(self.lab.fairway("show", "nonsense", check=False)[2].count("nonsense"), 1)
        self.assertRegex(self.lab.fairway("show", "nodes").splitlines()[0], r"^AGENT +NAME +ID +ADDRESSES +POD-CIDRS")

    def test_a_word_that_is_no_command_is_named(self):
        for args, word, path, known in ((("stats",), "stats", "fairway", "status"), (("lab", "node", "bogus", "node-1"), "bogus", "fairway lab node", "heal")):
            code, _, err = self.lab.fairway(*args, check=False)
            self.assertEqual(code, 2)
            self.assertIn(f'"{word}" is no command of "{path}"; there are: ', err)
            self.assertIn(known, err)
            self.assertNotIn("lab-supervisor", err)
        code, _, err = self.lab.fairway("lab", "node", check=False)
        self.assertEqual(code, 2)
        self.assertIn("Take a node off the fabric", err)

    def test_no_control_character_of_somebodys_reaches_the_terminal(self):
        code, _, err = self.lab.fairway("lab", "get", "pods", "\x1b[31mred", check=False)
        self.assertNotEqual(code, 0)
        self.assertIn("\\x1b[31mred", err)
        self.assertNotIn("\x1b", err)

    def test_help_of_a_command_is_its_own(self):
        for args in (("lab", "down"), ("lab", "status"), ("lab", "kubeconfig"), ("lab", "node", "cut"), ("lab", "get")):
            with self.subTest(args):
                examples = self.lab.fairway(*args, "--help").split("Example", 1)[1]
                self.assertTrue(all(line.strip().removeprefix("export KUBECONFIG=$(").startswith("fairway " + " ".join(args)) for line in examples.splitlines()[1:] if line.strip()), examples)

    def completed(self, *words, **env):
        """What bash proposes for the last word."""
        script = self.lab.fairway("completion", "bash") + f'\nCOMP_WORDS=("$@"); COMP_CWORD={len(words)}; _fairway; echo "${{COMPREPLY[@]}}"'
        env = {**self.lab.env, "PATH": os.path.dirname(FAIRWAY) + ":" + os.environ["PATH"], **env}
        return set(run(["bash", "-c", script, "bash", "fairway", *words], env=env).split())

    def test_completion_is_a_script_that_bash_takes(self):
        self.assertEqual({"add", "remove", "cut", "heal"} - self.completed("lab", "node", ""), set())

    def test_completion_knows_tables_nodes_and_pods(self):
        self.start_pods(netexec("complete"))
        nodes = {f"node-{i + 1}" for i in range(self.lab.nodes)}
        self.assertEqual({"frontends", "frontend"} & self.completed("show", "fron"), {"frontends"})
        for words in (("lab", "node", "cut", "no"), ("lab", "node", "heal", "no"), ("lab", "node", "remove", "no"), ("status", "--node", "")):
            self.assertEqual(self.completed(*words), nodes, words)
        known = eventually("the pod is proposed", lambda: f"{self.ns}/complete" in (w := self.completed("explain", "")) and w)
        self.assertTrue({"outside", "kube-system/kube-dns", "--backend"} <= known, known)
        self.assertEqual(self.completed("explain", "outside", f"{self.ns}/com"), {f"{self.ns}/complete"})
        self.assertNotIn("completion-words", self.completed(""))

    def test_completion_proposes_no_name_that_a_shell_would_act_on(self):
        """No API server of ours has such a name; an agent believes any. So this one is made up."""
        acted = os.path.join(self.lab.home, "acted")

        class Agent(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                body = json.dumps({"rows": [["shop", "web"], ["shop", f"$(touch {acted})"], ["shop", f"`touch {acted}`"]]}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def address_string(self):
                return "a unix socket"

            def log_message(self, *_):
                pass
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(f"{self.lab.dir}/lab.json", folder)
            os.makedirs(f"{folder}/nodes/node-1/run")
            with socketserver.UnixStreamServer(f"{folder}/nodes/node-1/run/agent.sock", Agent) as server:
                threading.Thread(target=server.serve_forever, daemon=True).start()
                self.assertEqual(self.completed("explain", "sh", FAIRWAY_LAB_DIR=folder), {"shop/web"})
                server.shutdown()
        self.assertFalse(os.path.exists(acted))

    def test_what_is_missing_is_named_with_an_example(self):
        for args, expected in ((("lab", "get"), r"fairway lab get: WHAT is missing: TYPE \[NAME\] or TYPE/NAME\nExample:\n  fairway lab get pods -A -o wide\n"),
                               (("lab", "apply"), r"fairway lab apply: .*filename is missing: File, or - for standard input\n"),
                               (("explain", "a"), r"fairway explain: DESTINATION is missing: NAME\[:PORT")):
            code, _, err = self.lab.fairway(*args, check=False)
            self.assertEqual(code, 2)
            self.assertRegex(err, expected)
            self.assertNotIn("SOURCE is missing", err)
