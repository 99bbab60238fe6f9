"""What the end-to-end tests share: tokens, the real programs, the socket, openssl, the audit record.

Standard library and PyYAML only. Every process is started here and ended here, by its own pid.
"""
import base64
import contextlib
import functools
import hashlib
import http.client
import json
import os
import pathlib
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import warnings

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("SIGNET_BIN", ROOT / "build/bin"))
SUBJECT = "system:serviceaccount:ci:builder"
DEADLINE = 30.0

# name: (key generate spec, openssl digest option or None for Ed25519, extra openssl options)
PSS = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"]
ALGORITHMS = [
    (key, name, digest, options)
    for key, names in [
        (("ECDSA", 256), [("ECDSAWithSHA256", "sha256", []), ("ECDSAWithSHA384", "sha384", []), ("ECDSAWithSHA512", "sha512", [])]),
        (("ECDSA", 384), [("ECDSAWithSHA384", "sha384", []), ("ECDSAWithSHA512", "sha512", [])]),
        (("ECDSA", 521), [("ECDSAWithSHA512", "sha512", []), ("ECDSAWithSHA256", "sha256", [])]),
        (("RSA", 2048), [("SHA256WithRSA", "sha256", []), ("SHA384WithRSA", "sha384", []), ("SHA512WithRSA", "sha512", []),
                         ("SHA256WithRSAPSS", "sha256", PSS), ("SHA384WithRSAPSS", "sha384", PSS), ("SHA512WithRSAPSS", "sha512", PSS)]),
        (("RSA", 3072), [("SHA256WithRSA", "sha256", []), ("SHA384WithRSAPSS", "sha384", PSS)]),
        (("RSA", 4096), [("SHA512WithRSA", "sha512", []), ("SHA512WithRSAPSS", "sha512", PSS)]),
        (("Ed25519", None), [("PureEd25519", None, [])]),
    ]
    for name, digest, options in names
]


def module_path():
    for pattern in ("usr/lib/softhsm/libsofthsm2.so", "usr/lib/*/softhsm/libsofthsm2.so"):
        for found in pathlib.Path("/").glob(pattern):
            return str(found)
    raise RuntimeError("SoftHSM is not installed (package softhsm2)")


@functools.cache
def client(name):
    """The path of `kubectl` or `helm`."""
    return subprocess.run([ROOT / "tests/cluster/clients.sh", name], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def wait_for(what, probe, seconds=DEADLINE, interval=0.02):
    """Polls `probe` until it returns something true; the interval only bounds the polling of another process."""
    end = time.monotonic() + seconds
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s for {what}")
        time.sleep(interval)


def kill_instants(default):
    """How often a random-kill test kills: few by default, SIGNET_TEST_KILLS=50 for the long run."""
    return int(os.environ.get("SIGNET_TEST_KILLS", default))


def outage_seconds():
    """How long what is taken away stays away: a moment by default, SIGNET_TEST_OUTAGE=60 for the long run."""
    return float(os.environ.get("SIGNET_TEST_OUTAGE", "0"))


def outlives(process, seconds):
    """The outage itself: for so long, the process has to live on."""
    end = time.monotonic() + seconds
    while process.running():
        if time.monotonic() >= end:
            return
        time.sleep(0.05)
    raise AssertionError(f"ended with {process.child.returncode}; log:\n{process.tail()}")


class RecordLines:
    """Counts the lines of one record while its process appends to it."""

    def __init__(self, path):
        self.path, self.offset, self.lines = pathlib.Path(path), 0, 0

    def count(self):
        with contextlib.suppress(FileNotFoundError), open(self.path, "rb") as stream:
            stream.seek(self.offset)
            data = stream.read()
            self.offset += len(data)
            self.lines += data.count(b"\n")
        return self.lines


def wait_for_lines(process, lines, more):
    """Returns as soon as `more` lines of the record have come: the instant lies anywhere in the operations then in work."""
    goal = lines.count() + more

    def reached():
        if not process.running():
            raise AssertionError(f"ended with {process.child.returncode}; log:\n{process.tail()}")
        return lines.count() >= goal
    wait_for(f"{more} lines more in the record", reached, 60, interval=0.0005)


def kill_in_the_middle(process, lines, more):
    wait_for_lines(process, lines, more)
    process.kill()


def free_port():
    """Below the range that outgoing connections take theirs from: still free when a program is started on it, and again after a kill."""
    while True:
        port = 20000 + secrets.randbelow(12000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def away_from_midnight(seconds=180):
    """A day's quota begins anew at midnight UTC: a test that spends one does so within one day."""
    wait_for("midnight UTC to pass", lambda: time.time() % 86400 < 86400 - seconds, seconds + DEADLINE, interval=0.5)


class Token:
    """A SoftHSM token directory with one initialised token, or none when `label` is None."""

    def __init__(self, folder, label="prod"):
        self.folder = pathlib.Path(folder)
        self.label = label
        self.tokens = self.folder / "tokens"
        self.tokens.mkdir(parents=True)
        self.conf = self.folder / "softhsm2.conf"
        self.conf.write_text(f"directories.tokendir = {self.tokens}\nobjectstore.backend = file\nlog.level = ERROR\n")
        self.pin = secrets.token_hex(6)
        self.pin_file = self.folder / "pin"
        self.pin_file.write_text(self.pin + "\n")
        self.module = module_path()
        if label:
            self.initialise(label)

    def initialise(self, label):
        subprocess.run(["softhsm2-util", "--module", self.module, "--init-token", "--free", "--label", label, "--pin", self.pin,
                        "--so-pin", secrets.token_hex(6)], env=self.env(), check=True, capture_output=True)

    def env(self):
        return {**os.environ, "SOFTHSM2_CONF": str(self.conf)}


class Process:
    """One of our programs; stderr goes to a file that is shown when a test fails."""

    def __init__(self, args, env, log):
        self.args = [str(arg) for arg in args]
        self.log = pathlib.Path(log)
        self.stream = open(self.log, "ab")
        self.child = subprocess.Popen(self.args, env=env, stdin=subprocess.DEVNULL, stdout=self.stream, stderr=self.stream)

    @property
    def pid(self):
        return self.child.pid

    def running(self):
        return self.child.poll() is None

    def signal(self, number):
        if self.running():
            self.child.send_signal(number)

    def kill(self):
        self.signal(signal.SIGKILL)
        self.child.wait()
        self.stream.close()

    def stop(self, seconds=20):
        self.signal(signal.SIGTERM)
        try:
            code = self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.args[0]} did not end on SIGTERM within {seconds} s; log:\n{self.tail()}") from None
        self.stream.close()
        return code

    def wait(self, seconds=DEADLINE):
        try:
            code = self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.args[0]} still runs after {seconds} s; log:\n{self.tail()}") from None
        self.stream.close()
        return code

    def tail(self):
        return self.log.read_text(errors="replace")[-4000:]


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout=DEADLINE):
        super().__init__("localhost", timeout=timeout)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self.path)  # waits while the backlog is full; with a timeout it would fail at once
        self.sock.settimeout(self.timeout)


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)


class Client:
    """Keep-alive client of the socket."""

    def __init__(self, path):
        self.connection = UnixConnection(path)

    def call(self, method, target, body=None, headers=None):
        data = json.dumps(body) if isinstance(body, (dict, list)) else body
        sent = {"Content-Type": "application/json"} if data is not None else {}
        self.connection.request(method, target, body=data, headers={**sent, **(headers or {})})
        response = self.connection.getresponse()
        return Answer(response.status, dict(response.getheaders()), response.read())

    def sign(self, policy, digest=None, **fields):
        body = {"policy": policy, **({"digest": digest} if digest else {}), **fields}
        return self.call("POST", "/v1/sign", body)

    def close(self):
        self.connection.close()


class Sidecar(Process):
    def __init__(self, folder, token, policies, subject=SUBJECT, extra=(), env=None, program=None):
        self.folder = pathlib.Path(folder)
        self.socket = self.folder / "s.sock"
        self.audit = self.folder / "sidecar.jsonl"
        super().__init__([program or BIN / "signet-sidecar", "--socket", self.socket, "--policies", policies, "--pkcs11-module", token.module,
                          "--pin-file", token.pin_file, "--audit", self.audit, "--subject", subject, *extra],
                         {**token.env(), **(env or {})}, self.folder / "sidecar.log")

    def ready(self, seconds=DEADLINE):
        def probe():
            if not self.running():
                raise AssertionError(f"the sidecar ended with {self.child.returncode}; log:\n{self.tail()}")
            return self.status("/readyz") == 200
        wait_for(f"the sidecar to be ready; log: {self.log}", probe, seconds)
        return self

    def status(self, target):
        client = Client(self.socket)
        try:
            return client.call("GET", target).status
        except OSError:
            return 0
        finally:
            client.close()

    def client(self):
        return Client(self.socket)


class Operator(Process):
    def __init__(self, folder, token, where, extra=(), env=None, name="operator"):
        self.folder = pathlib.Path(folder)
        self.audit = self.folder / f"{name}.jsonl"
        super().__init__([BIN / "signet-operator", *where, "--pkcs11-module", token.module, "--pin-file", token.pin_file,
                          "--audit", self.audit, *extra], {**token.env(), **(env or {})}, self.folder / f"{name}.log")


def policy(name, key=("ECDSA", 256), algorithms=("ECDSAWithSHA256",), token="prod", generate=True, **spec):
    algorithm, size = key
    made = {"algorithm": algorithm, **({"size": size} if size else {})}
    return {
        "apiVersion": "signet.dev/v1alpha1", "kind": "SigningPolicy", "metadata": {"name": name},
        "spec": {"allowDirect": True, "key": {"uri": f"pkcs11:token={token};object={name}", **({"generate": made} if generate else {})},
                 "algorithms": list(algorithms), "subjects": [{"kind": "ServiceAccount", "namespace": "ci", "name": "builder"}], **spec},
    }


def request(name, policy_name, digest=None, namespace="ci", username=SUBJECT, **spec):
    return {
        "apiVersion": "signet.dev/v1alpha1", "kind": "SigningRequest", "metadata": {"name": name, "namespace": namespace},
        "spec": {"policyRef": {"name": policy_name}, **({"digest": digest} if digest else {}),
                 **({"requester": {"username": username}} if username else {}), **spec},
    }


def write_yaml(path, *documents):
    path = pathlib.Path(path)
    temporary = path.with_name("." + path.name + ".tmp")
    temporary.write_text(yaml.safe_dump_all(documents, sort_keys=False))
    temporary.rename(path)
    return path


def digest_of(data, name="sha256"):
    return f"{name}:{hashlib.new(name, data).hexdigest()}"


def condition(status, kind):
    return next((c for c in (status or {}).get("conditions", []) if c["type"] == kind), None)


def openssl_verifies(folder, public_key_pem, signature, message, digest, options):
    """The openssl command line alone decides; `digest` None means Ed25519."""
    folder = pathlib.Path(folder)
    stem = secrets.token_hex(4)
    key, sig, data = folder / f"{stem}.pem", folder / f"{stem}.sig", folder / f"{stem}.bin"
    key.write_text(public_key_pem)
    sig.write_bytes(signature)
    data.write_bytes(message)
    if digest is None:
        command = ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", key, "-sigfile", sig, "-in", data]
    else:
        command = ["openssl", "dgst", f"-{digest}", *options, "-verify", key, "-signature", sig, data]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    for path in (key, sig, data):
        path.unlink()
    return done.returncode == 0


def records(audit):
    """All lines of a record, segments in order."""
    audit = pathlib.Path(audit)
    lines = []
    for part in [*sorted(audit.parent.glob(audit.name + ".[0-9]*")), audit]:
        if part.exists():
            torn = None
            for text in filter(None, part.read_text().split("\n")[:-1]):  # a line in work has no end yet
                try:
                    line = json.loads(text)
                except ValueError:
                    if torn:
                        raise AssertionError(f"{part}: two lines that are none, one after the other") from None
                    torn = text
                    continue
                if torn and "tornBytes" not in line:
                    raise AssertionError(f"{part}: nothing closes the line that begins {torn[:80]}")
                torn = None
                lines.append(line)
    return lines


def audit_verify(audit, *options):
    return subprocess.run([str(BIN / "signet"), "audit", "verify", str(audit), *options], capture_output=True, text=True)


class Case(unittest.TestCase):
    """A temp folder with a short name (socket paths are at most 107 bytes) and processes that end with the test."""

    def setUp(self):
        warnings.simplefilter("ignore", ResourceWarning)  # sockets of processes that the test killed
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="sg"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.processes = []
        self.addCleanup(self.end_processes)

    def end_processes(self):
        for process in self.processes:
            if process.running():
                process.kill()
            elif not process.stream.closed:
                process.stream.close()

    def run(self, result=None):
        before = len(result.failures) + len(result.errors) if result else 0
        outcome = super().run(result)
        if result and len(result.failures) + len(result.errors) > before:
            for process in getattr(self, "processes", []):
                with contextlib.suppress(OSError):
                    print(f"--- {process.log} ---\n{process.tail()}", file=sys.stderr)
        return outcome

    def start(self, process):
        self.processes.append(process)
        return process

    def token(self, name="hsm", label="prod"):
        return Token(self.folder / name, label)

    def policies(self, *documents, name="policies"):
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        for document in documents:
            write_yaml(folder / f"{document['metadata']['name']}.yaml", document)
        return folder

    def generate_keys(self, token, folder):
        """The operator on the directory store is what makes keys; the sidecar never does."""
        done = subprocess.run([str(BIN / "signet-operator"), "--store", f"dir:{folder}", "--once", "--pkcs11-module", token.module,
                               "--pin-file", str(token.pin_file), "--audit", str(self.folder / "keys.jsonl"), "--log-level", "warn"],
                              env=token.env(), capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)

    def sidecar(self, token, policies, **options):
        return self.start(Sidecar(self.folder, token, policies, **options))

    def operator(self, token, where, **options):
        return self.start(Operator(self.folder, token, where, **options))

    def assert_pairs(self, audit, released=()):
        """Every intent has exactly one outcome; every released operation is recorded as signed."""
        lines = records(audit)
        intents = [line["operation"] for line in lines if line["type"] == "intent"]
        outcomes = {}
        for line in lines:
            if line["type"] == "outcome":
                self.assertNotIn(line["operation"], outcomes, "two outcomes for one operation")
                outcomes[line["operation"]] = line
        self.assertEqual(len(intents), len(set(intents)), "an operation id was used twice")
        self.assertEqual(set(intents), set(outcomes))
        for operation, signature in released:
            self.assertEqual(outcomes[operation]["result"], "signed")
            self.assertEqual(outcomes[operation]["signatureSha256"], hashlib.sha256(signature).hexdigest())
        return outcomes

    def b64(self, text):
        return base64.b64decode(text, validate=True)
