#!/usr/bin/python3
"""The signet command: against a real sidecar on SoftHSM, with openssl as judge, and on records and policy files."""
import base64
import csv
import hashlib
import http.server
import io
import json
import os
import signal
import socketserver
import subprocess
import threading
import unittest

from harness import BIN, ROOT, SUBJECT, Case, away_from_midnight, openssl_verifies, policy, write_yaml

SIGNET = BIN / "signet"
COMMANDS = [["sign"], ["verify"], ["requests"], ["show"], ["approve"], ["deny"], ["keys"], ["wait"], ["policy", "explain"], ["policy", "test"],
            ["audit", "verify"], ["audit", "query"]]
CLEAN = {key: value for key, value in os.environ.items() if key not in ("KUBECONFIG", "SIGNET_SOCKET", "SIGNET_POLICY", "HOME")}


def signet(*args, data=None, env=None, program=SIGNET):
    """stdout as octets, stderr as text."""
    done = subprocess.run([str(program), *map(str, args)], input=data if data is not None else b"", capture_output=True,
                          env={**CLEAN, **(env or {})}, timeout=120)
    done.stderr = done.stderr.decode()
    return done


class Cli(Case):
    def expect(self, code, *args, line=True, **kw):
        """`line`: a failure is one line on stderr (a "no" that was asked for is a result, and stands on stdout)."""
        done = signet(*args, **kw)
        self.assertEqual(done.returncode, code, f"signet {args}: {done.stdout!r} {done.stderr}")
        if code and line:
            self.assertEqual(len([text for text in done.stderr.splitlines() if text.startswith("signet: ")]), 1, done.stderr)
        self.assertNotIn("\x1b", done.stderr)
        self.assertNotIn(b"\x1b", done.stdout)
        return done


class Help(Cli):
    def test_every_command_has_purpose_example_and_exit_codes(self):
        for command in COMMANDS:
            with self.subTest(command=command):
                text = self.expect(0, *command, "--help").stdout.decode()
                for part in ("Examples:", "signet " + " ".join(command), "Exit codes: 0 "):
                    self.assertIn(part, text)
                self.expect(2, *command, "--no-such-flag")

    def test_the_plugin_says_kubectl(self):
        done = signet("approve", "--help", program=BIN / "kubectl-signet")
        self.assertEqual(done.returncode, 0)
        self.assertIn(b"kubectl signet approve", done.stdout)
        done = signet("sign", program=BIN / "kubectl-signet")
        self.assertEqual(done.returncode, 2)
        self.assertIn("see kubectl signet sign --help", done.stderr)

    def test_usage_and_configuration_are_told_apart(self):
        self.expect(2, "sign", "--policy", "p")
        self.expect(2, "frobnicate")
        self.expect(3, "keys")
        self.expect(3, "requests", "--kubeconfig", "/nonexistent/config")
        self.expect(3, "sign", "--policy", "p", "/etc/hostname")
        self.expect(3, "policy", "test", "/nonexistent.yaml")
        self.expect(2, "approve", "x")  # no terminal and no --yes


class Socket(Cli):
    def setUp(self):
        super().setUp()
        hsm = self.token()
        manifests = self.policies(
            policy("release", algorithms=["ECDSAWithSHA384", "ECDSAWithSHA256"]), policy("ed", ("Ed25519", None), ["PureEd25519"]),
            policy("pss", ("RSA", 2048), ["SHA256WithRSAPSS"]), policy("gone", suspend=True), policy("scarce", quota={"perDay": 1}),
            policy("artifacts", artifacts=[{"name": "registry.example.com/app/*"}]))
        self.generate_keys(hsm, manifests)
        self.running = self.sidecar(hsm, manifests).ready()
        self.env = {"SIGNET_SOCKET": str(self.running.socket)}
        self.file = self.folder / "app.tar.gz"
        self.file.write_bytes(os.urandom(3_000_000))
        self.small = self.folder / "small"
        self.small.write_bytes(b"a small message")

    def pem(self, name):
        return self.expect(0, "keys", name, "-o", "pem", env=self.env).stdout.decode()

    def test_signs_what_openssl_verifies(self):
        out = self.folder / "sig"
        done = self.expect(0, "sign", "--policy", "release", self.file, "-o", out, env=self.env)
        self.assertEqual(done.stdout, b"")
        self.assertIn("signed with ECDSAWithSHA384", done.stderr)
        self.assertTrue(openssl_verifies(self.folder, self.pem("release"), out.read_bytes(), self.file.read_bytes(), "sha384", []))
        done = self.expect(0, "sign", "-q", "--policy", "release", "--algorithm", "ECDSAWithSHA256", "-", data=b"from a pipe", env=self.env)
        self.assertEqual(done.stderr, "")
        self.assertTrue(openssl_verifies(self.folder, self.pem("release"), base64.b64decode(done.stdout), b"from a pipe", "sha256", []))
        done = self.expect(0, "sign", "--policy", "ed", self.small, env=self.env)
        self.assertTrue(openssl_verifies(self.folder, self.pem("ed"), base64.b64decode(done.stdout), self.small.read_bytes(), None, []))
        done = self.expect(1, "sign", "--policy", "ed", self.file, env=self.env)
        self.assertIn("65536", done.stderr)

    def test_verifies_in_every_form(self):
        key = self.folder / "release.pem"
        key.write_text(self.pem("release"))
        sig = self.folder / "sig"
        for options in ([], ["--format", "base64"], ["--encoding", "p1363"], ["--encoding", "p1363", "--format", "base64"]):
            with self.subTest(options=options):
                self.expect(0, "sign", "--policy", "release", self.file, "-o", sig, *options, env=self.env)
                done = self.expect(0, "verify", self.file, "--signature", sig, "--key", key)
                self.assertIn(b"verified with ECDSAWithSHA384", done.stdout)
                self.expect(0, "verify", self.file, "-s", sig, "--policy", "release", env=self.env)
                self.expect(1, "verify", self.small, "-s", sig, "--key", key)
                self.expect(1, "verify", self.file, "-s", sig, "--policy", "pss", env=self.env)
        for name in ("ed", "pss"):
            self.expect(0, "sign", "--policy", name, self.small, "-o", sig, env=self.env)
            self.expect(0, "verify", self.small, "-s", sig, "--policy", name, env=self.env)
        self.expect(3, "verify", self.small, "-s", self.folder / "absent", "--key", key)

    def test_keys_for_people_and_programs(self):
        table = self.expect(0, "keys", env=self.env).stdout.decode().splitlines()
        self.assertEqual(table[0].split()[:2], ["POLICY", "KEY"])
        self.assertTrue(any(line.startswith("gone ") and "Suspended" in line for line in table))
        keys = json.loads(self.expect(0, "keys", "-o", "json", env=self.env).stdout)["keys"]
        self.assertEqual([key["policy"] for key in keys], ["artifacts", "ed", "gone", "pss", "release", "scarce"])
        import yaml
        self.assertEqual(yaml.safe_load(self.expect(0, "keys", "release", "-o", "yaml", env=self.env).stdout)["policy"], "release")

    def test_the_environment_names_the_policy(self):
        env = {**self.env, "SIGNET_POLICY": "pss"}
        self.expect(2, "sign", self.small, env=self.env)
        done = self.expect(0, "sign", self.small, env=env)
        self.assertIn("signed with SHA256WithRSAPSS", done.stderr)
        self.assertIn("signed with ECDSAWithSHA384", self.expect(0, "sign", "--policy", "release", self.small, env=env).stderr)
        only = json.loads(self.expect(0, "keys", "-o", "json", env=env).stdout)
        self.assertEqual(only["policy"], "pss")
        self.assertEqual(len(json.loads(self.expect(0, "keys", "--all", "-o", "json", env=env).stdout)["keys"]), 6)

    def test_waits_for_a_socket_and_a_key(self):
        self.assertEqual(self.expect(0, "wait", env=self.env).stdout, b"")
        self.expect(0, "wait", "--policy", "release", env=self.env)
        self.expect(5, "wait", "--policy", "nobody", env=self.env)
        self.expect(2, "wait", "--timeout", "soon", env=self.env)
        done = self.expect(6, "wait", "--policy", "gone", "--timeout", "2s", env=self.env)
        self.assertIn("not ready after 2s: Suspended", done.stderr)
        away = self.folder / "later.sock"
        done = self.expect(6, "wait", "--socket", away, "--timeout", "300ms")
        self.assertIn(f"not ready after 300ms: no socket {away}", done.stderr)
        self.assertNotIn("SIGNET_SOCKET", done.stderr)
        self.assertRegex(self.expect(6, "wait", "--timeout", "300ms").stderr, "SIGNET_SOCKET is not set: was the label signet.dev/inject=true")
        # One that starts after we do.
        waiting = subprocess.Popen([str(SIGNET), "wait", "--policy", "release", "--timeout", "30s"], stderr=subprocess.PIPE,
                                   env={**CLEAN, "SIGNET_SOCKET": str(away)}, text=True)
        self.assertIn("waiting: no socket", waiting.stderr.readline())
        os.link(self.running.socket, away)
        self.assertEqual(waiting.wait(30), 0, waiting.stderr.read())
        waiting.stderr.close()

    def test_refusals_have_their_exit_codes(self):
        done = self.expect(5, "sign", "--policy", "gone", self.small, env=self.env)
        self.assertIn("Suspended", done.stderr)
        self.expect(5, "sign", "--policy", "nobody", self.small, env=self.env)
        self.expect(5, "sign", "--policy", "artifacts", self.small, env=self.env)
        self.expect(0, "sign", "--policy", "artifacts", self.small, "--artifact", "registry.example.com/app/x", "--annotation", "a=b", env=self.env)
        self.expect(5, "sign", "--policy", "release", "--digest", "sha512:" + "0" * 128, env=self.env)
        self.expect(2, "sign", "--policy", "release", "--digest", "sha256:XYZ", env=self.env)
        self.expect(3, "sign", "--policy", "release", self.folder / "absent", env=self.env)
        self.expect(3, "sign", "--policy", "release", self.small, "--socket", self.folder / "absent")
        away_from_midnight()
        self.expect(0, "sign", "--policy", "scarce", self.small, env=self.env)
        done = self.expect(6, "sign", "--policy", "scarce", self.small, "--timeout", "2s", env=self.env)
        self.assertIn("QuotaExceeded", done.stderr)
        self.expect(1, "sign", "--policy", "scarce", self.small, "--no-wait", env=self.env)

    def test_a_reader_that_goes_ends_it_quietly(self):
        reader, writer = os.pipe()
        child = subprocess.Popen([str(SIGNET), "keys", "-o", "json"], stdout=writer, stderr=subprocess.PIPE, env={**CLEAN, **self.env},
                                 preexec_fn=lambda: signal.signal(signal.SIGPIPE, signal.SIG_DFL))
        os.close(reader)
        os.close(writer)
        _, err = child.communicate(timeout=60)
        self.assertIn(child.returncode, (-signal.SIGPIPE, 0))
        self.assertEqual(err, b"")

    def test_a_full_disk_is_told(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([str(SIGNET), "keys"], stdout=full, stderr=subprocess.PIPE, env={**CLEAN, **self.env}, timeout=60)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"cannot write to stdout", done.stderr)

    def test_the_record_answers_who_signed_what(self):
        out = self.folder / "asked.sig"
        self.expect(0, "sign", "--policy", "release", self.file, "--artifact", "registry.example.com/app", "-o", out, env=self.env)
        self.expect(0, "sign", "--policy", "ed", self.small, env=self.env)
        audit = self.running.audit
        self.assertEqual(self.running.stop(), 0)
        done = self.expect(0, "audit", "query", audit, "--policy", "release", "-o", "json")
        rows = json.loads(done.stdout)
        self.assertEqual([(row["artifactName"], row["result"], row["principal"]) for row in rows], [("registry.example.com/app", "signed", SUBJECT)])
        self.assertRegex(done.stderr, r"^\d+ lines read, 2 operations, 1 shown\n$")
        table = list(csv.DictReader(io.StringIO(self.expect(0, "audit", "query", audit, "-o", "csv").stdout.decode())))
        self.assertEqual([row["policy"] for row in table], ["release", "ed"])
        lines = self.expect(0, "audit", "query", audit, "--digest", rows[0]["digest"][:20], "-o", "jsonl").stdout.splitlines()
        self.assertEqual(json.loads(lines[0])["operation"], rows[0]["operation"])
        made = out.read_bytes()
        for form in (made, base64.b64encode(made), base64.encodebytes(made), b" \r\n" + base64.b64encode(made) + b"\n\n",
                     base64.urlsafe_b64encode(made).rstrip(b"="), made.hex().encode() + b"\n"):
            with self.subTest(form=form[:16]):
                out.write_bytes(form)
                self.assertRegex(self.expect(0, "audit", "query", audit, "--signature", out).stderr, ", 1 shown\n$")
        out.write_bytes(b" \n")
        self.expect(3, "audit", "query", audit, "--signature", out)
        self.expect(0, "audit", "verify", audit)
        text = audit.read_text()
        audit.write_text(text.replace('"policy":"ed"', '"policy":"xy"'))
        done = self.expect(1, "audit", "query", audit)
        self.assertIn("not whole", done.stderr)
        self.assertIn(b"release", done.stdout)
        self.expect(2, "audit", "query", audit, "--since", "yesterday")


class LyingSocket(Cli):
    """Whatever sits at the socket's path: only what verifies is written."""

    def setUp(self):
        super().setUp()
        self.keys = {name: self.make_key(name) for name in ("release", "other")}
        self.file = self.folder / "app"
        self.file.write_bytes(b"what is signed")
        self.answer, self.key = self.signed("release"), self.published("release")
        self.socket = self.folder / "s"
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def address_string(self):
                return "unix"

            def send(self, body):
                data = json.dumps(body).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send(outer.answer)

            def do_GET(self):
                self.send(outer.key)

        class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True

        server = Server(str(self.socket), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        self.env = {"SIGNET_SOCKET": str(self.socket)}

    def make_key(self, name):
        key = self.folder / f"{name}.key"
        subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key], check=True, capture_output=True)
        pem = subprocess.run(["openssl", "ec", "-in", key, "-pubout"], check=True, capture_output=True).stdout
        (self.folder / f"{name}.pem").write_bytes(pem)
        der = subprocess.run(["openssl", "ec", "-in", key, "-pubout", "-outform", "DER"], check=True, capture_output=True).stdout
        return {"file": key, "pem": pem.decode(), "id": hashlib.sha256(der).hexdigest()}

    def signed(self, name, over=None):
        signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", self.keys[name]["file"]], input=over or self.file.read_bytes(),
                                   check=True, capture_output=True).stdout
        return {"signature": base64.b64encode(signature).decode(), "algorithm": "ECDSAWithSHA256", "keyID": self.keys[name]["id"], "record": "R"}

    def published(self, name):
        return {"policy": "release", "keyID": self.keys[name]["id"], "publicKey": self.keys[name]["pem"], "algorithms": ["ECDSAWithSHA256"],
                "ready": True, "suspended": False}

    def sign(self, code, *more):
        out = self.folder / "out.sig"
        done = self.expect(code, "sign", "--policy", "release", self.file, "-o", out, *more, env=self.env)
        self.assertEqual(out.exists(), code == 0, done.stderr)
        out.unlink(missing_ok=True)
        return done

    def test_writes_only_a_signature_that_verifies(self):
        self.sign(0)
        good = self.answer
        zeros = base64.b64encode(bytes(3)).decode()
        for wrong in ({"signature": zeros}, {"signature": ""}, {"signature": base64.b64encode(bytes(5000)).decode()}, {"signature": 7},
                      {"signature": "%%%"}, {"keyID": self.keys["other"]["id"]}, {"keyID": ""}, {"algorithm": "ECDSAWithSHA512"},
                      {"algorithm": "PureEd25519"}, {"algorithm": "none"}, {"algorithm": None}, self.signed("other"),
                      {"signature": self.signed("other")["signature"]}, {"signature": self.signed("release", b"something else")["signature"]}):
            with self.subTest(wrong=wrong):
                self.answer = {**good, **wrong}
                done = self.sign(1)
                self.assertNotIn("signed with", done.stderr)
        for answer in ([], None, "text"):
            with self.subTest(answer=answer):
                self.answer = answer
                self.sign(1)
        self.answer = good
        for key in ({"publicKey": ""}, {"publicKey": "no PEM"}, {"publicKey": self.keys["other"]["pem"]}):
            with self.subTest(key=key):
                self.key = {**self.published("release"), **key}
                self.sign(1)

    def test_the_form_is_the_one_that_was_asked_for(self):
        self.sign(1, "--encoding", "p1363")
        self.sign(1, "--algorithm", "ECDSAWithSHA384")

    def test_a_pinned_key_is_the_one_that_must_have_signed(self):
        self.sign(0, "--key", self.folder / "release.pem")
        self.sign(0, "--key-id", self.keys["release"]["id"].upper())
        self.answer, self.key = self.signed("other"), self.published("other")  # consistent, and somebody else's
        self.sign(0)
        self.assertIn("the pinned key is", self.sign(1, "--key", self.folder / "release.pem").stderr)
        self.assertIn("as --key-id asks", self.sign(1, "--key-id", self.keys["release"]["id"]).stderr)
        self.sign(3, "--key", self.file)
        self.sign(3, "--key", self.folder / "absent.pem")
        for pin in ("--key", "--key-id"):  # a variable that is not set
            self.assertIn("the value is empty", self.sign(2, pin, "").stderr)
            self.sign(2, f"{pin}=")

    def test_keys_of_another_id_are_not_shown_as_pem(self):
        self.expect(0, "keys", "release", "-o", "pem", env=self.env)
        self.key = {**self.published("release"), "publicKey": self.keys["other"]["pem"]}
        self.assertEqual(self.expect(1, "keys", "release", "-o", "pem", env=self.env).stdout, b"")
        good = self.published("release")
        for more in (self.keys["other"]["pem"], "and a text\n"):
            self.key = {**good, "publicKey": good["publicKey"] + more}
            self.assertEqual(self.expect(0, "keys", "release", "-o", "pem", env=self.env).stdout.decode(), good["publicKey"], "what was checked, and no more")
        for wrong in ({"policy": "other"}, {"policy": 7}, {"policy": None}, {"keyID": 7}, {"publicKey": ["x"]}, {"ready": "yes", "algorithms": 5}):
            with self.subTest(wrong=wrong):
                self.key = {**good, **wrong}
                self.assertIn("does not speak Signet's protocol", self.expect(1, "keys", "release", env=self.env).stderr)
        self.key = {}
        self.expect(1, "keys", "release", env=self.env)

    def test_a_key_without_what_the_protocol_promises_is_an_error_that_names_it(self):
        good = self.published("release")
        for member, wrong in (("algorithms", []), ("algorithms", [7]), ("ready", "yes"), ("suspended", None), ("size", "256"), ("reason", 1)):
            without = {name: value for name, value in good.items() if name != member}
            for key, said in ((without, f"has no member {member}"), ({**good, member: wrong}, f"has a member {member} that is not ")):
                if key is without and member not in good:
                    continue
                with self.subTest(said=said, key=key):
                    for command, answer in ((("keys", "release"), key), (("keys",), {"keys": [good, key]}), (("keys", "-o", "json"), {"keys": [key]})):
                        self.key = answer
                        done = self.expect(1, *command, env=self.env)
                        self.assertIn(f"{self.socket}: the key of policy release in the answer {said}", done.stderr)
                        self.assertEqual(done.stdout, b"")
        for answer in ({}, {"keys": 7}, {"keys": ["release"]}):
            self.key = answer
            self.assertIn("does not speak Signet's protocol", self.expect(1, "keys", env=self.env).stderr)
        self.key = {"keys": []}
        self.assertIn("No policies found", self.expect(0, "keys", env=self.env).stderr)

    def test_waiting_says_what_is_known(self):
        waits = {name: value for name, value in self.published("release").items() if name not in ("publicKey", "keyID")} | {"ready": False}
        known = "the key of policy release cannot be used yet"
        for more, said in (({}, known), ({"reason": "KeyNotReady", "message": ""}, f"KeyNotReady: {known}"), ({"message": "soon"}, "soon"),
                           ({"reason": "KeyNotFound", "message": "none there"}, "KeyNotFound: none there")):
            with self.subTest(more=more):
                self.key = {**waits, **more}
                done = self.expect(6, "wait", "--policy", "release", "--timeout", "200ms", env=self.env)
                self.assertEqual(done.stderr.splitlines()[-1], f"signet: not ready after 200ms: {said}")

    def verify(self, code, *more):
        signature = self.folder / "app.sig"
        signature.write_text(self.answer["signature"])
        return self.expect(code, "verify", self.file, "-s", signature, *more, env=self.env)

    def test_verify_compares_the_key_with_its_published_id_and_the_one_that_is_asked_for(self):
        own, other = (self.keys[name]["id"] for name in ("release", "other"))
        self.verify(0, "--policy", "release")
        self.verify(0, "--policy", "release", "--key-id", own.upper())
        for source in (("--policy", "release"), ("--key", self.folder / "release.pem")):
            self.assertIn(f"the key is {own}, not {other} as --key-id asks", self.verify(1, *source, "--key-id", other).stderr)
        self.key = {**self.published("release"), "keyID": other}
        self.assertIn(f"the key of policy release: the published key is {own}, but is named {other}", self.verify(1, "--policy", "release").stderr)
        self.key.pop("keyID")
        self.verify(1, "--policy", "release")
        self.key.pop("publicKey")
        self.assertIn("policy release publishes no key yet: `signet keys release` shows why", self.verify(1, "--policy", "release").stderr)

    def test_verify_says_what_it_compared_and_what_to_do(self):
        own = self.keys["release"]["id"]
        self.answer = self.signed("release", b"something else")
        for source, whose in ((("--policy", "release"), "of policy release"), (("--key", self.folder / "release.pem"), f"in {self.folder}/release.pem")):
            said = self.verify(1, *source).stderr
            for part in (f"the signature in {self.folder}/app.sig does not verify over {self.file} with the key {whose}, {own}",
                         "(tried ECDSAWithSHA256, ECDSAWithSHA384, ECDSAWithSHA512)", "compare file, signature and key with those of the signing"):
                self.assertIn(part, said)
        said = self.verify(1, "--policy", "release", "--algorithm", "SHA256WithRSA").stderr
        self.assertIn("SHA256WithRSA is no algorithm of the key of policy release, which is ECDSA: name another algorithm or key", said)


class Policies(Cli):
    def test_the_sample_passes(self):
        done = self.expect(0, "policy", "test", ROOT / "examples/policy-tests.yaml")
        self.assertRegex(done.stdout.decode().splitlines()[-1], r"^(\d+) of \1 passed$")

    def test_a_failing_case_fails(self):
        folder = self.policies(policy("release"))
        case = {"name": "builder", "policy": "release", "subject": {"username": SUBJECT}, "expect": "NotAllowed"}
        tests = write_yaml(self.folder / "tests.yaml", {"policies": ["policies"], "tests": [case]})
        done = self.expect(1, "policy", "test", tests)
        self.assertIn(b"expected NotAllowed, got Allowed", done.stdout)
        self.assertEqual(json.loads(signet("policy", "test", tests, "-o", "json").stdout)["failed"], 1)
        write_yaml(tests, {"policies": ["policies"], "tests": [{**case, "expcet": 1}]})
        self.assertIn("tests[0].expcet", self.expect(3, "policy", "test", tests).stderr)
        self.expect(0, "policy", "explain", "release", "-f", folder, "--as", SUBJECT)
        self.expect(5, "policy", "explain", "release", "-f", folder, "--as", "alice", line=False)
        self.expect(3, "policy", "explain", "other", "-f", folder, "--as", "alice")
        answer = json.loads(self.expect(0, "policy", "explain", "release", "-f", folder, "--as", SUBJECT, "-o", "json").stdout)
        self.assertEqual((answer["allowed"], answer["algorithm"]), (True, "ECDSAWithSHA256"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
