#!/usr/bin/python3
"""The gateway of the real operator on a real kube-apiserver: pods as objects, their real tokens, curl and openssl."""
import contextlib
import hashlib
import http.client
import json
import signal
import ssl
import subprocess
import time
import unittest

from harness import Answer, digest_of, free_port, openssl_verifies, records, wait_for, write_yaml
from test_cluster import Api, apply, control, get, kubectl

AUDIENCE = "signet.dev"
IMAGE = "sha256:" + "1" * 64
OTHER_IMAGE = "sha256:" + "2" * 64


class Connection:
    """A keep-alive client that trusts the published authority alone."""

    def __init__(self, port, ca, token=None):
        self.token = token
        self.connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=ssl.create_default_context(cadata=ca))

    def call(self, method, target, body=None, headers=None, token=None):
        sent = {"Content-Type": "application/json"} if body is not None else {}
        if token or self.token:
            sent["Authorization"] = f"Bearer {token or self.token}"
        self.connection.request(method, target, body=json.dumps(body) if isinstance(body, dict) else body, headers={**sent, **(headers or {})})
        response = self.connection.getresponse()
        return Answer(response.status, dict(response.getheaders()), response.read())

    def sign(self, policy, message=b"hello", **kw):
        return self.call("POST", "/v1/sign", {"policy": policy, "digest": digest_of(message)}, **kw)

    def certificate(self):
        if self.connection.sock is None:
            self.connection.connect()
        return hashlib.sha256(self.connection.sock.getpeercert(True)).hexdigest()

    def close(self):
        self.connection.close()


class GatewayCase(Api):
    def setUp(self):
        super().setUp()
        for account in ("builder", "other"):
            kubectl("create", "serviceaccount", account, "-n", self.ns)
        self.gates = {}

    def pod(self, name="job-1", account="builder", image="app"):
        """An object is enough: nobody has to run it."""
        made = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": self.ns},
                "spec": {"serviceAccountName": account, "automountServiceAccountToken": False, "restartPolicy": "Never",
                         "containers": [{"name": "main", "image": image}, {"name": "signet-sidecar", "image": image}]}}

        def attempt():  # the namespace's default account may still be on its way
            return kubectl("create", "-f", "-", data=json.dumps(made), check=False).returncode == 0
        wait_for("the pod to be accepted", attempt, 30, interval=0.2)
        return get("pod", name, self.ns)

    def set_status(self, name, statuses):
        pod = get("pod", name, self.ns)
        pod["status"]["containerStatuses"] = statuses
        kubectl("replace", "--raw", f"/api/v1/namespaces/{self.ns}/pods/{name}/status", "-f", "-", data=json.dumps(pod))

    @staticmethod
    def status_of(name, image="", exit_code=None):
        state = {"running": {}} if exit_code is None else {"terminated": {"exitCode": exit_code}}
        return {"name": name, "image": "i", "imageID": image and f"registry.example.com/i@{image}", "ready": True, "restartCount": 0, "state": state}

    def bearer(self, pod=None, account="builder", audience=AUDIENCE):
        spec = {"audiences": [audience], "expirationSeconds": 600}
        if pod:
            spec["boundObjectRef"] = {"kind": "Pod", "apiVersion": "v1", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
        asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        done = kubectl("create", "--raw", f"/api/v1/namespaces/{self.ns}/serviceaccounts/{account}/token", "-f", "-", data=json.dumps(asked))
        return json.loads(done.stdout)["status"]["token"]

    def ca(self):
        return get("configmap", "signet-gateway-ca", "signet-system")["data"]["ca.crt"]

    def connect(self, name="operator", token=None, ca=None):
        made = Connection(self.gates[name], ca or self.ca(), token)
        self.addCleanup(made.close)
        return made

    def start_gateway(self, token, name="operator", extra=(), **kw):
        port = self.gates.setdefault(name, free_port())
        if "--gateway-drain-delay" not in extra:
            extra = ("--gateway-drain-delay", "0", *extra)
        operator = self.run_operator(token, extra=("--gateway", f"127.0.0.1:{port}", *extra), name=name, webhook=False, **kw)
        wait_for("the gateway to be ready", lambda: self.is_ready(operator, name), 60, interval=0.1)
        return operator

    def is_ready(self, operator, name):
        if not operator.running():
            raise AssertionError(f"ended with {operator.child.returncode}; log:\n{operator.tail()}")
        with contextlib.suppress(OSError, TypeError, http.client.HTTPException):
            return self.connect(name).call("GET", "/readyz").status == 200
        return False

    def serving(self, policy="release", extra=(), **spec):
        """An operator with one policy whose key is ready."""
        operator = self.start_gateway(self.token(), extra=extra)
        apply(self.policy(policy, **spec))
        self.policy_ready(policy)
        return operator

    def until(self, ask, status, seconds=10):
        """The first answer of that status; the last one is told when it does not come."""
        last = None
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            last = ask()
            if last.status == status:
                return last
            time.sleep(0.1)
        raise AssertionError(f"waited {seconds} s for {status}; the last answer: {last.status} {last.body}")

    def assert_problem(self, answer, status, code):
        self.assertEqual((answer.status, answer.json()["code"]), (status, code), answer.body)
        self.assertEqual("Retry-After" in answer.headers, status in (429, 503))


class Signing(GatewayCase):
    def curl(self, *args):
        ca = self.folder / "ca.crt"
        ca.write_text(self.ca())
        done = subprocess.run(["curl", "-sS", "--fail-with-body", "--max-time", "30", "--cacert", str(ca), *args], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr + done.stdout)
        return done.stdout

    def test_a_pod_signs_with_curl_and_openssl_verifies(self):
        operator = self.serving()
        pod = self.pod()
        url = f"https://127.0.0.1:{self.gates['operator']}"
        auth = ["-H", f"Authorization: Bearer {self.bearer(pod)}"]
        policy = f"release-{self.id}"
        signed = json.loads(self.curl(*auth, "-H", "Content-Type: application/json", f"{url}/v1/sign", "-d",
                                      json.dumps({"policy": policy, "digest": digest_of(b"hello")})))
        pem = self.curl(*auth, f"{url}/v1/keys/{policy}")
        self.assertTrue(openssl_verifies(self.folder, pem, self.b64(signed["signature"]), b"hello", "sha256", []))
        self.assertEqual([key["policy"] for key in json.loads(self.curl(*auth, f"{url}/v1/keys"))["keys"]], [policy])
        intent = next(line for line in records(operator.audit) if line["type"] == "intent")
        self.assertEqual(intent["door"], "gateway")
        self.assertEqual(intent["principal"], self.user)
        self.assertEqual((intent["pod"]["name"], intent["pod"]["namespace"], intent["pod"]["uid"]), ("job-1", self.ns, pod["metadata"]["uid"]))
        self.assertEqual(intent["identity"], "tokenReview")
        log = operator.log.read_text()
        self.assertNotIn(self.bearer(pod)[:40], log)
        self.assertEqual(operator.stop(), 0)
        self.assert_pairs(operator.audit, [(signed["record"], self.b64(signed["signature"]))])

    def test_a_lost_answer_is_given_again(self):
        operator = self.serving()
        gate = self.connect(token=self.bearer(self.pod()))
        policy = f"release-{self.id}"
        first = gate.sign(policy, headers={"Idempotency-Key": "k1"})
        again = gate.sign(policy, headers={"Idempotency-Key": "k1"})
        self.assertEqual((first.status, again.status, again.body), (200, 200, first.body))
        self.assertEqual(again.headers["Idempotency-Replayed"], "true")
        batch = {"policy": policy, "items": [{"digest": digest_of(b"a")}, {"digest": digest_of(b"b")}]}
        answers = [gate.call("POST", "/v1/sign/batch", batch, {"Idempotency-Key": "k2"}) for _ in range(2)]
        self.assertEqual(answers[0].body, answers[1].body)
        keys = [line.get("idempotencyKey") for line in records(operator.audit) if line["type"] == "intent"]
        self.assertEqual(keys, ["k1", "k2", "k2"])

    def test_the_pod_is_described(self):
        self.serving()
        self.pod()
        gate = self.connect(token=self.bearer(get("pod", "job-1", self.ns)))

        def ended(own):
            answer = gate.call("GET", "/v1/pod", headers={"Signet-Container": own})
            self.assertEqual(answer.status, 200, answer.body)
            self.assertEqual((answer.json()["name"], answer.json()["namespace"]), ("job-1", self.ns))
            return answer.json()["othersEnded"]
        self.assertFalse(ended("signet-sidecar"))
        self.set_status("job-1", [self.status_of("main", IMAGE, 1), self.status_of("signet-sidecar", IMAGE)])
        wait_for("the end of the others to be seen", lambda: ended("signet-sidecar"))
        self.assertFalse(ended(""))

    def test_a_policy_with_image_digests(self):
        self.serving(allowDirect=False, pod={"imageDigests": [IMAGE]})
        self.pod(image=f"registry.example.com/i:1@{IMAGE}")
        gate = self.connect(token=self.bearer(get("pod", "job-1", self.ns)))
        policy = f"release-{self.id}"
        self.assert_problem(gate.sign(policy), 503, "PodPending")
        self.set_status("job-1", [self.status_of("main", IMAGE), self.status_of("signet-sidecar", "")])
        self.assert_problem(gate.sign(policy), 503, "PodPending")
        self.set_status("job-1", [self.status_of("main", IMAGE), self.status_of("signet-sidecar", IMAGE)])
        self.until(lambda: gate.sign(policy), 200)
        self.set_status("job-1", [self.status_of("main", IMAGE), self.status_of("signet-sidecar", OTHER_IMAGE)])
        self.assert_problem(gate.sign(policy), 403, "ImageNotAllowed")

    def test_a_patched_image_does_not_sign(self):
        """Issue 11, row 8: at once, not after a cache's time, and before the node has started it."""
        self.serving(allowDirect=False, pod={"imageDigests": [IMAGE]})
        self.pod(image=f"registry.example.com/i@{IMAGE}")
        gate = self.connect(token=self.bearer(get("pod", "job-1", self.ns)))
        policy = f"release-{self.id}"
        self.set_status("job-1", [self.status_of("main", IMAGE), self.status_of("signet-sidecar", IMAGE)])
        self.until(lambda: gate.sign(policy), 200)
        for image in (f"registry.example.com/i@{OTHER_IMAGE}", "registry.example.com/i:1"):
            kubectl("patch", "pod", "job-1", "-n", self.ns, "--type=json", "-p",
                    json.dumps([{"op": "replace", "path": "/spec/containers/0/image", "value": image}]))
            self.assert_problem(gate.sign(policy), 403, "ImageNotAllowed")
        kubectl("patch", "pod", "job-1", "-n", self.ns, "--type=json", "-p",
                json.dumps([{"op": "replace", "path": "/spec/containers/0/image", "value": f"registry.example.com/i@{IMAGE}"}]))
        self.assertEqual(gate.sign(policy).status, 200)


class Callers(GatewayCase):
    def test_who_is_not_let_in(self):
        operator = self.serving()
        pod, other = self.pod(), self.pod("job-2", "other")
        good = self.bearer(pod)
        gate = self.connect()
        policy = f"release-{self.id}"
        self.assertEqual(gate.sign(policy, token=good).status, 200)
        head, payload, signature = good.split(".")
        flipped = "A" if signature[0] != "A" else "B"
        for what, token in [("nothing", None), ("garbage", "garbage"), ("three parts of garbage", "a.b.c"),
                            ("another audience", self.bearer(pod, audience="https://kubernetes.default.svc")),
                            ("no pod", self.bearer()), ("a changed signature", f"{head}.{payload}.{flipped}{signature[1:]}"),
                            ("no signature", f"{head}.{payload}.AA")]:
            with self.subTest(token=what):
                answer = gate.sign(policy, token=token)
                self.assert_problem(answer, 401, "Unauthenticated")
                self.assertEqual(answer.headers["WWW-Authenticate"], "Bearer")
                for target in ("/v1/keys", f"/v1/keys/{policy}", "/v1/pod"):
                    self.assertEqual(gate.call("GET", target, token=token).status, 401, target)
        stranger = gate.sign(policy, token=self.bearer(other, "other"))
        self.assert_problem(stranger, 403, "NotAllowed")
        self.assertEqual(gate.sign("nowhere", token=good).body, stranger.body, "unknown and not allowed look the same")
        twice = self.connect()
        twice.connection.putrequest("GET", "/v1/keys")
        for token in (good, "garbage"):
            twice.connection.putheader("Authorization", f"Bearer {token}")
        twice.connection.endheaders()
        self.assertEqual(twice.connection.getresponse().status, 401)
        self.assertEqual(len([line for line in records(operator.audit) if line["type"] == "intent"]), 1)
        self.assertNotIn(good[:60], operator.log.read_text())

    def test_how_long_a_no_takes_tells_nothing(self):
        """A policy that was idle is read live before its first use, which a stranger must not notice."""
        self.serving()
        builder, stranger = self.pod(), self.pod("job-2", "other")
        gate = self.connect(token=self.bearer(stranger, "other"))
        bearer = self.bearer(builder)
        self.assertEqual([gate.sign("nowhere", token=token).status for token in (None, bearer)], [403, 403], "both are known callers now")
        self.addCleanup(control, "resume")
        control("pause")

        def timed(policy, token=None):
            began = time.monotonic()
            return gate.sign(policy, token=token), time.monotonic() - began
        for policy in ("nowhere", f"release-{self.id}"):
            answers = [timed(policy) for _ in range(3)]
            for answer, _ in answers:
                self.assert_problem(answer, 403, "NotAllowed")
            self.assertLess(min(seconds for _, seconds in answers), 1, policy)  # the machine may hold up one, not each
        answer, seconds = timed(f"release-{self.id}", bearer)
        self.assertEqual(answer.status, 200)
        self.assertGreater(seconds, 1, "a subject waits for the live read")
        control("resume")
        changed = self.policy("release")
        changed["spec"]["subjects"].append({"kind": "ServiceAccount", "namespace": self.ns, "name": "other"})
        apply(changed)
        self.until(lambda: gate.sign(f"release-{self.id}"), 200, 20)  # somebody who was just added

    def test_a_deleted_pods_token_is_refused_within_30_seconds(self):
        self.serving()
        gate = self.connect(token=self.bearer(self.pod()))
        policy = f"release-{self.id}"
        self.assertEqual(gate.sign(policy).status, 200)
        kubectl("delete", "pod", "job-1", "-n", self.ns, "--grace-period=0", "--force", "--wait=true")
        began = time.monotonic()
        wait_for("the token to be refused", lambda: gate.sign(policy).status == 401, 30, interval=0.2)
        self.assertLess(time.monotonic() - began, 30)
        self.pod()  # of the same name: another pod
        self.assert_problem(gate.sign(policy), 401, "Unauthenticated")

    def test_too_many_requests_are_told_when_to_come_back(self):
        self.serving(extra=("--gateway-rate", "1"))  # and bursts of two
        first, second = (self.connect(token=self.bearer(self.pod(name))) for name in ("job-1", "job-2"))
        policy = f"release-{self.id}"
        answers = [first.sign(policy) for _ in range(2)]
        while answers[-1].status == 200 and len(answers) < 100:  # slow calls, each a second after the one before, are not too many
            answers.append(first.sign(policy))
        self.assertEqual({answer.status for answer in answers[:-1]}, {200})
        self.assertGreaterEqual(len(answers), 3)
        self.assert_problem(answers[-1], 429, "RateLimited")
        self.assertEqual(answers[-1].headers["Retry-After"], "1")
        self.assertEqual(second.sign(policy).status, 200, "each pod for itself")
        self.assertEqual(first.call("GET", "/readyz").status, 200)


class Lasting(GatewayCase):
    def test_the_api_server_goes_away_and_comes_back(self):
        operator = self.serving()
        gate = self.connect(token=self.bearer(self.pod()))
        policy = f"release-{self.id}"
        self.assertEqual(gate.sign(policy).status, 200)
        self.addCleanup(control, "start-apiserver")
        control("stop-apiserver", "--signal", "KILL")
        began = time.monotonic()
        self.assertEqual(gate.sign(policy).status, 200, "known callers go on")
        gone = wait_for("the caller to be unknown", lambda: (lambda a: a if a.status != 200 else None)(gate.sign(policy)), interval=0.1)
        self.assertLess(time.monotonic() - began, 20, "10 s are what the cache may keep a caller")
        self.assert_problem(gone, 503, "IdentityUnavailable")
        control("start-apiserver")
        wait_for("the caller to be known again", lambda: gate.sign(policy).status == 200, 30, interval=0.1)
        self.assertTrue(operator.running())

    def test_a_replica_leaves_without_a_broken_request(self):
        operator = self.serving(extra=("--gateway-drain-delay", "10"))
        bearer, ca = self.bearer(self.pod()), self.ca()
        old, idle = self.connect(token=bearer, ca=ca), self.connect(token=bearer, ca=ca)
        policy = f"release-{self.id}"
        for gate in (old, idle):
            answer = gate.sign(policy)
            self.assertEqual((answer.status, answer.headers.get("Connection")), (200, None))
        operator.signal(signal.SIGTERM)
        wait_for("the replica to say that it goes", lambda: self.connect(ca=ca).call("GET", "/readyz").status == 503, 9, interval=0.02)
        self.assertIn("Draining", self.connect(ca=ca).call("GET", "/readyz").body.decode())
        answer = old.sign(policy)
        self.assertEqual((answer.status, answer.headers["Connection"]), (200, "close"))
        fresh = self.connect(token=bearer, ca=ca).sign(policy)
        self.assertEqual((fresh.status, fresh.headers["Connection"]), (200, "close"))
        self.assertEqual(operator.wait(60), 0)
        with self.assertRaises(OSError):
            self.connect(ca=ca).call("GET", "/healthz")
        self.assert_pairs(operator.audit)

    def test_the_certificate_is_renewed_under_open_connections(self):
        config = write_yaml(self.folder / "operator.yaml", {"gateway": {"certificateLifetime": "18s", "checkInterval": "100ms"}})
        self.serving(extra=("--config", config))
        gate = self.connect(token=self.bearer(self.pod()))
        before = gate.certificate()
        policy = f"release-{self.id}"

        def renewed():
            self.assertEqual(gate.sign(policy).status, 200)
            self.assertEqual(gate.certificate(), before, "the connection goes on with its own")
            return self.connect().certificate() != before
        wait_for("another certificate", renewed, 60, interval=0.1)
        self.assertEqual(self.connect(token=gate.token).sign(policy).status, 200)

    def test_two_replicas_serve_under_one_authority(self):
        token = self.token()
        self.start_gateway(token, "one")
        apply(self.policy("release"))
        self.policy_ready("release")
        self.start_gateway(token, "two")
        bearer = self.bearer(self.pod())
        policy = f"release-{self.id}"
        one, two = self.connect("one", bearer), self.connect("two", bearer)
        self.assertNotEqual(one.certificate(), two.certificate())
        for gate in (one, two):
            signed = wait_for("a signature", lambda gate=gate: (lambda a: a if a.status == 200 else None)(gate.sign(policy)), 60, interval=0.2)
            pem = gate.call("GET", f"/v1/keys/{policy}").body.decode()
            self.assertTrue(openssl_verifies(self.folder, pem, self.b64(signed.json()["signature"]), b"hello", "sha256", []))


if __name__ == "__main__":
    unittest.main()
