#!/usr/bin/python3
"""What the programs give up at their start, the second user of the HSM workers, and what service managers send."""
import ctypes
import os
import pathlib
import re
import resource
import signal
import socket
import subprocess
import unittest

from harness import BIN, Case, Client, Process, Sidecar, digest_of, policy, records, wait_for

MESSAGE = b"what the pipeline built"
FRONT, WORKER = 64101, 64102
LANDLOCK_CREATE_RULESET, LANDLOCK_VERSION = 444, 1
LIBC = ctypes.CDLL(None, use_errno=True)


def kernel_has_landlock():
    return LIBC.syscall(LANDLOCK_CREATE_RULESET, None, 0, LANDLOCK_VERSION) >= 1


def of_process(pid, name):
    """Empty where it has ended, as a worker may between two looks."""
    try:
        return pathlib.Path(f"/proc/{pid}/{name}").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def status_of(pid):
    return dict(re.findall(r"^(\w+):[ \t]*(.*)$", of_process(pid, "status"), re.M))


def children(pid):
    return [int(word) for word in of_process(pid, f"task/{pid}/children").split()]


def launcher_of(pid):
    """None: it has not taken its name yet."""
    return next((child for child in children(pid) if status_of(child).get("Name") == "hsm-launcher"), None)


def workers_of(pid):
    launcher = launcher_of(pid)
    return [child for child in children(launcher) if status_of(child).get("Name") == "hsm-worker"] if launcher else []


def hardening(log):
    """Feature: whether the log line of the start says that it is on."""
    line = next(line for line in pathlib.Path(log).read_text().splitlines() if '"hardening"' in line)
    on, off = (re.search(rf'"{word}":"([^"]*)"', line)[1] for word in ("on", "off"))
    return {**{name: True for name in on.split(", ") if name}, **{name: False for name in re.findall(r"(\w+)(?: \([^)]*\))?(?:, |$)", off)}}


class Base(Case):
    def prepared(self, **options):
        token = self.token()
        folder = self.policies(policy("release"))
        self.generate_keys(token, folder)
        return token, folder

    def started(self, **options):
        token, folder = self.prepared()
        place = self.folder / "front"  # the PIN is elsewhere
        place.mkdir()
        return self.start(Sidecar(place, token, folder, **options)).ready()

    def signs(self, sidecar):
        self.assertEqual(sidecar.client().sign("release", digest_of(MESSAGE)).status, 200)


class Hardening(Base):
    def check_front(self, pid):
        status = status_of(pid)
        self.assertEqual(status["NoNewPrivs"], "1")
        self.assertEqual(status["Seccomp"], "2", "this kernel has filters: the tests run on none without")
        self.assertEqual(os.stat(f"/proc/{pid}/mem").st_uid, 0, "a process that is not dumpable belongs to root")
        self.assertEqual(resource.prlimit(pid, resource.RLIMIT_CORE), (0, 0))

    def test_front_launcher_and_workers_give_up_what_they_do_not_need(self):
        sidecar = self.started()
        launcher = launcher_of(sidecar.pid)
        for pid in (sidecar.pid, launcher, *workers_of(sidecar.pid)):
            self.check_front(pid)
        state = hardening(sidecar.log)
        for feature in ("no_core", "not_dumpable", "no_new_privs", "seccomp", "worker_seccomp"):
            self.assertTrue(state[feature], state)
        self.assertEqual(state["landlock"], kernel_has_landlock())
        self.assertEqual(state["pin_out_of_reach"], kernel_has_landlock(), "the PIN's folder holds nothing that the front reads")
        self.assertFalse(state["worker_user"])
        self.signs(sidecar)
        self.assertEqual(sidecar.stop(), 0)

    def test_the_report_is_in_the_metrics_too_and_parts_can_be_switched_off(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        sidecar = self.started(extra=["--no-landlock", "--no-seccomp", "--metrics", f"127.0.0.1:{port}"])
        text = subprocess.run(["curl", "-s", f"http://127.0.0.1:{port}/metrics"], capture_output=True, text=True, check=True).stdout
        for feature, value in (("landlock", 0), ("seccomp", 0), ("worker_seccomp", 0), ("no_core", 1), ("not_dumpable", 1)):
            self.assertIn(f'signet_hardening{{feature="{feature}"}} {value}', text)
        self.assertEqual(status_of(sidecar.pid)["Seccomp"], "0")
        self.assertFalse(hardening(sidecar.log)["pin_out_of_reach"])
        self.signs(sidecar)

    def test_a_pin_beside_what_the_front_reads_is_reported(self):
        token, folder = self.prepared()
        beside = folder / "pin.txt"
        beside.write_text(token.pin)
        token.pin_file = beside
        sidecar = self.sidecar(token, folder).ready()
        self.assertFalse(hardening(sidecar.log)["pin_out_of_reach"])

    def test_the_operator_on_a_folder_is_confined_and_does_all_its_work(self):
        token, folder = self.prepared()
        operator = self.operator(token, ["--store", f"dir:{folder}"])
        wait_for("the operator's workers", lambda: operator.running() and workers_of(operator.pid))
        self.check_front(operator.pid)
        self.assertEqual(hardening(operator.log)["landlock"], kernel_has_landlock())
        self.assertEqual(operator.stop(), 0)

    def test_workers_are_replaced_after_a_kill(self):
        sidecar = self.started()
        before = workers_of(sidecar.pid)
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        wait_for("new workers", lambda: (now := workers_of(sidecar.pid)) and not set(now) & set(before))
        wait_for("a signature", lambda: sidecar.client().sign("release", digest_of(MESSAGE)).status == 200)

    def test_the_launchers_death_ends_all(self):
        sidecar = self.started()
        workers = workers_of(sidecar.pid)
        os.kill(launcher_of(sidecar.pid), signal.SIGKILL)
        self.assertEqual(sidecar.wait(), 4)
        self.assertIn("the launcher of the HSM workers has ended", sidecar.tail())
        wait_for("the workers' end", lambda: not any(pathlib.Path(f"/proc/{pid}").exists() for pid in workers))

    def test_the_fronts_death_ends_all(self):
        sidecar = self.started()
        others = [launcher_of(sidecar.pid), *workers_of(sidecar.pid)]
        sidecar.kill()
        wait_for("the end of the others", lambda: not any(pathlib.Path(f"/proc/{pid}").exists() for pid in others))


@unittest.skipUnless(os.getuid() == 0, "only root can start processes of two users")
class TwoUsers(Base):
    def two_users(self):
        token, folder = self.prepared()
        self.folder.chmod(0o711)
        place = self.folder / "front"
        place.mkdir()
        os.chown(place, FRONT, FRONT)
        for path in (token.folder, *token.folder.rglob("*")):
            os.chown(path, WORKER, WORKER)
            path.chmod(0o700 if path.is_dir() else 0o400 if path == token.pin_file else 0o600)
        token.folder.chmod(0o711)
        token.conf.chmod(0o444)
        sidecar = Sidecar(place, token, folder, extra=["--user", str(FRONT), "--worker-user", str(WORKER), "--no-landlock", "--state-dir", place / "state"])
        return token, self.start(sidecar).ready()

    def as_user(self, uid, *command):
        return subprocess.run(["setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups", *map(str, command)], capture_output=True, text=True)

    def test_the_fronts_user_reaches_neither_pin_nor_workers(self):
        token, sidecar = self.two_users()
        worker = workers_of(sidecar.pid)[0]
        self.assertEqual(status_of(sidecar.pid)["Uid"].split(), [str(FRONT)] * 4)
        self.assertEqual(status_of(sidecar.pid)["Groups"].strip(), "")
        self.assertEqual(status_of(sidecar.pid)["CapPrm"], "0" * 16)
        self.assertEqual(status_of(worker)["Uid"].split(), [str(WORKER)] * 4)
        self.assertEqual(status_of(worker)["CapPrm"], "0" * 16)
        state = hardening(sidecar.log)
        self.assertTrue(state["worker_user"])
        self.assertTrue(state["pin_out_of_reach"], "by its mode alone: Landlock is off")
        # What code in the front could try, with the same user.
        for path in (token.pin_file, f"/proc/{worker}/mem", f"/proc/{worker}/environ", f"/proc/{worker}/fd"):
            done = self.as_user(FRONT, "ls" if str(path).endswith("fd") else "cat", path)
            self.assertNotEqual(done.returncode, 0, path)
            self.assertIn("Permission denied", done.stderr)
        for pid in (worker, launcher_of(sidecar.pid)):
            self.assertNotEqual(self.as_user(FRONT, "kill", "-9", pid).returncode, 0)
        self.signs(sidecar)
        os.kill(worker, signal.SIGKILL)
        wait_for("another worker", lambda: (now := workers_of(sidecar.pid)) and worker not in now)
        wait_for("a signature", lambda: sidecar.client().sign("release", digest_of(MESSAGE)).status == 200)
        self.assertTrue(all(status_of(pid)["Uid"].split()[0] == str(WORKER) for pid in workers_of(sidecar.pid)))
        self.assertEqual(sidecar.stop(), 0)
        # The next start reads what the workers have noted.
        again = self.start(Sidecar(sidecar.folder, token, self.folder / "policies", extra=sidecar.args[-7:])).ready()
        self.signs(again)

    def test_users_that_cannot_be_had_are_refused_before_anything_starts(self):
        token, folder = self.prepared()
        command = [BIN / "signet-sidecar", "--socket", self.folder / "s", "--policies", folder, "--pkcs11-module", token.module, "--pin-file",
                   token.pin_file, "--audit", self.folder / "a.jsonl", "--subject", "system:serviceaccount:ci:builder"]
        for flags, word, code in ((["--user", "7"], "go together", 2), (["--worker-user", "7"], "go together", 2),
                                  (["--user", "7", "--worker-user", "7"], "one user", 2), (["--user", "root", "--worker-user", "7"], "UID", 2)):
            done = subprocess.run([*map(str, command), *flags], capture_output=True, text=True, env=token.env())
            self.assertEqual(done.returncode, code, done.stderr)
            self.assertIn(word, done.stderr)
        program = self.folder / "bin"
        program.write_bytes((BIN / "signet-sidecar").read_bytes())
        program.chmod(0o755)
        self.folder.chmod(0o777)
        done = self.as_user(FRONT, program, *command[1:], "--user", FRONT, "--worker-user", WORKER)
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertIn("start as root with CAP_SETUID", done.stderr)
        self.assertFalse((self.folder / "a.jsonl").exists())


class Signals(Base):
    def test_what_service_managers_send_for_other_reasons_ends_nothing(self):
        sidecar = self.started()
        for name in ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGPIPE", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGXFSZ", "SIGTSTP", "SIGTTIN", "SIGTTOU",
                     "SIGWINCH", "SIGURG", "SIGCONT", "SIGRTMIN"):
            with self.subTest(signal=name):
                sidecar.signal(getattr(signal, name))
                self.signs(sidecar)
        self.assertEqual(sidecar.stop(), 0)

    def test_what_means_the_end_drains_and_removes_the_socket(self):
        token, folder = self.prepared()
        for name in ("SIGTERM", "SIGINT", "SIGQUIT", "SIGPWR", "SIGXCPU"):
            with self.subTest(signal=name):
                sidecar = self.sidecar(token, folder).ready()
                sidecar.signal(getattr(signal, name))
                self.assertEqual(sidecar.wait(), 0)
                self.assertFalse(sidecar.socket.exists())
                self.assertEqual(records(sidecar.audit)[-1]["type"], "stopped")

    def test_the_operator_takes_them_alike(self):
        token, folder = self.prepared()
        operator = self.operator(token, ["--store", f"dir:{folder}"])
        wait_for("the operator's workers", lambda: operator.running() and workers_of(operator.pid))
        for name in ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM"):
            operator.signal(getattr(signal, name))
        operator.signal(signal.SIGQUIT)
        self.assertEqual(operator.wait(), 0)

    def test_a_parents_mask_and_ignored_signals_change_nothing(self):
        token, folder = self.prepared()

        class Odd(Sidecar):
            pass
        every = set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}
        before = signal.pthread_sigmask(signal.SIG_BLOCK, every)
        ignored = signal.signal(signal.SIGTERM, signal.SIG_IGN)
        try:
            sidecar = self.start(Odd(self.folder, token, folder))  # as nohup and careless supervisors do
        finally:
            signal.signal(signal.SIGTERM, ignored)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        sidecar.ready()
        self.signs(sidecar)
        self.assertEqual(sidecar.stop(), 0)


class Limits(Base):
    def limited(self, limit, value, **options):
        """A sidecar that starts under a limit; the limit is set in a shell, which becomes the sidecar."""
        token, folder = self.prepared()
        script = self.folder / "limited"
        script.write_text(f"#!/bin/sh\nulimit {limit} {value} || exit 97\nexec {BIN / 'signet-sidecar'} \"$@\"\n")
        script.chmod(0o755)
        return self.start(Sidecar(self.folder, token, folder, program=script, **options))

    def test_a_record_that_may_not_grow_stops_signing_and_nothing_else(self):
        sidecar = self.limited("-f", 700)  # blocks of 512: the shared memory fits, the record does not for long
        sidecar.ready()
        client = sidecar.client()
        answers = [client.sign("release", digest_of(MESSAGE)) for _ in range(700)]
        refused = [answer for answer in answers if answer.status != 200]
        self.assertTrue(refused)
        self.assertEqual({answer.json()["code"] for answer in refused}, {"AuditUnavailable"})
        self.assertTrue(sidecar.running())
        self.assertEqual(client.call("GET", "/healthz").status, 200)

    def test_few_files_are_said_and_work(self):
        sidecar = self.limited("-n", 64).ready()
        self.assertIn("few files may be open", sidecar.tail())
        self.signs(sidecar)
        self.assertEqual(sidecar.stop(), 0)

    def test_a_soft_limit_of_files_is_raised(self):
        sidecar = self.limited("-S -n", 64).ready()
        self.assertNotIn("few files may be open", sidecar.tail())
        self.signs(sidecar)


if __name__ == "__main__":
    unittest.main(verbosity=2)
