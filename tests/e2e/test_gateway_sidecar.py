"""The sidecar in gateway mode: against a gateway that fails on command."""
import os
import pathlib
import re
import signal
import subprocess
import threading
import time

from fake_gateway import Authority, FakeGateway, problem
from harness import BIN, Case, Client, Process, digest_of, free_port, outlives, wait_for

DIGEST = digest_of(b"artifact")


class ForwardingSidecar(Process):
    def __init__(self, folder, urls, ca, token, extra=(), name="sidecar"):
        self.folder = pathlib.Path(folder)
        self.socket = self.folder / f"{name}.sock"
        gateways = [part for url in urls for part in ("--gateway", url)]
        super().__init__([BIN / "signet-sidecar", "--socket", self.socket, *gateways, "--gateway-ca", ca, "--token-file", token, *extra],
                         dict(os.environ), self.folder / f"{name}.log")

    def client(self):
        return Client(self.socket)

    def get(self, target):
        client = self.client()
        try:
            return client.call("GET", target)
        finally:
            client.close()

    def answers(self, target):
        try:
            return self.get(target).status
        except OSError:  # not listening yet
            return 0

    def serving(self):
        wait_for("the socket", lambda: self.running() and self.answers("/healthz") == 200)
        return self

    def ready(self, seconds=30):
        wait_for(f"the sidecar to be ready; log: {self.log}", lambda: self.running() and self.answers("/readyz") == 200, seconds)
        return self


class GatewayCase(Case):
    def setUp(self):
        super().setUp()
        self.authority = Authority(self.folder / "pki")
        self.leaf = self.authority.leaf()
        self.token = self.folder / "token"
        self.token.write_text("good\n")

    def fake(self, leaf=None, **options):
        gateway = FakeGateway(*(leaf or self.leaf), **options)
        self.addCleanup(gateway.stop)
        return gateway

    def forwarder(self, *gateways, extra=(), name="sidecar", ca=None):
        urls = [gateway if isinstance(gateway, str) else gateway.url for gateway in gateways]
        return self.start(ForwardingSidecar(self.folder, urls, ca or self.authority.certificate, self.token, extra, name))

    def assert_problem(self, answer, status, code):
        self.assertEqual(answer.status, status, answer.body)
        self.assertEqual(answer.headers["Content-Type"], "application/problem+json")
        self.assertEqual(answer.json()["code"], code)
        if status in (429, 503):
            self.assertGreater(int(answer.headers["Retry-After"]), 0)
            self.assertEqual(int(answer.headers["Retry-After"]), answer.json()["retryAfterSeconds"])


class Forwarding(GatewayCase):
    def test_requests_go_through_with_token_and_one_key_each(self):
        gateway = self.fake()
        sidecar = self.forwarder(gateway).ready()
        client = sidecar.client()
        signatures = [client.sign("release", DIGEST) for _ in range(20)]
        for answer in signatures:
            self.assertEqual(answer.status, 200, answer.body)
        keys = [seen.headers["Idempotency-Key"] for seen in gateway.seen]
        self.assertEqual(len(set(keys)), 20)
        self.assertEqual({seen.headers["Authorization"] for seen in gateway.seen}, {"Bearer good"})
        self.assertEqual({seen.headers["Host"] for seen in gateway.seen}, {f"127.0.0.1:{gateway.port}"})
        self.assertEqual([answer.json()["signature"] for answer in signatures], [gateway.signed[key] for key in keys])
        self.assertLessEqual(gateway.connections, 2, "connections are kept")
        batch = client.call("POST", "/v1/sign/batch", {"policy": "release", "items": [{"digest": DIGEST}]}, {"Idempotency-Key": "mine"})
        self.assertEqual(batch.status, 200)
        self.assertEqual((gateway.seen[-1].path, gateway.seen[-1].headers["Idempotency-Key"]), ("/v1/sign/batch", "mine"))
        self.assertEqual(client.call("GET", "/v1/keys").json(), {"keys": []})
        self.assertEqual(client.call("GET", "/v1/keys/release").headers["Content-Type"], "application/x-pem-file")
        head = client.call("HEAD", "/v1/keys/release")
        self.assertEqual((head.status, head.body), (200, b""))
        self.assert_problem(client.call("GET", "/v1/keys/other"), 403, "NotAllowed")
        self.assertEqual(sidecar.stop(), 0)
        self.assertNotIn("good", sidecar.tail(), "a token in the log")

    def test_the_contract_of_the_socket_is_the_same(self):
        gateway = self.fake()
        client = self.forwarder(gateway).ready().client()
        self.assertEqual(client.call("GET", "/healthz").json(), {"status": "ok"})
        self.assert_problem(client.call("GET", "/v1/pod"), 404, "NotFound")
        self.assert_problem(client.call("GET", "/other"), 404, "NotFound")
        refused = client.call("GET", "/v1/sign")
        self.assert_problem(refused, 405, "MethodNotAllowed")
        self.assertEqual(refused.headers["Allow"], "POST")
        self.assert_problem(client.call("POST", "/v1/sign", b"x", {"Content-Type": "text/plain"}), 415, "UnsupportedMediaType")
        self.assert_problem(client.call("POST", "/v1/sign", b" " * (256 * 1024 + 1)), 413, "TooLarge")
        self.assert_problem(client.call("POST", "/v1/sign", b"{}", {"Idempotency-Key": "a b"}), 400, "Malformed")
        self.assertEqual(gateway.seen, [])
        large = b" " * (1024 * 1024)
        self.assertEqual(client.call("POST", "/v1/sign/batch", large).status, 200)
        self.assertEqual(gateway.seen[-1].body, large)

    def test_final_answers_pass_as_they_are(self):
        gateway = self.fake()
        client = self.forwarder(gateway).ready().client()
        for status, code in [(400, "Malformed"), (403, "Suspended"), (409, "IdempotencyConflict"), (422, "DigestMismatch"), (500, "Internal")]:
            gateway.script.append(problem(status, code))
            self.assert_problem(client.sign("release", DIGEST), status, code)
        for code in ("QuotaExceeded", "RateLimited"):
            gateway.script.append(problem(429, code, 7))
            answer = client.sign("release", DIGEST)
            self.assert_problem(answer, 429, code)
            self.assertEqual(answer.headers["Retry-After"], "7")
        self.assertEqual(len(gateway.seen), 7)


class Failures(GatewayCase):
    def keys(self, *gateways):
        return [seen.headers["Idempotency-Key"] for gateway in gateways for seen in gateway.seen]

    def test_a_lost_answer_is_asked_for_again_under_the_same_key(self):
        gateway = self.fake()
        client = self.forwarder(gateway).ready().client()
        for fault in ("reset", "close", "half", "sign-then-reset", "garbage", "huge", "endless"):
            with self.subTest(fault=fault):
                gateway.seen.clear()
                gateway.script.append(fault)
                answer = client.sign("release", DIGEST)
                self.assertEqual(answer.status, 200, answer.body)
                self.assertEqual(len(gateway.seen), 2)
                self.assertEqual(len(set(self.keys(gateway))), 1)
                self.assertEqual(answer.json()["signature"], gateway.signed[self.keys(gateway)[0]])

    def test_a_failing_replica_is_left_at_once_for_another(self):
        for fault in ("reset", problem(503, "HSMUnavailable", 5)):
            with self.subTest(fault=fault):
                bad, good = self.fake(), self.fake()
                bad.always = fault
                sidecar = self.forwarder(bad, good, name=f"s{good.port}").ready()
                client = sidecar.client()
                began = time.monotonic()
                for _ in range(20):
                    self.assertEqual(client.sign("release", DIGEST).status, 200)
                self.assertLess(time.monotonic() - began, 20, "20 answers of which some waited")
                self.assertTrue(bad.seen, "never asked: the test shows nothing")
                self.assertEqual(len(set(self.keys(good))), 20)
                self.assertLessEqual(set(self.keys(bad)), set(self.keys(good)))

    def test_refused_connections_are_left_at_once_for_another(self):
        good = self.fake()
        sidecar = self.forwarder(f"https://127.0.0.1:{free_port()}", good).ready()
        client = sidecar.client()
        began = time.monotonic()
        for _ in range(20):
            self.assertEqual(client.sign("release", DIGEST).status, 200)
        self.assertLess(time.monotonic() - began, 20)

    def test_a_hung_replica_costs_one_attempt(self):
        hung, good = self.fake(), self.fake()
        sidecar = self.forwarder(hung, good, extra=["--attempt-timeout", "2s"]).ready()
        hung.always = "hang"
        client = sidecar.client()
        began = time.monotonic()
        for _ in range(6):
            self.assertEqual(client.sign("release", DIGEST).status, 200)
        took = time.monotonic() - began
        self.assertTrue(hung.seen, "never asked: the test shows nothing")
        self.assertGreater(took, 1.9)
        self.assertLess(took, 8, "a replica that hangs is passed over for a while")
        self.assertLessEqual(set(self.keys(hung)), set(self.keys(good)))

    def test_one_hung_connection_is_not_the_end_of_a_lone_address(self):
        gateway = self.fake(script=["hang"])
        sidecar = self.forwarder(gateway, extra=["--attempt-timeout", "500ms"]).ready()
        began = time.monotonic()
        self.assertEqual(sidecar.client().sign("release", DIGEST).status, 200)
        self.assertLess(time.monotonic() - began, 8)

    def test_retry_after_is_honoured_within_max_wait(self):
        gateway = self.fake(script=[problem(503, "HSMUnavailable", 1)])
        sidecar = self.forwarder(gateway).ready()
        client = sidecar.client()
        began = time.monotonic()
        self.assertEqual(client.sign("release", DIGEST).status, 200)
        self.assertGreaterEqual(time.monotonic() - began, 1.0)
        gateway.script.append(problem(503, "AuditUnavailable", 60))
        began = time.monotonic()
        answer = client.sign("release", DIGEST)
        self.assertLess(time.monotonic() - began, 6, "longer than there is time for: no use in waiting")
        self.assert_problem(answer, 503, "AuditUnavailable")
        self.assertEqual(answer.headers["Retry-After"], "60")

    def test_an_unknown_outcome_is_asked_about_once_more(self):
        gateway = self.fake(script=[problem(504, "OutcomeUnknown")])
        client = self.forwarder(gateway).ready().client()
        self.assertEqual(client.sign("release", DIGEST).status, 200)
        gateway.script.extend([problem(504, "OutcomeUnknown")] * 2)
        self.assert_problem(client.sign("release", DIGEST), 504, "OutcomeUnknown")
        self.assertEqual(len(gateway.seen), 4)

    def test_a_gateway_that_is_away_is_waited_for_and_then_503(self):
        gateway = self.fake()
        sidecar = self.forwarder(gateway, extra=["--max-wait", "3s"]).ready()
        gateway.stop()
        began = time.monotonic()
        answer = sidecar.client().sign("release", DIGEST)
        took = time.monotonic() - began
        self.assert_problem(answer, 503, "GatewayUnavailable")
        self.assertGreater(took, 2)
        self.assertLess(took, 8)
        self.assertEqual(sidecar.get("/readyz").status, 200, "sticky")
        answers = []
        waiting = threading.Thread(target=lambda: answers.append(sidecar.client().sign("release", DIGEST)))
        waiting.start()
        wait_for("an attempt", lambda: "cannot connect" in sidecar.tail())
        self.fake(port=gateway.port)
        waiting.join(20)
        self.assertEqual(answers[0].status, 200, answers[0].body)
        self.assertEqual(sidecar.stop(), 0)

    def test_restarts_under_load_are_latency_not_errors(self):
        first, second = self.fake(), self.fake()
        sidecar = self.forwarder(first, second).ready()
        answers, stop = [], threading.Event()

        def sign():
            client = sidecar.client()
            while not stop.is_set():
                answers.append(client.sign("release", DIGEST))
        threads = [threading.Thread(target=sign) for _ in range(8)]
        for thread in threads:
            thread.start()
        gateways = [first, second]
        for _ in range(3):
            for number, gateway in enumerate(gateways):
                goal = len(answers) + 50
                wait_for("answers", lambda: len(answers) >= goal)
                gateway.stop()
                gateways[number] = self.fake(port=gateway.port)
        stop.set()
        for thread in threads:
            thread.join()
        self.assertEqual({answer.status for answer in answers}, {200})

    def test_a_client_that_has_gone_is_not_retried_for(self):
        gateway = self.fake()
        sidecar = self.forwarder(gateway).ready()
        gateway.always = problem(503, "HSMUnavailable", 1)
        client = sidecar.client()
        client.connection.connect()
        body = b'{"policy":"release"}'
        client.connection.sock.sendall(b"POST /v1/sign HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: "
                                       + str(len(body)).encode() + b"\r\n\r\n" + body)
        wait_for("the first attempt", lambda: gateway.seen)
        client.close()
        outlives(sidecar, 2.5)  # longer than Retry-After: nothing may come
        self.assertEqual(len(gateway.seen), 1)

    def test_what_waits_is_drained(self):
        gateway = self.fake(script=[problem(503, "HSMUnavailable", 1)])
        sidecar = self.forwarder(gateway).ready()
        answers = []
        waiting = threading.Thread(target=lambda: answers.append(sidecar.client().sign("release", DIGEST)))
        waiting.start()
        wait_for("the first attempt", lambda: gateway.seen)
        sidecar.signal(signal.SIGTERM)
        self.assertEqual(sidecar.wait(), 0)
        waiting.join()
        self.assertEqual(answers[0].status, 200)


class Identity(GatewayCase):
    def test_a_token_that_is_not_there_yet_is_waited_for(self):
        gateway = self.fake()
        self.token.unlink()
        sidecar = self.forwarder(gateway, extra=["--max-wait", "2s"]).serving()
        not_ready = sidecar.get("/readyz")
        self.assert_problem(not_ready, 503, "NotReady")
        wait_for("the reason", lambda: sidecar.get("/readyz").json()["checks"][0]["reason"] == "TokenMissing")
        answer = sidecar.client().sign("release", DIGEST)
        self.assert_problem(answer, 503, "GatewayUnavailable")
        self.assertIn("token", answer.json()["detail"])
        self.token.write_text("good")
        sidecar.ready()
        self.assertEqual(sidecar.client().sign("release", DIGEST).status, 200)

    def test_a_rotated_token_is_read_again_when_it_is_refused(self):
        gateway = self.fake(tokens=["first"])
        # As kubelet does it: token -> ..data/token, ..data -> a folder with a time for its name.
        volume = self.folder / "volume"

        def publish(name, text):
            (volume / name).mkdir(parents=True)
            (volume / name / "token").write_text(text)
            (volume / "..data_tmp").symlink_to(name)
            (volume / "..data_tmp").rename(volume / "..data")
        publish("..1", "first")
        (volume / "token").symlink_to("..data/token")
        self.token = volume / "token"
        sidecar = self.forwarder(gateway).ready()
        client = sidecar.client()
        self.assertEqual(client.sign("release", DIGEST).status, 200)
        gateway.tokens = {"second"}
        publish("..2", "second")
        self.assertEqual(client.sign("release", DIGEST).status, 200, "read again at once, not a second later")
        gateway.tokens = {"third"}
        answer = client.sign("release", DIGEST)
        self.assert_problem(answer, 401, "Unauthenticated")
        self.assertIn("token", answer.json()["detail"])
        self.assertNotIn("second", sidecar.tail().replace("a second", ""))

    def test_another_authority_or_name_is_not_spoken_to(self):
        strangers = Authority(self.folder / "strangers", "signet-gateway-ca")
        for name, leaf in [("authority", strangers.leaf()), ("name", self.authority.leaf("DNS:other.example", "other"))]:
            with self.subTest(wrong=name):
                gateway = self.fake(leaf=leaf)
                sidecar = self.forwarder(gateway, extra=["--max-wait", "2s"], name=f"s-{name}").serving()
                self.assert_problem(sidecar.client().sign("release", DIGEST), 503, "GatewayUnavailable")
                self.assertEqual(gateway.seen, [])
                wait_for("the reason", lambda sidecar=sidecar: sidecar.get("/readyz").json()["checks"][0]["reason"] == "CertificateRefused", 10)
        named = self.forwarder(gateway, extra=["--gateway-server-name", "other.example"], name="named").ready()
        self.assertEqual(named.client().sign("release", DIGEST).status, 200)

    def test_a_rotated_authority_is_read_again(self):
        published = self.folder / "ca.crt"
        published.write_bytes(self.authority.certificate.read_bytes())
        gateway = self.fake()
        sidecar = self.forwarder(gateway, ca=published).ready()
        client = sidecar.client()
        self.assertEqual(client.sign("release", DIGEST).status, 200)
        following = Authority(self.folder / "next")
        gateway.stop()
        replacement = published.with_suffix(".new")
        replacement.write_bytes(published.read_bytes() + following.certificate.read_bytes())
        replacement.rename(published)
        self.fake(leaf=following.leaf(), port=gateway.port)
        self.assertEqual(client.sign("release", DIGEST).status, 200)


class Life(GatewayCase):
    def test_strict_readiness_follows_the_gateway(self):
        gateway = self.fake()
        sidecar = self.forwarder(gateway, extra=["--readiness", "strict"]).ready()
        gateway.stop()
        wait_for("NotReady", lambda: sidecar.get("/readyz").status == 503)
        self.fake(port=gateway.port)
        sidecar.ready()

    def test_the_probe_says_why(self):
        def probe():
            return subprocess.run([BIN / "signet-sidecar", "probe", "--socket", self.folder / "sidecar.sock"], capture_output=True, text=True)
        self.assertEqual(probe().returncode, 1)
        self.assertIn("no socket", probe().stdout)
        gateway = self.fake(tokens=["other"])
        sidecar = self.forwarder(gateway).serving()
        wait_for("the reason", lambda: "does not accept the token" in probe().stdout)
        self.assertEqual(probe().stdout.count("\n"), 1)
        gateway.tokens = {"good"}
        sidecar.ready()
        done = probe()
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def test_the_check_tells_what_is_wrong(self):
        gateway = self.fake()

        def check(token=self.token):
            return subprocess.run([BIN / "signet-sidecar", "check", "--gateway", gateway.url, "--gateway-ca", self.authority.certificate,
                                   "--token-file", token, "--log-level", "error"], capture_output=True, text=True, timeout=30)
        done = check()
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertRegex(done.stdout, r"(?m)^ok +gateway")
        gateway.tokens = {"other"}
        done = check()
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout, r"(?m)^FAIL +gateway .*401")
        done = check(self.folder / "nowhere")
        self.assertEqual(done.returncode, 3)
        self.assertRegex(done.stdout, r"(?m)^FAIL +token")

    def test_it_ends_with_its_pod(self):
        gateway = self.fake()
        sidecar = self.forwarder(gateway, extra=["--end-with-pod", "signet-sidecar"]).ready()
        wait_for("two questions", lambda: len(gateway.pod_containers) >= 1)
        self.assertEqual(set(gateway.pod_containers), {"signet-sidecar"})
        gateway.stop()
        again = self.fake(port=gateway.port, tokens=["other"])  # neither an outage nor a refusal ends it
        wait_for("a question that is refused", lambda: again.refused > 0)
        self.assertTrue(sidecar.running())
        again.tokens = {"good"}
        again.others_ended = True
        self.assertEqual(sidecar.wait(20), 0)

    def test_no_flag_of_direct_mode_is_accepted(self):
        base = [BIN / "signet-sidecar", "--gateway", "https://gateway.example", "--socket", self.folder / "x.sock"]
        for flag, value in [("--pin-file", "/pin"), ("--pkcs11-module", "/m.so"), ("--token", "t"), ("--policies", "/p"), ("--subject", "s"),
                            ("--audit", "/a"), ("--state-dir", "/s"), ("--workers", "2")]:
            with self.subTest(flag=flag):
                done = subprocess.run([*base, flag, value], capture_output=True, text=True, timeout=20)
                self.assertEqual(done.returncode, 2)
                self.assertEqual(done.stderr.count("\n"), 1)
                self.assertIn(flag, done.stderr)
        for url in ("http://gateway.example", "https://", "https://h:0", "https://h/path", "https://a b", "https://[::1", "gateway"):
            with self.subTest(url=url):
                done = subprocess.run([BIN / "signet-sidecar", "--gateway", url], capture_output=True, text=True, timeout=20)
                self.assertEqual((done.returncode, done.stderr.count("\n")), (2, 1))
        config = self.folder / "c.yaml"
        config.write_text("gateway: {urls: ['https://gateway.example']}\nhsm: {pinFile: /pin}\n")
        done = subprocess.run([BIN / "signet-sidecar", "--config", config], capture_output=True, text=True, timeout=20)
        self.assertEqual(done.returncode, 3)
        self.assertIn("pin", done.stderr)

    def test_one_process_without_a_module(self):
        gateway = self.fake()
        sidecar = self.forwarder(gateway, extra=["--metrics", "127.0.0.1:0"]).ready()
        clients = [sidecar.client() for _ in range(16)]
        for client in clients * 5:
            self.assertEqual(client.sign("release", DIGEST).status, 200)
        self.assertEqual(pathlib.Path(f"/proc/{sidecar.pid}/task/{sidecar.pid}/children").read_text(), "")
        maps = pathlib.Path(f"/proc/{sidecar.pid}/maps").read_text()
        self.assertNotRegex(maps, re.compile("pkcs11|softhsm", re.IGNORECASE))
