"""The sidecar in gateway mode before the real operator's gateway on a real kube-apiserver: curl on the socket, openssl, the records."""
import contextlib
import http.client
import json
import signal
import subprocess
import threading
import unittest

from harness import digest_of, openssl_verifies, records, wait_for
from test_cluster import apply, control, kubectl
from test_gateway import GatewayCase
from test_gateway_sidecar import ForwardingSidecar


class Load:
    """Clients of one socket that sign until they are told to stop; every answer is kept."""

    def __init__(self, sidecar, policy, clients=8):
        self.sidecar, self.policy = sidecar, policy
        self.answers, self.broken, self.lock, self.ending = [], [], threading.Lock(), threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(number,)) for number in range(clients)]
        for thread in self.threads:
            thread.start()

    def run(self, number):
        client = self.sidecar.client()
        client.connection.timeout = 60
        count = 0
        while not self.ending.is_set():
            count += 1
            message = f"{number} {count}".encode()
            try:
                answer = client.sign(self.policy, digest_of(message))
            except (OSError, http.client.HTTPException) as error:
                with self.lock:
                    self.broken.append(error)
                return
            with self.lock:
                self.answers.append((message, answer))

    def more(self, count):
        goal = len(self.answers) + count
        wait_for(f"{count} answers more", lambda: len(self.answers) >= goal or self.broken, 90)

    def stop(self):
        self.ending.set()
        for thread in self.threads:
            thread.join()
        return self.answers


class ThroughTheSidecar(GatewayCase):
    def start_gateway(self, token, name="operator", extra=(), **kw):
        return super().start_gateway(token, name, extra=("--gateway-rate", "0", *extra), **kw)

    def sidecar(self, *names, bearer=None, extra=(), name="sidecar"):
        self.token_file = self.folder / f"{name}.token"
        self.token_file.write_text(bearer or self.bearer(self.pod()))
        ca = self.folder / "ca.crt"
        ca.write_text(self.ca())
        urls = [f"https://127.0.0.1:{self.gates[gate]}" for gate in names or ("operator",)]
        return self.start(ForwardingSidecar(self.folder, urls, ca, self.token_file, extra, name))

    def two_replicas(self):
        token = self.token()
        first = self.start_gateway(token, "one")
        apply(self.policy("release"))
        self.policy_ready("release")
        second = self.start_gateway(token, "two")
        probe = self.connect("two", self.bearer(self.pod("probe")))
        last = []

        def signs():
            last[:] = [probe.sign(f"release-{self.id}")]
            return last[0].status == 200
        try:
            wait_for("the second replica to sign", signs, 30, interval=0.2)
        except AssertionError:
            raise AssertionError(f"the second replica does not sign: {last[0].body}") from None
        return token, first, second

    def assert_each_signature_has_its_request(self, answers, *audits):
        """All answers are signatures that verify, and every signature of the records was given out or is linked by its key to one that was."""
        pem = self.pem
        released = {}
        for message, answer in answers:
            self.assertEqual(answer.status, 200, answer.body)
            released[answer.json()["record"]] = (message, self.b64(answer.json()["signature"]))
        for message, signature in list(released.values())[:: max(1, len(released) // 25)]:
            self.assertTrue(openssl_verifies(self.folder, pem, signature, message, "sha256", []))
        intents, signed = {}, set()
        for audit in audits:
            for line in records(audit):
                if line["type"] == "intent":
                    intents[line["operation"]] = line.get("idempotencyKey")
                elif line["type"] == "outcome" and line["result"] == "signed":
                    signed.add(line["operation"])
        self.assertLessEqual(set(released), signed)
        keys = [intents[operation] for operation in released]
        self.assertEqual(len(keys), len(set(keys)), "one signature a key reaches a client")
        orphans = [operation for operation in signed - set(released) if intents[operation] not in set(keys)]
        self.assertEqual([operation for operation in orphans if intents[operation] and intents[operation] not in self.unrelated], [])
        return len(signed) - len(released)

    def remember(self, sidecar):
        """The public key, and the keys of what was signed before."""
        self.pem = sidecar.client().call("GET", f"/v1/keys/release-{self.id}").body.decode()
        self.unrelated = set()

    def test_curl_signs_and_openssl_verifies(self):
        operator = self.serving()
        sidecar = self.sidecar(extra=("--end-with-pod", "signet-sidecar")).ready()
        policy = f"release-{self.id}"

        def curl(*args):
            done = subprocess.run(["curl", "-sS", "--fail-with-body", "--max-time", "30", "--unix-socket", str(sidecar.socket), *args],
                                  capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr + done.stdout)
            return done.stdout
        signed = json.loads(curl("-H", "Content-Type: application/json", "http://localhost/v1/sign", "-d",
                                 json.dumps({"policy": policy, "digest": digest_of(b"hello")})))
        pem = curl(f"http://localhost/v1/keys/{policy}")
        self.assertTrue(openssl_verifies(self.folder, pem, self.b64(signed["signature"]), b"hello", "sha256", []))
        self.assertEqual([key["policy"] for key in json.loads(curl("http://localhost/v1/keys"))["keys"]], [policy])
        intent = next(line for line in records(operator.audit) if line["type"] == "intent")
        self.assertEqual((intent["door"], intent["pod"]["name"], len(intent["idempotencyKey"])), ("gateway", "job-1", 32))
        client = sidecar.client()
        self.assert_problem(client.sign("nowhere", digest_of(b"x")), 403, "NotAllowed")
        self.assert_problem(client.call("POST", "/v1/sign", b"{"), 400, "Malformed")
        self.assert_problem(client.call("GET", "/v1/pod"), 404, "NotFound")
        self.assertTrue(sidecar.running())
        self.set_status("job-1", [self.status_of("main", exit_code=0), self.status_of("signet-sidecar")])
        self.assertEqual(sidecar.wait(20), 0, "the pod has done its work")
        for text in (sidecar.log.read_text(), operator.log.read_text()):
            self.assertNotIn(self.token_file.read_text()[:60], text)

    def test_a_token_that_is_not_ours_is_a_clear_problem(self):
        self.serving()
        pod = self.pod()
        sidecar = self.sidecar(bearer=self.bearer(pod, audience="https://kubernetes.default.svc")).serving()
        self.assert_problem(sidecar.client().sign(f"release-{self.id}", digest_of(b"x")), 401, "Unauthenticated")
        self.assertEqual(sidecar.get("/readyz").status, 503)
        self.token_file.write_text(self.bearer(pod))
        sidecar.ready()
        self.assertEqual(sidecar.client().sign(f"release-{self.id}", digest_of(b"x")).status, 200)
        kubectl("delete", "pod", "job-1", "-n", self.ns, "--grace-period=0", "--force", "--wait=true")
        client = sidecar.client()
        wait_for("the token to be refused", lambda: client.sign(f"release-{self.id}", digest_of(b"x")).status == 401, 30, interval=0.2)

    def test_a_lone_gateway_is_killed_and_comes_back_under_load(self):
        token = self.token()
        operator = self.start_gateway(token)
        apply(self.policy("release"))
        self.policy_ready("release")
        sidecar = self.sidecar(extra=("--max-wait", "60s")).ready()
        self.remember(sidecar)
        load = Load(sidecar, f"release-{self.id}")
        for _ in range(2):
            load.more(100)
            operator.kill()
            operator = self.start_gateway(token)
        load.more(100)
        answers = load.stop()
        self.assertEqual(load.broken, [])
        repeated = self.assert_each_signature_has_its_request(answers, operator.audit)
        print(f"{len(answers)} signatures reached their clients, {repeated} more are linked by their keys", flush=True)

    def test_one_of_two_is_killed_stopped_and_hung_under_load(self):
        token, first, second = self.two_replicas()
        sidecar = self.sidecar("one", "two").ready()
        self.remember(sidecar)
        before = {line.get("idempotencyKey") for audit in (first.audit, second.audit) for line in records(audit)}
        self.unrelated = before
        load = Load(sidecar, f"release-{self.id}")
        load.more(100)
        first.kill()
        load.more(100)
        first = self.start_gateway(token, "one")
        load.more(100)
        second.signal(signal.SIGTERM)
        self.assertEqual(second.wait(30), 0)
        load.more(100)
        second = self.start_gateway(token, "two")
        load.more(100)
        second.signal(signal.SIGSTOP)
        with contextlib.ExitStack() as awake:
            awake.callback(second.signal, signal.SIGCONT)
            load.more(300)
        load.more(100)
        answers = load.stop()
        self.assertEqual(load.broken, [])
        wait_for("what hung to be done", lambda: self.connect("two").call("GET", "/readyz").status == 200)
        repeated = self.assert_each_signature_has_its_request(answers, first.audit, second.audit)
        print(f"{len(answers)} signatures reached their clients, {repeated} more are linked by their keys", flush=True)

    def test_the_same_key_gets_the_same_signature(self):
        self.two_replicas()
        sidecar = self.sidecar("one", "two").ready()
        body = {"policy": f"release-{self.id}", "digest": digest_of(b"hello")}
        for number in range(8):
            answers = [sidecar.client().call("POST", "/v1/sign", body, {"Idempotency-Key": f"build-{number}"}) for _ in range(4)]
            self.assertEqual({answer.status for answer in answers}, {200})
            self.assertEqual(len({answer.body for answer in answers}), 1)
            self.assertEqual([answer.headers.get("Idempotency-Replayed") for answer in answers], [None, "true", "true", "true"])

    def test_an_outage_of_the_api_server_is_latency(self):
        self.serving()
        sidecar = self.sidecar(extra=("--max-wait", "60s")).ready()
        self.remember(sidecar)
        load = Load(sidecar, f"release-{self.id}", clients=2)
        load.more(20)
        self.addCleanup(control, "start-apiserver")
        control("stop-apiserver", "--signal", "KILL")
        wait_for("the gateway to know nobody", lambda: "status 503" in sidecar.tail(), 40, interval=0.1)
        control("start-apiserver")
        load.more(20)
        self.assertEqual([answer.body for _, answer in load.stop() if answer.status != 200], [])
        self.assertEqual(load.broken, [])


if __name__ == "__main__":
    unittest.main()
