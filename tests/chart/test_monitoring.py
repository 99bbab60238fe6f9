"""What the chart gives to a monitoring stack."""
import json
import re
import unittest

from chart import CHART, ROOT, render
from test_chart import PRODUCTION, one, pod, operator


class Monitoring(unittest.TestCase):
    def setUp(self):
        self.objects = render(files=[CHART / "ci/production-values.yaml"])

    def test_service_monitor_finds_the_metrics_service_alone(self):
        spec = one(self.objects, "ServiceMonitor")["spec"]
        found = [o["metadata"]["name"] for o in self.objects
                 if o["kind"] == "Service" and spec["selector"]["matchLabels"].items() <= o["metadata"]["labels"].items()]
        self.assertEqual(found, ["signet-operator"])
        self.assertEqual(spec["endpoints"][0]["port"], one(self.objects, "Service", "signet-operator")["spec"]["ports"][0]["name"])

    def test_alerts_are_about_metrics_that_exist(self):
        documented = set(re.findall(r"`(signet_[a-z_]+)`", (ROOT / "docs/metrics.md").read_text()))
        (group,) = one(self.objects, "PrometheusRule")["spec"]["groups"]
        self.assertGreaterEqual(len(group["rules"]), 10)
        for rule in group["rules"]:
            for metric in re.findall(r"signet_[a-z_]+", rule["expr"]):
                self.assertIn(re.sub("_(bucket|sum|count)$", "", metric), documented, rule["alert"])
            self.assertIn(rule["labels"]["severity"], ("warning", "critical"))
            self.assertTrue(rule["annotations"]["summary"] and rule["annotations"]["description"])
            self.assertEqual(rule["annotations"]["runbook_url"], f"https://runbooks.example.org/signet#{rule['alert']}")

    def test_templates_of_prometheus_arrive_untouched(self):
        text = json.dumps(one(self.objects, "PrometheusRule"))
        self.assertIn("{{ $labels.pod }}", text)
        self.assertNotIn("<no value>", text)

    def test_off_by_default(self):
        self.assertFalse([o for o in render(PRODUCTION) if o["apiVersion"].startswith("monitoring")])


if __name__ == "__main__":
    unittest.main()
