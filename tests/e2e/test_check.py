#!/usr/bin/python3
"""`check`: what it says of modules that crash and hang, and that it spends no PIN and no folder of the service."""
import os
import pathlib
import subprocess
import unittest

from harness import BIN, Case

FAKE = BIN.parent / "lib/fake_p11.so"
SERVICE = 7001  # the user of a service


class Check(Case):
    def module(self, **behaviour):
        """The misbehaving module of tests/fake_p11."""
        calls = self.folder / "calls"
        calls.write_text("")
        self.assertTrue(FAKE.exists())
        (self.folder / "pin").write_text("1234\n")
        (self.folder / "config").write_text("".join(f"{name}={value}\n" for name, value in {"log": calls, **behaviour}.items()))
        return calls

    def check(self, program, *extra, timeout=120):
        return subprocess.run([BIN / program, "check", "--pkcs11-module", FAKE, "--pin-file", self.folder / "pin", *extra],
                              env={**os.environ, "FAKE_P11_CONFIG": str(self.folder / "config")}, capture_output=True, text=True, timeout=timeout)

    def test_a_module_that_crashes_is_a_line_of_the_report(self):
        self.module(init="crash")
        for program in ("signet-sidecar", "signet-operator"):
            with self.subTest(program=program):
                done = self.check(program)
                self.assertEqual(done.returncode, 4, done.stderr)
                self.assertRegex(done.stdout, r"FAIL  module +it crashed its process \(SIG[A-Z]+\)")
        self.module(login="crash")
        done = self.check("signet-sidecar", "--login", "--state-dir", self.folder / "state")
        self.assertEqual(done.returncode, 4)
        self.assertRegex(done.stdout, r"(?s)ok    module.*ok    token.*FAIL  module +it crashed")

    def test_a_damaged_library_is_a_line_of_the_report(self):
        damaged = self.folder / "cut.so"
        damaged.write_bytes(FAKE.read_bytes()[:20000])
        self.module()
        done = subprocess.run([BIN / "signet-sidecar", "check", "--pkcs11-module", damaged, "--pin-file", self.folder / "pin"], capture_output=True, text=True, timeout=60)
        self.assertIn(done.returncode, (3, 4))
        self.assertIn("FAIL  module", done.stdout)

    def test_a_login_needs_the_memory_of_refused_pins(self):
        calls = self.module(pin="another")
        for program in ("signet-sidecar", "signet-operator"):
            with self.subTest(program=program):
                done = self.check(program, "--login")
                self.assertEqual(done.returncode, 2)
                self.assertIn("--state-dir", done.stderr)
        self.assertNotIn("C_Login", calls.read_text())
        for _ in range(3):
            self.assertEqual(self.check("signet-sidecar", "--login", "--state-dir", self.folder / "state").returncode, 4)
        self.assertEqual(calls.read_text().count("C_Login"), 1, "the service's own memory, too")

    @unittest.skipUnless(os.geteuid() == 0, "only root leaves files of another user behind")
    def test_roots_check_leaves_the_folder_to_its_service(self):
        self.module()
        for name, mode in (("own", 0o700), ("shared", 0o2770)):
            with self.subTest(folder=name):
                state = self.folder / name
                state.mkdir()
                os.chown(state, SERVICE, SERVICE + 1)
                state.chmod(mode)
                self.assertEqual(self.check("signet-sidecar", "--login", "--state-dir", state).returncode, 0)
                made = list(state.iterdir())
                self.assertGreaterEqual(len(made), 3)
                for path in made:
                    self.assertEqual((path.stat().st_uid, path.stat().st_gid), (SERVICE, SERVICE + 1), path)
                    if mode & 0o020:
                        self.assertTrue(path.stat().st_mode & 0o060, path)
        parent = self.folder / "var"
        parent.mkdir()
        os.chown(parent, SERVICE, SERVICE)
        self.assertEqual(self.check("signet-sidecar", "--login", "--state-dir", parent / "state").returncode, 0)
        self.assertEqual(pathlib.Path(parent / "state").stat().st_uid, SERVICE, "it was not there: as its parent")


if __name__ == "__main__":
    unittest.main(verbosity=2)
