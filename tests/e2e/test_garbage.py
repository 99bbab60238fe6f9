#!/usr/bin/python3
"""Whatever arrives on the socket: a 4xx or a closed connection, and the service unharmed."""
import os
import random
import socket
import unittest

from harness import Case, digest_of, policy, wait_for

SEED = int(os.environ.get("SIGNET_TEST_SEED", "20261123"))
GOOD = b'{"policy":"release","digest":"' + digest_of(b"x").encode() + b'"}'


def post(body, length=None, extra=b""):
    return (b"POST /v1/sign HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
            + str(len(body) if length is None else length).encode() + b"\r\n" + extra + b"\r\n" + body)


class Garbage(Case):
    def setUp(self):
        super().setUp()
        token = self.token()
        folder = self.policies(policy("release"))
        self.generate_keys(token, folder)
        self.server = self.sidecar(token, folder).ready()

    def exchange(self, data, half_close=True, timeout=15):
        """Everything the server says until it closes (or the first response when it keeps the connection)."""
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(timeout)
            peer.connect(str(self.server.socket))
            try:
                peer.sendall(data)
                if half_close:
                    peer.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # it has closed already: what it said before is still readable
            said = b""
            try:
                while chunk := peer.recv(65536):
                    said += chunk
            except ConnectionResetError:
                pass
            return said

    def assert_refused(self, data):
        said = self.exchange(data)
        if said:
            self.assertRegex(said.split(b"\r\n")[0], rb"^HTTP/1\.1 4\d\d ", data[:200])

    def assert_unharmed(self):
        self.assertTrue(self.server.running(), self.server.tail())
        client = self.server.client()
        self.assertEqual(client.sign("release", digest_of(b"still here")).status, 200)
        client.close()

    def test_malformed_requests(self):
        table = [
            b"\0" * 100, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"POST /v1/sign HTTP/1.1\r\n\r\n", b"\r\n" * 1000,
            b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 20000 + b"\r\n",
            b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 200000 + b"\r\n\r\n",
            post(b"", length=-1), post(b"", length="9" * 30), post(GOOD, length=1 << 40), post(b"a" * (8 << 20)),
            post(GOOD, extra=b"Transfer-Encoding: chunked\r\n"), post(b"ffffffffffffffff\r\n", extra=b"Transfer-Encoding: chunked\r\n"),
            post(GOOD, extra=b"Content-Length: 3\r\n"), post(b"\xff\xfe{}"), post(b"[" * 100000), post(b'{"a":' * 1000),
            post(b'{"policy":' + b'"' + b"p" * 60000 + b'"}'), post(b"null"), post(b"[]"), post(b'"x"'), post(b"1e999"),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            post(GOOD).replace(b"POST", b"BREW"), post(GOOD).replace(b"/v1/sign", b"/v1/../etc/passwd"),
            post(GOOD).replace(b"/v1/sign", b"/v1/sign/%00"), post(GOOD).replace(b"/v1/sign", b"/v1/keys/%2e%2e"),
        ]
        for number, data in enumerate(table):
            with self.subTest(number=number):
                self.assert_refused(data)
        self.assert_unharmed()

    def test_mutated_requests(self):
        chance = random.Random(SEED)
        base = post(GOOD)
        for _ in range(1500):
            data = bytearray(base)
            for _ in range(chance.randrange(1, 6)):
                at = chance.randrange(len(data))
                kind = chance.randrange(3)
                if kind == 0:
                    data[at] = chance.randrange(256)
                elif kind == 1:
                    del data[at]
                else:
                    data.insert(at, chance.randrange(256))
            said = self.exchange(bytes(data))
            if said:
                self.assertRegex(said.split(b"\r\n")[0], rb"^HTTP/1\.[01] [245]\d\d ")
        self.assert_unharmed()

    def test_a_half_closed_client_gets_its_answer(self):
        self.assertTrue(self.exchange(post(GOOD)).startswith(b"HTTP/1.1 200 "))

    def test_pipelined_requests_are_answered_in_order(self):
        said = self.exchange(post(GOOD) * 50)
        self.assertEqual(said.count(b"HTTP/1.1 200 "), 50)

    def test_one_byte_at_a_time(self):
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(15)
            peer.connect(str(self.server.socket))
            for byte in post(GOOD):
                peer.sendall(bytes([byte]))
            self.assertTrue(peer.recv(65536).startswith(b"HTTP/1.1 200 "))

    def test_a_slow_client_is_closed_and_holds_nobody_up(self):
        with socket.socket(socket.AF_UNIX) as slow:
            slow.settimeout(60)
            slow.connect(str(self.server.socket))
            slow.sendall(post(GOOD)[:40])
            self.assert_unharmed()
            said = b""
            while chunk := slow.recv(65536):  # ends when the server gives up on us
                said += chunk
            self.assertTrue(said == b"" or said.startswith(b"HTTP/1.1 408 "), said)

    def test_more_connections_than_allowed(self):
        peers = []
        try:
            for _ in range(600):
                peer = socket.socket(socket.AF_UNIX)
                peers.append(peer)
                peer.connect(str(self.server.socket))  # waits while the backlog is full; with a timeout it would fail
                peer.settimeout(15)
            said = b""
            while chunk := peers[0].recv(65536):  # the one that has waited longest gives way
                said += chunk
            self.assertTrue(said == b"" or said.startswith((b"HTTP/1.1 408 ", b"HTTP/1.1 503 ")), said)
            peers[-1].sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertTrue(peers[-1].recv(65536).startswith(b"HTTP/1.1 200 "))
        finally:
            for peer in peers:
                peer.close()
        wait_for("the server to see that they have left", lambda: self.server.status("/healthz") == 200)
        self.assert_unharmed()

    def test_clients_that_leave_while_their_signature_is_made(self):
        for _ in range(200):
            with socket.socket(socket.AF_UNIX) as peer:
                peer.connect(str(self.server.socket))
                peer.sendall(post(GOOD))
        self.assert_unharmed()
        self.assertEqual(self.server.stop(), 0)
        self.assert_pairs(self.server.audit)


if __name__ == "__main__":
    unittest.main(verbosity=2)
