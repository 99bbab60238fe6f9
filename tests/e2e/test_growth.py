#!/usr/bin/python3
"""The operator on a real kube-apiserver with many SigningRequests that are finished."""
import base64
import concurrent.futures
import http.client
import json
import pathlib
import ssl
import threading
import unittest
import urllib.parse

import yaml

from harness import digest_of, wait_for
from test_cluster import KUBECONFIG, Api, apply, get

FINISHED = "2026-11-01T10:00:00Z"


class AsAdmin:
    """A connection a thread to the API server."""

    def __init__(self):
        config = yaml.safe_load(pathlib.Path(KUBECONFIG).read_text(encoding="utf-8"))
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.host = urllib.parse.urlparse(cluster["server"]).netloc
        self.tls = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        self.headers = {"Authorization": f"Bearer {user['token']}"}
        self.local = threading.local()

    def call(self, method, path, body, kind="application/json"):
        if not hasattr(self.local, "connection"):
            self.local.connection = http.client.HTTPSConnection(self.host, context=self.tls, timeout=60)
        self.local.connection.request(method, path, body=json.dumps(body), headers={**self.headers, "Content-Type": kind})
        answer = self.local.connection.getresponse()
        text = answer.read().decode()
        if answer.status not in (200, 201):
            raise AssertionError(f"{method} {path}: {text}")
        return json.loads(text)


def resident_kib(process):
    for line in pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


class Growth(Api):
    def plant(self, count, message_bytes=0, ttl=None):
        """Requests that were signed long ago; no operator runs, and no webhook is there."""
        admin = AsAdmin()
        path = f"/apis/signet.dev/v1alpha1/namespaces/{self.ns}/signingrequests"
        condition = {"type": "Ready", "status": "True", "reason": "Signed", "message": "signed and verified with status.publicKey",
                     "observedGeneration": 1, "lastTransitionTime": FINISHED}
        status = {"observedGeneration": 1, "signature": "A" * 96, "algorithm": "ECDSAWithSHA256", "keyID": "a" * 64, "publicKey": "P" * 178,
                  "policy": {"name": "release", "uid": "5a29e13d-8337-46ce-b8ad-6a471bb29015", "generation": 1}, "signedAt": FINISHED,
                  "finishedAt": FINISHED, "record": "01M856Y5H3EMGKPZFP890REVJ9", "conditions": [condition]}

        def one(number):
            made = self.request(f"old-{message_bytes}-{ttl}-{number}".lower(), "release", digest_of(b"x"))
            if message_bytes:
                del made["spec"]["digest"]
                made["spec"]["message"] = base64.b64encode(b"m" * message_bytes).decode()
            if ttl is not None:
                made["spec"]["ttlSecondsAfterFinished"] = ttl
            admin.call("POST", path, made)
            admin.call("PATCH", f"{path}/{made['metadata']['name']}/status", {"status": status}, "application/merge-patch+json")
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(one, range(count)))

    def started(self, token, name):
        """An operator that has listed everything: a new request is signed."""
        operator = self.run_operator(token, name=name, wait=True)
        apply(self.policy("release"))
        self.policy_ready("release")
        apply(self.request(f"new-{name}", "release", digest_of(name.encode())))
        self.decided(f"new-{name}", "Signed")
        return operator

    def end(self, operator):
        self.assertEqual(operator.stop(), 0)
        self.remove_webhooks()

    def test_finished_requests_take_no_memory(self):
        token = self.token()
        operator = self.started(token, "before")
        before = resident_kib(operator)
        self.end(operator)
        few_large, many = 20, 4000
        self.plant(few_large, message_bytes=60_000)
        self.plant(many)
        operator = self.started(token, "after")
        # What was kept of each was 18 KiB (of the large ones 110): 72 MiB. Now it is pages, which are freed once they are read.
        wait_for(f"the memory of a few pages to be freed, with {few_large + many} finished requests there", lambda: resident_kib(operator) - before < 25_000, 60)
        self.end(operator)

    def test_requests_are_deleted_when_their_time_to_live_is_over_restarts_or_not(self):
        token = self.token()
        self.plant(30, ttl=5)
        self.plant(2, ttl=2_000_000_000)
        self.plant(2)
        operator = self.run_operator(token, wait=True)
        apply(self.policy("release"))
        self.policy_ready("release")
        apply(self.request("own", "release", digest_of(b"own"), ttlSecondsAfterFinished=1), self.request("stays", "release", digest_of(b"stays")))
        self.decided("stays", "Signed")

        def left():
            return sorted(item["metadata"]["name"] for item in get("sigreq", namespace=self.ns)["items"])
        wait_for("all that are due to be deleted, and no others",
                 lambda: left() == sorted(["stays", "old-0-none-0", "old-0-none-1", "old-0-2000000000-0", "old-0-2000000000-1"]), 60, interval=0.5)
        self.assertEqual(operator.stop(), 0)


if __name__ == "__main__":
    unittest.main()
