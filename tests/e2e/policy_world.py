"""Nine pods as cyclonus has them (namespaces x, y, z; pods a, b, c), and the nodes' own network beside them: what the API is told, what
the wire then does, and both as tables. The answer that is right comes from policy_truth.py.

Each pod serves ports 80 and 81 over TCP and UDP and has a Service of other numbers (180, 181). A table is every source to every
target, by port, protocol and family, by the pod's address and by its Service's: some 1,900 real connections. One `agnhost probe` in
each source, kept open by kubectl exec, begins all of its own at once.
"""
import collections
import http.client
import json
import socket
import subprocess
import time

from policy_truth import address_of, may_connect, name_of

from lab import Failed, eventually, pod, service

PODS = [f"{ns}/{name}" for ns in "xyz" for name in "abc"]
PORTS = (80, 81)
PROTOCOLS = ("TCP", "UDP")
FAMILIES = (4, 6)
TIMEOUT, PATIENT = "300ms", "5s"
SERVE = ("serve-hostname", "--port=80,81", "--tcp", "--udp")
NAMED = [("serve-80-tcp", 80, "TCP"), ("serve-81-tcp", 81, "TCP"), ("serve-80-udp", 80, "UDP"), ("serve-81-udp", 81, "UDP")]
# One name, another number or protocol on each.
WEB = {"x": [("web", 80, "TCP")], "y": [("web", 81, "TCP")], "z/a": [("web", 80, "UDP")], "z/b": [("web", 81, "UDP")], "z/c": []}
KINDS = {"NetworkPolicy": "networkpolicies", "ClusterNetworkPolicy": "clusternetworkpolicies", "Pod": "pods", "Namespace": "namespaces"}


class Prober:
    """A source: rounds of connections that its own process begins."""

    def __init__(self, lab, ns, name):
        self.process = lab.popen("exec", "-i", name, "--", "/agnhost", "probe", ns=ns, stdin=subprocess.PIPE)

    def ask(self, targets, timeout=TIMEOUT):
        self.process.stdin.write(f"--timeout={timeout} {' '.join(targets)}\n")
        self.process.stdin.flush()

    def answers(self):
        line = self.process.stdout.readline()
        if not line.startswith("["):
            raise Failed(f"a probe ended: {line}{self.process.stdout.read()}")
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class AgentSocket(http.client.HTTPConnection):
    """docs/architecture.md, "The agent's socket"."""

    def __init__(self, path):
        super().__init__("agent", timeout=30)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


def agent_status(lab, node):
    connection = AgentSocket(f"{lab.dir}/nodes/{node}/run/agent.sock")
    try:
        connection.request("GET", "/v1/status")
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def wait_in_force(lab, revisions, timeout=60):
    """Until every agent has seen these revisions ({source: number}) and all that it knows is in force."""
    for node in range(1, lab.nodes + 1):
        def there():
            status = agent_status(lab, f"node-{node}")
            seen = {s["name"]: int(s["revision"] or 0) for s in status["sources"]}
            return status["policy"]["inForce"] and all(seen[kind] >= revision for kind, revision in revisions.items())
        eventually(f"node-{node} has {revisions} in force", there, timeout=timeout, every=0.005)


class World:
    def __init__(self, lab):
        self.lab, self.probers, self.names = lab, {}, {}
        self.policies, self.applied = {}, {}  # what is wanted, by a key of its own; what the API has
        self.enforced_ms, self.tables, self.slow, self.fences = [], 0, collections.Counter(), 0
        self.pods = {key: self.make_pod(i, *key.split("/")) for i, key in enumerate(PODS)}
        for n in range(1, lab.nodes + 1):
            self.pods[f"hosts/node-{n}"] = {"ns": "hosts", "name": f"node-{n}", "node": f"node-{n}", "labels": {"pod": "a"}, "ports": [], "host": True}
        self.sources = list(self.pods.values())
        self.reset()

    def reset(self):
        """Policies and labels as a case finds them."""
        self.policies = {}
        self.namespaces = {"x": {"ns": "x", "team": "red"}, "y": {"ns": "y", "team": "blue"}, "z": {"ns": "z"}, "hosts": {}}
        for i, key in enumerate(PODS):
            self.pods[key]["labels"] = self.make_pod(i, *key.split("/"))["labels"]

    def make_pod(self, i, ns, name):
        return {"ns": ns, "name": name, "node": f"node-{(i + i // 3) % self.lab.nodes + 1}", "host": False,
                "labels": {"pod": name, "app": "red" if i % 2 else "blue", **({"tier": "front"} if name == "a" else {})},
                "ports": NAMED + WEB.get(ns, WEB.get(f"{ns}/{name}"))}

    # --- to the API

    def manifest_of(self, p):
        if p["host"]:
            return pod(p["name"], args=SERVE, node=p["node"], labels=p["labels"], spec={"hostNetwork": True})
        out = pod(p["name"], args=SERVE, node=p["node"], ports=p["ports"], labels=labels_of(p), spec={"hostname": f"{p['ns']}-{p['name']}"})
        if "wish" in p:
            out["metadata"]["annotations"] = {"fairway.io/ips": ",".join(p["wish"])}
        return out

    def objects(self):
        """All that the cases change, as it is wanted now: {(kind, namespace, name): object}."""
        out = {}
        for name, labels in self.namespaces.items():
            out["Namespace", "", name] = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        for p in self.pods.values():
            manifest = self.manifest_of(p)
            manifest["metadata"]["namespace"] = p["ns"]
            out["Pod", p["ns"], p["name"]] = manifest
        for policy in self.policies.values():
            out[policy["kind"], policy["metadata"].get("namespace", ""), policy["metadata"]["name"]] = policy
        return out

    def sync(self):
        """Tells the API what has changed, by kubectl, and waits until it is in force."""
        wanted = json.loads(json.dumps(list(self.objects().items())))
        wanted = {tuple(key): value for key, value in wanted}
        # Over an old policy `apply` would keep the policyTypes that the API gave it by default: one without any is made anew.
        anew = [key for key, value in wanted.items() if key[0] == "NetworkPolicy" and "policyTypes" not in value["spec"] and self.applied.get(key) != value]
        gone = [value for key, value in self.applied.items() if key not in wanted or key in anew]
        changed = [value for key, value in wanted.items() if self.applied.get(key) != value]
        if gone:
            self.lab.kubectl("delete", "--wait=false", "-f", "-", input=listed(gone))
            changed += [self.fence(kind) for kind in {o["kind"] for o in gone}]
        if not changed:
            return
        started = time.monotonic()
        answer = json.loads(self.lab.kubectl("apply", "--validate=false", "-o", "json", "-f", "-", input=listed(changed)))
        told = time.monotonic()
        revisions = {}
        for item in answer.get("items", [answer]):
            source = KINDS[item["kind"]]
            revisions[source] = max(revisions.get(source, 0), int(item["metadata"]["resourceVersion"]))
        wait_in_force(self.lab, revisions)
        self.enforced_ms.append((1000 * (time.monotonic() - started), 1000 * (time.monotonic() - told)))
        self.applied = wanted

    def fence(self, kind):
        """Something later than all that was deleted, for who waits for it: a policy that is about nobody."""
        self.fences += 1
        nobody = {"matchLabels": {"nobody": str(self.fences)}}
        if kind == "NetworkPolicy":
            return {"apiVersion": "networking.k8s.io/v1", "kind": kind, "metadata": {"name": "fence", "namespace": "hosts"}, "spec": {"podSelector": nobody}}
        return {"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": kind, "metadata": {"name": "fence"},
                "spec": {"tier": "Baseline", "priority": 1000, "subject": {"namespaces": nobody}}}

    def start(self):
        kubectl = self.lab.kubectl
        for n in range(1, self.lab.nodes + 1):
            kubectl("label", "--overwrite", "node", f"node-{n}", f"zone={min(n, 2)}")
        self.sync()
        services = [service(p["name"], {"id": f"{p['ns']}-{p['name']}"},
                            [(f"{protocol.lower()}-{port}", 100 + port, port, protocol) for port in PORTS for protocol in PROTOCOLS],
                            ipFamilyPolicy="RequireDualStack") for p in self.pods.values() if not p["host"]]
        for each, p in zip(services, self.pods.values()):
            each["metadata"]["namespace"] = p["ns"]
        kubectl("apply", "-f", "-", input=listed(services))
        for ns in self.namespaces:
            kubectl("wait", "--for=condition=Ready", "pod", "--all", "--timeout=120s", ns=ns)
        self.read_back()
        self.wait_services()
        for p in self.sources:
            self.start_prober(p)

    def read_back(self):
        """What only the cluster can say: addresses. Answers the newest revision of a pod."""
        get = lambda *what: json.loads(self.lab.kubectl("get", *what, "-o", "json"))["items"]  # noqa: E731
        newest = 0
        for item in get("pods", "-A"):
            newest = max(newest, int(item["metadata"]["resourceVersion"]))
            if known := self.pods.get(f"{item['metadata']['namespace']}/{item['metadata']['name']}"):
                known["ips"] = [i["ip"] for i in item["status"]["podIPs"]]
        for item in get("services", "-A"):
            if known := self.pods.get(f"{item['metadata']['namespace']}/{item['metadata']['name']}"):
                known["vips"] = item["spec"]["clusterIPs"]
        self.nodes = [{"name": n["metadata"]["name"], "labels": n["metadata"]["labels"], "ranges": n["spec"]["podCIDRs"],
                       "ips": [a["address"] for a in n["status"]["addresses"] if a["type"] == "InternalIP"]} for n in get("nodes")]
        return newest

    def wait_services(self):
        """Until each node's kernel leads each Service to where its pod is now."""
        wanted = {(vip, str(100 + port)): f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}" for p in self.pods.values() if not p["host"]
                  for port in PORTS for vip in p["vips"] for ip in p["ips"] if (":" in ip) == (":" in vip)}

        def led():
            for table in json.loads(self.lab.fairway("show", "frontends", "-o", "json")).values():
                address, port, backends = (table["columns"].index(c) for c in ("address", "port", "backends"))
                rows = {(row[address], str(row[port])): row[backends] for row in table["rows"]}
                for key, backend in wanted.items():
                    if rows.get(key) != backend:
                        raise Failed(f"{key} leads to {rows.get(key)}, not to {backend}")
            return True
        eventually("the Services lead to the pods", led)

    def start_prober(self, p):
        key = name_of(p)
        if key in self.probers:
            self.probers.pop(key).close()
        self.probers[key] = Prober(self.lab, p["ns"], p["name"])
        if key not in self.names:
            self.probers[key].ask(["tcp/127.0.0.1/80"], PATIENT)
            self.names[key] = self.probers[key].answers()[0]["answer"]

    def recreate(self, pods):
        """Pods go, and come again under their names, with the labels and at the addresses given: [(pod, labels, addresses)]."""
        for p, _, _ in pods:
            self.probers.pop(name_of(p)).close()
            self.lab.kubectl("delete", "pod", p["name"], "--now", ns=p["ns"])
            self.applied.pop(("Pod", p["ns"], p["name"]))
        for p, fresh, ips in pods:
            p["labels"], p["wish"] = fresh, ips
        self.sync()
        for p, _, _ in pods:
            self.lab.kubectl("wait", "--for=condition=Ready", f"pod/{p['name']}", "--timeout=60s", ns=p["ns"])
        newest = self.read_back()
        for p, _, ips in pods:
            if p["ips"] != ips:
                raise Failed(f"{name_of(p)} has {p['ips']}, not {ips}")
            self.start_prober(p)
        self.wait_services()
        wait_in_force(self.lab, {"pods": newest})

    def close(self):
        for prober in self.probers.values():
            prober.close()

    # --- tables

    def cells(self, source):
        for target in self.pods.values():
            if source["host"] and target["host"]:
                continue
            for way in ("pod", "service"):
                if way == "service" and target["host"]:
                    continue
                for protocol in PROTOCOLS:
                    for port in PORTS:
                        for family in FAMILIES:
                            yield Cell(source, target, way, protocol, port, family)

    def cluster(self):
        return {"namespaces": {n: {"kubernetes.io/metadata.name": n, **labels} for n, labels in self.namespaces.items()},
                "nodes": self.nodes, "policies": list(self.policies.values()),
                "pods": [{**p, "labels": labels_of(p)} for p in self.pods.values()]}

    def table(self):
        """Every cell as it should be and as it is."""
        cluster = self.cluster()
        by_name = {name_of(p): p for p in cluster["pods"]}
        rounds, truth = {}, {}
        for source in self.sources:
            cells = rounds[name_of(source)] = list(self.cells(source))
            self.probers[name_of(source)].ask([c.dialled() for c in cells])
        for cells in rounds.values():  # while they are under way
            for c in cells:
                key = (name_of(c.source), name_of(c.target), c.protocol, c.port, c.family)
                if key not in truth:
                    truth[key] = may_connect(cluster, by_name[key[0]], by_name[key[1]], *key[2:])
                c.allowed, c.why = truth[key]
        for source, cells in rounds.items():
            for c, answer in zip(cells, self.probers[source].answers()):
                c.got = answer
        for _ in range(2):
            self.ask_again([c for cells in rounds.values() for c in cells])
        self.tables += 1
        return [c for cells in rounds.values() for c in cells]

    def ask_again(self, cells):
        """Who should have been let in and was not in time, may have been slow; what should be refused gets no second chance. Twice, as a host
        that by chance has a UDP port that lately asked the pod's Service gets its answer in the Service's name (docs/policy.md)."""
        late = {}
        for c in cells:
            if c.allowed and not c.right(self.names):
                late.setdefault(name_of(c.source), []).append(c)
        for source, some in late.items():
            self.probers[source].ask([c.dialled() for c in some], PATIENT)
        for source, some in late.items():
            for c, answer in zip(some, self.probers[source].answers()):
                first, c.got = c.got, answer
                if c.right(self.names):
                    self.slow[f"{c.protocol} by {c.way} {first.get('error', 'wrong server')}"] += 1


class Cell:
    def __init__(self, source, target, way, protocol, port, family):
        self.source, self.target, self.way, self.protocol, self.port, self.family = source, target, way, protocol, port, family
        self.allowed, self.why, self.got = None, "", {}

    def dialled(self):
        ips = self.target["ips" if self.way == "pod" else "vips"]
        return f"{self.protocol.lower()}/{address_of({'ips': ips}, self.family)}/{self.port + (100 if self.way == 'service' else 0)}"

    def right(self, names):
        if self.allowed:
            return self.got.get("answer") == names[name_of(self.target)]
        return self.got.get("error") == "TIMEOUT"

    def kind(self):
        return f"{self.protocol} {self.port} IPv{self.family} by {self.way}"

    def __str__(self):
        got = self.got.get("answer") or self.got.get("error")
        return (f"{name_of(self.source)} ({self.source['node']}) to {name_of(self.target)} ({self.target['node']}), {self.kind()} ({self.dialled()}): "
                f"should be {'allowed' if self.allowed else 'denied, ' + self.why}; got {got}")


def labels_of(p):
    """What its Service selects it by, and what the cases change."""
    return {**({} if p["host"] else {"id": f"{p['ns']}-{p['name']}"}), **p["labels"]}


def listed(objects):
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})


def drawn(world, cells, kind):
    """One kind of connection as a table: rows send, columns receive; + allowed and - denied as they should be, else expected/got."""
    mine = {(name_of(c.source), name_of(c.target)): c for c in cells if c.kind() == kind}
    names = list(world.pods)
    width = max(map(len, names)) + 1
    lines = [kind, " " * width + " ".join(f"{n.rpartition('/')[0][0]}/{n[-1]:<3}" for n in names)]
    for source in names:
        marks = []
        for target in names:
            c = mine.get((source, target))
            mark = "" if c is None else ("+" if c.allowed else "-") if c.right(world.names) else ("+/-" if c.allowed else "-/+")
            marks.append(f"{mark:<5}")
        lines.append(f"{source:<{width}}" + " ".join(marks))
    return "\n".join(lines)
