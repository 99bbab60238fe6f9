"""A gateway that misbehaves on command: TLS and the API's paths by Python's standard library, certificates by openssl."""
import base64
import collections
import hashlib
import http.server
import json
import pathlib
import secrets
import socket
import ssl
import struct
import subprocess
import threading

from harness import free_port

Seen = collections.namedtuple("Seen", "method path headers body")


class Authority:
    """A CA of its own, and leaf certificates by it."""

    def __init__(self, folder, name="signet-gateway-ca"):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.certificate, self.key = self.folder / "ca.crt", self.folder / "ca.key"
        self._openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", self.key,
                      "-out", self.certificate, "-days", "2", "-subj", f"/CN={name}")

    def leaf(self, names="DNS:localhost,IP:127.0.0.1", stem="leaf", days=1):
        key, request, certificate, extensions = (self.folder / f"{stem}.{end}" for end in ("key", "csr", "crt", "ext"))
        extensions.write_text(f"subjectAltName={names}\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n")
        self._openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", request,
                      "-subj", "/CN=gateway")
        self._openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial", "-days", days,
                      "-extfile", extensions, "-out", certificate)
        return certificate, key

    def _openssl(self, *args):
        subprocess.run(["openssl", *map(str, args)], check=True, capture_output=True)


def problem(status, code, retry_after=None):
    body = {"type": f"https://signet.dev/problems/{code}", "title": code, "status": status, "code": code, "detail": "as told"}
    if retry_after is not None:
        body["retryAfterSeconds"] = retry_after
    return status, body, retry_after


class FakeGateway:
    """`script` holds what the next signing requests meet, in order: a fault's name, a problem, or nothing for an answer."""

    def __init__(self, certificate, key, tokens=("good",), port=0, script=()):
        self.tokens = set(tokens)
        self.script = collections.deque(script)
        self.always = None  # a fault for every signing request, when the script is empty
        self.seen = []  # signing requests, also those that met a fault
        self.signed = {}  # idempotency key: signature
        self.connections = 0
        self.refused = 0  # requests whose token it does not know
        self.others_ended = False
        self.pod_containers = []
        self.lock = threading.Lock()
        self.stopped = False
        self.unhang = threading.Event()
        self.sockets = set()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        fake = self

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def get_request(self):
                plain, address = super().get_request()
                fake.connections += 1
                return plain, address

            def finish_request(self, request, client_address):
                if not fake.hold(request):
                    return
                try:
                    wrapped = context.wrap_socket(request, server_side=True)
                    if not fake.hold(wrapped, instead_of=request):
                        wrapped.close()
                        return
                    self.RequestHandlerClass(wrapped, client_address, self)
                    wrapped.close()
                except OSError:
                    pass

            def handle_error(self, request, client_address):
                pass

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 1 << 16

            def setup(self):
                super().setup()
                self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

            def log_message(self, *args):
                pass

            def do_GET(self):
                fake.get(self)

            def do_POST(self):
                fake.post(self)

        port = port or free_port()  # below the ports that the kernel gives out: it may be wanted again
        self.server = Server(("127.0.0.1", port), Handler)
        self.port = self.server.server_address[1]
        self.url = f"https://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    def stop(self):
        """As a killed process would leave it: nobody listens, all connections are gone."""
        self.server.shutdown()
        self.server.server_close()
        self.unhang.set()
        with self.lock:
            self.stopped = True
            for held in self.sockets:
                try:
                    held.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
            self.sockets.clear()

    def hold(self, connection, instead_of=None):
        """False: stop() has come first, and would not find it."""
        with self.lock:
            self.sockets.discard(instead_of)
            if not self.stopped:
                self.sockets.add(connection)
            return not self.stopped

    def answer(self, handler, status, body, retry_after=None, media=None):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", media or ("application/json" if status == 200 else "application/problem+json"))
        handler.send_header("Content-Length", str(len(data)))
        if retry_after is not None:
            handler.send_header("Retry-After", str(retry_after))
        handler.end_headers()
        handler.wfile.write(data)

    def known(self, handler):
        token = handler.headers.get("Authorization", "").removeprefix("Bearer ")
        if token in self.tokens:
            return True
        self.refused += 1
        self.answer(handler, *problem(401, "Unauthenticated"))
        return False

    def get(self, handler):
        path = handler.path.split("?")[0]
        if path == "/readyz":
            return self.answer(handler, 200, {"status": "ready", "checks": []})
        if not self.known(handler):
            return None
        if path == "/v1/pod":
            self.pod_containers.append(handler.headers.get("Signet-Container"))
            return self.answer(handler, 200, {"name": "p", "namespace": "ci", "uid": "u", "othersEnded": self.others_ended})
        if path == "/v1/keys":
            return self.answer(handler, 200, {"keys": []})
        if path == "/v1/keys/release":
            return self.answer(handler, 200, b"-----BEGIN PUBLIC KEY-----\n", media="application/x-pem-file")
        return self.answer(handler, *problem(403, "NotAllowed"))

    def post(self, handler):
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        key = handler.headers.get("Idempotency-Key")
        with self.lock:
            if self.stopped:
                handler.close_connection = True
                return None
            self.seen.append(Seen(handler.command, handler.path, dict(handler.headers), body))
            fault = self.script.popleft() if self.script else self.always
        if isinstance(fault, tuple):
            return self.answer(handler, *fault)
        if fault and fault != "sign-then-reset":
            return self.misbehave(handler, fault)
        if not self.known(handler):
            return None
        with self.lock:
            if self.stopped:
                handler.close_connection = True
                return None
            signature = self.signed.setdefault(key, base64.b64encode(hashlib.sha256(secrets.token_bytes(16) + body).digest()).decode())
        if fault == "sign-then-reset":
            return self.misbehave(handler, "reset")
        return self.answer(handler, 200, {"signature": signature, "algorithm": "ECDSAWithSHA256", "keyID": "0" * 64, "record": "R"})

    def misbehave(self, handler, fault):
        handler.close_connection = True
        if fault == "hang":
            self.unhang.wait(60)
        elif fault == "reset":
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            socket.socket.close(handler.connection)
        elif fault == "half":
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{\"signature\":")
            handler.wfile.flush()
        elif fault == "garbage":
            handler.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
            handler.wfile.flush()
        elif fault == "huge":
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n")
            handler.wfile.flush()
        elif fault == "endless":
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{}")
            handler.wfile.flush()
        elif fault == "close":
            pass
        else:
            raise AssertionError(fault)
