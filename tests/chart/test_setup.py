#!/usr/bin/python3
"""signet-operator dev-hsm: what the chart's init container runs."""
import os
import pathlib
import stat
import subprocess
import tempfile
import unittest

from harness import BIN, module_path

PROGRAM = BIN / "signet-operator"


class DevHsm(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name) / "dev"
        self.env = {k: v for k, v in os.environ.items() if k != "SOFTHSM2_CONF"}

    def command(self, *extra):
        return [PROGRAM, "dev-hsm", self.folder, "--pkcs11-module", module_path(), *extra]

    def make(self, *extra):
        done = subprocess.run(self.command(*extra), env=self.env, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def check(self, *extra):
        return subprocess.run([PROGRAM, "check", "--login", "--pkcs11-module", module_path(), "--pin-file", self.folder / "pin",
                               "--state-dir", self.folder / "state", *extra],
                              env=dict(self.env, SOFTHSM2_CONF=str(self.folder / "softhsm2.conf")), capture_output=True, text=True)

    def tokens(self):
        return sorted(p.name for p in (self.folder / "tokens").iterdir())

    def test_makes_a_token_that_its_pin_opens(self):
        self.assertIn("made", self.make())
        answer = self.check()
        self.assertEqual(answer.returncode, 0, answer.stdout)
        self.assertIn("'signet-dev'", answer.stdout)
        for name in ("pin", "so-pin", "softhsm2.conf"):
            self.assertEqual(stat.S_IMODE((self.folder / name).stat().st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(self.folder.stat().st_mode), 0o700)

    def test_says_no_pin(self):
        said = self.make()
        self.assertNotIn((self.folder / "pin").read_text().strip(), said)

    def test_a_restart_changes_nothing(self):
        self.make()
        before = self.tokens(), (self.folder / "pin").read_text()
        self.assertIn("was there already", self.make())
        self.assertEqual((self.tokens(), (self.folder / "pin").read_text()), before)
        self.assertEqual(self.check().returncode, 0)

    def test_replicas_that_start_together_share_one_token(self):
        started = [subprocess.Popen(self.command(), env=self.env, stdout=subprocess.PIPE, text=True) for _ in range(6)]
        said = [p.communicate(timeout=60)[0] for p in started]
        self.assertEqual([p.returncode for p in started], [0] * 6)
        self.assertEqual(sum("made" in s for s in said), 1, said)
        self.assertEqual(len(self.tokens()), 1)
        self.assertEqual(self.check().returncode, 0)

    def test_a_token_without_its_user_pin_gets_one(self):
        self.make()
        so_pin = (self.folder / "so-pin").read_text().strip()
        # As after a crash between C_InitToken and C_InitPIN: the same token, initialised again.
        code = ("import ctypes, sys\n"
                "library = ctypes.CDLL(sys.argv[1])\n"
                "library.C_Initialize(None)\n"
                "slots = (ctypes.c_ulong * 16)(); count = ctypes.c_ulong(16)\n"
                "library.C_GetSlotList(1, slots, ctypes.byref(count))\n"
                "pin = sys.argv[2].encode()\n"
                "sys.exit(library.C_InitToken(ctypes.c_ulong(slots[0]), pin, ctypes.c_ulong(len(pin)), b'signet-dev'.ljust(32)))\n")
        env = dict(self.env, SOFTHSM2_CONF=str(self.folder / "softhsm2.conf"))
        subprocess.run(["/usr/bin/python3", "-c", code, module_path(), so_pin], env=env, check=True)
        self.assertNotEqual(self.check().returncode, 0)
        self.assertIn("made", self.make())
        self.assertEqual(self.check().returncode, 0)

    def test_refuses_what_cannot_work(self):
        for arguments, code, word in ((["dev-hsm"], 2, "FOLDER"), (["dev-hsm", "/nonexistent/a"], 3, "No such file"),
                                      (["dev-hsm", self.folder, "--pkcs11-module", "/nonexistent.so"], 3, "nonexistent.so"),
                                      (["dev-hsm", self.folder, "--pkcs11-module", module_path(), "--token", "x" * 33], 3, "1 to 32")):
            done = subprocess.run([PROGRAM, *arguments], env=self.env, capture_output=True, text=True)
            self.assertEqual(done.returncode, code, done.stderr)
            self.assertIn(word, done.stderr)


if __name__ == "__main__":
    unittest.main()
