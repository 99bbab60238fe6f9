"""The image: the whole Dockerfile, compile stage included, in one buildah bud (image.sh), and what is in it. As root, or through sudo."""
import gzip
import io
import json
import os
import pathlib
import subprocess
import tarfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
PROGRAMS = {f"usr/bin/{name}" for name in ("signet-operator", "signet-sidecar", "signet")}


def make():
    """The archive of localhost/signet:test."""
    command = [HERE / "image.sh"]
    if os.geteuid() != 0:
        keep = [f"{name}={os.environ[name]}" for name in ("SIGNET_CACHE", "HOME") if name in os.environ]
        command = ["sudo", "env", *keep, *command]
    made = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return next(line.split(" ", 1)[1] for line in made.splitlines() if line.startswith("localhost/signet:test "))


class Image(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with tarfile.open(make()) as archive:
            def blob(digest):
                return archive.extractfile("blobs/" + digest.replace(":", "/")).read()
            (entry,) = json.loads(archive.extractfile("index.json").read())["manifests"]
            manifest = json.loads(blob(entry["digest"]))
            cls.config = json.loads(blob(manifest["config"]["digest"]))["config"]
            cls.files = {}
            for layer in manifest["layers"]:
                data = blob(layer["digest"])
                with tarfile.open(fileobj=io.BytesIO(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)) as files:
                    for member in files:
                        cls.files[member.name.removeprefix("./")] = member

    def test_runs_as_a_user_without_rights(self):
        self.assertEqual(self.config["User"], "65532:65532")
        self.assertEqual(self.config["Cmd"], ["/usr/bin/signet", "--help"])
        privileged = [name for name, member in self.files.items() if member.isfile() and member.mode & 0o6000]
        self.assertEqual(privileged, [])

    def test_has_the_programs_that_its_own_compiler_made(self):
        for name in PROGRAMS:
            member = self.files[name]
            self.assertEqual((member.uid, member.gid, member.mode & 0o7777), (0, 0, 0o755), name)
            self.assertGreater(member.size, 500_000)

    def test_has_no_compiler_no_source_and_no_cache(self):
        unwanted = {"usr/bin/g++", "usr/bin/cmake", "usr/bin/ccache", "usr/bin/curl", "src", "ccache", "mnt/CACHEDIR.TAG", "mnt/ccache.conf"}
        self.assertEqual(unwanted & self.files.keys(), set())

    def test_is_labelled(self):
        self.assertEqual(self.config["Labels"]["org.opencontainers.image.title"], "signet")


if __name__ == "__main__":
    unittest.main()
