"""The lab itself: taken up and down, refused, crashed. Each case has the machine for itself; the shared lab is gone by now."""
import json
import os
import re
import signal
import subprocess
import tempfile
import unittest

import lab as shared
from lab import Lab, eventually, leftovers, netexec, run


def bpf_objects():
    """Programs and links by id, with their names, as the kernel has them now."""
    found = set()
    for kind in ("prog", "link"):
        code, out, _ = run(["bpftool", "-j", kind, "list"], check=False)
        if code == 0:
            found |= {f"{kind} {o['id']} {o.get('name', o.get('type', ''))}" for o in json.loads(out or "[]")}
    return found


class LabLife(unittest.TestCase):
    def setUp(self):
        self.before = bpf_objects()
        self.lab = Lab(nodes=1)
        self.addCleanup(self.clean)

    def clean(self):
        self.lab.fairway("lab", "down", check=False)
        for path in (self.lab.dir, self.lab.home):
            shared.shutil.rmtree(path, ignore_errors=True)

    def assertNothingLeft(self):
        self.assertEqual(leftovers(self.lab.dir), [])
        # The kernel frees programs a moment after their last user has gone.
        eventually("its BPF programs and links are gone", lambda: not (bpf_objects() - self.before))

    def start_a_pod(self):
        self.lab.kubectl("apply", "-f", "-", input=json.dumps(netexec("p")))
        self.lab.kubectl("wait", "--for=condition=Ready", "pod/p", "--timeout=120s", timeout=130)

    def test_down_leaves_nothing(self):
        self.lab.up()
        self.start_a_pod()
        self.lab.fairway("lab", "down")
        self.assertNothingLeft()
        self.assertIn("no lab is up", self.lab.fairway("lab", "down", check=False)[2])

    def test_down_after_a_crash_leaves_nothing(self):
        self.lab.up()
        self.start_a_pod()
        status = self.lab.status()
        victims = [status["server"]["pid"]] + [n[w]["pid"] for n in status["nodes"] for w in ("agent", "runtime")]
        self.assertTrue(self.supervisors())
        self.kill(*self.supervisors(), *victims)
        eventually("its state says what to do", lambda: "has crashed; clear it away: fairway lab down" in str(self.lab.fairway("lab", "status", check=False)))
        self.lab.fairway("lab", "down")
        self.assertNothingLeft()

    def test_down_after_a_crash_in_the_middle_of_up(self):
        """`lab up` and its supervisor are killed when this and that of the lab has come about."""
        steps = {"nothing but its certificates": lambda: os.path.exists(f"{self.lab.dir}/kubeconfig"),
                 "the fabric": lambda: os.path.exists("/run/netns/fw-fabric"),
                 "a node's bpffs": lambda: f"{self.lab.dir}/nodes/node-1/bpf" in open("/proc/self/mounts").read(),
                 "an agent": lambda: os.path.exists(f"{self.lab.dir}/nodes/node-1/run/agent.sock"),
                 "pinned programs": lambda: shared.glob.glob(f"{self.lab.dir}/nodes/node-1/bpf/fairway/*"),
                 "an API": lambda: self.lab.kubectl("get", "nodes", "-o", "name", check=False)[1]}
        for step, has_come in steps.items():
            with self.subTest(step):
                up = subprocess.Popen([shared.FAIRWAY, "lab", "up", "--nodes", "3"], env=self.lab.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                eventually(step, has_come, every=0.001)
                up.kill()
                up.wait()
                self.kill(*self.supervisors())
                # A supervisor that is only being started is nobody we could find to kill: it ends by itself.
                self.lab.fairway("lab", "down")
                eventually("nothing is left", lambda: not leftovers(self.lab.dir))
                self.assertNothingLeft()
        self.lab.up()  # and the machine is as good as new
        self.start_a_pod()

    def supervisors(self):
        return [int(p) for p in os.listdir("/proc") if p.isdigit() and self.is_supervisor(p)]

    def kill(self, *pids):
        for pid in pids:
            try:
                if pid > 1:
                    os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it has ended by itself, or with its supervisor

    def is_supervisor(self, pid):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                words = f.read().split(b"\0")
        except OSError:
            return False
        return b"lab-supervisor" in words and self.lab.dir.encode() in words

    def test_up_after_a_crash(self):
        self.lab.up()
        self.kill(*self.supervisors())
        eventually("the machine knows that the lab has ended", lambda: self.lab.fairway("lab", "status", check=False)[0] != 0)
        self.lab.up()
        self.start_a_pod()

    def test_a_second_lab_is_refused_with_a_clear_word(self):
        self.lab.up()
        other = tempfile.mkdtemp(prefix="fairway-e2e-second-")
        self.addCleanup(shared.shutil.rmtree, other, ignore_errors=True)
        env = dict(self.lab.env, FAIRWAY_LAB_DIR=other)
        code, out, err = run([shared.FAIRWAY, "lab", "up"], check=False, env=env)
        self.assertNotEqual(code, 0, out)
        self.assertIn(f"a lab is already up in {self.lab.dir}", err)
        self.assertIn("fairway lab down", err)
        code, _, err = run([shared.FAIRWAY, "lab", "down"], check=False, env=env)
        self.assertNotEqual(code, 0)
        self.assertIn(self.lab.dir, err)
        self.assertEqual(self.lab.kubectl("get", "nodes", "-o", "name").split(), ["node/node-1"])

    def test_two_at_once(self):
        other = Lab(nodes=1)
        self.addCleanup(shared.shutil.rmtree, other.home, ignore_errors=True)
        self.addCleanup(shared.shutil.rmtree, other.dir, ignore_errors=True)
        self.addCleanup(other.fairway, "lab", "down", check=False)
        both = [subprocess.Popen([shared.FAIRWAY, "lab", "up", "--nodes", "1"], env=lab.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                for lab in (self.lab, other)]
        outs = [p.communicate(timeout=180)[0] for p in both]
        self.assertEqual(sorted(p.returncode == 0 for p in both), [False, True], outs)
        self.assertRegex(outs[0] + outs[1], "a lab is already up|another lab")

    def test_two_at_once_in_one_folder(self):
        """They once wrote each other's certificates, and neither lab came up."""
        both = [subprocess.Popen([shared.FAIRWAY, "lab", "up", "--nodes", "1"], env=self.lab.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(2)]
        outs = [p.communicate(timeout=180)[0] for p in both]
        self.assertEqual(sorted(p.returncode == 0 for p in both), [False, True], outs)
        self.assertIn(f"a lab is already up in {self.lab.dir}", outs[0] + outs[1])
        self.assertEqual(self.lab.kubectl("get", "nodes", "-o", "name").split(), ["node/node-1"])

    def test_two_that_cannot_see_each_other(self):
        """Each has a /run of its own, and both the machine's 127.0.0.1: once they chose one port, and one lab's server never came up."""
        script = 'echo; read; "$0" lab up --nodes 1 || exit; "$1" get nodes -o name; read; "$0" lab down'
        labs = [Lab(nodes=1) for _ in range(2)]
        both = []
        for lab in labs:
            self.addCleanup(shared.shutil.rmtree, lab.home, ignore_errors=True)
            self.addCleanup(shared.shutil.rmtree, lab.dir, ignore_errors=True)
            both.append(subprocess.Popen([f"{shared.ROOT}/tests/e2e/isolated", "bash", "-c", script, shared.FAIRWAY, lab.kubectl_path], env=lab.env,
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
            self.assertEqual(both[-1].stdout.readline(), "\n")
        for each in both:  # in the same instant, as near as can be
            each.stdin.write("\n")
            each.stdin.flush()
        try:
            for lab, each in zip(labs, both):
                said = []
                for line in each.stdout:
                    said.append(line)
                    if line == "node/node-1\n":
                        break
                self.assertEqual(said[-1:], ["node/node-1\n"], "".join(said))
        finally:
            outs = [each.communicate("\n", timeout=180)[0] for each in both]
        self.assertEqual([each.returncode for each in both], [0, 0], outs)

    def test_down_while_it_comes_up(self):
        for seen in ("certificates", "fabric"):
            with self.subTest(seen):
                up = subprocess.Popen([shared.FAIRWAY, "lab", "up", "--nodes", "3"], env=self.lab.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                self.assertTrue(any(seen in line for line in up.stdout))
                self.lab.fairway("lab", "down")
                out = up.communicate(timeout=60)[0]
                self.assertNotEqual(up.returncode, 0, out)
                self.assertIn("taken down while it came up", out)
                self.assertNothingLeft()

    def test_control_c_says_what_goes_on(self):
        up = subprocess.Popen([shared.FAIRWAY, "lab", "up", "--nodes", "1"], env=self.lab.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.assertTrue(any("fabric" in line for line in up.stdout))
        up.send_signal(signal.SIGINT)
        self.assertIn("fairway lab down takes it away", up.communicate(timeout=60)[0])
        self.assertEqual(up.returncode, 130)
        self.lab.fairway("lab", "down")
        self.assertNothingLeft()

    def test_a_full_disk_is_named(self):
        run(["mount", "-t", "tmpfs", "-o", "size=200k", "none", self.lab.dir])
        self.addCleanup(run, ["umount", "-l", self.lab.dir], check=False)
        self.addCleanup(self.lab.fairway, "lab", "down", check=False)
        code, _, err = self.lab.fairway("lab", "up", check=False)
        self.assertEqual(code, 1)
        self.assertIn(f"no space is left in {self.lab.dir}", err)
        self.lab.fairway("lab", "down")
        self.assertTrue(os.path.ismount(self.lab.dir), "a disk that somebody mounted there is not ours to take away")
        mounted = [f"mount {self.lab.dir}", f"folder {self.lab.dir}: []"]
        self.assertEqual([thing for thing in leftovers(self.lab.dir) if thing not in mounted], [])

    def up_with(self, path, stand_in):
        """`lab up` on a machine where something else lies at that path: its exit code and its words."""
        script = 'mount --bind "$0" "$1" && exec "$2" lab up --nodes 1'
        code, _, err = run(["unshare", "--mount", "bash", "-c", script, stand_in, path, shared.FAIRWAY], check=False, env=self.lab.env)
        return code, err

    def test_a_machine_without_runc_is_told_at_once(self):
        code, err = self.up_with("/usr/sbin/runc", "/dev/null")
        self.assertEqual(code, 1)
        self.assertIn("apt-get install runc", err)
        self.assertEqual(leftovers(self.lab.dir), [f"folder {self.lab.dir}: []"], "nothing was begun")

    def test_a_process_that_cannot_stay_is_named(self):
        broken = os.path.join(self.lab.home, "broken")
        with open(broken, "w") as script:
            script.write("#!/bin/sh\necho the moon is in the wrong quarter >&2\nexit 3\n")
        os.chmod(broken, 0o755)
        code, err = self.up_with(os.path.join(shared.BIN, "fairway-agent"), broken)
        self.assertEqual(code, 1)
        self.assertRegex(err, r"agent-node-1 ends whenever it is started \(exit code 3\): the moon is in the wrong quarter\n.*fairway lab down")
        self.lab.fairway("lab", "down")
        self.assertNothingLeft()

    def test_a_folder_that_is_somebodys_is_refused(self):
        precious = os.path.join(self.lab.dir, "sub", "precious")
        os.makedirs(os.path.dirname(precious))
        open(precious, "w").close()
        code, _, err = self.lab.fairway("lab", "up", check=False)
        self.assertEqual(code, 1)
        self.assertIn(f"{self.lab.dir} is not empty, and no lab's: sub is there", err)
        with open(os.path.join(self.lab.dir, "lab.json"), "w") as spec:
            spec.write("{}")
        code, _, err = self.lab.fairway("lab", "up", check=False)
        self.assertEqual(code, 1)
        self.assertIn("lab.json is not a lab's description", err)
        code, _, err = self.lab.fairway("lab", "down", check=False)
        self.assertEqual(code, 1)
        self.assertIn(f"nothing of {self.lab.dir} was removed", err)
        self.assertTrue(os.path.exists(precious))

    def test_down_takes_only_what_the_lab_made(self):
        self.lab.up()
        mine = os.path.join(self.lab.dir, "my-notes.txt")
        open(mine, "w").close()
        self.lab.fairway("lab", "down")
        self.assertEqual(leftovers(self.lab.dir), [f"folder {self.lab.dir}: ['my-notes.txt']"])

    def test_a_folder_with_a_space_behind_a_link(self):
        real, link = os.path.join(self.lab.dir, "with space"), os.path.join(self.lab.dir, "link")
        os.mkdir(real)
        os.symlink(real, link)
        self.lab.env.update(FAIRWAY_LAB_DIR=link)
        told = self.lab.fairway("lab", "up", "--nodes", "1")
        self.assertIn(f"export KUBECONFIG='{real}/kubeconfig'", told)
        self.lab.env.update(FAIRWAY_LAB_DIR=real)
        self.assertIn("node-1", self.lab.fairway("lab", "status"), "it is the same lab")
        self.lab.fairway("lab", "down")
        self.assertFalse(os.path.exists(real))
        self.assertEqual(leftovers(self.lab.dir), [f"folder {self.lab.dir}: ['link']"])

    def test_families_and_datapaths(self):
        for options in (("--family", "ipv4"), ("--family", "ipv6"), ("--datapath", "vxlan"), ("--subnets", "2")):
            with self.subTest(" ".join(options)):
                lab = Lab(nodes=2)
                try:
                    lab.up(*options)
                    for i in (1, 2):
                        iperf = shared.shell_pod(f"s{i}", node=f"node-{i}")
                        iperf["spec"]["containers"][0]["command"] = ["iperf3", "-s"]
                        lab.kubectl("apply", "-f", "-", input=json.dumps(iperf))
                    lab.kubectl("apply", "-f", "-", input=json.dumps(shared.shell_pod("client", node="node-1")))
                    lab.kubectl("wait", "--for=condition=Ready", "pod/s1", "pod/s2", "pod/client", "--timeout=120s", timeout=130)
                    for name in ("s1", "s2"):
                        ip = json.loads(lab.kubectl("get", "pod", name, "-o", "json"))["status"]["podIP"]
                        # Many packets and large ones, so that MTU and segmentation offload are met.
                        out = lab.kubectl("exec", "client", "--", "iperf3", "-c", ip, "-n", "30M", "-J")
                        self.assertGreaterEqual(json.loads(out)["end"]["sum_received"]["bytes"], 20_000_000)  # the last of it may be cut off
                finally:
                    lab.down()

    def test_a_full_map(self):
        """What is in force stays so, what found no room is said, and room is used as soon as there is some."""
        self.lab.up("--most-rows", "64", "--family", "ipv4")
        server = netexec("p", node="node-1")
        server["metadata"]["labels"] = {"app": "p"}
        self.lab.kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": [server, shared.shell_pod("client", node="node-1")]}))
        self.lab.kubectl("wait", "--for=condition=Ready", "pod/p", "pod/client", "--timeout=120s", timeout=130)
        self.lab.kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": [
            shared.service(f"s-{i:02}", {"app": "p"}, [("http", 80, 8080, "TCP")]) for i in range(80)]}))
        address = {s["metadata"]["name"]: s["spec"]["clusterIP"] for s in json.loads(self.lab.kubectl("get", "svc", "-o", "json"))["items"]}
        ask = lambda name: self.lab.kubectl("exec", "client", "--", "curl", "-sS", "--max-time", "5", f"http://{address[name]}/hostname", check=False)  # noqa: E731

        def state():
            status = json.loads(self.lab.fairway("status", "-o", "json", check=False)[1])["node-1"]
            full = {e["object"].removeprefix("Service default/") for e in status["errors"] if "the old state stays in force" in e["reason"]}
            rows = json.loads(self.lab.fairway("show", "frontends", "-o", "json"))["node-1"]["rows"]
            served = {row[3].removeprefix("default/") for row in rows if row[3].startswith("default/s-") and row[6].endswith(":8080")}
            return served, full

        def is_said(services):
            served, full = state()
            return served and full and not served & full and served | full == services

        def expect_state(served, full):
            now = state()
            if now != (served, full):
                raise shared.Failed(f"served: {sorted(now[0])}, without room: {sorted(now[1])}; errors: {self.lab.fairway('status', check=False)}")
            return True
        eventually("each Service is served, or said to have no room", lambda: is_said(set(address) - {"kubernetes"}))
        code, out, _ = self.lab.fairway("status", check=False)
        self.assertEqual(code, 1)
        self.assertRegex(out, r"NOT HEALTHY(?s:.)*(frontends|svc_slots).*the old state stays in force")
        served, full = state()
        for name in (min(served), max(served)):
            self.assertEqual(ask(name)[:2], (0, "p"))
        self.assertNotEqual(ask(min(full))[0], 0)
        # A new agent finds the full map, and takes nobody's row for somebody else.
        old = self.lab.process("node-1", "agent")
        os.kill(old, signal.SIGKILL)
        eventually("the next agent says the same", lambda: self.lab.process("node-1", "agent") != old and expect_state(served, full))
        self.assertEqual(ask(min(served))[:2], (0, "p"))
        gone = set(sorted(served)[::2])
        self.lab.kubectl("delete", "svc", *sorted(gone))

        def room_is_used():
            now_served, now_full = state()
            return now_served | now_full == (served | full) - gone and now_served >= served - gone and len(now_full) <= max(0, len(full) - len(gone)) and now_served
        taken = eventually("others take the room", room_is_used) & full
        self.assertEqual(ask(max(taken))[:2], (0, "p"))

    def test_the_demo_without_kubectl(self):
        """fairway lab apply|get|exec|wait stand in for it, in the demo's own words."""
        with tempfile.TemporaryDirectory() as tools:
            for path in os.environ["PATH"].split(":"):
                for name in os.listdir(path) if os.path.isdir(path) else ():
                    if not name.startswith("kubectl") and not os.path.lexists(os.path.join(tools, name)):
                        os.symlink(os.path.join(path, name), os.path.join(tools, name))
            env = dict(self.lab.env, PATH=tools, FAIRWAY_BIN=shared.BIN)
            self.assertIsNone(shared.shutil.which("kubectl", path=tools))
            out = run([os.path.join(shared.ROOT, "examples/scenario/demo")], env=env, timeout=400)
        self.assertIn("There is no kubectl on this machine", out)
        self.assertIn("Welcome to nginx!", out)
        frontend = re.search(r"(?m)^frontend +1/1 +Running .* (10[.]244[.][0-9.]+) ", out).group(1)
        for node, where in (("node-1", "the same node|another node"), ("node-2", "the same node|another node")):
            self.assertRegex(out, rf"-> echo-{node} on ({where}): the server saw {re.escape(frontend)}:")
        self.assertIn("the same node", out)
        self.assertIn("another node", out)
        self.assertIn("backend -> itself by its Service: HTTP 200", out)
        eventually("its probes are gone", lambda: "echo-" not in self.lab.kubectl("get", "pods"))

    def test_wrong_use_is_told(self):
        for words, pattern in ((("--nodes", "0"), "from 1 to 200"), (("--family", "ipv5"), "ipv4, ipv6 or dual"), (("--datapath", "magic"), "auto, native or vxlan"), (("--most-rows", "3"), "most-rows"), (("--dns-upstream", "resolver"), "no ADDRESS or ADDRESS:PORT")):
            with self.subTest(words):
                code, _, err = self.lab.fairway("lab", "up", *words, check=False)
                self.assertNotEqual(code, 0)
                self.assertRegex(err, pattern)
        code, _, err = self.lab.fairway("lab", "status", check=False)
        self.assertNotEqual(code, 0)
        self.assertIn("fairway lab up", err)
        self.assertIsNone(re.search("terminate|Assertion", err))
