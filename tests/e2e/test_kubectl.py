"""kubectl against the lab as against any cluster: each command once in earnest, and the refusals with their words."""
import json
import os
import re
import select
import stat
import subprocess
import tempfile
import time
import urllib.request

from lab import ROOT, Case, Failed, LineReader, Terminal, deployment, eventually, netexec, pod, run, service

CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "labels": {"tier": "one"}}, "data": {"a": "1", "b": "2"}}


class Reading(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.start_pods(pod("one", labels={"app": "x"}, node="node-1"), pod("two", labels={"app": "y"}, node="node-1"))

    def test_output_forms(self):
        self.assertIn("name: one", self.k("get", "pod", "one", "-o", "yaml"))
        self.assertEqual(json.loads(self.k("get", "pod", "one", "-o", "json"))["kind"], "Pod")
        self.assertEqual(self.k("get", "pods", "-o", "name").split(), ["pod/one", "pod/two"])
        self.assertEqual(self.k("get", "pod", "one", "-o", "jsonpath={.spec.nodeName}"), "node-1")
        self.assertRegex(self.k("get", "pods", "-o", "custom-columns=N:.metadata.name"), r"N\s+one\s+two")
        self.assertRegex(self.k("get", "pods", "-o", "wide"), r"NOMINATED NODE")
        self.assertRegex(self.k("get", "pods", "--show-labels"), r"one .*app=x")
        self.assertRegex(self.k("get", "pods", "-L", "app"), r"(?m)^one .* y?x?$|APP")

    def test_all_namespaces(self):
        out = self.lab.kubectl("get", "pods", "-A")
        self.assertRegex(out.splitlines()[0], r"^NAMESPACE +NAME +READY")
        self.assertRegex(out, rf"(?m)^{self.ns} +one ")

    def test_selectors(self):
        self.assertEqual(self.k("get", "pods", "-l", "app=x", "-o", "name").split(), ["pod/one"])
        self.assertEqual(self.k("get", "pods", "-l", "app in (x,y),!z", "-o", "name").split(), ["pod/one", "pod/two"])
        self.assertEqual(self.k("get", "pods", "-l", "app!=x", "-o", "name").split(), ["pod/two"])
        self.assertEqual(self.k("get", "pods", "--field-selector", "metadata.name=two", "-o", "name").split(), ["pod/two"])
        self.assertEqual(self.k("get", "pods", "--field-selector", "spec.nodeName=node-1,status.phase=Running", "-o", "name").split(), ["pod/one", "pod/two"])
        self.assertEqual(self.k("get", "pods", "--sort-by=.metadata.name", "-o", "name").split(), ["pod/one", "pod/two"])

    def test_watch_shows_changes(self):
        watch = LineReader(self.lab.popen("get", "pods", "-w", "-o", "wide", ns=self.ns))
        self.addCleanup(watch.close)
        watch.expect(r"^two ")
        self.addCleanup(self.k, "delete", "pod", "late", "--now", "--wait=false", "--ignore-not-found", check=False)
        self.apply(pod("late"))
        watch.expect(r"^late +0/1 +(Pending|ContainerCreating)")
        watch.expect(r"^late +1/1 +Running")

    def test_describe(self):
        out = self.k("describe", "pod", "one")
        for words in ("Name:             one", "Node:             node-1/", "Status:           Running", "Restart Count:  0"):
            self.assertIn(words, out)
        self.assertRegex(out, r"Events:[\s\S]*(Started|Created|Pulled)")
        self.assertRegex(self.lab.kubectl("describe", "node", "node-1"), r"(?m)^\s+Ready\s+True ")

    def test_nodes(self):
        lines = self.lab.kubectl("get", "nodes", "-o", "wide").splitlines()
        self.assertRegex(lines[0], r"^NAME +STATUS +ROLES +AGE +VERSION +INTERNAL-IP")
        self.assertEqual(len(lines), self.lab.nodes + 1)
        for line in lines[1:]:
            self.assertRegex(line, r"^node-\d+ +Ready .* 172\.30\.")

    def test_not_found(self):
        self.assertRefused(self.k("get", "pod", "nobody", check=False), r'Error from server \(NotFound\): pods "nobody" not found')
        self.assertRefused(self.k("get", "unicorns", check=False), r'the server doesn\'t have a resource type "unicorns"')

    def test_discovery(self):
        out = self.lab.kubectl("api-resources")
        for kind in ("Pod", "Service", "EndpointSlice", "Deployment", "ReplicaSet", "DaemonSet", "Lease", "NetworkPolicy", "Ingress", "IngressClass",
                     "CustomResourceDefinition", "ConfigMap", "Secret", "ServiceAccount", "Event", "Endpoints", "Node", "Namespace"):
            with self.subTest(kind):
                self.assertRegex(out, rf"(?m) {kind}$")
        self.assertIn("apps/v1", self.lab.kubectl("api-versions"))
        self.assertRegex(self.lab.kubectl("version"), r"Server Version: v1\.\d+")
        self.assertRegex(self.lab.kubectl("cluster-info"), r"Kubernetes control plane.* is running at .*https://127\.0\.0\.1")
        self.assertEqual(self.k("auth", "can-i", "create", "pods").strip(), "yes")
        self.assertRegex(self.k("auth", "whoami"), r"Username +kubernetes-admin\n")
        self.assertIn("Fairway-DNS is running at", re.sub(r"\x1b\[[0-9;]*m", "", self.lab.kubectl("cluster-info")))

    def test_every_namespace_is_furnished(self):
        self.assertEqual(self.k("get", "sa", "default", "-o", "name").strip(), "serviceaccount/default")
        self.assertIn("BEGIN CERTIFICATE", self.k("get", "cm", "kube-root-ca.crt", "-o", "jsonpath={.data.ca\\.crt}"))


class Writing(Case):
    def setUp(self):
        self.k("delete", "cm", "settings", "--ignore-not-found")

    def data(self):
        return self.get("cm", "settings")["data"]

    def test_apply_thrice(self):
        self.assertIn("configmap/settings created", self.apply(CONFIG))
        self.assertIn("configmap/settings unchanged", self.apply(CONFIG))
        self.assertIn("configmap/settings configured", self.apply({**CONFIG, "data": {"a": "9"}}))
        self.assertEqual(self.data(), {"a": "9"})  # b was ours and is gone

    def test_create_twice(self):
        self.k("create", "cm", "settings", "--from-literal=a=1")
        self.assertRefused(self.k("create", "cm", "settings", check=False), r'configmaps "settings" already exists')

    def test_label_and_annotate(self):
        self.apply(CONFIG)
        self.assertIn("configmap/settings labeled", self.k("label", "cm", "settings", "color=red"))
        self.assertRefused(self.k("label", "cm", "settings", "color=blue", check=False), "already has a value")
        self.k("label", "cm", "settings", "color=blue", "--overwrite")
        self.k("label", "cm", "settings", "tier-")
        self.assertEqual(self.get("cm", "settings")["metadata"]["labels"], {"color": "blue"})
        self.k("annotate", "cm", "settings", "note=hello world")
        self.assertEqual(self.get("cm", "settings")["metadata"]["annotations"]["note"], "hello world")

    def test_patches_of_all_types(self):
        self.apply(CONFIG)
        self.k("patch", "cm", "settings", "--type=merge", "-p", '{"data":{"a":null,"c":"3"}}')
        self.assertEqual(self.data(), {"b": "2", "c": "3"})
        self.k("patch", "cm", "settings", "--type=json", "-p", '[{"op":"test","path":"/data/b","value":"2"},{"op":"replace","path":"/data/b","value":"x"}]')
        self.assertEqual(self.data(), {"b": "x", "c": "3"})
        self.k("patch", "cm", "settings", "-p", '{"data":{"d":"4"}}')
        self.assertEqual(self.data(), {"b": "x", "c": "3", "d": "4"})
        self.assertIn("(no change)", self.k("patch", "cm", "settings", "-p", '{"data":{"d":"4"}}'))
        self.assertRefused(self.k("patch", "cm", "settings", "--type=json", "-p", '[{"op":"test","path":"/data/b","value":"no"}]', check=False), "(?i)test")

    def test_strategic_patch_merges_lists_by_key(self):
        self.addCleanup(self.k, "delete", "deployment", "merge", "--wait=false", check=False)
        self.apply(deployment("merge", replicas=0))
        self.k("patch", "deployment", "merge", "-p", '{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"busybox"}]}}}}')
        names = [c["name"] for c in self.get("deployment", "merge")["spec"]["template"]["spec"]["containers"]]
        self.assertEqual(sorted(names), ["main", "side"])

    def test_server_side_apply_and_its_conflict(self):
        mine = json.dumps({**CONFIG, "data": {"a": "1"}})
        self.assertIn("serverside-applied", self.k("apply", "--server-side", "-f", "-", input=mine))
        theirs = json.dumps({**CONFIG, "data": {"a": "2"}})
        self.assertRefused(self.k("apply", "--server-side", "--field-manager=other", "-f", "-", input=theirs, check=False), r"conflict.*kubectl[\s\S]*\.data\.a")
        self.k("apply", "--server-side", "--field-manager=other", "--force-conflicts", "-f", "-", input=theirs)
        self.assertEqual(self.data(), {"a": "2"})

    def test_replace(self):
        self.apply(CONFIG)
        self.k("replace", "-f", "-", input=json.dumps({**CONFIG, "data": {"only": "this"}}))
        self.assertEqual(self.data(), {"only": "this"})
        self.k("replace", "--force", "-f", "-", input=json.dumps({**CONFIG, "data": {"new": "object"}}))
        self.assertEqual(self.data(), {"new": "object"})

    def test_stale_write_is_a_conflict(self):
        self.apply(CONFIG)
        old = self.get("cm", "settings")
        self.k("label", "cm", "settings", "x=y")
        self.assertRefused(self.k("replace", "-f", "-", input=json.dumps(old), check=False), "the object has been modified")

    def test_edit(self):
        self.apply(CONFIG)
        with tempfile.NamedTemporaryFile("w", suffix=".sh", delete=False) as editor:
            editor.write('#!/bin/sh\nsed -i \'s/a: "1"/a: edited/\' "$1"\n')
        self.addCleanup(os.unlink, editor.name)
        os.chmod(editor.name, stat.S_IRWXU)
        env = self.lab.env
        self.lab.env = {**env, "EDITOR": editor.name, "KUBE_EDITOR": editor.name}
        try:
            self.assertIn("configmap/settings edited", self.k("edit", "cm", "settings"))
        finally:
            self.lab.env = env
        self.assertEqual(self.data()["a"], "edited")

    def test_dry_run_writes_nothing(self):
        self.assertIn("(server dry run)", self.k("apply", "--dry-run=server", "-f", "-", input=json.dumps(CONFIG)))
        self.assertRefused(self.k("get", "cm", "settings", check=False), "NotFound")

    def test_diff(self):
        self.apply(CONFIG)
        code, out, _ = self.k("diff", "-f", "-", input=json.dumps({**CONFIG, "data": {"a": "5", "b": "2"}}), check=False)
        self.assertEqual(code, 1)
        self.assertRegex(out, r'(?m)^\+\s+a: "5"')

    def test_secrets(self):
        self.addCleanup(self.k, "delete", "secret", "s", "--ignore-not-found", check=False)
        self.k("create", "secret", "generic", "s", "--from-literal=key=value")
        self.assertEqual(self.get("secret", "s")["data"], {"key": "dmFsdWU="})


class Refusals(Case):
    """What Kubernetes refuses is refused, with its words."""

    def refuse(self, thing, pattern, *options):
        self.assertRefused(self.k("apply", *options, "-f", "-", input=json.dumps(thing), check=False), pattern)

    def test_bad_name(self):
        self.refuse({**CONFIG, "metadata": {"name": "Bad_Name"}}, r"(?s)is invalid: metadata\.name: Invalid value: \"Bad_Name\": a lowercase RFC 1123 subdomain")

    def test_missing_field(self):
        bad = pod("p")
        del bad["spec"]["containers"][0]["image"]
        bad["spec"]["containers"] = []
        self.refuse(bad, r"spec\.containers: Required value")

    def test_port_out_of_range(self):
        self.refuse(service("s", {"a": "b"}, [("x", 99999, 80, "TCP")]), r"spec\.ports\[0\]\.port: Invalid value: 99999: must be between 1 and 65535, inclusive")

    def test_a_volume_smaller_than_nothing(self):
        bad = pod("p", spec={"volumes": [{"name": "v", "emptyDir": {"sizeLimit": "-1Mi"}}]})
        self.refuse(bad, r"spec\.volumes\[0\]\.emptyDir\.sizeLimit: Forbidden: SizeLimit field must be a valid resource quantity")

    def test_unknown_field(self):
        bad = pod("p")
        bad["spec"]["colour"] = "red"
        self.refuse(bad, r'unknown field "spec\.colour"')
        code, _, err = self.k("apply", "--validate=warn", "--dry-run=server", "-f", "-", input=json.dumps(bad), check=False)
        self.assertEqual(code, 0)
        self.assertIn('Warning: unknown field "spec.colour"', err)

    def test_wrong_type(self):
        bad = deployment("d")
        bad["spec"]["replicas"] = "three"
        self.refuse(bad, r"(?i)replicas|cannot unmarshal|json: ")

    def test_cluster_ip_does_not_change(self):
        self.addCleanup(self.k, "delete", "svc", "fixed", "--ignore-not-found", check=False)
        self.apply(service("fixed", {"a": "b"}, [("x", 80, 80, "TCP")]))
        self.assertRefused(self.k("patch", "svc", "fixed", "-p", '{"spec":{"clusterIP":"10.96.77.77"}}', check=False), r"spec\.clusterIPs?(\[0\])?: Invalid value.*(field is immutable|may not change once set)")

    def test_selector_of_a_deployment_does_not_change(self):
        self.addCleanup(self.k, "delete", "deployment", "fixed", "--ignore-not-found", "--wait=false", check=False)
        self.apply(deployment("fixed", replicas=0))
        self.assertRefused(self.k("patch", "deployment", "fixed", "--type=merge", "-p", '{"spec":{"selector":{"matchLabels":{"app":"other"}}}}', check=False), r"(field is immutable|does not match template)")

    def test_what_a_lab_does_not_run(self):
        """Of manifests made for other clusters what can be is applied, and the rest is told with what to do instead."""
        self.addCleanup(self.lab.kubectl, "delete", "namespace", "shop", "--ignore-not-found", "--wait=false", check=False)
        code, out, err = self.lab.kubectl("apply", "-f", os.path.join(ROOT, "examples/shop"), check=False)
        self.assertEqual(code, 1)
        self.assertIn("deployment.apps/cart created", out)
        self.assertIn('statefulsets.apps "db" cannot be made: a lab runs no StatefulSets; use a Deployment', err)
        self.assertIn('cronjobs.batch "report" cannot be made: a lab runs no CronJobs; use a Pod', err)
        self.assertNotIn("CRDs", err)
        self.assertIn("No resources found", self.k("get", "statefulsets,cronjobs,pvc,roles", check=False)[2])
        self.assertIn('statefulsets.apps "db" cannot be made', self.lab.fairway("lab", "apply", "-f", os.path.join(ROOT, "examples/shop/workloads.yaml"), check=False)[2])
        self.refuse({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}},
                    'persistentvolumeclaims "data" cannot be made: a lab has no persistent volumes; use a volume of kind emptyDir or hostPath', "--server-side")

    def test_prune_knows_all_kinds_of_its_own_list(self):
        keep, go = ({**CONFIG, "metadata": {"name": name, "labels": {"prune": "me"}}} for name in ("keep", "go"))
        self.addCleanup(self.k, "delete", "cm", "-l", "prune=me", check=False)
        self.k("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": [keep, go]}))
        self.k("apply", "--prune", "-l", "prune=me", "-f", "-", input=json.dumps(keep))
        self.assertEqual(self.k("get", "cm", "-l", "prune=me", "-o", "name").split(), ["configmap/keep"])

    def test_unknown_kind_and_broken_text(self):
        self.refuse({"apiVersion": "v1", "kind": "Unicorn", "metadata": {"name": "u"}}, 'no matches for kind "Unicorn"')
        self.assertRefused(self.k("apply", "-f", "-", input="a: b: c: [", check=False), "(?i)error")

    def test_pod_spec_does_not_change(self):
        self.addCleanup(self.k, "delete", "pod", "still", "--now", "--wait=false", "--ignore-not-found", check=False)
        self.apply(pod("still"))
        self.assertRefused(self.k("patch", "pod", "still", "-p", '{"spec":{"nodeSelector":{"a":"b"}}}', check=False), r"pod updates may not change fields other than")


class Workloads(Case):
    """Deployments, ReplicaSets and DaemonSets as their users drive them."""

    def tearDown(self):
        self.k("delete", "deployment,daemonset,replicaset", "--all", "--wait=false", check=False)
        # The next test's have the same names and labels: it must not find these.
        eventually("nothing of it is left", lambda: not self.get("deployment,daemonset,replicaset,pod")["items"])

    def rolled_out(self, name="web", timeout=120):
        return self.k("rollout", "status", f"deployment/{name}", f"--timeout={timeout}s", timeout=timeout + 10)

    def test_scale_and_spread(self):
        self.apply(deployment("web", replicas=2))
        self.assertIn("successfully rolled out", self.rolled_out())
        self.assertEqual(len({p["spec"]["nodeName"] for p in self.get("pods", "-l", "app=web")["items"]}), 2)
        self.assertIn("deployment.apps/web scaled", self.k("scale", "deployment/web", "--replicas=4"))
        self.rolled_out()
        self.assertEqual(self.get("deployment", "web")["status"]["availableReplicas"], 4)
        self.assertRefused(self.k("scale", "deployment/web", "--current-replicas=9", "--replicas=1", check=False), "(?i)expected replicas to be 9")
        self.k("scale", "deployment/web", "--replicas=0")
        eventually("no pod is left", lambda: not self.get("pods", "-l", "app=web")["items"])
        self.assertRegex(self.k("describe", "deployment", "web"), r"ScalingReplicaSet[\s\S]*Scaled up replica set web-\w+ from 0 to 2")

    def test_restart_undo_and_history(self):
        self.apply(deployment("web", replicas=2))
        self.rolled_out()
        first = self.get("deployment", "web")["spec"]["template"]
        self.k("rollout", "restart", "deployment/web")
        self.rolled_out()
        self.k("set", "env", "deployment/web", "COLOUR=red")
        self.rolled_out()
        self.assertEqual(self.get("deployment", "web")["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "3")
        self.assertRegex(self.k("rollout", "history", "deployment/web"), r"(?m)^1 .*\n2 .*\n3 ")
        self.assertIn("rolled back", self.k("rollout", "undo", "deployment/web", "--to-revision=1"))
        self.rolled_out()
        web = self.get("deployment", "web")
        self.assertEqual(web["spec"]["template"]["spec"], first["spec"])
        self.assertEqual(web["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "4")
        self.assertEqual(len(self.get("rs", "-l", "app=web")["items"]), 3)

    def test_bad_image_does_not_take_the_old_pods(self):
        self.apply(deployment("web", replicas=2))
        self.rolled_out()
        self.k("patch", "deployment", "web", "-p", '{"spec":{"progressDeadlineSeconds":5}}')  # not before: good pods may take that long
        self.k("set", "image", "deployment/web", "main=no.such.registry.invalid/nothing:1")
        self.assertRefused(self.k("rollout", "status", "deployment/web", "--timeout=60s", check=False), "exceeded its progress deadline")
        self.assertGreaterEqual(self.get("deployment", "web")["status"]["availableReplicas"], 2)
        bad = eventually("the reason is told", lambda: [s["state"]["waiting"] for p in self.get("pods", "-l", "app=web")["items"]
                                                        for s in p["status"].get("containerStatuses", []) if "waiting" in s["state"]
                                                        and s["state"]["waiting"]["reason"] in ("ErrImagePull", "ImagePullBackOff")])
        self.assertTrue(bad[0].get("message"))

    def test_pause_and_resume(self):
        self.apply(deployment("web", replicas=1))
        self.rolled_out()
        self.k("rollout", "pause", "deployment/web")
        self.k("set", "env", "deployment/web", "X=1")
        time.sleep(1)  # a paused Deployment does nothing: there is no event of that to wait for
        self.assertEqual(len(self.get("rs", "-l", "app=web")["items"]), 1)
        self.k("rollout", "resume", "deployment/web")
        self.rolled_out()
        self.assertEqual(len(self.get("rs", "-l", "app=web")["items"]), 2)

    def test_recreate(self):
        self.apply(deployment("web", replicas=2, spec={"strategy": {"type": "Recreate"}}))
        self.rolled_out()
        old = {p["metadata"]["uid"] for p in self.get("pods", "-l", "app=web")["items"]}
        self.k("rollout", "restart", "deployment/web")
        self.rolled_out()
        self.assertFalse(old & {p["metadata"]["uid"] for p in self.get("pods", "-l", "app=web")["items"]})

    def test_a_deleted_pod_comes_again(self):
        self.apply(deployment("web", replicas=1))
        self.rolled_out()
        name = self.get("pods", "-l", "app=web")["items"][0]["metadata"]["name"]
        self.k("delete", "pod", name)
        self.rolled_out()
        self.assertNotEqual(self.get("pods", "-l", "app=web")["items"][0]["metadata"]["name"], name)

    def test_release_and_adoption(self):
        self.apply(deployment("web", replicas=1))
        self.rolled_out()
        name = self.get("pods", "-l", "app=web")["items"][0]["metadata"]["name"]
        self.addCleanup(self.k, "delete", "pod", name, "--now", "--wait=false", "--ignore-not-found", check=False)
        self.k("label", "pod", name, "app=free", "--overwrite")
        eventually("another takes its place", lambda: len(self.get("pods", "-l", "app=web")["items"]) == 1)
        eventually("it has no owner", lambda: not self.get("pod", name)["metadata"].get("ownerReferences"))
        self.k("label", "pod", name, "app=web", "--overwrite")
        eventually("one of the two goes", lambda: len([p for p in self.get("pods", "-l", "app=web")["items"] if "deletionTimestamp" not in p["metadata"]]) == 1)

    def test_cascading(self):
        for mode, survives in (("background", False), ("foreground", False), ("orphan", True)):
            with self.subTest(mode):
                self.apply(deployment("web", replicas=1))
                self.rolled_out()
                self.k("delete", "deployment", "web", f"--cascade={mode}")
                if survives:
                    time.sleep(1)  # nothing may happen
                    self.assertEqual(len(self.get("rs", "-l", "app=web")["items"]), 1)
                    self.assertEqual(len(self.get("pods", "-l", "app=web")["items"]), 1)
                    self.k("delete", "rs", "-l", "app=web")
                if mode == "foreground":
                    self.assertFalse(self.get("rs", "-l", "app=web")["items"])  # the command waited for them
                eventually("all is gone", lambda: not self.get("rs,pods", "-l", "app=web")["items"])

    def test_daemon_set(self):
        template = deployment("agent")["spec"]["template"]
        self.apply({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "agent"},
                    "spec": {"selector": {"matchLabels": {"app": "agent"}}, "template": template}})
        self.assertIn("successfully rolled out", self.k("rollout", "status", "ds/agent", "--timeout=120s", timeout=130))
        nodes = sorted(p["spec"]["nodeName"] for p in self.get("pods", "-l", "app=agent")["items"])
        self.assertEqual(nodes, [f"node-{i}" for i in range(1, self.lab.nodes + 1)])
        self.k("set", "env", "ds/agent", "X=1")
        self.assertIn("successfully rolled out", self.k("rollout", "status", "ds/agent", "--timeout=120s", timeout=130))
        for p in self.get("pods", "-l", "app=agent")["items"]:
            self.assertIn({"name": "X", "value": "1"}, p["spec"]["containers"][0]["env"])

    def test_wait(self):
        self.apply(deployment("web", replicas=1))
        self.assertIn("condition met", self.k("wait", "--for=condition=Available", "deployment/web", "--timeout=120s", timeout=130))
        self.assertIn("condition met", self.k("wait", "--for=jsonpath={.status.readyReplicas}=1", "deployment/web", "--timeout=60s"))
        self.assertRefused(self.k("wait", "--for=condition=Nonsense", "deployment/web", "--timeout=1s", check=False), "timed out waiting")


class Deletion(Case):
    def test_finalizers_hold(self):
        self.apply({**CONFIG, "metadata": {"name": "held", "finalizers": ["example.com/hold"]}})
        self.k("delete", "cm", "held", "--wait=false")
        self.assertIn("deletionTimestamp", self.get("cm", "held")["metadata"])
        self.k("patch", "cm", "held", "--type=json", "-p", '[{"op":"remove","path":"/metadata/finalizers"}]')
        eventually("it is gone", lambda: "NotFound" in self.k("get", "cm", "held", check=False)[2])

    def test_grace_period_is_the_containers_time(self):
        script = "trap 'echo asked; sleep 1; echo bye; exit 0' TERM; echo up; while :; do sleep 0.1; done"
        self.start_pods(pod("slow", image="busybox", command=("sh", "-c", script), spec={"terminationGracePeriodSeconds": 20}))
        logs = LineReader(self.lab.popen("logs", "-f", "slow", ns=self.ns))
        self.addCleanup(logs.close)
        logs.expect("up")
        start = time.monotonic()
        self.k("delete", "pod", "slow")
        self.assertLess(time.monotonic() - start, 15)
        logs.expect("asked")
        logs.expect("bye")

    def test_force(self):
        self.start_pods(pod("stubborn", image="busybox", command=("sh", "-c", "trap '' TERM; while :; do sleep 1; done"), spec={"terminationGracePeriodSeconds": 300}))
        start = time.monotonic()
        self.k("delete", "pod", "stubborn", "--force", "--grace-period=0")
        self.assertLess(time.monotonic() - start, 20)

    def test_a_namespace_goes_with_all_in_it(self):
        name = self.ns + "-sub"
        self.lab.kubectl("create", "namespace", name)
        for thing in (CONFIG, netexec("p"), service("s", {"a": "b"}, [("x", 80, 80, "TCP")]), deployment("d")):
            self.lab.kubectl("apply", "-f", "-", ns=name, input=json.dumps(thing))
        self.lab.kubectl("delete", "namespace", name, "--timeout=90s")
        self.assertRefused(self.lab.kubectl("get", "namespace", name, check=False), "NotFound")
        self.lab.kubectl("create", "namespace", name)
        self.addCleanup(self.lab.kubectl, "delete", "namespace", name, "--wait=false", check=False)
        self.assertEqual(json.loads(self.lab.kubectl("get", "pods,svc,deploy", "-o", "json", ns=name))["items"], [])


class Streams(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.start_pods(pod("sh", image="busybox", command=("sleep", "3600")), netexec("web"),
                       pod("talk", image="busybox", command=("sh", "-c", "i=0; while :; do echo line $i; i=$((i+1)); sleep 0.2; done")))

    def test_exit_codes_and_streams_apart(self):
        for code in (0, 1, 42, 255):
            self.assertEqual(self.k("exec", "sh", "--", "sh", "-c", f"exit {code}", check=False)[0], code)
        code, out, err = self.k("exec", "sh", "--", "sh", "-c", "echo out; echo err >&2", check=False)
        self.assertEqual((code, out, err), (0, "out\n", "err\n"))
        self.assertRefused(self.k("exec", "sh", "--", "no-such-program", check=False), "(?i)not found|no such file")

    def test_stdin_goes_in_whole(self):
        text = "".join(f"{i}\n" for i in range(200_000))
        self.assertEqual(self.k("exec", "-i", "sh", "--", "md5sum", input=text).split()[0], __import__("hashlib").md5(text.encode()).hexdigest())

    def test_a_client_that_is_killed_ends_its_command(self):
        """Also where the command takes no input and all on the way to it is full, so that nobody reads from the client any more."""
        for seconds, websockets in (("4321", "true"), ("4322", "false")):  # else SPDY
            with self.subTest(f"websockets={websockets}"):
                env = dict(self.lab.env, KUBECTL_REMOTE_COMMAND_WEBSOCKETS=websockets)
                argv = [self.lab.kubectl_path, "-n", self.ns, "exec", "-i", "sh", "--", "sleep", seconds]
                client = subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                self.addCleanup(client.kill)
                os.set_blocking(client.stdin.fileno(), False)
                runs = lambda: run(["pgrep", "-fx", f"sleep {seconds}"], check=False)[0] == 0  # noqa: E731
                eventually("its command runs", runs)
                while select.select([], [client.stdin], [], 2)[1]:
                    os.write(client.stdin.fileno(), b"x" * 4096)
                client.kill()
                client.wait()
                eventually("its command has ended", lambda: not runs(), timeout=10)

    def test_much_output_comes_out_whole(self):
        out = self.k("exec", "sh", "--", "sh", "-c", "seq 1 300000")
        self.assertEqual(out.splitlines()[-1], "300000")
        self.assertEqual(len(out.splitlines()), 300_000)

    def test_terminal_resize(self):
        shell = Terminal([self.lab.kubectl_path, "-n", self.ns, "exec", "-it", "sh", "--", "sh"], self.lab.env, rows=30, columns=100)
        shell.expect("[#$] ")
        shell.type("stty size\r")
        shell.expect("30 100")
        shell.resize(41, 123)

        def sees_it():
            shell.type("stty size\r")
            try:
                return shell.expect("41 123", timeout=1)
            except Failed:
                return None
        eventually("the new size arrives", sees_it)
        shell.type("exit 7\r")
        self.assertEqual(shell.end(), 7)

    def test_logs(self):
        self.assertRegex(self.k("logs", "talk"), r"^line 0\nline 1\n")
        self.assertEqual(len(self.k("logs", "talk", "--tail=2").splitlines()), 2)
        self.assertRegex(self.k("logs", "talk", "--timestamps", "--tail=1"), r"^\d{4}-\d\d-\d\dT[\d:.]+Z line \d+$")
        logs = LineReader(self.lab.popen("logs", "-f", "talk", "--tail=1", ns=self.ns))
        self.addCleanup(logs.close)
        first = int(logs.expect(r"^line \d+").split()[1])
        logs.expect(rf"^line {first + 5}$")
        self.assertRefused(self.k("logs", "talk", "-c", "nope", check=False), "container nope is not valid|not found")

    def test_port_forward(self):
        forward = LineReader(self.lab.popen("port-forward", "pod/web", ":8080", ns=self.ns))
        self.addCleanup(forward.close)
        port = re.search(r"127\.0\.0\.1:(\d+)", forward.expect("Forwarding from 127")).group(1)
        for _ in range(5):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/hostname", timeout=10) as answer:
                self.assertEqual(answer.read().decode().strip(), "web")

    def test_port_forward_to_a_service(self):
        self.k("label", "pod", "web", "pf=yes", "--overwrite")
        self.apply(service("front", {"pf": "yes"}, [("http", 80, "http", "TCP")]))
        forward = LineReader(self.lab.popen("port-forward", "svc/front", ":80", ns=self.ns))
        self.addCleanup(forward.close)
        port = re.search(r"127\.0\.0\.1:(\d+)", forward.expect("Forwarding from 127")).group(1)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/hostname", timeout=10) as answer:
            self.assertEqual(answer.read().decode().strip(), "web")


class CustomResources(Case):
    DEFINITION = {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "widgets.e2e.example.com"},
        "spec": {"group": "e2e.example.com", "scope": "Namespaced", "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "shortNames": ["wd"]},
                 "versions": [{"name": "v1", "served": True, "storage": True, "subresources": {"status": {}},
                               "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
                               "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                                   "spec": {"type": "object", "required": ["size"], "properties": {"size": {"type": "integer", "minimum": 1}}},
                                   "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}}}}]}}

    def setUp(self):
        self.addCleanup(self.lab.kubectl, "delete", "crd", "widgets.e2e.example.com", "--ignore-not-found", "--timeout=60s", check=False)
        self.apply(self.DEFINITION)
        self.lab.kubectl("wait", "--for=condition=Established", "crd/widgets.e2e.example.com", "--timeout=30s")

    def widget(self, name, size=3, **metadata):
        return {"apiVersion": "e2e.example.com/v1", "kind": "Widget", "metadata": {"name": name, **metadata}, "spec": {"size": size}}

    def test_life_of_a_custom_object(self):
        self.apply(self.widget("w"))
        self.assertRegex(self.k("get", "wd"), r"NAME +SIZE\s+w +3")
        self.k("patch", "widget", "w", "--type=merge", "-p", '{"spec":{"size":5}}')
        self.assertEqual(self.get("widget", "w")["spec"]["size"], 5)
        self.assertRefused(self.k("apply", "-f", "-", input=json.dumps(self.widget("bad", size=0)), check=False), r"spec\.size.*greater than or equal to 1")
        self.k("delete", "widget", "w")

    def test_dependents_are_collected(self):
        self.apply(self.widget("owner"))
        uid = self.get("widget", "owner")["metadata"]["uid"]
        reference = [{"apiVersion": "e2e.example.com/v1", "kind": "Widget", "name": "owner", "uid": uid}]
        self.apply({**CONFIG, "metadata": {"name": "owned", "ownerReferences": reference}})
        self.k("delete", "widget", "owner")
        eventually("its ConfigMap follows", lambda: "NotFound" in self.k("get", "cm", "owned", check=False)[2])


class Scheduling(Case):
    def test_no_node_fits_is_said(self):
        self.addCleanup(self.k, "delete", "pod", "choosy", "--now", "--wait=false", check=False)
        self.apply(pod("choosy", spec={"nodeSelector": {"no": "where"}}))
        message = eventually("the event", lambda: self.k("get", "events", "--field-selector", "involvedObject.name=choosy,reason=FailedScheduling", "-o", "jsonpath={.items[0].message}"))
        self.assertIn("node(s) didn't match Pod's node affinity/selector", message)
        node = "node-1"
        self.addCleanup(self.lab.kubectl, "label", "node", node, "no-", check=False)
        self.lab.kubectl("label", "node", node, "no=where")
        self.wait_ready("pod/choosy")

    def test_cordon_and_drain(self):
        node = f"node-{self.lab.nodes}"
        self.addCleanup(self.lab.kubectl, "uncordon", node, check=False)
        self.apply(deployment("web", replicas=2))
        self.k("rollout", "status", "deployment/web", "--timeout=120s", timeout=130)
        self.lab.kubectl("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=90s", f"--pod-selector=app=web")
        self.k("rollout", "status", "deployment/web", "--timeout=120s", timeout=130)
        self.assertNotIn(node, [p["spec"]["nodeName"] for p in self.get("pods", "-l", "app=web")["items"] if "deletionTimestamp" not in p["metadata"]])
        self.assertIn("SchedulingDisabled", self.lab.kubectl("get", "node", node))

    def test_taints(self):
        node = f"node-{self.lab.nodes}"
        self.addCleanup(self.lab.kubectl, "taint", "node", node, "e2e-", check=False)
        self.addCleanup(self.k, "delete", "pod", "--all", "--now", "--wait=false", check=False)
        self.lab.kubectl("taint", "node", node, "e2e=x:NoSchedule")
        affinity = {"nodeSelector": {"kubernetes.io/hostname": node}}
        self.apply(pod("kept-out", spec=affinity))
        self.start_pods(pod("let-in", spec={**affinity, "tolerations": [{"key": "e2e", "operator": "Exists"}]}))
        self.assertEqual(self.get("pod", "kept-out")["status"]["phase"], "Pending")
