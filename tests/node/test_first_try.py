"""What a newcomer does: the chart with devHsm, then the commands of its notes word for word, then the uninstall."""
import base64
import re
import unittest

import node
from harness import openssl_verifies, wait_for

CI = "ci"
DIGEST_OF = b"test"  # what the digest in the notes is of: sha256("test")
VALUES = {
    "image": {"registry": "localhost", "repository": "signet", "tag": "test"},
    # The node has no volumes to give; the rest is what --set devHsm.enabled=true makes.
    "devHsm": {"enabled": True, "persistence": {"enabled": False}},
    "persistence": {"enabled": False},
    "preStopSeconds": 1,
    "drainTimeout": 5,
    "readinessProbe": {"periodSeconds": 1, "failureThreshold": 2, "timeoutSeconds": 5},
}


def setUpModule():
    if not node.DIR.exists():
        raise AssertionError("SIGNET_NODE_DIR names no node: tests/node/up.sh starts one")
    node.remove([CI])


def tearDownModule():
    node.remove([CI])


class FirstTry(unittest.TestCase):
    def commands(self, notes):
        """The indented lines of the notes: what they say to type."""
        return "\n".join(line[3:] for line in notes.splitlines() if line.startswith("   "))

    def test_the_notes_lead_to_a_signature_and_uninstalling_leaves_nothing_in_the_way(self):
        said = node.release("install", VALUES, "--create-namespace")
        notes = said[said.index("NOTES:"):]

        typed = self.commands(notes)
        before, logs = typed.split("kubectl -n ci logs")
        node.run("bash", "-ec", before, seconds=240)
        wait_for("the pod of the notes to end", lambda: (node.get("pod", "hello", CI) or {}).get("status", {}).get("phase")
                 in ("Succeeded", "Failed"), 120, interval=0.3)
        said = node.run("bash", "-ec", "kubectl -n ci logs" + logs).stdout
        self.assertEqual(node.get("pod", "hello", CI)["status"]["phase"], "Succeeded", said)
        (signature,) = re.findall(r"^[A-Za-z0-9+/]{80,}={0,2}$", said, re.M)
        self.assertTrue(openssl_verifies(node.DIR, node.public_key("first"), base64.b64decode(signature), DIGEST_OF, "sha256", []))

        # With the job that takes the webhook configurations away.
        node.helm("uninstall", node.RELEASE, "--wait", "--timeout", "4m")
        wait_for("the operator to end", lambda: not node.get("pod", f"{node.OPERATOR}-0", node.SYSTEM), node.GONE, interval=0.3)
        for kind in ("mutatingwebhookconfiguration", "validatingwebhookconfiguration"):
            self.assertIsNone(node.get(kind, "signet.dev"), "put back by an operator that was ending")
        # A labelled namespace is an ordinary one again, and the policies are still there.
        node.apply(node.pod("after", CI, "default"))
        self.assertEqual([each["name"] for each in node.containers(node.get("pod", "after", CI))], ["main"])
        self.assertIsNotNone(node.get("signingpolicy", "first"))
        # Nothing else of the chart is left but the CRDs; what the operator made is named in docs/install.md.
        kinds = "statefulset,service,serviceaccount,role,rolebinding,job,networkpolicy,poddisruptionbudget,clusterrole,clusterrolebinding"
        left = node.kubectl("get", kinds, "--all-namespaces", "-l", "app.kubernetes.io/instance=signet", "-o", "name")
        self.assertEqual(left.split(), [])
        self.assertEqual(node.kubectl("get", "crd", "-l", "app.kubernetes.io/instance=signet", "-o", "name").count("signet.dev"), 3)


if __name__ == "__main__":
    unittest.main()
