#!/usr/bin/python3
"""docs/metrics.md names each metric of the code, and no other."""
import pathlib
import re
import sys

root = pathlib.Path(__file__).resolve().parents[2]
code = set()
for folder in ("src", "operator", "sidecar"):
    for path in (root / folder).rglob("*.cpp"):
        code |= set(re.findall(r'"(signet_[a-z0-9_]+)"', path.read_text()))
documented = set(re.findall(r"`(signet_[a-z0-9_]+)`", (root / "docs/metrics.md").read_text()))
for name in sorted(code - documented):
    print(f"docs/metrics.md: {name} is missing")
for name in sorted(documented - code):
    print(f"docs/metrics.md: {name} is in no program")
print(f"{len(code)} metrics")
sys.exit(0 if code and code == documented else 1)
