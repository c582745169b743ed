"""Containers as a pod's author expects them: environment, files, probes, restarts, and what is said when an image is not to be had."""
import json

from lab import Case, Terminal, eventually, netexec, pod


class Containers(Case):
    def run_pod(self, name, script, **options):
        """A pod that runs a shell script to its end; its log."""
        options.setdefault("spec", {})["restartPolicy"] = "Never"
        self.apply(pod(name, image="busybox", command=("sh", "-c", script), **options))
        eventually(f"{name} has ended", lambda: self.get("pod", name)["status"].get("phase") in ("Succeeded", "Failed"), timeout=120)
        return self.k("logs", name)

    def test_environment_arguments_and_working_directory(self):
        env = [{"name": "PLAIN", "value": "x"}, {"name": "REF", "value": "$(PLAIN)-y"},
               {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
               {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
               {"name": "FROM_MAP", "valueFrom": {"configMapKeyRef": {"name": "env", "key": "k"}}}]
        self.k("create", "cm", "env", "--from-literal=k=mapped")
        out = self.run_pod("env", "echo $PLAIN $REF $POD_IP $NODE $FROM_MAP $KUBERNETES_SERVICE_HOST; pwd; hostname", container={"env": env, "workingDir": "/tmp"}).split("\n")
        words = out[0].split()
        self.assertEqual(words[:2], ["x", "x-y"])
        self.assertEqual(words[2], self.ip_of("env"))
        self.assertEqual(words[3], self.get("pod", "env")["spec"]["nodeName"])
        self.assertEqual(words[4:], ["mapped", "10.96.0.1"])
        self.assertEqual(out[1:3], ["/tmp", "env"])

    def test_a_limit_that_is_not_set_is_the_nodes(self):
        def ref(resource):
            return {"resourceFieldRef": {"resource": resource, "containerName": "main", "divisor": "1"}}
        env = [{"name": "MEMORY", "valueFrom": ref("limits.memory")}, {"name": "CPU", "valueFrom": ref("limits.cpu")}]
        spec = {"volumes": [{"name": "d", "downwardAPI": {"items": [{"path": "memory", "resourceFieldRef": ref("limits.memory")["resourceFieldRef"]}]}}]}
        out = self.run_pod("unlimited", "echo $MEMORY $CPU; cat /d/memory", spec=spec, container={"env": env, "volumeMounts": [{"name": "d", "mountPath": "/d"}]})
        node = json.loads(self.lab.kubectl("get", "node", self.get("pod", "unlimited")["spec"]["nodeName"], "-o", "json"))["status"]["allocatable"]
        memory = str(int(node["memory"].removesuffix("Ki")) * 1024)
        self.assertEqual(out.split(), [memory, node["cpu"], memory])

    def test_volumes(self):
        self.k("create", "cm", "files", "--from-literal=a.txt=hello")
        self.k("create", "secret", "generic", "keys", "--from-literal=key=s3cret")
        spec = {"volumes": [{"name": "m", "configMap": {"name": "files"}}, {"name": "s", "secret": {"secretName": "keys"}}, {"name": "e", "emptyDir": {}}],
                "initContainers": [{"name": "first", "image": "busybox", "command": ["sh", "-c", "echo before >/scratch/f"], "volumeMounts": [{"name": "e", "mountPath": "/scratch"}]}]}
        mounts = [{"name": "m", "mountPath": "/m"}, {"name": "s", "mountPath": "/s"}, {"name": "e", "mountPath": "/scratch"}]
        out = self.run_pod("files", "cat /m/a.txt; echo; cat /s/key; echo; cat /scratch/f", spec=spec, container={"volumeMounts": mounts})
        self.assertEqual(out.split(), ["hello", "s3cret", "before"])

    def test_hosts_file(self):
        out = self.run_pod("hosts", "cat /etc/hosts", spec={"hostAliases": [{"ip": "192.0.2.1", "hostnames": ["alias.test"]}]})
        self.assertRegex(out, rf"(?m)^{self.ip_of('hosts')}\s+hosts$")
        self.assertRegex(out, r"(?m)^192\.0\.2\.1\s+alias\.test$")

    def test_restart_policy_and_back_off(self):
        self.apply(pod("crash", image="busybox", command=("sh", "-c", "echo run; exit 3")))
        eventually("it is started again", lambda: self.get("pod", "crash")["status"]["containerStatuses"][0]["restartCount"] >= 1)
        status = eventually("it waits", lambda: next((s for s in self.get("pod", "crash")["status"]["containerStatuses"] if "waiting" in s["state"]), None))
        self.assertEqual(status["state"]["waiting"]["reason"], "CrashLoopBackOff")
        self.assertEqual(status["lastState"]["terminated"]["exitCode"], 3)
        self.assertIn("CrashLoopBackOff", self.k("get", "pods"))
        self.assertEqual(self.k("logs", "crash", "--previous").strip(), "run")

    def test_failed_pod_tells_its_exit_code(self):
        self.run_pod("fails", "exit 7")
        status = self.get("pod", "fails")["status"]
        self.assertEqual((status["phase"], status["containerStatuses"][0]["state"]["terminated"]["exitCode"]), ("Failed", 7))

    def test_liveness_probe_starts_again(self):
        probe = {"livenessProbe": {"exec": {"command": ["test", "-e", "/tmp/alive"]}, "periodSeconds": 1, "failureThreshold": 1}}
        self.start_pods(pod("live", image="busybox", command=("sh", "-c", "touch /tmp/alive; sleep 4; rm /tmp/alive; sleep 600"), container=probe))
        eventually("it is killed and started again", lambda: self.get("pod", "live")["status"]["containerStatuses"][0]["restartCount"] >= 1)
        self.assertRegex(self.k("describe", "pod", "live"), r"Unhealthy[\s\S]*Liveness probe failed")

    def test_a_ready_pod_has_no_old_reason(self):
        self.start_pods(netexec("ready"))
        conditions = self.get("pod", "ready")["status"]["conditions"]
        self.assertEqual([c for c in conditions if "reason" in c or "message" in c], [])

    def test_events_are_told_in_their_order(self):
        self.run_pod("story", "true")
        reasons = [line.split()[1] for line in self.k("describe", "pod", "story").split("Events:", 1)[1].splitlines()[3:] if line.strip()]
        self.assertEqual(reasons[:5], ["Scheduled", "Pulling", "Pulled", "Created", "Started"])

    def test_http_and_tcp_readiness(self):
        probes = [{"httpGet": {"path": "/hostname", "port": 8080}}, {"tcpSocket": {"port": 8080}}]
        self.start_pods(*[pod(f"probe-{i}", args=("netexec", "--http-port=8080"), container={"readinessProbe": {**p, "periodSeconds": 1}}) for i, p in enumerate(probes)])
        self.apply(pod("never", args=("pause",), container={"readinessProbe": {"tcpSocket": {"port": 9}, "periodSeconds": 1}}))
        eventually("it runs", lambda: self.get("pod", "never")["status"].get("phase") == "Running")
        self.assertIn("0/1", self.k("get", "pod", "never"))

    def test_unknown_image_is_told_and_not_a_hang(self):
        self.apply(pod("nope", image="registry.invalid/no/such:1"))
        waiting = eventually("the reason", lambda: next((s["state"]["waiting"] for s in self.get("pod", "nope")["status"].get("containerStatuses", [])
                                                         if s["state"].get("waiting", {}).get("reason") in ("ErrImagePull", "ImagePullBackOff")), None))
        self.assertTrue(waiting["message"])
        self.assertRegex(self.k("get", "pods"), r"nope +0/1 +(ErrImagePull|ImagePullBackOff)")
        self.assertIn("registry.invalid/no/such:1", self.k("describe", "pod", "nope"))

    def test_a_fork_bomb_ends_at_its_own_limit(self):
        """Bounded here by its script, so that the test harms nobody where the limit is missing."""
        self.start_pods(pod("neighbour", args=("netexec", "--http-port=8080"), node="node-1"))
        out = self.run_pod("bomb", "n=0; while [ $n -lt 2500 ]; do sleep 300 & n=$((n+1)); echo $n; done; echo never stopped", spec={"nodeName": "node-1"})
        self.assertNotIn("never stopped", out)
        self.assertIn("can't fork", out)
        started = max(int(line) for line in out.split() if line.isdigit())
        self.assertGreater(started, 500)
        self.assertLess(started, 1024)
        self.assertEqual(self.get("pod", "bomb")["status"]["phase"], "Failed")
        self.assertEqual(self.sh("neighbour", "echo alive").strip(), "alive")

    def test_catalogue(self):
        images = {"nginx": "nginx -v", "curlimages/curl": "curl --version", "busybox": "busybox true", "alpine": "true", "debian": "true",
                  "nicolaka/netshoot": "ip -V"}
        names = {image: f"image-{i}" for i, image in enumerate(images)}
        self.start_pods(*[pod(names[i], image=i, command=("sleep", "600")) for i in images], timeout=180)
        for image, command in images.items():
            with self.subTest(image):
                self.sh(names[image], command)

    def test_host_network(self):
        self.start_pods(pod("host", args=("pause",), spec={"hostNetwork": True, "nodeName": "node-1"}))
        self.assertEqual(self.get("pod", "host")["status"]["podIP"], self.lab.node_ip("node-1"))

    def test_two_containers_share_the_network(self):
        two = pod("two", args=("netexec", "--http-port=8080"))
        two["spec"]["containers"].append({"name": "side", "image": "curlimages/curl", "command": ["sleep", "600"]})
        self.start_pods(two)
        self.assertEqual(self.sh("two", "curl -sS --max-time 5 http://127.0.0.1:8080/hostname", container="side").strip(), "two")


class Debug(Case):
    """kubectl debug: a container that comes later, beside those that run, in their network."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.start_pods(netexec("web", http=8080))

    def ephemeral(self, name):
        return next((s for s in self.get("pod", "web")["status"].get("ephemeralContainerStatuses", []) if s["name"] == name), {})

    def test_a_shell_in_the_pods_network(self):
        shell = Terminal([self.lab.kubectl_path, "-n", self.ns, "debug", "-it", "web", "--image=busybox", "-c", "look", "--profile=general", "--", "sh"], self.lab.env)
        shell.expect("pressing enter|[#$] ")
        shell.type("\r")
        shell.expect("[#$] ")
        shell.type("wget -qO- localhost:8080/hostname; echo\r")
        shell.expect("web")
        shell.type("exit 4\r")
        shell.end()
        state = eventually("its exit is told", lambda: self.ephemeral("look").get("state", {}).get("terminated"))
        self.assertEqual(state["exitCode"], 4)
        self.assertEqual((self.ephemeral("look")["restartCount"], self.get("pod", "web")["status"]["phase"]), (0, "Running"))

    def test_a_target_shows_its_processes(self):
        self.k("debug", "web", "--image=busybox", "-c", "ps", "--target=main", "--profile=general", "--", "ps")
        eventually("it has run", lambda: "terminated" in self.ephemeral("ps").get("state", {}))
        self.assertRegex(self.k("logs", "web", "-c", "ps"), r"(?m)^ *1 .*netexec")

    def test_a_pod_with_a_debugger_ends_in_time(self):
        self.start_pods(netexec("short", spec={"terminationGracePeriodSeconds": 1}))
        self.k("debug", "short", "--image=busybox", "-c", "sleeper", "--profile=general", "--", "sleep", "3600")
        eventually("the debugger runs", lambda: "running" in (self.get("pod", "short")["status"].get("ephemeralContainerStatuses") or [{"state": {}}])[0]["state"])
        self.k("delete", "pod", "short", timeout=30)
