"""fairway policy check and diff: from manifests alone, without root; and from the cluster, where real traffic says the same."""
import json
import os
import re

from lab import FAIRWAY, ROOT, Case, eventually, run

SCENARIO = os.path.join(ROOT, "examples/scenario")
SHOP = os.path.join(ROOT, "examples/shop")
NEXT = os.path.join(ROOT, "examples/shop-next")
LABELLED = "apiVersion: v1\nkind: Pod\nmetadata: {name: frontend, labels: {app: frontend}}\nspec: {containers: [{name: c, image: i}]}\n"


def scenario(without=()):
    names = [name for name in sorted(os.listdir(SCENARIO)) if name.endswith(".yaml") and name not in without]
    return "\n---\n".join(open(os.path.join(SCENARIO, name)).read() for name in names)


def policy(*args, **options):
    """(code, out, err)"""
    return run([FAIRWAY, "policy", *args], check=False, **options)


class Offline(Case):
    own_namespace = False

    def cell(self, document, source, destination):
        return {(c["from"], c["to"]): c["ports"] for c in document["connections"]}.get((source, destination), "none")

    def test_the_scenarios_two_halves(self):
        code, out, _ = policy("check", SCENARIO)
        self.assertEqual(code, 0)
        self.assertRegex(out, r"(?m)^FROM \\ TO +default/backend +default/frontend +outside$")
        self.assertRegex(out, r"(?m)^default/frontend +- +all +all$")
        self.assertIn("warning peer-selects-nothing  NetworkPolicy default/allow-frontend spec.ingress[0].from[0]: matches no pod", out)
        self.assertIn("warning service-unreachable  Service default/backend-service", out)
        self.assertEqual(policy("check", SCENARIO, "--fail-on", "warning")[0], 1)
        code, out, _ = policy("check", "-", "-o", "json", input=scenario(without=("frontend-pod.yaml",)) + "\n---\n" + LABELLED)
        self.assertEqual((code, json.loads(out)["findings"]), (0, []))
        self.assertEqual(self.cell(json.loads(out), "default/frontend", "default/backend"), "all")
        self.assertEqual(self.cell(json.loads(out), "outside", "default/backend"), "none")

    def test_without_root_and_without_a_cluster(self):
        out = run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env", "-i", "FAIRWAY_LAB_DIR=/nonexistent", FAIRWAY, "policy", "check", "-",
                   "--why", "frontend", "backend:80"], input=scenario(), check=False)
        self.assertEqual(out[0], 1, out)
        self.assertRegex(out[1], r"ingress of default/backend +denied +default deny of NetworkPolicy default/allow-frontend \(ingress\) +stdin:\d+")

    def test_assertions_and_their_exit_codes(self):
        assertions = os.path.join(SHOP, "policy.assert")
        self.assertEqual(policy("check", SHOP, "-n", "shop", "--assert", assertions)[0], 0)
        code, out, _ = policy("check", SHOP, NEXT, "-n", "shop", "--assert", "/dev/stdin", input="allow web -> cart:8080\n\ndeny * -> db:5432 # no\n")
        self.assertEqual(code, 1)
        self.assertRegex(out, r"/dev/stdin:3: fails: deny \* -> db:5432\n +shop/cart -> shop/db:5432 passes: .*NetworkPolicy shop/db ingress\[0\] \(.*policies.yaml:\d+\)")
        code, _, err = policy("check", SHOP, "--assert", "/dev/stdin", input="allow everything\n")
        self.assertEqual((code, err.split(": ")[0]), (2, "/dev/stdin:1"))

    def test_a_change_and_the_flows_that_it_cuts(self):
        code, out, _ = policy("diff", SHOP, os.path.join(NEXT, "db.yaml"), "--apply", "--flows", os.path.join(NEXT, "flows.jsonl"))
        self.assertEqual(code, 1)
        self.assertRegex(out, r"(?m)^shop/report +shop/db +5432$")
        self.assertRegex(out, r"flows.jsonl:3: cut: shop/report -> shop/db:5432 \(1 connection\)")
        self.assertIn("4 flows: 3 pass, 1 cut", out)
        code, out, _ = policy("diff", SHOP, SHOP)
        self.assertEqual((code, out), (0, "0 pairs opened, 0 closed\n"))

    def test_broken_manifests(self):
        for text, expected in (("a: [\n", "stdin:2: end of sequence flow not found"), ("kind: Pod\n", "stdin:1: Pod default/: metadata.name: is missing"),
                               ("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\nspec:\n  podSelector: 7\n",
                                "stdin:5: NetworkPolicy default/p: spec.podSelector: is not an object")):
            with self.subTest(text):
                code, _, err = policy("check", "-", input=text)
                self.assertEqual(code, 2)
                self.assertIn(expected, err)
        for args, expected in (((), "name a folder"), (("/nonexistent",), "/nonexistent"), ((SCENARIO, "--from", "nobody"), '"nobody"'),
                               ((SCENARIO, "--pod-range", "x"), "--pod-range")):
            code, _, err = policy("check", *args)
            self.assertEqual(code, 2)
            self.assertIn(expected, err)

    def test_addresses_are_never_outside_by_mistake(self):
        for line, expected in (("deny 10.0.0.0/8 -> backend", "of pods (10.244.0.0/16)"), ("deny 10.244.9.9 -> backend", "is no known one"),
                               ("deny 10.96.0.9 -> backend", "of Services (10.96.0.0/16)"), ("# none", "has no assertion")):
            with self.subTest(line):
                code, _, err = policy("check", SCENARIO, "--assert", "/dev/stdin", input=line + "\n")
                self.assertEqual(code, 2)
                self.assertIn(expected, err)

    def test_nothing_is_no_success(self):
        for args in (("check", "-"), ("check", "/dev/null"), ("diff", SHOP, "/dev/null")):
            code, _, err = policy(*args, input="")
            self.assertEqual(code, 2)
            self.assertIn("has no Kubernetes object", err)
        code, _, err = policy("check", SCENARIO, "--why", "frontend", "backend:80", "-o", "svg")
        self.assertEqual(code, 2)
        self.assertIn("--why asks one question", err)

    def test_why_answers_each_port(self):
        code, out, _ = policy("check", SHOP, "-n", "shop", "--why", "cart", "db:5432-5433")
        self.assertEqual(code, 1)
        self.assertRegex(out, r"^shop/cart -> shop/db:5432-5433 +passes partly\n +IPv4, port 5432: passes\n(.*\n)+ +IPv4, port 5433: is denied\n")
        self.assertEqual(policy("check", SCENARIO, "--why", "frontend", "frontend:81")[0], 0)

    def test_why_infers_the_port_and_says_which(self):
        code, out, _ = policy("check", SHOP, "-n", "shop", "--why", "cart", "db")
        self.assertEqual((code, out.splitlines()[0]), (0, "port 5432, as containers and Services of shop/db name it"))
        self.assertIn("shop/cart -> shop/db:5432   passes", out)
        code, out, _ = policy("check", SCENARIO, "--why", "frontend", "backend-service", "-o", "json")
        self.assertEqual((code, json.loads(out)["asked"]), (1, "Service default/backend-service port 80 leads to port 80 of default/backend"))
        code, _, err = policy("check", SHOP, "--why", "cart", "db")
        self.assertEqual(code, 2)
        self.assertIn("there is shop/cart: -n shop", err)

    def test_why_as_json(self):
        code, out, _ = policy("check", SHOP, "-n", "shop", "--why", "cart", "db:5432-5433", "-o", "json")
        one, = json.loads(out)["connections"]
        self.assertEqual((code, one["from"], one["to"], one["passes"]), (1, "shop/cart", "shop/db", "partly"))
        self.assertEqual([(a["ports"], a["passes"], a["ingress"]["by"]) for a in one["answers"]],
                         [("5432", True, "NetworkPolicy shop/db ingress[0]"), ("5433", False, "default deny of NetworkPolicy shop/backups, shop/closed, shop/db (ingress)")])

    def test_a_diff_of_some_ends(self):
        change = (SHOP, os.path.join(NEXT, "db.yaml"), "--apply", "-n", "shop")
        self.assertRegex(policy("diff", *change, "--from", "report")[1], r"(?m)^shop/report +shop/db +5432$")
        self.assertEqual(policy("diff", *change, "--to", "web")[1], "0 pairs opened, 0 closed\n")
        self.assertIn("removed: default/backend\n", policy("diff", SCENARIO, os.path.join(SCENARIO, "frontend-pod.yaml"), "--from", "backend")[1])
        code, _, err = policy("diff", *change, "--from", "nobody")
        self.assertEqual(code, 2)
        self.assertIn('"nobody"', err)

    def test_both_families(self):
        rule = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\nspec: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 'fd01::/64'}}]}]}\n"
        code, out, _ = policy("check", "-", "--why", "fd01::/64", "frontend:80", input=LABELLED + "---\n" + rule)
        self.assertEqual(code, 0, out)
        _, out, _ = policy("check", "-", "--pod-range", "10.9.0.0/16", input=LABELLED + "---\n" + rule)
        self.assertIn("fd01::/64 is not judged: no pod here has an IPv6 address", out)
        for ranges in (("--pod-range", "10.9.0.0/16,fd09::/64"), ("--pod-range", "10.9.0.0/16", "--pod-range", "fd09::/64")):
            self.assertEqual(policy("check", *ranges, "-", "--why", "fd01::/64", "frontend:80", input=LABELLED + "---\n" + rule)[0], 0)
        self.assertRegex(policy("diff", "-", os.path.join(SCENARIO, "frontend-pod.yaml"), input=LABELLED + "---\n" + rule)[1],
                         r"(?m)^outside \(IPv6\) +default/frontend +all$")
        code, _, err = policy("check", "--pod-range", "10.9.0.0/16,10.8.0.0/16", SCENARIO)
        self.assertEqual(code, 2)
        self.assertIn("--pod-range: give one network a family", err)

    def test_a_diff_tells_what_of_new_cannot_be_read(self):
        bad = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: shop}\nspec: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/99}}]}]}\n"
        code, out, _ = policy("diff", SHOP, "-", "--apply", input=bad)
        self.assertEqual(code, 1)
        self.assertIn("error invalid-part  NetworkPolicy shop/p spec.ingress[0].from[0].ipBlock.cidr", out)
        self.assertEqual(json.loads(policy("diff", SHOP, "-", "--apply", "-o", "json", input=bad)[1])["findings"][0]["id"], "invalid-part")

    def test_text_of_manifests_cannot_steer_a_terminal(self):
        code, _, err = policy("check", "-", input='apiVersion: v1\nkind: "Po\\e[31m\\u202ed"\nmetadata: {}\n')
        self.assertEqual(code, 2)
        self.assertIn(r"Po\x1b[31m\u202ed", err)

    def test_pairs_are_bounded(self):
        blocks = ", ".join("{cidr: 11.%d.%d.0/24}" % (i // 256, i % 256) for i in range(1200)).replace("{cidr", "{ipBlock: {cidr").replace("}", "}}")
        pods = "\n---\n".join(LABELLED.replace("frontend,", f"pod-{i},") for i in range(500))
        text = pods + "\n---\n" + f"apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p}}\nspec: {{podSelector: {{}}, ingress: [{{from: [{blocks}]}}]}}\n"
        for form in ("json", "svg", "dot"):
            code, out, err = policy("check", "-", "-o", form, input=text)
            self.assertEqual((code, out), (2, ""))
            self.assertRegex(err, r"there are 1451000 pairs of ends, more than 1000000: narrow them with --from and --to")
        self.assertEqual(policy("check", "-", "-o", "json", "--to", "pod-1", input=text)[0], 0)

    def test_many_workloads_are_a_list(self):
        pods = "\n---\n".join(LABELLED.replace("frontend,", f"pod-{i},") for i in range(50)) + "\n---\n" + scenario(without=("frontend-pod.yaml",))
        lines = policy("check", "-", "--to", "backend", input=pods)[1].splitlines()
        self.assertRegex(lines[0], r"^TO +PORTS +FROM$")
        self.assertRegex(lines[1], r"^default/backend +all +default/pod-0, default/pod-1, .* and 46 more of 52 \(--all names them\)$")
        named = policy("check", "-", "--to", "backend", "--all", input=pods)[1]
        self.assertEqual(re.findall(r"(?m)^default/backend +all +(\S+)$", named)[:50], sorted(f"default/pod-{i}" for i in range(50)))
        self.assertRegex(policy("check", "-", "--to", "backend", input=scenario())[1].splitlines()[0], r"^FROM \\ TO +default/backend$")

    def test_pictures(self):
        svg, dot = policy("check", SHOP, "-o", "svg")[1], policy("check", SHOP, "-o", "dot")[1]
        self.assertTrue(svg.startswith("<svg ") and svg.endswith("</svg>\n"))
        self.assertIn("<title>shop/report to shop/db: 5432</title>", svg)
        self.assertIn('"shop/web" -> "shop/cart" [label="8080"];', dot)


class Live(Case):
    def curl(self):
        return self.k("exec", "frontend", "--", "curl", "-sS", "-m", "3", "backend-service", check=False)[0]

    def live(self, command, *args):
        return self.lab.fairway("policy", command, "--live", "-n", self.ns, *args, check=False)

    def why(self):
        return self.live("check", "--why", "frontend", "backend:80")

    def test_what_it_says_is_what_happens(self):
        for name in sorted(os.listdir(SCENARIO)):
            if name.endswith(".yaml") and "policy" not in name:
                self.k("apply", "-f", os.path.join(SCENARIO, name))
        self.k("wait", "--for=condition=Available", "deployment/backend", "--timeout=120s")
        self.k("wait", "--for=condition=Ready", "pod/frontend", "--timeout=120s")
        eventually("the backend answers", lambda: self.curl() == 0)
        change = os.path.join(SCENARIO, "allow-frontend-policy.yaml")
        diff = self.live("diff", change)
        self.assertRegex(diff[1], rf"(?m)^{self.ns}/frontend +{self.ns}/backend +all$")
        self.assertEqual(self.why()[0], 0)
        self.k("apply", "-f", change)
        eventually("the connection is refused", lambda: self.curl() != 0)
        code, out, err = self.why()
        self.assertEqual(code, 1, err)
        self.assertRegex(out, r"denied +default deny of NetworkPolicy " + re.escape(self.ns))
        self.k("label", "pod", "frontend", "app=frontend")
        eventually("the connection is allowed", lambda: self.curl() == 0)
        code, out, _ = self.why()
        self.assertEqual(code, 0)
        self.assertIn(f"NetworkPolicy {self.ns}/allow-frontend ingress[0]", out)
