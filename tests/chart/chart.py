#!/usr/bin/python3
"""Renders charts/signet as Helm would, where Helm cannot be installed: tests/chart/render (Go, text/template with sprig) does the templates,
python3-jsonschema the values' schema.

    from chart import render
    objects = render({"devHsm": {"enabled": True}}, release="signet", namespace="signet-system")

    tests/chart/chart.py [-f VALUES.yaml]... [--set NAME=VALUE]... [--release R] [--namespace N] [--kube-version V] [--hooks] [--notes]
prints one YAML stream, for kubectl apply -f -. Needs golang-1.19-go, golang-github-masterminds-sprig-dev, golang-k8s-sigs-yaml-dev.
"""
import argparse
import collections
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import jsonschema
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "charts/signet"
SOURCE = ROOT / "tests/chart/render/main.go"
GO_PACKAGES = "/usr/share/gocode"  # where Debian's -dev packages of Go libraries are

# The order in which Helm installs, as far as our kinds go; unknown kinds come last.
ORDER = ["Namespace", "NetworkPolicy", "PodDisruptionBudget", "ServiceAccount", "Secret", "ConfigMap", "PersistentVolumeClaim",
         "CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "Service", "StatefulSet", "Job"]

Rendered = collections.namedtuple("Rendered", "objects hooks notes")


class ChartError(Exception):
    """What Helm would have refused: the message is what its user reads."""


def go():
    for path in (os.environ.get("GO"), "/usr/lib/go-1.19/bin/go", shutil.which("go")):
        if path and pathlib.Path(path).exists():
            return path
    raise RuntimeError("Go is not installed: run ./dev setup (golang-1.19-go, golang-github-masterminds-sprig-dev, golang-k8s-sigs-yaml-dev)")


def renderer():
    """The program, compiled once for its source."""
    text = SOURCE.read_bytes()
    cache = pathlib.Path(os.environ.get("SIGNET_CHART_CACHE") or pathlib.Path(os.environ.get("XDG_CACHE_HOME") or
                                                                            pathlib.Path.home() / ".cache") / "signet/chart")
    program = cache / f"render-{hashlib.sha256(text).hexdigest()[:16]}"
    if program.exists():
        return program
    compiler = go()
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        environment = dict(os.environ, GOPATH=GO_PACKAGES, GO111MODULE="off", GOFLAGS="", GOCACHE=str(cache / "go"), CGO_ENABLED="0")
        made = pathlib.Path(folder) / "render"
        done = subprocess.run([compiler, "build", "-o", made, SOURCE], env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"the renderer does not compile:\n{done.stderr}")
        made.rename(program)  # atomic: others may be doing the same
    return program


def run(arguments):
    done = subprocess.run([renderer(), *arguments, CHART], capture_output=True, text=True)
    if done.returncode != 0:
        raise ChartError(done.stderr.strip())
    return json.loads(done.stdout)


def schema():
    return json.loads((CHART / "values.schema.json").read_text())


def validate(values):
    """As Helm does before it renders."""
    errors = sorted(jsonschema.Draft7Validator(schema()).iter_errors(values), key=lambda e: list(map(str, e.absolute_path)))
    if errors:
        raise ChartError("values don't meet the specifications of the schema:\n" + "\n".join(
            f"- {'.'.join(map(str, e.absolute_path)) or '(root)'}: {e.message}" for e in errors))


def render_all(values=None, release="signet", namespace="signet-system", kube_version="v1.20.2", files=(), sets=(), upgrade=False):
    """-> Rendered(objects, hooks, notes). ChartError: what Helm would refuse, by schema or by template."""
    arguments = ["-release", release, "-namespace", namespace, "-kube-version", kube_version]
    arguments += [word for path in files for word in ("-f", str(path))] + [word for one in sets for word in ("-set", one)]
    if upgrade:
        arguments.append("-upgrade")
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as last:
        yaml.safe_dump(values or {}, last)
        last.flush()
        arguments = arguments + ["-f", last.name]
        validate(run(arguments + ["-values"]))
        made = run(arguments)
    objects, hooks = [], []
    for document in made["documents"]:
        try:
            found = [o for o in yaml.load_all(document["text"], Loader=StrictLoader) if o]
        except yaml.YAMLError as error:
            raise ChartError(f"{document['template']}: no YAML: {error}") from error
        for each in found:
            annotations = each["metadata"].get("annotations") or {}
            (hooks if "helm.sh/hook" in annotations else objects).append(each)
    objects.sort(key=lambda o: ORDER.index(o["kind"]) if o["kind"] in ORDER else len(ORDER))
    hooks.sort(key=lambda o: int(o["metadata"]["annotations"].get("helm.sh/hook-weight", 0)))
    return Rendered(objects, hooks, made["notes"])


def render(values=None, release="signet", namespace="signet-system", **options):
    """The objects that `helm install RELEASE charts/signet -n NAMESPACE -f VALUES` would apply, in its order, without hooks."""
    return render_all(values, release, namespace, **options).objects


class StrictLoader(yaml.SafeLoader):
    """Refuses a key that is there twice, as the API server's decoder does."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            name = self.construct_object(key, deep=True)
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {name!r}", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)


def main():
    parser = argparse.ArgumentParser(description="What `helm template` prints for charts/signet.")
    parser.add_argument("-f", "--values", action="append", default=[], metavar="FILE")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--release", default="signet")
    parser.add_argument("--namespace", "-n", default="signet-system")
    parser.add_argument("--kube-version", default="v1.20.2")
    parser.add_argument("--hooks", action="store_true", help="the hooks alone")
    parser.add_argument("--notes", action="store_true", help="NOTES.txt alone")
    given = parser.parse_args()
    try:
        made = render_all({}, given.release, given.namespace, given.kube_version, given.values, given.set)
    except ChartError as error:
        sys.exit(f"chart.py: {error}")
    if given.notes:
        print(made.notes)
    else:
        yaml.safe_dump_all(made.hooks if given.hooks else made.objects, sys.stdout, sort_keys=False, default_flow_style=False)


if __name__ == "__main__":
    main()
