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
        eventually("its BPF programs and links are gone", lambda: not (bpf_objects() - self.before), timeout=20)

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
        supervisors = [int(p) for p in os.listdir("/proc") if p.isdigit() and self.is_supervisor(p)]
        self.assertTrue(supervisors)
        for pid in [p for p in supervisors + victims if p > 1]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it went with its supervisor
        self.lab.fairway("lab", "down")
        self.assertNothingLeft()

    def is_supervisor(self, pid):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                words = f.read().split(b"\0")
        except OSError:
            return False
        return b"lab-supervisor" in words and self.lab.dir.encode() in words

    def test_up_after_a_crash(self):
        self.lab.up()
        for pid in [int(p) for p in os.listdir("/proc") if p.isdigit() and self.is_supervisor(p)]:
            os.kill(pid, signal.SIGKILL)
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

    def test_wrong_use_is_told(self):
        for words, pattern in ((("--nodes", "0"), "from 1 to 200"), (("--family", "ipv5"), "ipv4, ipv6 or dual"), (("--datapath", "magic"), "auto, native or vxlan")):
            with self.subTest(words):
                code, _, err = self.lab.fairway("lab", "up", *words, check=False)
                self.assertNotEqual(code, 0)
                self.assertRegex(err, pattern)
        code, _, err = self.lab.fairway("lab", "status", check=False)
        self.assertNotEqual(code, 0)
        self.assertIn("fairway lab up", err)
        self.assertIsNone(re.search("terminate|Assertion", err))
