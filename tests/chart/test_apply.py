#!/usr/bin/python3
"""The chart, installed, upgraded and uninstalled by Helm on a real kube-apiserver, with no more rights than the roles say.

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

import chart
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

    def values(self, values=None):
        return {**(values or {}), "fullnameOverride": self.name, "rbac": {"userRoles": False}, "crds": {"install": False}}

    def rendered(self, values=None):
        return render_all(self.values(values), release=self.name, namespace=self.name, kube_version=self.version)

    def apply(self, objects, *options):
        # A list: kubectl then says everything that is wrong at once.
        return kubectl("apply", "-f", "-", *options, data=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}), check=False)

    def helm(self, *words, check=True):
        return chart.helm(*words, "--namespace", self.name, "--kubeconfig", KUBECONFIG, check=check, timeout=120)

    def release(self, command, values, files=()):
        with chart.values_file(self.values(values)) as last:
            return self.helm(command, self.name, CHART, *(word for path in (*files, last) for word in ("-f", path)))

    def install(self, values=None, files=()):
        self.addCleanup(self.helm, "uninstall", self.name, "--no-hooks", "--ignore-not-found")  # no node here to run them
        return self.release("install", values, files)


class Server(Chart):
    def test_every_object_of_every_example_is_accepted(self):
        for path in CI:
            with self.subTest(path=path.name):
                made = render_all(files=[path], release="signet", namespace=self.name, kube_version=self.version)
                objects = [o for o in made.all if o["apiVersion"] != FOREIGN and o["kind"] not in ("CustomResourceDefinition", "Pod")]
                self.assertGreater(len(objects), 10)  # a pod wants its account, which a dry run does not make
                done = self.apply(objects, "--dry-run=server")
                self.assertEqual(done.returncode, 0, done.stderr)
                crds = [o for o in made.objects if o["kind"] == "CustomResourceDefinition"]
                done = self.apply(crds, "--dry-run=server")
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

    def generation(self):
        return get("statefulset", f"{self.name}-operator", self.name)["metadata"]["generation"]

    def test_upgraded_with_the_same_values_it_changes_nothing(self):
        self.install({"devHsm": {"enabled": True}})
        before = self.generation()
        self.release("upgrade", {"devHsm": {"enabled": True}})
        self.assertEqual(self.generation(), before)

    def test_an_upgrade_and_a_rollback_are_accepted(self):
        tokens = [CHART / "ci/tokens-values.yaml"]
        self.install(files=tokens)
        before = self.generation()
        self.release("upgrade", {"replicaCount": 3, "podAnnotations": {"a": "b"}, "logLevel": "debug"}, tokens)
        upgraded = get("statefulset", f"{self.name}-operator", self.name)
        self.assertEqual((upgraded["spec"]["replicas"], upgraded["metadata"]["generation"]), (3, before + 1))
        self.helm("rollback", self.name, "1")
        self.assertEqual(get("statefulset", f"{self.name}-operator", self.name)["spec"]["replicas"], 2)

    def test_uninstalled_it_leaves_what_is_to_be_kept_and_no_more(self):
        self.install({"devHsm": {"enabled": True}})
        self.assertIn(f"{self.name}-dev-hsm", self.helm("uninstall", self.name, "--no-hooks").stdout)
        kinds = "statefulset,service,serviceaccount,role,rolebinding,configmap,networkpolicy,pvc"
        left = kubectl("get", kinds, "-n", self.name, "-l", f"app.kubernetes.io/instance={self.name}", "-o", "name").stdout.split()
        claims = [f"persistentvolumeclaim/data-{self.name}-operator-0", f"persistentvolumeclaim/{self.name}-dev-hsm"]
        self.assertLessEqual(set(left), set(claims))
        self.assertIn(claims[1], left)
        roles = kubectl("get", "clusterrole,clusterrolebinding", "-l", f"app.kubernetes.io/instance={self.name}", "-o", "name").stdout.split()
        self.assertEqual(roles, [])

    def test_rights(self):
        self.install({"devHsm": {"enabled": True}})
        account = f"system:serviceaccount:{self.name}:{self.name}-operator"

        def may(verb, resource, namespace=self.name):
            resource, _, subresource = resource.partition("::")
            return kubectl("auth", "can-i", verb, resource, f"--subresource={subresource}", "-n", namespace, "--as", account,
                           check=False).stdout.strip() == "yes"

        for verb, resource in (("create", "tokenreviews.authentication.k8s.io"), ("get", "pods"), ("watch", "signingpolicies.signet.dev"),
                               ("patch", "signingrequests.signet.dev::status"), ("get", "secrets/signet-seal"), ("get", "secrets/signet-gateway-ca"),
                               ("update", "leases.coordination.k8s.io/signet-operator"), ("update", "configmaps/signet-quota-1f"), ("create", "configmaps"), ("patch", f"namespaces/{self.name}"),
                               ("update", "mutatingwebhookconfigurations.admissionregistration.k8s.io/signet.dev")):
            # The roles reach the API server's authorizer a moment after they are written.
            wait_for(f"the right to {verb} {resource}", lambda v=verb, r=resource: may(v, r))
        for verb, resource in (("list", "secrets"), ("get", "secrets/other"), ("update", "secrets/signet-gateway-ca"), ("list", "pods"),
                               ("create", "pods"), ("create", "signingpolicies.signet.dev"), ("update", "signingpolicies.signet.dev"),
                               ("update", "signingrequests.signet.dev"), ("create", "signingapprovals.signet.dev"), ("patch", "namespaces/default"),
                               ("impersonate", "users"), ("create", "serviceaccounts::token"), ("delete", "configmaps"), ("update", "configmaps/approval-roots"), ("get", "configmaps/other"),
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
