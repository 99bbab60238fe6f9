#!/usr/bin/python3
"""Holds crds/ to what kubectl users and src/api expect.

- every field is described, every list and string is bounded, names and columns are there;
- every manifest in examples/ fits its schema and has no field the schema does not know;
- what is refused in words of our own is refused by a rule, not by a pattern or by oneOf, and no rule is too dear;
- rules refuse the characters of the table in src/base/printable.cpp, which the code refuses;
- the schemas decide the cases of tests/unit/api/cases.json as src/api does (tests/crds evaluates the rules over them).
Usage: check_crds.py [REPOSITORY]
"""
import copy
import json
import math
import pathlib
import re
import sys

import jsonschema
import yaml

LEAST = {
    "SigningPolicy": {"key": {"uri": "pkcs11:object=a"}, "algorithms": ["ECDSAWithSHA256"]},
    "SigningRequest": {"policyRef": {"name": "release"},
                       "digest": "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"},
    "SigningApproval": {"requestRef": {"name": "a", "uid": "1"}, "decision": "Approve"},
}
NAMES = {"SigningPolicy": ("sigpol", "Cluster"), "SigningRequest": ("sigreq", "Namespaced"), "SigningApproval": ("sigappr", "Namespaced")}
# Their messages name branches and expressions, not mistakes: "supported values: ECDSA" for an RSA key of a wrong size.
SPEECHLESS = ("oneOf", "anyOf", "allOf", "not", "pattern")
# Those of 1.25 that the rules use: a server refuses the whole CRD over a function that it does not know.
FUNCTIONS = {"all", "contains", "duration", "endsWith", "exists", "has", "matches", "size", "startsWith", "upperAscii"}
# apiextensions-apiserver adds up what rules may cost at worst, and refuses the CRD whose rules cost more.
MOST_OF_A_RULE, MOST_OF_A_CRD = 10_000_000, 100_000_000
# What the API server refuses in a structural schema.
FORBIDDEN = ("$ref", "definitions", "dependencies", "deprecated", "discriminator", "id", "patternProperties", "readOnly",
             "writeOnly", "uniqueItems", "propertyNames", "const")

problems = []


def problem(where, what):
    problems.append(f"{where}: {what}")


def check_description(schema, where):
    text = schema.get("description", "")
    if len(text) < 8 or not text.rstrip().endswith("."):
        problem(where, "needs a description in sentences")


def check_bounds(schema, where, in_rules):
    kind = schema.get("type")
    if kind == "array" and "maxItems" not in schema:
        problem(where, "a list needs maxItems (CEL's cost budget)")
    if kind == "array" and "x-kubernetes-list-type" not in schema:
        problem(where, "a list needs x-kubernetes-list-type")
    if "additionalProperties" in schema and ("maxProperties" not in schema or "properties" in schema):
        problem(where, "a map needs maxProperties and no properties")
    # Servers before 1.27 do not bound a string by its enum.
    if kind == "string" and "maxLength" not in schema and ("enum" not in schema or in_rules) and schema.get("format") != "date-time":
        problem(where, "a string needs maxLength (CEL's cost budget)")
    for word in FORBIDDEN:
        if word in schema:
            problem(where, f"{word} is not allowed in a structural schema")
    for rule in schema.get("x-kubernetes-validations", []):
        if not rule.get("rule") or not rule.get("message"):
            problem(where, "a CEL rule needs a message")
        called = re.findall(r"([A-Za-z]\w*)[(]", re.sub(r"r?'[^']*'", "", rule.get("rule", "")))
        for function in sorted(set(called) - FUNCTIONS):
            problem(where, f"{function}() is not in this check's list: does CEL in API servers of 1.25 know it?")
        for word in set(rule) - {"rule", "message"}:
            problem(where, f"{word} of a rule is not known to API servers before 1.28")


def check_words(schema, where):
    for word in SPEECHLESS:
        if word in schema:
            problem(where, f"{word} explains itself badly: use x-kubernetes-validations with a message of our own")


def matching_cost(schema, times):
    """At worst, of the rules that match the string `self`: a quarter of a unit for each character of the expression, for each
    ten bytes, of which a character has up to four. It is what the dearest rules cost; the others come to little."""
    for rule in schema.get("x-kubernetes-validations", []) if schema.get("type") == "string" else []:
        expressions = re.findall(r"self[.]matches[(]r?'([^']*)'[)]", rule["rule"])
        text = math.ceil((schema.get("maxLength", 1 << 40) * 4 + 1) / 10)
        yield times * sum(text * math.ceil(len(expression) / 4) + 3 for expression in expressions)


def all_costs(schema, where, times=1):
    yield from ((where, cost) for cost in matching_cost(schema, times))
    for name, child in schema.get("properties", {}).items():
        yield from all_costs(child, f"{where}.{name}", times)
    for word, most in (("items", "maxItems"), ("additionalProperties", "maxProperties")):
        if word in schema:
            yield from all_costs(schema[word], f"{where}[]", times * schema.get(most, math.inf))


def root_costs(schema):
    """The same for the rules at the root, which match `self.spec...` or, in a list, `each.name`."""
    for rule in schema.get("x-kubernetes-validations", []):
        for path, expression in re.findall(r"(\w[\w.]*)[.]matches[(]'([^']*)'[)]", rule["rule"]):
            looped = re.search(r"self[.]([\w.]+)[.]all[(]each, ", rule["rule"])
            steps = path.replace("each", looped[1] if looped else "?").removeprefix("self.").split(".")
            at, times = schema, 1
            for step in steps:
                at = at["properties"][step]
                times, at = (times * at["maxItems"], at["items"]) if at["type"] == "array" else (times, at)
            yield from matching_cost({"type": "string", "maxLength": at["maxLength"],
                                      "x-kubernetes-validations": [{"rule": f"self.matches('{expression}')"}]}, times)


def check_costs(schema, kind):
    costs = [*all_costs(schema, kind), *((kind, cost) for cost in root_costs(schema))]
    for where, cost in costs:
        if cost > MOST_OF_A_RULE:
            problem(where, f"the rule may cost {cost}, API servers take {MOST_OF_A_RULE} at most: shorten the expression or the bounds")
    if (total := sum(cost for _, cost in costs)) > MOST_OF_A_CRD:
        problem(kind, f"the rules may cost {total}, API servers take {MOST_OF_A_CRD} at most")


def harmful_classes(source):
    """The expressions that rules match texts with, of one line and of several, from the table of src/base/printable.cpp."""
    table = source.read_text().split("kHarmful")[1].split("}};")[0] + "}"
    ranges = [(int(first, 16), int(last, 16)) for first, last in re.findall(r"[{]0x(\w+), 0x(\w+)[}]", table)]

    def escape(point):
        return f"\\\\x{point:02x}" if point < 0x100 else f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"

    def members(some):
        return "".join(escape(first) + (f"-{escape(last)}" if last > first else "") for first, last in some)

    assert ranges[0] == (0x00, 0x1F), "the table begins with C0"
    lines = [(0x00, 0x08), (0x0B, 0x0C), (0x0E, 0x1F), *ranges[1:]]  # without tab, line feed and carriage return
    return f"[{members(ranges)}]", f"[{members(lines)}]|\\\\r([^\\\\n]|$)"


def check_harmful(schema, where, classes, found):
    for rule in schema.get("x-kubernetes-validations", []):
        for expression in re.findall(r"matches[(]'([^']*)'[)]", rule.get("rule", "")):
            if "\\u" in expression:
                found.append(expression)
                if expression not in classes:
                    problem(where, "the expression is not the table of src/base/printable.cpp")
    for name, child in (*schema.get("properties", {}).items(),
                        *((word, schema[word]) for word in ("items", "additionalProperties") if word in schema)):
        check_harmful(child, f"{where}.{name}", classes, found)


def check_schema(schema, where, top=False, in_rules=False, spoken=True):
    # Rules at the root name one field each: they compare no whole objects.
    in_rules = in_rules or ("x-kubernetes-validations" in schema and not top)
    check_description(schema, where)
    check_bounds(schema, where, in_rules)
    if spoken:
        check_words(schema, where)
    for name, child in schema.get("properties", {}).items():
        if top and name == "metadata":
            if set(child) != {"type"}:
                problem(f"{where}.metadata", "may hold its type only")
            continue
        if top and name in ("apiVersion", "kind"):
            check_description(child, f"{where}.{name}")
            continue
        # The status is written by the operator alone: nobody reads a message about it.
        check_schema(child, f"{where}.{name}", in_rules=in_rules, spoken=spoken and not (top and name == "status"))
    for word in ("items", "additionalProperties"):
        if word in schema:
            check_schema(schema[word], f"{where}[]", in_rules=in_rules, spoken=spoken)


def strict(schema):
    """The JSON Schema that means what the API server checks, list types included; unknown fields are errors."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    out = {key: strict(value) for key, value in schema.items() if key != "format"}
    if schema.get("x-kubernetes-list-type") == "set":
        out["uniqueItems"] = True
    return out


def unknown_fields(value, schema, where):
    if isinstance(value, dict) and "properties" in schema:
        for key, child in value.items():
            path = f"{where}.{key}".lstrip(".")
            if key in schema["properties"]:
                yield from unknown_fields(child, schema["properties"][key], path)
            else:
                yield path
    elif isinstance(value, list) and "items" in schema:
        for item in value:
            yield from unknown_fields(item, schema["items"], where + "[]")


def put(target, pointer, value):
    *parents, last = pointer.strip("/").split("/")
    for step in parents:
        target = target[int(step) if isinstance(target, list) else step]
    target[last] = value


def build(case):
    made = {"apiVersion": "signet.dev/v1alpha1", "kind": case["kind"], "metadata": {"name": "a"},
            "spec": copy.deepcopy(LEAST[case["kind"]])}
    for pointer in case.get("unset", []):
        *parents, last = pointer.strip("/").split("/")
        target = made
        for step in parents:
            target = target[step]
        del target[last]
    for pointer, value in case.get("set", {}).items():
        put(made, pointer, copy.deepcopy(value))
    for pointer, (text, times) in case.get("repeat", {}).items():
        put(made, pointer, text * times)
    for pointer, (item, times) in case.get("fill", {}).items():
        put(made, pointer, [copy.deepcopy(item) for _ in range(times)])
    return made


def check_cases(path, validators):
    cases = json.loads(path.read_text())
    for case in cases:
        accepted = validators[case["kind"]].is_valid(build(case))
        beyond = case.get("cel") or case.get("code_only")  # no plain schema can say it
        if "valid" in case and not accepted:
            error = jsonschema.exceptions.best_match(validators[case["kind"]].iter_errors(build(case)))
            problem(path.name, f"\"{case['what']}\" is valid in src/api, the CRD refuses it: {error.message[:200]}")
        if "valid" not in case and accepted and not beyond:
            problem(path.name, f"\"{case['what']}\" is refused by src/api, the CRD accepts it")
        if "valid" not in case and not accepted and case.get("cel"):
            problem(path.name, f"\"{case['what']}\" is marked cel, but the plain schema refuses it already")
    return len(cases)


def check_definition(path):
    crd = yaml.safe_load(path.read_text())
    names = crd["spec"]["names"]
    kind = names["kind"]
    if kind not in NAMES:
        problem(path.name, f"kind {kind} is unknown to this check: add its least object")
        return kind, None, None
    if crd["metadata"]["name"] != f"{names['plural']}.{crd['spec']['group']}" or path.name != crd["metadata"]["name"] + ".yaml":
        problem(path.name, "metadata.name and the file are named PLURAL.GROUP")
    if (names.get("shortNames"), crd["spec"]["scope"]) != ([NAMES[kind][0]], NAMES[kind][1]):
        problem(path.name, f"short name and scope must be {NAMES[kind]}")
    if names.get("categories") != ["signet"]:
        problem(path.name, "categories must be [signet]")
    version = crd["spec"]["versions"][0]
    has_status = "status" in version["schema"]["openAPIV3Schema"]["properties"]
    if has_status != ("status" in version.get("subresources", {})):
        problem(path.name, "a status needs the status subresource, and only a status")
    columns = [column["name"] for column in version["additionalPrinterColumns"]]
    for column in ("Ready", "Reason", "Age") if has_status else ("Age",):
        if column not in columns:
            problem(path.name, f"the printer column {column} is missing")
    schema = version["schema"]["openAPIV3Schema"]
    check_schema(schema, kind, top=True)
    check_costs(schema, kind)
    return kind, schema, jsonschema.Draft7Validator(strict(schema))


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    schemas, validators = {}, {}
    for path in sorted((root / "crds").glob("*.yaml")):
        kind, schema, validator = check_definition(path)
        if schema is not None:
            schemas[kind], validators[kind] = schema, validator
    samples = 0
    for path in sorted((root / "examples").rglob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            kind = (document or {}).get("kind")
            if kind not in validators:
                continue
            samples += 1
            where = path.relative_to(root)
            for error in validators[kind].iter_errors(document):
                problem(where, f"{'.'.join(map(str, error.absolute_path))}: {error.message[:200]}")
            for field in unknown_fields(document, schemas[kind], ""):
                problem(where, f"{field}: unknown field")
    found = []
    for kind, schema in schemas.items():
        check_harmful(schema, kind, harmful_classes(root / "src/base/printable.cpp"), found)
    if len(found) != 6:
        problem("crds", f"{len(found)} rules refuse what a terminal obeys, expected 6")
    if set(validators) != set(NAMES):
        problem("crds", f"expected {sorted(NAMES)}, found {sorted(validators)}")
    cases = check_cases(root / "tests/unit/api/cases.json", validators) if set(validators) == set(NAMES) else 0
    if samples < 6:
        problem("examples", f"only {samples} samples found")
    for line in problems:
        print(line)
    print(f"{len(validators)} CRDs, {samples} samples, {cases} cases, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
