"""What grows with the number of SigningRequests, on a real API server: part of bench.py (--growth N)."""
import json
import os
import pathlib
import re
import time
import urllib.request

from cluster_bench import Cluster
from harness import Operator, digest_of, free_port, policy, request, wait_for
from webhook_bench import Api

REQUESTS = "/apis/signet.dev/v1alpha1/namespaces/bench/signingrequests"
MESSAGE_BYTES = 64 * 1024


def memory_mib(pid, what="VmRSS"):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) / 1024
    raise SystemExit(f"bench: no {what} of process {pid}")


def cpu_ms(pids):
    total = 0
    for pid in pids:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total * 1000 / os.sysconf("SC_CLK_TCK")


def is_ready(api, name):
    status, text = api.call("GET", f"{REQUESTS}/{name}")
    conditions = json.loads(text).get("status", {}).get("conditions", []) if status == 200 else []
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


class Growth:
    def __init__(self, bench, cluster):
        self.bench, self.cluster, self.api = bench, cluster, Api(cluster.kubeconfig)
        self.starts = self.port = 0

    def create(self, name):
        """True: made and stamped. Before the webhook is there a server takes it too, and nobody will sign it."""
        body = request(name, "growth", digest_of(name.encode()), namespace="bench", username=None)
        status, text = self.api.call("POST", REQUESTS, body)
        if status == 201 and "stamp" in json.loads(text)["spec"]:
            return True
        if status == 201:
            self.api.call("DELETE", f"{REQUESTS}/{name}")
        return False

    @staticmethod
    def signed(port):
        text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
        found = re.search(r'^signet_requests_finished_total{result="signed"} (\S+)$', text, re.MULTILINE)
        return float(found[1]) if found else 0

    def start(self):
        """An operator, and the seconds until a request that is made as soon as one can be is signed."""
        self.starts += 1
        self.port = free_port()
        began = time.monotonic()
        operator = Operator(self.bench.folder, self.bench.token, ["--kubeconfig", self.cluster.kubeconfig], name="growth",
                            extra=("--webhook", "127.0.0.1:0", "--username", "admin", "--metrics", f"127.0.0.1:{self.port}", "--log-level", "error"))
        self.bench.processes.append(operator)
        name = f"first-{self.starts}"
        wait_for("the webhook", lambda: self.create(name), 120, interval=0.02)
        wait_for("the first signature", lambda: is_ready(self.api, name), 120, interval=0.02)
        return operator, time.monotonic() - began

    def stop(self, operator):
        operator.stop()
        self.cluster.remove_webhooks()

    def cpu_row(self, count):
        operator, _ = self.start()
        from bench import tree
        pids = tree(operator.pid)
        before, rss = cpu_ms(pids[:1]), memory_mib(operator.pid)
        workers = cpu_ms(pids[1:])
        self.cluster.client("create", count, 8, "growth")
        wait_for("all to be signed", lambda: self.signed(self.port) > count, 600, interval=1)
        print(f"{count} requests made and signed: {(cpu_ms(pids[:1]) - before) / count:.2f} ms of the operator's CPU each, {(cpu_ms(pids[1:]) - workers) / count:.2f} of its "
              f"workers'; memory {rss:.0f} -> {memory_mib(operator.pid):.0f} MiB, {(memory_mib(operator.pid) - rss) * 1024 / count:.2f} KiB each (goal < 1)", flush=True)
        self.stop(operator)

    def start_row(self, there):
        operator, seconds = self.start()
        print(f"start with {there} finished requests there: {seconds:.1f} s to the next signature (goal ≤ 5), {cpu_ms([operator.pid]) / 1000:.2f} s of CPU; "
              f"memory {memory_mib(operator.pid):.0f} MiB, at most {memory_mib(operator.pid, 'VmHWM'):.0f} (goal for 100 000: < 128)", flush=True)
        self.stop(operator)


def run(bench, root, count):
    with Cluster(bench, root) as cluster:
        cluster.kubectl("apply", "-f", "-", data=json.dumps(policy("growth", subjects=[{"kind": "User", "name": "*"}, {"kind": "Group", "name": "*"}])))
        growth = Growth(bench, cluster)
        print("\nGrowth:", flush=True)
        growth.cpu_row(min(count, 2000))
        growth.start_row(min(count, 2000))
        large = count // 20
        cluster.client("finished", count - large, 16, "growth")
        cluster.client("finished", large, 16, "growth", str(MESSAGE_BYTES))
        growth.start_row(f"{count + min(count, 2000)} ({large} with messages of 64 KiB)")
