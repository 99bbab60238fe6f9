#!/usr/bin/python3
"""The signet command against a real API server, as admin and as the test cluster's users."""
import base64
import hashlib
import json
import subprocess
import unittest

import yaml

from harness import condition, digest_of, openssl_verifies, wait_for
from test_cli import CLEAN, SIGNET, Cli
from test_cluster import CLUSTER, KUBECONFIG, OWN_CLUSTER, Api, apply, get, kubectl


class Cluster(Api, Cli):
    def setUp(self):
        super().setUp()
        self.env = {"KUBECONFIG": KUBECONFIG}
        self.hsm = self.token()
        self.run_operator(self.hsm)

    def as_user(self, name):
        return {"KUBECONFIG": str(CLUSTER / f"kubeconfig.{name}")}

    def waiting_policy(self, **approvals):
        made = self.policy("release", approvals={"required": 1, "approvers": [{"kind": "User", "name": "bob"}], **approvals})
        made["spec"]["subjects"].append({"kind": "User", "name": "alice"})
        apply(made)
        self.policy_ready("release")

    def test_requests_and_show(self):
        self.waiting_policy()
        digest = digest_of(b"artifact")
        apply(self.request("first", "release", digest, artifact={"name": "registry.example.com/app"}), self.request("second", "nobody", digest))
        self.decided("first", "AwaitingApproval")
        self.decided("second", "Denied")
        table = self.expect(0, "requests", "-n", self.ns, env=self.env).stdout.decode().splitlines()
        self.assertEqual(table[0].split(), ["NAME", "STATE", "REASON", "POLICY", "ARTIFACT", "REQUESTER", "AGE"])
        self.assertEqual(len(table), 3)
        items = json.loads(self.expect(0, "requests", "-A", "--waiting", "-o", "json", env=self.env).stdout)["items"]
        self.assertIn("first", [item["metadata"]["name"] for item in items if item["metadata"]["namespace"] == self.ns])
        self.assertEqual(self.expect(0, "requests", "-n", self.ns, "--waiting", "-o", "name", env=self.env).stdout, b"signingrequest.signet.dev/first\n")
        self.assertIn("No requests found", self.expect(0, "requests", "-n", self.ns, "--policy", "none", env=self.env).stderr)
        text = self.expect(0, "show", "first", "-n", self.ns, env=self.env).stdout.decode()
        for part in (digest, "registry.example.com/app", self.user, "AwaitingApproval", "User bob", f"signet approve first -n {self.ns}"):
            self.assertIn(part, text)
        shown = yaml.safe_load(self.expect(0, "show", "first", "-n", self.ns, "-o", "yaml", env=self.env).stdout)
        self.assertEqual(shown["spec"], get("sigreq", "first", self.ns)["spec"])
        self.assertIn("not found", self.expect(1, "show", "absent", "-n", self.ns, env=self.env).stderr)
        self.expect(1, "approve", "second", "-n", self.ns, "--yes", env=self.env)  # is decided

    def test_the_form_that_is_written_is_of_the_key_that_verified(self):
        """A status whose signature is right, and whose public key is another's."""
        keys = {}
        for name, curve in (("mine", "prime256v1"), ("wide", "secp521r1")):
            key = self.folder / f"{name}.key"
            subprocess.run(["openssl", "ecparam", "-name", curve, "-genkey", "-noout", "-out", key], check=True, capture_output=True)
            keys[name] = subprocess.run(["openssl", "ec", "-in", key, "-pubout"], check=True, capture_output=True).stdout
            (self.folder / f"{name}.pem").write_bytes(keys[name])
        der = subprocess.run(["openssl", "pkey", "-pubin", "-in", self.folder / "mine.pem", "-outform", "DER"], check=True, capture_output=True).stdout
        file = self.folder / "signed"
        file.write_bytes(b"what is signed")
        signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", self.folder / "mine.key", file], check=True, capture_output=True).stdout
        status = {"signature": base64.b64encode(signature).decode(), "algorithm": "ECDSAWithSHA256", "keyID": hashlib.sha256(der).hexdigest(),
                  "record": "01KAS000000000000000000000", "conditions": [{"type": "Ready", "status": "True", "reason": "Signed", "message": "by hand",
                                                                          "lastTransitionTime": "2026-01-01T00:00:00Z"}]}
        self.end_processes()
        self.remove_webhooks()  # whoever may write statuses
        for name, published in (("mine", keys["mine"].decode()), ("wide", keys["wide"].decode()), ("garbage", "zz"), ("none", None)):
            with self.subTest(published=name):
                out = self.folder / f"{name}.sig"
                asked = subprocess.Popen([SIGNET, "sign", "--request", "--policy", "release", "--algorithm", "ECDSAWithSHA256", "--name", f"form-{name}", "-n", self.ns,
                                          "--encoding", "p1363", "--key", self.folder / "mine.pem", "-o", out, "--timeout", "60s", file],
                                         env={**CLEAN, **self.env}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                self.addCleanup(asked.kill)
                wait_for("the request", lambda name=name: get("sigreq", f"form-{name}", self.ns))
                kubectl("patch", "sigreq", f"form-{name}", "-n", self.ns, "--type=merge", "--subresource=status", "-p",
                        json.dumps({"status": {**status, **({"publicKey": published} if published else {})}}))
                self.assertEqual(asked.wait(90), 0, asked.stderr.read())
                self.assertEqual(out.stat().st_size, 64, "r||s of P-256")
                self.expect(0, "verify", "--key", self.folder / "mine.pem", "--signature", out, file)

    def test_keys_and_explain(self):
        self.waiting_policy()
        name = f"release-{self.id}"
        pem = self.expect(0, "keys", name, "-o", "pem", env=self.env).stdout.decode()
        self.assertEqual(pem, get("sigpol", name)["status"]["key"]["publicKey"])
        self.assertIn(name, self.expect(0, "keys", env=self.env).stdout.decode())
        self.expect(0, "policy", "explain", name, "--as", self.user, "--approvals", "1", env=self.env)
        done = self.expect(5, "policy", "explain", name, "--as", self.user, line=False, env=self.env)
        self.assertIn(b"AwaitingApproval", done.stdout)
        self.expect(1, "policy", "explain", "absent", "--as", self.user, env=self.env)

    def test_statements_for_signing_elsewhere(self):
        self.waiting_policy(requireSigned=True)
        apply(self.request("app", "release", digest_of(b"artifact")))
        self.decided("app", "AwaitingApproval")
        done = self.expect(0, "approve", "app", "-n", self.ns, "--print-statement", "--issued-at", "2026-11-23T09:00:00Z", env=self.env)
        said = json.loads(done.stdout)
        self.assertEqual(said["cluster"], get("namespace", "kube-system")["metadata"]["uid"])
        self.assertEqual(said["requestUID"], get("sigreq", "app", self.ns)["metadata"]["uid"])
        self.assertEqual((said["decision"], said["expiresAt"]), ("Approve", "2026-11-23T10:00:00Z"))
        key = self.folder / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        sign = subprocess.run(["ssh-keygen", "-q", "-Y", "sign", "-n", "signet-approval@signet.dev", "-f", str(key)], input=done.stdout, capture_output=True, check=True)
        armored = self.folder / "statement.sig"
        armored.write_bytes(sign.stdout)
        times = ["--issued-at", said["issuedAt"], "--expires-at"]
        self.expect(1, "approve", "app", "-n", self.ns, "--yes", "--signature", armored, *times, "2026-11-23T11:00:00Z", env=self.env)
        self.expect(1, "deny", "app", "-n", self.ns, "--yes", "--signature", armored, *times, said["expiresAt"], env=self.env)
        self.assertFalse([item for item in get("sigappr", namespace=self.ns)["items"]])

    @unittest.skipUnless(OWN_CLUSTER, "needs the users of the test cluster's token file")
    def test_a_release_from_question_to_signature(self):
        self.waiting_policy()
        file = self.folder / "App.tar.gz"
        file.write_bytes(b"artifact")
        said = self.folder / "said"
        with said.open("wb") as err:
            asking = subprocess.Popen([str(SIGNET), "sign", "--request", "--policy", f"release-{self.id}", str(file), "-n", self.ns, "--timeout", "60s"],
                                      stdout=subprocess.PIPE, stderr=err, stdin=subprocess.DEVNULL, env={**CLEAN, **self.as_user("alice")})
        self.addCleanup(asking.kill)
        name = wait_for("the request", lambda: next((item["metadata"]["name"] for item in get("sigreq", namespace=self.ns)["items"]), None))
        self.assertRegex(name, r"^app-tar-gz-[a-z0-9]{5}$")
        wait_for("the command to say what it waits for", lambda: b"AwaitingApproval" in said.read_bytes())
        for user in ("alice", "mallory"):
            done = self.expect(5, "approve", name, "-n", self.ns, "--yes", env=self.as_user(user))
            self.assertIn("refused: ", done.stderr)
        done = self.expect(0, "approve", name, "-n", self.ns, "--yes", "--comment", "fine", env=self.as_user("bob"))
        self.assertTrue(done.stdout.startswith(f"signingapproval.signet.dev/{name}-".encode()))
        out, _ = asking.communicate(timeout=60)
        self.assertEqual(asking.returncode, 0, said.read_text())
        pem = self.expect(0, "keys", f"release-{self.id}", "-o", "pem", env=self.env).stdout.decode()
        self.assertTrue(openssl_verifies(self.folder, pem, base64.b64decode(out), b"artifact", "sha256", []))
        self.expect(0, "verify", file, "--request", name, "-n", self.ns, env=self.env)
        self.assertEqual(condition(get("sigreq", name, self.ns)["status"], "Ready")["reason"], "Signed")

    @unittest.skipUnless(OWN_CLUSTER, "needs the users of the test cluster's token file")
    def test_waiting_ends_with_its_own_exit_code(self):
        self.waiting_policy()
        file = self.folder / "file"
        file.write_bytes(b"x")
        done = self.expect(6, "sign", "--request", "--policy", f"release-{self.id}", file, "-n", self.ns, "--timeout", "1s", env=self.as_user("alice"))
        self.assertIn("the request stays", done.stderr)
        name = self.expect(0, "sign", "--request", "--no-wait", "--policy", f"release-{self.id}", file, "-n", self.ns, "--name", "mine", env=self.env)
        self.assertEqual(name.stdout, b"signingrequest.signet.dev/mine\n")
        self.assertIn("already exists", self.expect(1, "sign", "--request", "--policy", "p", file, "-n", self.ns, "--name", "mine", env=self.env).stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
