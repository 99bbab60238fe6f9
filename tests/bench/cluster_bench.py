"""The operator against the API server's own ceiling: part of bench.py."""
import json
import os
import subprocess

import ceiling_bench
import gateway_bench
import webhook_bench
from harness import BIN, Operator, client, policy, records, wait_for

from datetime import datetime


class Cluster:
    """An API server for the time of a `with`: that of KUBECONFIG, or one of our own."""

    def __init__(self, bench, root):
        self.folder, self.scripts = bench.folder / "cluster", root / "tests/cluster"
        self.own = "KUBECONFIG" not in os.environ
        self.kubeconfig = os.environ.get("KUBECONFIG") or str(self.folder / "kubeconfig")

    def __enter__(self):
        subprocess.run([str(self.scripts / "up.sh"), "--dir", str(self.folder)], check=True, capture_output=True)
        self.kubectl("create", "namespace", "bench")
        return self

    def __exit__(self, *_):
        if self.own:
            subprocess.run([str(self.scripts / "down.sh"), "--dir", str(self.folder)], check=True, capture_output=True)

    def kubectl(self, *args, data=None):
        done = subprocess.run([client("kubectl"), "--kubeconfig", self.kubeconfig, *args], input=data, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"bench: kubectl {' '.join(args)}: {done.stderr}")
        return done.stdout

    def client(self, mode, amount, threads, name="bench", *more):
        done = subprocess.run([str(BIN / "patch_bench"), self.kubeconfig, "bench", name, mode, str(amount), str(threads), *more], capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"bench: {done.stderr}")
        return json.loads(done.stdout)

    def clear(self):
        """One call for many objects; kubectl's --all makes one each, slowly. The server may need several."""
        for _ in range(20):
            done = subprocess.run([client("kubectl"), "--kubeconfig", self.kubeconfig, "delete", "--raw", "/apis/signet.dev/v1alpha1/namespaces/bench/signingrequests"],
                                  capture_output=True, text=True)
            if done.returncode == 0:
                return
        raise SystemExit(f"bench: {done.stderr}")

    def remove_webhooks(self):
        for kind in ("mutatingwebhookconfiguration", "validatingwebhookconfiguration"):
            self.kubectl("delete", kind, "signet.dev", "--ignore-not-found")

    def served(self):
        """The webhook stamps: a dry run comes back with a seal."""
        probe = {"apiVersion": "signet.dev/v1alpha1", "kind": "SigningRequest", "metadata": {"name": "probe", "namespace": "bench"},
                 "spec": {"policyRef": {"name": "none"}, "digest": "sha256:" + "0" * 64}}
        done = subprocess.run([client("kubectl"), "--kubeconfig", self.kubeconfig, "create", "--dry-run=server", "-o", "json", "-f", "-"], input=json.dumps(probe),
                              capture_output=True, text=True)
        return done.returncode == 0 and "stamp" in json.loads(done.stdout)["spec"]


def run(bench, root):
    with Cluster(bench, root) as cluster:
        measure(bench, cluster, 500 if bench.options.quick else 2000)


def seconds(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def measure(bench, cluster, count):
    kubeconfig, kubectl, client, clear = cluster.kubeconfig, cluster.kubectl, cluster.client, cluster.clear
    remove_webhooks, served = cluster.remove_webhooks, cluster.served
    # Nobody but the caller may ask: the bench's own user.
    subjects = [{"kind": "User", "name": "*"}, {"kind": "Group", "name": "*"}]
    rounds = []
    for number in range(1 if bench.options.quick else 3):
        name = f"bench{number}"  # a policy of its own, so that its key is yet to be made
        ceiling = client("ceiling", count, 16)  # an operator is not running: these stay unsigned
        clear()
        # Requests are stamped as they are made, so the operator runs by then; they wait for a key that it may not make yet.
        kubectl("apply", "-f", "-", data=json.dumps(policy(name, generate=False, subjects=subjects)))
        extra = ("--webhook", "127.0.0.1:0", "--username", "admin", "--log-level", "error")
        operator = Operator(bench.folder, bench.token, ["--kubeconfig", kubeconfig], extra=extra, name=f"operator{number}")
        bench.processes.append(operator)
        wait_for("the webhook", served, 60, interval=0.2)
        client("create", count, 16, name)
        kubectl("apply", "-f", "-", data=json.dumps(policy(name, subjects=subjects)))

        def released():
            if not operator.running():
                raise SystemExit(f"bench: the operator ended: {operator.tail()}")
            lines = [line for line in records(operator.audit) if line["type"] == "release" and line["released"]] if operator.audit.exists() else []
            return lines if len(lines) >= count else None
        lines = wait_for("the operator to sign everything", released, 300, interval=1)
        times = sorted(seconds(line["time"]) for line in lines)
        single = client("ready", 50, 1, name)
        operator.stop()
        remove_webhooks()
        kubectl("delete", "sigpol", name)
        clear()
        one = client("ceiling", 100, 1)
        clear()
        rounds.append({"ceiling": ceiling["rate"], "operator": (len(times) - 1) / (times[-1] - times[0]), "ready": single["p50_us"], "patch": one["p50_us"], "count": count})
    median_of(rounds)
    ceiling_bench.measure(bench, kubeconfig, kubectl, client=client, clear=clear, served=served, remove_webhooks=remove_webhooks, count=count)
    webhook_bench.measure(bench, kubeconfig, kubectl, 10 if bench.options.quick else 60)
    remove_webhooks()
    gateway_bench.measure(bench, kubeconfig, kubectl)


def median_of(rounds):
    median = {name: sorted(r[name] for r in rounds)[len(rounds) // 2] for name in rounds[0]}
    print(f"\nOperator, {rounds[0]['count']} requests waiting, 16 at a time: {median['operator']:.0f} signed/s; status PATCH ceiling {median['ceiling']:.0f}/s; "
          f"ratio {median['operator'] / median['ceiling']:.2f} (goal ≥ 0.9)")
    print(f"create → Ready p50 {median['ready'] / 1000:.1f} ms = {median['ready'] / median['patch']:.1f} status PATCH round trips of {median['patch'] / 1000:.1f} ms (goal ≤ 3)", flush=True)
