"""One lab for the whole run, kubectl to drive it, and what the cases share.

A case has a namespace of its own and cleans it up, so that any case runs alone and in any order.
Nothing here knows how Fairway works: all goes through `fairway lab`, kubectl, and the machine's own tools.
"""
import base64
import fcntl
import glob
import http.client
import json
import os
import pty
import re
import select
import shutil
import signal
import ssl
import struct
import subprocess
import tempfile
import termios
import time
import unittest

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
BIN = os.environ.get("FAIRWAY_BIN", os.path.join(ROOT, "build/release/bin"))
FAIRWAY = os.path.join(BIN, "fairway")
AGNHOST = "registry.k8s.io/e2e-test-images/agnhost:2.53"
NETSHOOT = "nicolaka/netshoot"


class Failed(AssertionError):
    pass


def run(argv, input=None, check=True, timeout=120, env=None):
    """Runs a command; its stdout, or an error that shows the whole exchange. check=False: (code, out, err)."""
    process = subprocess.Popen(argv, stdin=subprocess.PIPE if input is not None else subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, errors="replace", env=env, start_new_session=True)
    try:
        out, err = process.communicate(input, timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        raise Failed(f"no end after {timeout} s: {' '.join(argv)}\n{out[-2000:]}\n{err[-2000:]}")
    if not check:
        return process.returncode, out, err
    if process.returncode != 0:
        raise Failed(f"exit {process.returncode}: {' '.join(argv)}\n{out[-2000:]}\n{err[-2000:]}")
    return out


def eventually(what, condition, timeout=60, every=0.1):
    """Waits until condition() is true, and says what it was waiting for if it never is."""
    deadline, last = time.monotonic() + timeout, None
    while True:
        try:
            last = condition()
            if last:
                return last
        except (Failed, KeyError, IndexError, ValueError) as error:
            last = error
        if time.monotonic() > deadline:
            raise Failed(f"not within {timeout} s: {what}; last: {last}")
        time.sleep(every)


def find_kubectl():
    """The plain binary: the dispatcher that some packages install asks the server for its version and caches the answer."""
    path = shutil.which("kubectl")
    if not path:
        return None
    wanted = os.environ.get("FAIRWAY_KUBECTL_MINOR", "1.32")
    versioned = os.path.join(os.path.dirname(os.path.realpath(path)), f"kubectl.{wanted}")
    return versioned if os.path.exists(versioned) else path


class Lab:
    def __init__(self, nodes=2):
        self.nodes = nodes
        self.dir = tempfile.mkdtemp(prefix="fairway-e2e-")
        self.home = tempfile.mkdtemp(prefix="fairway-e2e-home-")
        self.kubectl_path = find_kubectl()
        self.env = dict(os.environ, FAIRWAY_LAB_DIR=self.dir, HOME=self.home, KUBECONFIG=os.path.join(self.dir, "kubeconfig"), LC_ALL="C",
                        FAIRWAY_REGISTRY="off")  # no test asks a registry
        self.up_seconds = 0.0

    def fairway(self, *args, check=True, timeout=180, input=None):
        return run([FAIRWAY, *args], check=check, timeout=timeout, env=self.env, input=input)

    def up(self, *options, upstream="172.31.0.2"):
        start = time.monotonic()
        self.fairway("lab", "up", "--nodes", str(self.nodes), "--dns-upstream", upstream, *options)
        self.up_seconds = time.monotonic() - start

    def down(self):
        try:
            return self.fairway("lab", "down")
        finally:
            shutil.rmtree(self.home, ignore_errors=True)
            shutil.rmtree(self.dir, ignore_errors=True)

    def status(self):
        return json.loads(self.fairway("lab", "status", "-o", "json"))

    def process(self, node, which):
        """The pid of a node's "agent" or "runtime", or (node None) of the API server. Waits for one that is being started
        again: while it is down its pid is none, and a signal to a pid of 0 or -1 would go to everybody."""
        def running():
            status = self.status()
            pid = status["server"]["pid"] if node is None else next(n[which]["pid"] for n in status["nodes"] if n["name"] == node)
            return pid if pid > 1 else None
        return eventually(f"{which} of {node or 'the lab'} runs", running, timeout=30)

    def node_ip(self, node, family=4):
        addresses = next(n["addresses"] for n in self.status()["nodes"] if n["name"] == node)
        return next(a for a in addresses if (":" in a) == (family == 6))

    def outside(self, *command, check=True, timeout=60, input=None):
        return self.fairway("lab", "outside", "--", *command, check=check, timeout=timeout, input=input)

    def on_node(self, node, *command, check=True, timeout=60):
        """A host process of the node: in its network namespace and in its control group, where the socket programs are."""
        group = os.path.join(cgroup2_mount(), "fairway-lab", node, "runtime")
        script = 'echo $$ >"$0/cgroup.procs" 2>/dev/null; exec nsenter --net="/run/netns/fw-$1" -- "${@:2}"'
        return run(["bash", "-c", script, group, node, *command], check=check, timeout=timeout)

    def kubectl(self, *args, ns=None, check=True, timeout=120, input=None):
        return run([self.kubectl_path, *(["-n", ns] if ns else []), *args], check=check, timeout=timeout, env=self.env, input=input)

    def popen(self, *args, ns=None, **options):
        """kubectl that goes on: watches, port-forward, logs -f. The caller ends it."""
        argv = [self.kubectl_path, *(["-n", ns] if ns else []), *args]
        return subprocess.Popen(argv, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)


class Api:
    """The API server over one kept connection: for requests that kubectl would refuse to send, or would take minutes for."""

    def __init__(self, lab):
        config = json.loads(lab.kubectl("config", "view", "--raw", "-o", "json"))
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        with tempfile.NamedTemporaryFile(suffix=".pem") as pair:
            pair.write(base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"]))
            pair.flush()
            context.load_cert_chain(pair.name)
        host, port = cluster["server"].removeprefix("https://").rsplit(":", 1)
        self.connection = http.client.HTTPSConnection(host, int(port), context=context, timeout=60)

    def close(self):
        self.connection.close()

    def send(self, method, path, body=None, content_type="application/json"):
        """(status, headers, text); a body that is no bytes is sent as JSON."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        self.connection.request(method, path, data, {"Content-Type": content_type, "Accept": "application/json"})
        answer = self.connection.getresponse()
        return answer.status, answer.headers, answer.read().decode(errors="replace")

    def call(self, method, path, body=None, content_type="application/json"):
        status, _, text = self.send(method, path, body, content_type)
        if status >= 300:
            raise Failed(f"{method} {path}: {status} {text[:500]}")
        return json.loads(text)


class KeptFlow:
    """One TCP connection from a pod through a Service, a request on it every few milliseconds; finish() tells if it broke."""

    SCRIPT = r"""
trap '' PIPE
exec 3<>/dev/tcp/$1/80 || { echo BAD connect; exit; }
n=0
while [ ! -e /stop-$2 ]; do
  printf 'GET /hostname HTTP/1.1\r\nHost: x\r\n\r\n' >&3 || { echo "BAD send after $n"; break; }
  length=0
  while IFS= read -r -t 10 -u 3 line; do
    line=${line%$'\r'}
    [ -n "$line" ] || break
    case $line in [Cc]ontent-[Ll]ength:*) length=${line##* } ;; esac
  done
  { [ "$length" -gt 0 ] && read -r -t 10 -N "$length" -u 3 body; } || { echo "BAD answer after $n"; break; }
  n=$((n+1))
  [ $n != 1 ] || echo flowing
  sleep 0.005
done
echo requests $n
"""
    count = 0

    def __init__(self, case, client, address):
        KeptFlow.count += 1
        self.case, self.client, self.mark = case, client, str(KeptFlow.count)
        self.process = case.lab.popen("exec", client, "--", "bash", "-c", self.SCRIPT, "flow", address, self.mark, ns=case.ns)
        case.addCleanup(self.process.kill)
        self.out = LineReader(self.process)
        self.out.expect("flowing")

    def finish(self):
        self.case.sh(self.client, f"touch /stop-{self.mark}")
        last = self.out.expect("^(requests|BAD) .*")
        self.process.wait(30)
        self.process.stdout.close()
        self.case.assertRegex(last, r"^requests \d+$")
        self.case.assertGreater(int(last.split()[1]), 5)  # it went on; how fast is no matter


def cgroup2_mount():
    with open("/proc/self/mounts") as mounts:
        return next(line.split()[1] for line in mounts if line.split()[2] == "cgroup2")


LAB = None  # set by run.py


class Case(unittest.TestCase):
    """A case with a namespace; `self.k(...)` is kubectl in it."""

    maxDiff = None
    ns = None
    own_namespace = True

    @classmethod
    def setUpClass(cls):
        cls.lab = LAB
        if cls.own_namespace:
            cls.ns = "e2e-" + re.sub(r"(?<!^)(?=[A-Z])", "-", cls.__name__).lower()
            cls.lab.kubectl("delete", "namespace", cls.ns, "--ignore-not-found", "--timeout=120s")
            cls.lab.kubectl("create", "namespace", cls.ns)
            cls.addClassCleanup(cls.lab.kubectl, "delete", "namespace", cls.ns, "--wait=false", "--ignore-not-found", check=False)

    @classmethod
    def k(cls, *args, **options):
        return cls.lab.kubectl(*args, ns=cls.ns, **options)

    @classmethod
    def get(cls, *args):
        return json.loads(cls.k("get", *args, "-o", "json"))

    @classmethod
    def apply(cls, *objects):
        return cls.k("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))

    @classmethod
    def frontends(cls):
        """What each node's kernel has of this namespace's Services: {node: {name: [address, backends]}}."""
        out = {}
        for node, table in json.loads(cls.lab.fairway("show", "frontends", "-o", "json")).items():
            at = {name: i for i, name in enumerate(table["columns"])}
            out[node] = {row[at["service"]].split("/")[1]: [row[at["address"]], row[at["backends"]]]
                         for row in table["rows"] if row[at["service"]].startswith(cls.ns + "/")}
        return out

    @classmethod
    def start_pods(cls, *pods, timeout=120):
        cls.apply(*pods)
        cls.wait_ready(*[f"pod/{p['metadata']['name']}" for p in pods], timeout=timeout)

    @classmethod
    def wait_ready(cls, *what, timeout=120):
        code, _, err = cls.k("wait", "--for=condition=Ready", f"--timeout={timeout}s", *what, check=False, timeout=timeout + 10)
        if code != 0:
            events = cls.k("get", "events", "--sort-by=.lastTimestamp", check=False)[1].splitlines()[-25:]
            raise Failed("\n".join([err, cls.k("get", "pods", "-o", "wide", check=False)[1], *events]))

    @classmethod
    def sh(cls, pod, script, check=True, timeout=60, container=None):
        return cls.k("exec", pod, *(["-c", container] if container else []), "--", "sh", "-c", script, check=check, timeout=timeout)

    @classmethod
    def ip_of(cls, pod, family=4):
        ips = [i["ip"] for i in cls.get("pod", pod)["status"]["podIPs"]]
        return next(ip for ip in ips if (":" in ip) == (family == 6))

    def assertRefused(self, what, pattern):
        """`what` is (code, out, err) of a command that had to fail with such words."""
        code, out, err = what
        self.assertNotEqual(code, 0, out)
        self.assertRegex(out + err, pattern)


def pod(name, image=AGNHOST, args=("pause",), command=None, node=None, labels=None, ports=(), spec=None, container=None):
    c = {"name": "main", "image": image, **(container or {})}
    if command:
        c["command"] = list(command)
    elif args:
        c["args"] = list(args)
    if ports:
        c["ports"] = [{"name": n, "containerPort": p, "protocol": proto} for n, p, proto in ports]
    body = {"containers": [c], "terminationGracePeriodSeconds": 0, **(spec or {})}
    if node:
        body["nodeName"] = node
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels or {}}, "spec": body}


def netexec(name, node=None, labels=None, http=8080, udp=8081, **options):
    """A server that tells who asked, its name, and echoes, over TCP and UDP."""
    return pod(name, args=("netexec", f"--http-port={http}", f"--udp-port={udp}"), node=node, labels=labels,
               ports=(("http", http, "TCP"), ("udp", udp, "UDP")), **options)


def shell_pod(name, node=None, labels=None, image=NETSHOOT, **options):
    return pod(name, image=image, command=("sleep", "3600"), node=node, labels=labels, **options)


def service(name, selector, ports, **spec):
    listed = [{"name": n, "port": p, "targetPort": t, "protocol": proto} for n, p, t, proto in ports]
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {**({"selector": selector} if selector else {}), "ports": listed, **spec}}


def endpoint_slice(name, addresses, port=8080, of=None, **fields):
    """A slice that a user wrote, of a Service without a selector."""
    return {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": of or name}},
            "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
            "endpoints": [{"addresses": [a], "conditions": {"ready": True}} for a in addresses], **fields}


def deployment(name, replicas=1, image=AGNHOST, args=("netexec", "--http-port=8080"), labels=None, spec=None, pod_spec=None, container=None):
    labels = labels or {"app": name}
    c = {"name": "main", "image": image, "args": list(args), "ports": [{"name": "http", "containerPort": 8080}], **(container or {})}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
            "spec": {"replicas": replicas, "selector": {"matchLabels": labels},
                     "template": {"metadata": {"labels": labels}, "spec": {"containers": [c], "terminationGracePeriodSeconds": 1, **(pod_spec or {})}}, **(spec or {})}}


class Terminal:
    """A command on a pseudo-terminal, as a person at a keyboard has it."""

    def __init__(self, argv, env, rows=24, columns=80):
        self.fd, slave = pty.openpty()
        self.resize(rows, columns)
        self.process = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True,
                                        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(slave)
        self.seen = ""

    def resize(self, rows, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        os.write(self.fd, text.encode())

    def expect(self, pattern, timeout=30):
        deadline = time.monotonic() + timeout
        while not (match := re.search(pattern, self.seen)):
            ready, _, _ = select.select([self.fd], [], [], max(0, deadline - time.monotonic()))
            try:
                data = os.read(self.fd, 65536) if ready else b""
            except OSError:  # the other end has closed
                data = b""
            if not data:
                raise Failed(f"the terminal never showed {pattern!r}; it showed:\n{self.seen}")
            self.seen += data.decode(errors="replace")
        self.seen = self.seen[match.end():]
        return match

    def end(self, timeout=30):
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise Failed(f"the command does not end; the terminal shows:\n{self.seen}")
        finally:
            os.close(self.fd)


class LineReader:
    """Lines of a running command as they come."""

    def __init__(self, process):
        self.process, self.lines, self.part = process, [], ""
        os.set_blocking(process.stdout.fileno(), False)

    def expect(self, pattern, timeout=30):
        deadline = time.monotonic() + timeout
        while True:
            for i, line in enumerate(self.lines):
                if re.search(pattern, line):
                    del self.lines[: i + 1]
                    return line
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))
            data = os.read(self.process.stdout.fileno(), 65536) if ready else b""
            if not data:
                raise Failed(f"no line like {pattern!r}; there were: {self.lines} {self.part}")
            *whole, self.part = (self.part + data.decode(errors="replace")).split("\n")
            self.lines += whole

    def drain(self):
        """Forgets what has come until now."""
        while select.select([self.process.stdout], [], [], 0)[0] and os.read(self.process.stdout.fileno(), 65536):
            pass
        self.lines, self.part = [], ""

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def leftovers(lab_dir):
    """What of a lab is still on the machine, in words; empty when all is gone."""
    left = []
    left += [f"namespace {os.path.basename(p)}" for p in glob.glob("/run/netns/fw-*") + glob.glob("/run/netns/fwp-*")]
    with open("/proc/self/mounts") as mounts:
        for line in mounts:
            fields = line.split()
            if lab_dir in fields[1] or "/fairway-lab" in fields[1]:
                left.append(f"mount {fields[1]}")
            if fields[2] in ("cgroup", "cgroup2") and os.path.isdir(os.path.join(fields[1], "fairway-lab")):
                left.append(f"control group {fields[1]}/fairway-lab")
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                words = f.read().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if lab_dir in words and int(pid) != os.getpid():
            left.append(f"process {pid} {words[:80]}")
    if os.path.exists(lab_dir):
        left.append(f"folder {lab_dir}: {os.listdir(lab_dir)}")
    return left
