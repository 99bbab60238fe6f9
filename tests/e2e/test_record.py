#!/usr/bin/python3
"""The record beside its file: the copy on stdout."""
import subprocess
import unittest

from harness import BIN, Case, digest_of, policy, request, write_yaml


class Stdout(Case):
    def test_every_line_of_the_record_is_also_on_stdout(self):
        token = self.token()
        store = self.policies(policy("release"), name="store")
        write_yaml(store / "request.yaml", request("r", "release", digest_of(b"x")))
        audit = self.folder / "audit.jsonl"
        done = subprocess.run([BIN / "signet-operator", "--store", f"dir:{store}", "--once", "--pkcs11-module", token.module, "--pin-file",
                               token.pin_file, "--audit", audit, "--audit-stdout"], env=token.env(), capture_output=True, timeout=60, check=True)
        self.assertIn(b'"type":"outcome"', done.stdout)
        self.assertEqual(done.stdout, audit.read_bytes())
        self.assertIn(b'"msg":"done"', done.stderr, "logs go to stderr")


if __name__ == "__main__":
    unittest.main()
