#!/usr/bin/python3
"""Holds the record to docs/audit-record.schema.json: every line of a generated journal, and every type of line.

Usage: check_audit_schema.py UNIT_AUDIT_PROGRAM
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import jsonschema

TYPES = {"stream", "segment", "recovered", "resumed", "intent", "outcome", "release", "refused", "keyGenerated", "policyChange"}


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    schema = json.loads((root / "docs/audit-record.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.argv[1], "--gtest_filter=JournalSampleTest.*", "--gtest_brief=1"], check=True, stderr=subprocess.DEVNULL,
                       env={**os.environ, "SIGNET_AUDIT_SAMPLE": folder})
        lines = []
        for path in sorted(path for path in pathlib.Path(folder).glob("audit.jsonl*") if path.suffix not in (".lock", ".head")):
            for line in path.read_bytes().split(b"\n"):
                try:
                    lines.append(json.loads(line))
                except ValueError:
                    continue  # torn, on purpose
    problems = 0
    for line in lines:
        for error in validator.iter_errors(line):
            print(f"seq {line['seq']} ({line['type']}): {error.message}")
            problems += 1
    missing = TYPES - {line["type"] for line in lines}
    if missing:
        print(f"types that the sample lacks: {sorted(missing)}")
        problems += 1
    # The schema must also refuse: each member taken away that it requires, and one that nobody knows.
    known = {line["type"]: line for line in lines}
    for kind, line in known.items():
        required = set(schema["required"]) | set(schema["$defs"].get(kind, {}).get("required", []))
        for name in required:
            if validator.is_valid({key: value for key, value in line.items() if key != name}):
                print(f"{kind} without {name} is valid")
                problems += 1
        if validator.is_valid({**line, "surprise": 1}):
            print(f"{kind} with a member that nobody knows is valid")
            problems += 1
    print(f"{len(lines)} lines, {problems} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
