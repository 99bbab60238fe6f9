#!/usr/bin/python3
"""The rendered chart on a real kube-apiserver: accepted as it is, and with no more rights than the roles say.

SIGNET_CLUSTER_DIR: a cluster of tests/cluster/up.sh. It has no nodes: no pod runs here (tests/node does that).
"""
import json
import os
import pathlib
import subprocess
import tempfile
import time
import unittest

import yaml

from chart import CHART, render_all
from harness import BIN, wait_for
from test_cluster import KUBECONFIG, get, kubectl

CI = sorted((CHART / "ci").glob("*-values.yaml"))
FOREIGN = "monitoring.coreos.com/v1"  # kinds that this cluster does not have


class Chart(unittest.TestCase):
    def setUp(self):
        server = json.loads(kubectl("version", "-o", "json").stdout)["serverVersion"]["gitVersion"]
        self.version = server
        # Names of its own: the cluster's other tests have roles signet-operator.
        self.name = f"chart-{os.urandom(3).hex()}"
        kubectl("create", "namespace", self.name)
        self.addCleanup(kubectl, "delete", "namespace", self.name, "--wait=false")

    def rendered(self, values=None, **options):
        values = {**(values or {}), "fullnameOverride": self.name, "rbac": {"userRoles": False}, "crds": {"install": False}}
        return render_all(values, release=self.name, namespace=self.name, kube_version=self.version, **options)

    def apply(self, objects, *options):
        # A list: kubectl then says everything that is wrong at once. Without client-side validation only for the CRDs (CEL on 1.20).
        return kubectl("apply", "-f", "-", *options, data=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}), check=False)

    def install(self, values=None, **options):
        made = self.rendered(values, **options)
        for each in made.objects:
            if each["kind"] in ("ClusterRole", "ClusterRoleBinding"):
                self.addCleanup(kubectl, "delete", each["kind"], each["metadata"]["name"], "--ignore-not-found")
        done = self.apply(made.objects)
        self.assertEqual(done.returncode, 0, done.stderr)
        return made


class Server(Chart):
    def test_every_object_of_every_example_is_accepted(self):
        for path in CI:
            with self.subTest(path=path.name):
                made = render_all(files=[path], release="signet", namespace=self.name, kube_version=self.version)
                objects = [o for o in made.objects + made.hooks if o["apiVersion"] != FOREIGN and o["kind"] != "CustomResourceDefinition"]
                self.assertGreater(len(objects), 10)
                done = self.apply(objects, "--dry-run=server")
                self.assertEqual(done.returncode, 0, done.stderr)
                crds = [o for o in made.objects if o["kind"] == "CustomResourceDefinition"]
                done = self.apply(crds, "--dry-run=server", "--validate=false")
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual(done.stdout.count("configured"), 3, done.stdout)

    def test_pods_and_claims_come_from_it(self):
        self.install({"devHsm": {"enabled": True, "persistence": {"accessModes": ["ReadWriteMany"]}}, "replicaCount": 2})
        pods = wait_for("the pods of the StatefulSet", lambda: (lambda p: p if len(p) == 2 else None)(
            (get("pods", namespace=self.name) or {"items": []})["items"]), 90)
        # Parallel: both at once, though none can be scheduled here.
        self.assertEqual({p["metadata"]["name"] for p in pods}, {f"{self.name}-operator-0", f"{self.name}-operator-1"})
        claims = {c["metadata"]["name"] for c in get("pvc", namespace=self.name)["items"]}
        self.assertEqual(claims, {f"{self.name}-dev-hsm", f"data-{self.name}-operator-0", f"data-{self.name}-operator-1"})

    def test_applied_again_it_changes_nothing(self):
        def generation():
            return get("statefulset", f"{self.name}-operator", self.name)["metadata"]["generation"]
        made = self.install({"devHsm": {"enabled": True}})
        before = generation()
        again = self.apply(made.objects)
        self.assertEqual(again.returncode, 0, again.stderr)
        # kubectl sends the claim templates again, since the server has put defaults into them; that is no change.
        changed = [line for line in again.stdout.splitlines() if not line.endswith("unchanged")]
        self.assertLessEqual(len(changed), 1, changed)
        self.assertEqual(generation(), before)

    def test_an_upgrade_is_accepted(self):
        self.install(files=[CHART / "ci/tokens-values.yaml"])
        upgraded = self.rendered({"replicaCount": 3, "podAnnotations": {"a": "b"}, "logLevel": "debug"}, files=[CHART / "ci/tokens-values.yaml"])
        done = self.apply(upgraded.objects)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_rights(self):
        self.install({"devHsm": {"enabled": True}})
        account = f"system:serviceaccount:{self.name}:{self.name}-operator"

        def may(verb, resource, namespace=self.name):
            resource, _, subresource = resource.partition("::")
            return kubectl("auth", "can-i", verb, resource, f"--subresource={subresource}", "-n", namespace, "--as", account,
                           check=False).stdout.strip() == "yes"

        for verb, resource in (("create", "tokenreviews.authentication.k8s.io"), ("get", "pods"), ("watch", "signingpolicies.signet.dev"),
                               ("patch", "signingrequests.signet.dev::status"), ("get", "secrets/signet-seal"), ("get", "secrets/signet-gateway-ca"),
                               ("update", "leases.coordination.k8s.io/signet-operator"), ("update", "configmaps"), ("patch", f"namespaces/{self.name}"),
                               ("update", "mutatingwebhookconfigurations.admissionregistration.k8s.io/signet.dev")):
            # The roles reach the API server's authorizer a moment after they are written.
            wait_for(f"the right to {verb} {resource}", lambda v=verb, r=resource: may(v, r))
        for verb, resource in (("list", "secrets"), ("get", "secrets/other"), ("update", "secrets/signet-gateway-ca"), ("list", "pods"),
                               ("create", "pods"), ("create", "signingpolicies.signet.dev"), ("update", "signingpolicies.signet.dev"),
                               ("update", "signingrequests.signet.dev"), ("create", "signingapprovals.signet.dev"), ("patch", "namespaces/default"),
                               ("impersonate", "users"), ("create", "serviceaccounts::token"), ("delete", "configmaps"),
                               ("update", "mutatingwebhookconfigurations.admissionregistration.k8s.io/other")):
            self.assertFalse(may(verb, resource), f"{verb} {resource}")
        self.assertFalse(may("get", "configmaps", "kube-system"))
        self.assertFalse(may("get", "secrets/signet-seal", "default"))


class Uninstall(Chart):
    def configuration(self, kind, name):
        return {"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "webhooks": []}

    def test_the_hook_removes_the_webhook_configurations_and_may_do_nothing_else(self):
        kinds = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
        hooks = self.rendered({"devHsm": {"enabled": True}}).hooks
        setup, job = hooks[:-1], hooks[-1]
        for each in setup:
            self.addCleanup(kubectl, "delete", each["kind"], each["metadata"]["name"], "-n", self.name, "--ignore-not-found")
        self.assertEqual(self.apply(setup).returncode, 0)
        account = next(h["metadata"]["name"] for h in setup if h["kind"] == "ServiceAccount")
        self.assertEqual(job["spec"]["template"]["spec"]["serviceAccountName"], account)
        kept = self.configuration(kinds[0], self.name)
        self.addCleanup(kubectl, "delete", kinds[0], self.name)
        self.assertEqual(self.apply([self.configuration(k, "signet.dev") for k in kinds] + [kept]).returncode, 0)

        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            self.write_kubeconfig(file, account)
            command = [BIN / "signet-operator", *job["spec"]["template"]["spec"]["containers"][0]["command"][1:], "--kubeconfig", file.name]
            # The roles reach the API server's authorizer a moment after they are written.
            end = time.monotonic() + 20
            while True:
                done = subprocess.run(command, capture_output=True, text=True, timeout=60)
                if done.returncode == 0 or time.monotonic() > end:
                    break
            self.assertEqual(done.returncode, 0, done.stderr)
            for kind in kinds:
                self.assertIsNone(get(kind, "signet.dev"))
            self.assertIsNotNone(get(kinds[0], self.name))
            again = subprocess.run(command, capture_output=True, text=True, timeout=60)
            self.assertEqual(again.returncode, 0, again.stderr)
            self.assertEqual(again.stdout.count("is not there"), 2)
            refused = kubectl("--kubeconfig", file.name, "delete", kinds[0], self.name, check=False)
            self.assertIn("forbidden", refused.stderr)

    def write_kubeconfig(self, file, account):
        def secret_token():
            # kubectl create token came with 1.24; tests/cluster's server makes token Secrets for accounts.
            request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}}
            done = kubectl("create", "--raw", f"/api/v1/namespaces/{self.name}/serviceaccounts/{account}/token", "-f", "-",
                           data=json.dumps(request), check=False)
            return json.loads(done.stdout)["status"]["token"] if done.returncode == 0 else None
        token = wait_for("a token", secret_token)
        config = yaml.safe_load(pathlib.Path(KUBECONFIG).read_text())
        config["users"] = [{"name": "hook", "user": {"token": token}}]
        config["contexts"] = [{"name": "hook", "context": {"cluster": config["clusters"][0]["name"], "user": "hook", "namespace": self.name}}]
        config["current-context"] = "hook"
        yaml.safe_dump(config, file)
        file.flush()


if __name__ == "__main__":
    unittest.main()
