#!/usr/bin/python3
"""The x-kubernetes-validations of crds/, evaluated over the cases of tests/unit/api/cases.json: a member `cel` of a case is what a
person reads on a server of 1.25 or later, one message or a list. test_server.py asks a real server."""
import unittest

from crds import CASES, SCHEMAS, all_rules, build, evaluate, fits, least, words


class Rules(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cases = [case for case in CASES if fits(case)]
        cls.answers = evaluate([(case["kind"], build(case), None) for case in cls.cases])

    def test_each_case_is_answered_in_the_words_it_lists_and_no_others(self):
        for case, answer in zip(self.cases, self.answers):
            with self.subTest(case["what"]):
                self.assertEqual([failed["message"] for failed in answer["failed"]], words(case))
                self.assertFalse([failed for failed in answer["failed"] if failed.get("problem")], "a rule that ends in an error has no words")
                self.assertTrue("cel" not in case or "valid" not in case)

    def test_each_case_is_answered_at_the_field_or_above_it(self):
        for case, answer in zip(self.cases, self.answers):
            for failed in answer["failed"]:
                with self.subTest(case["what"]):
                    path = case["path"].replace('["', ".").replace('"]', "")
                    self.assertTrue(path.startswith(failed["path"]) or failed["path"].startswith(path), failed["path"])

    def test_cases_that_list_words_are_left_to_the_rules(self):
        evaluated = {case["what"] for case in self.cases}
        self.assertEqual([case["what"] for case in CASES if "cel" in case and case["what"] not in evaluated], [])

    def test_each_rule_refuses_a_case_and_takes_one(self):
        refused = {(case["kind"], failed["rule"]) for case, answer in zip(self.cases, self.answers) for failed in answer["failed"]}
        taken = {(case["kind"], rule) for case, answer in zip(self.cases, self.answers) if "valid" in case for rule in answer["passed"]}
        rules = {(kind, rule) for kind, schema in SCHEMAS.items() for rule in all_rules(schema) if "oldSelf" not in rule}
        self.assertGreater(len(rules), 40)
        self.assertEqual(rules - refused, set(), "add a case to tests/unit/api/cases.json that it refuses")
        self.assertEqual(rules - taken, set(), "add a case to tests/unit/api/cases.json that it takes")

    def test_objects_with_a_status_may_have_texts_that_new_ones_may_not(self):
        """Before 1.30 a write of the status validates the spec as well. An object from before a rule must get its status."""
        odd = "a\u202eb"
        subjects = [{"kind": "User", "name": odd}]
        specs = [("SigningPolicy", {"description": odd, "subjects": subjects, "approvals": {"approvers": subjects}}, 3),
                 ("SigningRequest", {"requester": {"username": odd}}, 1)]
        for kind, spec, refusals in specs:
            new, old = least(kind, **spec), least(kind, **spec)
            with_status = {**new, "status": {"observedGeneration": 1}}
            created, written = evaluate([(kind, new, None), (kind, with_status, old)])
            with self.subTest(kind):
                self.assertEqual(len(created["failed"]), refusals, created)
                self.assertEqual(written["failed"], [])

    def test_requests_and_approvals_cannot_be_changed_and_policies_can(self):
        changes = {"SigningRequest": {"expiresAfter": "2h"}, "SigningApproval": {"comment": "x"}, "SigningPolicy": {"suspend": True}}
        updates = [(kind, least(kind, **change), least(kind)) for kind, change in changes.items()]
        updates += [(kind, least(kind), least(kind)) for kind in changes]
        said = [[failed["message"] for failed in answer["failed"]] for answer in evaluate(updates)]
        self.assertEqual(said, [["the spec of a SigningRequest is immutable, make a new request"],
                                ["a SigningApproval is immutable, make a new one"], [], [], [], []])


if __name__ == "__main__":
    unittest.main()
