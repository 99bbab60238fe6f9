#!/usr/bin/python3
"""A flood from one address, in every phase of a connection, costs other addresses nothing: at each port of the real programs."""
import base64
import collections
import contextlib
import http.client
import json
import os
import resource
import socket
import ssl
import struct
import subprocess
import sys
import threading
import unittest
import urllib.parse

from harness import BIN, Case, digest_of, free_port, policy, wait_for
from test_cluster import Api, kubectl
from test_gateway import GatewayCase

GREEDY, OTHER = "127.0.0.2", "127.0.0.3"
SLOTS = 1200  # more than any port has
REQUESTS = 1000

resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)

KINDS = [  # what is sent before the client falls silent, and what it does then
    (b"", None),
    (b"GET / HTTP/1.1\r\nHos", None),
    (b"POST /v1/sign HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200000\r\n\r\n" + b"x" * 100_000, None),
    (b"\x80" * 3000, None),
    (b"GET / HTTP/1.1\r\nHost: localhost\r\nA: " + b"a" * 60_000, None),
    (b"GET / HTTP/1.1\r\nHos", "half-close"),
    (b"GET / HTTP/1.1\r\nHost: localhost\r\n", "reset"),
    (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 200, None),
    (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", None),
]


class Flood:
    """Keeps SLOTS connections from GREEDY open, of all kinds in turn, and makes new ones all the time."""

    def __init__(self, connect):
        self.connect = connect
        self.open = collections.deque()
        self.made = 0
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.stopping.is_set():
            sent, then = KINDS[self.made % len(KINDS)]
            self.made += 1
            try:
                client = self.connect()
                client.setblocking(False)
                client.send(sent)
                if then == "half-close":
                    client.shutdown(socket.SHUT_WR)
                if then == "reset":
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    client.close()
                    continue
            except OSError:
                continue
            self.open.append(client)
            if len(self.open) > SLOTS:
                self.open.popleft().close()

    def __enter__(self):
        self.thread.start()
        wait_for("the flood to have taken what it can get", lambda: self.made > 2 * SLOTS)
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join()
        while self.open:
            self.open.popleft().close()


def from_address(port, address=GREEDY):
    def connect():
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        client.settimeout(5)
        client.bind((address, 0))
        client.connect(("127.0.0.1", port))
        return client

    return connect


def flood_in_child(path):
    """Of a Unix socket's clients each process is one: so the flood comes from another."""
    code = (f"import sys, socket, time\nsys.path[:0] = {sys.path!r}\nimport test_flood\n"
            f"def connect():\n    client = socket.socket(socket.AF_UNIX); client.settimeout(5); client.connect({str(path)!r}); return client\n"
            "with test_flood.Flood(connect):\n    print('ready', flush=True)\n    sys.stdin.read()\n")
    return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


class FloodCase:
    def refused(self, port, target, wanted=200, context=None, method="GET", body=None, headers=None, count=REQUESTS):
        refusals = collections.Counter()
        for _ in range(count):
            if context:
                client = http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=context, source_address=(OTHER, 0))
            else:
                client = http.client.HTTPConnection("127.0.0.1", port, timeout=30, source_address=(OTHER, 0))
            try:
                client.request(method, target, body=body, headers=headers or {})
                status = client.getresponse().status
                if status != wanted:
                    refusals[status] += 1
            except OSError as error:
                refusals[type(error).__name__] += 1
            finally:
                client.close()
        return refusals

    def assert_unharmed(self, port, target, **kw):
        with Flood(from_address(port)):
            self.assertEqual(self.refused(port, target, **kw), {})


class SidecarPorts(FloodCase, Case):
    def setUp(self):
        super().setUp()
        self.listen, self.metrics = free_port(), free_port()
        token, folder = self.token(), self.policies(policy("release"))
        self.generate_keys(token, folder)
        self.signer = self.sidecar(token, folder,
                                   extra=["--listen", f"127.0.0.1:{self.listen}", "--metrics", f"127.0.0.1:{self.metrics}"])
        self.signer.ready()

    def test_the_loopback_port(self):
        self.assert_unharmed(self.listen, "/v1/keys")

    def test_the_metrics_port(self):
        self.assert_unharmed(self.metrics, "/healthz")

    def test_the_socket(self):
        child = flood_in_child(self.signer.socket)
        try:
            self.assertEqual(child.stdout.readline().strip(), "ready")
            for _ in range(REQUESTS):
                client = self.signer.client()
                self.assertEqual(client.call("GET", "/v1/keys").status, 200)
                client.close()
            probe = subprocess.run([BIN / "signet-sidecar", "probe", "--socket", self.signer.socket], capture_output=True, text=True)
            self.assertEqual(probe.returncode, 0, probe.stdout)
        finally:
            child.communicate("")


class OperatorPorts(FloodCase, Case):
    def test_the_metrics_port_and_liveness(self):
        metrics, health = free_port(), free_port()
        folder = self.policies(policy("release"))
        self.operator(self.token(), ["--store", f"dir:{folder}"],
                      extra=["--metrics", f"127.0.0.1:{metrics}", "--health", f"127.0.0.1:{health}"])

        def probe(*options):
            return subprocess.run([BIN / "signet-operator", "probe", *options, f"--health=127.0.0.1:{health}"], capture_output=True, text=True)

        wait_for("the operator to be ready", lambda: probe().returncode == 0)
        with Flood(from_address(metrics)):
            self.assertEqual(self.refused(metrics, "/healthz"), {})
            for _ in range(10):
                self.assertEqual(probe("--live").returncode, 0)
                self.assertEqual(probe().returncode, 0)


class WebhookPort(FloodCase, Api):
    def test_the_webhook(self):
        self.run_operator(self.token())
        url = urllib.parse.urlsplit(kubectl("get", "validatingwebhookconfigurations", "signet.dev", "-o", "jsonpath={.webhooks[0].clientConfig.url}").stdout)
        asked = json.dumps(self.request("calm", "nowhere", digest_of(b"x")))
        with Flood(from_address(url.port)):
            strangers = {"wanted": 404, "context": ssl._create_unverified_context(), "method": "POST", "body": b"{}"}
            self.assertEqual(self.refused(url.port, "/validate", **strangers), {}, "whoever it is gets an answer")
            for _ in range(20):
                kubectl("--as", self.user, "create", "--dry-run=server", "-f", "-", data=asked)


class GatewayPort(FloodCase, GatewayCase):
    def test_the_gateway(self):
        self.serving()
        port = self.gates["operator"]
        good = self.bearer(self.pod())
        context = ssl.create_default_context(cadata=self.ca())
        ask = {"context": context, "headers": {"Authorization": f"Bearer {good}"}}
        with Flood(from_address(port)):
            self.assertEqual(self.refused(port, "/v1/keys", **ask), {})

    def test_made_up_tokens(self):
        """Requests that wait for the API server's word on tokens that nobody signed: work in hand, all of one address."""
        self.serving()
        port = self.gates["operator"]
        pod = self.pod()
        good = self.bearer(pod)
        context = ssl.create_default_context(cadata=self.ca())
        connect = from_address(port)
        stopping = threading.Event()

        def ask_with_made_up_tokens():
            body = good.rsplit(".", 1)[0]
            while not stopping.is_set():
                with contextlib.suppress(OSError), context.wrap_socket(connect(), server_hostname="127.0.0.1") as client:
                    for _ in range(20):
                        made_up = base64.urlsafe_b64encode(os.urandom(256)).decode().rstrip("=")
                        client.sendall(f"GET /v1/keys HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {body}.{made_up}\r\n\r\n".encode())

        threads = [threading.Thread(target=ask_with_made_up_tokens) for _ in range(8)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(10):  # tokens that the gateway has not seen before
                fresh = {"context": context, "headers": {"Authorization": f"Bearer {self.bearer(pod)}"}}
                self.assertEqual(self.refused(port, "/v1/keys", count=20, **fresh), {})
        finally:
            stopping.set()
            for thread in threads:
                thread.join()


if __name__ == "__main__":
    unittest.main(verbosity=2)
