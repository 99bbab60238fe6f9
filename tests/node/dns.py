#!/usr/bin/env python3
"""The cluster's name server: Services and the pods of headless ones, straight from the API server. A records over UDP.

dns.py --address ADDRESS --domain cluster.local --kubeconfig FILE
"""
import argparse
import base64
import json
import socket
import ssl
import struct
import sys
import time
import urllib.error
import urllib.request

import yaml

TTL = 1  # seconds: tests take Services away
A, ANY = 1, 255
NOT_FOUND, FAILED = 3, 2


class Api:
    def __init__(self, kubeconfig):
        with open(kubeconfig, encoding="utf-8") as stream:
            config = yaml.safe_load(stream)
        cluster = config["clusters"][0]["cluster"]
        self.server = cluster["server"]
        self.token = config["users"][0]["user"]["token"]
        self.tls = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())

    def get(self, path):
        """The object, or None when there is none."""
        request = urllib.request.Request(self.server + path, headers={"Authorization": f"Bearer {self.token}"})
        try:
            with urllib.request.urlopen(request, timeout=5, context=self.tls) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise


class Names:
    def __init__(self, api, domain):
        self.api, self.suffix, self.cache = api, domain.lower().split("."), {}

    def addresses(self, name):
        """Addresses of `name`; empty when it exists without any; None when it does not exist."""
        now = time.monotonic()
        if name not in self.cache or self.cache[name][0] < now:
            if len(self.cache) > 1000:
                self.cache.clear()
            self.cache[name] = (now + TTL, self.look_up(name))
        return self.cache[name][1]

    def look_up(self, name):
        labels = name.lower().split(".")
        if labels[-len(self.suffix):] == self.suffix:
            labels = labels[:-len(self.suffix)]
        if labels[-1:] != ["svc"] or len(labels) not in (3, 4):
            return None
        *host, service, namespace, _ = labels
        found = self.api.get(f"/api/v1/namespaces/{namespace}/services/{service}")
        if not found:
            return None
        cluster_ip = found["spec"].get("clusterIP", "")
        if cluster_ip != "None":
            return [cluster_ip] if cluster_ip and not host else None
        endpoints = self.api.get(f"/api/v1/namespaces/{namespace}/endpoints/{service}") or {}
        ready = [address for subset in endpoints.get("subsets") or [] for address in subset.get("addresses") or []]
        if found["spec"].get("publishNotReadyAddresses"):
            ready += [address for subset in endpoints.get("subsets") or [] for address in subset.get("notReadyAddresses") or []]
        if host:
            return [address["ip"] for address in ready if address.get("hostname") == host[0]] or None
        return [address["ip"] for address in ready]


def parse(query):
    """(id, flags, name, type, bytes of the question); ValueError for what is no single question."""
    number, flags, questions = struct.unpack_from(">HHH", query)
    if questions != 1 or flags & 0x8000:
        raise ValueError("not a question")
    labels, at = [], 12
    while query[at]:
        if query[at] > 63:
            raise ValueError("a compressed name in a question")
        labels.append(query[at + 1:at + 1 + query[at]].decode("ascii"))
        at += 1 + query[at]
    kind, _ = struct.unpack_from(">HH", query, at + 1)
    return number, flags, ".".join(labels), kind, query[12:at + 5]


def answer(names, query):
    number, flags, name, kind, question = parse(query)
    code, records = 0, b""
    try:
        found = names.addresses(name)
    except OSError as error:  # no API server: clients try again
        print(f"{name}: {error}", file=sys.stderr, flush=True)
        found, code = [], FAILED
    if found is None:
        found, code = [], NOT_FOUND
    if kind in (A, ANY):
        found = found[:30]  # what surely fits 512 bytes
        for address in found:
            records += struct.pack(">HHHIH", 0xC00C, A, 1, TTL, 4) + socket.inet_aton(address)
    count = len(records) // 16
    return struct.pack(">HHHHHH", number, 0x8480 | (flags & 0x0100) | code, 1, count, 0, 0) + question + records


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--address", required=True)
    parser.add_argument("--domain", required=True)
    parser.add_argument("--kubeconfig", required=True)
    options = parser.parse_args()
    names = Names(Api(options.kubeconfig), options.domain)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((options.address, 53))
        while True:
            query, client = server.recvfrom(4096)
            try:
                server.sendto(answer(names, query), client)
            except (ValueError, IndexError, UnicodeDecodeError, struct.error) as error:
                print(f"{client}: {error}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
