"""The gateway behind sixteen sidecars, and what a sidecar adds to it: part of cluster_bench.py."""
import json
import statistics
import subprocess

from harness import BIN, Client, Operator, Process, client, digest_of, free_port, policy, wait_for

from bench import run

SIDECARS = 16


def sidecar(bench, number, port, ca, token):
    socket = bench.folder / f"gateway-{number}.sock"
    process = Process([BIN / "signet-sidecar", "--socket", socket, "--gateway", f"https://127.0.0.1:{port}", "--gateway-ca", ca, "--token-file", token,
                       "--log-level", "error"], {}, bench.folder / f"gateway-{number}.log")
    bench.processes.append(process)
    return process, socket


def answers(socket, name):
    try:
        client = Client(socket)
        try:
            return client.sign(name, digest_of(b"probe")).status == 200
        finally:
            client.close()
    except OSError:
        return False


def pods(bench, kubectl):
    """A pod object is enough: its token is what the gateway asks about."""
    tokens = []
    wait_for("the service account", lambda: "default" in kubectl("get", "serviceaccounts", "-n", "bench", "-o", "name"), 30)
    for number in range(SIDECARS):
        pod = json.loads(kubectl("create", "-o", "json", "-f", "-", data=json.dumps({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"bench-{number}", "namespace": "bench"},
            "spec": {"automountServiceAccountToken": False, "containers": [{"name": "main", "image": "app"}]}})))
        bound = {"kind": "Pod", "apiVersion": "v1", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
        asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": ["signet.dev"], "expirationSeconds": 3600, "boundObjectRef": bound}}
        made = json.loads(kubectl("create", "--raw", "/api/v1/namespaces/bench/serviceaccounts/default/token", "-f", "-", data=json.dumps(asked)))
        file = bench.folder / f"token-{number}"
        file.write_text(made["status"]["token"])
        tokens.append(file)
    return tokens


def measure(bench, kubeconfig, kubectl):
    port, name = free_port(), "gateway"
    kubectl("apply", "-f", "-", data=json.dumps(policy(name, verifySignatures=False, allowDirect=False, subjects=[{"kind": "ServiceAccount", "namespace": "bench", "name": "default"}])))
    operator = Operator(bench.folder, bench.token, ["--kubeconfig", kubeconfig], name="gateway-operator",
                        extra=("--gateway", f"127.0.0.1:{port}", "--gateway-rate", "0", "--gateway-drain-delay", "0", "--log-level", "error"))
    bench.processes.append(operator)
    tokens = pods(bench, kubectl)
    ca = bench.folder / "gateway-ca.crt"

    def published():
        done = subprocess.run([client("kubectl"), "--kubeconfig", kubeconfig, "get", "configmaps", "-A", "--field-selector", "metadata.name=signet-gateway-ca", "-o", "json"],
                              capture_output=True, text=True)
        found = json.loads(done.stdout)["items"] if done.returncode == 0 else []
        if found:
            ca.write_text(found[0]["data"]["ca.crt"])
        return found
    wait_for("the gateway's authority", published, 60, interval=0.2)
    sidecars = [sidecar(bench, number, port, ca, token) for number, token in enumerate(tokens)]
    for _, socket in sidecars:
        wait_for("a sidecar to sign", lambda s=socket: answers(s, name), 60, interval=0.2)
    body = bench.folder / "body-gateway"
    body.write_text(json.dumps({"policy": name, "digest": digest_of(b"bench")}))
    sockets = [str(socket) for _, socket in sidecars]

    def http(paths, clients):
        return run([BIN / "http_bench", ",".join(paths), "/v1/sign", body, clients, bench.options.seconds, 1])
    print("\n| gateway: TLS, token reviews, policy and record in the path | direct/s | Signet/s | ratio | goal | p50 µs | p99 µs | added p50 |\n|---|---|---|---|---|---|---|---|", flush=True)
    for threads in (1, SIDECARS):  # SoftHSM's lock lets threads help each other in some runs, in others not
        bench.compare(f"P-256, {SIDECARS} sidecars, a client each; direct: {threads} thread{'s' if threads > 1 else ''}", "≥ 0.5",
                      lambda t=threads: bench.direct("p256", t), lambda: http(sockets, SIDECARS))
    own, *each = bench.cpu_per_signature([operator, *(process for process, _ in sidecars)], lambda: http(sockets, SIDECARS))
    print(f"\nCPU per signature: the gateway with its workers {own:.0f} µs, the sidecar {sum(each):.0f} µs")
    rounds = [(run([BIN / "tls_bench", port, ca, tokens[0], "/v1/sign", body, bench.options.seconds]), http(sockets[:1], 1)) for _ in range(bench.options.rounds)]
    own, through = (statistics.median(pair[side]["p50_us"] for pair in rounds) for side in (0, 1))
    print(f"\nOne client: the gateway itself p50 {own:.0f} µs, through a sidecar {through:.0f} µs, added {through - own:+.0f} µs (goal ≤ 300)")
    first = sidecars[0][0]
    for process, _ in sidecars[1:]:
        process.stop()  # what it shares with others would be counted in parts
    http(sockets[:1], 16)
    print(f"A sidecar in gateway mode: {bench.at_rest(first.pid, 16)}", flush=True)
    first.stop()
    operator.stop()
    kubectl("delete", "sigpol", name)
