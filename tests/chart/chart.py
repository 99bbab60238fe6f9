"""charts/signet, rendered by Helm (tests/cluster/clients.sh finds or fetches it).

    from chart import render
    objects = render({"devHsm": {"enabled": True}}, release="signet", namespace="signet-system")
"""
import contextlib
import json
import os
import pathlib
import subprocess
import tempfile

import yaml

from harness import client

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "charts/signet"


class ChartError(Exception):
    """What Helm refuses: the message is what its user reads."""


def helm(*words, check=True, **options):
    """Runs Helm without the settings, plugins and cluster of whoever runs the tests."""
    with tempfile.TemporaryDirectory() as home:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("HELM_") and k != "KUBECONFIG"}
        environment |= {"HELM_CONFIG_HOME": home, "HELM_CACHE_HOME": home, "HELM_DATA_HOME": home}
        done = subprocess.run([client("helm"), *map(str, words)], env=environment, capture_output=True, text=True, **options)
    if check and done.returncode != 0:
        raise ChartError(done.stderr.strip())
    return done


@contextlib.contextmanager
def values_file(values):
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(values or {}, file)
        file.flush()
        yield file.name


class Rendered:
    """What one release consists of, in Helm's order of installation."""

    def __init__(self, documents):
        def hook(each):
            return (each["metadata"].get("annotations") or {}).get("helm.sh/hook")
        self.objects = [each for each in documents if not hook(each)]
        self.hooks = sorted((each for each in documents if hook(each) == "post-delete"),
                            key=lambda each: int(each["metadata"]["annotations"]["helm.sh/hook-weight"]))
        self.tests = [each for each in documents if hook(each) == "test"]
        self.all = self.objects + self.hooks + self.tests
        assert len(self.all) == len(documents), "a hook of a kind that no test knows"


def render_all(values=None, release="signet", namespace="signet-system", kube_version="v1.20.2", files=(), api_versions=()):
    """-> Rendered. ChartError: what Helm refuses, by schema or by template."""
    with values_file(values) as last:
        words = [word for path in (*files, last) for word in ("-f", path)]
        words += [word for api in api_versions for word in ("--api-versions", api)]
        text = helm("template", release, CHART, "--namespace", namespace, "--kube-version", kube_version, *words).stdout
    return Rendered([each for each in yaml.load_all(text, Loader=StrictLoader) if each])


def render(values=None, release="signet", namespace="signet-system", **options):
    """The objects of `helm install RELEASE charts/signet -n NAMESPACE -f VALUES`, without hooks."""
    return render_all(values, release, namespace, **options).objects


def notes(values=None, namespace="signet-system"):
    """What `helm install` prints at its end."""
    with values_file(values) as file:
        done = helm("install", "signet", CHART, "--namespace", namespace, "-f", file, "--dry-run=client", "-o", "json")
    return json.loads(done.stdout)["info"]["notes"]


def schema():
    return json.loads((CHART / "values.schema.json").read_text())


class StrictLoader(yaml.CSafeLoader):
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
