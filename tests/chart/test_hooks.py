#!/usr/bin/python3
"""What `helm test` makes for charts/signet."""
import subprocess
import unittest

from chart import render_all
from test_chart import BIN, DEV, PRODUCTION, check_policy, one


class HelmTest(unittest.TestCase):
    """What `helm test` makes; tests/node runs it."""

    def uri(self, values):
        return one(render_all(values).tests, "SigningPolicy")["spec"]["key"]["uri"]

    def test_its_key_is_on_the_token_that_the_operator_uses(self):
        for values, uri in (
                (DEV, "pkcs11:token=signet-dev;object=signet-test"),
                (PRODUCTION, "pkcs11:object=signet-test"),
                ({"hsm": {**PRODUCTION["hsm"], "tokenLabel": "a b;c/d"}}, "pkcs11:token=a%20b%3Bc%2Fd;object=signet-test"),
                ({"hsm": {"module": "/m.so", "tokens": [{"uri": "pkcs11:token=one;serial=1", "pinSecret": {"name": "a"}},
                                                         {"uri": "pkcs11:token=two", "pinSecret": {"name": "b"}}]}},
                 "pkcs11:token=one;serial=1;object=signet-test")):
            with self.subTest(uri=uri):
                self.assertEqual(self.uri(values), uri)

    def test_its_policy_fits_the_schema_and_names_its_account_alone(self):
        made = render_all(DEV, namespace="ns").tests
        policy = one(made, "SigningPolicy")
        check_policy(policy)
        account = one(made, "Pod")["spec"]["serviceAccountName"]
        self.assertEqual(policy["spec"]["subjects"], [{"kind": "ServiceAccount", "name": account, "namespace": "ns"}])
        self.assertEqual(one(made, "ServiceAccount")["metadata"]["name"], account)

    def test_a_policy_of_yours_makes_none(self):
        made = render_all({**DEV, "test": {"policy": "release"}}).tests
        self.assertEqual([each["kind"] for each in made], ["ServiceAccount", "Pod"])
        self.assertIn({"name": "SIGNET_POLICY", "value": "release"}, one(made, "Pod")["spec"]["containers"][0]["env"])

    def test_none_without_a_gateway_or_when_it_is_off(self):
        self.assertEqual(render_all({**DEV, "gateway": {"enabled": False}, "injection": {"enabled": False}}).tests, [])
        self.assertEqual(render_all({**DEV, "test": {"enabled": False}}).tests, [])

    def test_it_leaves_nothing_behind_when_it_has_passed(self):
        for each in render_all(DEV).tests:
            self.assertEqual(each["metadata"]["annotations"]["helm.sh/hook-delete-policy"], "before-hook-creation,hook-succeeded")

    def test_its_commands_have_the_flags_that_it_gives(self):
        (script,) = one(render_all(DEV).tests, "Pod")["spec"]["containers"][0]["command"][2:]
        seen = 0
        for line in script.splitlines():
            program, *words = line.split()
            if program not in ("signet", "signet-sidecar"):
                continue
            help_of = [BIN / program, "--help"] if program == "signet-sidecar" else [BIN / program, words[0], "--help"]
            known = subprocess.run(help_of, capture_output=True, text=True, check=True).stdout
            for word in words:
                if word.startswith("-"):
                    self.assertRegex(known, rf"(?m)(^|[\s,]){word}\b")
                    seen += 1
        self.assertGreaterEqual(seen, 7)


if __name__ == "__main__":
    unittest.main()
