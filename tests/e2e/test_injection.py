#!/usr/bin/python3
"""Injection on a real kube-apiserver: which pods the webhook is asked about, what it makes of them, how a refusal reads.

There is no node here: pods are made and looked at, not run. Server 1.20 has no native sidecars, so that this is the
container form; tests/unit/frontend/golden holds the native one.
"""
import base64
import http.server
import json
import signal
import ssl
import subprocess
import threading
import unittest

from harness import BIN, free_port, wait_for
from test_cluster import CLUSTER, OWN_CLUSTER, Api, get, kubectl

IMAGE = "registry.example.com/signet:test"
GATEWAY = "https://signet-gateway.signet-system.svc:443"
LABEL = "signet.dev/inject"


def certificate(key, *options):
    return subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", str(key), "-subj", "/CN=meddler",
                           "-days", "1", *options], capture_output=True, text=True, check=True).stdout


class Meddler(http.server.BaseHTTPRequestHandler):
    """Another mutating webhook: it adds a container, once."""

    def do_POST(self):
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request = review["request"]
        names = [one["name"] for one in request["object"]["spec"]["containers"]]
        patch = [] if "proxy" in names else [{"op": "add", "path": "/spec/containers/0", "value": {"name": "proxy", "image": "registry.example.com/proxy:1"}}]
        response = {"uid": request["uid"], "allowed": True, "patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(patch).encode()).decode()}
        body = json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def sidecar_of(pod):
    return next((one for one in pod["spec"]["containers"] if one["name"] == "signet-sidecar"), None)


@unittest.skipUnless(OWN_CLUSTER, "labels kube-system and signet-system")
class Injection(Api):
    def setUp(self):
        super().setUp()
        self.unlabel()
        self.addCleanup(self.unlabel)
        wait_for("the service account", lambda: get("serviceaccount", "default", self.ns), 90)

    def unlabel(self):
        for namespace in ("kube-system", "signet-system"):
            kubectl("label", "namespace", namespace, "signet.dev/control-plane-", f"{LABEL}-", check=False)

    def begin(self):
        # An API server that was built without its version in it cannot be asked for the form.
        form = () if json.loads(kubectl("get", "--raw", "/version").stdout)["minor"] else ("--sidecar-form", "container")
        gateway = ("--gateway", f"127.0.0.1:{free_port()}", "--gateway-url", GATEWAY, "--gateway-drain-delay", "0")
        operator = self.run_operator(self.token(), extra=("--sidecar-image", IMAGE, *gateway, *form))
        wait_for("the webhooks", lambda: len((get("mutatingwebhookconfiguration", "signet.dev") or {}).get("webhooks", [])) == 3, 90)
        # API servers learn of configurations by a watch, and the operator of the gateway's CA: a dry run shows both.
        wait_for("pods to be injected", self.is_injected, 90, interval=0.1)
        return operator

    def is_injected(self):
        done = self.create(self.pod("asked", labels={LABEL: "true"}), "--dry-run=server")
        return done.returncode == 0 and sidecar_of(json.loads(done.stdout)) is not None

    def pod(self, name, labels=None, annotations=None, namespace=None, **spec):
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace or self.ns, "labels": labels or {}, "annotations": annotations or {}},
                "spec": {"containers": [{"name": "app", "image": "registry.example.com/app:1"}], "automountServiceAccountToken": False, **spec}}

    def create(self, pod, *options):
        return kubectl("create", "-o", "json", *options, "-f", "-", data=json.dumps(pod), check=False)

    def made(self, pod, *options):
        done = self.create(pod, *options)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def refused(self, pod):
        done = self.create(pod)
        self.assertNotEqual(done.returncode, 0, done.stdout)
        return done.stderr

    def label_namespace(self, value="true", namespace=None):
        kubectl("label", "namespace", namespace or self.ns, f"{LABEL}={value}", "--overwrite")

    def test_labels_decide_who_is_injected(self):
        operator = self.begin()
        self.assertIsNone(sidecar_of(self.made(self.pod("nobody"))), "no label")
        labelled = self.made(self.pod("by-pod", labels={LABEL: "true"}, annotations={"signet.dev/policy": "release"}))
        self.assertEqual(labelled["metadata"]["annotations"]["signet.dev/injected"].split("/")[1], "container")
        sidecar = sidecar_of(labelled)
        pinned = sidecar["args"][sidecar["args"].index("--gateway-ca-pem") + 1]
        self.assertEqual(pinned, get("configmap", "signet-gateway-ca", "signet-system")["data"]["ca.crt"])
        self.assertEqual(sidecar["image"], IMAGE)
        self.assertIn(GATEWAY, sidecar["args"])
        app = labelled["spec"]["containers"][0]
        self.assertEqual({one["name"]: one["value"] for one in app["env"]}, {"SIGNET_SOCKET": "/run/signet/signet.sock", "SIGNET_POLICY": "release"})
        self.assertEqual(app["volumeMounts"], [{"mountPath": "/run/signet", "name": "signet-socket", "readOnly": True}])
        self.label_namespace()
        # The selector is judged by the API server's own watch of namespaces.
        wait_for("the namespace's label to count", lambda: sidecar_of(self.made(self.pod("probe"), "--dry-run=server")))
        self.assertIsNotNone(sidecar_of(self.made(self.pod("by-namespace"))))
        self.assertIsNone(sidecar_of(self.made(self.pod("opted-out", labels={LABEL: "false"}))))
        self.assertIsNotNone(sidecar_of(self.made(self.pod("both", labels={LABEL: "true"}))))
        job = self.made(self.pod("job", restartPolicy="Never"))
        self.assertEqual(sidecar_of(job)["args"][-2:], ["--end-with-pod", "signet-sidecar"])
        self.assertEqual(operator.stop(), 0)

    def test_the_control_plane_is_never_asked_about(self):
        operator = self.begin()
        for namespace in ("kube-system", "signet-system"):
            with self.subTest(namespace=namespace):
                wait_for("the label", lambda namespace=namespace: "signet.dev/control-plane" in get("namespace", namespace)["metadata"].get("labels", {}), 40)
                self.label_namespace(namespace=namespace)
                pod = self.pod(f"vital-{self.id}", labels={LABEL: "true"}, namespace=namespace, serviceAccountName="default")
                wait_for("the service account", lambda namespace=namespace: get("serviceaccount", "default", namespace))
                wait_for("the label to count", lambda pod=pod: sidecar_of(self.made(pod, "--dry-run=server")) is None)
        operator.signal(signal.SIGSTOP)  # nobody answers: whoever is asked about fails
        try:
            for namespace in ("kube-system", "signet-system"):
                pod = self.pod(f"vital-{self.id}", labels={LABEL: "true"}, namespace=namespace)
                self.made(pod, "--dry-run=server")
            self.made(self.pod("no-label"))
            self.made(self.pod("opted-out", labels={LABEL: "false"}))
            self.assertIn("failed calling webhook", self.refused(self.pod("labelled", labels={LABEL: "true"})), "a pod that wants a sidecar does not run without")
        finally:
            operator.signal(signal.SIGCONT)
        self.assertEqual(operator.stop(), 0)

    def test_a_dry_run_changes_nothing_and_shows_everything(self):
        operator = self.begin()
        shown = self.made(self.pod("dry", labels={LABEL: "true"}), "--dry-run=server")
        self.assertIsNotNone(sidecar_of(shown))
        self.assertIsNone(get("pod", "dry", self.ns))
        self.assertEqual(operator.stop(), 0)

    def test_refusals_read_well(self):
        operator = self.begin()
        want = {LABEL: "true"}
        for name, pod, text in (
            ("container", self.pod("a", want, {"signet.dev/containers": "bulid"}), "annotation signet.dev/containers: the pod has no container bulid: it has app"),
            ("quantity", self.pod("b", want, {"signet.dev/sidecar-memory-limit": "64 MB"}), "annotation signet.dev/sidecar-memory-limit: \"64 MB\" is not a quantity"),
            ("option", self.pod("c", want, {"signet.dev/polciy": "x"}), "annotation signet.dev/polciy: is unknown"),
            ("volume", self.pod("d", want, volumes=[{"name": "signet-socket", "hostPath": {"path": "/"}}]), "the name signet-socket is Signet's"),
            ("token", self.pod("e", want, containers=[{"name": "app", "image": "i", "volumeMounts": [{"name": "signet-identity", "mountPath": "/x"}]}]), "is for the sidecar alone"),
            ("clash", self.pod("f", want, containers=[{"name": "app", "image": "i"}, {"name": "signet-sidecar", "image": "other"}]), "a container signet-sidecar is there and its image"),
        ):
            with self.subTest(name):
                told = self.refused(pod)
                self.assertIn("denied the request", told)
                self.assertIn(text, told)
        self.assertIsNone(get("pod", "a", self.ns))
        self.assertEqual(operator.stop(), 0)

    def test_an_injected_pod_may_come_again(self):
        """A second webhook that changes pods after ours makes the server ask us again (reinvocationPolicy)."""
        operator = self.begin()
        whole = self.made(self.pod("first", labels={LABEL: "true"}))
        copy = self.pod("second", labels={LABEL: "true"}, annotations=whole["metadata"]["annotations"])
        copy["spec"] = {key: whole["spec"][key] for key in ("containers", "volumes", "restartPolicy", "automountServiceAccountToken")}
        again = self.made(copy)
        self.assertEqual(again["spec"]["containers"], whole["spec"]["containers"])
        self.assertEqual(again["spec"]["volumes"], whole["spec"]["volumes"])
        more = json.loads(json.dumps(copy))
        more["metadata"]["name"] = "third"
        more["spec"]["containers"].insert(0, {"name": "proxy", "image": "p"})
        third = self.made(more)
        self.assertEqual([one["name"] for one in third["spec"]["containers"]], ["proxy", "app", "signet-sidecar"])
        self.assertEqual(third["spec"]["containers"][0]["volumeMounts"][0]["mountPath"], "/run/signet")
        self.assertEqual(operator.stop(), 0)

    def meddle(self):
        """Its configuration's name comes after ours, and so does its call."""
        key, pem = self.folder / "meddler.key", self.folder / "meddler.pem"
        pem.write_text(certificate(key, "-addext", "subjectAltName=IP:127.0.0.1"))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem, key)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Meddler)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        self.addCleanup(server.server_close)
        self.addCleanup(thread.join)
        self.addCleanup(server.shutdown)
        webhook = {"name": "meddler.example.com", "clientConfig": {"url": f"https://127.0.0.1:{server.server_port}/", "caBundle": base64.b64encode(pem.read_bytes()).decode()},
                   "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}], "failurePolicy": "Fail", "sideEffects": "None",
                   "admissionReviewVersions": ["v1"], "objectSelector": {"matchLabels": {"meddle": self.id}}}
        self.addCleanup(kubectl, "delete", "mutatingwebhookconfiguration", "zz-meddler", "--ignore-not-found")
        kubectl("apply", "-f", "-", data=json.dumps({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration", "metadata": {"name": "zz-meddler"},
                                                     "webhooks": [webhook]}))
        probe = self.pod("probe", labels={"meddle": self.id})
        wait_for("the other webhook", lambda: len(self.made(probe, "--dry-run=server")["spec"]["containers"]) == 2, 90)

    def test_a_container_that_another_webhook_adds_gets_the_socket(self):
        operator = self.begin()
        self.meddle()
        # With a token of the account: the server's own plugin adds its mount to our sidecar before it asks again.
        pod = self.pod("reinvoked", labels={LABEL: "true", "meddle": self.id}, automountServiceAccountToken=True)
        wait_for("the account's token to be there", lambda: self.create(pod, "--dry-run=server").returncode == 0, 60)
        made = self.made(pod)
        self.assertEqual([one["name"] for one in made["spec"]["containers"]], ["proxy", "app", "signet-sidecar"])
        for container in made["spec"]["containers"][:2]:
            self.assertEqual([one["mountPath"] for one in container["volumeMounts"] if one["name"] == "signet-socket"], ["/run/signet"], container["name"])
            self.assertEqual(len([one for one in container["env"] if one["name"] == "SIGNET_SOCKET"]), 1, container["name"])
        self.assertEqual(len([one for one in made["spec"]["volumes"] if one["name"].startswith("signet-")]), 2)
        self.assertEqual(operator.stop(), 0)

    def test_pods_of_a_job(self):
        operator = self.begin()
        self.label_namespace()

        def job(name, annotations):
            template = {"metadata": {"annotations": annotations}, "spec": {"restartPolicy": "Never", "containers": [{"name": "build", "image": "registry.example.com/app:1"}]}}
            kubectl("apply", "-f", "-", data=json.dumps({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": self.ns}, "spec": {"template": template}}))
        wait_for("the namespace's label to count", lambda: sidecar_of(self.made(self.pod("probe"), "--dry-run=server")))
        job("good", {"signet.dev/policy": "release"})
        job("bad", {"signet.dev/readiness": "lax"})
        pods = wait_for("the Job's pod", lambda: [one for one in get("pod", namespace=self.ns)["items"] if one["metadata"].get("labels", {}).get("job-name") == "good"], 60)
        sidecar = sidecar_of(pods[0])
        self.assertEqual(sidecar["args"][-2:], ["--end-with-pod", "signet-sidecar"])
        told = wait_for("the refusal in the Job's events", lambda: [one["message"] for one in get("event", namespace=self.ns)["items"]
                                                                    if one["involvedObject"]["name"] == "bad" and one["reason"] == "FailedCreate"], 60)
        self.assertIn("annotation signet.dev/readiness: must be strict or sticky", told[0])
        self.assertEqual(operator.stop(), 0)

    def test_turning_it_off_takes_the_webhooks_away(self):
        operator = self.begin()
        self.assertEqual(operator.stop(), 0)
        self.run_operator(self.token("other"), wait=True, name="operator")
        wait_for("the webhooks to go", lambda: len(get("mutatingwebhookconfiguration", "signet.dev")["webhooks"]) == 1, 60)

        def ignored():  # the API server's own list of webhooks is a moment older
            done = self.create(self.pod("off", labels={LABEL: "true"}), "--dry-run=server")
            return done.returncode == 0 and sidecar_of(json.loads(done.stdout)) is None
        wait_for("pods to be nobody's business", ignored)


class Probe(Api):
    def test_the_exec_probe_says_what_is_wrong(self):
        def probe(address):
            return subprocess.run([str(BIN / "signet-operator"), "probe", "--health", address], capture_output=True, text=True, timeout=30)
        address = f"127.0.0.1:{free_port()}"
        away = probe(address)
        self.assertEqual((away.returncode, away.stdout), (1, f"not ready: nobody listens on {address}: Connection refused\n"))
        empty = self.token(label=None)
        self.run_operator(empty, extra=("--health", address), webhook=False)
        wait_for("the HSM to be all that is wrong",
                 lambda: [line.split(": ")[:2] for line in probe(address).stdout.splitlines()] == [["hsm", "TokenNotFound"]], 60)
        self.assertEqual(probe(address).returncode, 1)
        empty.initialise("prod")
        wait_for("ready", lambda: probe(address).returncode == 0, 60, interval=0.2)
        self.assertEqual(probe(address).stdout, "")
        self.assertEqual(probe("nonsense").returncode, 2)


if __name__ == "__main__":
    unittest.main()
