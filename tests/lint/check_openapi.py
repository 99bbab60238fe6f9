#!/usr/bin/python3
"""Holds a running server to docs/openapi.yaml.

Sends every documented example, and what must be refused, to the socket; each response must have a documented status,
media type, the documented headers and a body that its schema accepts. The documented example responses are validated too.

Usage: check_openapi.py SOCKET [POLICY]     exit 0: the server keeps the contract; 1: it does not, a line each.
POLICY (default: release) must exist for the server's caller, with an ECDSA P-256 key and no artifact rules.
"""
import http.client
import json
import pathlib
import re
import socket
import sys

import jsonschema
import yaml

DOCUMENT = pathlib.Path(__file__).resolve().parents[2] / "docs/openapi.yaml"


class Connection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Contract:
    def __init__(self, document):
        self.document = document
        self.problems = []
        self.seen = set()  # (path, method, status)

    def fail(self, where, what):
        self.problems.append(f"{where}: {what}")

    def resolve(self, node):
        while isinstance(node, dict) and "$ref" in node:
            target = self.document
            for part in node["$ref"].removeprefix("#/").split("/"):
                target = target[part.replace("~1", "/").replace("~0", "~")]
            node = target
        return node

    def validate(self, where, schema, value):
        whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "components": self.document["components"]}
        for error in jsonschema.Draft202012Validator(whole).iter_errors(value):
            self.fail(where, f"{'/'.join(map(str, error.absolute_path)) or 'body'}: {error.message}")

    def operation(self, path, method):
        return self.document["paths"][path][method.lower()]

    def check(self, where, path, method, status, headers, body):
        """One response against the operation's documented responses."""
        responses = self.operation(path, method)["responses"]
        self.seen.add((path, method, status))
        if str(status) not in responses:
            return self.fail(where, f"status {status} is not documented: {body[:200]!r}")
        response = self.resolve(responses[str(status)])
        media = headers.get("content-type", "").split(";")[0].strip()
        if media not in response["content"]:
            return self.fail(where, f"media type {media!r} is not documented for {status}")
        for name, header in response.get("headers", {}).items():
            header = self.resolve(header)
            value = headers.get(name.lower())
            if value is None:
                if header.get("required"):
                    self.fail(where, f"{name} is missing")
                continue
            schema = header["schema"]
            self.validate(f"{where} {name}", schema, int(value) if schema.get("type") == "integer" else value)
        value = json.loads(body) if media.endswith("json") else body.decode()
        self.validate(where, response["content"][media]["schema"], value)
        if media == "application/problem+json":
            if value.get("status") != status:
                self.fail(where, f"the problem says {value.get('status')}, the response {status}")
            if ("retry-after" in headers) != (status in (429, 503)):
                self.fail(where, "Retry-After comes with 429 and 503 and only there")

    def check_examples(self):
        """The document's own examples fit the document's own schemas."""
        def content(where, media):
            for name, example in media.get("examples", {}).items():
                self.validate(f"{where} example {name}", media["schema"], example["value"])
            if "example" in media:
                self.validate(f"{where} example", media["schema"], media["example"])
        for path, methods in self.document["paths"].items():
            for method, operation in methods.items():
                for media in operation.get("requestBody", {}).get("content", {}).values():
                    content(f"{method} {path} request", media)
                for status, response in operation["responses"].items():
                    for media in self.resolve(response)["content"].values():
                        content(f"{method} {path} {status}", media)


class Driver:
    def __init__(self, contract, path, policy):
        self.contract = contract
        self.connection = Connection(path)
        self.policy = policy

    def call(self, path, method, body=None, headers=None, target=None, expect=None, note=""):
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Content-Type": "application/json"} if data is not None else {}
        where = f"{method} {path} {note}".strip()
        self.connection.request(method, target or path, body=data, headers={**sent, **(headers or {})})
        response = self.connection.getresponse()
        text = response.read()
        got = {name.lower(): value for name, value in response.getheaders()}
        if expect is not None and response.status != expect:
            self.contract.fail(where, f"status {response.status}, expected {expect}: {text[:300]!r}")
        self.contract.check(where, path, method, response.status, got, text)
        return response.status, got, text

    def named(self, value):
        return {**value, "policy": self.policy}

    def drive_examples(self):
        for path in ("/v1/sign", "/v1/sign/batch"):
            media = self.contract.operation(path, "POST")["requestBody"]["content"]["application/json"]
            for name, example in media["examples"].items():
                self.call(path, "POST", self.named(example["value"]), expect=200, note=f"example {name}")

    def drive_refusals(self):
        digest = "sha256:" + "0" * 64
        for note, body, status in [
            ("no body", b"", 400), ("not JSON", b"{", 400), ("unknown member", {"policy": self.policy, "digest": digest, "x": 1}, 400),
            ("no input", {"policy": self.policy}, 400), ("both inputs", {"policy": self.policy, "digest": digest, "message": ""}, 400),
            ("bad digest", {"policy": self.policy, "digest": "sha256:0"}, 400), ("p1363 for RSA", {
                "policy": self.policy, "digest": digest, "algorithm": "SHA256WithRSA", "encoding": "p1363"}, 400),
            ("unknown policy", {"policy": "no-such-policy", "digest": digest}, 403),
            ("other algorithm", {"policy": self.policy, "digest": digest, "algorithm": "SHA256WithRSA"}, 403),
            ("other hash", {"policy": self.policy, "digest": "sha512:" + "0" * 128}, 422),
            ("large message", {"policy": self.policy, "message": "A" * 90000}, 413), ("large body", b" " * (300 * 1024), 413),
        ]:
            self.call("/v1/sign", "POST", body, expect=status, note=note)
        self.call("/v1/sign", "POST", b"x", {"Content-Type": "text/plain"}, expect=415, note="text")
        self.call("/v1/sign/batch", "POST", {"policy": self.policy, "items": []}, expect=400, note="no items")
        self.call("/v1/sign/batch", "POST", {"policy": self.policy, "items": [{"message": ""}] * 257}, expect=400, note="257 items")
        self.call("/v1/sign/batch", "POST", {"policy": "no-such-policy", "items": [{"message": ""}]}, note="unknown policy")

    def drive_idempotency(self):
        body = {"policy": self.policy, "message": "aWRlbXBvdGVudA=="}
        key = {"Idempotency-Key": "check-openapi"}
        _, _, first = self.call("/v1/sign", "POST", body, key, expect=200, note="first of a key")
        _, headers, again = self.call("/v1/sign", "POST", body, key, expect=200, note="second of a key")
        if first != again or headers.get("idempotency-replayed") != "true":
            self.contract.fail("POST /v1/sign", "the same Idempotency-Key got another answer")
        self.call("/v1/sign", "POST", {**body, "message": ""}, key, expect=409, note="other body of a key")

        batch = {"policy": self.policy, "items": [{"message": "aWRlbXBvdGVudA=="}, {"message": ""}]}
        key = {"Idempotency-Key": "check-openapi-batch"}
        _, _, first = self.call("/v1/sign/batch", "POST", batch, key, expect=200, note="first of a key")
        _, headers, again = self.call("/v1/sign/batch", "POST", batch, key, expect=200, note="second of a key")
        if first != again or headers.get("idempotency-replayed") != "true":
            self.contract.fail("POST /v1/sign/batch", "the same Idempotency-Key got another answer")
        self.call("/v1/sign/batch", "POST", {**batch, "items": [{"message": ""}]}, key, expect=409, note="other body of a key")

    def drive_reads(self):
        _, _, text = self.call("/v1/keys", "GET", expect=200)
        if self.policy not in [key["policy"] for key in json.loads(text)["keys"]]:
            self.contract.fail("GET /v1/keys", f"policy {self.policy} is not listed")
        path = "/v1/keys/{policy}"
        self.call(path, "GET", target=f"/v1/keys/{self.policy}", expect=200, note="PEM")
        self.call(path, "GET", headers={"Accept": "application/json"}, target=f"/v1/keys/{self.policy}", expect=200, note="JSON")
        self.call(path, "GET", target="/v1/keys/no-such-policy", expect=403, note="unknown")
        self.call("/v1/pod", "GET", expect=404, note="the socket knows no pod")
        self.call("/v1/authorities", "GET", expect=404, note="the socket has no authority")
        self.call("/healthz", "GET", expect=200)
        self.call("/readyz", "GET", expect=200)

    def drive_undocumented(self):
        """404 and 405 belong to no operation; they are problems all the same."""
        problem = {"$ref": "#/components/schemas/Problem"}
        for method, target, expect in [("GET", "/v2", 404), ("GET", "/v1/sign", 405), ("PUT", "/v1/keys", 405)]:
            self.connection.request(method, target)
            response = self.connection.getresponse()
            text = response.read()
            if response.status != expect or (expect == 405 and not response.getheader("Allow")):
                self.contract.fail(f"{method} {target}", f"status {response.status}, Allow {response.getheader('Allow')}")
            self.contract.validate(f"{method} {target}", problem, json.loads(text))

    def drive_all(self):
        self.drive_examples()
        self.drive_refusals()
        self.drive_idempotency()
        self.drive_reads()
        self.drive_undocumented()


def main():
    if len(sys.argv) not in (2, 3):
        print(__doc__, file=sys.stderr)
        return 2
    contract = Contract(yaml.safe_load(DOCUMENT.read_text()))
    contract.check_examples()
    Driver(contract, sys.argv[1], sys.argv[2] if len(sys.argv) == 3 else "release").drive_all()
    for path, methods in contract.document["paths"].items():
        for method in methods:
            if not any(seen[:2] == (path, method.upper()) for seen in contract.seen):
                contract.fail(f"{method} {path}", "was never called")
    for problem in contract.problems:
        print(re.sub(r"\s+", " ", problem))
    print(f"{len(contract.seen)} kinds of response, {len(contract.problems)} problems")
    return 1 if contract.problems else 0


if __name__ == "__main__":
    sys.exit(main())
