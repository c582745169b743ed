"""Truth tables of policy on real packets, in the manner of cyclonus: nine pods and their nodes, every cell as the API's text says.

  tests/e2e/run.py --only test_policy_tables [--seed N]    on three nodes; 160 tables of 1,944 connections
  FAIRWAY_CASES=200 tests/e2e/run.py --only test_policy_tables
                                                           so many random cases of each sort, for a longer search

A cell that is wrong is shown with its table, the policies that are about its two ends, and the command that runs its case alone.
"""
import os
import random
import statistics

import policy_cases as cases
from policy_truth import matches, name_of
from policy_world import World, drawn

from lab import Case

SEED = int(os.environ.get("FAIRWAY_SEED", "20261129"))
MANY = int(os.environ.get("FAIRWAY_CASES", "0"))
SHOWN = 12


def about(world, pod):
    """The policies that are about a pod, as the API has them."""
    ns = {"kubernetes.io/metadata.name": pod["ns"], **world.namespaces[pod["ns"]]}
    for key, policy in world.policies.items():
        spec = policy["spec"]
        if policy["kind"] == "NetworkPolicy":
            mine = policy["metadata"]["namespace"] == pod["ns"] and matches(spec["podSelector"], pod["labels"])
        elif "namespaces" in spec["subject"]:
            mine = matches(spec["subject"]["namespaces"], ns)
        else:
            pods = spec["subject"]["pods"]
            mine = matches(pods.get("namespaceSelector") or {}, ns) and matches(pods["podSelector"], pod["labels"])
        if mine:
            yield key, policy


def explained(world, cells, wrong, how):
    import yaml
    out = [f"{len(wrong)} of {len(cells)} cells are wrong; {how}"] + [f"  {c}" for c in wrong[:SHOWN]]
    out += [drawn(world, cells, kind) for kind in dict.fromkeys(c.kind() for c in wrong[:3])]
    shown = {key: policy for c in wrong[:3] for end in (c.source, c.target) for key, policy in about(world, end)}
    out += [yaml.safe_dump(policy, sort_keys=False) for policy in shown.values()]
    out += [f"{name_of(p)} {p['node']} {' '.join(p['ips'])} {p['labels']}" for p in world.pods.values()]
    return "\n".join(out)


class Tables(Case):
    own_namespace = False

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        print(f"  seed {SEED}", flush=True)
        cls.world = World(cls.lab)
        cls.addClassCleanup(cls.world.close)
        cls.world.start()
        cls.addClassCleanup(cls.report)

    @classmethod
    def report(cls):
        for what, place in (("from kubectl's start", 0), ("from kubectl's end", 1)):
            ms = sorted(times[place] for times in cls.world.enforced_ms)
            print(f"  in force on all nodes, {what}: median {statistics.median(ms):.0f} ms, most {ms[-1]:.0f} ms, {len(ms)} changes", flush=True)
        slow = ", ".join(f"{number} {what}" for what, number in cls.world.slow.most_common())
        print(f"  {cls.world.tables} tables; slow, let in on the second try: {slow or 'none'}", flush=True)

    def setUp(self):
        self.world.reset()

    def parts(self, what):
        """Each case draws from a source of its own, so that it is the same when it runs alone."""
        return cases.Parts(self.world, random.Random(f"{SEED}/{what}"))

    def check(self, what, policies=None):
        if policies is not None:
            self.world.policies = policies
        self.world.sync()
        cells = self.world.table()
        wrong = [c for c in cells if not c.right(self.world.names)]
        if wrong:
            how = f"{what}; again: tests/e2e/run.py --seed {SEED} --only {self.id()}"
            self.fail(explained(self.world, cells, wrong, how))

    def test_no_policy(self):
        self.check("no policy", {})

    def test_ingress_features(self):
        for what, policies in cases.feature_tables(self.parts("ingress"), "ingress"):
            with self.subTest(what):
                self.check(what, policies)

    def test_egress_features(self):
        for what, policies in cases.feature_tables(self.parts("egress"), "egress"):
            with self.subTest(what):
                self.check(what, policies)

    def test_types_and_subjects(self):
        for tables in (cases.type_tables(self.parts("types")), cases.subject_tables(self.parts("subjects"))):
            for what, policies in tables:
                with self.subTest(what):
                    self.check(what, policies)

    def test_many_policies_in_union(self):
        for i in range(MANY or 8):
            with self.subTest(i):
                self.check(f"union {i}", cases.union_table(self.parts(f"union {i}")))

    def test_tiers(self):
        for i in range(MANY or 20):
            with self.subTest(i):
                self.check(f"tiers {i}", cases.tier_table(self.parts(f"tiers {i}")))

    def test_sequences_of_changes(self):
        for i in range(MANY or 3):
            parts = self.parts(f"sequence {i}")
            self.world.reset()
            with self.subTest(i):
                self.check(f"sequence {i}", {**cases.union_table(parts), **cases.tier_table(parts)})
                for step in range(6):
                    what = cases.change(parts, self.world)
                    self.check(f"sequence {i}, step {step}: {what}")
