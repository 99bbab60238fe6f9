#!/usr/bin/python3
"""Approvals end to end: the real operator on a folder of manifests, real SoftHSM, real ssh-keygen."""
import json
import pathlib
import subprocess
import unittest
from datetime import datetime, timedelta, timezone

from harness import Case, audit_verify, condition, digest_of, openssl_verifies, policy, records, request, wait_for, write_yaml
from test_crash import status_of

NAMESPACE = "signet-approval@signet.dev"
APPROVERS = [{"kind": "User", "name": "alice"}, {"kind": "User", "name": "bob"}]


def stamp(time):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


class Person:
    """Somebody with an SSH key."""

    def __init__(self, folder, name, kind="ed25519"):
        self.name = name
        self.key = pathlib.Path(folder) / f"{name}.key"
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", name, "-f", str(self.key)], check=True)
        self.public = self.key.with_suffix(".key.pub").read_text().strip()

    def sign(self, text):
        done = subprocess.run(["ssh-keygen", "-q", "-Y", "sign", "-n", NAMESPACE, "-f", str(self.key)], input=text.encode(), capture_output=True, check=True)
        return done.stdout.decode()


def statement(uid, digest, decision="Approve", generation=1, policy_uid="", issued=None, expires=None, name="app", policy_name="release"):
    """docs/approvals.md, word by word: made here without any code of Signet."""
    return json.dumps({"type": "signet-approval/v1", "cluster": "directory", "namespace": "ci", "request": name, "requestUID": uid, "digest": digest,
                       "algorithm": "ECDSAWithSHA256", "artifact": "", "mediaType": "", "policy": policy_name, "policyUID": policy_uid,
                       "policyGeneration": generation, "decision": decision, "issuedAt": issued, "expiresAt": expires}, separators=(",", ":")) + "\n"


class FolderApprovals(Case):
    def setUp(self):
        super().setUp()
        self.hsm = self.token()
        self.alice, self.bob = Person(self.folder, "alice"), Person(self.folder, "bob", "ecdsa")

    def begin(self, spec, roots=None):
        self.manifests = self.policies(policy("release", approvals=spec))
        extra = []
        if roots:
            file = write_yaml(self.folder / "roots.yaml", roots)
            extra = ["--approval-roots", file]
        self.running = self.operator(self.hsm, ["--store", f"dir:{self.manifests}"], extra=extra)
        self.digest = digest_of(b"artifact")
        self.ask("app")

    def ask(self, name, policy_name="release"):
        write_yaml(self.manifests / f"{name}.yaml", request(name, policy_name, self.digest))
        return self.wait_for_reason(name, "AwaitingApproval")

    def wait_for_reason(self, name, reason):
        def probe():
            status = status_of(self.manifests, name)
            return status if (condition(status, "Ready") or {}).get("reason") == reason else None
        return wait_for(f"{name} to be {reason}; it is {status_of(self.manifests, name)}", probe)

    def metadata(self, file, name):
        """uid and generation as the folder's owner gave them: from the status file."""
        import yaml
        for document in yaml.safe_load_all((self.manifests / f"{file}.status.yaml").read_text()):
            if document["metadata"]["name"] == name:
                return document["metadata"]
        raise AssertionError(f"no status of {name}")

    def approve(self, who, name="app", sign=None, decision="Approve", suffix="", uid=None, generation=None, **change):
        """`sign`: the Person whose key signs; `change`: what differs between what is signed and what is true."""
        uid = uid or self.metadata(name, name)["uid"]
        revision = self.metadata("release", "release")
        revision = {"uid": revision["uid"], "generation": generation or revision.get("generation", 1)}
        spec = {"requestRef": {"name": name, "uid": uid}, "decision": decision, "policy": revision, "approver": {"username": who}}
        if sign:
            now = datetime.now(timezone.utc)
            times = {"issued": stamp(now - timedelta(seconds=5)), "expires": stamp(now + timedelta(hours=1))}
            said = {"uid": uid, "digest": self.digest, "decision": decision, "generation": revision["generation"], "policy_uid": revision["uid"],
                    "name": name, **times, **change}
            spec["signed"] = {"issuedAt": said["issued"], "expiresAt": said["expires"], "signature": sign.sign(statement(**said))}
        document = {"apiVersion": "signet.dev/v1alpha1", "kind": "SigningApproval", "metadata": {"name": f"{name}-{who}{suffix}", "namespace": "ci"}, "spec": spec}
        write_yaml(self.manifests / f"{name}-{who}{suffix}.yaml", document)
        return self.line(name, f"{name}-{who}{suffix}")

    def line(self, name, approval):
        def probe():
            lines = (status_of(self.manifests, name) or {}).get("approvals", [])
            return next((line for line in lines if line["name"] == approval), None)
        return wait_for(f"{approval} in the status of {name}: {status_of(self.manifests, name)}", probe)

    def roots(self, required=2, **rule):
        return {"rules": [{"policy": "release", "required": required, **rule,
                           "approvers": [{"username": person.name, "keys": [person.public]} for person in (self.alice, self.bob)]}]}

    def assert_signed(self, name, approvers):
        status = self.wait_for_reason(name, "Signed")
        self.assertTrue(openssl_verifies(self.folder, status["publicKey"], self.b64(status["signature"]), b"artifact", "sha256", []))
        self.assertEqual([line["approver"] for line in status["approvals"] if line["counts"]], approvers)
        intent = next(line for line in records(self.running.audit) if line["type"] == "intent" and line["operation"] == status["record"])
        self.assertEqual([approved["approver"] for approved in intent["approvals"]], approvers)
        return intent

    def test_two_people_and_nobody_else(self):
        self.begin({"required": 2, "approvers": APPROVERS})
        self.assertEqual(self.approve("mallory")["reason"], "NotAnApprover")
        self.assertEqual(self.approve("alice")["reason"], "Counts")
        self.assertEqual(self.approve("alice", suffix="-again")["reason"], "SamePerson")
        self.assertEqual(self.approve("bob", suffix="-other", uid="another")["reason"], "OtherRequest")
        self.assertEqual(self.approve("bob", suffix="-old", generation=7)["reason"], "PolicyChanged")
        self.assertFalse([line for line in records(self.running.audit) if line["type"] == "intent"], "nothing may be signed yet")
        self.approve("bob", suffix="-now")
        self.assert_signed("app", ["alice", "bob"])

    def test_an_edit_of_the_policy_makes_approvals_stale(self):
        self.begin({"required": 2, "approvers": APPROVERS})
        self.assertEqual(self.approve("alice")["reason"], "Counts")
        write_yaml(self.manifests / "release.yaml", policy("release", description="edited", approvals={"required": 2, "approvers": APPROVERS}))
        wait_for("the approval to be stale", lambda: self.line("app", "app-alice")["reason"] == "PolicyChanged")

    def test_one_no_ends_it(self):
        self.begin({"required": 1, "approvers": APPROVERS})
        uid = self.metadata("app", "app")["uid"]
        self.approve("mallory", decision="Deny")
        document = {"apiVersion": "signet.dev/v1alpha1", "kind": "SigningApproval", "metadata": {"name": "no", "namespace": "ci"},
                    "spec": {"requestRef": {"name": "app", "uid": uid}, "decision": "Deny", "comment": "wrong tag", "approver": {"username": "bob"}}}
        write_yaml(self.manifests / "no.yaml", document)
        status = self.wait_for_reason("app", "Denied")
        self.assertEqual(condition(status, "Denied")["reason"], "DeniedByApprover")
        self.assertIn("bob said no: wrong tag", condition(status, "Denied")["message"])

    def test_signed_approvals_cannot_be_forged(self):
        self.begin({"required": 2, "approvers": APPROVERS, "requireSigned": True}, self.roots())
        self.assertEqual(self.approve("alice")["reason"], "NotSigned")
        self.assertEqual(self.approve("alice", suffix="-stolen", sign=self.bob)["reason"], "UnknownKey")
        self.assertEqual(self.approve("alice", suffix="-turned", sign=self.alice, **{"decision": "Approve"}, name="app", digest=digest_of(b"evil"))["reason"], "SignatureInvalid")
        late = stamp(datetime.now(timezone.utc) - timedelta(seconds=1))
        self.assertEqual(self.approve("alice", suffix="-late", sign=self.alice, expires=late)["reason"], "Expired")
        # A signed Deny that is presented as an Approve.
        turned = self.approve("bob", suffix="-turned", sign=_Turned(self.bob))
        self.assertEqual(turned["reason"], "SignatureInvalid")
        good = self.approve("alice", suffix="-good", sign=self.alice)
        self.assertEqual((good["reason"], good["counts"]), ("Counts", True))
        self.approve("bob", suffix="-good", sign=self.bob)
        intent = self.assert_signed("app", ["alice", "bob"])
        self.assertTrue(all(approved["signedBy"].startswith("SHA256:") for approved in intent["approvals"]))
        # What was signed for one request is nothing for the next.
        self.ask("next")
        replay = self.approve("alice", name="next", sign=self.alice, uid=None, **{"digest": digest_of(b"other")})
        self.assertEqual(replay["reason"], "SignatureInvalid")
        done = audit_verify(self.running.audit)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_roots_hold_whatever_the_policy_says(self):
        self.manifests = self.policies(policy("release"))
        self.generate_keys(self.hsm, self.manifests)
        key_id = status_of(self.manifests, "release")["key"]["keyID"]
        self.begin({"required": 1, "approvers": [{"kind": "User", "name": "*"}]}, self.roots(keyID=key_id))
        self.assertEqual(self.approve("mallory")["reason"], "NotSigned")
        # Lowered to nothing: still two signatures are wanted.
        write_yaml(self.manifests / "release.yaml", policy("release"))
        message = lambda: condition(status_of(self.manifests, "app"), "Ready")["message"]
        wait_for("the roots to speak", lambda: "0 of 2 signed approvals" in message())
        # Another policy for the same key.
        other = policy("other")
        other["spec"]["key"] = {"uri": "pkcs11:token=prod;object=release"}
        write_yaml(self.manifests / "other.yaml", other)
        wait_for("the other policy", lambda: (condition(status_of(self.manifests, "other"), "Ready") or {}).get("status") == "True")
        self.ask("around", "other")
        self.assertIn("approval roots", condition(status_of(self.manifests, "around"), "Ready")["message"])
        self.assertFalse([line for line in records(self.running.audit) if line["type"] == "intent"])

    def test_bad_roots_end_the_start(self):
        self.manifests = self.policies(policy("release"))
        file = write_yaml(self.folder / "roots.yaml", self.roots(required=3))
        operator = self.operator(self.hsm, ["--store", f"dir:{self.manifests}"], extra=["--approval-roots", file])
        self.assertEqual(operator.wait(), 3)
        self.assertIn("lists 2 people, 3 are required", operator.tail())


class _Turned:
    """Signs the opposite decision."""

    def __init__(self, person):
        self.person = person

    def sign(self, text):
        return self.person.sign(text.replace('"decision":"Approve"', '"decision":"Deny"'))


if __name__ == "__main__":
    unittest.main(verbosity=2)
