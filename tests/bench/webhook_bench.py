"""The admission webhook at 100 reviews a second beside running controllers: part of bench.py."""
import base64
import concurrent.futures
import http.client
import json
import re
import ssl
import threading
import time
import urllib.parse
import urllib.request

import yaml

from harness import Operator, free_port, policy, request, wait_for, digest_of


class Api:
    """A keep-alive connection per thread to the API server, as the kubeconfig's user."""

    def __init__(self, kubeconfig):
        config = yaml.safe_load(open(kubeconfig, encoding="utf-8"))
        cluster = config["clusters"][0]["cluster"]
        self.host = urllib.parse.urlparse(cluster["server"]).netloc
        self.tls = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        self.token = config["users"][0]["user"]["token"]
        self.local = threading.local()

    def call(self, method, path, body=None):
        if not hasattr(self.local, "connection"):
            self.local.connection = http.client.HTTPSConnection(self.host, context=self.tls, timeout=30)
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        self.local.connection.request(method, path, body=json.dumps(body) if body else None, headers=headers)
        answer = self.local.connection.getresponse()
        return answer.status, answer.read().decode()


def buckets(text, name, match=""):
    """Cumulative counts of a Prometheus histogram, summed over its series."""
    counts = {}
    for line in text.splitlines():
        found = re.match(rf'{name}_bucket{{(.*)le="([^"]+)"(.*)}} (\S+)$', line)
        if found and match in found[1] + found[3]:
            counts[float(found[2])] = counts.get(float(found[2]), 0) + float(found[4])
    return counts


def quantile(before, after, q):
    """By linear interpolation inside the bucket, as histogram_quantile does."""
    counts = sorted((edge, after[edge] - before.get(edge, 0)) for edge in after)
    rank, low, below = q * counts[-1][1], 0.0, 0.0
    for edge, count in counts:
        if count >= rank:
            return edge if edge == float("inf") or count == below else low + (edge - low) * (rank - below) / (count - below)
        low, below = edge, count
    return low


def measure(bench, kubeconfig, kubectl, seconds):
    port = free_port()
    operator = Operator(bench.folder, bench.token, ["--kubeconfig", kubeconfig],
                        extra=("--webhook", "127.0.0.1:0", "--username", "admin", "--metrics", f"127.0.0.1:{port}", "--log-level", "error"), name="webhook")
    bench.processes.append(operator)
    wait_for("the webhook configurations", lambda: kubectl("get", "mutatingwebhookconfigurations,validatingwebhookconfigurations", "-o", "name").count("signet.dev") == 2)
    kubectl("apply", "-f", "-", data=json.dumps(policy("bench", subjects=[{"kind": "User", "name": "*"}])))
    api = Api(kubeconfig)
    path = "/apis/signet.dev/v1alpha1/namespaces/bench/signingrequests"
    metrics = lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
    server = lambda: api.call("GET", "/metrics")[1]
    failures = []

    def create(number):
        """Two reviews: /mutate and /validate. Every tenth is a real one, for the controllers to sign."""
        body = request(f"w-{number}", "bench", digest_of(str(number).encode()), namespace="bench", username=None)
        status, text = api.call("POST", path + ("" if number % 10 == 0 else "?dryRun=All"), body)
        if status not in (200, 201):
            failures.append(text)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(create, range(10_000, 10_020)))  # connections and caches are warm
        before, server_before = metrics(), server()
        start = time.monotonic()
        for number in range(50 * seconds):
            pause = start + number / 50 - time.monotonic()
            if pause > 0:
                time.sleep(pause)  # pacing a load is waiting
            pool.submit(create, number)
    took = time.monotonic() - start
    after, server_after = metrics(), server()
    operator.stop()
    if failures:
        raise SystemExit(f"bench: {len(failures)} reviews failed: {failures[0]}")
    ours = [quantile(buckets(before, "signet_admission_duration_seconds"), buckets(after, "signet_admission_duration_seconds"), q) * 1000 for q in (0.5, 0.99)]
    name = "apiserver_admission_webhook_admission_duration_seconds"
    theirs = [quantile(buckets(server_before, name, "signet.dev"), buckets(server_after, name, "signet.dev"), q) * 1000 for q in (0.5, 0.99)]
    print(f"\nAdmission webhook, {100 * seconds / took:.0f} reviews/s beside the controllers for {seconds} s, none failed: p50 {ours[0]:.2f} ms, p99 {ours[1]:.2f} ms "
          f"(goals 3, 25); as the API server sees it p50 {theirs[0]:.1f} ms, p99 {theirs[1]:.1f} ms", flush=True)
