#!/usr/bin/python3
"""SIGKILL at named points and at random instants: nothing lost, nothing released twice, every signature on record."""
import hashlib
import http.client
import os
import random
import signal
import threading
import unittest

from harness import (Case, Client, RecordLines, audit_verify, condition, digest_of, kill_in_the_middle, kill_instants, openssl_verifies, policy,
                     records, request, wait_for, write_yaml)

import yaml

SEED = int(os.environ.get("SIGNET_TEST_SEED", "20261123"))


def status_of(folder, name):
    try:
        for document in yaml.safe_load_all((folder / f"{name}.status.yaml").read_text()):
            if document and document["metadata"]["name"] == name:
                return document.get("status")
    except (OSError, yaml.YAMLError):
        return None
    return None


class SidecarCrash(Case):
    def test_each_kill_point_leaves_a_record_that_is_whole_after_restart(self):
        token = self.token()
        folder = self.policies(policy("release"))
        self.generate_keys(token, folder)
        released = []
        for point in ("after-intent", "after-sign", "after-outcome"):
            with self.subTest(point=point):
                sidecar = self.sidecar(token, folder, env={"SIGNET_KILL_POINT": f"{point}:3"}).ready()
                client = sidecar.client()
                for number in range(3):
                    try:
                        answer = client.sign("release", digest_of(f"{point} {number}".encode()))
                        released.append((answer.json()["record"], self.b64(answer.json()["signature"])))
                    except OSError:
                        break
                self.assertEqual(sidecar.wait(), -signal.SIGKILL)
        sidecar = self.sidecar(token, folder).ready()
        answer = sidecar.client().sign("release", digest_of(b"after"))
        self.assertEqual(answer.status, 200)
        self.assertEqual(sidecar.stop(), 0)
        outcomes = self.assert_pairs(sidecar.audit, released)
        self.assertEqual(sum(outcome["result"] == "unknown" for outcome in outcomes.values()), 2)  # after-outcome has its own
        done = audit_verify(sidecar.audit)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_random_kills_under_load(self):
        token = self.token()
        folder = self.policies(policy("release"))
        self.generate_keys(token, folder)
        chance = random.Random(SEED)
        released = []
        lock = threading.Lock()
        ended = threading.Event()

        def load(number):
            count = 0
            while not ended.is_set():
                client = Client(self.folder / "s.sock")
                try:
                    while not ended.is_set():
                        count += 1
                        answer = client.sign("release", digest_of(f"{number} {count}".encode()))
                        if answer.status == 200:
                            with lock:
                                released.append((answer.json()["record"], self.b64(answer.json()["signature"])))
                except (OSError, ValueError, http.client.HTTPException):
                    ended.wait(0.005)  # the process was just killed: try again
                finally:
                    client.close()

        threads = [threading.Thread(target=load, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        try:
            lines = RecordLines(self.folder / "sidecar.jsonl")
            for _ in range(kill_instants(25)):
                # A process that dies in its login leaves a claim on the PIN: the next one waits until that has run out.
                sidecar = self.sidecar(token, folder).ready(seconds=90)
                kill_in_the_middle(sidecar, lines, chance.randrange(1, 800))
        finally:
            ended.set()
            for thread in threads:
                thread.join()
        sidecar = self.sidecar(token, folder).ready(seconds=90)
        self.assertEqual(sidecar.stop(), 0)
        self.assert_pairs(sidecar.audit, released)
        done = audit_verify(sidecar.audit)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


class OperatorCrash(Case):
    """On the directory store; the API server has its own suite (test_cluster.py)."""

    def finish(self, token, folder, names, audit_name="operator"):
        """A last operator brings everything to its end; then statuses and record must agree."""
        operator = self.operator(token, ["--store", f"dir:{folder}"], name=audit_name)
        wait_for("end states", lambda: all(condition(status_of(folder, name), "Ready") for name in names), 60)
        wait_for("all signed", lambda: all(condition(status_of(folder, name), "Ready")["status"] == "True" for name in names), 60)
        # What a killed operator had published is settled by a look at the status, every two seconds.
        wait_for("the releases", lambda: {status_of(folder, name)["record"] for name in names} <=
                 {line["operation"] for line in records(operator.audit) if line["type"] == "release"}, 60)
        self.assertEqual(operator.stop(), 0)
        outcomes = self.assert_pairs(operator.audit)
        committed = {}
        settled = {line["operation"]: line["released"] for line in records(operator.audit) if line["type"] == "release"}
        for line in records(operator.audit):
            if line["type"] == "intent" and outcomes[line["operation"]]["result"] == "signed" and settled.get(line["operation"]) is True:
                self.assertNotIn(line["requestName"], committed, "two released signatures for one request")
                committed[line["requestName"]] = line["operation"]
        for name in names:
            status = status_of(folder, name)
            self.assertEqual(status["record"], committed[name])
            signature = self.b64(status["signature"])
            self.assertEqual(outcomes[status["record"]]["signatureSha256"], hashlib.sha256(signature).hexdigest())
            self.assertTrue(openssl_verifies(self.folder, status["publicKey"], signature, name.encode(), "sha256", []))
        done = audit_verify(operator.audit)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_each_kill_point_ends_in_one_state(self):
        token = self.token()
        folder = self.policies(policy("release"))
        self.generate_keys(token, folder)
        names = []
        for point in ("after-intent", "after-sign", "after-outcome", "before-patch", "after-patch"):
            name = f"req-{point}"
            names.append(name)
            write_yaml(folder / f"{name}.yaml", request(name, "release", digest_of(name.encode())))
            operator = self.operator(token, ["--store", f"dir:{folder}"], env={"SIGNET_KILL_POINT": point})
            self.assertEqual(operator.wait(60), -signal.SIGKILL, point)
        self.finish(token, folder, names)

    def test_random_kills_under_load(self):
        token = self.token()
        folder = self.policies(policy("release"))
        self.generate_keys(token, folder)
        chance = random.Random(SEED)
        names = []
        seen = {}

        def look():
            """Statuses that were Ready stay as they are, to the octet."""
            for name in names:
                path = folder / f"{name}.status.yaml"
                if name in seen:
                    self.assertEqual(path.read_bytes(), seen[name], "a status changed after Ready=True")
                elif (condition(status_of(folder, name), "Ready") or {}).get("status") == "True":
                    seen[name] = path.read_bytes()

        lines = RecordLines(self.folder / "operator.jsonl")
        for round_number in range(kill_instants(12)):
            for number in range(20):
                name = f"r{round_number}-{number}"
                names.append(name)
                write_yaml(folder / f"{name}.yaml", request(name, "release", digest_of(name.encode())))
            operator = self.operator(token, ["--store", f"dir:{folder}"])
            kill_in_the_middle(operator, lines, chance.randrange(1, 60))  # 20 requests are 60 lines
            look()
        self.finish(token, folder, names)
        self.assertGreater(len(seen), 0)
        look()


if __name__ == "__main__":
    unittest.main(verbosity=2)
