"""No single failure loses an epoch: hypothesis chooses what happens, one instance in virtual time plays it."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.modules.metrics.live import Cluster, cluster

SIZE = 7
RANKS = st.integers(0, SIZE - 1)
#: Seconds in which a link heals, and everything that waited for it has come or been given up.
HEALED = 30.0
FAULT = {
    "kind": st.sampled_from(["drop", "delay", "disconnect"]),
    "rank": st.integers(1, SIZE - 1),
    "seconds": st.sampled_from([0.1, 2.0, 7.0]),
    "delay": st.sampled_from([0.001, 0.5, 3.0]),
    "topic": st.sampled_from(["metrics.*", "metrics.*", "metrics.collect", "metrics.credit", "metrics.done"]),
}
#: Seconds of observations before a fault: just before the end of an epoch, far from it.
LEADS = [0.5, 3.9, 3.9, 2.0]


class Epochs(RuleBasedStateMachine):
    """What is chosen is noted and played at the end, since an instance lives in one run of its loop.

    One failure at a time: the next begins when the last is healed. What comes in between is observed, slept, collected.
    """

    @initialize(
        fanout=st.sampled_from([1, 2, 6]), retain=st.booleans(), group=st.sampled_from([2, 50]),
        first=st.fixed_dictionaries(FAULT), lead=st.sampled_from(LEADS),
    )  # fmt: skip
    def begin(self, fanout: int, retain: bool, group: int, first: dict[str, Any], lead: float) -> None:
        self.fanout, self.retain, self.group = fanout, retain, group
        self.steps: list[tuple[str, Any]] = []
        self.may_lose = False
        self._fail(lead, first)

    @rule(ranks=st.lists(RANKS, min_size=1, max_size=6), key=st.integers(0, 12))
    def observe(self, ranks: list[int], key: int) -> None:
        self.steps.append(("observe", (ranks, f"k{key}")))

    @rule(seconds=st.sampled_from([0.01, 0.25, 1.0, 4.0]))
    def sleep(self, seconds: float) -> None:
        self.steps.append(("sleep", seconds))

    @rule(fault=st.fixed_dictionaries(FAULT), lead=st.sampled_from(LEADS))
    def fail(self, lead: float, fault: dict[str, Any]) -> None:
        self._fail(lead, fault)

    def _fail(self, lead: float, fault: dict[str, Any]) -> None:
        # Dropped frames of ranks that keep nothing are lost, and named.
        self.may_lose |= fault["kind"] == "drop" and not self.retain
        self.steps += [("busy", lead), ("fault", fault), ("busy", fault["seconds"]), ("sleep", HEALED)]

    @rule(rank=st.integers(1, SIZE - 1))
    def reload(self, rank: int) -> None:
        self.steps += [("sleep", HEALED), ("reload", rank), ("sleep", 1.0)]

    def teardown(self) -> None:
        if getattr(self, "steps", None):
            observed, emitted, records = cluster(self._play, SIZE, self.fanout)
            self._judge(observed, emitted, records)

    async def _play(self, one: Cluster) -> Any:
        await one.create(epoch=4.0, timeout=3.0, retain=self.retain, group=self.group)
        told = one.follow()
        observed: Counter[str] = Counter()

        def see(ranks: list[int], key: str) -> None:
            for rank in ranks:
                one.observe(rank, "s", key, 1)
                observed[key] += 1

        for what, value in self.steps:
            if what == "observe":
                see(*value)
            elif what == "sleep":
                await one.instance.sleep(value)
            elif what == "fault":
                one.client.request("overlay.fault", value, lambda *_: None)
            elif what == "busy":  # a failure is of something that is used
                for at in range(round(value * 4)):
                    see([at % SIZE, (at * 3) % SIZE], f"k{at % 5}")
                    await one.instance.sleep(0.25)
            else:
                await one.instance.remove("metrics", value)
                await one.instance.load("metrics", rank=value)
        await one.instance.sleep(HEALED)
        rows = [value for what, value in told if what == "row"]
        emitted = Counter[str]()
        for row in rows:
            emitted[row["key"]["str"]] += row["sum"]
        return observed, emitted, [value for what, value in told if what == "record"]

    def _judge(self, observed: Counter[str], emitted: Counter[str], records: list[Any]) -> None:
        assert [record["epoch"] for record in records] == list(range(1, len(records) + 1))
        breaks = [record["requested"] for record in records]
        assert all(b > a for a, b in pairwise(breaks))
        twice = emitted - observed
        assert not twice, (twice, self.steps)
        lost = observed - emitted
        if not self.may_lose:
            assert not lost, (lost, self.steps, records)
        elif lost:
            assert any(record["missing"] or record["truncated"] or record["departed"] for record in records)


TestEpochs = Epochs.TestCase
# Not shrunk: each try plays minutes of an instance, and the steps are few.
TestEpochs.settings = settings(
    phases=[Phase.generate],
    max_examples=8,
    stateful_step_count=8,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
