"""What nobody should send, sent to the API server and to the CNI plugin of a running cluster. Each is told; none does harm."""
import json
import os
import re
import subprocess

from lab import BIN, Api, Case, endpoint_slice, eventually, netexec, pod, service, shell_pod

YAML = "application/yaml"


class ApiServer(Case):
    def setUp(self):
        self.api = Api(self.lab)
        self.addCleanup(self.api.close)
        self.server = self.lab.process(None, "server")
        self.maps = f"/api/v1/namespaces/{self.ns}/configmaps"

    def tearDown(self):
        self.assertEqual(self.lab.process(None, "server"), self.server, "the API server ended")
        self.assertEqual([c["metadata"]["name"] for c in self.get("cm")["items"] if c["metadata"]["name"] != "kube-root-ca.crt"], [])

    def refused(self, code, words, body, content_type="application/json", path=None):
        status, _, text = self.api.send("POST", path or self.maps, body, content_type)
        self.assertEqual(status, code, text[:300])
        answer = json.loads(text)
        self.assertEqual((answer["kind"], answer["status"], answer["code"]), ("Status", "Failure", code))
        self.assertRegex(answer["message"], words)

    def test_malformed_json(self):
        for body in (b"", b"{", b'{"metadata":{"name":"a"}}x', b"[]", b"null", b"7", b"\xff\xfe", b'{"metadata":{"name":"\xff"}}', b'{"metadata":{"name":"a"},}', b"\0" * 100):
            with self.subTest(body):
                self.refused(400, ".", body)

    def test_malformed_yaml(self):
        for body in (b"a: b: c: [", b"\t- x", b"a: [1", b"&a [*a]", b"- just\n- a list", b"%YAML 9.9\n---\n:", b"metadata: {name: a\n", b"!!binary x"):
            with self.subTest(body):
                self.refused(400, ".", body, YAML)
        bomb = b"a: &a [x,x,x,x,x,x,x,x,x,x]\n" + b"".join(b"%c: &%c [%s]\n" % (c, c, b",".join([b"*%c" % (c - 1)] * 10)) for c in range(ord("b"), ord("k")))
        self.refused(400, ".", bomb, YAML)

    def test_huge_objects(self):
        self.refused(422, "Too long: may not be more than 1048576 bytes", {"metadata": {"name": "huge"}, "data": {"k": "x" * 1_048_577}})
        self.refused(413, "too large: limit is", pod("huge", args=["x" * 1_600_000]), path=f"/api/v1/namespaces/{self.ns}/pods")
        self.refused(400, ".", b'{"metadata":{"name":"deep"},"data":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}")
        self.refused(400, ".", b"a: " + b"[" * 100_000, YAML)
        status, _, _ = Api(self.lab).send("POST", self.maps, b'{"metadata":{"name":"body"},"data":{"k":"' + b"x" * (3 << 20) + b'"}}')
        self.assertEqual(status, 413)
        # And what is just allowed is taken and given back whole.
        self.api.call("POST", self.maps, {"metadata": {"name": "big"}, "data": {"k": "x" * 1_048_576}})
        self.assertEqual(len(self.api.call("GET", f"{self.maps}/big")["data"]["k"]), 1_048_576)
        self.api.call("DELETE", f"{self.maps}/big")

    def test_wrong_types(self):
        for body in ({"metadata": {"name": 7}}, {"metadata": []}, {"metadata": {"name": "a"}, "data": {"k": 1}}, {"metadata": {"name": "a", "labels": {"x": True}}},
                     {"metadata": {"name": "a"}, "data": "text"}, {"metadata": {"name": "a"}, "binaryData": {"k": "not base64!"}}):
            with self.subTest(body):
                self.refused(400, "(?i)json|base64|cannot unmarshal|illegal", body)
        services = f"/api/v1/namespaces/{self.ns}/services"
        for port in ("80", 80.5, None, [80], 1 << 40):
            with self.subTest(port):
                status, _, text = self.api.send("POST", services, {"metadata": {"name": "s"}, "spec": {"ports": [{"port": port}]}})
                self.assertIn(status, (400, 422), text[:300])
        self.refused(400, "(?i)kind", {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "a"}})

    def validate(self, mode, body, content_type="application/json"):
        status, headers, text = self.api.send("POST", f"{self.maps}?fieldValidation={mode}&dryRun=All", body, content_type)
        return status, headers.get_all("Warning") or [], json.loads(text)

    def test_unknown_fields_and_duplicate_keys(self):
        forms = ((b'{"metadata":{"name":"c","nme":"x"},"dat":{},"data":{"a":"1","a":"2"}}', "application/json"),
                 (b"metadata: {name: c, nme: x}\ndat: {}\ndata:\n  a: '1'\n  a: '2'\n", YAML))
        words = ('unknown field "metadata.nme"', 'unknown field "dat"', 'duplicate field "data.a"|key "a" already set')
        for body, form in forms:
            with self.subTest(form):
                status, _, answer = self.validate("Strict", body, form)
                self.assertEqual(status, 400)
                for each in words:
                    self.assertRegex(answer["message"], each)
                status, warnings, answer = self.validate("Warn", body, form)
                self.assertEqual((status, answer["data"]), (201, {"a": "2"}))
                for each in words:
                    self.assertRegex("\n".join(warnings).replace('\\"', '"'), each)
                status, warnings, answer = self.validate("Ignore", body, form)
                self.assertEqual((status, warnings), (201, []))
                self.assertNotIn("dat", answer)
        self.assertEqual(self.validate("Sometimes", forms[0][0])[0], 422)

    def test_strict_and_warn_of_kubectl(self):
        wrong = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {}, "colour": "red"}
        self.assertRefused(self.k("create", "--dry-run=server", "--validate=strict", "-f", "-", input=json.dumps(wrong), check=False), 'unknown field "colour"')
        code, _, err = self.k("create", "--dry-run=server", "--validate=warn", "-f", "-", input=json.dumps(wrong), check=False)
        self.assertEqual(code, 0)
        self.assertIn('Warning: unknown field "colour"', err)

    def test_bad_requests(self):
        for method, path, code in (("POST", "/api/v1/namespaces/%00/configmaps", (400, 404)), ("GET", "/api/v1/../../etc/passwd", (400, 404)), ("GET", "/api/v1/pods?limit=-1", (400,)),
                                   ("GET", "/api/v1/pods?watch=1&resourceVersion=abc", (400,)), ("GET", f"{self.maps}?labelSelector=%21%21%21", (400,)),
                                   ("GET", f"{self.maps}?fieldSelector=spec.colour%3Dred", (400,)), ("GET", f"{self.maps}?continue=garbage", (400, 410)),
                                   ("PATCH", f"{self.maps}/kube-root-ca.crt", (400, 415)), ("BREW", self.maps, (400, 405, 501))):
            with self.subTest(f"{method} {path}"):
                status, _, text = self.api.send(method, path, b"{}")
                self.assertIn(status, code, text[:300])

    def test_faults_are_the_admins_alone(self):
        self.start_pods(pod("nobody", image="nicolaka/netshoot", command=("sleep", "600")))
        code, _, _ = self.sh("nobody", "curl -sS -k --max-time 10 -f -H \"Authorization: Bearer $(cat /var/run/secrets/kubernetes.io/serviceaccount/token)\" "
                             "-X POST -d '{\"refuse\":1000}' https://kubernetes.default.svc/debug/faults", check=False)
        self.assertEqual(code, 22)  # curl: the server answered 400 or more
        self.assertEqual(self.api.send("GET", self.maps)[0], 200)


class CniPlugin(Case):
    """The plugin and the agent of a running node; the plugin's own tests are tests/netns/cni_test.cc."""
    own_namespace = False

    def plugin(self, stdin, **environment):
        node = "node-1"
        run_dir = f"{self.lab.dir}/nodes/{node}"
        self.config = {"cniVersion": "1.1.0", "name": "fairway", "type": "fairway-cni", "agentSocket": f"{run_dir}/run/agent.sock", "spoolDir": f"{run_dir}/state/cni-spool"}
        env = {"PATH": os.environ["PATH"], "CNI_COMMAND": "ADD", "CNI_CONTAINERID": "bad-input", "CNI_NETNS": "/run/netns/fw-outside", "CNI_IFNAME": "eth9", "CNI_PATH": BIN, **environment}
        done = subprocess.run(["nsenter", f"--net=/run/netns/fw-{node}", os.path.join(BIN, "fairway-cni")], env=env, capture_output=True, timeout=60,
                              input=stdin if isinstance(stdin, bytes) else json.dumps({**self.config, **stdin}).encode())
        return done.returncode, json.loads(done.stdout)

    def test_garbage_on_stdin(self):
        agent = self.lab.process("node-1", "agent")
        for stdin, code in ((b"", 6), (b"\xff\x00garbage", 6), (b"{", 6), (b"[]", 6), (b"[" * 100_000, 6), (b" " * (4 << 20), 6), (os.urandom(65536), 6),
                            ({"cniVersion": "9.9.9"}, 1), ({"name": "../../x"}, 7), ({"ipam": 7, "runtimeConfig": {"ips": ["not an address"]}}, 7), ({"agentSocket": "relative"}, 7)):
            with self.subTest(stdin[:20] if isinstance(stdin, bytes) else stdin):
                returned, error = self.plugin(stdin)
                self.assertEqual((returned, error["code"]), (1, code), error)
                self.assertTrue(error["msg"])
        for environment in ({"CNI_NETNS": "/etc/passwd"}, {"CNI_IFNAME": "../eth0"}, {"CNI_CONTAINERID": "a/b"}, {"CNI_COMMAND": "MUL"}):
            with self.subTest(environment):
                self.assertEqual(self.plugin({}, **environment)[0], 1)
        self.assertEqual(self.lab.process("node-1", "agent"), agent, "the agent ended")
        self.assertNotIn("eth9", self.lab.outside("ip", "-o", "link"))


class BadSlices(Case):
    """CVE-2021-25740: a slice may not lead to loopback, link-local, or another namespace's pods."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        other = cls.ns + "-other"
        cls.lab.kubectl("create", "namespace", other)
        cls.addClassCleanup(cls.lab.kubectl, "delete", "namespace", other, "--wait=false", check=False)
        cls.lab.kubectl("apply", "-f", "-", ns=other, input=json.dumps(netexec("private")))
        cls.lab.kubectl("wait", "--for=condition=Ready", "pod/private", "--timeout=120s", ns=other, timeout=130)
        cls.private = json.loads(cls.lab.kubectl("get", "pod", "private", "-o", "json", ns=other))["status"]["podIP"]
        cls.start_pods(netexec("own"), shell_pod("client"))

    def serves(self, name, address):
        self.apply(service(name, None, [("http", 80, 8080, "TCP")]), endpoint_slice(name, [address]))

    def test_loopback_link_local_and_the_like_are_refused(self):
        for address, words in (("127.0.0.1", "loopback"), ("169.254.169.254", "link-local"), ("224.0.0.1", "multicast"), ("0.0.0.0", "unspecified"), ("not-an-address", "(?i)valid IP")):
            with self.subTest(address):
                self.assertRefused(self.k("apply", "-f", "-", input=json.dumps(endpoint_slice("bad", [address])), check=False), words)

    def test_another_namespaces_pod_is_not_served(self):
        self.serves("mine", self.ip_of("own"))  # the same way leads to one's own pod
        self.serves("foreign", self.private)
        ask = lambda name: self.sh("client", f"curl -sS --max-time 2 http://{self.get('svc', name)['spec']['clusterIP']}/hostname", check=False)  # noqa: E731
        eventually("one's own is served", lambda: ask("mine")[:2] == (0, "own"))
        eventually("the foreign one is known", lambda: all("foreign" in rows for rows in self.frontends().values()))
        self.assertEqual({rows["foreign"][1] for rows in self.frontends().values()}, {""})
        self.assertNotEqual(ask("foreign")[0], 0)
        self.assertEqual(self.sh("client", f"curl -sS --max-time 5 http://{self.private}:8080/hostname").strip(), "private")  # it is there, and listens
        for node, status in json.loads(self.lab.fairway("status", "-o", "json")).items():
            self.assertTrue(any(re.search(rf"{re.escape(self.private)}.*namespace", e["reason"]) for e in status["errors"]), f"{node}: {status['errors']}")
