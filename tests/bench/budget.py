"""./dev bench --budget: where the CPU time of a P-256 signature goes, process by process.

Times of CPU, not of the clock: they hold on a busy machine too, though caches and hyperthreads make them larger there.
"""
import os
import pathlib
import resource
import subprocess

CLIENTS = (1, 4, 16)


def used(pid):
    """User and system seconds of a process."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return [int(field) / os.sysconf("SC_CLK_TCK") for field in fields[11:13]]


def switches(pid):
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)


def children():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def library(bench):
    """CPU of a signature in the library while both cores make signatures: what two workers cannot go below."""
    import bench as b
    import json
    command = [b.BIN / "direct_bench", bench.token.module, "prod", bench.token.pin_file, "p256", b.DIRECT["p256"], 1, bench.options.seconds]
    both = [subprocess.Popen([str(part) for part in command], env=bench.token.env(), stdout=subprocess.PIPE) for _ in range(2)]
    results = [json.loads(process.communicate()[0]) for process in both]
    return sum(result["rate"] for result in results), sum(result["cpu_us"] for result in results) / 2


def row(bench, sidecar, pids, clients):
    before, turns, client = [used(pid) for pid in pids], [switches(pid) for pid in pids], children()
    rate = bench.http(sidecar, "p256", clients)["rate"]
    count = rate * bench.options.seconds
    client = (children() - client) * 1e6 / count
    spent = [[(now - then) * 1e6 / count for now, then in zip(used(pid), old)] for pid, old in zip(pids, before)]
    turns = [(switches(pid) - old) / count for pid, old in zip(pids, turns)]
    return rate, client, spent[0], sum(map(sum, spent[1:])), turns[0], sum(turns[1:])


def run(bench):
    sidecar = bench.sidecar("budget", verify=False)
    from bench import tree, wait_for
    wait_for("both workers", lambda: len(tree(sidecar.pid)) == 3)
    pids = tree(sidecar.pid)
    row(bench, sidecar, pids, 4)  # the first signatures look the key up
    pair, floor = library(bench)
    print(f"\nTwo processes that only call C_Sign: {pair:.0f}/s together, {floor:.0f} µs of CPU a signature (the library's share below)")
    print("\n| clients | direct/s | direct CPU µs | Signet/s | library µs | worker hop µs | front user µs | front system µs | client µs | sum µs | "
          "switches front + workers |\n|---|---|---|---|---|---|---|---|---|---|---|", flush=True)
    for clients in CLIENTS:
        direct = bench.direct("p256", clients)
        rate, client, front, workers, front_turns, worker_turns = row(bench, sidecar, pids, clients)
        total = client + sum(front) + workers
        print(f"| {clients} | {direct['rate']:.0f} | {direct['cpu_us']:.0f} | {rate:.0f} | {floor:.0f} | {workers - floor:.0f} | {front[0]:.0f} | "
              f"{front[1]:.0f} | {client:.0f} | {total:.0f} | {front_turns:.2f} + {worker_turns:.2f} |", flush=True)
    sidecar.stop()
