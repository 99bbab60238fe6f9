#!/usr/bin/python3
"""A real API server, asked about the cases of tests/unit/api/cases.json without storing anything.

SIGNET_CLUSTER_DIR: a cluster of tests/cluster/up.sh; or KUBECONFIG: another one, which has the CRDs. On a server of 1.25 or later
(an envtest folder in KUBEBUILDER_ASSETS, say) every message is compared; before that there are no rules, and src/api answers.
"""
import contextlib
import json
import os
import subprocess
import unittest
import urllib.error
import urllib.request

from crds import CASES, DEFINITIONS, build, fits, words
from harness import client

KUBECONFIG = os.environ.get("KUBECONFIG") or os.path.join(os.environ["SIGNET_CLUSTER_DIR"], "kubeconfig")
PATHS = {"SigningPolicy": "signingpolicies", "SigningRequest": "namespaces/default/signingrequests",
         "SigningApproval": "namespaces/default/signingapprovals"}
# How servers begin to speak of what no person wrote: expressions and branches of the schema.
USELESS = ("should match", "must validate", "must be of type byte", "not validate the schema")


@contextlib.contextmanager
def api():
    """The address of the API server, for requests without credentials."""
    command = [client("kubectl"), "--kubeconfig", KUBECONFIG, "proxy", "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as proxy:
        try:
            yield "http://" + proxy.stdout.readline().split()[-1]
        finally:
            proxy.terminate()


def call(url, body=None):
    """(status, object)"""
    request = urllib.request.Request(url, data=json.dumps(body).encode() if body else None, headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def holds(value, leaf):
    if isinstance(value, (dict, list)):
        return any(holds(child, leaf) for child in (value.values() if isinstance(value, dict) else value))
    return value == leaf


class Server(unittest.TestCase):
    def setUp(self):
        self.server = self.enterContext(api())
        version = call(f"{self.server}/version")[1]
        self.has_rules = (int(version["major"]), int(version["minor"].rstrip("+"))) >= (1, 25)

    def ask(self, case):
        """(status, the messages by field)"""
        status, answer = call(f"{self.server}/apis/signet.dev/v1alpha1/{PATHS[case['kind']]}?dryRun=All", build(case))
        return status, [f"{cause.get('field')}: {cause['message']}" for cause in answer.get("details", {}).get("causes", [])] or [answer.get("message", "")]

    def test_it_has_taken_the_definitions_whole(self):
        for definition in DEFINITIONS:
            name = definition["metadata"]["name"]
            with self.subTest(name):
                status, stored = call(f"{self.server}/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}")
                self.assertEqual(status, 200, stored)
                self.assertEqual("x-kubernetes-validations" in json.dumps(stored["spec"]), self.has_rules)
                self.assertEqual([c for c in stored["status"]["conditions"] if c["type"] == "NonStructuralSchema" and c["status"] == "True"], [])

    def test_it_decides_each_case_and_says_why_in_words(self):
        asked = 0
        for case in CASES:
            # Servers drop a null before they look, and ours of 1.20, as Debian's Go builds it, takes an empty text for a null.
            if case.get("code_only") or holds(case, None) or (holds(case, "") and not self.has_rules):
                continue
            asked += 1
            status, said = self.ask(case)
            with self.subTest(case["what"], said=said):
                takes = "valid" in case or (not self.has_rules and fits(case))
                self.assertEqual(status, 201 if takes else 422)
                self.assertFalse([text for text in said for useless in USELESS if useless in text])
                if not takes and words(case):
                    self.assertEqual(len(said), len(words(case)))
                    for wanted in words(case):
                        self.assertTrue([text for text in said if text.endswith(f": {wanted}")], f"nothing says: {wanted}")
        self.assertGreater(asked, 200)


if __name__ == "__main__":
    unittest.main()
