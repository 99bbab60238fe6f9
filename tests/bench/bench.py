#!/usr/bin/python3
"""The performance table: Signet's socket against direct PKCS#11 and p11-kit in the same run.

Rounds are interleaved and medians are printed; absolute figures drift with the machine, ratios do not.
"""
import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from harness import BIN, ROOT, Client, Process, Sidecar, Token, digest_of, policy, wait_for, write_yaml

KEYS = {"p256": (("ECDSA", 256), "ECDSAWithSHA256"), "p384": (("ECDSA", 384), "ECDSAWithSHA384"), "rsa2048": (("RSA", 2048), "SHA256WithRSA"),
        "ed25519": (("Ed25519", None), "PureEd25519")}
DIRECT = {"p256": "ECDSAWithSHA256", "rsa2048": "SHA256WithRSA", "ed25519": "PureEd25519"}


def run(command, pin=False, env=None):
    command = [*(["taskset", "-c", "0"] if pin else []), *map(str, command)]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"bench: {' '.join(command)} failed: {done.stderr}")
    return json.loads(done.stdout)


def tree(pid):
    pids = [pid]
    for child in subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout.split():
        pids += tree(int(child))
    return pids


def pss_mib(pid):
    total = 0
    for member in tree(pid):
        for line in pathlib.Path(f"/proc/{member}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024


def cpu_seconds(pid):
    total = 0
    for member in tree(pid):
        fields = pathlib.Path(f"/proc/{member}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


class Bench:
    def __init__(self, options):
        self.options = options
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="sb"))
        self.processes = []
        self.token = Token(self.folder / "hsm")
        self.rows = []

    def close(self):
        for process in self.processes:
            if process.running():
                process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def make_keys(self):
        folder = self.folder / "keys"
        folder.mkdir()
        for name, (key, algorithm) in KEYS.items():
            write_yaml(folder / f"{name}.yaml", policy(name, key, [algorithm]))
        subprocess.run([str(BIN / "signet-operator"), "--store", f"dir:{folder}", "--once", "--pkcs11-module", self.token.module, "--pin-file",
                        str(self.token.pin_file), "--audit", str(self.folder / "keys.jsonl"), "--log-level", "error"], env=self.token.env(), check=True)

    def sidecar(self, name, verify, extra=(), pinned=False):
        folder = self.folder / name
        folder.mkdir()
        for key_name, (key, algorithm) in KEYS.items():
            on = True if key[0] == "RSA" else verify
            write_yaml(folder / f"{key_name}.yaml", policy(key_name, key, [algorithm], verifySignatures=on))
        home = self.folder / f"{name}.d"
        home.mkdir()
        sidecar = Sidecar(home, self.token, folder, extra=("--log-level", "error", *extra))
        if pinned:
            sidecar.ready()
            for member in tree(sidecar.pid):
                subprocess.run(["taskset", "-acp", "0", str(member)], check=True, capture_output=True)
        self.processes.append(sidecar)
        return sidecar.ready()

    def direct(self, key, threads, pin=False, module=None, env=None):
        return run([BIN / "direct_bench", module or self.token.module, "prod", self.token.pin_file, key, DIRECT[key], threads, self.options.seconds], pin,
                   {**self.token.env(), **(env or {})})

    def body(self, key, items=1):
        made = self.folder / f"body-{key}-{items}"
        item = {"digest": digest_of(b"bench", "sha384" if key == "p384" else "sha256")} if key != "ed25519" else {"message": "ZGRkZGRkZGRkZGRkZGRkZGRkZGRkZGRkZGRkZGRkZGQ="}
        made.write_text(json.dumps({"policy": key, **item} if items == 1 else {"policy": key, "items": [item] * items}))
        return made

    def http(self, sidecar, key, clients, pin=False, items=1):
        return run([BIN / "http_bench", sidecar.socket, "/v1/sign" if items == 1 else "/v1/sign/batch", self.body(key, items), clients, self.options.seconds, items], pin)

    def compare(self, title, goal, direct, ours, value=lambda d, o: o["rate"] / d["rate"]):
        """Interleaved rounds of both sides; prints the medians and their ratio."""
        pairs = [(direct(), ours()) for _ in range(self.options.rounds)]
        d = {name: statistics.median(pair[0][name] for pair in pairs) for name in ("rate", "p50_us", "p99_us")}
        o = {name: statistics.median(pair[1][name] for pair in pairs) for name in ("rate", "p50_us", "p99_us")}
        ratio = value(d, o)
        row = (title, f"{d['rate']:.0f}", f"{o['rate']:.0f}", f"{ratio:.2f}", goal, f"{o['p50_us']:.0f}", f"{o['p99_us']:.0f}", f"{o['p50_us'] - d['p50_us']:+.0f}")
        self.rows.append(row)
        print("| " + " | ".join(row) + " |", flush=True)
        return d, o

    def p11kit(self):
        socket = self.folder / "p11.sock"
        server = Process(["p11-kit", "server", "-f", "-n", socket, "--provider", self.token.module, "pkcs11:token=prod"], self.token.env(), self.folder / "p11.log")
        self.processes.append(server)
        wait_for("p11-kit server", socket.exists)
        client = next(iter(pathlib.Path("/usr/lib").glob("*/pkcs11/p11-kit-client.so")))
        return server, lambda threads: self.direct("p256", threads, module=client, env={"P11_KIT_SERVER_ADDRESS": f"unix:path={socket}"})

    def socket_rows(self):
        print("\n| socket, record and policy in the path | direct/s | Signet/s | ratio | goal | p50 µs | p99 µs | added p50 |\n|---|---|---|---|---|---|---|---|", flush=True)
        off = self.sidecar("off", verify=False)
        on = self.sidecar("on", verify=True)
        pinned = self.sidecar("pinned", verify=False, pinned=True)
        self.compare("P-256, 1 client, one core", "≥ 0.65, ≤ 32 µs", lambda: self.direct("p256", 1, pin=True), lambda: self.http(pinned, "p256", 1, pin=True))
        pinned.stop()
        for clients in (4, 16):
            self.compare(f"P-256, {clients} clients", "≥ 0.9, aim 1.0", lambda c=clients: self.direct("p256", c), lambda c=clients: self.http(off, "p256", c))
            self.compare(f"P-256, {clients} clients, verified", "report", lambda c=clients: self.direct("p256", c), lambda c=clients: self.http(on, "p256", c))
        self.compare("P-256, batches of 256, 1 client", "≥ 0.95", lambda: self.direct("p256", 1), lambda: self.http(off, "p256", 1, items=256))
        for clients in (4, 16):
            self.compare(f"RSA-2048, {clients} clients, verified", "≥ 0.95", lambda c=clients: self.direct("rsa2048", c), lambda c=clients: self.http(off, "rsa2048", c))
        self.compare("Ed25519, 16 clients", "report", lambda: self.direct("ed25519", 16), lambda: self.http(off, "ed25519", 16))
        fsync = self.sidecar("fsync", verify=False, extra=("--durability", "fsync"))
        for clients in (1, 16):
            self.compare(f"P-256, {clients} clients, durability fsync", "report", lambda c=clients: self.direct("p256", c), lambda c=clients: self.http(fsync, "p256", c))
        fsync.stop()
        on.stop()
        return off

    def cpu_per_signature(self, processes, load):
        """CPU time in µs, of each process with its children, for each signature of one round of `load`."""
        before = [cpu_seconds(process.pid) for process in processes]
        signed = load()["rate"] * self.options.seconds
        return [(cpu_seconds(process.pid) - then) * 1e6 / signed for process, then in zip(processes, before)]

    def at_rest(self, pid, goal):
        pss, start, idle = pss_mib(pid), time.monotonic(), cpu_seconds(pid)
        time.sleep(self.options.idle)  # measuring idleness is waiting
        idle = (cpu_seconds(pid) - idle) / (time.monotonic() - start) * 100
        return f"PSS after 16 clients: {pss:.1f} MiB (goal ≤ {goal}); idle CPU over {self.options.idle:.0f} s: {idle:.3f} % (goal < 0.1)"

    def resources(self, sidecar):
        spent, = self.cpu_per_signature([sidecar], lambda: self.http(sidecar, "p256", 16))
        print(f"\nThe sidecar with its workers: CPU per signature, 16 clients: {spent:.0f} µs; {self.at_rest(sidecar.pid, 32)}", flush=True)

    def peers(self, sidecar):
        print("\n| against p11-kit server, P-256 | p11-kit/s | Signet/s | ratio | goal | p50 µs | p99 µs | added p50 |\n|---|---|---|---|---|---|---|---|", flush=True)
        server, client = self.p11kit()
        for clients, goal in ((1, "report"), (4, "≥ 1.3"), (16, "report")):
            self.compare(f"{clients} clients", goal, lambda c=clients: client(c), lambda c=clients: self.http(sidecar, "p256", c))
        server.kill()


def main():
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round: for trying, not for quoting")
    parser.add_argument("--no-cluster", action="store_true", help="leave out the operator against a real API server")
    parser.add_argument("--record", type=int, nargs="?", const=10_000_000, metavar="N", help="only the readers of the record, over N lines")
    parser.add_argument("--budget", action="store_true", help="only the CPU time per signature, process by process")
    options = parser.parse_args()
    options.rounds, options.seconds, options.idle = (1, 1, 5) if options.quick else (5, 2, 60)
    if options.record:
        import record_bench
        return record_bench.run(BIN, options.record)
    bench = Bench(options)
    try:
        cpu = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo", encoding="utf-8") if line.startswith("model name")), "?")
        print(f"{os.cpu_count()} cores, {cpu}; {options.rounds} interleaved rounds of {options.seconds} s, medians; SoftHSM, 2 workers", flush=True)
        bench.make_keys()
        if options.budget:
            import budget
            return budget.run(bench)
        sidecar = bench.socket_rows()
        bench.resources(sidecar)
        bench.peers(sidecar)
        sidecar.stop()
        if not options.no_cluster:
            import cluster_bench
            cluster_bench.run(bench, ROOT)
    finally:
        bench.close()


if __name__ == "__main__":
    sys.exit(main())
