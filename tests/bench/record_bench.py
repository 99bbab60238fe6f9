#!/usr/bin/python3
"""How the readers of the record grow: `signet audit verify` and `query` over N lines.

Usage: record_bench.py BIN [N]     (default 1 000 000 lines; a line has about 500 bytes)
Prints one row for each command: lines, seconds, lines a second, peak resident memory.
"""
import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile
import time

STREAM = "5f" * 16
SEGMENT_BYTES = 64 << 20


class Writer:
    """Writes a record that is whole: segments, checkpoints, two lines a signature."""

    def __init__(self, folder):
        self.path = folder / "audit.jsonl"
        self.seq, self.prev, self.number, self.count, self.size = 0, "0" * 64, 0, 0, 0
        self.file = open(self.path, "wb", buffering=1 << 20)
        self.line("stream", ',"format":"signet.dev/audit/v1"')

    def line(self, kind, fields):
        self.seq += 1
        time_text = f"2026-11-23T{self.seq // 3600000 % 24:02}:{self.seq // 60000 % 60:02}:{self.seq // 1000 % 60:02}.{self.seq % 1000:03}000Z"
        text = f'{{"stream":"{STREAM}","seq":{self.seq},"prev":"{self.prev}","time":"{time_text}","type":"{kind}"{fields}}}'.encode()
        self.prev = hashlib.sha256(text).hexdigest()
        self.file.write(text + b"\n")
        self.size += len(text) + 1

    def rotate(self):
        self.file.close()
        self.number += 1
        os.rename(self.path, f"{self.path}.{self.number:06}")
        self.file = open(self.path, "wb", buffering=1 << 20)
        self.size = 0
        counts = f'{{"policy":"release","principal":"system:serviceaccount:ci:builder","count":{self.count}}}'
        keys = f'{{"policy":"release","keyIDs":["{"b" * 64}"]}}'
        self.line("segment", f',"format":"signet.dev/audit/v1","number":{self.number},"checkpoint":{{"day":"2026-11-23","counts":[{counts}],"keys":[{keys}],'
                             '"open":[],"unsettled":[]}')

    def sign(self):
        if self.size > SEGMENT_BYTES:
            self.rotate()
        self.count += 1
        operation = f"01M83T4CM0{self.count:016}"
        self.line("intent", f',"operation":"{operation}","door":"socket","principal":"system:serviceaccount:ci:builder","identity":"asserted","peerUID":1000,'
                            f'"policy":"release","policyGeneration":3,"policyHash":"{"a" * 64}","keyID":"{"b" * 64}","algorithm":"ECDSAWithSHA256",'
                            f'"digest":"sha256:{self.count:064x}"')
        self.line("outcome", f',"operation":"{operation}","result":"signed","signatureSha256":"{self.count:064x}"')


def measure(name, lines, command):
    """Runs it in a child of a child, so that the peak of memory is its own."""
    start = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    took = time.monotonic() - start
    if child.returncode != 0:
        sys.exit(f"{name}: exit code {child.returncode}")
    print(f"| {name} | {lines} | {took:.1f} | {usage.ru_utime + usage.ru_stime:.1f} | {lines / took:,.0f} | {usage.ru_maxrss / 1024:.0f} |", flush=True)


def run(folder, lines):
    signet = pathlib.Path(folder) / "signet"
    with tempfile.TemporaryDirectory(prefix="signet-record-") as name:
        writer = Writer(pathlib.Path(name))
        while writer.seq < lines:
            writer.sign()
        writer.file.close()
        lines = writer.seq
        last = f"sha256:{writer.count:064x}"
        print("| record | lines | s | CPU s | lines/s | peak RSS MiB |\n|---|---|---|---|---|---|")
        measure("audit verify", lines, [signet, "audit", "verify", writer.path])
        measure("audit query, one match", lines, [signet, "audit", "query", writer.path, "--digest", last])
        for form in ("jsonl", "table"):
            measure(f"audit query -o {form}, all match", lines, [signet, "audit", "query", writer.path, "-o", form])


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    run(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000)
