#!/usr/bin/python3
"""The ways of test_kubeconfig to a real kube-apiserver: impersonation, credential plugins, proxies, IPv6, and watches of the operator through them."""
import json
import pathlib
import socket
import socketserver
import ssl
import tempfile
import unittest

import yaml

from harness import digest_of, wait_for
from test_cli import Cli
from test_cluster import CLUSTER, KUBECONFIG, Api, apply, kubectl
from test_hardening import hardening, kernel_has_landlock
from test_kubeconfig import ProxyServer, Serving, openssl, pump


class Forward(socketserver.BaseRequestHandler):
    def handle(self):
        with socket.create_connection(("127.0.0.1", self.server.owner.target)) as upstream:
            self.server.owner.count += 1
            pump(self.request, upstream)


class Ipv6(Serving):
    def __init__(self, case, target):
        self.target, self.count = target, 0
        super().__init__(case, Forward, address=("::1", 0), family=socket.AF_INET6)


class Cluster(Api, Cli):
    def setUp(self):
        super().setUp()
        server = yaml.safe_load(pathlib.Path(KUBECONFIG).read_text())["clusters"][0]["cluster"]["server"]
        self.port = int(server.rsplit(":", 1)[1])
        # The operator may read the folder of its kubeconfig, whatever else is in it.
        self.elsewhere = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))

    def changed(self, name, cluster=None, user=None, source=None):
        """A kubeconfig of the test cluster with changes; the path of it."""
        config = yaml.safe_load(pathlib.Path(source or KUBECONFIG).read_text())
        config["clusters"][0]["cluster"].update(cluster or {})
        if user is not None:
            config["users"][0]["user"] = user
        path = self.folder / name
        path.write_text(json.dumps(config))
        return path

    def test_a_user_with_several_groups_is_impersonated(self):
        role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "readers", "namespace": self.ns},
                "rules": [{"apiGroups": ["signet.dev"], "resources": ["signingrequests"], "verbs": ["list"]}]}
        binding = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "readers", "namespace": self.ns},
                   "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "readers"},
                   "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "readers"}]}
        kubectl("apply", "-f", "-", data=json.dumps({"apiVersion": "v1", "kind": "List", "items": [role, binding]}))
        def groups(*names):
            return ["requests", "-n", self.ns, "--kubeconfig", KUBECONFIG, "--as", "jane", *[f"--as-group={name}" for name in names]]
        wait_for("the role", lambda: kubectl("auth", "can-i", "list", "signingrequests.signet.dev", "-n", self.ns, "--as=jane", "--as-group=readers", check=False).returncode == 0)
        self.expect(0, *groups("readers"))
        self.expect(0, *groups("writers", "readers"))
        self.expect(0, *groups("readers", "writers", "others"))
        self.assertIn('"jane" cannot list', self.expect(1, *groups("writers", "others")).stderr)
        self.expect(1, *groups("writers, readers"))  # one name, not two
        self.expect(3, *groups("writers\r\nImpersonate-Group: readers"))
        file = self.changed("as", user={**yaml.safe_load(pathlib.Path(KUBECONFIG).read_text())["users"][0]["user"], "as": "joe", "as-groups": ["writers", "readers"]})
        self.expect(0, "requests", "-n", self.ns, "--kubeconfig", file)
        self.expect(1, "requests", "-n", self.ns, "--kubeconfig", file, "--as-group", "writers")

    def test_a_plugin_fetches_the_token_of_a_service_account(self):
        kubectl("create", "serviceaccount", "builder", "-n", self.ns)
        body = json.dumps({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}})
        made = json.loads(kubectl("create", "--raw", f"/api/v1/namespaces/{self.ns}/serviceaccounts/builder/token", "-f", "-", data=body).stdout)
        plugin = self.folder / "plugin"
        answer = {"kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1", "status": {"token": made["status"]["token"], "expirationTimestamp": made["status"]["expirationTimestamp"]}}
        plugin.write_text("#!/bin/sh\ncat <<'END'\n" + json.dumps(answer) + "\nEND\n")
        plugin.chmod(0o755)
        file = self.changed("exec", user={"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "./plugin", "interactiveMode": "Never"}})
        self.expect(0, "requests", "-n", self.ns, "--kubeconfig", file)
        self.assertIn(f'"{self.user}" cannot list', self.expect(1, "requests", "-n", "kube-system", "--kubeconfig", file).stderr)

    def sign_by(self, cluster, env=None):
        """Operator (lists, watches, webhook certificates, lease) and command both go this way."""
        operator_file = self.changed("operator.config", cluster, source=CLUSTER / "kubeconfig.operator")
        operator = self.run_operator(self.token(), config=operator_file, env=env)
        apply(self.policy("release"))
        self.policy_ready("release")
        apply(self.request("made", "release", digest_of(b"artifact")))
        self.decided("made", "Signed")
        shown = self.expect(0, "requests", "-n", self.ns, "-o", "name", "--kubeconfig", self.changed("cli.config", cluster), env=env)
        self.assertEqual(shown.stdout, b"signingrequest.signet.dev/made\n")
        return operator

    def test_operator_and_command_over_ipv6(self):
        way = Ipv6(self, self.port)
        self.sign_by({"server": f"https://[::1]:{way.port}", "tls-server-name": "127.0.0.1"})
        self.assertGreater(way.count, 1)

    def test_operator_and_command_through_a_proxy(self):
        proxy = ProxyServer(self, {"api.internal:6443": self.port}, ("user", "word"))
        self.sign_by({"server": "https://api.internal:6443", "tls-server-name": "127.0.0.1", "proxy-url": f"http://user:word@127.0.0.1:{proxy.port}"})
        self.assertEqual(set(proxy.asked), {"api.internal:6443"})

    def https_proxy(self, ca=None):
        """A proxy with a certificate of a new CA, `ca`.crt, or of the cluster's."""
        pki = CLUSTER / "pki"
        if ca:
            pki = self.elsewhere
            openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", pki / f"{ca}.key", "-out", pki / f"{ca}.crt", "-days", "2",
                    "-subj", f"/CN={ca}")
        key, request, made, extensions = (self.folder / f"proxy.{end}" for end in ("key", "csr", "crt", "ext"))
        extensions.write_text("subjectAltName=DNS:localhost\n")
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", request, "-subj", "/CN=proxy")
        openssl("x509", "-req", "-in", request, "-CA", pki / f"{ca or 'ca'}.crt", "-CAkey", pki / f"{ca or 'ca'}.key", "-set_serial", "7", "-days", "2", "-extfile", extensions,
                "-out", made)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(made, key)
        return ProxyServer(self, {"api.internal:6443": self.port}, ("user", "word"), tls=context)

    def sign_by_https_proxy(self, proxy, env=None):
        operator = self.sign_by({"server": "https://api.internal:6443", "tls-server-name": "127.0.0.1", "proxy-url": f"https://user:word@localhost:{proxy.port}"}, env=env)
        self.assertEqual(set(proxy.asked), {"api.internal:6443"})
        state = hardening(operator.log)
        self.assertTrue(state["seccomp"])
        self.assertEqual(state["landlock"], kernel_has_landlock())
        # Once more, from a connection that begins after the operator has given up its files.
        proxy.asked.clear()
        proxy.end_connections()
        wait_for("a connection of the confined operator", lambda: proxy.asked, 60)

    def test_a_confined_operator_behind_an_https_proxy_of_the_clusters_ca(self):
        self.sign_by_https_proxy(self.https_proxy())

    def test_a_confined_operator_behind_an_https_proxy_of_the_systems_roots(self):
        proxy = self.https_proxy("root")
        self.sign_by_https_proxy(proxy, env={"SSL_CERT_FILE": str(self.elsewhere / "root.crt"), "SSL_CERT_DIR": "/nonexistent"})

    def test_a_confined_operator_behind_an_https_proxy_of_a_folder_of_roots(self):
        proxy = self.https_proxy("root")
        roots = self.elsewhere / "roots"
        roots.mkdir()
        (roots / "root.pem").write_bytes((self.elsewhere / "root.crt").read_bytes())
        openssl("rehash", roots)
        self.sign_by_https_proxy(proxy, env={"SSL_CERT_FILE": "/dev/null", "SSL_CERT_DIR": str(roots)})


if __name__ == "__main__":
    unittest.main()
