"""Signet in real pods: the chart as Helm installs and upgrades it, a pipeline that signs with curl through the sidecar it was given."""
import base64
import hashlib
import json
import os
import pathlib
import re
import signal
import time
import unittest

import node
from harness import openssl_verifies, wait_for

CI, OTHER = "ci", "other"
BUILDER = "builder"
POLICY = "release"
DIGESTS = 1000
LOOK, STRANGER, OUTSIDER = "look", "stranger", "outsider"

hsm = node.Hsm()

# Four shells sign in turn. What happens to the gateway has to happen to them, however long it takes: until they are told to
# hurry they are not fast (a quarter of an hour for what comes before the last 200), and the last 200 wait for that word.
PIPELINE = r"""
until curl -fsS -m 15 --unix-socket "$SIGNET_SOCKET" http://localhost/readyz >/dev/null 2>&1; do
  tries=$((tries + 1)); ((tries < 300)) || exit 9; sleep 0.1
done
sign() {
  local i digest answer failed=0
  for ((i = $1; i < COUNT; i += 4)); do
    while ((i >= COUNT - 200)) && [[ ! -e /tmp/hurry ]]; do sleep 0.1; done
    digest=$(printf 'artifact %d' "$i" | sha256sum | cut -d' ' -f1)
    answer=$(curl -sS -m 30 --unix-socket "$SIGNET_SOCKET" -H 'Content-Type: application/json' -w ' %{http_code}' \
      --data-binary "{\"policy\":\"POLICY\",\"digest\":\"sha256:$digest\"}" http://localhost/v1/sign 2>&1)
    printf 'ANSWER %d %s\n' "$i" "$answer"
    [[ $answer == *' 200' ]] || failed=1
    [[ -e /tmp/hurry ]] || sleep $((i < COUNT / 2 ? 2 : 10))
  done
  return $failed
}
for shell in 0 1 2 3; do sign $shell & shells+=($!); done
status=0
for shell in "${shells[@]}"; do wait "$shell" || status=1; done
exit $status
""".replace("COUNT", str(DIGESTS)).replace("POLICY", POLICY)


def setUpModule():
    if not node.DIR.exists():
        raise AssertionError("SIGNET_NODE_DIR names no node: tests/node/up.sh starts one")
    node.remove([CI, OTHER])
    node.install(hsm)
    node.apply(node.namespace(CI, **{"signet.dev/inject": "true"}), node.namespace(OTHER, **{"signet.dev/inject": "true"}),
               node.service_account(BUILDER, CI), node.service_account(BUILDER, OTHER), node.policy(POLICY, CI, BUILDER))
    node.public_key(POLICY)
    node.apply(node.pod(LOOK, CI, BUILDER), node.pod(STRANGER, CI, "default"), node.pod(OUTSIDER, OTHER, BUILDER))
    for name, where in ((LOOK, CI), (STRANGER, CI), (OUTSIDER, OTHER)):
        node.running(name, where)


class Case(unittest.TestCase):
    def setUp(self):
        self.addCleanup(hsm.bring_back)
        hsm.bring_back()
        node.all_ready()

    def verified(self, signature, message):
        return openssl_verifies(node.DIR, node.public_key(POLICY), signature, message, "sha256", [])

    def signs(self, name=LOOK, where=CI, message=b"hello"):
        answer = node.sign_inside(name, where, POLICY, message)
        self.assertEqual(answer.status, 200, answer.body)
        self.assertTrue(self.verified(base64.b64decode(json.loads(answer.body)["signature"]), message))


class Pipeline(Case):
    def answers(self, pod):
        """{i: (text, status)} of what the Job has printed by now."""
        text = node.kubectl("logs", pod["metadata"]["name"], "--namespace", CI, "-c", "main")
        lines = [line.split(" ", 2) for line in text.splitlines() if line.startswith("ANSWER ")]
        return {int(i): tuple(answer.rsplit(" ", 1)) for _, i, answer in lines}

    def more(self, pod, count):
        """Waits until the Job has got `count` answers more."""
        goal = len(self.answers(pod)) + count
        wait_for(f"{count} signatures more", lambda: len(self.answers(pod)) >= goal, 120, interval=0.3)

    def restarts(self, replica):
        return node.container_status(node.get("pod", replica, node.SYSTEM), "operator").get("restartCount", 0)

    def started_again(self, replica, before):
        wait_for("kubelet to start the killed replica again", lambda: self.restarts(replica) > before, 120, interval=0.3)

    def test_a_job_gets_every_signature_while_helm_upgrades_and_rolls_back_and_replicas_are_killed(self):
        node.kubectl("delete", "job", "pipeline", "--namespace", CI, "--ignore-not-found")
        node.apply(node.job("pipeline", CI, BUILDER, PIPELINE))
        wait_for("the Job's pod", lambda: node.pod_of_job("pipeline", CI), interval=0.3)
        name = node.pod_of_job("pipeline", CI)["metadata"]["name"]
        pod = node.running(name, CI)
        self.more(pod, 10)

        uids = {each["metadata"]["uid"] for each in node.operators()}
        node.release("upgrade", {**node.values(), "logLevel": "debug", "drainTimeout": 12, "podAnnotations": {"example.org/upgraded": "yes"}})
        upgraded = node.operators()
        self.assertEqual([each["metadata"]["annotations"].get("example.org/upgraded") for each in upgraded], ["yes"] * node.REPLICAS)
        self.assertEqual(uids & {each["metadata"]["uid"] for each in upgraded}, set(), "replicas that the upgrade has not replaced")
        self.more(pod, 5)
        node.helm("rollback", node.RELEASE, "1", "--wait", "--timeout", "5m")
        self.assertNotIn("example.org/upgraded", node.operators()[0]["metadata"]["annotations"])
        self.more(pod, 5)
        first, second = (operator["metadata"] for operator in node.operators())
        before = [self.restarts(each["name"]) for each in (first, second)]
        node.kill(first["uid"], "signet-operator")
        self.started_again(first["name"], before[0])
        node.all_ready()
        self.more(pod, 5)

        # And once more with every shell at full speed: calls in flight, some of them signed and not yet answered.
        process = node.main_process(second["uid"], "signet-operator")
        self.assertLessEqual(len(self.answers(pod)), DIGESTS - 200, "the Job is nearly over before the gateway's troubles are: little is shown")
        node.inside(name, CI, "touch /tmp/hurry")
        os.kill(process, signal.SIGKILL)
        self.assertIsNone(node.get("job", "pipeline", CI)["status"].get("completionTime"), "the Job was over before the last kill")
        wait_for("the Job to end", lambda: {"succeeded", "failed"} & node.get("job", "pipeline", CI)["status"].keys(), 600, interval=0.5)
        answers = self.answers(pod)
        self.assertEqual([(i, *a) for i, a in sorted(answers.items()) if a[1] != "200"], [])
        self.assertEqual(node.get("job", "pipeline", CI)["status"].get("succeeded"), 1)
        self.assertEqual(sorted(answers), list(range(DIGESTS)))

        signatures = {i: base64.b64decode(json.loads(text)["signature"]) for i, (text, _) in answers.items()}
        self.started_again(second["name"], before[1])
        node.all_ready()
        key = node.public_key(POLICY)
        wrong = [i for i, s in signatures.items() if not openssl_verifies(node.DIR, key, s, b"artifact %d" % i, "sha256", [])]
        self.assertEqual(wrong, [])
        self.record_has_exactly({hashlib.sha256(s).hexdigest() for s in signatures.values()}, pod)

    def record_has_exactly(self, received, pod):
        """Every signature that the records know of for this pod reached it, or is another for the same call."""
        intents, signed = {}, []
        for replica, lines in node.all_records().items():
            for line in lines:
                if line["type"] == "intent":
                    intents[replica, line["operation"]] = line
                elif line["type"] == "outcome" and line["result"] == "signed":
                    signed.append(((replica, line["operation"]), line))
        ours = [(line["signatureSha256"], intents[place].get("idempotencyKey")) for place, line in signed
                if intents[place].get("pod", {}).get("uid") == pod["metadata"]["uid"]]
        self.assertEqual(received - {signature for signature, _ in ours}, set(), "signatures that no record has")
        keys = {key for signature, key in ours if signature in received}
        self.assertNotIn(None, keys)
        stray = [(signature, key) for signature, key in ours if signature not in received and key not in keys]
        self.assertEqual(stray, [], "signatures that did not reach the Job and share no idempotency key with one that did")

    def test_the_sidecar_is_killed_and_signing_goes_on(self):
        self.signs()
        before = node.get("pod", LOOK, CI)
        node.kill(before["metadata"]["uid"], node.SIDECAR)
        count = node.container_status(before, node.SIDECAR)["restartCount"]
        wait_for("kubelet to start it again", lambda: node.container_status(node.get("pod", LOOK, CI), node.SIDECAR)["restartCount"] > count,
                 60, interval=0.3)
        wait_for("signing to go on", lambda: node.sign_inside(LOOK, CI, POLICY, b"again").status == 200, 120, interval=0.3)
        self.signs()
        self.assertEqual(node.container_status(node.get("pod", LOOK, CI), "main")["restartCount"],
                         node.container_status(before, "main")["restartCount"])


class Installed(Case):
    def test_helm_test_signs_and_verifies_once(self):
        def signed():
            return sum(line["type"] == "outcome" and line["result"] == "signed" for lines in node.all_records().values() for line in lines)
        before = signed()
        said = node.helm("test", node.RELEASE, "--timeout", "4m")
        self.assertIn("Phase:          Succeeded", said)
        self.assertEqual(signed() - before, 1)
        for kind, name, where in (("pod", "signet-test", node.SYSTEM), ("serviceaccount", "signet-test", node.SYSTEM), ("signingpolicy", "signet-test", None)):
            self.assertIsNone(node.get(kind, name, where))

    def test_helm_test_fails_when_nothing_can_be_signed(self):
        values = {**node.values(), "test": {"policy": "no-such-policy"}}
        node.release("upgrade", values)
        self.addCleanup(node.helm, "rollback", node.RELEASE, "--wait", "--timeout", "5m")
        with self.assertRaisesRegex(AssertionError, "signet-test"):
            node.helm("test", node.RELEASE, "--timeout", "4m")

    def test_every_pod_that_was_injected_has_one_sidecar_in_the_form_of_its_server(self):
        pod = node.get("pod", LOOK, CI)
        self.assertEqual([each["name"] for each in node.containers(pod)].count(node.SIDECAR), 1)
        self.assertTrue(node.container_status(pod, node.SIDECAR)["ready"])
        minor = int(re.match(r"\d+", json.loads(node.kubectl("get", "--raw", "/version"))["minor"])[0])
        native = [each for each in pod["spec"].get("initContainers", []) if each["name"] == node.SIDECAR]
        self.assertEqual([each.get("restartPolicy") for each in native], ["Always"] if minor >= 29 else [])


class Workload(Case):
    """What a pipeline's own container can see, and who it is to the gateway."""

    def test_has_no_pin_no_key_and_no_gateway_token(self):
        pod = node.get("pod", LOOK, CI)
        sidecar = node.main_process(pod["metadata"]["uid"], node.SIDECAR)
        # (/var/run would be this machine's /run: it is an absolute link.)
        token = pathlib.Path(f"/proc/{sidecar}/root/run/secrets/signet/token").read_text().strip()
        self.assertEqual(node.claims_of(token)["aud"], [node.AUDIENCE])
        ca_key = node.get("secret", "signet-gateway-ca", node.SYSTEM)["data"]["tls.key"]
        ca_line = base64.b64decode(ca_key).decode().splitlines()[1]
        control = "control-" + hashlib.sha256(token.encode()).hexdigest()
        node.inside(LOOK, CI, "cat > /tmp/control", stdin=control)

        # The patterns come by stdin, so that no command line has them.
        where = "/run /var/run/secrets /etc /tmp /dev/shm /home /root /opt /srv /mnt /proc/[0-9]*/environ /proc/[0-9]*/cmdline"
        found = node.inside(LOOK, CI, f"grep -rlsaF -f - -D skip {where}", stdin="\n".join([hsm.pin, token, ca_line, control]), check=False)
        self.assertEqual(found.stdout.split(), ["/tmp/control"], "secrets, beside what shows that the search finds")

        self.assertEqual(node.inside(LOOK, CI, "ls /run/signet").stdout.split(), ["signet.sock"])
        self.assertEqual(node.inside(LOOK, CI, "ls -d /var/run/secrets/*").stdout.split(), ["/var/run/secrets/kubernetes.io"])
        mounts = node.inside(LOOK, CI, "cat /proc/self/mountinfo").stdout
        self.assertNotIn("signet-identity", mounts)
        self.assertNotIn("/hsm", mounts)
        commands = node.inside(LOOK, CI, "cat /proc/[0-9]*/comm 2>/dev/null", check=False).stdout.split()
        self.assertIn("sleep", commands)
        self.assertNotIn("signet-sidecar", commands)

    def test_of_another_service_account_or_namespace_is_refused(self):
        self.signs()
        for name, where in ((STRANGER, CI), (OUTSIDER, OTHER)):
            answer = node.sign_inside(name, where, POLICY, b"hello")
            self.assertEqual((answer.status, node.problem(answer)), (403, "NotAllowed"), (name, answer.body))


class Tokens(Case):
    def setUp(self):
        super().setUp()
        self.gateway = node.Gateway()
        self.pod = node.get("pod", LOOK, CI)

    def accepted(self, bearer):
        answer = self.gateway.sign(bearer, POLICY)
        self.assertEqual(answer.status, 200, answer.body)

    def refused(self, bearer, what):
        answer = self.gateway.sign(bearer, POLICY)
        self.assertEqual((answer.status, node.problem(answer)), (401, "Unauthenticated"), f"{what}: {answer.body}")
        self.assertEqual({k.lower(): v for k, v in answer.headers.items()}.get("www-authenticate", "").split()[:1], ["Bearer"], what)

    def test_of_a_pod_for_the_gateway_signs(self):
        good = node.token(BUILDER, CI, bound_to=self.pod)
        answer = self.gateway.sign(good, POLICY, b"direct")
        self.assertEqual(answer.status, 200, answer.body)
        self.assertTrue(self.verified(base64.b64decode(json.loads(answer.body)["signature"]), b"direct"))
        seen = json.loads(self.gateway.call("GET", "/v1/pod", good).body)
        self.assertEqual((seen["name"], seen["namespace"], seen["uid"]), (LOOK, CI, self.pod["metadata"]["uid"]))

    def test_that_are_not_a_pods_for_the_gateway_are_refused(self):
        good = node.token(BUILDER, CI, bound_to=self.pod)
        self.accepted(good)
        now = int(time.time())
        self.refused(None, "no token")
        self.refused("nonsense", "nonsense")
        self.refused(node.token(BUILDER, CI, audience="vault.example.org", bound_to=self.pod), "another audience")
        self.refused(node.token(BUILDER, CI, audience="https://kubernetes.default.svc", bound_to=self.pod), "the API server's audience")
        self.refused(node.token(BUILDER, CI), "no pod's")
        self.refused(node.inside(LOOK, CI, "cat /var/run/secrets/kubernetes.io/serviceaccount/token").stdout, "the pod's default token")
        self.refused(node.forged(good, iat=now - 7200, nbf=now - 7200, exp=now - 3600), "expired")
        self.accepted(node.forged(good, exp=now + 500))  # so the one before was refused for its age
        self.refused(good[:-8] + ("AAAAAAAA" if good[-8:] != "AAAAAAAA" else "BBBBBBBB"), "a signature that is not the API server's")

    def test_of_a_deleted_pod_are_refused_within_30_seconds(self):
        node.apply(node.pod("doomed", CI, BUILDER))
        doomed = node.running("doomed", CI)
        bearer = node.token(BUILDER, CI, bound_to=doomed)
        replicas = node.gateways()
        self.assertEqual([replica.sign(bearer, POLICY).status for replica in replicas], [200, 200])
        node.kubectl("delete", "pod", "doomed", "--namespace", CI, "--grace-period=0", "--force")
        self.assertIsNone(node.get("pod", "doomed", CI))
        took = node.seconds_until("every replica to refuse the token",
                                  lambda: [replica.sign(bearer, POLICY).status for replica in replicas] == [401, 401], 30)
        self.assertLess(took, 30)
        self.refused(bearer, "a deleted pod's")


class Readiness(Case):
    def test_operators_are_ready_only_while_signing_works_and_describe_says_what_is_wrong(self):
        # The kubelet writes 25 events about a pod, then one in five minutes, and the tests before may have spent them: a new pod.
        node.kubectl("delete", "pod", f"{node.OPERATOR}-0", "--namespace", node.SYSTEM)
        node.all_ready()
        self.signs()
        restarts = [node.container_status(pod, "operator")["restartCount"] for pod in node.operators()]
        hsm.take_away()
        wait_for("both replicas to be not Ready", lambda: node.ready_operators() == 0, 120, interval=0.3)
        text = wait_for("the reason in kubectl describe", lambda: self.reason(), 30, interval=0.5)
        self.assertRegex(text, r"Readiness probe failed: .*hsm")
        hsm.bring_back()
        node.all_ready()
        self.assertEqual([node.container_status(pod, "operator")["restartCount"] for pod in node.operators()], restarts)
        self.signs()

    def reason(self):
        text = node.kubectl("describe", "pod", f"{node.OPERATOR}-0", "--namespace", node.SYSTEM)
        return text if "Token" in "".join(line for line in text.splitlines() if "Readiness probe failed" in line) else None


if __name__ == "__main__":
    unittest.main()
