"""What the tests of the node share: kubectl, the installed chart, its HSM and records, pods that sign, the gateway.

Runs inside the node's network (tests/node/inside.sh), as root, with SIGNET_NODE_DIR naming the node's state folder. Processes
of pods are found by the pod's uid in their cgroup and the program's name, and no other is signalled.
"""
import base64
import collections
import hashlib
import http.client
import json
import os
import pathlib
import re
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time

import yaml

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT / "tests/e2e"), str(ROOT / "tests/chart")]

import chart  # noqa: E402
from harness import module_path, records, wait_for  # noqa: E402

DIR = pathlib.Path(os.environ.get("SIGNET_NODE_DIR", "/nonexistent"))
SYSTEM = "signet-system"
OPERATOR = "signet-operator"
RELEASE = "signet"
UID = 65532
REPLICAS = 2
AUDIENCE = "signet.dev"
SIDECAR = "signet-sidecar"
SOCKET = "/run/signet/signet.sock"
# Seconds for a pod to be gone. Those of its containers that ended before it was deleted, kubelet removes once a minute, and
# tells the API server at its next full sync.
GONE = 240


# ---- kubectl ----

def run(*command, stdin=None, seconds=90, check=True):
    done = subprocess.run([str(word) for word in command], input=stdin, capture_output=True, text=True, timeout=seconds)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))[:300]} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done


def helm(*words, seconds=600):
    """Helm on the node's cluster; what the pods say when it fails."""
    done = chart.helm(*words, "--namespace", SYSTEM, "--kubeconfig", os.environ["KUBECONFIG"], check=False, timeout=seconds)
    if done.returncode != 0:
        raise AssertionError(f"helm {words[0]} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}\n"
                             f"{describe()[-6000:]}\n{operator_logs()}")
    return done.stdout


def release(command, values, *words):
    """helm install or upgrade of the chart, until it is ready."""
    with chart.values_file(values) as file:
        return helm(command, RELEASE, chart.CHART, "-f", file, "--wait", "--timeout", "5m", *words)


def kubectl(*words, **options):
    return run("kubectl", *words, **options).stdout


def get(kind, name, namespace=None):
    """The object, or None."""
    where = ["--namespace", namespace] if namespace else []
    text = kubectl("get", kind, name, *where, "--ignore-not-found", "-o", "json")
    return json.loads(text) if text.strip() else None


def apply(*objects, **options):
    return kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects), **options)


def condition(thing, kind):
    return next((c["status"] for c in (thing or {}).get("status", {}).get("conditions", []) if c["type"] == kind), None)


def describe(namespace=SYSTEM):
    """For messages of failed tests."""
    return kubectl("describe", "pods", "--namespace", namespace, check=False)


# ---- the HSM and the records: folders of the node that pods mount ----

class Hsm:
    """One SoftHSM token, for all replicas. Its folder is mounted at /hsm."""

    def __init__(self):
        self.folder = DIR / "hsm"
        self.tokens, self.away = self.folder / "tokens", self.folder / "away"
        self.pin = "pin-" + secrets.token_hex(8)

    def make(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        self.tokens.mkdir(parents=True)
        conf = "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n"
        (self.folder / "softhsm2.conf").write_text(conf.format("/hsm/tokens"))
        own = self.folder / "host.conf"
        own.write_text(conf.format(self.tokens))
        subprocess.run(["softhsm2-util", "--module", module_path(), "--init-token", "--free", "--label", "prod", "--pin", self.pin,
                        "--so-pin", secrets.token_hex(8)], env={**os.environ, "SOFTHSM2_CONF": str(own)}, check=True, capture_output=True)
        give_to_operator(self.folder)

    def take_away(self):
        self.tokens.rename(self.away)

    def bring_back(self):
        if self.away.exists():
            self.away.rename(self.tokens)


def give_to_operator(folder):
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, UID, UID)
        path.chmod(0o700 if path.is_dir() else 0o600)


def record_folder(replica):
    return DIR / f"record-{replica}"


def all_records():
    """{replica: the lines of its record}"""
    return {n: records(record_folder(n) / "audit.jsonl") for n in range(REPLICAS)}


# ---- Signet, installed as a platform team would ----

def values():
    return {
        "image": {"registry": "localhost", "repository": "signet", "tag": "test"},
        "replicaCount": REPLICAS,
        "hsm": {"module": "/usr/lib/softhsm/libsofthsm2.so", "tokenLabel": "prod", "pinSecret": {"name": "hsm-pin"}},
        "persistence": {"storageClassName": "by-hand", "size": "64Mi"},
        "extraVolumes": [{"name": "hsm", "hostPath": {"path": str(DIR / "hsm"), "type": "Directory"}}],
        "extraVolumeMounts": [{"name": "hsm", "mountPath": "/hsm"}],
        "extraEnv": [{"name": "SOFTHSM2_CONF", "value": "/hsm/softhsm2.conf"}],
        "webhook": {"rotationPause": 1},
        "drainTimeout": 10,
        "preStopSeconds": 2,
        "readinessProbe": {"periodSeconds": 1, "failureThreshold": 2, "timeoutSeconds": 5},
        "startupProbe": {"periodSeconds": 1, "failureThreshold": 60, "timeoutSeconds": 2},
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "512Mi"}},
    }


def namespace(name, **labels):
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def service_account(name, where):
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": where}}


def record_volume(replica):
    return {
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": f"record-{replica}"},
        "spec": {"capacity": {"storage": "64Mi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "by-hand",
                 "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": str(record_folder(replica)), "type": "Directory"},
                 "claimRef": {"namespace": SYSTEM, "name": f"data-{OPERATOR}-{replica}"}},
    }


def remove(namespaces):
    """What an earlier run on this node has left."""
    chart.helm("uninstall", RELEASE, "--namespace", SYSTEM, "--kubeconfig", os.environ["KUBECONFIG"], "--no-hooks", "--ignore-not-found", timeout=300)
    # First what makes the configurations anew.
    kubectl("delete", "statefulset", OPERATOR, "--namespace", SYSTEM, "--ignore-not-found", "--cascade=foreground",
            f"--timeout={GONE}s", seconds=GONE + 30)
    for kind in ("mutatingwebhookconfiguration", "validatingwebhookconfiguration"):
        kubectl("delete", kind, "signet.dev", "--ignore-not-found")
    for name in namespaces:  # those that are done would be in the way for a minute (see GONE)
        kubectl("delete", "pods", "--all", "--namespace", name, "--grace-period=0", "--force")
    kubectl("delete", "namespace", *namespaces, SYSTEM, "--ignore-not-found", f"--timeout={GONE}s", seconds=GONE + 30)
    kubectl("delete", "persistentvolume", *(f"record-{n}" for n in range(REPLICAS)), "--ignore-not-found", f"--timeout={GONE}s",
            seconds=GONE + 30)
    if get("crd", "signingpolicies.signet.dev"):
        kubectl("delete", "signingpolicies.signet.dev", "--all")


def install(hsm):
    hsm.make()
    for replica in range(REPLICAS):
        shutil.rmtree(record_folder(replica), ignore_errors=True)
        record_folder(replica).mkdir()
        give_to_operator(record_folder(replica))
    pin = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hsm-pin", "namespace": SYSTEM}, "stringData": {"pin": hsm.pin}}
    apply(namespace(SYSTEM), pin, *(record_volume(n) for n in range(REPLICAS)))
    release("install", values())
    wait_for("the webhook that injects", lambda: get("mutatingwebhookconfiguration", "signet.dev"))


def operator_logs():
    return "\n".join(kubectl("logs", f"{OPERATOR}-{n}", "--namespace", SYSTEM, "--tail=25", check=False) for n in range(REPLICAS))


def operators():
    return [pod for pod in (get("pod", f"{OPERATOR}-{n}", SYSTEM) for n in range(REPLICAS)) if pod]


def ready_operators():
    return sum(condition(pod, "Ready") == "True" and "deletionTimestamp" not in pod["metadata"] for pod in operators())


def all_ready(seconds=GONE):
    try:
        wait_for("every replica to be Ready", lambda: ready_operators() == REPLICAS, seconds, interval=0.3)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{describe()[-6000:]}\n{operator_logs()}") from None


def policy(name, where, account):
    return {
        "apiVersion": "signet.dev/v1alpha1", "kind": "SigningPolicy", "metadata": {"name": name},
        "spec": {"allowDirect": True, "key": {"uri": f"pkcs11:token=prod;object={name}", "generate": {"algorithm": "ECDSA", "size": 256}},
                 "algorithms": ["ECDSAWithSHA256"], "subjects": [{"kind": "ServiceAccount", "namespace": where, "name": account}]},
    }


def public_key(name):
    """The policy's public key, once its status has it."""
    def probe():
        found = get("signingpolicy", name)
        return condition(found, "Ready") == "True" and found["status"].get("key", {}).get("publicKey")
    try:
        return wait_for(f"policy {name} to be Ready", probe, 120, interval=0.3)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{kubectl('get', 'signingpolicy', name, '-o', 'yaml', check=False)}\n{operator_logs()}") from None


# ---- pods ----

def pod_spec(script, account, restart="Always"):
    return {
        "serviceAccountName": account, "restartPolicy": restart, "terminationGracePeriodSeconds": 2, "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "runAsGroup": 1000},
        "containers": [{"name": "main", "image": "localhost/workload:1", "imagePullPolicy": "IfNotPresent",
                        "command": ["bash", "-c", script],
                        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}],
    }


def pod(name, where, account, script="trap exit TERM; sleep infinity & wait"):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": where}, "spec": pod_spec(script, account)}


def job(name, where, account, script):
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": where},
            "spec": {"backoffLimit": 0, "template": {"spec": pod_spec(script, account, "Never")}}}


def pod_of_job(name, where):
    found = json.loads(kubectl("get", "pods", "--namespace", where, f"--selector=job-name={name}", "-o", "json"))["items"]
    return found[0] if found else None


def running(name, where, seconds=120):
    def probe():
        found = get("pod", name, where)
        return found if condition(found, "Ready") == "True" else None
    try:
        return wait_for(f"pod {where}/{name} to be Ready", probe, seconds, interval=0.3)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{kubectl('describe', 'pod', name, '--namespace', where, check=False)[-5000:]}\n"
                             f"{kubectl('logs', name, '--namespace', where, '-c', SIDECAR, '--tail=20', check=False)}") from None


def inside(name, where, script, stdin=None, check=True):
    """Runs a script in the pod's container `main`."""
    return run("kubectl", "exec", "--stdin", name, "--namespace", where, "-c", "main", "--", "bash", "-c", script, stdin=stdin or "",
               check=check)


Answer = collections.namedtuple("Answer", "status body headers")


def problem(answer):
    return json.loads(answer.body).get("code")


def sign_inside(name, where, policy_name, message, seconds=30):
    """Signs with curl in the pod, through its socket. Status 0: nobody listens."""
    body = json.dumps({"policy": policy_name, "digest": "sha256:" + hashlib.sha256(message).hexdigest()})
    done = inside(name, where, f"curl -sS -m {seconds} --unix-socket {SOCKET} -H 'Content-Type: application/json' --data-binary @- "
                               "-w '\\n%{http_code}' http://localhost/v1/sign", stdin=body, check=False)
    text, _, status = done.stdout.rpartition("\n")
    return Answer(int(status or 0), text, {})


def containers(thing):
    """All of a pod's, init containers too: the sidecar is one or the other, as the server's version has it."""
    return thing["spec"]["containers"] + thing["spec"].get("initContainers", [])


def container_status(thing, name):
    lists = (thing["status"].get(kind) or [] for kind in ("containerStatuses", "initContainerStatuses"))
    return next((status for each in lists for status in each if status["name"] == name), {})


def processes(uid, program):
    """Ids, on this machine, of the pod's processes that are `program`."""
    found = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if uid in (folder / "cgroup").read_text() and (folder / "cmdline").read_bytes().split(b"\0")[0].endswith(b"/" + program.encode()):
                found.append(int(folder.name))
        except OSError:  # ended meanwhile
            continue
    return sorted(found)


def main_process(uid, program):
    """PID 1 of the container: workers and probes are others."""
    for pid in processes(uid, program):
        try:
            status = pathlib.Path(f"/proc/{pid}/status").read_text()
        except OSError:  # ended meanwhile
            continue
        if re.search(r"^NSpid:.*\t1$", status, re.M):
            return pid
    raise AssertionError(f"no {program} runs in pod {uid}")


def kill(uid, program):
    os.kill(main_process(uid, program), signal.SIGKILL)


# ---- tokens and the gateway ----

def token(account, where, audience=AUDIENCE, bound_to=None):
    """A token as kubelet would fetch it; `bound_to` a pod object, or None for one that no pod holds."""
    spec = {"audiences": [audience], "expirationSeconds": 600}
    if bound_to:
        spec["boundObjectRef"] = {"apiVersion": "v1", "kind": "Pod", "name": bound_to["metadata"]["name"], "uid": bound_to["metadata"]["uid"]}
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    return json.loads(kubectl("create", "--raw", f"/api/v1/namespaces/{where}/serviceaccounts/{account}/token", "-f", "-",
                              stdin=json.dumps(body)))["status"]["token"]


def b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def claims_of(text):
    body = text.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))


def forged(text, **changes):
    """The token with other claims, signed with the API server's own key: what an old one would look like."""
    header = text.split(".")[0]
    signed = header + "." + b64url(json.dumps({**claims_of(text), **changes}).encode())
    key = DIR / "cluster/pki/sa.key"
    der = subprocess.run(["openssl", "dgst", "-sha256", "-sign", key], input=signed.encode(), capture_output=True, check=True).stdout
    return signed + "." + b64url(der_to_raw(der))


def der_to_raw(der):
    """SEQUENCE { INTEGER r, INTEGER s } to r and s of 32 bytes each, as JWTs have it."""
    at, numbers = 2, []
    for _ in range(2):
        length = der[at + 1]
        numbers.append(int.from_bytes(der[at + 2:at + 2 + length], "big").to_bytes(32, "big"))
        at += 2 + length
    return b"".join(numbers)


class Gateway:
    """The gateway's Service, or the replica at `address`, over TLS checked against the published CA."""

    def __init__(self, address=None):
        self.name = f"signet-gateway.{SYSTEM}.svc"
        found = get("service", "signet-gateway", SYSTEM)
        self.address = address or (found["spec"]["clusterIP"], found["spec"]["ports"][0]["port"])
        self.tls = ssl.create_default_context(cadata=get("configmap", "signet-gateway-ca", SYSTEM)["data"]["ca.crt"])

    def call(self, method, target, bearer=None, body=None):
        connection = http.client.HTTPSConnection(self.name, timeout=20)
        connection.sock = self.tls.wrap_socket(socket.create_connection(self.address, 10), server_hostname=self.name)
        connection.sock.settimeout(20)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if bearer:
            headers["Authorization"] = f"Bearer {bearer}"
        try:
            connection.request(method, target, body=None if body is None else json.dumps(body), headers=headers)
            answer = connection.getresponse()
            return Answer(answer.status, answer.read().decode(), dict(answer.getheaders()))
        finally:
            connection.close()

    def sign(self, bearer, policy_name, message=b"x"):
        return self.call("POST", "/v1/sign", bearer, {"policy": policy_name, "digest": "sha256:" + hashlib.sha256(message).hexdigest()})


def gateways():
    """Both replicas of the gateway, each by itself: each has its own cache of tokens, and the Service picks one at random."""
    def both():
        subsets = get("endpoints", "signet-gateway", SYSTEM).get("subsets") or []
        found = [(one["ip"], subset["ports"][0]["port"]) for subset in subsets for one in subset.get("addresses") or []]
        return found if len(found) == 2 else None
    return [Gateway(address) for address in wait_for("both replicas to be in the Service", both, 60)]


def seconds_until(what, probe, limit):
    """How long it took until `probe` was true."""
    began = time.monotonic()
    wait_for(what, probe, limit, interval=0.2)
    return time.monotonic() - began
