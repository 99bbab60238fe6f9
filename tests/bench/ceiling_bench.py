"""The ceiling of status PATCHes again, with what the operator's writes cost the API server besides: a watch, and reviews. Part of cluster_bench.py."""
import json
from datetime import datetime, timezone

from harness import Operator, free_port, wait_for

LEASE = "lease/signet-operator"


def measure(bench, kubeconfig, kubectl, *, client, clear, served, remove_webhooks, count):
    """A replica without the lease serves the webhook and writes nothing."""
    extra = ["--webhook", f"127.0.0.1:{free_port()}", "--username", "admin", "--log-level", "error"]

    def replica(name, *more):
        operator = Operator(bench.folder, bench.token, ["--kubeconfig", kubeconfig], extra=(*extra, *more), name=name)
        bench.processes.append(operator)
        return operator

    def ceiling(mode):
        rate = client(mode, count, 16)["rate"]
        clear()
        return rate

    first = replica("leader")  # only a leader writes the configurations
    wait_for("the webhook", served, 60, interval=0.2)
    first.stop()
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    lease = {"spec": {"holderIdentity": "nobody", "leaseDurationSeconds": 600, "acquireTime": now, "renewTime": now}}
    kubectl("patch", LEASE, "--type=merge", "-p", json.dumps(lease))
    follower = replica("follower", "--lease-duration", "600")
    wait_for("the webhook again", served, 60, interval=0.2)
    configurations = kubectl("get", "mutatingwebhookconfiguration,validatingwebhookconfiguration", "signet.dev", "-o", "json")
    for each in (kept := json.loads(configurations))["items"]:
        each["metadata"] = {"name": "signet.dev"}

    rates = {"plain": [], "watched": [], "reviewed": []}
    for _ in range(1 if bench.options.quick else 3):
        rates["reviewed"].append(ceiling("ceiling"))
        remove_webhooks()
        rates["plain"].append(ceiling("ceiling"))
        rates["watched"].append(ceiling("watched"))
        kubectl("create", "-f", "-", data=json.dumps(kept))
        wait_for("the webhook again", served, 60, interval=0.2)
    follower.stop()
    remove_webhooks()
    kubectl("delete", LEASE)
    plain, watched, reviewed = (sorted(found)[len(found) // 2] for found in rates.values())
    print(f"Status PATCHes at 16 connections, no operator at work: {plain:.0f}/s; while a watch follows them {watched:.0f}/s, {watched / plain:.2f}; "
          f"each reviewed by the webhook {reviewed:.0f}/s, {reviewed / plain:.2f}", flush=True)
