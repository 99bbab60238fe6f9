"""The schemas of crds/ and the cases of tests/unit/api/cases.json, with what an API server answers to each."""
import json
import pathlib
import subprocess
import sys

import jsonschema
import yaml

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.append(str(ROOT / "tests/lint"))

from check_crds import LEAST, build, strict  # noqa: E402

DEFINITIONS = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "crds").glob("*.yaml"))]
SCHEMAS = {each["spec"]["names"]["kind"]: each["spec"]["versions"][0]["schema"]["openAPIV3Schema"] for each in DEFINITIONS}
CASES = json.loads((ROOT / "tests/unit/api/cases.json").read_text())


def least(kind, **spec):
    return {"apiVersion": "signet.dev/v1alpha1", "kind": kind, "metadata": {"name": "a"}, "spec": {**LEAST[kind], **spec}}


def words(case):
    """What a server with CEL says about the case in words of ours."""
    said = case.get("cel", [])
    return said if isinstance(said, list) else [said]


def fits(case):
    """Whether the schema without its rules takes it. Servers do not evaluate the rules of an object that it refuses."""
    return jsonschema.Draft7Validator(strict(SCHEMAS[case["kind"]])).is_valid(build(case))


def evaluate(changes):
    """[(kind, new object, old object or None), ...] -> for each what rules.mjs says."""
    folder = subprocess.run([HERE / "fetch.sh"], capture_output=True, text=True, check=True, timeout=400).stdout.strip()
    asked = [{"schema": SCHEMAS[kind], "object": new, **({"old": old} if old else {})} for kind, new, old in changes]
    done = subprocess.run(["node", HERE / "rules.mjs", folder], input=json.dumps(asked), capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    return json.loads(done.stdout)


def all_rules(schema):
    yield from (rule["rule"] for rule in schema.get("x-kubernetes-validations", []))
    for child in (*schema.get("properties", {}).values(), *(schema[word] for word in ("items", "additionalProperties") if word in schema)):
        yield from all_rules(child)
