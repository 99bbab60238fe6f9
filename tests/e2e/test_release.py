#!/usr/bin/python3
"""Who asks and who approves, on a real kube-apiserver with real users: alice, bob and mallory have tokens of their own."""
import copy
import json
import subprocess
import unittest
from datetime import datetime, timedelta, timezone

from harness import ROOT, client, condition, digest_of, openssl_verifies, records, wait_for, write_yaml
from test_approvals import NAMESPACE, Person, _Turned, stamp
from test_cluster import CLUSTER, OWN_CLUSTER, Api, apply, get, kubectl, webhook_is_away

import signal


def put(made):
    kubectl("apply", "-f", "-", data=json.dumps(made))


def kubectl_as(user, *args, data=None):
    """kubectl with that user's own token."""
    return subprocess.run([client("kubectl"), "--kubeconfig", str(CLUSTER / f"kubeconfig.{user}"), *args], input=data, capture_output=True, text=True, timeout=60)


@unittest.skipUnless(OWN_CLUSTER, "needs the users of our own API server's token file")
class Approvals(Api):
    def setUp(self):
        super().setUp()
        self.ci = f"system:serviceaccount:{self.ns}:ci"
        kubectl("apply", "-f", str(ROOT / "examples/roles.yaml"))
        for index, subject in enumerate(({"kind": "User", "name": "alice"}, {"kind": "User", "name": "bob"}, {"kind": "User", "name": "mallory"},
                                         {"kind": "ServiceAccount", "name": "ci", "namespace": self.ns})):
            for role in ("signet-approver", "signet-requester"):
                self.bind(f"{role}-{index}", role, subject)
        self.hsm = self.token()

    def bind(self, name, role, subject):
        if subject["kind"] == "User":
            subject = {**subject, "apiGroup": "rbac.authorization.k8s.io"}
        put({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": name, "namespace": self.ns},
               "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}, "subjects": [subject]})

    def release(self, **approvals):
        made = self.policy("release")
        made["spec"]["subjects"] = [{"kind": "ServiceAccount", "namespace": self.ns, "name": "ci"}]
        made["spec"]["approvals"] = {"required": 2, "approvers": [{"kind": "User", "name": "alice"}, {"kind": "User", "name": "bob"},
                                                                  {"kind": "ServiceAccount", "namespace": self.ns, "name": "ci"}], **approvals}
        return made

    def ask(self, name="app"):
        self.digest = digest_of(b"artifact")
        wanted = self.request(name, "release", self.digest, username=None)
        done = kubectl(f"--as={self.ci}", "create", "-f", "-", data=json.dumps(wanted))
        self.assertIn("created", done.stdout)
        found = self.decided(name, "AwaitingApproval")
        self.assertEqual(found["spec"]["requester"]["username"], self.ci)
        return found

    def approval(self, found, name, **spec):
        return {"apiVersion": "signet.dev/v1alpha1", "kind": "SigningApproval", "metadata": {"name": name, "namespace": self.ns},
                "spec": {"requestRef": {"name": found["metadata"]["name"], "uid": found["metadata"]["uid"]}, "decision": "Approve", **spec}}

    def approve(self, user, found, name=None, **spec):
        return kubectl_as(user, "create", "-f", "-", data=json.dumps(self.approval(found, name or f"{found['metadata']['name']}-{user}", **spec)))

    def assert_refused(self, done, *words):
        self.assertNotEqual(done.returncode, 0, done.stdout)
        for word in words:
            self.assertIn(word, done.stderr)

    def line(self, request_name, approval, reason):
        def probe():
            lines = (get("sigreq", request_name, self.ns).get("status") or {}).get("approvals", [])
            return next((line for line in lines if line["name"] == approval and line["reason"] == reason), None)
        return wait_for(f"{approval} to be {reason}", probe)

    def assert_signed(self, name, approvers, audit):
        found = self.decided(name, "Signed")
        status = found["status"]
        self.assertTrue(openssl_verifies(self.folder, status["publicKey"], self.b64(status["signature"]), b"artifact", "sha256", []))
        self.assertEqual([line["approver"] for line in status["approvals"] if line["counts"]], approvers)
        intent = next(line for line in records(audit) if line["type"] == "intent" and line["operation"] == status["record"])
        self.assertEqual([approved["approver"] for approved in intent["approvals"]], approvers)
        self.assertEqual((intent["principal"], intent["identity"]), (self.ci, "admission"))

    def assert_nothing_signed(self, operator):
        self.assertFalse([line for line in records(operator.audit) if line["type"] == "intent"])

    def forge(self, operator, objects):
        """cluster-admin at their worst: the webhook configurations go while the operator cannot put them back."""
        operator.signal(signal.SIGSTOP)
        try:
            for kind in ("mutatingwebhookconfiguration", "validatingwebhookconfiguration"):
                kubectl("delete", kind, "signet.dev")
            for made in objects:
                wait_for(f"{made['metadata']['name']} to be let in", lambda made=made: self.put_unseen(made), 60, interval=0.2)
        finally:
            operator.signal(signal.SIGCONT)
        for kind in ("mutatingwebhookconfiguration", "validatingwebhookconfiguration"):
            wait_for(f"the {kind} to come back", lambda k=kind: get(k, "signet.dev"), 60)
        self.webhook_serves()

    def put_unseen(self, made):
        """False: the API server has not seen yet that the webhook is gone."""
        done = kubectl("apply", "-f", "-", data=json.dumps(made), check=False)
        if done.returncode != 0 and not webhook_is_away(done.stderr):
            raise AssertionError(f"kubectl apply: {done.stderr}")
        return done.returncode == 0

    def test_two_of_n_and_nothing_else_counts(self):
        operator = self.run_operator(self.hsm)
        apply(self.release())
        self.policy_ready("release")
        found = self.ask()
        self.assert_refused(self.approve("mallory", found), "approver")
        own = kubectl(f"--as={self.ci}", "create", "-f", "-", data=json.dumps(self.approval(found, "app-ci")), check=False)
        self.assert_refused(own, "whoever asks cannot approve")
        self.assertEqual(self.approve("alice", found).returncode, 0)
        self.line("app", "app-alice", "Counts")
        self.assert_refused(self.approve("alice", found, "app-alice-2"), "counted already")
        other = copy.deepcopy(found)
        other["metadata"]["uid"] = "00000000-0000-0000-0000-000000000000"
        self.assert_refused(self.approve("bob", other), "uid")
        self.assert_refused(self.approve("mallory", found, approver={"username": "bob"}), "approver")

        # A forged stamp, as bob's: copied from alice's, and made while nobody was looking.
        genuine = get("sigappr", "app-alice", self.ns)["spec"]
        forged = self.approval(found, "app-forged", approver={"username": "bob"}, stamp=genuine["stamp"], policy=genuine["policy"])
        bare = self.approval(found, "app-bare", approver={"username": "bob"}, policy=genuine["policy"])
        self.forge(operator, [forged, bare])
        self.line("app", "app-forged", "NotStamped")
        self.line("app", "app-bare", "NotStamped")
        self.assert_nothing_signed(operator)

        # An edit of the policy makes alice's yes stale; then both say yes to what is in force now.
        edited = self.release()
        edited["spec"]["description"] = "edited"
        apply(edited)
        self.line("app", "app-alice", "PolicyChanged")
        self.assertEqual(self.approve("alice", found, "app-alice-new").returncode, 0)
        self.assert_nothing_signed(operator)
        self.assertEqual(self.approve("bob", found).returncode, 0)
        self.assert_signed("app", ["alice", "bob"], operator.audit)
        # The webhook judges by the operator's copy of the request, which is a moment older.
        wait_for("a late yes to be refused as late", lambda: "decided already" in self.approve("bob", found, "app-late").stderr)

    def test_one_no_ends_it(self):
        self.run_operator(self.hsm)
        apply(self.release())
        self.policy_ready("release")
        found = self.ask()
        self.assertEqual(self.approve("alice", found).returncode, 0)
        self.assertEqual(self.approve("bob", found, decision="Deny", comment="wrong tag").returncode, 0)
        denied = self.decided("app", "Denied")
        self.assertEqual(condition(denied["status"], "Denied")["reason"], "DeniedByApprover")
        self.assertIn("bob said no: wrong tag", condition(denied["status"], "Denied")["message"])

    def test_approvals_expire(self):
        operator = self.run_operator(self.hsm)
        apply(self.release(validFor="1m"))
        self.policy_ready("release")
        found = self.ask()
        self.assertEqual(self.approve("alice", found).returncode, 0)
        given = get("sigappr", "app-alice", self.ns)["spec"]["stamp"]["time"]
        end = datetime.fromisoformat(given.replace("Z", "+00:00")) + timedelta(minutes=1)
        wait_for("a minute to pass", lambda: datetime.now(timezone.utc) > end, 90, interval=1)
        self.assertEqual(self.approve("bob", found).returncode, 0)
        self.line("app", "app-alice", "Expired")
        self.assert_nothing_signed(operator)

    def signed(self, found, person, signer=None, **change):
        """`spec.signed` and `spec.policy` as docs/approvals.md says, made by ssh-keygen and nothing of ours."""
        revision = get("sigpol", f"release-{self.id}")["metadata"]
        now = datetime.now(timezone.utc)
        said = {"type": "signet-approval/v1", "cluster": get("namespace", "kube-system")["metadata"]["uid"], "namespace": self.ns,
                "request": found["metadata"]["name"], "requestUID": found["metadata"]["uid"], "digest": self.digest, "algorithm": "ECDSAWithSHA256",
                "artifact": "", "mediaType": "", "policy": f"release-{self.id}", "policyUID": revision["uid"], "policyGeneration": revision["generation"],
                "decision": "Approve", "issuedAt": stamp(now - timedelta(seconds=5)), "expiresAt": stamp(now + timedelta(hours=1)), **change}
        text = json.dumps(said, separators=(",", ":")) + "\n"
        return {"policy": {"uid": revision["uid"], "generation": revision["generation"]},
                "signed": {"issuedAt": said["issuedAt"], "expiresAt": said["expiresAt"], "signature": (signer or person).sign(text)}}

    def test_roots_stay_firm_against_cluster_admin(self):
        alice, bob = Person(self.folder, "alice"), Person(self.folder, "bob", "ecdsa")
        roots = write_yaml(self.folder / "roots.yaml", {"rules": [{"policy": f"release-{self.id}", "required": 2, "approvers": [
            {"username": person.name, "keys": [person.public]} for person in (alice, bob)]}]})
        operator = self.run_operator(self.hsm, extra=("--approval-roots", roots))
        apply(self.release(requireSigned=True))
        self.policy_ready("release")
        found = self.ask()
        self.assert_refused(self.approve("alice", found), "signed")
        self.assert_refused(self.approve("alice", found, **self.signed(found, alice, _Turned(alice))), "does not stand for")
        self.assert_refused(self.approve("alice", found, **self.signed(found, alice, requestUID="another")), "does not stand for")
        self.assert_refused(self.approve("alice", found, **self.signed(found, bob)), "do not list")

        # cluster-admin: mallory an approver, one yes enough, then none; the webhook away; an approval out of nothing.
        for change in ({"required": 1, "requireSigned": False, "approvers": [{"kind": "User", "name": "*"}]}, {"required": 0, "requireSigned": False}):
            apply(self.release(**change))
            word = "signed" if len(change) == 3 else ""

            def refused(name=f"app-m{len(change)}", word=word):
                done = self.approve("mallory", found, name)
                self.assert_refused(done)
                return word in done.stderr  # else the operator has not seen the edit yet
            wait_for(f"the refusal to say '{word}'", refused, interval=0.2)
        self.forge(operator, [self.approval(found, f"app-forged-{name}", approver={"username": name}, **self.signed(found, person))
                              for name, person in (("alice", alice), ("bob", bob))])
        self.line("app", "app-forged-alice", "NotStamped")
        self.assert_nothing_signed(operator)

        apply(self.release())
        wait_for("the policy's last revision in force", lambda: self.approve("alice", found, **self.signed(found, alice)).returncode == 0)
        self.assert_nothing_signed(operator)
        self.assertEqual(self.approve("bob", found, **self.signed(found, bob)).returncode, 0)
        self.assert_signed("app", ["alice", "bob"], operator.audit)


@unittest.skipUnless(OWN_CLUSTER, "needs the users of our own API server's token file")
class Roles(Api):
    def can(self, user, verb, resource, *more):
        return kubectl("auth", "can-i", verb, resource, f"--as={user}", *more, check=False).stdout.strip().splitlines()[-1:] == ["yes"]

    def test_each_role_opens_its_doors_and_no_other(self):
        kubectl("apply", "-f", str(ROOT / "examples/roles.yaml"))
        expected = {  # role: (requests, approvals, policies): verbs that are allowed
            "signet-requester": ({"create", "delete", "get"}, {"get"}, set()),
            "signet-viewer": ({"get"}, {"get"}, set()),
            "signet-approver": ({"get"}, {"create", "get"}, set()),
            "signet-policy-viewer": (set(), set(), {"get"}),
            "signet-policy-author": (set(), set(), {"create", "delete", "get", "patch", "update"}),
            "signet-auditor": ({"get"}, {"get"}, {"get"}),
        }
        for role, allowed in expected.items():
            user = f"{role}-{self.id}"
            put({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": user},
                   "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
                   "subjects": [{"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}]})
            self.addCleanup(lambda name=user: kubectl("delete", "clusterrolebinding", name, check=False))
            resources = ("signingrequests", "signingapprovals", "signingpolicies")
            first = next(resource for resource, verbs in zip(resources, allowed) if verbs)
            wait_for(f"the API server to see {role}", lambda u=user, r=first: self.can(u, "get", f"{r}.signet.dev", "-n", self.ns), 60)
            for resource, verbs in zip(resources, allowed):
                for verb in ("create", "delete", "get", "patch", "update"):
                    self.assertEqual(self.can(user, verb, f"{resource}.signet.dev", "-n", self.ns), verb in verbs, f"{role} {verb} {resource}")
                self.assertFalse(self.can(user, "update", f"{resource}.signet.dev", "--subresource=status", "-n", self.ns) and resource != "signingpolicies", role)


if __name__ == "__main__":
    unittest.main(verbosity=2)
