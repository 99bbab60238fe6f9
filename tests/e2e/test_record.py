#!/usr/bin/python3
"""The record beside its file: the copy on stdout; and what happens to the file behind the process's back."""
import json
import os
import subprocess
import unittest

from harness import BIN, Case, audit_verify, digest_of, policy, request, wait_for, write_yaml


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


class ManySegments(Case):
    def test_a_record_in_more_files_than_a_process_may_open_at_first(self):
        token = self.token()
        store = self.policies(policy("release"), name="store")
        write_yaml(store / "request.yaml", request("r", "release", digest_of(b"x")))
        archive = self.folder / "archive"
        archive.mkdir()
        audit = archive / "audit.jsonl"
        subprocess.run([BIN / "signet-operator", "--store", f"dir:{store}", "--once", "--pkcs11-module", token.module, "--pin-file", token.pin_file,
                        "--audit", audit], env=token.env(), capture_output=True, timeout=60, check=True)
        for number in range(200):  # whole copies overlap, and count once
            (archive / f"copy-{number}.jsonl").write_bytes(audit.read_bytes())
        for command in ("verify", "query"):
            done = subprocess.run(["prlimit", "--nofile=64:4096", BIN / "signet", "audit", command, archive], capture_output=True, text=True, timeout=120)
            self.assertEqual(done.returncode, 0, done.stderr)


class Terminal(Case):
    HARMFUL = "\x1b\x07\x7f\u009b\u202e\u2066\u200f\u061c\u200b\u2028\ufeff\U000e0041"

    def test_no_program_shows_what_moves_the_cursor_or_turns_text(self):
        path = self.folder / f"a{self.HARMFUL}b.jsonl"
        path.write_text("junk\n")
        for command in ([BIN / "signet", "audit", "verify", path], [BIN / "signet", "audit", "verify", "-o", "json", path],
                        [BIN / "signet", "audit", "query", path], [BIN / "signet", "audit", "query", "-o", "json", path],
                        [BIN / "signet", "verify", "--key", path, "--signature", path, path], [BIN / "signet", f"--{self.HARMFUL}"],
                        [BIN / "signet-sidecar", f"--{self.HARMFUL}"], [BIN / "signet-sidecar", "--config", path],
                        [BIN / "signet-operator", f"--{self.HARMFUL}"], [BIN / "signet-operator", "--config", path]):
            with self.subTest(command=[command[0].name, *map(ascii, command[1:3])]):
                done = subprocess.run(command, capture_output=True, timeout=60)
                self.assertNotEqual(done.returncode, 0)
                text = (done.stdout + done.stderr).decode()
                self.assertEqual([hex(ord(c)) for c in text if c in self.HARMFUL], [])
        folder = self.folder / "names"
        folder.mkdir()
        (folder / "a.jsonl\nok         99 records (seq 1 to 99) in 1 file\n\thead       0000").write_text("junk\n")
        done = subprocess.run([BIN / "signet", "audit", "verify", folder], capture_output=True, text=True)
        self.assertEqual([line for line in done.stdout.splitlines() if line.split()[:1] in (["ok"], ["head"])], [], "a file's name is no line of the report")
        done = subprocess.run([BIN / "signet", "audit", "verify", "-o", "json", path], capture_output=True)
        self.assertEqual(json.loads(done.stdout)["problems"][0]["file"], str(path), "the value stays")


class Damage(Case):
    """The file of the record taken away from a running sidecar: noticed before the next release."""

    def test_what_happens_to_the_file_is_noticed_and_on_record(self):
        token = self.token()
        folder = self.policies(policy("release"))
        self.generate_keys(token, folder)
        sidecar = self.sidecar(token, folder).ready()
        client = sidecar.client()
        audit = sidecar.audit

        def signs():
            answer = client.sign("release", digest_of(b"x"))
            if answer.status == 200:
                return answer.json()["record"]
            self.assertEqual((answer.status, answer.json()["code"]), (503, "AuditUnavailable"))
            return None

        for name, act in {
            "removed": audit.unlink,
            "truncated": lambda: os.truncate(audit, 0),
            "cut": lambda: os.truncate(audit, audit.stat().st_size - 10),
            "moved": lambda: audit.rename(f"{audit}.1"),
        }.items():
            with self.subTest(damage=name):
                self.assertIsNotNone(signs())
                act()
                self.assertIsNone(signs(), "the first one after it is refused")
                record = wait_for("signing to go on", signs)
                self.assertIn(record, audit.read_text(), "a reader of the folder finds it")
        sidecar.kill()
        missing = json.loads(audit_verify(audit, "-o", "json").stdout)["streams"][0]["missing"]
        self.assertEqual(len(missing), 2, "two files in a row are one gap; what logrotate moved is found")
        audit.unlink()
        before = audit_verify(self.folder)
        self.assertEqual(before.returncode, 1, before.stdout)
        sidecar = self.sidecar(token, folder).ready()
        client = sidecar.client()
        self.assertIsNotNone(signs(), "the next start goes on")
        self.assertEqual(sidecar.stop(), 0)
        after = json.loads(audit_verify(audit, "-o", "json").stdout)
        self.assertFalse(after["ok"])
        self.assertEqual(len(after["streams"][0]["missing"]), 3)


if __name__ == "__main__":
    unittest.main()
