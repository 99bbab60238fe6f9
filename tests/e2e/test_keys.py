#!/usr/bin/python3
"""Keys as the token keeps them, and answers that are given again: real programs, real SoftHSM."""
import contextlib
import subprocess
import unittest

from harness import Case, audit_verify, digest_of, policy, records, wait_for

MESSAGE = b"what the pipeline built"


class Proofs(Case):
    def anybody(self, token, *arguments):
        """pkcs11-tool without a PIN: SoftHSM lets it replace public objects."""
        done = subprocess.run(["pkcs11-tool", "--module", token.module, *arguments], env=token.env(), capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def plant(self, token, label):
        """Another pair's public key under the key's label and CKA_ID."""
        listed = self.anybody(token, "--list-objects", "--type", "pubkey")
        key_id = next(line.split()[-1] for line in listed.splitlines() if "ID:" in line)
        subprocess.run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", self.folder / "planted.pem"],
                       check=True, capture_output=True)
        subprocess.run(["openssl", "pkey", "-in", self.folder / "planted.pem", "-pubout", "-outform", "DER", "-out", self.folder / "planted.der"], check=True)
        self.anybody(token, "--delete-object", "--type", "pubkey", "--label", label)
        self.anybody(token, "--write-object", str(self.folder / "planted.der"), "--type", "pubkey", "--label", label, "--id", key_id)

    def test_a_planted_public_key_is_neither_published_nor_signed_for(self):
        token = self.token()
        folder = self.policies(policy("release"))
        self.generate_keys(token, folder)
        self.plant(token, "release")
        sidecar = self.sidecar(token, folder)

        def serves():
            with contextlib.suppress(OSError):
                return sidecar.client().call("GET", "/healthz").status == 200
        wait_for("the socket", serves)
        client = sidecar.client()
        wait_for("the reason", lambda: client.call("GET", "/v1/keys").json()["keys"][0].get("reason") == "KeyMismatch")
        refused = client.sign("release", digest_of(MESSAGE))
        self.assertEqual((refused.status, refused.json()["code"]), (503, "KeyNotReady"))
        self.assertIn("KeyMismatch", refused.json()["detail"], "requests are told what the policy shows")
        self.assertEqual(client.call("GET", "/v1/keys/release").status, 503, "the planted key is not given out")
        self.assertEqual(sidecar.stop(), 0)
        lines = records(sidecar.audit)
        self.assertEqual([line for line in lines if line["type"] in ("intent", "keyProven")], [])
        failed = [line for line in lines if line["type"] == "keyNotProven"]
        self.assertGreaterEqual(len(failed), 1, "the challenge was signed, so it is on record")
        self.assertEqual(failed[0]["token"], "prod")
        self.assertRegex(failed[0]["signatureSha256"], "^[0-9a-f]{64}$")

    def test_a_proof_is_on_record_before_the_first_intent(self):
        token = self.token()
        folder = self.policies(policy("release"))
        self.generate_keys(token, folder)
        sidecar = self.sidecar(token, folder).ready()
        self.assertEqual(sidecar.client().sign("release", digest_of(MESSAGE)).status, 200)
        self.assertEqual(sidecar.stop(), 0)
        lines = records(sidecar.audit)
        types = [line["type"] for line in lines]
        self.assertLess(types.index("keyProven"), types.index("intent"))
        intent = lines[types.index("intent")]
        for line in lines:
            if line["type"] == "keyProven":
                self.assertEqual(line["keyID"], intent["keyID"])
                self.assertEqual(line["token"], "prod")
        self.assertEqual(audit_verify(sidecar.audit).returncode, 0)


class Replays(Case):
    def test_a_repeated_answer_is_decided_and_on_record(self):
        token = self.token()
        folder = self.policies(policy("release"))
        self.generate_keys(token, folder)
        sidecar = self.sidecar(token, folder).ready()
        client = sidecar.client()
        one = {"policy": "release", "digest": digest_of(MESSAGE)}
        many = {"policy": "release", "items": [{"digest": digest_of(MESSAGE)}, {"digest": digest_of(b"another")}]}

        def sign():
            return client.call("POST", "/v1/sign", one, {"Idempotency-Key": "k1"})

        def batch():
            return client.call("POST", "/v1/sign/batch", many, {"Idempotency-Key": "k2"})
        first, first_batch = sign(), batch()
        self.assertEqual((first.status, first_batch.status), (200, 200))
        again = sign()
        self.assertEqual((again.status, again.body), (200, first.body))
        self.assertEqual(again.headers.get("Idempotency-Replayed"), "true")
        self.assertEqual(batch().body, first_batch.body)

        self.policies(policy("release", suspend=True))
        wait_for("suspend to hold", lambda: client.sign("release", digest_of(MESSAGE)).status == 403)
        for answer in (sign(), batch()):
            self.assertEqual((answer.status, answer.json()["code"]), (403, "Suspended"))
        (folder / "release.yaml").unlink()
        self.policies(policy("other"))
        wait_for("the policy to be gone", lambda: client.sign("release", digest_of(MESSAGE)).json()["code"] == "NotAllowed")
        for answer in (sign(), batch()):
            self.assertEqual((answer.status, answer.json()["code"]), (403, "NotAllowed"))

        self.assertEqual(sidecar.stop(), 0)
        replayed = [line for line in records(sidecar.audit) if line["type"] == "replayed"]
        made = [first.json()["record"], *(item["record"] for item in first_batch.json()["results"])]
        self.assertEqual([line["record"] for line in replayed], made, "each release has its line, and a refusal has none")
        self.assertEqual({line["policy"] for line in replayed}, {"release"})
        self.assertEqual(audit_verify(sidecar.audit).returncode, 0)


if __name__ == "__main__":
    unittest.main()
