"""One lab of 50 nodes and 500 pods. A suite of its own (tests/run.py --suite scale): it wants the machine for itself."""
import json
import random
import unittest

import lab as shared
from lab import Lab, deployment, eventually, leftovers, service

NODES, PODS = 50, 500
SEED = 20240229


class FiftyNodes(unittest.TestCase):
    def setUp(self):
        self.lab = Lab(nodes=NODES)
        self.addCleanup(self.clean)

    def clean(self):
        self.lab.fairway("lab", "down", check=False)
        for path in (self.lab.dir, self.lab.home):
            shared.shutil.rmtree(path, ignore_errors=True)

    def pods(self):
        return json.loads(self.lab.kubectl("get", "pods", "-l", "app=many", "-o", "json"))["items"]

    def ready(self):
        """How many: asked of the Deployment, as a list of 500 pods each second would be a load of its own."""
        return int(self.lab.kubectl("get", "deployment", "many", "-o", "jsonpath={.status.readyReplicas}") or 0)

    def ask(self, pod, url):
        # agnhost's image has curl.
        return self.lab.kubectl("exec", pod["metadata"]["name"], "--", "curl", "-sS", "--max-time", "10", url).strip()

    def test_all_are_ready_and_reach_each_other(self):
        self.lab.up()
        nodes = json.loads(self.lab.kubectl("get", "nodes", "-o", "json"))["items"]
        self.assertEqual(len(nodes), NODES)
        self.lab.kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": [
            deployment("many", replicas=PODS), service("many", {"app": "many"}, [("http", 80, 8080, "TCP")])]}))
        eventually(f"{PODS} pods are Ready", lambda: self.ready() == PODS, timeout=300, every=1)
        pods = self.pods()
        self.assertEqual(len({p["spec"]["nodeName"] for p in pods}), NODES)
        addresses = {p["status"]["podIP"]: p["metadata"]["name"] for p in pods}
        self.assertEqual(len(addresses), PODS)
        choice = random.Random(SEED)
        for _ in range(20):
            client, server = choice.sample(pods, 2)
            with self.subTest(f"{client['metadata']['name']} on {client['spec']['nodeName']} to {server['metadata']['name']} on {server['spec']['nodeName']}"):
                self.assertEqual(self.ask(client, f"http://{server['status']['podIP']}:8080/hostname"), server["metadata"]["name"])
        # Through the Service, from one pod of each of ten nodes: every node has all 500 endpoints, so 100 askings meet many.
        vip = json.loads(self.lab.kubectl("get", "svc", "many", "-o", "json"))["spec"]["clusterIP"]
        rows = json.loads(self.lab.fairway("show", "frontends", "-o", "json"))
        self.assertEqual(len(rows), NODES)
        for node, table in rows.items():
            row = next(r for r in table["rows"] if r[0] == vip)
            self.assertTrue(row[5].endswith(f"+{PODS}"), f"{node}: {row}")
        seen = set()
        for client in choice.sample(pods, 10):
            script = f"for i in 1 2 3 4 5 6 7 8 9 10; do curl -sS --max-time 10 http://{vip}/hostname; echo; done"
            answers = self.lab.kubectl("exec", client["metadata"]["name"], "--", "sh", "-c", script).split()
            self.assertEqual(len(answers), 10)
            seen |= set(answers)
        self.assertLessEqual(seen, set(addresses.values()))
        self.assertGreater(len(seen), 50)
        self.lab.fairway("lab", "down", timeout=300)
        self.assertEqual(leftovers(self.lab.dir), [])
