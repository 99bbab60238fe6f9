#!/usr/bin/python3
"""The admission webhooks of the real operator on a real kube-apiserver, against people who may write what they like."""
import base64
import concurrent.futures
import http.client
import json
import re
import signal
import ssl
import threading
import unittest
import urllib.error
import urllib.parse
import urllib.request

import yaml

from harness import condition, digest_of, records, wait_for, write_yaml
from test_cluster import CLUSTER, OWN_CLUSTER, Api, apply, get, kubectl

GROUP = "/apis/signet.dev/v1alpha1"


class User:
    """A user of the token file, on one keep-alive connection."""

    def __init__(self, name):
        self.name = name
        self.file = str(CLUSTER / f"kubeconfig.{name}")
        config = yaml.safe_load(open(self.file, encoding="utf-8"))
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.token = user["token"]
        self.server = urllib.parse.urlsplit(cluster["server"])
        self.context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        self.connection = None

    def call(self, method, path, body=None, content_type="application/json"):
        """(status, object)"""
        if self.connection is None:
            self.connection = http.client.HTTPSConnection(self.server.hostname, self.server.port, timeout=30, context=self.context)
        self.connection.request(method, path, body=json.dumps(body) if body is not None else None,
                                headers={"Authorization": f"Bearer {self.token}", "Content-Type": content_type})
        response = self.connection.getresponse()
        return response.status, json.loads(response.read())

    def kubectl(self, *args, data=None):
        return kubectl("--kubeconfig", self.file, *args, data=data, check=False)


@unittest.skipUnless(OWN_CLUSTER, "needs the users of the test cluster's token file")
class Admission(Api):
    def setUp(self):
        super().setUp()
        self.alice, self.bob, self.mallory = User("alice"), User("bob"), User("mallory")
        # Mallory may do in this namespace whatever there is to do.
        role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "everything", "namespace": self.ns},
                "rules": [{"apiGroups": ["signet.dev"], "resources": ["*"], "verbs": ["*"]}]}
        kubectl("apply", "-f", "-", data=json.dumps(role))
        kubectl("create", "rolebinding", "mallory", "--role=everything", "--user=mallory", "-n", self.ns)
        self.hsm = self.token()
        self.requests = f"{GROUP}/namespaces/{self.ns}/signingrequests"

    def for_alice(self, name="release", **spec):
        made = self.policy(name, **spec)
        made["spec"]["subjects"] = [{"kind": "User", "name": "alice"}]
        return made

    def ask(self, name, requester=None, stamp=None, policy_name="release"):
        made = self.request(name, policy_name, digest_of(b"x"), username=requester)
        if stamp:
            made["spec"]["stamp"] = stamp
        return made

    def begin(self, **options):
        operator = self.run_operator(self.hsm, **options)
        apply(self.for_alice())
        self.policy_ready("release")
        return operator

    def assert_refused(self, answer, text, status=403):
        self.assertEqual(answer[0], status, answer[1])
        self.assertIn(text, answer[1]["message"])

    def assert_never_signed(self, operator, names):
        uids = {get("sigreq", name, self.ns)["metadata"]["uid"] for name in names}
        self.assertFalse([line for line in records(operator.audit) if line["type"] == "intent" and line.get("requestUID") in uids])


class Texts(Admission):
    """kubectl prints texts as they are: none may move its cursor, or turn or hide what it shows."""

    def odd(self, name, **annotations):
        made = self.ask(name)
        made["spec"]["artifact"] = {"name": "app", "annotations": annotations}
        return made

    def test_new_objects_are_refused_with_the_field(self):
        self.begin()
        self.assert_refused(self.mallory.call("POST", self.requests, self.odd("odd", log="ok\x1b[1A")), 'spec.artifact.annotations["log"]: character 3 is U+001B', 422)
        status, made = self.mallory.call("POST", self.requests, self.odd("lines", log="one\n\ttwo"))
        self.assertEqual(status, 201, made)
        approval = {"apiVersion": "signet.dev/v1alpha1", "kind": "SigningApproval", "metadata": {"name": "odd"},
                    "spec": {"requestRef": {"name": "lines", "uid": made["metadata"]["uid"]}, "decision": "Deny", "comment": "\u202eon"}}
        status, answer = self.mallory.call("POST", f"{GROUP}/namespaces/{self.ns}/signingapprovals", approval)
        self.assertEqual(status, 422, answer)
        self.assertIn("spec.comment", answer["message"])
        policy = self.for_alice("odd")
        policy["spec"]["subjects"][0]["name"] = "ali\u200bce"
        refused = kubectl("create", "-f", "-", data=json.dumps(policy), check=False)
        self.assertIn("spec.subjects", refused.stderr)
        self.assertNotEqual(refused.returncode, 0)

    def test_a_stored_object_ends_with_a_status(self):
        """One from before the webhook refused it."""
        apply(self.odd("old", log="ok\x1b[1A"))
        operator = self.begin()
        ended = self.decided("old", "Failed")
        self.assertEqual(condition(ended["status"], "Failed")["reason"], "Invalid")
        self.assertIn('spec.artifact.annotations["log"]: character 3 is U+001B', condition(ended["status"], "Failed")["message"])
        self.assert_never_signed(operator, ["old"])


class Stamps(Admission):
    def test_a_requester_cannot_be_forged(self):
        self.begin()
        forged = json.dumps(self.ask("forged", requester="alice"))
        for way in (["create", "-f", "-"], ["apply", "-f", "-"], ["apply", "--server-side", "-f", "-"]):
            with self.subTest(way=way):
                done = self.mallory.kubectl(*way, data=forged)
                self.assertNotEqual(done.returncode, 0)
                self.assertIn("spec.requester is stamped by Signet: leave it out", done.stderr)
        self.assertIsNone(get("sigreq", "forged", self.ns))

        status, own = self.mallory.call("POST", self.requests, self.ask("own"))
        self.assertEqual(status, 201, own)
        self.assertEqual(own["spec"]["requester"]["username"], "mallory")
        self.assertIn("signet-test-users", own["spec"]["requester"]["groups"])
        path = f"{self.requests}/own"
        stolen = {**own["spec"], "requester": {"username": "alice"}}
        self.assert_refused(self.mallory.call("PATCH", path, {"spec": {"requester": {"username": "alice"}}}, "application/merge-patch+json"), "immutable", 422)
        own = self.decided("own", "Denied")  # nobody writes it any more: the PUT meets the webhook, not a conflict
        self.assert_refused(self.mallory.call("PUT", path, {**own, "spec": stolen}), "immutable", 422)
        server_side = {"apiVersion": own["apiVersion"], "kind": own["kind"], "metadata": {"name": "own"}, "spec": {"requester": {"username": "alice"}}}
        self.assert_refused(self.mallory.call("PATCH", f"{path}?fieldManager=mallory&force=true", server_side, "application/apply-patch+yaml"), "immutable", 422)
        self.assertEqual(self.mallory.call("PATCH", path, {"metadata": {"labels": {"a": "b"}}}, "application/merge-patch+json")[0], 200)


        status, honest = self.alice.call("POST", self.requests, self.ask("honest"))
        self.assertEqual(status, 201, honest)
        self.decided("honest", "Signed")
        copied = self.ask("copied", requester="alice", stamp=honest["spec"]["stamp"])
        self.assert_refused(self.mallory.call("POST", self.requests, copied), "spec.stamp is made by Signet")
        generated = self.ask("x")
        generated["metadata"] = {"generateName": "made-", "namespace": self.ns}
        status, made = self.alice.call("POST", self.requests, generated)
        self.assertEqual(status, 201, made)
        self.decided(made["metadata"]["name"], "Signed")

    def test_a_status_cannot_be_forged(self):
        operator = self.begin()
        self.mallory.call("POST", self.requests, self.ask("own"))
        found = self.decided("own", "Denied")
        status = {"status": {"signature": "AAAA", "conditions": [{"type": "Ready", "status": "True", "reason": "Signed", "message": "forged", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}}
        path = f"{self.requests}/own/status"
        for kind in ("application/merge-patch+json", "application/apply-patch+yaml"):
            body = {**status, "apiVersion": "signet.dev/v1alpha1", "kind": "SigningRequest", "metadata": {"name": "own"}} if "apply" in kind else status
            answer = self.mallory.call("PATCH", path + ("?fieldManager=m&force=true" if "apply" in kind else ""), body, kind)
            self.assert_refused(answer, "written by Signet's operator alone")
        self.assert_refused(self.mallory.call("PUT", path, {**found, **status}), "written by Signet's operator alone")
        done = kubectl("get", "sigpol", f"release-{self.id}", "-o", "json")
        policy = json.loads(done.stdout)
        policy["status"]["key"]["keyID"] = "0" * 64
        replaced = kubectl("replace", "--raw", f"{GROUP}/signingpolicies/release-{self.id}/status", "-f", "-", data=json.dumps(policy), check=False)
        self.assertNotEqual(replaced.returncode, 0, "not even cluster-admin")
        self.assertIn("operator alone", replaced.stderr)
        self.assertNotIn("signature", get("sigreq", "own", self.ns)["status"])
        self.assertEqual(operator.stop(), 0)

    def test_what_was_made_without_the_webhook_stays_refused(self):
        operator = self.begin()
        _, honest = self.alice.call("POST", self.requests, self.ask("honest"))
        self.decided("honest", "Signed")
        _, own = self.mallory.call("POST", self.requests, self.ask("own"))
        operator.signal(signal.SIGSTOP)  # so that it cannot put the configurations back meanwhile
        try:
            for kind in ("mutatingwebhookconfiguration", "validatingwebhookconfiguration"):
                kubectl("delete", kind, "signet.dev")
            forgeries = {
                "bare": self.ask("bare", requester="alice"),
                "replayed": {**self.ask("replayed"), "spec": honest["spec"]},
                "other-stamp": self.ask("other-stamp", requester="alice", stamp=own["spec"]["stamp"]),
            }
            for name, forged in forgeries.items():
                def created(forged=forged):
                    status, answer = self.mallory.call("POST", self.requests, forged)
                    if status == 201:
                        return True
                    self.assertIn("webhook", answer["message"])  # not seen yet that it is gone
                    return False
                wait_for(f"{name} to be created", created)
        finally:
            operator.signal(signal.SIGCONT)
        self.webhook_serves()
        for name in forgeries:
            status = self.decided(name, "RequesterUnknown")["status"]
            self.assertIn("make it anew", condition(status, "Ready")["message"])
        self.alice.call("POST", self.requests, self.ask("after"))
        self.decided("after", "Signed")
        for name in forgeries:
            self.assertEqual(condition(get("sigreq", name, self.ns)["status"], "Ready")["reason"], "RequesterUnknown")
        self.assert_never_signed(operator, forgeries)
        self.assertEqual(operator.stop(), 0)


class Webhooks(Admission):
    def configuration(self, kind):
        return get(f"{kind}webhookconfiguration", "signet.dev")

    def test_edited_and_deleted_configurations_come_back(self):
        self.begin()
        word = re.compile("/[0-9a-f]{32}$")  # another one every few hours

        def webhooks(kind):
            found = (self.configuration(kind) or {}).get("webhooks") or []
            for webhook in found:
                webhook["clientConfig"]["url"] = word.sub("", webhook["clientConfig"]["url"])
            return found
        whole = {kind: webhooks(kind) for kind in ("mutating", "validating")}
        kubectl("delete", "mutatingwebhookconfiguration", "signet.dev")
        kubectl("patch", "validatingwebhookconfiguration", "signet.dev", "--type=json",
                "-p", json.dumps([{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}, {"op": "remove", "path": "/webhooks/1"}]))
        for kind, before in whole.items():
            wait_for(f"the {kind} configuration", lambda kind=kind, before=before: webhooks(kind) == before)

    def test_only_api_servers_know_where_reviews_go(self):
        self.begin()
        url = self.configuration("mutating")["webhooks"][0]["clientConfig"]["url"]
        forged = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
            "uid": "1", "kind": {"group": "signet.dev", "version": "v1alpha1", "kind": "SigningRequest"}, "operation": "CREATE", "name": "mine",
            "resource": {"group": "signet.dev", "version": "v1alpha1", "resource": "signingrequests"},
            "namespace": self.ns, "userInfo": {"username": "alice", "groups": ["system:authenticated"]}, "object": self.ask("mine")}}

        def post(to):
            whole = urllib.request.Request(to, json.dumps(forged).encode(), {"Content-Type": "application/json"})
            try:
                with urllib.request.urlopen(whole, timeout=20, context=ssl._create_unverified_context()) as answer:
                    return answer.status, json.load(answer)
            except urllib.error.HTTPError as refusal:
                return refusal.code, json.load(refusal)

        base, word = url.rsplit("/", 1)
        self.assertRegex(word, "^[0-9a-f]{32}$")
        status, answer = post(url)
        self.assertIn("patch", answer.get("response", {}), answer)
        for wrong in (base, base + "/", f"{base}/{word[::-1]}", base.rsplit("/", 1)[0] + f"/{word}/mutate"):
            status, answer = post(wrong)
            self.assertEqual((status, answer["code"]), (404, "NotFound"), wrong)

    def path_word(self):
        found = self.configuration("validating")
        return found["webhooks"][0]["clientConfig"]["url"].rsplit("/", 1)[1] if found else ""

    def test_a_seen_path_soon_leads_nowhere(self):
        operator = self.begin(extra=("--webhook-path-lifetime", "2", "--webhook-rotation-pause", "1"))
        url = self.configuration("validating")["webhooks"][0]["clientConfig"]["url"]

        def refused():
            whole = urllib.request.Request(url, b"{}", {"Content-Type": "application/json"})
            try:
                with urllib.request.urlopen(whole, timeout=20, context=ssl._create_unverified_context()):
                    return False
            except urllib.error.HTTPError as refusal:
                return refusal.code == 404
        wait_for("the path to lead nowhere", refused, 60, interval=0.2)
        self.assertNotEqual(self.path_word(), url.rsplit("/", 1)[1])
        self.assertNotIn(url.rsplit("/", 1)[1], operator.tail())

    def test_the_path_changes_after_a_failure(self):
        operator = self.begin(extra=("--webhook-rotation-pause", "1"))
        before = self.path_word()
        operator.signal(signal.SIGSTOP)
        status, answer = self.alice.call("POST", self.requests + "?dryRun=All", self.ask("shown"))
        operator.signal(signal.SIGCONT)
        self.assertNotEqual(status, 201)
        wait_for("another path, since this one was shown", lambda: self.path_word() not in ("", before), 60, interval=0.2)

    def test_reviews_never_fail_while_certificates_rotate(self):
        # Not for the next test's operator, which looks less often.
        self.addCleanup(kubectl, "delete", "secret", "signet-webhook-tls", "-n", "signet-system", "--ignore-not-found")
        # Each comes 6 s before its predecessor's end: 3 for API servers to hear of it, 3 for an operator that is slow to look.
        config = write_yaml(self.folder / "operator.yaml", {"webhook": {"checkInterval": "200ms"}})
        operator = self.begin(extra=("--config", config, "--webhook-certificate-lifetime", "18", "--webhook-rotation-pause", "3",
                                      "--webhook-path-lifetime", "2"))
        # Made with the lifetime of the tests before, perhaps: a new one at once.
        kubectl("delete", "secret", "signet-webhook-tls", "-n", "signet-system")
        stop = threading.Event()

        def stream(number):
            user, count = User("alice"), 0
            while not stop.is_set():
                status, answer = user.call("POST", self.requests + "?dryRun=All", self.ask(f"dry-{number}"))
                if status != 201:
                    return f"review {count}: {status} {answer}"
                count += 1
            return count

        def served():
            secret = get("secret", "signet-webhook-tls", "signet-system")
            return secret["data"]["tls.crt"] if secret else None

        seen = set()

        def rotated():
            seen.add(served())
            return len(seen - {None}) >= 4
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            streams = [pool.submit(stream, number) for number in range(4)]
            try:
                wait_for("three rotations", rotated, 150, interval=0.1)
            finally:
                stop.set()
            results = [each.result() for each in streams]
        print(f"{len(seen) - 1} rotations, reviews: {results}")
        for result in results:
            self.assertIsInstance(result, int, result)
            self.assertGreater(result, 20)
        self.assertEqual(operator.stop(), 0)

    def test_a_dry_run_says_what_would_be_decided(self):
        operator = self.begin()
        apply(self.for_alice("asleep", suspend=True))
        wait_for("the policy to be known", lambda: "Suspended" in self.dry(self.alice, "asleep"))
        self.assertIn("Warning: dry run: would be signed now", self.dry(self.alice, "release"))
        stranger, unknown = self.dry(self.bob, "release"), self.dry(self.bob, "nowhere")
        self.assertIn("NotAllowed", stranger)
        self.assertEqual(stranger, unknown, "who is no subject does not learn that there is a policy")
        self.assertIsNone(get("sigreq", "dry", self.ns))
        self.assertEqual(operator.stop(), 0)
        self.assertEqual([line for line in records(operator.audit) if line["type"] == "intent"], [])

    def dry(self, user, policy_name):
        done = user.kubectl("create", "--dry-run=server", "-f", "-", data=json.dumps(self.ask("dry", policy_name=policy_name)))
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stderr.replace(f"{policy_name}-{self.id}", "POLICY")

    def test_credentials_that_name_nobody_end_the_start(self):
        operator = self.operator(self.hsm, ["--kubeconfig", CLUSTER / "kubeconfig.operator"], extra=["--webhook", "127.0.0.1:0"])
        self.assertEqual(operator.wait(), 3)
        self.assertIn("--username", operator.tail())


class Policies(Admission):
    def changes(self, operator):
        """Once each: an API server that judged by an old copy of the object asks again."""
        lines = [line for line in records(operator.audit) if line["type"] == "policyChange" and line["policy"] == f"release-{self.id}"]

        def said(line):
            return [line.get(name) for name in ("verb", "user", "oldHash", "newHash")]
        return [line for before, line in zip([{}, *lines], lines) if said(line) != said(before)]

    def test_edits_are_warned_of_and_recorded(self):
        operator = self.begin()
        wider = self.for_alice()
        wider["spec"]["subjects"].append({"kind": "User", "name": "bob"})
        done = kubectl("apply", "-f", "-", data=json.dumps(wider))
        self.assertIn("Warning: spec.subjects: User bob may ask now", done.stderr)
        moved = self.for_alice()
        moved["spec"]["key"]["uri"] = "pkcs11:token=prod;object=elsewhere"
        done = kubectl("apply", "-f", "-", data=json.dumps(moved), check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("signet.dev/confirm-key-change", done.stderr)
        broken = self.for_alice("broken", windows=[{"from": "09:00", "to": "10:00", "timeZone": "Mars/Olympus"}])
        done = kubectl("apply", "-f", "-", data=json.dumps(broken), check=False)
        self.assertIn("Mars/Olympus", done.stderr)
        kubectl("apply", "--dry-run=server", "-f", "-", data=json.dumps(self.for_alice()))
        kubectl("delete", "sigpol", f"release-{self.id}")
        lines = self.changes(operator)
        self.assertEqual([(line["verb"], line["user"]) for line in lines], [("CREATE", "admin"), ("UPDATE", "admin"), ("DELETE", "admin")])
        self.assertEqual(lines[0]["newHash"], lines[1]["oldHash"])
        self.assertEqual(lines[1]["newHash"], lines[2]["oldHash"])
        self.assertNotEqual(lines[1]["oldHash"], lines[1]["newHash"])
        self.assertEqual({line["state"] for line in lines}, {"unconfirmed"})

        def confirmed():
            found = [line for line in records(operator.audit) if line["type"] == "policyChangeConfirmed" and line["policy"] == f"release-{self.id}"]
            return {line["verb"] for line in found} == {"CREATE", "UPDATE", "DELETE"}
        wait_for("the watch to confirm what was admitted", confirmed)
        self.assertEqual(operator.stop(), 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
