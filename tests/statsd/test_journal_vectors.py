"""The journal's increments, pushed through client and aggregator: which way of sending loses the running jobs.

10,000 jobs start in SCHED; integer microseconds. Source: the reference vectors of the journal's week 7.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cache

import pytest

from brokersim.statsd.aggregator import Aggregator
from brokersim.statsd.client import StatsClient

JOBS = 10_000
LAST_EVENT = 91_219_102


@cache
def events() -> list[tuple[int, str, str]]:
    """(time, state left, state entered), in order."""
    found = []
    for job in range(JOBS):
        run = 1_000_000 * job // 110
        cleanup = run + 100_000 + 2_000 * (37 * job % 101)
        inactive = cleanup + 20_000 + 625 * (53 * job % 97)
        found += [(run, "sched", "run"), (cleanup, "run", "cleanup"), (inactive, "cleanup", "inactive")]
    return sorted(found)


class Outcome:
    """What the server shows, flush by flush."""

    def __init__(self) -> None:
        self.server = Aggregator("etsy")
        self.server.feed(b"sched:10000|g")
        self.flushes = self.lines = 0
        self.zero_lines: Counter[str] = Counter()
        self.lowest: Counter[str] = Counter()
        self.below_zero: Counter[str] = Counter()
        self.end: dict[str, float] = {}

    def send(self, packet: bytes) -> bool:
        for line in packet.decode().splitlines():
            self.lines += 1
            name, _, value = line.partition(":")
            self.zero_lines[name] += value == "0|g"
        self.server.feed(packet)
        return True

    def look(self, t: float) -> None:
        self.flushes += 1
        self.end = dict(self.server.flush(t).gauges)
        for name, value in self.end.items():
            self.lowest[name] = min(self.lowest[name], value)
            self.below_zero[name] += value < 0


def periods(length: int) -> Iterator[list[tuple[int, str, str]]]:
    """Events of one period after the other: those up to k · length belong to period k."""
    waiting = iter([*events(), (10**12, "", "")])
    event = next(waiting)
    end = length
    while event[1]:
        share = []
        while event[0] <= end:
            share.append(event)
            event = next(waiting)
        yield share
        end += length


def increments(client: StatsClient, length: int, outcome: Outcome) -> Outcome:
    for number, share in enumerate(periods(length), start=1):
        for _, left, entered in share:
            client.gauge_inc(left, -1)
            client.gauge_inc(entered, 1)
        client.flush()
        outcome.look(number * length / 1e6)
    return outcome


def totals(client: StatsClient, length: int, outcome: Outcome) -> Outcome:
    held = Counter(sched=JOBS)
    for number, share in enumerate(periods(length), start=1):
        for _, left, entered in share:
            held[left] -= 1
            held[entered] += 1
            client.gauge_set(left, held[left])
            client.gauge_set(entered, held[entered])
        client.flush()
        outcome.look(number * length / 1e6)
    return outcome


def ends(outcome: Outcome) -> dict[str, float]:
    return {name: outcome.end[name] for name in ("sched", "run", "cleanup", "inactive")}


TRUTH = {"sched": 0, "run": 0, "cleanup": 0, "inactive": JOBS}


def test_the_pipeline_is_the_journals():
    assert events()[-1][0] == LAST_EVENT
    held, most = Counter(sched=JOBS), Counter[str]()
    for _, left, entered in events():
        held[left] -= 1
        held[entered] += 1
        most[entered] = max(most[entered], held[entered])
    assert (most["run"], most["cleanup"]) == (24, 8)


def test_period_0_sends_a_line_per_change_and_stays_right():
    outcome = Outcome()
    client = StatsClient(outcome.send, period=0, compat="fripp-2021", dialect="etsy")
    for _, left, entered in events():
        client.gauge_inc(left, -1)
        client.gauge_inc(entered, 1)
    outcome.look(100.0)
    assert (outcome.lines, outcome.zero_lines.total(), outcome.below_zero.total()) == (60_000, 0, 0)
    assert ends(outcome) == TRUTH


@pytest.mark.parametrize(
    ("length", "flushes", "lines", "run", "cleanup"),
    [
        (1_000_000, 92, 367, (49, -22, 15, -22), (29, -7, 26, -7)),
        (100_000, 913, 3_646, (421, -23, 166, -23), (357, -6, 225, -6)),
    ],
)
def test_the_journals_client_loses_running_jobs_when_increments_cancel(
    length: int, flushes: int, lines: int, run: tuple[int, ...], cleanup: tuple[int, ...]
):
    outcome = Outcome()
    increments(StatsClient(outcome.send, compat="fripp-2021", dialect="etsy"), length, outcome)
    assert (outcome.flushes, outcome.lines) == (flushes, lines)
    for name, wanted in (("run", run), ("cleanup", cleanup)):
        seen = (outcome.zero_lines[name], outcome.lowest[name], outcome.below_zero[name], outcome.end[name])
        assert seen == wanted, name
    assert (outcome.end["sched"], outcome.end["inactive"]) == (0, JOBS)


def test_our_client_skips_what_cancels_and_stays_right():
    outcome = Outcome()
    increments(StatsClient(outcome.send, dialect="etsy"), 1_000_000, outcome)
    assert (outcome.flushes, outcome.lines, outcome.zero_lines.total()) == (92, 289, 0)
    assert outcome.below_zero.total() == 0
    assert ends(outcome) == TRUTH


@pytest.mark.parametrize("compat", [None, "fripp-2021"])
def test_totals_stay_right_with_either_client(compat: str | None):
    outcome = Outcome()
    totals(StatsClient(outcome.send, compat=compat, dialect="etsy"), 1_000_000, outcome)
    assert (outcome.flushes, outcome.lines, outcome.below_zero.total()) == (92, 367, 0)
    assert ends(outcome) == TRUTH
