#!/usr/bin/python3
"""Which API server the signet command asks, as whom, and by which way: compared with the real kubectl.

Recorder plays API servers and writes down who asked; the real kubectl and signet are given the same files."""
import base64
import contextlib
import http.server
import json
import os
import pathlib
import pty
import select
import socket
import socketserver
import ssl
import subprocess
import threading
import unittest
import weakref

from harness import Case, client, wait_for
from test_cli import CLEAN, SIGNET, Cli

LIST = json.dumps({"kind": "SigningRequestList", "apiVersion": "signet.dev/v1alpha1", "metadata": {"resourceVersion": "1"}, "items": []}).encode()
PATH = "/apis/signet.dev/v1alpha1/namespaces/{}/signingrequests"


def openssl(*args):
    subprocess.run(["openssl", *map(str, args)], check=True, capture_output=True)


def encoded(path):
    return base64.b64encode(path.read_bytes()).decode()


class Serving:
    """A server in threads of its own, on a loopback port."""

    def __init__(self, case, handler, address=("127.0.0.1", 0), tls=None, family=socket.AF_INET):
        outer = self

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True
            address_family = family

            def get_request(self):
                connection, peer = super().get_request()
                if tls:  # the handshake is done by the thread of the connection
                    connection = tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
                return connection, peer

            def handle_error(self, request, client_address):
                pass  # clients that go, and handshakes that fail: what the tests provoke
        self.server = Server(address, handler)
        self.server.owner = outer
        self.port = self.server.server_address[1]
        thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        case.addCleanup(lambda: (self.server.shutdown(), self.server.server_close(), thread.join()))


class Api(http.server.BaseHTTPRequestHandler):
    """Notes who asks; a token in `refused` gets 401."""
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        recorder = self.server.owner
        named = self.connection.getpeercert()
        common_name = dict(pair[0] for pair in named["subject"]).get("commonName") if named else None
        recorder.asked.append({
            "port": recorder.port, "path": self.path.split("?")[0], "host": self.headers["Host"], "token": self.headers["Authorization"],
            "certificate": common_name, "sni": recorder.sni,
            "as": sorted((name.lower(), value) for name, value in self.headers.items() if name.lower().startswith("impersonate-"))})
        answer = recorder.answers.get(self.path.split("?")[0], LIST)
        status = 401 if self.headers["Authorization"] in recorder.refused else 200
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_args):
        pass


class Recorder(Serving):
    def __init__(self, case, pki, **kw):
        self.asked, self.refused, self.sni, self.answers = [], [], None, {}
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pki / "server.crt", pki / "server.key")
        context.load_verify_locations(pki / "ca.crt")
        context.verify_mode = ssl.CERT_OPTIONAL
        context.sni_callback = lambda _socket, name, _context: setattr(self, "sni", name)
        super().__init__(case, Api, tls=context, **kw)


def pump(one, other):
    """Both ways until either ends."""
    ends = {one: other, other: one}
    while True:
        pending = [end for end in ends if isinstance(end, ssl.SSLSocket) and end.pending()]
        for ready in pending or select.select(list(ends), [], [])[0]:
            data = ready.recv(65536)
            if not data:
                return
            ends[ready].sendall(data)


class Proxy(socketserver.StreamRequestHandler):
    """CONNECT and SOCKS5. `route` maps what is asked for to where it is; what is not in it is refused."""

    def read(self, count):
        data = self.rfile.read(count)
        if len(data) != count:
            raise ConnectionError
        return data

    def handle(self):
        owner = self.server.owner
        first = self.read(1)
        if first == b"\5":
            methods = self.read(self.read(1)[0])
            login = owner.login is not None
            if (2 if login else 0) not in methods:
                return self.wfile.write(b"\5\xff")
            self.wfile.write(b"\5\2" if login else b"\5\0")
            if login:
                self.read(1)
                given = tuple(self.read(self.read(1)[0]).decode() for _ in range(2))
                self.wfile.write(b"\1\0" if given == owner.login else b"\1\1")
                if given != owner.login:
                    return None
            kind = self.read(4)[3]
            host = {1: lambda: socket.inet_ntop(socket.AF_INET, self.read(4)), 4: lambda: socket.inet_ntop(socket.AF_INET6, self.read(16)),
                    3: lambda: self.read(self.read(1)[0]).decode()}[kind]()
            target = f"[{host}]" if kind == 4 else host
            target += ":" + str(int.from_bytes(self.read(2), "big"))
            good, bad = b"\5\0\0\3\4abcd\0\0", b"\5\5\0\1\0\0\0\0\0\0"
        else:
            head = first
            while not head.endswith(b"\r\n\r\n"):
                head += self.read(1)
            lines = head.decode().split("\r\n")
            target = lines[0].split()[1]
            if owner.login and "Proxy-Authorization: Basic " + base64.b64encode(":".join(owner.login).encode()).decode() not in lines:
                return self.wfile.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            good, bad = b"HTTP/1.1 200 Connection established\r\nX-Proxy: yes\r\n\r\n", b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"
        owner.asked.append(target)
        if target not in owner.route:
            return self.wfile.write(bad)
        with socket.create_connection(("127.0.0.1", owner.route[target])) as upstream:
            self.wfile.write(good)
            owner.upstreams.add(upstream)
            pump(self.connection, upstream)


class ProxyServer(Serving):
    def __init__(self, case, route, login=None, **kw):
        self.asked, self.route, self.login, self.upstreams = [], route, login, weakref.WeakSet()
        super().__init__(case, Proxy, **kw)

    def end_connections(self):
        for upstream in list(self.upstreams):
            with contextlib.suppress(OSError):
                upstream.shutdown(socket.SHUT_RDWR)


class Kubeconfig(Cli):
    """A CA, a server certificate for 127.0.0.1, ::1 and api.internal, client certificates for jane and joe."""

    def setUp(self):
        super().setUp()
        self.pki = pathlib.Path(self.folder) / "pki"
        self.pki.mkdir()
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", self.pki / "ca.key", "-out", self.pki / "ca.crt",
                "-days", "2", "-subj", "/CN=test CA")
        self.issue("server", "test server", "IP:127.0.0.1,IP:::1,DNS:api.internal,DNS:localhost")
        for name in ("jane", "joe"):
            self.issue(name, name, "DNS:unused")
        self.ca = encoded(self.pki / "ca.crt")

    def pem(self, name):
        return (self.pki / f"{name}.crt").read_bytes()

    def other_ca(self):
        """A certificate of another key, under the CA's name."""
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", self.pki / "other.key", "-out", self.pki / "other.crt",
                "-days", "3", "-subj", "/CN=test CA")
        return self.pem("other")

    def issue(self, name, common_name, alternative, more=""):
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", self.pki / f"{name}.key", "-out", self.pki / f"{name}.csr",
                "-subj", f"/CN={common_name}")
        (self.pki / f"{name}.ext").write_text(f"subjectAltName={alternative}\n{more}")
        openssl("x509", "-req", "-in", self.pki / f"{name}.csr", "-CA", self.pki / "ca.crt", "-CAkey", self.pki / "ca.key", "-CAcreateserial", "-days", "2",
                "-extfile", self.pki / f"{name}.ext", "-out", self.pki / f"{name}.crt")

    def write(self, name, text):
        path = pathlib.Path(self.folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else (text if isinstance(text, str) else json.dumps(text)).encode())
        return path

    def config(self, server, user=None, cluster=None, context=None):
        return {"apiVersion": "v1", "kind": "Config", "current-context": "x",
                "clusters": [{"name": "c", "cluster": {"server": server, "certificate-authority-data": self.ca, **(cluster or {})}}],
                "users": [{"name": "u", "user": {"token": "t"} if user is None else user}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", **(context or {})}}]}

    def plugin(self, body, name="bin/plugin"):
        path = self.write(name, "#!/bin/sh\n" + body)
        path.chmod(0o755)
        return path

    def exec_user(self, command, version="v1", **kw):
        entry = {"apiVersion": f"client.authentication.k8s.io/{version}", "command": str(command), "interactiveMode": "Never", **kw}
        return {"exec": {key: value for key, value in entry.items() if value is not None}}

    def printing(self, status, version="v1"):
        return "cat <<'END'\n" + json.dumps({"kind": "ExecCredential", "apiVersion": f"client.authentication.k8s.io/{version}", "status": status}) + "\nEND\n"


class SameAsKubectl(Kubeconfig):
    """The same files for both: the same server, as the same user, in the same namespace, or none."""

    def setUp(self):
        super().setUp()
        self.servers = {name: Recorder(self, self.pki) for name in "abc"}
        self.kubectl = client("kubectl")

    def url(self, name):
        return f"https://127.0.0.1:{self.servers[name].port}"

    def asked(self):
        out = [entry for server in self.servers.values() for entry in server.asked]
        for server in self.servers.values():
            server.asked.clear()
        return out

    def compare(self, files, args=(), env=None, refused=False):
        """`refused`: what kubectl does and we do not (docs/cli.md); without it, both do or neither does."""
        env = {**CLEAN, "HOME": str(pathlib.Path(self.folder) / "home"), "KUBECONFIG": ":".join(map(str, files)), **(env or {})}
        run = lambda *command: subprocess.run(list(map(str, command)), env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120)
        view = run(self.kubectl, "config", "view", "--minify", "--raw", "-o", "json", *[arg for arg in args if not arg.startswith("--as")])
        namespace = "default"
        if view.returncode == 0:
            namespace = (json.loads(view.stdout)["contexts"] or [{}])[0].get("context", {}).get("namespace", "default")
        theirs = run(self.kubectl, "get", "--raw", PATH.format(namespace), *args)
        theirs_asked = self.asked()[-1:]
        ours = run(SIGNET, "requests", "-o", "json", *args)
        ours_asked = self.asked()[-1:]
        if refused:
            self.assertEqual((ours.returncode, ours_asked), (3, []), ours.stderr)
            return ours.stderr
        self.assertEqual(ours_asked, theirs_asked, f"kubectl: {theirs.stderr} signet: {ours.stderr}")
        self.assertEqual(ours.returncode == 0, theirs.returncode == 0, f"kubectl: {theirs.stderr} signet: {ours.stderr}")
        return ours_asked[0] if ours_asked else None

    def each(self, cases):
        for name, case in cases.items():
            with self.subTest(case=name):
                expected = case.pop("expect", None)
                got = self.compare(**case)
                if expected is None:
                    self.assertIsNone(got)
                elif isinstance(expected, dict):
                    self.assertIsNotNone(got)
                    self.assertEqual({key: got[key] for key in expected}, expected)
                else:
                    self.assertIn(expected, got)

    def test_users_and_clusters(self):
        a = self.url("a")
        good = self.write("good", self.config(a))
        jane = {"client-certificate-data": encoded(self.pki / "jane.crt"), "client-key-data": encoded(self.pki / "jane.key")}
        def put(name, *args, **kw):
            return [self.write(f"one/{name}", self.config(a, *args, **kw))]
        self.each({
            "token": dict(files=[good], expect={"token": "Bearer t", "sni": None, "host": a[8:]}),
            "tokenFile": dict(files=put("2", {"tokenFile": str(self.write("word", "word\n"))}), expect={"token": "Bearer word"}),
            "token and file": dict(files=put("3", {"token": "t", "tokenFile": str(self.write("word", "word\n"))}), expect={"token": "Bearer word"}),
            "token and no file": dict(files=put("4", {"token": "t", "tokenFile": "/nonexistent"}), expect={"token": "Bearer t"}),
            "relative tokenFile": dict(files=put("5", {"tokenFile": "../word"}), expect={"token": "Bearer word"}),
            "certificate": dict(files=put("6", jane), expect={"certificate": "jane", "token": None}),
            "certificate file": dict(files=put("7", {"client-certificate": "../pki/joe.crt", "client-key": "../pki/joe.key"}), expect={"certificate": "joe"}),
            "certificate as data and file": dict(files=put("8", {**jane, "client-certificate": "../pki/jane.crt"})),
            "key as data and file": dict(files=put("8b", {**jane, "client-key": "../pki/jane.key"})),
            "certificate without key": dict(files=put("9", {"client-certificate-data": jane["client-certificate-data"]})),
            "key of another": dict(files=put("10", {**jane, "client-key-data": encoded(self.pki / "joe.key")})),
            "absent user": dict(files=put("12", context={"user": "gone"})),
            "absent cluster": dict(files=put("13", context={"cluster": "gone"})),
            "namespace": dict(files=put("14", context={"namespace": "team"}), expect={"path": PATH.format("team")}),
            "another CA": dict(files=put("15", cluster={"certificate-authority-data": encoded(self.pki / "jane.crt")})),
            "CA file": dict(files=put("16", cluster={"certificate-authority-data": None, "certificate-authority": "../pki/ca.crt"}), expect={"token": "Bearer t"}),
            "CA as data and file": dict(files=put("17", cluster={"certificate-authority": "../pki/ca.crt"})),
            "name in the certificate": dict(files=put("18", cluster={"tls-server-name": "api.internal"}), expect={"sni": "api.internal", "host": a[8:]}),
            "name not in the certificate": dict(files=put("19", cluster={"tls-server-name": "other.internal"})),
            "common name is no name": dict(files=put("20", cluster={"tls-server-name": "test server"})),
            "insecure and CA": dict(files=put("21", cluster={"insecure-skip-tls-verify": True})),
            "token of spaces": dict(files=put("22", {"token": "a\nb"})),
            "as": dict(files=put("23", {"token": "t", "as": "jane", "as-groups": ["g,1", "g 2"], "as-uid": "7", "as-user-extra": {"Scope/x": ["1", "2"]}}),
                       expect={"as": [("impersonate-extra-scope%2fx", "1"), ("impersonate-extra-scope%2fx", "2"), ("impersonate-group", "g 2"),
                                      ("impersonate-group", "g,1"), ("impersonate-uid", "7"), ("impersonate-user", "jane")]}),
            "--as": dict(files=[good], args=["--as=joe", "--as-group=a", "--as-group=b", "--as-uid=9"],
                         expect={"as": [("impersonate-group", "a"), ("impersonate-group", "b"), ("impersonate-uid", "9"), ("impersonate-user", "joe")]}),
            "--as over as": dict(files=put("24", {"token": "t", "as": "jane", "as-groups": ["g"]}), args=["--as=joe"], expect={"token": "Bearer t"}),
            "--as-group over as-groups": dict(files=put("25", {"token": "t", "as": "jane", "as-groups": ["g", "h"]}), args=["--as-group=i"], expect={"token": "Bearer t"}),
            "--as-group alone": dict(files=[good], args=["--as-group=a"]),
            "line end in a group": dict(files=[good], args=["--as=joe", "--as-group=a\r\nImpersonate-Group: system:masters"]),
            "base64 with line ends": dict(files=put("26", cluster={"certificate-authority-data": "\n".join(self.ca[i:i + 64] for i in range(0, len(self.ca), 64))}), expect={"token": "Bearer t"}),
            "base64 with a space": dict(files=put("27", cluster={"certificate-authority-data": " " + self.ca})),
            "server without scheme": dict(files=[self.write("28", self.config(a[8:]))]),
            "scheme in capitals": dict(files=[self.write("28b", self.config("HTTPS" + a[5:]))], expect={"token": "Bearer t"}),
            "server with a slash": dict(files=[self.write("29", self.config(a + "/"))], expect={"path": PATH.format("default")}),
            "proxy that is none": dict(files=put("30", cluster={"proxy-url": "ftp://127.0.0.1:1"})),
            "password": dict(files=put("31", {"token": "t", "username": "a", "password": "b"})),
        })

    def test_each_ca_of_one_name_is_tried(self):
        """While a cluster's CA is replaced, a bundle holds the old and the new one, often under one name. The server's certificate does not say by a key
        identifier which of them signed it."""
        self.issue("server", "test server", "IP:127.0.0.1", "authorityKeyIdentifier=none\n")
        self.servers["a"] = Recorder(self, self.pki)
        other = self.other_ca()
        for name, bundle in {"the right one first": self.pem("ca") + other, "the right one last": other + self.other_ca() + self.pem("ca")}.items():
            with self.subTest(name):
                file = self.write("two", self.config(self.url("a"), cluster={"certificate-authority-data": base64.b64encode(bundle).decode()}))
                self.assertIsNotNone(self.compare([file]))
        none = self.write("none", self.config(self.url("a"), cluster={"certificate-authority-data": base64.b64encode(other + self.other_ca()).decode()}))
        self.assertIsNone(self.compare([none]))

    def test_merging_and_forms(self):
        def named(name, server, current=None, **context):
            return {"current-context": current or "", "clusters": [{"name": name, "cluster": {"server": self.url(server), "certificate-authority-data": self.ca}}],
                    "users": [{"name": name, "user": {"token": f"{name}-{server}"}}], "contexts": [{"name": name, "context": {"cluster": name, "user": name, **context}}]}
        one = self.write("one", named("x", "a"))
        two = self.write("two", named("x", "b", "x", namespace="of-two"))
        three = self.write("three", named("z", "c", "z"))
        partial = self.write("partial", {"users": [{"name": "x", "user": {"token": "partial"}}]})
        only_cluster = self.write("only-cluster", {"clusters": [{"name": "z", "cluster": {"tls-server-name": "api.internal"}}]})
        home = self.write("home/.kube/config", named("x", "c", "x"))
        import yaml
        text = yaml.safe_dump(named("x", "a", "x"))
        broken = self.write("broken", "clusters: [\n")
        double = named("x", "a", "x")
        double["clusters"].append({"name": "x", "cluster": {"server": self.url("b"), "certificate-authority-data": self.ca}})
        self.each({
            "first wins": dict(files=[one, two], expect={"token": "Bearer x-a", "path": PATH.format("default")}),
            "other order": dict(files=[two, one], expect={"token": "Bearer x-b", "path": PATH.format("of-two")}),
            "first current-context": dict(files=[three, two], expect={"token": "Bearer z-c"}),
            "--context": dict(files=[one, three], args=["--context=z"], expect={"token": "Bearer z-c"}),
            "--context that is absent": dict(files=[one, three], args=["--context=gone"]),
            "absent files between": dict(files=["/nonexistent", one, "", two], expect={"token": "Bearer x-a"}),
            "the same twice": dict(files=[two, two], expect={"token": "Bearer x-b"}),
            "a broken file": dict(files=[broken, two]),
            "a broken file behind": dict(files=[two, broken]),
            "user of another file": dict(files=[partial, two], expect={"token": "Bearer partial", "path": PATH.format("of-two")}),
            "cluster of another file": dict(files=[only_cluster, three]),
            "home": dict(files=[], expect={"token": "Bearer x-c"}),
            "home not beside KUBECONFIG": dict(files=[three], expect={"token": "Bearer z-c"}),
            "--kubeconfig": dict(files=[one, two], args=[f"--kubeconfig={three}"], expect={"token": "Bearer z-c"}),
            "an empty file": dict(files=[self.write("empty", ""), two], expect={"token": "Bearer x-b"}),
            "CRLF": dict(files=[self.write("crlf", text.replace("\n", "\r\n"))], expect={"token": "Bearer x-a"}),
            "BOM": dict(files=[self.write("bom", b"\xef\xbb\xbf" + text.encode())], expect={"token": "Bearer x-a"}),
            "a document's mark": dict(files=[self.write("mark", "---\n" + text)], expect={"token": "Bearer x-a"}),
            "two clusters of one name": dict(files=[self.write("double", double)]),
            "a token that is a number": dict(files=[self.write("number", text.replace("x-a", "123"))]),
            "a token that is a quoted number": dict(files=[self.write("quoted", text.replace("x-a", "'123'"))], expect={"token": "Bearer 123"}),
        })
        self.assertTrue(home.exists())

    def test_plugins(self):
        a = self.url("a")
        token = self.plugin(self.printing({"token": "fetched"}))
        beta = self.plugin(self.printing({"token": "beta"}, "v1beta1"), "bin/beta")
        pair = self.plugin(self.printing({"clientCertificateData": (self.pki / "joe.crt").read_text(), "clientKeyData": (self.pki / "joe.key").read_text()}), "bin/pair")
        environment = self.plugin('token="$A-$1-$2-$KUBE_TEST"\n' + self.printing({"token": "TOKEN"}).replace("<<'END'", "<<END").replace("TOKEN", "$token"), "bin/environment")
        def put(name, *args, cluster=None, **kw):
            return [self.write(f"{name}.config", self.config(a, self.exec_user(*args, **kw), cluster))]
        folder = {"PATH": f"{token.parent}:{CLEAN['PATH']}"}
        self.each({
            "absolute": dict(files=put("1", token), expect={"token": "Bearer fetched"}),
            "relative to the file": dict(files=put("2", "bin/plugin"), expect={"token": "Bearer fetched"}),
            "relative with a dot": dict(files=put("3", "./bin/plugin"), expect={"token": "Bearer fetched"}),
            "by PATH": dict(files=put("4", "plugin"), env=folder, expect={"token": "Bearer fetched"}),
            "not in PATH": dict(files=put("5", "plugin")),
            "v1beta1": dict(files=put("6", beta, "v1beta1", interactiveMode=None), expect={"token": "Bearer beta"}),
            "v1beta1 answers v1": dict(files=put("7", token, "v1beta1")),
            "v1 needs a mode": dict(files=put("8", token, interactiveMode=None)),
            "an unknown mode": dict(files=put("9", token, interactiveMode="Sometimes")),
            "Always without terminal": dict(files=put("10", token, interactiveMode="Always")),
            "v1alpha1": dict(files=put("11", token, "v1alpha1")),
            "certificate": dict(files=put("12", pair), expect={"certificate": "joe", "token": None}),
            "args and env": dict(files=put("13", environment, args=["b", "c"], env=[{"name": "A", "value": "a"}]), env={"KUBE_TEST": "d"}, expect={"token": "Bearer a-b-c-d"}),
            "no output": dict(files=put("14", self.plugin("exit 0", "bin/none"))),
            "a failure": dict(files=put("15", self.plugin(self.printing({"token": "x"}) + "exit 3", "bin/fails"))),
            "no status": dict(files=put("16", self.plugin('echo "{}"', "bin/braces"))),
            "half a pair": dict(files=put("17", self.plugin(self.printing({"clientKeyData": "k"}), "bin/half"))),
            "an expired token": dict(files=put("18", self.plugin(self.printing({"token": "old", "expirationTimestamp": "2020-01-01T00:00:00Z"}), "bin/old")), expect={"token": "Bearer old"}),
            "a token as well": dict(files=[self.write("19", self.config(a, {"token": "t", **self.exec_user(token)}))], expect={"token": "Bearer t"}),
        })

    def test_what_a_plugin_is_told(self):
        tell = self.plugin('printf %s "$KUBERNETES_EXEC_INFO" > "$OUT"\n' + self.printing({"token": "t"}))
        extension = [{"name": "client.authentication.k8s.io/exec", "extension": {"audience": "a"}}]
        for provide in (True, False):
            told = {}
            config = self.config(self.url("a"), self.exec_user(tell, provideClusterInfo=provide), {"tls-server-name": "api.internal", "extensions": extension})
            for name, command in (("kubectl", [self.kubectl, "get", "--raw", "/"]), ("signet", [SIGNET, "requests"])):
                out = pathlib.Path(self.folder) / f"told-{name}-{provide}"
                subprocess.run([*map(str, command), "--kubeconfig", str(self.write("tell", config))], env={**CLEAN, "OUT": str(out)}, stdin=subprocess.DEVNULL, check=True, capture_output=True, timeout=120)
                told[name] = json.loads(out.read_text())
            self.assertEqual(told["signet"], told["kubectl"])
            self.assertEqual("cluster" in told["signet"]["spec"], provide)

    def test_refused_with_a_reason(self):
        a = self.url("a")
        for user, cluster, reason in (
                (None, {"insecure-skip-tls-verify": True, "certificate-authority-data": None}, 'cluster "c": insecure-skip-tls-verify'),
                ({"auth-provider": {"name": "oidc"}}, None, 'user "u": auth-provider'),
                ({"username": "a", "password": "b"}, None, 'user "u": username'),
                (None, {"certificate-authority-data": None}, 'cluster "c": names no certificate-authority')):
            with self.subTest(reason=reason):
                file = self.write("refused", self.config(a, user, cluster))
                self.assertIn(f"signet: {file}: {reason}", self.compare([file], refused=True))


class Plugins(Kubeconfig):
    def setUp(self):
        super().setUp()
        self.server = Recorder(self, self.pki)
        self.count = pathlib.Path(self.folder) / "count"

    def run_with(self, user, code=0, **kw):
        file = self.write("config", self.config(f"https://127.0.0.1:{self.server.port}", user))
        return self.expect(code, "requests", "--kubeconfig", file, **kw)

    def test_a_refused_token_is_fetched_once_anew(self):
        counting = f'echo x >> {self.count}\nn=$(wc -l < {self.count})\n' + self.printing({"token": "t-N"}).replace("<<'END'", "<<END").replace("t-N", "t-$n")
        self.server.refused = ["Bearer t-1"]
        self.run_with(self.exec_user(self.plugin(counting)))
        self.assertEqual([entry["token"] for entry in self.server.asked], ["Bearer t-1", "Bearer t-2"])
        self.server.asked.clear()
        self.server.refused = [f"Bearer t-{n}" for n in range(9)]
        self.run_with(self.exec_user(self.plugin(counting)), code=1)
        self.assertEqual([entry["token"] for entry in self.server.asked], ["Bearer t-3", "Bearer t-4"])

    def test_messages_name_file_user_and_plugin_and_never_the_token(self):
        missing = self.run_with(self.exec_user("no-such-plugin", installHint="get it from\nexample.com"), code=3).stderr
        for part in ('config: user "u": credential plugin no-such-plugin: is not installed: get it from example.com',):
            self.assertIn(part, missing)
        fails = self.run_with(self.exec_user(self.plugin("echo for people >&2; echo s3cret; exit 7")), code=3).stderr
        self.assertIn("for people\n", fails)
        self.assertIn("exit code 7", fails)
        for body in ("echo s3cret", self.printing({"token": "s3cret"}, "v1beta1"), "kill -9 $$", "head -c 2000000 /dev/zero | tr '\\0' x"):
            done = self.run_with(self.exec_user(self.plugin(body)), code=3)
            self.assertIn('config: user "u": credential plugin ', done.stderr)
            self.assertNotIn("s3cret", done.stderr + fails)
        self.assertEqual(self.server.asked, [])

    def test_no_shell_and_no_stdin(self):
        odd = self.plugin('read line && exit 9\n' + self.printing({"token": "t"}), "bin/odd name; touch $HOME")
        self.run_with(self.exec_user(odd, args=["$(false)", "a;b"]), data=b"for us\n")
        self.assertEqual(self.server.asked[-1]["token"], "Bearer t")

    def test_a_terminal_is_handed_on_where_the_mode_says_so(self):
        asking = self.plugin('read code; echo "asked" >&2\n' + self.printing({"token": "CODE"}).replace("<<'END'", "<<END").replace("CODE", "$code"))
        for mode, token in (("IfAvailable", "Bearer 123456"), ("Always", "Bearer 123456"), ("Never", None)):
            with self.subTest(mode=mode):
                file = self.write("config", self.config(f"https://127.0.0.1:{self.server.port}", self.exec_user(asking, interactiveMode=mode)))
                ours, theirs = pty.openpty()
                os.write(ours, b"123456\n")
                done = subprocess.run([str(SIGNET), "requests", "--kubeconfig", str(file)], stdin=theirs, env=CLEAN, capture_output=True, timeout=120)
                os.close(ours)
                os.close(theirs)
                self.assertEqual(done.returncode, 0 if token else 3, done.stderr)
                if token:
                    self.assertEqual(self.server.asked[-1]["token"], token)

    def test_a_plugin_that_leaves_a_process_behind_holds_nothing_up(self):
        body = f"sleep 1000 2>/dev/null & echo $! > {self.count}\n" + self.printing({"token": "t"})
        self.addCleanup(lambda: os.kill(int(self.count.read_text()), 9))
        self.run_with(self.exec_user(self.plugin(body)))

    def test_an_answer_of_another_shape_is_blamed_on_the_api_server(self):
        spec = {"key": {"uri": "pkcs11:object=a"}, "algorithms": ["ECDSAWithSHA256"]}
        self.server.answers = {"/apis/signet.dev/v1alpha1/signingpolicies/p": json.dumps({"metadata": {"name": "p"}, "spec": spec}).encode(),
                               "/api/v1/namespaces/ci": b'{"metadata": []}'}
        file = self.write("config", self.config(f"https://127.0.0.1:{self.server.port}"))
        done = self.expect(1, "policy", "explain", "p", "--as", "system:serviceaccount:ci:x", "--kubeconfig", file)
        self.assertIn(f"the answer of the API server https://127.0.0.1:{self.server.port}", done.stderr)
        self.assertNotIn("protocol", done.stderr)

    def test_the_operator_refuses_plugins(self):
        file = self.write("config", self.config(f"https://127.0.0.1:{self.server.port}", self.exec_user(self.plugin(f"touch {self.count}"))))
        done = subprocess.run([str(SIGNET.parent / "signet-operator"), "--kubeconfig", str(file), "--check"], capture_output=True, text=True, env=CLEAN, timeout=60)
        self.assertNotEqual(done.returncode, 0)
        self.assertFalse(self.count.exists())


class Ways(Kubeconfig):
    """Through proxies and to IPv6 addresses. The certificate is checked against the server's name all the same."""

    def setUp(self):
        super().setUp()
        self.server = Recorder(self, self.pki)
        self.proxy = ProxyServer(self, {"api.internal:6443": self.server.port, "10.0.0.1:443": self.server.port, "[fd00::1]:6443": self.server.port,
                                        "other.internal:6443": self.server.port})

    def proxy_tls(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.pki / "server.crt", self.pki / "server.key")
        return context

    def run_to(self, server, code=0, cluster=None, **kw):
        self.server.asked.clear()
        self.proxy.asked.clear()
        return self.expect(code, "requests", "--kubeconfig", self.write("config", self.config(server, cluster=cluster)), **kw)

    def test_proxies_of_each_kind(self):
        login = ("user", "p@ss:word")
        route = self.proxy.route
        https = ProxyServer(self, route, tls=self.proxy_tls())
        guarded = ProxyServer(self, route, login)
        cases = {f"http://127.0.0.1:{self.proxy.port}": self.proxy, f"socks5://127.0.0.1:{self.proxy.port}": self.proxy,
                 f"https://localhost:{https.port}": https, f"http://user:p%40ss%3Aword@127.0.0.1:{guarded.port}": guarded,
                 f"socks5://user:p%40ss%3Aword@127.0.0.1:{guarded.port}": guarded}
        for url, proxy in cases.items():
            with self.subTest(proxy=url):
                self.run_to("https://api.internal:6443", cluster={"proxy-url": url})
                self.assertEqual(proxy.asked, ["api.internal:6443"])
                self.assertEqual((self.server.asked[0]["sni"], self.server.asked[0]["host"]), ("api.internal", "api.internal:6443"))
                proxy.asked.clear()

    def test_each_ca_of_one_name_is_tried_for_a_proxy_too(self):
        self.issue("server", "test server", "DNS:api.internal,DNS:localhost", "authorityKeyIdentifier=none\n")
        https = ProxyServer(self, self.proxy.route, tls=self.proxy_tls())
        for bundle in (self.pem("ca") + self.other_ca(), self.other_ca() + self.pem("ca")):
            self.run_to("https://api.internal:6443", cluster={"proxy-url": f"https://localhost:{https.port}",
                                                              "certificate-authority-data": base64.b64encode(bundle).decode()})

    def test_the_environment_names_a_proxy(self):
        url = f"http://127.0.0.1:{self.proxy.port}"
        self.run_to("https://api.internal:6443", env={"HTTPS_PROXY": url})
        self.run_to("https://api.internal:6443", env={"https_proxy": f"127.0.0.1:{self.proxy.port}"})
        self.assertEqual(self.proxy.asked, ["api.internal:6443"])
        self.run_to(f"https://127.0.0.1:{self.server.port}", env={"HTTPS_PROXY": url})  # loopback: never
        self.assertEqual(self.proxy.asked, [])
        self.run_to("https://api.internal:6443", code=1, env={"HTTPS_PROXY": url, "no_proxy": ".internal"})
        self.assertEqual(self.proxy.asked, [])
        # A kubeconfig's own proxy wins, and NO_PROXY is not about it.
        self.run_to("https://api.internal:6443", cluster={"proxy-url": url}, env={"HTTPS_PROXY": "http://127.0.0.1:1", "NO_PROXY": "*"})

    def test_the_name_is_checked_behind_a_proxy(self):
        url = f"http://127.0.0.1:{self.proxy.port}"
        for server in ("https://other.internal:6443", "https://10.0.0.1", "https://[fd00::1]:6443"):
            with self.subTest(server=server):
                self.run_to(server, code=1, cluster={"proxy-url": url})
                self.assertEqual(self.server.asked, [])
                self.run_to(server, cluster={"proxy-url": url, "tls-server-name": "api.internal"})
                self.assertEqual(self.server.asked[0]["host"], server[8:])
        self.assertEqual(self.proxy.asked, ["[fd00::1]:6443"])

    def test_messages_say_what_the_proxy_said_and_not_its_password(self):
        guarded = ProxyServer(self, {}, ("user", "word"))
        for url, said in ((f"http://a:s3cret@127.0.0.1:{guarded.port}", "answers CONNECT with status 407"), (f"socks5://a:s3cret@127.0.0.1:{guarded.port}", "refuses user and password"),
                          (f"socks5://127.0.0.1:{guarded.port}", "wants a login"), (f"http://user:word@127.0.0.1:{guarded.port}", "status 503"),
                          (f"socks5://user:word@127.0.0.1:{guarded.port}", "SOCKS5 reply 5"), ("http://a:s3cret@127.0.0.1:1", "refused"),
                          (f"socks5://127.0.0.1:{self.server.port}", "through the proxy")):
            with self.subTest(proxy=url):
                done = self.run_to("https://api.internal:6443", code=1, cluster={"proxy-url": url})
                self.assertIn(said, done.stderr)
                self.assertNotIn("s3cret", done.stderr)

    def test_ipv6(self):
        server = Recorder(self, self.pki, address=("::1", 0), family=socket.AF_INET6)
        self.run_to(f"https://[::1]:{server.port}")
        self.assertEqual((server.asked[0]["host"], server.asked[0]["sni"]), (f"[::1]:{server.port}", None))
        self.issue("server", "::1", "DNS:elsewhere.internal")
        stranger = Recorder(self, self.pki, address=("::1", 0), family=socket.AF_INET6)
        self.run_to(f"https://[::1]:{stranger.port}", code=1)
        self.assertEqual(stranger.asked, [])
        self.assertIn(f"[::1]:1", self.run_to("https://[::1]:1", code=1).stderr)


if __name__ == "__main__":
    unittest.main()
