#!/usr/bin/python3
"""What charts/signet renders: with its example values, with values that must be refused, for old and new servers."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

import jsonschema
import yaml

import chart
from chart import CHART, ROOT, ChartError, render, render_all

BIN = pathlib.Path(os.environ.get("SIGNET_BIN", ROOT / "build/bin"))
CI = sorted((CHART / "ci").glob("*-values.yaml"))
DEV = {"devHsm": {"enabled": True}}
PRODUCTION = {"hsm": {"module": "/opt/vendor/libpkcs11.so", "pinSecret": {"name": "hsm-pin"}}}
CLUSTER_SCOPED = {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "SigningPolicy"}


def one(objects, kind, name=None):
    found = [o for o in objects if o["kind"] == kind and name in (None, o["metadata"]["name"])]
    assert len(found) == 1, f"{len(found)} objects {kind} {name or ''}"
    return found[0]


def named(things, name):
    return next(t for t in things if t["name"] == name)


def pod(objects):
    return one(objects, "StatefulSet")["spec"]["template"]["spec"]


def operator(objects):
    return named(pod(objects)["containers"], "operator")


def check_policy(policy):
    crd = yaml.safe_load((ROOT / "crds/signingpolicies.signet.dev.yaml").read_text())
    jsonschema.validate(policy, crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"])


class Lint(unittest.TestCase):
    def test_helm_lint_strict_is_content_with_every_example(self):
        for path in CI:
            with self.subTest(path=path.name):
                done = chart.helm("lint", "--strict", CHART, "-f", path)
                self.assertIn("0 chart(s) failed", done.stdout)

    def test_helm_lint_sees_a_mistake(self):
        with tempfile.TemporaryDirectory() as folder:
            broken = pathlib.Path(folder) / "signet"
            shutil.copytree(CHART, broken)
            (broken / "templates/broken.yaml").write_text("a: {{ .Values.noSuchValue.name }}\n")
            done = chart.helm("lint", "--strict", broken, "-f", CI[0], check=False)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("noSuchValue", done.stdout + done.stderr)

    def test_a_package_of_the_chart_renders_the_same(self):
        with tempfile.TemporaryDirectory() as folder:
            chart.helm("package", CHART, "--destination", folder)
            (package,) = pathlib.Path(folder).glob("signet-*.tgz")
            self.assertEqual(chart.helm("template", "signet", package, "-f", CI[0]).stdout, chart.helm("template", "signet", CHART, "-f", CI[0]).stdout)

    def test_a_key_that_is_there_twice_is_seen(self):
        with self.assertRaises(yaml.YAMLError):
            yaml.load("{a: 1, a: 2}", Loader=chart.StrictLoader)

    def test_servers_that_are_too_old_are_refused(self):
        with self.assertRaisesRegex(ChartError, "1.20"):
            render(DEV, kube_version="v1.19.16")


class Values(unittest.TestCase):
    def refused(self, values, *words):
        with self.assertRaises(ChartError) as caught:
            render(values)
        for word in words:
            self.assertIn(word, str(caught.exception).replace("/", "."))  # 4 says /hsm/workers, 3 hsm.workers

    def test_every_example_is_accepted(self):
        self.assertGreaterEqual(len(CI), 3)
        for path in CI:
            for version in ("v1.20.2", "v1.24.0", "v1.33.1", "v1.36.0"):
                with self.subTest(path=path.name, version=version):
                    self.assertTrue(render(files=[path], kube_version=version))

    def test_every_default_is_in_the_schema(self):
        def walk(values, schema, where):
            for name, value in values.items():
                self.assertIn(name, schema.get("properties", {}), f"{where}{name} is not in values.schema.json")
                if isinstance(value, dict) and "properties" in schema["properties"][name]:
                    walk(value, schema["properties"][name], f"{where}{name}.")
        walk(yaml.safe_load((CHART / "values.yaml").read_text()), chart.schema(), "")

    def test_the_schema_has_nothing_without_a_default(self):
        def walk(schema, values, where):
            for name, below in schema.get("properties", {}).items():
                self.assertIn(name, values, f"{where}{name} is not in values.yaml")
                if "properties" in below and below.get("type") == "object" and values[name]:
                    if name not in ("updateStrategy", "resources", "startupProbe", "livenessProbe", "readinessProbe"):
                        walk(below, values[name], f"{where}{name}.")
        walk(chart.schema(), yaml.safe_load((CHART / "values.yaml").read_text()), "")

    def test_typing_errors_are_refused(self):
        for values, word in [
            ({"devHsm": {"enabld": True}}, "enabld"),
            ({"replicas": 2}, "replicas"),
            ({"replicaCount": 0}, "replicaCount"),
            ({"replicaCount": "2"}, "replicaCount"),
            ({"image": {"digest": "sha256:123"}}, "image.digest"),
            ({"image": {"repository": "signet:latest"}}, "image.repository"),
            ({"audit": {"durability": "maybe"}}, "audit.durability"),
            ({"hsm": {"module": "libpkcs11.so"}}, "hsm.module"),
            ({"hsm": {"workers": 17}}, "hsm.workers"),
            ({"hsm": {"pin": "1234"}}, "pin"),
            ({"hsm": {"tokens": [{"uri": "pkcs11:token=a?pin-value=1234", "pinSecret": {"name": "a"}}]}}, "hsm.tokens"),
            ({"hsm": {"tokens": [{"uri": "pkcs11:token=a"}]}}, "pinSecret"),
            ({"gateway": {"url": "http://signer"}}, "gateway.url"),
            ({"persistence": {"size": "2 GB"}}, "persistence.size"),
            ({"extraArgs": ["log-level=debug"]}, "extraArgs"),
            ({"logLevel": "trace"}, "logLevel"),
        ]:
            with self.subTest(values=values):
                self.refused({**DEV, **values} if "devHsm" not in values else values, "schema", word)

    def test_no_hsm_is_refused_with_the_next_step(self):
        self.refused({}, "which HSM", "hsm.module", "devHsm.enabled=true")

    def test_no_pin_is_refused_with_the_next_step(self):
        self.refused({"hsm": {"module": "/m.so"}}, "where is the PIN", "kubectl create secret")

    def test_dev_hsm_goes_with_no_other_hsm(self):
        for hsm in ({"module": "/m.so"}, {"pinSecret": {"name": "x"}}, {"tokenLabel": "x"},
                    {"tokens": [{"uri": "pkcs11:token=a", "pinSecret": {"name": "a"}}]}):
            with self.subTest(hsm=hsm):
                self.refused({**DEV, "hsm": hsm}, "devHsm is for a first try")

    def test_dev_hsm_is_shared_by_replicas_or_refused(self):
        self.refused({**DEV, "replicaCount": 2}, "replicaCount=1", "ReadWriteMany")
        self.refused({"devHsm": {"enabled": True, "persistence": {"enabled": False}}, "replicaCount": 2}, "keys of its own")
        for persistence in ({"accessModes": ["ReadWriteMany"]}, {"existingClaim": "shared"}):
            objects = render({"devHsm": {"enabled": True, "persistence": persistence}, "replicaCount": 2})
            self.assertEqual(one(objects, "StatefulSet")["spec"]["replicas"], 2)

    def test_dev_hsm_alone_is_one_replica_and_production_two(self):
        self.assertEqual(one(render(DEV), "StatefulSet")["spec"]["replicas"], 1)
        self.assertEqual(one(render(PRODUCTION), "StatefulSet")["spec"]["replicas"], 2)

    def test_contradictions_are_refused(self):
        self.refused({"hsm": {"module": "/m.so", "pinSecret": {"name": "x"}, "pinFile": "/x"}}, "not both")
        self.refused({**DEV, "gateway": {"enabled": False}}, "injection.enabled=false")
        self.refused({**DEV, "approvalRoots": {"configMap": "a", "secret": "b"}}, "not both")
        self.refused({"hsm": {"module": "/m.so", "pinSecret": {"name": "x"},
                              "tokens": [{"uri": "pkcs11:token=a", "pinSecret": {"name": "a"}}]}}, "in place of")


class Objects(unittest.TestCase):
    def test_labels_namespaces_and_names(self):
        for path in CI:
            made = render_all(files=[path], release="rel", namespace="ns")
            seen = set()
            for each in made.all:
                meta = each["metadata"]
                with self.subTest(path=path.name, kind=each["kind"], name=meta["name"]):
                    if each["kind"] in CLUSTER_SCOPED:
                        self.assertNotIn("namespace", meta)
                    else:
                        self.assertEqual(meta["namespace"], "ns")
                    self.assertNotIn((each["kind"], meta["name"]), seen)
                    seen.add((each["kind"], meta["name"]))
                    if meta["name"] != "hsm-client":  # an extraObject
                        labels = meta["labels"]
                        self.assertEqual(labels["app.kubernetes.io/instance"], "rel")
                        self.assertEqual(labels["app.kubernetes.io/managed-by"], "Helm")
                        self.assertRegex(labels["helm.sh/chart"], r"^signet-\d")

    def test_common_labels_are_on_everything(self):
        made = render_all({**DEV, "replicaCount": 1, "global": {"commonLabels": {"team": "platform"}}})
        for each in made.all:
            self.assertEqual(each["metadata"]["labels"]["team"], "platform", each["kind"])

    def test_selectors_find_the_pods_and_no_others(self):
        for path in CI:
            made = render_all(files=[path])
            template = one(made.objects, "StatefulSet")["spec"]["template"]["metadata"]["labels"]
            others = [one(made.hooks, "Job")["spec"]["template"]["metadata"]["labels"], one(made.tests, "Pod")["metadata"]["labels"]]
            selectors = [(o["kind"], o["spec"]["selector"]) for o in made.objects if o["kind"] == "Service"]
            selectors += [(o["kind"], o["spec"].get("selector", o["spec"].get("podSelector"))["matchLabels"])
                          for o in made.objects if o["kind"] in ("StatefulSet", "PodDisruptionBudget", "NetworkPolicy")]
            self.assertGreaterEqual(len(selectors), 4)
            for kind, selector in selectors:
                self.assertLessEqual(selector.items(), template.items(), kind)
                for labels in others:
                    self.assertFalse(selector.items() <= labels.items(), kind)

    def test_a_service_for_each_port(self):
        objects = render(PRODUCTION)
        ports = {p["name"]: p["containerPort"] for p in operator(objects)["ports"]}
        self.assertEqual(ports, {"gateway": 8443, "webhook": 9443, "metrics": 8080})
        for name, port, target in (("signet-gateway", 443, "gateway"), ("signet-webhook", 443, "webhook"),
                                   ("signet-operator", 8080, "metrics")):
            (only,) = one(objects, "Service", name)["spec"]["ports"]
            self.assertEqual((only["port"], only["targetPort"]), (port, target))
        self.assertEqual(one(objects, "Service", "signet-operator")["spec"]["clusterIP"], "None")
        self.assertEqual(one(objects, "StatefulSet")["spec"]["serviceName"], "signet-operator")

    def test_admission_does_not_wait_for_the_hsm_and_signing_does(self):
        objects = render(PRODUCTION)
        self.assertTrue(one(objects, "Service", "signet-webhook")["spec"]["publishNotReadyAddresses"])
        self.assertNotIn("publishNotReadyAddresses", one(objects, "Service", "signet-gateway")["spec"])

    def test_crds_are_the_same_text(self):
        source = {p.name: p.read_text() for p in (ROOT / "crds").glob("*.yaml")}
        copied = {p.name: p.read_text() for p in (CHART / "files/crds").glob("*.yaml")}
        self.assertEqual(source, copied, "run: cp crds/*.yaml charts/signet/files/crds/")

    def test_crds_are_rendered_whole_and_kept(self):
        for version in ("v1.25.0", "v1.36.0"):
            self.check_crds(version, wanted=lambda crd: crd)

    def test_crds_for_servers_before_cel_are_whole_but_for_its_rules(self):
        # Helm refuses to send those: "unknown field x-kubernetes-validations".
        def without_rules(part):
            if isinstance(part, dict):
                return {name: without_rules(below) for name, below in part.items() if name != "x-kubernetes-validations"}
            return [without_rules(each) for each in part] if isinstance(part, list) else part
        for version in ("v1.20.2", "v1.24.17-eks-1"):
            self.check_crds(version, wanted=without_rules)

    def check_crds(self, version, wanted):
        for keep in (True, False):
            rendered = {o["metadata"]["name"]: o for o in render({**DEV, "crds": {"keep": keep}}, kube_version=version)
                        if o["kind"] == "CustomResourceDefinition"}
            self.assertEqual(len(rendered), 3)
            for path in (ROOT / "crds").glob("*.yaml"):
                source = yaml.safe_load(path.read_text())
                made = rendered[source["metadata"]["name"]]
                annotations = made["metadata"].pop("annotations", {})
                self.assertEqual(annotations, {"helm.sh/resource-policy": "keep"} if keep else {})
                made["metadata"].pop("labels")
                self.assertEqual(made, wanted(source))

    def test_crds_can_be_left_out(self):
        self.assertFalse([o for o in render({**DEV, "crds": {"install": False}}) if o["kind"] == "CustomResourceDefinition"])

    def test_versions_follow_the_server(self):
        for version, api in (("v1.20.2", "policy/v1beta1"), ("v1.21.0", "policy/v1"), ("v1.33.0-eks-1", "policy/v1")):
            self.assertEqual(one(render(PRODUCTION, kube_version=version), "PodDisruptionBudget")["apiVersion"], api)
        self.assertNotIn("minReadySeconds", one(render({**PRODUCTION, "minReadySeconds": 9}), "StatefulSet")["spec"])
        self.assertEqual(one(render({**PRODUCTION, "minReadySeconds": 9}, kube_version="v1.25.0"), "StatefulSet")["spec"]["minReadySeconds"], 9)
        for version, field in (("v1.20.2", "exec"), ("v1.29.9", "exec"), ("v1.30.0", "sleep")):
            self.assertIn(field, operator(render(PRODUCTION, kube_version=version))["lifecycle"]["preStop"])

    def test_replicas_do_not_wait_for_each_other(self):
        # Ready means that signing works: with OrderedReady one replica whose HSM is away would keep the others from starting.
        self.assertEqual(one(render(PRODUCTION), "StatefulSet")["spec"]["podManagementPolicy"], "Parallel")

    def test_no_budget_for_one_replica(self):
        self.assertFalse([o for o in render(DEV) if o["kind"] == "PodDisruptionBudget"])

    def test_no_secret_is_made(self):
        for path in CI:
            self.assertFalse([o for o in render(files=[path]) if o["kind"] == "Secret"])

    def test_network_policy_is_on_by_default_and_opens_our_ports_alone(self):
        for objects in (render(DEV), render(PRODUCTION)):
            spec = one(objects, "NetworkPolicy")["spec"]
            self.assertEqual(spec["policyTypes"], ["Ingress"])
            rules = {rule["ports"][0]["port"]: rule for rule in spec["ingress"]}
            self.assertEqual(list(rules), ["gateway", "webhook", "metrics"])
            self.assertTrue(all(len(rule["ports"]) == 1 for rule in spec["ingress"]))
            self.assertEqual(rules["gateway"]["from"][0], {"namespaceSelector": {}})  # pods, and what comes from outside not
            self.assertNotIn("from", rules["webhook"])  # API servers have addresses that nobody knows here
            self.assertEqual(rules["metrics"]["from"], [{"namespaceSelector": {"matchLabels": {"signet.dev/metrics": "true"}}}])
        egress = [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]
        limited = one(render({**DEV, "networkPolicy": {"egress": egress}}), "NetworkPolicy")["spec"]
        self.assertEqual((limited["policyTypes"], limited["egress"]), (["Ingress", "Egress"], egress))

    def test_network_policy_without_scrapers_opens_no_metrics(self):
        spec = one(render({**DEV, "networkPolicy": {"metricsFrom": []}}), "NetworkPolicy")["spec"]
        self.assertEqual([rule["ports"][0]["port"] for rule in spec["ingress"]], ["gateway", "webhook"])

    def test_network_policy_lets_helm_test_reach_the_gateway(self):
        made = render_all(files=[CHART / "ci/production-values.yaml"])
        (gateway,) = [rule for rule in one(made.objects, "NetworkPolicy")["spec"]["ingress"] if rule["ports"][0]["port"] == "gateway"]
        self.assertEqual(gateway["from"][0]["namespaceSelector"], {"matchLabels": {"signet.dev/inject": "true"}})
        labels = one(made.tests, "Pod")["metadata"]["labels"]
        self.assertLessEqual(gateway["from"][1]["podSelector"]["matchLabels"].items(), labels.items())

    def test_metrics_are_guarded_by_policy_or_token(self):
        with self.assertRaisesRegex(ChartError, "metrics name policies.*metrics.tokenSecret.name"):
            render({**DEV, "networkPolicy": {"enabled": False}})
        objects = render({**DEV, "networkPolicy": {"enabled": False}, "metrics": {"tokenSecret": {"name": "scrape", "key": "t"}},
                          "prometheus": {"serviceMonitor": {"enabled": True}}})
        folder = named(operator(objects)["volumeMounts"], "metrics-token")
        self.assertNotIn("subPath", folder)  # or a new token would never arrive
        self.assertIn(f"--metrics-token-file={folder['mountPath']}/token", operator(objects)["args"])
        secret = named(pod(objects)["volumes"], "metrics-token")["secret"]
        self.assertEqual((secret["secretName"], secret["items"]), ("scrape", [{"key": "t", "path": "token"}]))
        self.assertEqual(one(objects, "ServiceMonitor")["spec"]["endpoints"][0]["authorization"], {"credentials": {"name": "scrape", "key": "t"}})

    def test_uninstall_takes_the_webhooks_away_with_no_more_right_than_that(self):
        made = render_all(DEV)
        self.assertEqual([h["kind"] for h in made.hooks], ["ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Job"])
        for hook in made.hooks:
            self.assertEqual(hook["metadata"]["annotations"]["helm.sh/hook"], "post-delete")
        self.assertEqual(one(made.hooks, "ClusterRole")["rules"], [{
            "apiGroups": ["admissionregistration.k8s.io"], "resources": ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"],
            "resourceNames": ["signet.dev"], "verbs": ["delete"]}])
        self.assertFalse(render_all({**DEV, "uninstallHook": {"enabled": False}}).hooks)


class Workload(unittest.TestCase):
    def test_every_flag_is_one_that_the_operator_has(self):
        known = subprocess.run([BIN / "signet-operator", "--help"], capture_output=True, text=True, check=True).stdout
        flags = set(re.findall(r"--[a-z0-9-]+", known))
        for path in CI:
            container = operator(render(files=[path]))
            for word in container["args"]:
                self.assertIn(word.split("=")[0], flags, f"signet-operator has no {word}")
            self.assertEqual(len({w.split("=")[0] for w in container["args"] if not w.startswith("--gateway-name")}),
                             len([w for w in container["args"] if not w.startswith("--gateway-name")]), "a flag is there twice")

    def test_every_command_is_one_that_the_operator_has(self):
        made = render_all(DEV)
        commands = [named(pod(made.objects)["initContainers"], "dev-hsm")["command"],
                    operator(made.objects)["readinessProbe"]["exec"]["command"],
                    one(made.hooks, "Job")["spec"]["template"]["spec"]["containers"][0]["command"]]
        listed = subprocess.run([BIN / "signet-operator", "--help"], capture_output=True, text=True, check=True).stdout
        for program, command, *rest in commands:
            self.assertEqual(program, "/usr/bin/signet-operator")
            self.assertRegex(listed, rf"(?m)^  {command} ")
            done = subprocess.run([BIN / "signet-operator", command, "--help"], capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, f"signet-operator {command}: {done.stderr}")
            for word in rest:
                if word.startswith("--"):
                    self.assertIn(word.split("=")[0], done.stdout)

    def test_the_configuration_is_one_that_the_operator_reads(self):
        config = one(render(files=[CHART / "ci/tokens-values.yaml"]), "ConfigMap")["data"]["operator.yaml"]
        parsed = yaml.safe_load(config)
        self.assertEqual([t["pinFile"] for t in parsed["hsm"]["tokens"]],
                         ["/run/secrets/signet/token-0/pin", "/run/secrets/signet/token-1/pin"])
        self.assertEqual((parsed["hsm"]["signTimeout"], parsed["policies"]["maxAge"]), ("20s", "5m"))
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(config)
            file.flush()
            # No such token here: everything but that is fine. A key that is unknown would be refused by name, with 3, before.
            done = subprocess.run([BIN / "signet-operator", "check", "--config", file.name, "--pkcs11-module", "/nonexistent.so"],
                                  capture_output=True, text=True)
            self.assertIn("nonexistent.so", done.stdout + done.stderr)
            self.assertNotIn("unknown", done.stderr)

    def test_a_changed_configuration_restarts_the_pods(self):
        def checksum(age):
            values = {**PRODUCTION, "config": {"policies": {"maxAge": age}}}
            return one(render(values), "StatefulSet")["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
        self.assertNotEqual(checksum("1m"), checksum("2m"))

    def test_large_numbers_stay_numbers(self):
        args = operator(render({**DEV, "gateway": {"ratePerSecond": 1000000}}))["args"]  # Go prints the float that YAML gives as 1e+06
        self.assertIn("--gateway-rate=1000000", args)

    def test_texts_that_look_like_something_else_stay_texts(self):
        values = {"hsm": {"module": "/m.so", "tokenLabel": "a: b # c", "pinSecret": {"name": "1234", "key": "007"}},
                  "approvalRoots": {"configMap": "true"}}
        objects = render(values)
        self.assertIn("--token=a: b # c", operator(objects)["args"])
        secret = named(pod(objects)["volumes"], "pin")["secret"]
        self.assertEqual((secret["secretName"], secret["items"][0]["key"]), ("1234", "007"))
        self.assertEqual(named(pod(objects)["volumes"], "approval-roots")["configMap"]["name"], "true")

    def test_mounts_and_volumes_fit(self):
        for path in CI:
            made = render_all(files=[path])
            spec = pod(made.objects)
            volumes = [v["name"] for v in spec["volumes"]]
            volumes += [c["metadata"]["name"] for c in one(made.objects, "StatefulSet")["spec"].get("volumeClaimTemplates", [])]
            self.assertEqual(len(volumes), len(set(volumes)))
            mounted = {m["name"] for c in spec["containers"] + spec.get("initContainers", []) for m in c.get("volumeMounts", [])}
            self.assertEqual(mounted, set(volumes), path.name)

    def test_pin_is_a_file_that_the_operator_and_nobody_else_reads(self):
        objects = render(PRODUCTION)
        spec, container = pod(objects), operator(objects)
        secret = named(spec["volumes"], "pin")["secret"]
        self.assertEqual((secret["secretName"], secret["defaultMode"]), ("hsm-pin", 0o440))
        self.assertEqual(secret["items"], [{"key": "pin", "path": "pin"}])
        self.assertEqual(spec["securityContext"]["fsGroup"], 65532)
        folder = named(container["volumeMounts"], "pin")
        self.assertNotIn("subPath", folder)  # or a new PIN would never arrive
        self.assertIn(f"--pin-file={folder['mountPath']}/pin", container["args"])

    def test_every_container_is_confined(self):
        for path in CI:
            made = render_all(files=[path])
            for spec in (pod(made.objects), one(made.hooks, "Job")["spec"]["template"]["spec"], one(made.tests, "Pod")["spec"]):
                self.assertTrue(spec["securityContext"]["runAsNonRoot"])
                self.assertEqual(spec["securityContext"]["runAsUser"], 65532)
                self.assertEqual(spec["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
                for container in spec["containers"] + spec.get("initContainers", []):
                    context = container["securityContext"]
                    self.assertFalse(context["allowPrivilegeEscalation"], container["name"])
                    self.assertEqual(context["capabilities"]["drop"], ["ALL"], container["name"])
                    if container["name"] != "vendor-module":
                        self.assertTrue(context["readOnlyRootFilesystem"], container["name"])

    def test_pin_from_a_file_of_another_volume(self):
        objects = render({"hsm": {"module": "/m.so", "pinFile": "/mnt/secrets/pin"}})
        self.assertIn("--pin-file=/mnt/secrets/pin", operator(objects)["args"])
        self.assertNotIn("pin", [v["name"] for v in pod(objects)["volumes"]])

    def test_record_and_state_are_on_the_volume_of_the_replica(self):
        objects = render(PRODUCTION)
        data = named(operator(objects)["volumeMounts"], "data")["mountPath"]
        for flag in ("--audit=", "--state-dir="):
            (value,) = [a.split("=")[1] for a in operator(objects)["args"] if a.startswith(flag)]
            self.assertTrue(value.startswith(data + "/"))
        self.assertEqual([c["metadata"]["name"] for c in one(objects, "StatefulSet")["spec"]["volumeClaimTemplates"]], ["data"])
        self.assertNotIn("volumeClaimTemplates", one(render({**PRODUCTION, "persistence": {"enabled": False}}), "StatefulSet")["spec"])

    def test_probes(self):
        container = operator(render(PRODUCTION))
        address = "--health=127.0.0.1:8081"
        self.assertIn(address, container["args"])
        for name in ("livenessProbe", "startupProbe"):  # out of the network's reach: a flood must not restart the operator
            self.assertEqual(container[name]["exec"]["command"], ["/usr/bin/signet-operator", "probe", "--live", address])
        self.assertEqual(container["readinessProbe"]["exec"]["command"], ["/usr/bin/signet-operator", "probe", address])

    def test_api_servers_may_have_to_show_a_certificate(self):
        spec = pod(render({**PRODUCTION, "webhook": {"clientCA": {"configMap": "apiserver-ca", "key": "root.pem"}}}))
        container = named(spec["containers"], "operator")
        self.assertIn("--webhook-client-ca=/etc/signet-webhook/ca.crt", container["args"])
        self.assertEqual(named(spec["volumes"], "webhook-client-ca")["configMap"],
                         {"name": "apiserver-ca", "items": [{"key": "root.pem", "path": "ca.crt"}]})
        self.assertEqual(named(container["volumeMounts"], "webhook-client-ca")["mountPath"], "/etc/signet-webhook")

    def test_it_has_time_to_drain(self):
        spec = pod(render({**PRODUCTION, "drainTimeout": 60, "preStopSeconds": 20}))
        self.assertGreater(spec["terminationGracePeriodSeconds"], 80)
        self.assertNotIn("lifecycle", operator(render({**PRODUCTION, "preStopSeconds": 0})))

    def test_image_by_digest_goes_before_the_tag(self):
        digest = "sha256:" + "a" * 64
        values = {**DEV, "image": {"registry": "r.example.org", "repository": "x/signet", "tag": "1", "digest": digest}}
        made = render_all(values)
        for container in pod(made.objects)["containers"] + pod(made.objects)["initContainers"]:
            self.assertEqual(container["image"], f"r.example.org/x/signet@{digest}")
        self.assertIn(f"--sidecar-image=r.example.org/x/signet@{digest}", operator(made.objects)["args"])
        self.assertEqual(operator(render(DEV))["image"], "signet:" + yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"])

    def test_a_vendor_module_comes_in(self):
        objects = render(files=[CHART / "ci/production-values.yaml"])
        self.assertEqual(named(pod(objects)["initContainers"], "vendor-module")["volumeMounts"][0]["name"], "vendor")
        self.assertIn("--pkcs11-module=/opt/vendor/lib/libpkcs11.so", operator(objects)["args"])
        self.assertIn({"name": "VENDOR_CONFIG", "value": "/etc/vendor/client.conf"}, operator(objects)["env"])
        self.assertEqual(one(objects, "ConfigMap", "hsm-client")["metadata"]["namespace"], "signet-system")

    def test_gateway_and_injection_can_be_off(self):
        objects = render({**DEV, "gateway": {"enabled": False}, "injection": {"enabled": False}})
        self.assertIn("--gateway=off", operator(objects)["args"])
        self.assertFalse([a for a in operator(objects)["args"] if a.startswith("--sidecar-image")])
        self.assertFalse([o for o in objects if o["metadata"]["name"] == "signet-gateway"])

    def test_spread_constraints_get_the_selector_of_the_pods(self):
        (only,) = pod(render(files=[CHART / "ci/production-values.yaml"]))["topologySpreadConstraints"]
        self.assertEqual(only["labelSelector"]["matchLabels"], one(render(PRODUCTION), "StatefulSet")["spec"]["selector"]["matchLabels"])


class Rights(unittest.TestCase):
    """The rights of the operator, one by one: a new one is a decision, and is added here by hand."""

    CLUSTER = [
        ("signet.dev", "signingpolicies signingrequests signingapprovals", None, "get list watch"),
        ("signet.dev", "signingrequests", None, "delete"),
        ("signet.dev", "signingpolicies/status signingrequests/status", None, "patch update"),
        (" events.k8s.io", "events", None, "create patch"),
        ("", "namespaces", None, "get list watch"),
        ("admissionregistration.k8s.io", "mutatingwebhookconfigurations validatingwebhookconfigurations", "signet.dev", "get update"),
        ("admissionregistration.k8s.io", "mutatingwebhookconfigurations validatingwebhookconfigurations", None, "create"),
        ("authentication.k8s.io", "tokenreviews", None, "create"),
        ("", "pods", None, "get"),
        ("", "namespaces", "kube-system signet-system", "patch"),
    ]
    NAMESPACE = [
        ("coordination.k8s.io", "leases", "signet-operator", "get update"),
        ("coordination.k8s.io", "leases", None, "create"),
        ("", "secrets", "signet-seal signet-webhook-tls signet-pin", "get update"),
        ("", "secrets", "signet-gateway-ca", "get"),
        ("", "secrets", None, "create"),
        ("", "configmaps", " ".join(["signet-gateway-ca"] + [f"signet-quota-{i:02x}" for i in range(32)]), "get update"),
        ("", "configmaps", None, "create"),
    ]

    @staticmethod
    def flat(role):
        return [(" ".join(r["apiGroups"]), " ".join(r["resources"]), " ".join(r["resourceNames"]) if "resourceNames" in r else None,
                 " ".join(r["verbs"])) for r in role["rules"]]

    def test_exactly_these(self):
        objects = render(PRODUCTION)
        self.assertEqual(self.flat(one(objects, "ClusterRole", "signet-operator")), self.CLUSTER)
        self.assertEqual(self.flat(one(objects, "Role")), self.NAMESPACE)

    def test_creating_is_guarded_where_the_api_server_can(self):
        """Issue 11, row 19: RBAC cannot name what is created; a policy does."""
        kind = "ValidatingAdmissionPolicy"
        self.assertFalse([o for o in render(PRODUCTION) if o["kind"].startswith(kind)])
        objects = render(PRODUCTION, namespace="elsewhere", api_versions=[f"admissionregistration.k8s.io/v1/{kind}"])
        guard, binding = one(objects, kind), one(objects, f"{kind}Binding")
        self.assertEqual(binding["spec"], {"policyName": guard["metadata"]["name"], "validationActions": ["Deny"]})
        self.assertEqual([c["expression"] for c in guard["spec"]["matchConditions"]],
                         ["request.userInfo.username == 'system:serviceaccount:elsewhere:signet-operator'"])
        self.assertEqual(guard["spec"]["failurePolicy"], "Fail")
        rules = guard["spec"]["matchConstraints"]["resourceRules"]
        self.assertTrue(all(rule["operations"] == ["CREATE"] and rule["apiVersions"] == ["v1"] for rule in rules))
        covered = {(group, resource) for rule in rules for group in rule["apiGroups"] for resource in rule["resources"]}
        role = one(objects, "Role")["rules"]
        self.assertEqual(covered, {(g, r) for rule in role if "create" in rule["verbs"] for g in rule["apiGroups"] for r in rule["resources"]})
        # Each kind has the names that the Role has for it. What has no name yet, as with generateName, is refused.
        named_only, types = (re.sub(r"\s+", " ", each["expression"]) for each in guard["spec"]["validations"])
        found = re.fullmatch(r"has\(object\.metadata\.name\) && object\.metadata\.name in "
                             r"\(request\.resource\.resource == 'configmaps' \? (\[[^]]*\]) : "
                             r"request\.resource\.resource == 'secrets' \? (\[[^]]*\]) : (\[[^]]*\])\)", named_only)
        self.assertIsNotNone(found, named_only)
        for resource, names in zip(("configmaps", "secrets", "leases"), found.groups()):
            allowed = {name for rule in role if resource in rule["resources"] for name in rule.get("resourceNames", [])}
            self.assertEqual(set(yaml.safe_load(names)), allowed, resource)
        # With neither type could the Secret hold another account's token.
        self.assertEqual(types, "request.resource.resource != 'secrets' || !has(object.type) || object.type in ['Opaque', 'kubernetes.io/tls']")

    def test_fewer_without_gateway_and_injection(self):
        objects = render({**DEV, "gateway": {"enabled": False}, "injection": {"enabled": False}})
        self.assertEqual(self.flat(one(objects, "ClusterRole", "signet-operator")), self.CLUSTER[:7])
        self.assertNotIn(("", "secrets", "signet-gateway-ca", "get"), self.flat(one(objects, "Role")))

    def test_bound_to_our_account_alone(self):
        objects = render(PRODUCTION, namespace="elsewhere")
        for kind in ("ClusterRoleBinding", "RoleBinding"):
            binding = one(objects, kind)
            self.assertEqual(binding["subjects"], [{"kind": "ServiceAccount", "name": "signet-operator", "namespace": "elsewhere"}])
            self.assertEqual(binding["roleRef"]["name"], "signet-operator")
        self.assertEqual(pod(objects)["serviceAccountName"], "signet-operator")
        self.assertFalse(one(objects, "ServiceAccount")["automountServiceAccountToken"])

    def test_user_roles_are_those_of_the_examples(self):
        wanted = {r["metadata"]["name"]: r for r in yaml.safe_load_all((ROOT / "examples/roles.yaml").read_text())}
        made = {o["metadata"]["name"]: o for o in render(DEV) if o["kind"] == "ClusterRole" and o["metadata"]["name"] != "signet-operator"}
        self.assertEqual(set(made), set(wanted))
        for name, role in wanted.items():
            self.assertEqual(made[name]["rules"], role["rules"])
            for label in role["metadata"].get("labels", {}):
                self.assertIn(label, made[name]["metadata"]["labels"])
        self.assertEqual(len([o for o in render({**DEV, "rbac": {"userRoles": False}}) if o["kind"] == "ClusterRole"]), 1)


class Documentation(unittest.TestCase):
    def test_notes_say_what_to_do_next(self):
        notes = chart.notes(DEV, namespace="ns")
        for text in ("devHsm keeps keys and PIN", "rollout status statefulset/signet-operator", "kind: SigningPolicy", 'signet.dev/inject: "true"',
                     "kubectl -n ns"):
            self.assertIn(text, notes)
        self.assertNotIn("WARNING", chart.notes(PRODUCTION))
        self.assertIn("deletes the CRDs", chart.notes({**DEV, "crds": {"keep": False}}))

    def test_the_policy_of_the_notes_fits_its_schema(self):
        policy = yaml.safe_load(re.search(r"<<END\n(.*?)\n *END\n", chart.notes(DEV), re.S).group(1))
        check_policy(policy)

    def test_values_in_the_documentation_are_accepted(self):
        found = 0
        for page in ("docs/install.md",):
            for text in re.findall(r"```yaml\n# values: [^\n]*\n(.*?)```", (ROOT / page).read_text(), re.S):
                with self.subTest(text=text):
                    self.assertTrue(render(yaml.safe_load(text)))
                found += 1
        self.assertGreaterEqual(found, 2)

    def test_manifests_of_the_pipelines_page_are_yaml(self):
        text = (ROOT / "docs/pipelines.md").read_text()
        blocks = re.findall(r"```yaml\n(.*?)```", text, re.S)
        self.assertGreaterEqual(len(blocks), 4)
        for block in blocks:
            for each in yaml.load_all(block, Loader=chart.StrictLoader):
                if each.get("kind") == "SigningPolicy":
                    check_policy(each)
        for flag in re.findall(r"^signet (sign|verify) .*$", text, re.M):
            self.assertIn(flag, ("sign", "verify"))


if __name__ == "__main__":
    unittest.main()
