#!/usr/bin/python3
"""Two operators on a real kube-apiserver: what a replica that does not lead knows, and what they share."""
import json
import signal
import unittest

from harness import audit_verify, away_from_midnight, condition, digest_of, records, wait_for
from test_cluster import OWN_CLUSTER, Api, apply, get, kubectl


def logged(operator, message, **fields):
    """The first line of the log that says so."""
    for line in operator.log.read_text(errors="replace").splitlines():
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if found.get("msg") == message and all(found.get(name) == value for name, value in fields.items()):
            return found
    return None


class Replicas(Api):
    def reasons(self, names):
        found = {}
        for name in names:
            ready = condition((get("sigreq", name, self.ns) or {}).get("status"), "Ready")
            found[name] = ready["reason"] if ready else ""
        return found

    def test_a_follower_has_the_key_and_can_take_over(self):
        token = self.token()
        first = self.run_operator(token, name="a")
        apply(self.policy("release"))
        key = self.policy_ready("release")["status"]["key"]["keyID"]
        second = self.run_operator(token, name="b", wait=False)
        name = f"release-{self.id}"
        wait_for("the follower to have the key", lambda: logged(second, "policy followed", policy=name, key=key), 60)
        apply(self.policy("later"))
        later = self.policy_ready("later")["status"]["key"]["keyID"]
        wait_for("the follower to have the new key, too", lambda: logged(second, "policy followed", policy=f"later-{self.id}", key=later), 60)
        self.assertEqual([line for line in records(second.audit) if line["type"] == "keyGenerated"], [])
        generation = get("sigpol", name)["metadata"]["resourceVersion"]
        first.kill()
        apply(self.request("after", "release", digest_of(b"after")))
        self.assertEqual(self.decided("after", "Signed", 90)["status"]["keyID"], key)
        self.assertEqual(get("sigpol", name)["metadata"]["resourceVersion"], generation, "a new leader has nothing to say about it")

    def test_a_no_stands_until_a_leader_has_heard_it(self):
        token = self.token()
        lease = ("--lease-duration", "45")  # all that the reviewer is asked is over before it leads
        first = self.run_operator(token, name="a", extra=lease)
        apply(self.policy("held", approvals={"required": 1, "approvers": [{"kind": "User", "name": "alice"}]}))
        key = self.policy_ready("held")["status"]["key"]["keyID"]
        second = self.run_operator(token, name="b", wait=False, extra=lease)
        wait_for("the follower to have the key", lambda: logged(second, "policy followed", policy=f"held-{self.id}", key=key), 60)
        apply(self.request("app", "held", digest_of(b"app")))
        uid = wait_for("the request to wait", lambda: self.reasons(["app"])["app"] and get("sigreq", "app", self.ns))["metadata"]["uid"]
        first.signal(signal.SIGSTOP)  # it leads, and does nothing; the other answers reviews
        self.addCleanup(first.signal, signal.SIGCONT)
        for kind in ("mutatingwebhookconfiguration", "validatingwebhookconfiguration"):
            found = json.dumps(get(kind, "signet.dev")).replace(f":{self.ports['a']}/", f":{self.ports['b']}/")
            kubectl("replace", "-f", "-", data=found)
        denial = {"apiVersion": "signet.dev/v1alpha1", "kind": "SigningApproval", "metadata": {"name": "no", "namespace": self.ns},
                  "spec": {"requestRef": {"name": "app", "uid": uid}, "decision": "Deny"}}
        wait_for("the no to be said",
                 lambda: kubectl("create", "-f", "-", "--as", "alice", "--as-group", "signet-test-users", data=json.dumps(denial), check=False).returncode == 0)
        for what in (["no"], ["--all"]):
            done = kubectl("delete", "signingapprovals.signet.dev", *what, "-n", self.ns, check=False)
            self.assertNotEqual(done.returncode, 0, done.stdout)
            self.assertIn("this no still stands: the SigningRequest app is not decided yet", done.stderr)
        status = self.decided("app", "Denied", 180)["status"]
        self.assertEqual(condition(status, "Denied")["reason"], "DeniedByApprover")
        kubectl("delete", "signingapprovals.signet.dev", "no", "-n", self.ns)

    def test_a_follower_settles_what_its_own_record_left_open(self):
        token = self.token()
        apply(self.policy("release"))
        first = self.run_operator(token, name="a", env={"SIGNET_KILL_POINT": "after-patch"})
        self.policy_ready("release")
        second = self.run_operator(token, name="b", wait=False)
        apply(self.request("left", "release", digest_of(b"left")))
        operation = self.decided("left", "Signed")["status"]["record"]
        self.assertEqual(first.wait(60), -signal.SIGKILL)
        wait_for("the other replica to lead", lambda: logged(second, "controller started", controller="request"), 90)
        kubectl("delete", "sigreq", "left", "-n", self.ns)  # as its TTL would
        first.log.unlink()
        first = self.run_operator(token, name="a", wait=False)

        def released():
            return [line for line in records(first.audit) if line["type"] == "release" and line["operation"] == operation]
        wait_for("the record of the replica that follows to say how it ended", released, 60)
        self.assertEqual([(line["released"], line["reason"]) for line in released()], [(None, "DeliveryUnknown")])
        self.assertIsNone(logged(first, "controller started", controller="request"), "it does not lead")
        self.assertEqual(first.stop(), 0)
        done = audit_verify(first.audit)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("1 perhaps released", done.stdout)

    def test_a_days_budget_is_one_for_all_replicas(self):
        away_from_midnight()
        token = self.token()
        first = self.run_operator(token, name="a")
        apply(self.policy("scarce", quota={"perDay": 4}))
        self.assertIn("all replicas", condition(self.policy_ready("scarce")["status"], "Ready")["message"])
        self.run_operator(token, name="b", wait=False)
        names = [f"r{number}" for number in range(6)]
        apply(*[self.request(name, "scarce", digest_of(name.encode())) for name in names])

        def spent():
            counts = sorted(self.reasons(names).values())
            return counts if counts == ["QuotaExceeded"] * 2 + ["Signed"] * 4 else None
        wait_for("four signatures, and two that wait", spent, 60)
        book = self.book("scarce")
        self.assertEqual(sum(row["lent"] for row in book[""].values()), 4)

        first.kill()
        apply(self.request("other", "scarce", digest_of(b"other")))
        self.assertEqual(condition(self.decided("other", "QuotaExceeded", 90)["status"], "Ready")["status"], "False")
        kubectl("delete", "sigreq", "other", "-n", self.ns)
        kubectl("patch", "sigpol", f"scarce-{self.id}", "--type=merge", "-p", json.dumps({"spec": {"quota": {"perDay": 6}}}))
        wait_for("a raised limit to hold", lambda: list(self.reasons(names).values()) == ["Signed"] * 6, 90)
        self.assertEqual(sum(row["lent"] for row in self.book("scarce")[""].values()), 6)

    def book(self, name):
        """subject -> stream -> row of today, from the policy's member of a ConfigMap."""
        for item in get("configmap", namespace="signet-system")["items"]:
            if not item["metadata"]["name"].startswith("signet-quota-"):
                continue
            for text in (item.get("data") or {}).values():
                book = json.loads(text)
                if book["policy"] == f"{name}-{self.id}":
                    return book["days"][max(book["days"])]
        raise AssertionError(f"no ConfigMap has the budget of {name}")


if __name__ == "__main__":
    assert OWN_CLUSTER
    unittest.main()
